"""Sends the client's frames of a recording once more and shows what Central makes of them: nothing, if all is well.

A replayed HELLO is answered (it proves nothing and leads nowhere, SPEC §4), a replayed AUTH is not: Central's ephemeral
key is another one. Central has accepted something only when it sends SESSION, REFUSE or a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

from evcharge.console.decoder import Decoder, Half
from evcharge.console.keys import Keyring
from evcharge.console.recording import Piece, RecordingError
from evcharge.console.rows import Row
from evcharge.net.clock import Clock
from evcharge.net.timers import TimerWheel
from protocol.errors import FrameTooLarge
from protocol.frames import HELLO, LENGTH_SIZE, MAX_FRAME, FrameDecoder, encode_frame
from protocol.keylog import C2S, S2C

# How long Central's reaction to a frame is waited for, in seconds, before the next one is sent: it answers in
# milliseconds, and it may queue a HELLO for 3 s (SPEC §5.2).
REACT_S = 4.0
# How long the end is waited for after the last frame, in seconds: the handshake's 10 s and some. SPEC §5.1
END_S = 15.0
# Frames of the client that are replayed: those of the handshake, and enough after it.
MAX_FRAMES = 64
# Where the type stands in a frame.
_TYPE_AT = LENGTH_SIZE


class Outcome(NamedTuple):
    """``refused``: as it should be."""

    refused: bool
    sentence: str


def client_frames(pieces: Iterable[Piece]) -> list[bytes]:
    """The first frames that the client sent, as bytes. Raises RecordingError when there is no HELLO."""
    decoder, found = FrameDecoder(MAX_FRAME), list[bytes]()
    for piece in pieces:
        if piece.direction != C2S:
            continue
        decoder.feed(piece.data)
        try:
            while (frame := decoder.next_frame()) is not None:
                found.append(encode_frame(*frame))
        except FrameTooLarge:
            # Raw bytes of --raw: what came before them can be replayed.
            break
        if len(found) >= MAX_FRAMES:
            break
    if not found or found[0][_TYPE_AT] != HELLO:
        raise RecordingError("The recording does not begin with the client's HELLO: there is nothing to replay.")
    return found


class Replay(asyncio.Protocol):
    """One connection that plays ``frames``."""

    def __init__(
        self, frames: list[bytes], *, clock: Clock, timers: TimerWheel, show: Callable[[Row], None], blocks: bool
    ) -> None:
        self._frames = frames
        self._clock = clock
        self._timers = timers
        self._show = show
        self._decoder = Decoder(Keyring(), blocks=blocks)
        self._halves = {C2S: Half(C2S), S2C: Half(S2C)}
        self._start_s = clock.monotonic()
        self._transport: asyncio.WriteTransport | None = None
        self._news = asyncio.Event()
        self._gone = False
        self._heard: list[str] = []

    async def run(self) -> Outcome:
        """Play all frames, or until Central has had enough."""
        sent = 0
        for frame in self._frames:
            if self._gone or self._accepted():
                break
            self._send(frame)
            sent += 1
            await self._wait(REACT_S if sent < len(self._frames) else END_S)
        if not self._gone and not self._accepted():
            await self._wait(END_S)
        if self._transport is not None:
            self._transport.close()
        return self._judge(sent)

    # --- asyncio ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.WriteTransport without being one.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        for row in self._decoder.feed(self._halves[S2C], data, self._t()):
            if row.frame is not None:
                self._heard.append(row.frame if row.fields is None else f"{row.frame} {row.fields.get('hint', '')}")
            self._show(row)
        self._news.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._gone:
            self._gone = True
            self._show(Row(t=self._t(), what="end", text="Central closed the connection"))
        self._news.set()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _t(self) -> float:
        return self._clock.monotonic() - self._start_s

    def _send(self, frame: bytes) -> None:
        for row in self._decoder.feed(self._halves[C2S], frame, self._t()):
            self._show(row)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    async def _wait(self, seconds: float) -> None:
        """For Central's next word, its end, or ``seconds``."""
        if self._gone:
            return
        self._news.clear()
        timer = self._timers.schedule(self._clock.monotonic() + seconds, self._news.set)
        try:
            await self._news.wait()
        finally:
            self._timers.cancel(timer)

    def _accepted(self) -> bool:
        return any(name in ("SESSION", "REFUSE", "DATA") for name in self._heard)

    def _judge(self, sent: int) -> Outcome:
        heard = ", ".join(self._heard) or "nothing"
        if self._accepted():
            return Outcome(False, f"Central ACCEPTED a replayed frame: it answered {heard}.")
        if any(name.startswith("ALERT") for name in self._heard):
            return Outcome(False, f"Central turned the connection away before it looked ({heard}): try again later.")
        if not self._gone:
            return Outcome(False, f"Central neither accepted nor closed; it answered {heard}.")
        if "REPLY" not in self._heard:
            # Central answers every HELLO that is meant for it: who hangs up on it is somebody else.
            return Outcome(
                False,
                f"Nothing was refused: who is there did not answer HELLO ({heard}). Is it the recording's Central?",
            )
        return Outcome(True, f"Central refused the replay after {sent} of {len(self._frames)} frames, as it should be.")
