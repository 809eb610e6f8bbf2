"""One connection of the wire on one asyncio transport: bytes in, plain calls to a handler, bytes out.

No task, no queue, no await: a heartbeat is answered inside ``data_received``. What a batch of frames makes is written
with one write. Messages are sealed just before they are written, so a token is young when it leaves.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import structlog

from evcharge.net.clock import Clock
from evcharge.net.flow import EXTRA, Bucket, Rate, Traffic, WaitLimits
from evcharge.net.handler import Owner, PeerHandler
from evcharge.net.timers import Timer, TimerWheel
from evcharge.net.writer import HIGH_WATER, LOW_WATER, Writer
from protocol.connection import Connection
from protocol.credentials import Role
from protocol.errors import CloseCode, RefuseCode, RemoteProtocolError
from protocol.events import (
    AuthPresented,
    ChannelClosed,
    CheckpointSeen,
    Established,
    Event,
    Grant,
    HelloReceived,
    MessageReceived,
    RefusedByCentral,
)

# After a pause of ours a peer's silence counts again only after this time, in seconds: its bytes may be in the kernel.
GRACE_S = 1.0

_WAIT_LIMITS = WaitLimits()
# Of connections whose traffic nobody asks about.
_UNCOUNTED = Traffic()

log = structlog.get_logger(__name__)


# Why nothing is read from the peer: bits of one number, asked for every message.
_BY_RATE, _BY_HANDLER = 1, 2
# Most tokens that are taken out of the bucket at once: asking it for each one costs more than counting.
COUNT_EVERY = 16


class Adapter(Writer):
    """Drives one ``Connection``. ``peer`` is the handler's own, for whatever it keeps per connection."""

    __slots__ = (
        "_bucket",
        "_count_at",
        "_handler",
        "_held",
        "_owner",
        "_resumed_s",
        "_timer",
        "_timers",
        "_tokens_seen",
        "_told",
        "address",
        "established",
        "peer",
        "port",
        "refusal",
        "refused",
        "source",
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
        wait_limits: WaitLimits = _WAIT_LIMITS,
        traffic: Traffic = _UNCOUNTED,
    ) -> None:
        """``rate`` limits what is read; None: the peer is trusted (Central, for a client). ``traffic`` counts
        what goes through, with that of others."""
        super().__init__(conn, clock, wait_limits, traffic)
        self.established = False
        """The channel was open once."""
        self.peer: Any = None
        self.refusal: RefusedByCentral | None = None
        """Client: Central's authenticated no."""
        self.refused: RefuseCode | None = None
        """Server: with what this peer was refused."""
        self.address = ""
        """The peer's IP address."""
        self.port = 0
        self.source = ""
        """Server: whom the limits of strangers count this connection to (``sources.source_of``)."""
        self._handler = handler
        self._owner = owner
        self._timers = timers
        self._timer: Timer | None = None
        self._told = False
        self._held = 0
        self._bucket = None if rate is None else Bucket(rate, clock.monotonic())
        self._tokens_seen = 0
        self._count_at = 1
        self._resumed_s = float("-inf")

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

    def silent_s(self, now: float) -> float:
        """How long nothing authentic came, in seconds; 0 while this side itself does not read.

        After a pause of ours it counts from its end: what the peer said meanwhile may still be in the kernel.
        """
        if self._held:
            return 0.0
        return max(0.0, now - max(self.conn.last_received, self._resumed_s))

    def channel_ms(self) -> int:
        """The channel clock. LocalProtocolError before SESSION."""
        return self.conn.channel_ms(self._clock.monotonic())

    def answer_hello(self) -> None:
        """Server: let the handler answer HELLO now. Its bugs end this connection, not the one that made room."""
        try:
            self._handler.hello(self)
        except Exception:
            log.exception("peer.handler_failed", peer=self.username, role=self.role.name, address=self.address)
            self.close(CloseCode.INTERNAL, "a bug of this side")

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
        self.refused = code
        self.conn.refuse(code, retry_after_s, self._clock.monotonic())
        self._flush()
        return True

    def pause_reading(self) -> None:
        """Read nothing more until ``resume_reading``; what was read already is kept, not handled."""
        self._hold(_BY_HANDLER)

    def resume_reading(self) -> None:
        """Go on, first with what was kept."""
        self._release(_BY_HANDLER)

    def set_rate(self, rate: Rate | None) -> None:
        """Another limit for this peer, from its record; the bucket is full."""
        self._bucket = None if rate is None else Bucket(rate, self._clock.monotonic())
        self._count_at = self.conn.tokens_received + 1
        self._release(_BY_RATE)

    # --- asyncio ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple):
            self.address, self.port = str(peername[0]), int(peername[1])
        self._owner.adapter_made(self)
        self._flush()
        self._arm()

    def data_received(self, data: bytes) -> None:
        self._traffic.bytes_in += len(data)
        self.conn.receive_data(data, self._clock.monotonic())
        self._pump()

    def eof_received(self) -> None:
        self.conn.receive_eof(self._clock.monotonic())
        self._pump()

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
        conn, message, traffic = self.conn, self._handler.message, self._traffic
        try:
            while not self._held or conn.closed:
                event = conn.next_event()
                if conn.tokens_received >= self._count_at:
                    self._count()
                if event is None:
                    break
                if isinstance(event, MessageReceived):
                    traffic.frames_in += 1
                    extra = EXTRA.get(type(event.message))
                    if extra is not None:
                        self._weigh(extra)
                    message(self, event.message)
                else:
                    self._dispatch(event)
        except RemoteProtocolError as error:
            self._over(error.code, False, error.message, error)
        except Exception:
            # Our own bug in one adapter must not take the others with it (design.md, Errors). No details leave.
            log.exception("peer.handler_failed", peer=self.username, role=self.role.name, address=self.address)
            self.close(CloseCode.INTERNAL, "a bug of this side")
        finally:
            self._pumping = False
        self._flush()

    def _dispatch(self, event: Event) -> None:
        handler = self._handler
        if isinstance(event, HelloReceived):
            self._owner.adapter_hello(self)
        elif isinstance(event, AuthPresented):
            self._owner.adapter_auth(self)
            handler.auth(self, event)
        elif isinstance(event, Established):
            self.established = True
            self._owner.adapter_ready(self)
            self._arm()
            handler.established(self, event)
        elif isinstance(event, CheckpointSeen):
            handler.checkpoint(self, event.note)
        elif isinstance(event, RefusedByCentral):
            self.refusal = event
            self._over(None, True, f"refused by Central: {event.code.name}", None)
        elif isinstance(event, ChannelClosed):
            self._over(event.code, event.clean, event.why, None)

    def _over(self, code: CloseCode | None, clean: bool, why: str, error: RemoteProtocolError | None) -> None:
        """Tell the handler that it is over, once."""
        if self._told:
            return
        self._told = True
        try:
            self._handler.closed(self, code, clean, why, error)
        except Exception:
            log.exception("peer.handler_failed", peer=self.username, role=self.role.name, address=self.address)

    def _count(self) -> None:
        """Take what was opened since the last time out of the bucket, PINGs too; an empty one stops the reading."""
        seen = self.conn.tokens_received
        count, self._tokens_seen = seen - self._tokens_seen, seen
        left = COUNT_EVERY
        if self._bucket is not None:
            left = self._bucket.take(count, self._clock.monotonic())
            if not left:
                self._hold(_BY_RATE)
        self._count_at = seen + max(1, min(left, COUNT_EVERY))

    def _weigh(self, extra: int) -> None:
        """A message that is worth more than one: this one is still handled, the next ones may have to wait."""
        if self._bucket is None:
            return
        left = self._bucket.take(extra, self._clock.monotonic())
        if not left:
            self._hold(_BY_RATE)
        self._count_at = min(self._count_at, self.conn.tokens_received + max(1, left))

    def _refilled_s(self) -> float | None:
        """When reading may go on after the bucket was empty."""
        if self._bucket is None or not self._held & _BY_RATE:
            return None
        return self._bucket.refilled_s()

    def _hold(self, why: int) -> None:
        if why & _BY_RATE and not self._held & _BY_RATE:
            self._traffic.throttled += 1
        if not self._held and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._held |= why
        self._arm()

    def _release(self, why: int) -> None:
        if not self._held & why:
            return
        self._held &= ~why
        if self._held:
            return
        self._resumed_s = self._clock.monotonic()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._pump()
        self._arm()

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
        return max(due, self._resumed_s + GRACE_S)

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
            self.abort(CloseCode.SLOW, f"the peer took nothing for {self._wait_limits.slow_s:g} s")
            return
        refilled = self._refilled_s()
        if refilled is not None and now >= refilled:
            self._release(_BY_RATE)
        due = self._conn_timer()
        if due is not None and now >= due:
            self.conn.handle_timer(now)
            self._pump()
        self._arm()
