"""One direction of a TCP connection put together again from captured segments: any order, any number of times.

Sequence numbers are those of RFC 9293, modulo 2³². What never was captured becomes a gap of known size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# Segments and bytes that wait for an earlier one; then it counts as never captured. A window has up to 1 MiB here.
MAX_SEGMENTS = 1_024
MAX_BYTES = 1 << 20
_MODULUS = 1 << 32


class Data(NamedTuple):
    """Bytes of the stream, in order."""

    data: bytes


class Gap(NamedTuple):
    """So many bytes of the stream were not captured."""

    size: int


class Stream:
    """Takes segments; gives data and gaps."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._waiting: dict[int, bytes] = {}
        self._held = 0

    @property
    def begun(self) -> bool:
        """The first sequence number is known."""
        return self._next is not None

    @property
    def due(self) -> int | None:
        """The sequence number that comes next."""
        return self._next

    def begin(self, seq: int) -> None:
        """The stream starts with this sequence number: that of a SYN, plus 1."""
        self._next = seq % _MODULUS

    def segment(self, seq: int, data: bytes, cut: int = 0) -> Iterator[Data | Gap]:
        """A segment was captured, all but its last ``cut`` bytes."""
        if self._next is None:
            self._next = seq % _MODULUS
        ahead = self._ahead(seq)
        if ahead > 0:
            if data:
                self._keep(seq % _MODULUS, data)
                if len(self._waiting) > MAX_SEGMENTS or self._held > MAX_BYTES:
                    yield from self._skip()
            return
        # What was here already (a retransmission, or part of one) is not given again.
        fresh = data[-ahead:] if ahead else data
        if fresh:
            yield self._take(fresh)
        if cut and -ahead <= len(data):
            self._next = (self._next + cut) % _MODULUS
            yield Gap(cut)
        yield from self._drain()

    def finish(self) -> Iterator[Data | Gap]:
        """No segment comes any more."""
        while self._waiting:
            yield from self._skip()

    def _ahead(self, seq: int) -> int:
        """How far ``seq`` is ahead of what is due; negative: it was seen."""
        assert self._next is not None
        distance = (seq - self._next) % _MODULUS
        return distance if distance < _MODULUS // 2 else distance - _MODULUS

    def _take(self, data: bytes) -> Data:
        assert self._next is not None
        self._next = (self._next + len(data)) % _MODULUS
        return Data(data)

    def _keep(self, seq: int, data: bytes) -> None:
        earlier = self._waiting.get(seq, b"")
        if len(data) > len(earlier):
            self._waiting[seq] = data
            self._held += len(data) - len(earlier)

    def _drain(self) -> Iterator[Data]:
        """What waited and is due now."""
        while self._waiting:
            seq = min(self._waiting, key=self._ahead)
            ahead = self._ahead(seq)
            if ahead > 0:
                return
            data = self._waiting.pop(seq)
            self._held -= len(data)
            if fresh := (data[-ahead:] if ahead else data):
                yield self._take(fresh)

    def _skip(self) -> Iterator[Data | Gap]:
        """Give up what is missing before the nearest segment that waits."""
        nearest = min(self._waiting, key=self._ahead)
        missing = self._ahead(nearest)
        self._next = nearest
        yield Gap(missing)
        yield from self._drain()
