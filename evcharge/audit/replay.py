"""Reading the log from its first record to its end, in bounded memory. FORMAT.md §5.

Three ends: everything is there (``CleanEnd``), the last write was cut and nothing that was acknowledged is
missing (``TornTail``), or something that was durable is damaged (``Corrupt``). In doubt: ``Corrupt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from evcharge.audit.files import Files
from evcharge.audit.record import (
    CHAIN_0,
    FIRST_SEQ,
    HEADER_SIZE,
    MAGIC,
    BadRecord,
    Record,
    chain_after,
    decode,
    needed,
)
from evcharge.audit.segments import list_segments

# How much of a segment is read at once, in bytes; with one record more it is all that replay holds.
READ_BYTES = 4 << 20
# With so much read ahead, nearly every record is there whole.
AHEAD_BYTES = 64 << 10


class CleanEnd(NamedTuple):
    """The log is whole."""

    file: Path | None
    """The open segment; None: there is no log yet."""
    offset: int
    seq: int
    """The sequence number that comes next."""


class TornTail(NamedTuple):
    """A write that was cut; all records before it are good and everything durable is among them."""

    file: Path
    offset: int
    seq: int
    """The first sequence number that is missing."""
    why: str


class Corrupt(NamedTuple):
    """A record that was durable is damaged or missing, or somebody changed the log."""

    file: Path
    offset: int
    seq: int
    why: str


End = CleanEnd | TornTail | Corrupt


class Start(NamedTuple):
    """Where a replay begins, instead of at the first record: behind a snapshot."""

    seq: int
    """The first record that is wanted."""
    durable: int
    """``durable`` of the record before it."""
    chain: bytes
    segment: int
    """Number of the segment in which it stands …"""
    offset: int
    """… at this offset, unless the next segment begins with it."""


FROM_THE_FIRST = Start(FIRST_SEQ, 0, CHAIN_0, FIRST_SEQ, 0)


def replay(directory: Path, files: Files, start: Start = FROM_THE_FIRST) -> Iterator[Record | End]:
    """All good records from ``start`` on in order, then exactly one ``End``. Reads only. Raises OSError."""
    segments, strange = list_segments(directory, files)
    seq, durable, chain = start.seq, start.durable, start.chain
    segments = [one for one in segments if one.first_seq >= start.segment]
    inside = start.offset if segments and segments[0].first_seq == start.segment else 0
    end: End = CleanEnd(None, 0, seq)
    if strange:
        yield Corrupt(strange[0], 0, seq, "the name is not that of a segment (audit-, 16 hexadecimal digits, .log)")
        return
    for place, (first_seq, path) in enumerate(segments):
        if first_seq != (start.segment if inside else seq):
            yield Corrupt(path, 0, seq, _gap(first_seq, seq))
            return
        reader = _Reader(files, files.open(path))
        try:
            reader.measure()
            reader.skip_to(inside)
            inside = 0
            why = ""
            while reader.more():
                try:
                    record = reader.record()
                except BadRecord as error:
                    why = str(error)
                    break
                wrong = _misfit(record, seq, durable, chain)
                if wrong:
                    # A cut write cannot make a record whose checksum is right: this one was put here.
                    yield Corrupt(path, reader.offset, seq, wrong)
                    return
                reader.skip(record.size)
                seq, durable, chain = record.seq + 1, record.durable, record.chain
                yield record
            end = CleanEnd(path, reader.offset, seq)
            if why and reader.only_zeros():
                why = ""
            if why:
                end = _judge(reader, path, seq, why, last=place == len(segments) - 1)
        finally:
            reader.close()
        if not isinstance(end, CleanEnd):
            break
    yield end


def _gap(first_seq: int, seq: int) -> str:
    if seq == FIRST_SEQ:
        return (
            f"the log begins with record {first_seq}, and those before it are not here. Were they archived: make a "
            "snapshot with `evcharge-audit snapshot --archive`, or put their segments back"
        )
    return f"the segment begins with record {first_seq} where {seq} belongs: one is missing or was added"


def _misfit(record: Record, seq: int, durable: int, chain: bytes) -> str:
    """Why a whole record cannot stand here; empty: it can."""
    if record.seq != seq:
        return f"record {record.seq} stands where {seq} belongs"
    if not durable <= record.durable < seq:
        return f"it calls {record.durable} durable, the record before it {durable}"
    if record.chain != chain_after(chain, record):
        return "the chain is broken: this record or one before it was changed"
    return ""


def _judge(reader: _Reader, path: Path, seq: int, why: str, *, last: bool) -> TornTail | Corrupt:
    """Is the bad record at the reader's place a cut write, or was it durable once?"""
    offset = reader.offset
    if not last:
        return Corrupt(path, offset, seq, f"{why}, and a later segment exists")
    evidence = reader.largest_durable_behind(seq)
    if evidence >= seq:
        return Corrupt(path, offset, seq, f"{why}, and a later record says that {evidence} was durable")
    return TornTail(path, offset, seq, why)


