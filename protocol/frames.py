"""Frames: be32 length, type, body (SPEC §3). The decoder is bounded and takes any cut of the stream."""

from __future__ import annotations

from struct import Struct
from typing import Final

from protocol.errors import CloseCode, FrameTooLarge

# Frame types. SPEC §3.2
HELLO: Final = 0x01
REPLY: Final = 0x02
AUTH: Final = 0x03
SESSION: Final = 0x04
REFUSE: Final = 0x05
DATA: Final = 0x10
ALERT: Final = 0x7F

# Longest legal frame, counted without its length field. A reply with 100 rows is 40 KiB sealed. SPEC §3.1
MAX_FRAME = 65_536
# Longest frame before authentication: AUTH with every field full has 760 bytes. SPEC §3.1
MAX_HANDSHAKE_FRAME = 1024
# Bytes of the length field, and of length and type.
LENGTH_SIZE = 4
HEAD_SIZE = 5

_write_head = Struct(">IB").pack
_read_length = Struct(">I").unpack_from


def encode_frame(kind: int, body: bytes) -> bytes:
    """One frame of type ``kind``."""
    return _write_head(len(body) + 1, kind) + body


class FrameDecoder:
    """Cuts a byte stream into frames.

    After ``next_frame`` returned None it holds less than one frame: at most ``limit + 3`` bytes. ``limit`` may
    be raised between frames, when authentication is done.
    """

    __slots__ = ("_buffer", "_start", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer: bytes | bytearray = b""
        self._start = 0

    @property
    def held(self) -> int:
        """Bytes that wait for more."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        if not self._buffer:
            # The usual case, whole frames: nothing is copied.
            self._buffer = data
            return
        if not isinstance(self._buffer, bytearray):
            # A frame that comes in many pieces grows in place instead of being copied for each piece.
            self._buffer = bytearray(self._buffer[self._start :])
            self._start = 0
        self._buffer += data

    def next_frame(self) -> tuple[int, bytes] | None:
        """The next frame as (type, body), None when more bytes are needed.

        Raises FrameTooLarge as soon as the four bytes of a bad length are there.
        """
        buffer, start = self._buffer, self._start
        size = len(buffer) - start
        if size < LENGTH_SIZE:
            if start:
                self._let_go()
            return None
        length: int = _read_length(buffer, start)[0]
        if not 0 < length <= self.limit:
            self.clear()
            raise FrameTooLarge(CloseCode.PROTOCOL, f"A frame of {length} bytes; legal are 1 to {self.limit}.")
        if length > size - LENGTH_SIZE:
            if start:
                self._let_go()
            return None
        body_at = start + HEAD_SIZE
        end = body_at + length - 1
        kind, body = buffer[body_at - 1], buffer[body_at:end]
        if length == size - LENGTH_SIZE:
            self._buffer = b""
            self._start = 0
        else:
            self._start = end
        return kind, body if type(body) is bytes else bytes(body)

    def clear(self) -> None:
        """Forget what is held."""
        self._buffer = b""
        self._start = 0

    def _let_go(self) -> None:
        """Drop the frames already taken, so that an idle connection holds part of one frame and no more."""
        self._buffer = bytes(self._buffer[self._start :])
        self._start = 0
