"""One connection of the wire on one asyncio transport: bytes in, plain calls to a handler, bytes out.

No task, no queue, no await: a heartbeat is answered inside ``data_received``. What a batch of frames makes is written
with one write. Messages are sealed just before they are written, so a token is young when it leaves.
"""

from __future__ import annotations

import asyncio
import enum
import socket
from typing import Any, cast

import structlog

from evcharge.net.clock import Clock
from evcharge.net.flow import MAX_WAITING_BYTES, Bucket, Rate, Waiting
from evcharge.net.handler import Owner, PeerHandler
from evcharge.net.timers import Timer, TimerWheel
from protocol.connection import Connection
from protocol.credentials import Role
from protocol.errors import CloseCode, LocalProtocolError, RefuseCode, RemoteProtocolError
from protocol.events import (
    AuthPresented,
    ChannelClosed,
    Established,
    Event,
    Grant,
    HelloReceived,
    MessageReceived,
    RefusedByCentral,
)
from protocol.messages import Message

# How long a peer may take nothing at all, in seconds, before CLOSE(SLOW). SPEC §5.2
SLOW_S = 10.0
# Bytes in the transport at which messages begin to wait, and at which they go on. Sealed messages sit there, so few.
HIGH_WATER = 64 << 10
LOW_WATER = 16 << 10
# How long the last bytes (a CLOSE) may take to leave, in seconds, before the transport is cut.
LINGER_S = 2.0
# Keepalive of the kernel, in seconds: finds a dead machine even while nothing is read (SPEC §5.1 has PING).
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_PROBES = 30, 10, 3
# After a pause of ours a peer's silence counts again only after this time, in seconds: its bytes may be in the kernel.
GRACE_S = 1.0

log = structlog.get_logger(__name__)


class _Hold(enum.Flag):
    """Why nothing is read from the peer."""

    NO = 0
    RATE = 1
    HANDLER = 2


