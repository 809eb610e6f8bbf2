"""Kafka as the publisher knows it, in memory: transactions, fencing, and a fault wherever the test wants one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

from evcharge.events.keys import Learned
from evcharge.events.message import Message
from evcharge.events.position import Kept, Position, Row, kept_of, rows_of
from evcharge.events.topics import Topic, Topics
from evcharge.events.troubles import Fenced, Kind, TooLarge, Trouble

NAME = "site/evcharge.events"
PARTITIONS = 3
# What of the events is looked at where nothing is lost.
LAST = 10


class Fault(StrEnum):
    """Where an attempt to publish breaks."""

    NONE = "none"
    BEFORE = "before"
    """Nothing was sent."""
    BETWEEN = "between"
    """All was sent, and the end was not asked for."""
    AFTER = "after"
    """It was committed, and the answer was lost."""
    CLOSED = "closed"
    """Nothing can be opened."""


class ModelKafka:
    """What all clients share."""

    def __init__(self, fault: Callable[[], Fault] = lambda: Fault.NONE, most_bytes: int = 1 << 30) -> None:
        """``fault`` is asked for each attempt; ``most_bytes``: the longest piece that is taken."""
        self.epoch = 0
        self.events: list[tuple[bytes, int, bool]] = []
        """Key, record and whether it is cut: all that was ever committed, in its order."""
        self.rows: list[Row] = []
        """Of the topic of positions."""
        self.slow: Callable[[], bool] = lambda: False
        """Whether reading the topics has no end now."""
        self.open_of: dict[int, tuple[list[tuple[bytes, int, bool]], list[Row]]] = {}
        """By epoch, what was sent and not committed."""
        self.transactions = 0
        self.fault = fault
        self.most_bytes = most_bytes

    def kept(self) -> Kept:
        return kept_of(NAME, self.rows)

    # --- part of ``Kafka`` --------------------------------------------------------------------------------------------

    async def open(self) -> ModelOutlet:
        if self.fault() is Fault.CLOSED:
            raise Trouble(Kind.KAFKA_AWAY, "It is away.")
        self.epoch += 1
        # Whoever came before is turned away, and what it had not committed is gone.
        self.open_of.clear()
        return ModelOutlet(self, self.epoch)

    async def read_kept(self) -> Kept:
        return self.kept()

    async def newest_published(self, partitions: int, *, thorough: bool) -> int:
        assert partitions == PARTITIONS
        if self.slow():
            await asyncio.Event().wait()
        return max((seq for _, seq, _ in (self.events if thorough else self.events[-LAST:])), default=0)

    async def look(self) -> Trouble | None:
        return None

    async def unwritable(self) -> Trouble | None:
        return None


class OtherPositions(ModelKafka):
    """The same brokers and events, with another topic of positions."""

    def __init__(self, kafka: ModelKafka) -> None:
        self._all, epoch = kafka, kafka.epoch
        super().__init__()
        self.events, self.open_of, self.epoch = kafka.events, kafka.open_of, epoch

    @property
    def epoch(self) -> int:
        """Of the transactional id, which does not have the name of that topic in it."""
        return self._all.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._all.epoch = value


class ModelOutlet:
    """One producer."""

    def __init__(self, kafka: ModelKafka, epoch: int) -> None:
        self.topics = Topics(
            events=Topic(name="evcharge.events", partitions=PARTITIONS, replication=1, config=None),
            positions=Topic(name="evcharge.positions", partitions=1, replication=1, config=None),
            remarks=[],
        )
        self.kept = kafka.kept()
        self._kafka = kafka
        self._epoch = epoch
        self._closed = False

    async def publish(
        self,
        messages: Sequence[Message],
        position: Position,
        piece_bytes: int = 1 << 30,
        *,
        learned: Sequence[Learned] = (),
    ) -> None:
        kafka = self._kafka
        assert not self._closed, "an outlet that failed is not used again"
        if self._epoch != kafka.epoch:
            raise Fenced("ProducerFenced")
        fault = kafka.fault()
        if fault is Fault.BEFORE:
            raise Trouble(Kind.KAFKA_AWAY, "It went away.")
        for begin in range(0, len(messages), 2):
            # Pieces of two messages, unless they shall be smaller.
            for piece in (
                [messages[begin : begin + 2]] if piece_bytes > 500 else [[one] for one in messages[begin : begin + 2]]
            ):
                if sum(message.size for message in piece) > kafka.most_bytes:
                    raise TooLarge(tuple(message.seq for message in piece))
        sent = [(message.key, message.seq, message.cut) for message in messages]
        taught = [*learned, *(each for message in messages for each in message.learned)]
        kafka.open_of[self._epoch] = (sent, rows_of(NAME, position, taught))
        if fault is Fault.BETWEEN:
            raise Trouble(Kind.KAFKA_AWAY, "It went away.")
        events, rows = kafka.open_of.pop(self._epoch)
        kafka.events += events
        kafka.rows += rows
        kafka.transactions += 1
        if fault is Fault.AFTER:
            raise Trouble(Kind.KAFKA_SLOW, "It did not answer.")

    async def alive(self) -> bool:
        return True

    async def close(self) -> None:
        self._closed = True
