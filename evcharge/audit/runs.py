"""Runs of records, for whoever reads a log on and on: one read of the disk for each, from where the last one ended.

Only records that are durable may be asked for. Nothing is judged here but each record's own checksum and number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from evcharge.audit.files import Files
from evcharge.audit.pages import Pages, Unreadable
from evcharge.audit.record import HEADER_SIZE, BadRecord, Record, decode, peek
from evcharge.audit.segments import list_segments

# Places behind runs that are remembered: more than ever read on at the same time.
ENDS_KEPT = 128
# Bytes of a record around its body, at least: header, chain, checksum.
AROUND = 64
# The least that is read at once, bytes.
READ_BYTES = 1 << 16


class _Place(NamedTuple):
    """Where a record begins."""

    segment: int
    """First number of its segment."""
    offset: int


class Runs:
    """For one thread at a time. ``pages`` finds what nobody has read up to."""

    def __init__(self, directory: Path, files: Files, pages: Pages) -> None:
        self._directory = directory
        self._files = files
        self._pages = pages
        self._ends: OrderedDict[int, _Place] = OrderedDict()

    def run(self, begin: int, end: int, size: int) -> list[Record]:
        """Records from ``begin`` on, before ``end`` and durable, whose bodies and ``AROUND`` each have ``size`` bytes
        together; the first one whatever it has.

        Raises Unreadable only for the first record: what comes before a damaged one is given first. OSError.
        """
        found: list[Record] = []
        while begin < end and size > 0:
            try:
                more = self._within(begin, end, size, whatever=not found)
            except Unreadable:
                if not found:
                    raise
                break
            found += more
            begin += len(more)
            size -= sum(len(record.body) + AROUND for record in more)
            if not more:
                break
        return found

    def _within(self, begin: int, end: int, size: int, *, whatever: bool) -> list[Record]:
        """The part of a run that stands in one segment; ``whatever``: its first record may be too large."""
        segments, _ = list_segments(self._directory, self._files)
        firsts = [one.first_seq for one in segments]
        index = bisect_right(firsts, begin) - 1
        if index < 0:
            raise Unreadable(begin, "its segment is not here")
        stop = min(end, firsts[index + 1]) if index + 1 < len(firsts) else end
        place = self._place(begin, firsts[index])
        handle = self._files.open(segments[index].path)
        try:
            found, offset = self._read(handle, place.offset, begin, stop, size, whatever=whatever)
        finally:
            with suppress(OSError):
                self._files.close(handle)
        self._ends[begin + len(found)] = _Place(firsts[index], offset)
        if len(self._ends) > ENDS_KEPT:
            self._ends.popitem(last=False)
        return found

    def _place(self, seq: int, first: int) -> _Place:
        if seq == first:
            return _Place(first, 0)
        known = self._ends.get(seq)
        if known is not None and known.segment == first:
            self._ends.move_to_end(seq)
            return known
        return _Place(first, self._pages.place(seq))

    def _read(
        self, handle: int, offset: int, seq: int, stop: int, size: int, *, whatever: bool
    ) -> tuple[list[Record], int]:
        """Records and the place behind the last one."""
        found: list[Record] = []
        buffer, at = b"", 0
        while seq < stop:
            try:
                wanted = HEADER_SIZE if len(buffer) - at < HEADER_SIZE else peek(buffer, at, seq)
                if len(buffer) - at < wanted:
                    buffer = buffer[at:]
                    offset, at = offset + at, 0
                    chunk = self._files.pread(handle, max(READ_BYTES, wanted), offset + len(buffer))
                    if not chunk:
                        raise BadRecord("the file ends before it does")  # noqa: TRY301  # as every other mistake in it
                    buffer += chunk
                    continue
                record = decode(buffer, at)
            except BadRecord as error:
                if found:
                    break
                raise Unreadable(seq, str(error)) from None
            size -= len(record.body) + AROUND
            if size < 0 and (found or not whatever):
                break
            found.append(record)
            at += record.size
            seq += 1
        return found, offset + at
