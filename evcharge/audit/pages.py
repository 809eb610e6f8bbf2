"""Pages of a log for whoever asks again and again: bounded work for each, from wherever the one before ended.

The files are read as they are, record by record. No record is looked for by its bytes, for whoever may write a text
into an event could put a record of his own into it: what is known of a segment is its beginning, and from there one
length leads to the next. Places on the way are remembered.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from evcharge.audit.files import Files
from evcharge.audit.lines import Filter, Line, line_of
from evcharge.audit.merkle import leaf_hash
from evcharge.audit.record import HEADER_SIZE, BadRecord, Record, decode, peek
from evcharge.audit.segments import list_segments

# Records and bytes that one page takes apart: some hundredths of a second, and what one read of a disk brings.
SCAN_RECORDS = 4_096
SCAN_BYTES = 8 << 20
# Headers that one page passes on its way to a place that nobody asked for before: a twentieth of a second. A segment of
# 64 MiB has some 300,000 records; whoever asks for its end for the first time asks five times.
WALK_RECORDS = 65_536
# A place is remembered every so many records.
MARK_EVERY = 1_024
# Segments of which places are remembered: 4 GiB of log. One has at most a thousand places.
SEGMENTS_KEPT = 64
# How much is read at once on the way, bytes.
READ_BYTES = 1 << 18


class Unreadable(Exception):
    """A record that was durable cannot be read, or is not what was written. ``seq`` says which."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"record {seq}: {why}")
        self.seq = seq


class Found(NamedTuple):
    """A record that was asked for."""

    record: Record
    line: Line
    leaf: bytes


class Page(NamedTuple):
    """What was found, in the order that was asked for."""

    rows: list[Found]
    next_seq: int | None
    """Go on behind (newest first: before) this one; None: that was all."""


class _Enough(Exception):
    """So much work was done for one page."""


class _Segment(NamedTuple):
    first: int
    end: int
    """The number behind its last record; of the last segment: nobody knows."""


