"""Reading a log while Central writes it: whole records in order, each once, for as long as one likes to ask.

A record that is half there is not damage here, it is not there yet. Nothing is judged: that is ``verify``'s work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from evcharge.audit.files import Files
from evcharge.audit.record import FIRST_SEQ, BadRecord, Record, decode, needed
from evcharge.audit.segments import list_segments

# How much is read at once, in bytes.
READ_BYTES = 1 << 20


class Follower:
    """Where somebody stands in a log."""

    def __init__(self, directory: Path, files: Files, seq: int = FIRST_SEQ) -> None:
        """``seq``: the first record that is wanted."""
        self.seq = seq
        """The record that comes next."""
        self._directory = directory
        self._files = files
        self._path: Path | None = None
        self._offset = 0

    def records(self) -> Iterator[Record]:
        """All whole records that are there now and were not given yet. Raises OSError."""
        while (path := self._segment()) is not None:
            if path != self._path:
                self._path, self._offset = path, 0
            # Opened anew each time: a recovery puts another file of the same name, with the same start, in its place.
            handle = self._files.open(path)
            try:
                yield from self._read(handle)
            finally:
                with suppress(OSError):
                    self._files.close(handle)
            if self._segment() == path:
                return

    def unread(self) -> bool:
        """Whether something stands behind the last record that is none: damage, or a write that was cut.

        Of a log that is being written only what the first look saw counts: the record may have come whole meanwhile.
        Raises OSError.
        """
        path = self._segment()
        if path is None:
            return False
        later = any(first > self.seq for first, _ in list_segments(self._directory, self._files)[0])
        handle = self._files.open(path)
        try:
            offset = self._offset if path == self._path else 0
            rest = self._files.pread(handle, READ_BYTES, offset).strip(b"\0") != b""
        finally:
            with suppress(OSError):
                self._files.close(handle)
        return later or (rest and next(self.records(), None) is None)

    def _segment(self) -> Path | None:
        """The segment that holds the next record, or will."""
        segments, _ = list_segments(self._directory, self._files)
        if segments and segments[0].first_seq > self.seq:
            # Those before were archived.
            self.seq = segments[0].first_seq
        fitting = [path for first, path in segments if first <= self.seq]
        return fitting[-1] if fitting else None

    def _read(self, handle: int) -> Iterator[Record]:
        """From ``_offset`` to the first record that is not whole."""
        buffer = b""
        while chunk := self._files.pread(handle, READ_BYTES, self._offset + len(buffer)):
            buffer += chunk
            place = 0
            with suppress(BadRecord):
                while True:
                    record = decode(buffer, place)
                    place += record.size
                    if record.seq >= self.seq:
                        self.seq = record.seq + 1
                        yield record
            if not place and not _begun(buffer):
                return
            self._offset += place
            buffer = buffer[place:]


def _begun(buffer: bytes) -> bool:
    """Whether a record begins here that goes on behind the end of what was read."""
    try:
        return needed(buffer) > len(buffer)
    except BadRecord:
        return False