class _Reader:
    """A window over one segment: ``buffer`` holds the file from ``offset`` on."""

    def __init__(self, files: Files, handle: int) -> None:
        self._files = files
        self._handle = handle
        self._size = 0
        self._buffer = b""
        self._place = 0
        self.offset = 0

    def measure(self) -> None:
        """Learn how long the file is."""
        self._size = self._files.size(self._handle)

    def close(self) -> None:
        with suppress(OSError):
            self._files.close(self._handle)

    def more(self) -> bool:
        """Is there anything at all behind this place?"""
        return self.offset < self._size

    def skip(self, size: int) -> None:
        """Go on by ``size`` bytes."""
        self._place += size
        self.offset += size

    def skip_to(self, offset: int) -> None:
        """Begin there instead of at the start; nothing was read yet."""
        self.offset = offset

    def record(self) -> Record:
        """The whole record here; does not move. Raises BadRecord."""
        if len(self._buffer) - self._place >= AHEAD_BYTES:
            # Nearly always all of it is here.
            try:
                return decode(self._buffer, self._place)
            except BadRecord:
                pass  # more of the file has to be read, or it is really bad
        self._fill(HEADER_SIZE)
        self._fill(needed(self._buffer, self._place))
        return decode(self._buffer, self._place)

    def only_zeros(self) -> bool:
        """Was nothing written from here to the end of the file? Does not move."""
        return all(chunk.count(0) == len(chunk) for chunk in self._chunks(self.offset))

    def largest_durable_behind(self, seq: int) -> int:
        """Highest ``durable`` of the whole later records behind this place, 0 if there is none.

        The chain cannot be checked across the damage, so a record counts by its checksum and its number; at
        any offset, for bytes may have been cut out.
        """
        found = 0
        carried, base = b"", self.offset
        for chunk in self._chunks(self.offset):
            window = carried + chunk
            at = window.find(MAGIC)
            while at >= 0:
                found = max(found, self._durable_at(base + at, seq))
                at = window.find(MAGIC, at + 1)
            carried = window[-(len(MAGIC) - 1) :]
            base += len(window) - len(carried)
        return found

    def _durable_at(self, offset: int, seq: int) -> int:
        try:
            size = needed(_read(self._files, self._handle, HEADER_SIZE, offset))
            record = decode(_read(self._files, self._handle, size, offset))
        except BadRecord:
            return 0
        return record.durable if record.durable < record.seq and record.seq > seq else 0

    def _chunks(self, offset: int) -> Iterator[bytes]:
        while chunk := _read(self._files, self._handle, READ_BYTES, offset):
            yield chunk
            offset += len(chunk)

    def _fill(self, size: int) -> None:
        """Have ``size`` bytes from this place on in the buffer, or all there are."""
        if len(self._buffer) - self._place < size:
            self._buffer = _read(self._files, self._handle, max(READ_BYTES, size), self.offset)
            self._place = 0


def _read(files: Files, handle: int, size: int, offset: int) -> bytes:
    """``size`` bytes, fewer only at the end of the file."""
    parts: list[bytes] = []
    while size > 0 and (part := files.pread(handle, size, offset)):
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)
