"""A peer's end of the wire: connects, stays connected, pairs requests with answers (SPEC §5.3).

One ``Client`` is one credential. It never queues: without a channel ``send`` says so, and what must not be lost is
the caller's to keep.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from evcharge.net.adapter import Adapter
from evcharge.net.answers import BadAnswer, CentralAway, TooManyRequests, Unanswered
from evcharge.net.answers import RequestFailed as RequestFailed
from evcharge.net.answers import RequestRefused as RequestRefused
from evcharge.net.backoff import CAP_S, reconnect_delay
from evcharge.net.clock import Clock
from evcharge.net.keepalive import keep_alive
from evcharge.net.timers import TimerWheel
from evcharge.net.witness import Witness
from protocol.cipher import Entropy
from protocol.connection import Connection
from protocol.credentials import Credential
from protocol.errors import CloseCode, RefuseCode, RemoteProtocolError, UnsupportedVersion
from protocol.events import AuthPresented, Established, Limits
from protocol.messages import Ack, Drain, Error, Message, Refused, Reply

# Looking the name up and connecting, together, in seconds: a SYN is repeated after 1 and 3 s. SPEC §5.3
CONNECT_S = 5.0
# A revoked peer asks again after this time, in seconds. SPEC §5.3
REVOKED_S = 3600.0
# Another process took the channel over: it is asked for again after this time, in seconds. Long enough that two
# processes do not spend their time on handshakes, short enough that a second terminal is soon done. SPEC §5.3
SUPERSEDED_S = 10.0
# Requests that wait for an answer at the same time. Central takes 200 at once. SPEC §5.2
MAX_REQUESTS = 256

_LIMITS = Limits()

log = structlog.get_logger(__name__)

# Refusals that no waiting mends, with what a person can do.
OTHER_PROGRAM = "another program uses this credential: stop one of the two, or register a credential for each."
PERMANENT: dict[RefuseCode, str] = {
    RefuseCode.UNKNOWN: "Central does not know this credential: register again and use the new file.",
    RefuseCode.REVOKED: "this credential was revoked: ask the operator for a new one.",
    RefuseCode.EXPIRED: "this credential has expired: register again and use the new file.",
    RefuseCode.WRONG_ROLE: "this credential is registered for another role: use the file of this program.",
    RefuseCode.VERSION: "Central speaks another version of the protocol: update this program or Central.",
}


class ChannelInfo(msgspec.Struct, frozen=True):
    """What SESSION said."""

    fence: int | None
    next_n: int | None
    sid: bytes


class Listener(Protocol):
    """Who is told. Plain calls on the loop."""

    def channel_up(self, info: ChannelInfo) -> None:
        """A channel is open: ``send`` and ``request`` work."""
        ...

    def channel_down(self, why: str) -> None:
        """It is gone; comes once after each ``channel_up``."""
        ...

    def message(self, message: Message) -> None:
        """A message of Central that answers no open request."""
        ...


class Refusal(Exception):
    """Central will not have this peer, and trying again will not help."""

    def __init__(self, code: RefuseCode) -> None:
        self.code = code
        self.sentence = PERMANENT[code]
        super().__init__(self.sentence)


class Client:
    """Connects as ``credential``. ``timers`` may be shared by many clients of one process.

    ``boot_id`` is 16 random bytes of this start of the program. With ``give_up``, ``run`` ends at a refusal that
    no waiting mends; without, it tries again for ever.
    """

    def __init__(
        self,
        credential: Credential,
        host: str,
        port: int,
        *,
        clock: Clock,
        listener: Listener,
        boot_id: bytes,
        outbox_epoch: int | None = None,
        entropy: Entropy = os.urandom,
        rng: Callable[[], float] = random.random,
        give_up: bool = False,
        limits: Limits = _LIMITS,
        timers: TimerWheel | None = None,
        witness: Witness | None = None,
        longest_s: float = CAP_S,
    ) -> None:
        """``witness`` keeps Central's newest log checkpoint; by default it forgets with the program.

        ``longest_s``: it waits no longer than that before the next attempt where there was nobody to connect to.
        """
        self.timers = TimerWheel(clock) if timers is None else timers
        self._credential = credential
        self._host = host
        self._port = port
        self._clock = clock
        self._listener = listener
        self._boot_id = boot_id
        self._outbox_epoch = outbox_epoch
        self._entropy = entropy
        self._rng = rng
        self._give_up = give_up
        self._limits = limits
        self._visit: _Visit | None = None
        self._connected = asyncio.Event()
        self._clock_offset_ms: int | None = None
        self._witness = Witness() if witness is None else witness
        self._conn_no = 0
        self._use_next = False
        self._attempt = 0
        self._longest_s = longest_s
        self._requests: dict[int, asyncio.Future[Message]] = {}
        self._last_id = 0

    @property
    def connected(self) -> bool:
        """A channel is open."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Return when a channel is open."""
        await self._connected.wait()

    def channel_ms(self) -> int:
        """Central's channel clock now, UTC ms; runs on without a channel. RuntimeError before the first one."""
        if self._clock_offset_ms is None:
            raise RuntimeError("there was no channel yet, so Central's clock is not known")
        return self._clock_offset_ms + int(self._clock.monotonic() * 1000)

    def send(self, message: Message) -> bool:
        """Send; False when there is no channel, and then nothing is queued. LocalProtocolError: not legal here."""
        visit = self._visit
        if visit is None or visit.adapter is None or not self.connected:
            return False
        return visit.adapter.send(message)

    async def request(self, message: Message, timeout_s: float = 10.0) -> Message:
        """Send ``message`` with an ``id`` of its own and wait for ``reply`` or ``ack``.

        Raises RequestRefused (Central says no) and RequestFailed (no answer; its kind says whether Central may have
        acted).
        """
        if len(self._requests) >= MAX_REQUESTS:
            raise TooManyRequests(f"{MAX_REQUESTS} requests wait for an answer already: try again later.")
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        late = Unanswered(f"Central did not answer in {timeout_s:g} s: try again.")
        timer = self.timers.schedule(self._clock.monotonic() + timeout_s, lambda: _fail(answer, late))
        self._requests[number] = answer
        try:
            if not self.send(msgspec.structs.replace(message, id=number)):
                raise CentralAway("there is no connection to Central now: try again when it is back.")
            return await answer
        finally:
            self.timers.cancel(timer)
            del self._requests[number]

    async def run(self) -> None:
        """Connect, and connect again, until cancelled; then close the channel with CLOSE(NORMAL).

        Raises Refusal with ``give_up`` when Central refuses for good.
        """
        try:
            while True:
                visit = await self._call()
                await self._sleep(self._judge(visit))
        finally:
            last = self._visit
            if last is not None and last.adapter is not None:
                last.adapter.close(CloseCode.NORMAL, "this program ends")
                self.down("this program ends")

    # --- one visit at Central -----------------------------------------------------------------------------------

    async def _call(self) -> _Visit:
        """One connection from the name's look-up to its end."""
        loop = asyncio.get_running_loop()
        self._conn_no += 1
        self._visit = visit = _Visit(self, loop.create_future())
        limit = asyncio.timeout(None)
        timer = self.timers.schedule(self._clock.monotonic() + CONNECT_S, lambda: limit.reschedule(loop.time()))
        try:
            async with limit:
                transport, _ = await loop.create_connection(visit.make, self._host, self._port)
                keep_alive(transport.get_extra_info("socket"))
        except OSError as error:
            late = isinstance(error, TimeoutError) and error.errno is None
            visit.why = f"no answer in {CONNECT_S:g} s" if late else error.strerror or str(error)
            # uvloop asks for it before it connects.
            visit.adapter = None
            self._visit = None
            return visit
        finally:
            self.timers.cancel(timer)
        await visit.gone
        self._visit = None
        return visit

    def adapter(self, visit: _Visit) -> Adapter:
        """For a visit whose transport is there: a connection with HELLO ready to go."""
        now = self._clock.monotonic()
        conn = Connection.client(
            self._credential,
            boot_id=self._boot_id,
            conn_no=self._conn_no,
            now=now,
            entropy=self._entropy,
            outbox_epoch=self._outbox_epoch,
            checkpoint=self._witness.note,
            limits=self._limits,
            use_next_key=self._use_next,
        )
        return Adapter(conn, visit, visit, clock=self._clock, timers=self.timers)

    def _judge(self, visit: _Visit) -> float:
        """How long to wait before the next attempt. Raises Refusal."""
        adapter, code = visit.adapter, visit.refused
        # Whoever takes the connection and does not let this peer in is not asked more often: each time may be a record
        # in Central's log.
        delay_s = reconnect_delay(self._attempt, self._rng(), self._longest_s if adapter is None else CAP_S)
        self._attempt += 1
        log.info("central.left", host=self._host, port=self._port, why=visit.why)
        if adapter is None:
            return delay_s
        proven = adapter.established or adapter.refusal is not None
        if not proven and self._credential.central_next is not None:
            # Central did not prove itself: it may have moved on to the key that it announced.
            self._use_next = not self._use_next
        if code is not None and code in PERMANENT:
            if self._give_up:
                raise Refusal(code)
            if proven:
                # Only what Central itself said may slow us down: anybody on the way can write a hint (SPEC §3.2).
                delay_s = REVOKED_S if code is RefuseCode.REVOKED else CAP_S
        elif visit.code in (CloseCode.SUPERSEDED, CloseCode.DUPLICATE_ID):
            # Another process uses this credential; to take the channel back at once would never end.
            delay_s = SUPERSEDED_S
            log.warning("central.other_program", sentence=OTHER_PROGRAM, peer=self._credential.username)
        elif code is RefuseCode.DUPLICATE_ID:
            log.warning("central.other_program", sentence=OTHER_PROGRAM, peer=self._credential.username)
        if adapter.refusal is not None:
            return adapter.refusal.retry_after_s + delay_s
        # A drain gives every peer a moment of its own, so nothing is added to it.
        return visit.retry_after_s or delay_s

    async def _sleep(self, delay_s: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.timers.schedule(self._clock.monotonic() + delay_s, lambda: _wake(woken))
        try:
            await woken
        finally:
            self.timers.cancel(timer)

    # --- what a visit reports -----------------------------------------------------------------------------------

    def up(self, adapter: Adapter, event: Established) -> None:
        """READY went both ways."""
        grant = event.grant
        self._attempt = 0
        if grant.checkpoint is not None:
            self._witness.see(grant.checkpoint)
        self._clock_offset_ms = adapter.channel_ms() - int(self._clock.monotonic() * 1000)
        self._connected.set()
        self._listener.channel_up(ChannelInfo(grant.fence, grant.next_n, grant.sid))

    def see(self, note: bytes) -> None:
        """Central's newest log checkpoint."""
        self._witness.see(note)

    def take(self, message: Message) -> None:
        """An answer goes to its request, everything else to the listener."""
        if isinstance(message, Reply | Ack | Refused | Error) and type(message.re) is int:
            answer = self._requests.get(message.re)
            if answer is not None:
                if isinstance(message, Refused):
                    _fail(answer, RequestRefused(message.reason, message.sentence, message.retry_after_s))
                elif isinstance(message, Error):
                    _fail(answer, BadAnswer(message.sentence))
                elif not answer.done():
                    answer.set_result(message)
                return
        self._listener.message(message)

    def down(self, why: str) -> None:
        """The channel is gone, if there was one."""
        if not self._connected.is_set():
            return
        self._connected.clear()
        for answer in self._requests.values():
            _fail(answer, Unanswered(f"the connection to Central was lost ({why}): try again."))
        self._listener.channel_down(why)


class _Visit:
    """One connection to Central: handler and owner of its adapter."""

    def __init__(self, client: Client, gone: asyncio.Future[None]) -> None:
        self.adapter: Adapter | None = None
        self.gone = gone
        self.code: CloseCode | None = None
        self.refused: RefuseCode | None = None
        self.why = ""
        self.retry_after_s = 0.0
        self._client = client

    def make(self) -> Adapter:
        self.adapter = self._client.adapter(self)
        return self.adapter

    def adapter_made(self, _adapter: Adapter) -> None:
        """``make`` knows it already."""

    def adapter_hello(self, _adapter: Adapter) -> None:
        raise AssertionError("a client gets no HELLO")

    def adapter_auth(self, _adapter: Adapter) -> None:
        raise AssertionError("a client gets no AUTH")

    def adapter_ready(self, _adapter: Adapter) -> None:
        """``established`` says it."""

    def adapter_lost(self, _adapter: Adapter) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def hello(self, _adapter: Adapter) -> None:
        raise AssertionError("a client gets no HELLO")

    def auth(self, _adapter: Adapter, _event: AuthPresented) -> None:
        raise AssertionError("a client gets no AUTH")

    def established(self, adapter: Adapter, event: Established) -> None:
        self._client.up(adapter, event)

    def message(self, _adapter: Adapter, message: Message) -> None:
        if isinstance(message, Drain):
            self.retry_after_s = message.retry_after_s
        self._client.take(message)

    def checkpoint(self, _adapter: Adapter, note: bytes) -> None:
        self._client.see(note)

    def closed(
        self, adapter: Adapter, code: CloseCode | None, clean: bool, why: str, error: RemoteProtocolError | None
    ) -> None:
        self.code, self.why = code, why
        if adapter.refusal is not None:
            self.refused = adapter.refusal.code
        elif clean and code is CloseCode.REVOKED:
            self.refused = RefuseCode.REVOKED
        elif isinstance(error, UnsupportedVersion):
            self.refused = RefuseCode.VERSION
        self._client.down(why)


def _fail(answer: asyncio.Future[Message], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
