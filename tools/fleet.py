"""Many clients of the wire in one process, with little work per message: for loads, not for use.

A ``Link`` is one connection: an asyncio Protocol around ``protocol.connection.Connection``, no task and no timer of its
own. ``ChargePoint`` and ``Driver`` say what the real ones say, as far as Central can tell. ``Fleet`` connects many
of them, keeps them alive with a beat every two seconds, and sends loads at a given pace from one timer.

    fleet = Fleet("127.0.0.1", port)
    points = [ChargePoint(fleet, credential) for credential in credentials]
    await fleet.connect(points)
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Protocol, TypeVar

from protocol import messages as m
from protocol.connection import (
    ChannelClosed,
    Connection,
    Established,
    Grant,
    MessageReceived,
    RefusedByCentral,
)
from protocol.credentials import Credential
from protocol.errors import CloseCode, RemoteProtocolError

# Handshakes under way at once in one process. Central lets an unknown source have 64 open (SPEC §5.2).
OPENING = 48
# Tries of one connection, and the pause between two, seconds: a refusal under load is worth a retry, three are a fault.
TRIES = 5
RETRY_S = 0.5
# Longest wait for one handshake, seconds; Central gives up after 10.
HANDSHAKE_S = 15.0
# How often an idle charge point beats, seconds: well within the 5 s after which Central takes it for lost.
KEEP_S = 2.0
# Pause between two looks of the pacing timer, seconds.
TICK_S = 0.005
# The rating that the charge points of a load have: 6 A to 16 A on three phases.
RATING = m.ConnectorInfo(connector=1, min_w=4_140, max_w=11_040)
# What they draw; constant, so that telemetry makes few records, as most real charging does.
POWER_W = 7_360

monotonic = time.monotonic


class FleetFailed(Exception):
    """A client of the load did not get in, or was thrown out; one sentence."""


class Link(asyncio.Protocol):
    """One connection at a time. Subclasses implement ``opened`` and ``message``."""

    __slots__ = ("_done", "conn", "credential", "fleet", "grant", "lost", "made", "ready", "transport")

    def __init__(self, fleet: Fleet, credential: Credential) -> None:
        self.fleet = fleet
        self.credential = credential
        self.conn: Connection
        self.made = 0
        """Connections that Central's machine took."""
        self.ready = False
        self.grant: Grant | None = None
        self.lost = ""
        """Why it ended, empty while it lives."""
        self.transport: asyncio.Transport | None = None
        self._done: asyncio.Future[str] | None = None

    async def open(self) -> str:
        """Connect and shake hands: empty when it is ready, else why not."""
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        self.ready, self.lost = False, ""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                fleet = self.fleet
                await loop.create_connection(lambda: self, fleet.host, fleet.port, local_addr=fleet.source)
                return await self._done
        except (OSError, TimeoutError) as error:
            if self.transport is not None:
                self.transport.abort()
            return f"{type(error).__name__} {error}".strip()

    def close(self) -> None:
        """End it with an authenticated CLOSE."""
        if self.transport is not None and not self.conn.closed:
            self.conn.close(CloseCode.NORMAL, monotonic())
            self.flush()
            self.transport.close()

    def send(self, message: m.Message) -> None:
        """Seal a message; it goes out with the next ``flush``."""
        self.conn.send(message, monotonic())

    def flush(self) -> None:
        """One write of all that was sealed."""
        data = self.conn.data_to_send()
        if data and self.transport is not None:
            self.transport.write(data)

    # --- what a kind of client does

    def opened(self, grant: Grant) -> None:
        """The channel is open."""

    def message(self, message: m.Message, now: float) -> None:
        """Central says something."""

    def beat(self, now: float) -> None:
        """Show that it lives; for those that have to."""

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # create_connection gives a full transport
        self.fleet.connections += 1
        self.made += 1
        self.conn = Connection.client(
            self.credential,
            boot_id=self.fleet.boot_id,
            conn_no=self.fleet.connections,
            now=monotonic(),
            entropy=os.urandom,
            outbox_epoch=self.outbox_epoch,
        )
        self.flush()

    # The charge point's; nobody else has an outbox.
    outbox_epoch: int | None = None

    def data_received(self, data: bytes) -> None:
        conn, now = self.conn, monotonic()
        conn.receive_data(data, now)
        try:
            while (event := conn.next_event()) is not None:
                if isinstance(event, MessageReceived):
                    self.message(event.message, now)
                elif isinstance(event, Established):
                    self.ready, self.grant = True, event.grant
                    self.opened(event.grant)
                    self._settle("")
                elif isinstance(event, RefusedByCentral):
                    self._over(f"refused: {event.code.name}")
                elif isinstance(event, ChannelClosed):
                    self._over(event.why)
        except RemoteProtocolError as error:
            self._over(f"{type(error).__name__}: {error.message}")
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._over(f"the stream ended{'' if exc is None else f': {exc}'}")

    def _over(self, why: str) -> None:
        if not self.lost:
            self.lost = why
            was_ready, self.ready = self.ready, False
            if was_ready and not self.fleet.closing:
                self.fleet.losses.append(f"{self.credential.username}: {why}")
        if self.transport is not None:
            self.transport.close()
        self._settle(self.lost)

    def _settle(self, outcome: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(outcome)


class ChargePoint(Link):
    """An engine with one connector: does at once what Central orders."""

    __slots__ = ("meter_wh", "n", "on_ack", "on_started", "plugged", "sent", "session", "turns")

    outbox_epoch = 1

    def __init__(self, fleet: Fleet, credential: Credential) -> None:
        super().__init__(fleet, credential)
        self.session = ""
        """The session that runs here."""
        self.meter_wh = 1_000
        self.n = 0
        self.plugged = False
        # Not all begin with the same one of their turns.
        self.turns = next(fleet.places)
        self.sent: deque[float] = deque()
        """When the heartbeats left that were not answered yet."""
        self.on_ack: Callable[[ChargePoint, float, float], None] | None = None
        """Called with (self, seconds that the heartbeat took, now)."""
        self.on_started: Callable[[ChargePoint], None] | None = None

    def opened(self, grant: Grant) -> None:
        self.n = grant.next_n or 0
        self.sent.clear()
        if self.fleet.boots:
            self.send(m.Boot(connectors=[RATING]))

    def beat(self, now: float) -> None:
        self.sent.append(now)
        self.send(m.Heartbeat(id=1))

    def pair(self, now: float) -> None:
        """One supply_update and one heartbeat, in one write."""
        self.update()
        self.beat(now)
        self.flush()

    def turn(self, now: float, beat_every: int) -> None:
        """One supply_update; with one in ``beat_every`` of them goes a heartbeat, in the same write."""
        self.update()
        self.turns += 1
        if self.turns % beat_every == 0:
            self.beat(now)
        self.flush()

    def update(self) -> None:
        """Telemetry of the running session."""
        self.meter_wh += 2
        self.send(m.SupplyUpdate(session_id=self.session, meter_wh=self.meter_wh, power_w=POWER_W))

    def report(self, payload: m.OutboxPayload) -> None:
        """An item of the outbox."""
        self.send(m.Outbox(n=self.n, payload=payload))
        self.n += 1

    def message(self, message: m.Message, now: float) -> None:
        if isinstance(message, m.Ack):
            if message.re is not None and self.sent:
                seconds = now - self.sent.popleft()
                if self.on_ack is not None:
                    self.on_ack(self, seconds, now)
        elif isinstance(message, m.Authorize | m.StartSupply | m.SetLimit | m.StopSupply):
            self.send(m.Result(command_id=message.command_id, outcome="done"))
            if isinstance(message, m.Authorize) and not self.plugged:
                self.plugged = True
                self.send(m.Plugged(connector=1))
            elif isinstance(message, m.StartSupply) and self.session != message.session_id:
                self.session = message.session_id
                self.report(m.SupplyStarted(session_id=self.session, meter_wh=self.meter_wh))
                if self.on_started is not None:
                    self.on_started(self)
        elif isinstance(message, m.Error | m.Refused):
            self.fleet.losses.append(f"{self.credential.username}: {message.sentence}")

    def end(self) -> None:
        """The vehicle goes."""
        self.report(m.SupplyEnded(session_id=self.session, meter_wh=self.meter_wh, reason="unplugged"))
        self.send(m.Unplugged(connector=1))
        self.session, self.plugged = "", False
        self.flush()


class Driver(Link):
    """Asks for charges and confirms every ticket."""

    __slots__ = ("on_ticket", "refusals")

    def __init__(self, fleet: Fleet, credential: Credential) -> None:
        super().__init__(fleet, credential)
        self.refusals: list[str] = []
        self.on_ticket: Callable[[m.Ticket], None] | None = None

    def request(self, cp_id: str) -> None:
        """Ask to charge at ``cp_id``."""
        self.send(m.ChargeRequest(id=cp_id, cp_id=cp_id))

    def message(self, message: m.Message, _now: float) -> None:
        if isinstance(message, m.Ticket):
            self.send(m.TicketReceived(ticket_id=message.ticket_id))
            if self.on_ticket is not None:
                self.on_ticket(message)
        elif isinstance(message, m.Refused | m.Error):
            self.fleet.losses.append(f"{self.credential.username}: {message.sentence}")


class Fleet:
    """The clients of one process, all to one Central."""

    def __init__(self, host: str, port: int, *, boots: bool = True, source: str | None = None) -> None:
        self.host = host
        self.port = port
        self.source = None if source is None else (source, 0)
        """Address from which it connects; None: the kernel chooses."""
        self.boots = boots
        """Whether charge points say ``boot``: without it they are a channel and nothing else."""
        self.boot_id = os.urandom(16)
        self.places = count()
        self.connections = 0
        """How many were made: Central wants each to have a higher number than the one before."""
        self.losses: list[str] = []
        """Connections that ended by themselves, and requests that were refused: a load wants none."""
        self.retries = 0
        self.closing = False
        self._kept: asyncio.Task[None] | None = None

    async def connect(self, links: Sequence[Link]) -> None:
        """Open all, the first one alone: from its success on Central knows this source. Raises FleetFailed."""
        if not links:
            return
        await self._open(links[0])
        waiting = deque(links[1:])

        async def work() -> None:
            while waiting:
                await self._open(waiting.popleft())

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(OPENING, len(waiting))):
                tasks.create_task(work())

    async def _open(self, link: Link) -> None:
        why = ""
        for _ in range(TRIES):
            why = await link.open()
            if not why:
                return
            self.retries += 1
            await asyncio.sleep(RETRY_S)
        raise FleetFailed(f"{link.credential.username} does not get in: {why}.")

    def keep(self, links: Sequence[Link]) -> None:
        """From now on these show that they live, whatever else they do; until ``rest``."""
        self.rest()
        self._kept = asyncio.get_running_loop().create_task(self._keep(links))

    def rest(self) -> None:
        """Stop the beats of ``keep``."""
        if self._kept is not None:
            self._kept.cancel()
            self._kept = None

    async def _keep(self, links: Sequence[Link]) -> None:
        def one(link: Link, now: float) -> None:
            link.beat(now)
            link.flush()

        await pace(links, len(links) / KEEP_S, math.inf, one)

    async def close(self, links: Iterable[Link]) -> None:
        """Close all and wait until the streams have ended."""
        self.closing = True
        closing = list(links)
        for link in closing:
            link.close()
        while any(link.transport is not None for link in closing):
            await asyncio.sleep(TICK_S)
        self.closing = False


class Paced(Protocol):
    """What ``pace`` needs of a link."""

    @property
    def ready(self) -> bool: ...


P = TypeVar("P", bound=Paced)


async def pace(links: Sequence[P], per_s: float, end_s: float, send: Callable[[P, float], None]) -> None:
    """Call ``send(link, now)`` for one link after the other, ``per_s`` in all, until monotonic second ``end_s``.

    An open loop: who is late is not waited for. Links that are not ready are left out.
    """
    if not links:
        return
    began = monotonic()
    turn = 0
    while (now := monotonic()) < end_s:
        due = int((now - began) * per_s)
        while turn < due:
            link = links[turn % len(links)]
            turn += 1
            if link.ready:
                send(link, monotonic())
        await asyncio.sleep(TICK_S)


def read_credentials(text: str, first: int = 0, end: int | None = None) -> list[Credential]:
    """The credentials of the lines from ``first`` to before ``end``, one JSON object each."""
    return [Credential.from_json(line.encode()) for line in text.splitlines()[first:end] if line]
