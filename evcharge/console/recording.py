"""Recordings: everything on the wire of one connection, both ways, as JSON lines that any tool can read.

The first line is ``{"evcharge_recording": 1, "started_ms": …, "role": …, "sid": …}``; then one line for each piece that
was written or read: ``{"t": seconds, "dir": "c2s" or "s2c", "hex": …}``. The bytes are what was on the wire, sealed;
without a key log they show types and sizes only. There is no secret in it, but sizes and times tell something: 0600.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from protocol.frames import MAX_FRAME
from protocol.keylog import C2S, S2C

# Layout of a recording.
VERSION = 1
# Bytes of one piece; what was read at once is cut, so that a line has a limit.
MAX_PIECE = MAX_FRAME
# Longest line: a piece in hex, and the rest.
MAX_LINE = 2 * MAX_PIECE + 256
# Pieces that wait for the header, which names the channel: the handshake has three before SESSION.
_MAX_WAITING = 16


class _Header(msgspec.Struct, omit_defaults=True):
    evcharge_recording: int
    started_ms: int = 0
    role: str = ""
    sid: str | None = None


class _Line(msgspec.Struct):
    t: float
    dir: str
    hex: str


class RecordingError(Exception):
    """A recording cannot be read (any further); one sentence with the line."""


class Piece(NamedTuple):
    """Bytes as they went over the wire; ``line`` in the file."""

    t: float
    direction: str
    data: bytes
    line: int


class Recorder:
    """Writes a recording. The header waits for SESSION, so that it names the channel. Methods raise OSError."""

    def __init__(self, stream: BinaryIO, *, started_ms: int, role: str) -> None:
        self._stream = stream
        self._header: _Header | None = _Header(VERSION, started_ms, role)
        self._waiting: list[bytes] = []

    def session(self, sid: bytes) -> None:
        """The channel has an id."""
        if self._header is not None:
            self._header.sid = sid.hex()
            self._begin()

    def piece(self, t: float, direction: str, data: bytes) -> None:
        """Bytes were written or read."""
        for start in range(0, len(data), MAX_PIECE):
            part = data[start : start + MAX_PIECE]
            self._waiting.append(msgspec.json.encode(_Line(round(t, 6), direction, part.hex())) + b"\n")
        if self._header is None or len(self._waiting) >= _MAX_WAITING:
            self._begin()

    def close(self) -> None:
        """Everything goes to the file."""
        self._begin()
        self._stream.close()

    def _begin(self) -> None:
        if self._header is not None:
            self._stream.write(msgspec.json.encode(self._header) + b"\n")
            self._header = None
        self._stream.writelines(self._waiting)
        self._waiting.clear()
        self._stream.flush()


def new_private_file(path: Path) -> BinaryIO:
    """A new file that only its owner reads (0600). Raises FileExistsError, OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def is_recording(start: bytes) -> bool:
    """Whether a file that starts so is meant as a recording."""
    return start.lstrip().startswith(b"{")


def read_recording(stream: BinaryIO) -> Iterator[Piece]:
    """The pieces of a recording, one line in memory at a time. Raises RecordingError, also in the middle."""
    first = stream.readline(MAX_LINE + 1)
    try:
        header = msgspec.json.decode(first, type=_Header)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise RecordingError("Line 1 is no header of a recording; evcharge-nc --record writes one.") from None
    if header.evcharge_recording != VERSION:
        raise RecordingError(
            f"The recording has layout {header.evcharge_recording}, this program reads {VERSION}: update it."
        )
    number, offset = 1, len(first)
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        yield _piece(line, number, offset)
        offset += len(line)


def _piece(line: bytes, number: int, offset: int) -> Piece:
    where = f"Line {number} (byte {offset} of the file)"
    if not line.endswith(b"\n"):
        what = "is too long" if len(line) > MAX_LINE else "is cut off: the recording ends there"
        raise RecordingError(f"{where} {what}.")
    try:
        row = msgspec.json.decode(line, type=_Line)
        data = bytes.fromhex(row.hex)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise RecordingError(f"{where} is damaged: no JSON with t, dir and hex.") from None
    if not math.isfinite(row.t):
        raise RecordingError(f"{where} has a time that is no number of seconds.")
    if row.dir not in (C2S, S2C):
        raise RecordingError(f"{where} has a direction other than {C2S} and {S2C}.")
    return Piece(row.t, row.dir, data, number)
