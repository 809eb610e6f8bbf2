"""The newest records, written, in their order and without a gap: from where streams go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from evcharge.sidecar.live.records import Entry

# Records that are kept, and their bytes: hours of a site, minutes of a busy one; a page that was away for as long as a
# restart takes finds all of it here.
RECORDS = 10_000
BYTES = 24 << 20
# Most bytes of one piece of a stream.
PIECE_BYTES = 128 * 1024


class Ring:
    """Records ``first`` to ``last``; while there are none, ``first`` is due next."""

    def __init__(self, after_seq: int = 0, *, records: int = RECORDS, size: int = BYTES) -> None:
        self.first = after_seq + 1
        self._entries: deque[Entry] = deque()
        self._records = records
        self._most = size
        self._size = 0

    @property
    def last(self) -> int:
        """The newest one."""
        return self.first + len(self._entries) - 1

    def add(self, entries: Sequence[Entry]) -> None:
        """The next ones.

        Raises:
            ValueError: others are due.
        """
        for entry in entries:
            if entry.seq != self.last + 1:
                raise ValueError(f"record {entry.seq} came where {self.last + 1} is due")
            self._entries.append(entry)
            self._size += entry.size
        while self._entries and (len(self._entries) > self._records or self._size > self._most):
            self._size -= self._entries.popleft().size
            self.first += 1

    def behind(self, seq: int, most: int) -> list[Entry]:
        """At most ``most`` records behind ``seq``, which is ``first - 1`` or later."""
        begin = seq + 1 - self.first
        if begin >= len(self._entries) - most:
            # Streams that are up to date ask for the last few: they are reached from the end.
            newest = list(islice(reversed(self._entries), len(self._entries) - begin))
            return newest[::-1]
        return list(islice(self._entries, begin, begin + most))


def piece_of(entries: Sequence[Entry], audience: int) -> tuple[bytes, int]:
    """The first of ``entries`` as one piece of a stream, one at least, and the number of the last in it."""
    parts: list[bytes] = []
    size, seq = 0, 0
    for entry in entries:
        written = entry.written[audience]
        if parts and size + len(written) > PIECE_BYTES:
            break
        parts.append(written)
        size, seq = size + len(written), entry.seq
    return b"".join(parts), seq