class Pages:
    """For one thread at a time."""

    def __init__(self, directory: Path, files: Files, leaf: Callable[[int], bytes | None]) -> None:
        """``leaf``: the leaf hash that the tree has of a record; None: it cannot be asked."""
        self._directory = directory
        self._files = files
        self._leaf = leaf
        # By a segment's first number, places in it: (number, offset), one at least.
        self._marks: OrderedDict[int, list[tuple[int, int]]] = OrderedDict()
        self._left = 0

    def first(self) -> int:
        """Number of the first record that is here. Raises Unreadable: there is no segment at all. OSError."""
        segments, _ = list_segments(self._directory, self._files)
        if not segments:
            raise Unreadable(1, "there is no segment")
        return segments[0].first_seq

    def record(self, seq: int) -> Record:
        """One record, which has to be durable. Raises Unreadable, OSError."""
        while True:
            self._left = WALK_RECORDS
            # Places on the way are kept, so this ends.
            with suppress(_Enough):
                return self._checked(next(self._records(seq, seq + 1, newest_first=False))).record

    def place(self, seq: int) -> int:
        """Where in its segment a record begins that is durable. Raises Unreadable, OSError."""
        while True:
            self._left = WALK_RECORDS
            # Places on the way are kept, so this ends.
            with suppress(_Enough), self._opened(seq) as (segment, handle):
                first, places = self._places(segment, handle, seq, seq + 1)
                return places[seq - first]

    def page(self, after: int, before: int, limit: int, wanted: Filter, *, newest_first: bool) -> Page:
        """At most ``limit`` records between ``after`` and ``before``, both left out and those before durable.

        Raises Unreadable only for the first record that is looked at: what was found before is given first. OSError.
        """
        begin = max(after + 1, self.first())
        rows: list[Found] = []
        named = (*wanted.kinds, wanted.cp, wanted.session, wanted.driver, wanted.by, wanted.trace)
        needles = [one.encode() for one in named if one]
        count = size = 0
        at = before if newest_first else begin - 1
        self._left = WALK_RECORDS
        over = True
        try:
            for record in self._records(begin, before, newest_first=newest_first):
                # Most records are of something else: only those that hold all of these are taken apart.
                if all(needle in record.body for needle in needles):
                    line = line_of(record)
                    if wanted.takes(line):
                        rows.append(self._checked(record, line))
                at, count, size = record.seq, count + 1, size + record.size
                if len(rows) >= limit or count >= SCAN_RECORDS or size >= SCAN_BYTES:
                    over = at <= begin if newest_first else at >= before - 1
                    break
        except _Enough:
            over = False
        except Unreadable:
            if not count:
                raise
            over = False
        return Page(rows, None if over else at)

    def _checked(self, record: Record, line: Line | None = None) -> Found:
        """Not another one than the tree has. Raises Unreadable."""
        leaf = leaf_hash(record.seq, record.durable, record.body)
        known = self._leaf(record.seq)
        if known not in (None, leaf):
            raise Unreadable(record.seq, "the tree has another one")
        return Found(record, line_of(record) if line is None else line, leaf)

    # --- files ------------------------------------------------------------------------------------------------------

    def _records(self, begin: int, end: int, *, newest_first: bool) -> Iterator[Record]:
        """Records ``begin`` to ``end - 1``. Raises _Enough, Unreadable, OSError."""
        at = end - 1 if newest_first else begin
        while begin <= at < end:
            with self._opened(at) as (segment, handle):
                first, places = self._places(segment, handle, at, end)
                low, high = max(begin, first), first + len(places) - 1
                for seq in range(at, low - 1, -1) if newest_first else range(at, high):
                    place = places[seq - first]
                    yield self._read(handle, seq, place, places[seq - first + 1] - place)
            at = low - 1 if newest_first else high

    @contextmanager
    def _opened(self, seq: int) -> Iterator[tuple[_Segment, int]]:
        """The segment that has to hold ``seq``, and its handle."""
        segments, _ = list_segments(self._directory, self._files)
        firsts = [one.first_seq for one in segments]
        place = bisect_right(firsts, seq)
        if not place:
            raise Unreadable(seq, "its segment is not here")
        end = firsts[place] if place < len(firsts) else 1 << 64
        handle = self._files.open(segments[place - 1].path)
        try:
            yield _Segment(firsts[place - 1], end), handle
        finally:
            with suppress(OSError):
                self._files.close(handle)

    def _places(self, segment: _Segment, handle: int, seq: int, end: int) -> tuple[int, list[int]]:
        """Where the records around ``seq`` begin, from a remembered place to the next one or before ``end``, and where
        the last of them ends; with the number of the first.
        """
        marks = self._marks_of(segment)
        place = bisect_right(marks, (seq, 1 << 64)) - 1
        last = min(segment.end, end)
        while True:
            first, offset = marks[place]
            known = place + 1 < len(marks)
            stop = min(marks[place + 1][0] if known else first + MARK_EVERY, last)
            places = self._walk(handle, first, offset, stop, seq)
            if not known and len(places) > MARK_EVERY:
                marks.append((stop, places[-1]))
            if seq < stop:
                return first, places
            place += 1

    def _walk(self, handle: int, seq: int, offset: int, stop: int, wanted: int) -> list[int]:
        """Where each of the records ``seq`` to ``stop - 1`` begins, and where the last one ends; fewer where one behind
        ``wanted`` is damaged.
        """
        places = [offset]
        buffer, base = b"", offset
        try:
            while seq < stop:
                if len(buffer) - (offset - base) < HEADER_SIZE:
                    buffer, base = self._files.pread(handle, READ_BYTES, offset), offset
                offset += peek(buffer, offset - base, seq)
                seq += 1
                places.append(offset)
        except BadRecord as error:
            if seq <= wanted:
                raise Unreadable(seq, str(error)) from None
        self._left -= len(places) - 1
        if self._left < 0:
            raise _Enough
        return places

    def _read(self, handle: int, seq: int, offset: int, size: int) -> Record:
        data = b""
        while len(data) < size and (chunk := self._files.pread(handle, size - len(data), offset + len(data))):
            data += chunk
        try:
            return decode(data)
        except BadRecord as error:
            raise Unreadable(seq, str(error)) from None

    def _marks_of(self, segment: _Segment) -> list[tuple[int, int]]:
        marks = self._marks.setdefault(segment.first, [(segment.first, 0)])
        self._marks.move_to_end(segment.first)
        if len(self._marks) > SEGMENTS_KEPT:
            self._marks.popitem(last=False)
        return marks
