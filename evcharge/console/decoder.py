"""Bytes of one connection become rows: live, from a recording or from a capture; with leaf keys or without.

The decoder knows no traffic secret and no state of the channel: each frame stands alone, each token is opened by
``cryptography.fernet`` with a leaf key. So it may begin in the middle, and what it shows is what any reader would see.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Any

import msgspec

from evcharge.console.keys import Keyring
from evcharge.console.rows import FRAME_NAMES, KIND_NAMES, Row, close_name, jsonable
from protocol import channel as token
from protocol import frames
from protocol.credentials import KEY_ID_SIZE
from protocol.errors import FrameTooLarge, refuse_code
from protocol.frames import HEAD_SIZE, MAX_FRAME, FrameDecoder
from protocol.keylog import LeafKey

# How a token begins in its frame: type DATA, then Fernet's version 0x80 and the upper bytes of a time before 2106.
_TOKEN_START = bytes([frames.DATA]) + b"gAAAAA"
# Before the type stands the length.
_LENGTH = 4
# Sequence number and kind before the body of a token. SPEC §4.8
_INNER = 9
_HELLO_MAGIC = b"EVCH"
# What msgspec raises for bytes that are no msgpack: TypeError for a map in the place of a key. Our own ValueError too.
_UNDECODABLE = (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError)


class Half:
    """One direction of a connection. ``aligned``: the first byte that comes is the first of a frame."""

    def __init__(self, direction: str | None, *, aligned: bool = True, guess: str = "") -> None:
        self.direction = direction
        """None until a key tells; ``guess`` is shown until then."""
        self.guess = guess
        self.frames = FrameDecoder(MAX_FRAME)
        self.aligned = aligned
        self.broken = False
        self.at = 0
        """Offset of the next frame in the stream."""
        self.key: LeafKey | None = None
        self.next_seq: int | None = None
        self.waiting = b""
        """Bytes in which the start of a frame is looked for."""

    @property
    def held(self) -> int:
        """Bytes of an unfinished frame."""
        return self.frames.held + len(self.waiting)


class Decoder:
    """Both directions of one connection. ``blocks``: rows carry the bytes for ``--hex``."""

    def __init__(self, keys: Keyring, *, blocks: bool = False, link: int | None = None) -> None:
        self._keys = keys
        self._blocks = blocks
        self._link = link
        self._sid: bytes | None = None

    def feed(self, half: Half, data: bytes, t: float) -> Iterator[Row]:
        """The rows that these bytes of ``half`` complete."""
        if half.broken:
            return
        if not half.aligned:
            data = self._align(half, data)
            if not data:
                return
        half.frames.feed(data)
        while True:
            try:
                frame = half.frames.next_frame()
            except FrameTooLarge as error:
                half.broken = True
                text = f"byte {half.at}: {error} Nothing after it in this direction can be read."
                yield self._row(half, t, what="bad", text=text, at=half.at)
                return
            if frame is None:
                return
            size = HEAD_SIZE + len(frame[1])
            yield self._frame(half, t, *frame)
            half.at += size

    def gap(self, half: Half, missing: int, t: float) -> Iterator[Row]:
        """``missing`` bytes never came: what was unfinished is lost, and the next frame has to be found."""
        lost = half.held
        text = f"byte {half.at}: {missing} bytes are missing"
        yield self._row(half, t, what="bad", at=half.at, text=f"{text}, {lost} bytes before them are part of a frame.")
        half.frames.clear()
        half.waiting = b""
        half.at += missing + lost
        half.aligned = half.broken = False
        half.next_seq = None

    def end(self, half: Half, t: float) -> Iterator[Row]:
        """The stream is over: a frame that is not whole is named."""
        if half.held and not half.broken:
            text = f"byte {half.at}: the data ends within a frame, {half.held} bytes of it are here."
            yield self._row(half, t, what="bad", at=half.at, text=text)

    def _align(self, half: Half, data: bytes) -> bytes:
        """The data from the next frame on, as far as it can be told: a DATA frame shows its token's first letters."""
        waiting = half.waiting + data
        start = 0
        while (found := waiting.find(_TOKEN_START, start)) >= 0:
            begin = found - _LENGTH
            if begin >= 0 and 0 < int.from_bytes(waiting[begin:found], "big") <= MAX_FRAME:
                half.aligned = True
                half.waiting = b""
                half.at += begin
                return waiting[begin:]
            start = found + 1
        keep = _LENGTH + len(_TOKEN_START) - 1
        half.at += max(0, len(waiting) - keep)
        half.waiting = waiting[-keep:]
        return b""

    # --- one frame ------------------------------------------------------------------------------------------------

    def _row(self, half: Half, t: float, **fields: Any) -> Row:
        return Row(t=t, dir=half.direction or half.guess, link=self._link, **fields)

    def _frame(self, half: Half, t: float, kind: int, body: bytes) -> Row:
        name = FRAME_NAMES.get(kind, f"type {kind:#04x}")
        row = self._row(half, t, what="frame", frame=name, size=HEAD_SIZE + len(body), at=half.at)
        if self._blocks:
            head = (len(body) + 1).to_bytes(_LENGTH, "big") + bytes([kind])
            row.blocks = [("head", head), ("body", body)]
        if kind == frames.DATA:
            self._token(half, row, body)
        elif kind == frames.HELLO:
            _hello(row, body)
        elif kind == frames.ALERT:
            code = refuse_code(body[0]) if len(body) == 1 else None
            row.fields = {"hint": "unknown" if code is None else code.name}
        elif kind not in FRAME_NAMES:
            row.text = "no type of SPEC §3.2"
        return row

    def _token(self, half: Half, row: Row, body: bytes) -> None:
        row.stamp_s = _stamp(body)
        opened = self._keys.open(body, half.key, self._sid, half.direction)
        if opened is None:
            row.text = "sealed, no key" if row.stamp_s is not None else "no token"
            return
        plain, key = opened
        self._sid = key.sid
        half.key = key
        if half.direction is None:
            half.direction = row.dir = key.direction
        row.epoch = key.epoch
        if self._blocks and row.blocks is not None:
            row.blocks.append(("plain", plain))
        if len(plain) < _INNER:
            row.text = f"a token of {len(plain)} bytes; it needs {_INNER} for number and kind"
            return
        row.seq = int.from_bytes(plain[:8], "big")
        kind, inner = plain[8], plain[_INNER:]
        row.kind = KIND_NAMES[kind] if kind < len(KIND_NAMES) else f"kind {kind}"
        if half.next_seq is not None and row.seq != half.next_seq:
            row.text = f"out of order: token {row.seq} where {half.next_seq} is due"
        half.next_seq = row.seq + 1
        if kind == token.APP:
            _message(row, inner)
        elif kind == token.CLOSE:
            row.fields = {"code": close_name(inner)}
        elif kind == token.KEY_UPDATE:
            half.key = self._keys.after(key) or key
        elif kind == token.PONG and inner:
            row.fields = {"checkpoint_bytes": len(inner)}


def _hello(row: Row, body: bytes) -> None:
    """What HELLO says in the clear (SPEC §4.2)."""
    if len(body) < 6 or body[:4] != _HELLO_MAGIC:
        row.text = "no HELLO of this protocol"
        return
    end = 6 + body[5]
    row.fields = {"versions": list(body[6:end]), "central_kid": body[end : end + KEY_ID_SIZE].hex()}


def _message(row: Row, body: bytes) -> None:
    row.what = "message"
    try:
        value = jsonable(msgspec.msgpack.decode(body))
    except _UNDECODABLE as error:
        detail = "nested too deep" if isinstance(error, RecursionError) else str(error)
        row.text = f"no msgpack that can be shown: {detail[:160]}"
        return
    if isinstance(value, dict):
        row.message = value
    else:
        row.fields = {"value": value}
        row.text = "no map, so no message"


def _stamp(body: bytes) -> int | None:
    """The time in a token's first bytes, which are signed and not sealed; None: this is no token."""
    try:
        head = binascii.a2b_base64(body[:12].translate(_FROM_URL), strict_mode=True)
    except binascii.Error:
        return None
    return int.from_bytes(head[1:9], "big") if len(head) == 9 and head[0] == 0x80 else None


_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")
