"""One live channel that is looked at: an ordinary client of the wire whose bytes pass a decoder in both directions.

The decoder sees what a stranger on the line would see, and opens it with the leaf keys that this client gives away to
itself (SPEC §8), so what is shown is what was sent, not what was meant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from evcharge.console.decoder import Decoder, Half
from evcharge.console.keys import Keyring
from evcharge.console.lines import LineError, Reader, Say, Token, Wire
from evcharge.console.recording import Recorder
from evcharge.console.rows import Row
from evcharge.net.clock import Clock
from evcharge.net.timers import Timer, TimerWheel
from protocol import channel as token
from protocol.cipher import Entropy
from protocol.connection import Connection
from protocol.credentials import Credential
from protocol.errors import CloseCode, LocalProtocolError, RemoteProtocolError
from protocol.events import ChannelClosed, Established, Event, Limits, MessageReceived, RefusedByCentral
from protocol.keylog import C2S, S2C, KeyLog, LeafKey
from protocol.messages import Ack, Error, Refused, Reply

_LIMITS = Limits()


class RawConnection(Connection):
    """A client's connection that also seals what no client may say: only the console has one."""

    __slots__ = ()

    def seal(self, kind: int, body: bytes, now: float) -> None:
        """A token of any kind. Raises LocalProtocolError without a channel."""
        if not self.ready:
            raise LocalProtocolError("There is no open channel.")
        self._seal(kind, body, now)


