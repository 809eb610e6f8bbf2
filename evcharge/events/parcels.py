"""How messages are put together for the brokers: by partition, in order, in pieces that a topic takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from evcharge.events.message import AROUND, MOST_VALUE, Message

# One transaction: so many records, or bytes, at most. What a transaction costs beside its content (some 10 ms and a
# marker in every partition) is then small, and what has to be sent again after a fault is a second of work at most.
MOST_RECORDS = 5_000
MOST_BYTES = 4 << 20
# Read from Central and not committed yet, bytes: one transaction on its way, and the next. However long Kafka is away,
# no more is kept than this and one answer of Central; the log keeps the rest.
MOST_AHEAD = 2 * MOST_BYTES
# What the events topic is made to take in one piece: the longest message, however it compresses.
MAX_MESSAGE_BYTES = MOST_VALUE + AROUND
# Longest piece before compression, bytes. Larger ones are no faster, and smaller than any topic's usual limit (1 MiB).
PIECE_BYTES = 512 << 10


class Parcel(NamedTuple):
    """Messages for one partition, in one piece."""

    partition: int
    messages: list[Message]


class Sizes:
    """How large a piece may be, learned from the topic's settings and from what it turned away.

    A message alone that was turned away is replaced by a small one that stands for it: ``cut``.
    """

    def __init__(self) -> None:
        self.piece_bytes = PIECE_BYTES
        self._told: int | None = None
        self.cut: set[int] = set()
        """Records that the topic does not take whole."""

    def told(self, max_message_bytes: int | None) -> None:
        """What the topic takes; None: it is not known. What was learned from a limit before counts no longer."""
        if max_message_bytes is None or max_message_bytes == self._told:
            return
        self._told = max_message_bytes
        # Half of it, because what cannot be compressed becomes a little longer.
        self.piece_bytes = min(PIECE_BYTES, max(1, max_message_bytes // 2))
        self.cut.clear()

    def turned_away(self, seqs: Sequence[int]) -> bool:
        """A piece with these records was too large. True: it was one record, which is cut from now on."""
        if len(seqs) == 1:
            self.cut.add(seqs[0])
            return True
        self.piece_bytes = max(1, self.piece_bytes // 2)
        return False

    def published(self, seq: int) -> None:
        """Everything up to ``seq`` is out, so nobody asks for it again."""
        self.cut = {each for each in self.cut if each > seq}


def parcels(
    messages: Sequence[Message], partition_of: Callable[[bytes], int], piece_bytes: int = PIECE_BYTES
) -> Iterator[Parcel]:
    """All of them by partition, in their order; a message longer than ``piece_bytes`` is a piece of its own."""
    by_partition: dict[int, list[Message]] = {}
    for message in messages:
        by_partition.setdefault(partition_of(message.key), []).append(message)
    for partition, own in sorted(by_partition.items()):
        piece: list[Message] = []
        size = 0
        for message in own:
            if piece and size + message.size > piece_bytes:
                yield Parcel(partition, piece)
                piece, size = [], 0
            piece.append(message)
            size += message.size
        yield Parcel(partition, piece)


def next_transaction(waiting: Sequence[Message]) -> int:
    """How many of the messages that wait go into one transaction: at least one."""
    size = 0
    for count, message in enumerate(waiting):
        size += message.size
        if count == MOST_RECORDS or (count and size > MOST_BYTES):
            return count
    return len(waiting)