class Adapter(asyncio.Protocol):
    """Drives one ``Connection``. ``peer`` is the handler's own, for whatever it keeps per connection."""

    __slots__ = (
        "_bucket",
        "_clock",
        "_code",
        "_grace_s",
        "_handler",
        "_held",
        "_linger_s",
        "_owner",
        "_pumping",
        "_slow_s",
        "_timer",
        "_timers",
        "_tokens_seen",
        "_told",
        "_transport",
        "_waiting",
        "_why",
        "_writable",
        "address",
        "conn",
        "established",
        "peer",
        "port",
        "refusal",
    )

    def __init__(
        self,
        conn: Connection,
        handler: PeerHandler,
        owner: Owner,
        *,
        clock: Clock,
        timers: TimerWheel,
        rate: Rate | None = None,
    ) -> None:
        """``rate`` limits what is read; None: the peer is trusted (Central, for a client)."""
        self.conn = conn
        self.established = False
        """The channel was open once."""
        self.peer: Any = None
        self.refusal: RefusedByCentral | None = None
        """Client: Central's authenticated no."""
        self.address = ""
        """The peer's IP address."""
        self.port = 0
        self._handler = handler
        self._owner = owner
        self._clock = clock
        self._timers = timers
        self._timer: Timer | None = None
        self._transport: asyncio.Transport | None = None
        self._pumping = False
        self._told = False
        self._code: CloseCode | None = None
        self._why = ""
        self._held = _Hold.NO
        self._bucket = None if rate is None else Bucket(rate, clock.monotonic())
        self._tokens_seen = 0
        self._grace_s = 0.0
        self._writable = True
        self._slow_s: float | None = None
        self._linger_s: float | None = None
        self._waiting: Waiting | None = None

    # --- for the handler ----------------------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """The peer's role on the server, one's own on the client."""
        return self.conn.role

    @property
    def username(self) -> str:
        return self.conn.username

    @property
    def entity(self) -> str:
        return self.conn.entity

    @property
    def ready(self) -> bool:
        """``send`` works."""
        return self.conn.ready

    @property
    def reading(self) -> bool:
        """False while this side does not read, so that the peer's silence says nothing."""
        return not self._held

    @property
    def waiting(self) -> int:
        """Messages that wait because the peer reads slowly."""
        return 0 if self._waiting is None else len(self._waiting)

    def channel_ms(self) -> int:
        """The channel clock. LocalProtocolError before SESSION."""
        return self.conn.channel_ms(self._clock.monotonic())

    def send(self, message: Message) -> bool:
        """Seal and write, or queue while the peer reads slowly. False: the connection is over, the message is dropped.

        A telemetry message takes the place of an older one of its session in the queue. LocalProtocolError: the
        channel is not ready, or the message is not legal here.
        """
        conn = self.conn
        if conn.closed:
            return False
        now = self._clock.monotonic()
        if self._writable or not conn.ready:
            conn.send(message, now)
            if not self._pumping or conn.pending_bytes > HIGH_WATER:
                self._flush()
        else:
            self._enqueue(message)
        return not conn.closed

    def reply_hello(self, central_time_ms: int) -> bool:
        """Server: verify HELLO and answer. False: the connection is over."""
        if self.conn.closed:
            return False
        self.conn.reply_hello(central_time_ms, self._clock.monotonic())
        self._pump()
        return True

    def accept(self, grant: Grant) -> bool:
        """Server: open the channel. False: the connection is over."""
        if self.conn.closed:
            return False
        self.conn.accept(grant, self._clock.monotonic())
        self._pump()
        return True

    def refuse(self, code: RefuseCode, retry_after_s: int) -> bool:
        """Server: say no and close. False: the connection is over already."""
        if self.conn.closed:
            return False
        self._why = f"refused: {code.name}"
        self.conn.refuse(code, retry_after_s, self._clock.monotonic())
        self._flush()
        return True

    def close(self, code: CloseCode, why: str = "closed by this side") -> None:
        """End it with a CLOSE. ``closed`` is called when the transport is gone, never from inside this call."""
        if not self.conn.closed:
            self._code, self._why = code, why
            self.conn.close(code, self._clock.monotonic())
            self._flush()

    def abort(self, code: CloseCode, why: str) -> None:
        """``close`` for a peer that takes nothing: do not wait until the last bytes have left."""
        self.close(code, why)
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Read nothing more until ``resume_reading``; what was read already is kept, not handled."""
        self._hold(_Hold.HANDLER)

    def resume_reading(self) -> None:
        """Go on, first with what was kept."""
        self._release(_Hold.HANDLER)

    def set_rate(self, rate: Rate | None) -> None:
        """Another limit for this peer, from its record; the bucket is full."""
        self._bucket = None if rate is None else Bucket(rate, self._clock.monotonic())
        self._release(_Hold.RATE)

    # --- asyncio ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        _keep_alive(transport.get_extra_info("socket"))
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple):
            self.address, self.port = str(peername[0]), int(peername[1])
        if not self._owner.adapter_made(self):
            self._told = True
            transport.abort()
            return
        self._flush()
        self._arm()

    def data_received(self, data: bytes) -> None:
        self.conn.receive_data(data, self._clock.monotonic())
        self._pump()

    def eof_received(self) -> None:
        self.conn.receive_eof(self._clock.monotonic())
        self._pump()

    def pause_writing(self) -> None:
        self._writable = False
        self._slow_s = self._clock.monotonic() + SLOW_S
        self._arm()

    def resume_writing(self) -> None:
        self._writable = True
        self._slow_s = None
        self._drain()

    def connection_lost(self, exc: Exception | None) -> None:
        self.conn.receive_eof(self._clock.monotonic())
        self._pump()
        self._over(self._code, bool(self._why), self._why or f"the transport failed: {exc}", None)
        if self._timer is not None:
            self._timers.cancel(self._timer)
            self._timer = None
        self._waiting = None
        self._transport = None
        self._owner.adapter_lost(self)

    # --- reading ------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Handle every event there is, then write once. Stops in the middle while reading is held."""
        if self._pumping:
            return
        self._pumping = True
        conn = self.conn
        try:
            while not self._held or conn.closed:
                try:
                    event = conn.next_event()
                except RemoteProtocolError as error:
                    self._over(error.code, False, error.message, error)
                    break
                if self._bucket is not None:
                    self._take(self._bucket)
                if event is None:
                    break
                self._dispatch(event)
        finally:
            self._pumping = False
        self._flush()

    def _dispatch(self, event: Event) -> None:
        handler = self._handler
        try:
            if isinstance(event, MessageReceived):
                handler.message(self, event.message)
            elif isinstance(event, HelloReceived):
                handler.hello(self)
            elif isinstance(event, AuthPresented):
                handler.auth(self, event)
            elif isinstance(event, Established):
                self.established = True
                self._owner.adapter_ready(self)
                self._arm()
                handler.established(self, event)
            elif isinstance(event, RefusedByCentral):
                self.refusal = event
                self._over(None, True, f"refused by Central: {event.code.name}", None)
            elif isinstance(event, ChannelClosed):
                self._over(event.code, event.clean, event.why, None)
        except Exception:
            # Our own bug in one adapter must not take the others with it (design.md, Errors). No details leave.
            log.exception("peer.handler_failed", peer=self.username, role=self.role.name, address=self.address)
            self.close(CloseCode.INTERNAL, "a bug of this side")

    def _over(self, code: CloseCode | None, clean: bool, why: str, error: RemoteProtocolError | None) -> None:
        """Tell the handler that it is over, once."""
        if self._told:
            return
        self._told = True
        try:
            self._handler.closed(self, code, clean, why, error)
        except Exception:
            log.exception("peer.handler_failed", peer=self.username, role=self.role.name, address=self.address)

    def _take(self, bucket: Bucket) -> None:
        """Count what was opened since the last time, PINGs too; an empty bucket stops the reading."""
        seen = self.conn.tokens_received
        if seen > self._tokens_seen:
            count, self._tokens_seen = seen - self._tokens_seen, seen
            if not bucket.take(count, self._clock.monotonic()):
                self._hold(_Hold.RATE)

    def _refilled_s(self) -> float | None:
        """When reading may go on after the bucket was empty."""
        if self._bucket is None or _Hold.RATE not in self._held:
            return None
        return self._bucket.refilled_s()

    def _hold(self, why: _Hold) -> None:
        if not self._held and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._held |= why
        self._arm()

    def _release(self, why: _Hold) -> None:
        if why not in self._held:
            return
        self._held &= ~why
        if self._held:
            return
        self._grace_s = self._clock.monotonic() + GRACE_S
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._pump()
        self._arm()

    # --- writing ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """One write of all that is sealed; close the transport when the connection is over."""
        transport = self._transport
        if transport is None:
            return
        data = self.conn.data_to_send()
        if data and not transport.is_closing():
            transport.write(data)
            if transport.get_write_buffer_size() > MAX_WAITING_BYTES:
                # Answers to its own PINGs, while it reads nothing.
                self.abort(CloseCode.SLOW, "the peer reads too slowly")
        if self.conn.closed and self._linger_s is None:
            self._linger_s = self._clock.monotonic() + LINGER_S
            transport.close()
            self._arm()

    def _enqueue(self, message: Message) -> None:
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = Waiting()
        waiting.put(message)
        if self._transport is None or waiting.over(self._transport.get_write_buffer_size()):
            self.abort(CloseCode.SLOW, "the peer reads too slowly")

    def _drain(self) -> None:
        """The transport takes bytes again: seal what waits, as long as it does."""
        now = self._clock.monotonic()
        while self._waiting and self._writable and not self.conn.closed:
            try:
                self.conn.send(self._waiting.take(), now)
            except LocalProtocolError:
                log.exception("peer.illegal_message", peer=self.username, role=self.role.name)
                self.close(CloseCode.INTERNAL, "a bug of this side")
                return
            self._flush()

    # --- time ---------------------------------------------------------------------------------------------------

    def _deadline(self) -> float | None:
        """The next moment at which something is due."""
        moments = [self._conn_timer(), self._slow_s, self._refilled_s(), self._linger_s]
        return min((moment for moment in moments if moment is not None), default=None)

    def _conn_timer(self) -> float | None:
        """The connection's own timer; while this side does not read, the peer's silence does not count."""
        due = self.conn.get_timer()
        if due is None or not self.conn.ready:
            return due
        if self._held:
            return None
        return max(due, self._grace_s)

    def _arm(self) -> None:
        """Have a timer that fires no later than the next deadline; a later one is seen when it fires."""
        due = self._deadline()
        if due is None or (self._timer is not None and self._timer.deadline_s <= due):
            return
        if self._timer is not None:
            self._timers.cancel(self._timer)
        self._timer = self._timers.schedule(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        transport = self._transport
        if transport is None:
            return
        if self._linger_s is not None and now >= self._linger_s:
            transport.abort()
            return
        if self._slow_s is not None and now >= self._slow_s:
            self.abort(CloseCode.SLOW, f"the peer took nothing for {SLOW_S:g} s")
            return
        refilled = self._refilled_s()
        if refilled is not None and now >= refilled:
            self._release(_Hold.RATE)
        due = self._conn_timer()
        if due is not None and now >= due:
            self.conn.handle_timer(now)
            self._pump()
        self._arm()


def _keep_alive(sock: socket.socket | None) -> None:
    """Let the kernel find out when the other machine is gone."""
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