class Live(asyncio.Protocol):
    """Drives one ``RawConnection`` on one transport and shows everything.

    ``opened`` and ``gone`` are set once; ``failure`` is then the sentence of what went wrong, None for a clean end.
    """

    def __init__(
        self,
        credential: Credential,
        *,
        clock: Clock,
        timers: TimerWheel,
        boot_id: bytes,
        entropy: Entropy,
        show: Callable[[Row], None],
        recorder: Recorder | None = None,
        key_log: KeyLog | None = None,
        raw: bool = False,
        blocks: bool = False,
        use_next_key: bool = False,
        limits: Limits = _LIMITS,
    ) -> None:
        self.reader = Reader(credential.role, raw=raw)
        self.opened = asyncio.Event()
        self.gone = asyncio.Event()
        self.lost = asyncio.Event()
        """The transport has let go: everything that was written has left."""
        self.news = asyncio.Event()
        """Set whenever something came or ended; the owner clears it."""
        self.writable = asyncio.Event()
        self.writable.set()
        self.failure: str | None = None
        self.open_requests: dict[int | str, str] = {}
        """Requests without an answer: id → type."""
        self.refusals = 0
        """Answers of Central that were a no."""
        self.last_message_s = clock.monotonic()
        """When the last message of Central came."""
        self.timers = timers
        self.clock = clock
        self._make = partial(
            RawConnection.client,
            credential,
            boot_id=boot_id,
            conn_no=1,
            entropy=entropy,
            limits=limits,
            use_next_key=use_next_key,
            key_log=self._key,
        )
        self._show = show
        self._recorder = recorder
        self._key_log = key_log
        self._blocks = blocks
        self._keys = Keyring()
        self._decoder = Decoder(self._keys, blocks=blocks)
        self._halves = {C2S: Half(C2S), S2C: Half(S2C)}
        self._start_s = clock.monotonic()
        self._conn: RawConnection | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: Timer | None = None

    # --- for the owner ----------------------------------------------------------------------------------------------

    def send(self, line: Say | Wire | Token) -> None:
        """Send what was typed. Raises LineError when the channel does not take it."""
        conn, now = self._conn, self.clock.monotonic()
        if conn is None or not conn.ready:
            raise LineError("The channel is closed; nothing is sent any more.")
        try:
            if isinstance(line, Wire):
                self._flush()
                self._note("raw", f"{len(line.data)} raw bytes", [("raw", line.data)])
                self._write(line.data)
            elif isinstance(line, Token):
                conn.seal(line.kind, line.body, now)
            elif line.legal is not None:
                conn.send(line.legal, now)
                self.reader.sent(line.legal)
            else:
                conn.seal(token.APP, line.body, now)
        except LocalProtocolError as error:
            raise LineError(str(error)) from None
        if isinstance(line, Say) and line.request is not None:
            self.open_requests[line.request] = line.name
        self._flush()

    def leave(self) -> None:
        """Close the channel with CLOSE(NORMAL)."""
        if self._conn is not None and not self._conn.closed:
            self._conn.close(CloseCode.NORMAL, self.clock.monotonic())
            self._flush()
            self._end("this program closed the channel", None)

    def clock_text(self) -> str:
        """The channel clock in words."""
        if self._conn is None or not self.opened.is_set():
            return "There is no channel clock yet."
        return f"channel clock {utc(self._conn.channel_ms(self.clock.monotonic()))}"

    # --- asyncio ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        self._start_s = self.clock.monotonic()
        peer = transport.get_extra_info("peername")
        self._note("note", f"connected to {peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "connected")
        self._conn = self._make(now=self._start_s)
        self._flush()
        self._arm()

    def data_received(self, data: bytes) -> None:
        conn = self._conn
        assert conn is not None
        now = self.clock.monotonic()
        self._record(S2C, data, now)
        conn.receive_data(data, now)
        events, error = self._drain(conn)
        self._rows(S2C, data, now)
        for event in events:
            self._event(conn, event)
        self._flush()
        if error is not None:
            why = f"Central broke the protocol: {error.message}"
            self._end(why, why)
        self.news.set()

    def eof_received(self) -> None:
        """``connection_lost`` follows and says it."""

    def connection_lost(self, exc: Exception | None) -> None:
        conn = self._conn
        if conn is not None and not conn.closed:
            conn.receive_eof(self.clock.monotonic())
            for event in self._drain(conn)[0]:
                self._event(conn, event)
        why = "the connection is gone" if exc is None else f"the connection failed: {exc}"
        self._end(why, why)
        self.lost.set()
        if self._timer is not None:
            self.timers.cancel(self._timer)
            self._timer = None

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _key(self, key: LeafKey) -> None:
        """An epoch begins: the decoder can read it from now on."""
        self._keys.add(key)
        try:
            if self._recorder is not None:
                self._recorder.session(key.sid)
            if self._key_log is not None:
                self._key_log(key)
        except OSError as error:
            self._disk_failed(error)

    def _record(self, direction: str, data: bytes, now: float) -> None:
        if self._recorder is None:
            return
        try:
            self._recorder.piece(now - self._start_s, direction, data)
        except OSError as error:
            self._disk_failed(error)

    def _disk_failed(self, error: OSError) -> None:
        """Whoever asked for a file wants it whole: nothing goes on without it."""
        self._recorder = self._key_log = None
        why = f"the recording or key log cannot be written ({error.strerror}): free some space, start again"
        self._end(why, why)

    def _drain(self, conn: Connection) -> tuple[list[Event], RemoteProtocolError | None]:
        events: list[Event] = []
        try:
            while (event := conn.next_event()) is not None:
                events.append(event)
        except RemoteProtocolError as error:
            return events, error
        return events, None

    def _event(self, conn: Connection, event: Event) -> None:
        if isinstance(event, MessageReceived):
            self.last_message_s = self.clock.monotonic()
            answer = event.message
            if isinstance(answer, Refused | Error):
                self.refusals += 1
            if isinstance(answer, Reply | Ack | Refused | Error) and answer.re is not None:
                self.open_requests.pop(answer.re, None)
        elif isinstance(event, Established):
            grant = event.grant
            fields: dict[str, Any] = {"sid": grant.sid.hex(), "role": conn.role.label, "entity": conn.entity}
            fields |= {"fence": grant.fence, "clock": utc(conn.channel_ms(self.clock.monotonic()))}
            self._show(Row(t=self._t(), what="open", fields=fields))
            self.last_message_s = self.clock.monotonic()
            self.opened.set()
        elif isinstance(event, RefusedByCentral):
            why = f"Central refused: {event.code.name}, try again after {event.retry_after_s} s"
            self._end(why, why)
        elif isinstance(event, ChannelClosed):
            why = event.why if event.clean else f"{event.why}: the end is not authentic"
            self._end(why, why)

    def _write(self, data: bytes) -> None:
        """Bytes leave: onto the wire, into the recording, past the decoder."""
        now = self.clock.monotonic()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        self._record(C2S, data, now)
        self._rows(C2S, data, now)

    def _flush(self) -> None:
        conn = self._conn
        if conn is None:
            return
        data = conn.data_to_send()
        if data:
            self._write(data)
        if conn.closed and self._transport is not None:
            self._transport.close()

    def _rows(self, direction: str, data: bytes, now: float) -> None:
        half = self._halves[direction]
        for row in self._decoder.feed(half, data, now - self._start_s):
            self._show(row)
        # Not when a key begins: one read may hold the tokens of several epochs.
        if half.key is not None:
            self._keys.drop_before(half.key)

    def _t(self) -> float:
        return self.clock.monotonic() - self._start_s

    def _note(self, what: str, text: str, blocks: list[tuple[str, bytes]] | None = None) -> None:
        direction = C2S if what == "raw" else ""
        self._show(Row(t=self._t(), dir=direction, what=what, text=text, blocks=blocks if self._blocks else None))

    def _end(self, why: str, failure: str | None) -> None:
        """It is over; said once."""
        if self.gone.is_set():
            return
        self.failure = failure
        self._show(Row(t=self._t(), what="end", text=why))
        self.gone.set()
        self.news.set()
        if self._transport is not None:
            self._transport.close()

    def _arm(self) -> None:
        """Have a timer for the connection's next deadline; a later one is seen when it fires."""
        due = None if self._conn is None else self._conn.get_timer()
        if due is not None and not self.gone.is_set():
            self._timer = self.timers.schedule(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        conn = self._conn
        assert conn is not None
        conn.handle_timer(self.clock.monotonic())
        events, error = self._drain(conn)
        self._flush()
        for event in events:
            self._event(conn, event)
        if error is not None:
            self._end(error.message, error.message)
        self._arm()


def utc(instant_ms: int) -> str:
    """An instant for people and scripts: ISO 8601 in UTC with milliseconds."""
    whole = datetime.fromtimestamp(instant_ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{instant_ms % 1000:03d}Z"
