"""The floor: the least that a server of this wire can do. ``python -m tools.bench.floor`` is that server.

It has the same cipher, codec, frames and handshake (``protocol/``), the same event loop, and a log that is chained and
committed in groups by a thread. A heartbeat gets its ack; a session gets as many messages of the same kinds as from
Central, at the same moments, and leaves as many records of the same sizes, whose answers wait until they are durable.

What it leaves out is what Central is for: the state and its rules, who may do what, shares of power and leases, views
and money, timers and liveness, slow readers, rates, slots for handshakes, the registry, the audit log's format. It
knows every key from a file and lets everybody else in as well.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from protocol import messages as m
from protocol.connection import AuthPresented, Connection, Established, Grant, HelloReceived, MessageReceived
from protocol.credentials import Credential, Role
from protocol.errors import RemoteProtocolError
from tools.bench.group_commit import GroupCommit

# Records that Central writes per step of a session, as the sizes of their bodies in bytes (measured from its log).
REQUESTED = (280,)  # charge_authorized
AUTHORIZED = (142,)  # authorization_acknowledged
PLUGGED = (135, 227)  # connector_changed, set_point_issued
STARTING = (150,)  # set_point_acknowledged
STARTED = (157, 114)  # supply_started, outbox_applied
SAMPLED = (152,)  # meter_sampled: the first update of a session
ENDED = (171, 413, 114)  # supply_ended, ticket_issued, outbox_applied
UNPLUGGED = (135,)  # connector_changed
DELIVERED = (160,)  # ticket_delivered
CONNECTED = (192,)  # peer_connected
BOOTED = (158,)  # charge_point_booted
DISCONNECTED = (165,)  # peer_disconnected
# Records of one session, for whoever compares.
RECORDS_PER_SESSION = sum(
    map(len, (REQUESTED, AUTHORIZED, PLUGGED, STARTING, STARTED, SAMPLED, ENDED, UNPLUGGED, DELIVERED))
)
# Connections that the kernel keeps while the server is busy; as many as Central's.
BACKLOG = 4096
# How long a set-point of the floor holds, ms: it is never renewed.
LEASE_MS = 3_600_000

monotonic = time.monotonic


class Setup(msgspec.Struct):
    """What the server reads from its first argument (JSON, 0600): it holds Central's secret."""

    credential: str
    keys: dict[str, bytes]
    """Username → public key."""
    log: str
    """Path of the log file."""


class Session(msgspec.Struct):
    """What is needed to answer like Central."""

    session_id: str
    cp_id: str
    driver: Link
    sampled: bool = False
    limited: bool = False


class Floor:
    """All links, and the log."""

    def __init__(self, credential: Credential, keys: dict[str, bytes], log: Path) -> None:
        self.credential = credential
        self.keys = keys
        self.links: dict[str, Link] = {}
        """Entity → its newest link."""
        self.sessions: dict[str, Session] = {}
        self.fence = 0
        self.commands = 0
        self._loop = asyncio.get_running_loop()
        self._log = GroupCommit(log, self._durable_from_thread)
        self._chain = bytes(32)
        self._seq = 0
        self._held: deque[tuple[int, Callable[[], None]]] = deque()

    def write(self, sizes: tuple[int, ...], release: Callable[[], None] | None = None) -> None:
        """Append records of these sizes; ``release`` is called when they are durable."""
        for size in sizes:
            body = bytes(size)
            self._chain = sha256(self._chain + body).digest()
            self._seq = self._log.append(body + self._chain)
        if release is not None:
            self._held.append((self._seq, release))

    def close(self) -> None:
        """Give the log back."""
        self._log.close()

    def _durable_from_thread(self, seq: int) -> None:
        self._loop.call_soon_threadsafe(self._durable, seq)

    def _durable(self, seq: int) -> None:
        held = self._held
        while held and held[0][0] <= seq:
            held.popleft()[1]()


class Link(asyncio.Protocol):
    """One connection."""

    __slots__ = ("conn", "floor", "known", "session", "transport")

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.conn = Connection.server(floor.credential, now=monotonic(), entropy=os.urandom)
        self.transport: asyncio.Transport
        self.session: Session | None = None
        self.known = False
        """Its handshake is done."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a server's streams are full transports

    def data_received(self, data: bytes) -> None:
        conn = self.conn
        conn.receive_data(data, monotonic())
        try:
            while (event := conn.next_event()) is not None:
                if isinstance(event, MessageReceived):
                    self._message(event.message)
                else:
                    self._other(event)
        except RemoteProtocolError:
            pass
        out = conn.data_to_send()
        if out:
            self.transport.write(out)
        if conn.closed:
            self.transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        # From now on ``say`` says nothing.
        self.conn.receive_eof(monotonic())
        if self.known:
            self.floor.write(DISCONNECTED)
        if self.floor.links.get(self.conn.entity) is self:
            del self.floor.links[self.conn.entity]

    def say(self, message: m.Message) -> None:
        """Seal and write."""
        if self.conn.ready:
            self.conn.send(message, monotonic())
            self.transport.write(self.conn.data_to_send())

    def _other(self, event: object) -> None:
        floor, conn, now = self.floor, self.conn, monotonic()
        if isinstance(event, HelloReceived):
            conn.reply_hello(int(time.time() * 1000), now)
        elif isinstance(event, AuthPresented):
            hmac.compare_digest(floor.keys.get(event.username, b""), event.public_key)
            floor.fence += 1
            engine = event.role is Role.CP
            grant = Grant(
                sid=os.urandom(16),
                secret=os.urandom(32),
                t0_ms=int(time.time() * 1000),
                fence=floor.fence,
                next_n=0 if engine else None,
            )
            conn.accept(grant, now)
        elif isinstance(event, Established):
            self.known = True
            floor.links[conn.entity] = self
            floor.write(CONNECTED)

    def _message(self, message: m.Message) -> None:
        if isinstance(message, m.Heartbeat):
            now_ms = int(time.time() * 1000)
            self.conn.send(m.Ack(re=message.id, time_ms=now_ms, clock_ms=now_ms), monotonic())
        elif isinstance(message, m.SupplyUpdate):
            self._update(message)
        else:
            self._step(message)

    def _update(self, message: m.SupplyUpdate) -> None:
        session = self.session
        if session is not None:
            if not session.sampled:
                session.sampled = True
                self.floor.write(SAMPLED)
            if session.driver.conn.ready:
                session.driver.say(_news(session, message.meter_wh))

    def _step(self, message: m.Message) -> None:
        """One step of a session."""
        floor = self.floor
        match message:
            case m.Boot():
                floor.write(BOOTED, lambda: self.say(m.Ack(re=message.id, time_ms=0, clock_ms=0)))
            case m.ChargeRequest():
                floor.commands += 1
                session = Session(f"s-{floor.commands:020}", message.cp_id, self)
                floor.write(REQUESTED, lambda: self._authorized(session, message.id))
            case m.Result() if self.session is not None and not self.session.limited:
                self.session.limited = True
                floor.write(AUTHORIZED)
            case m.Result():
                floor.write(STARTING)
            case m.Plugged() if self.session is not None:
                session = self.session
                floor.write(PLUGGED, lambda: self._start(session))
            case m.Outbox(payload=m.SupplyStarted()) if self.session is not None:
                session = self.session
                floor.write(STARTED, lambda: self._started(session, message.n))
            case m.Outbox(payload=m.SupplyEnded()) if self.session is not None:
                session, self.session = self.session, None
                floor.write(ENDED, lambda: self._ended(session, message))
            case m.Unplugged():
                floor.write(UNPLUGGED)
            case m.TicketReceived():
                floor.write(DELIVERED)

    def _authorized(self, session: Session, request_id: m.RequestId) -> None:
        engine = self.floor.links.get(session.cp_id)
        view = m.SessionView(**_fields(session, 0))
        self.say(m.Reply(re=request_id, session_id=session.session_id, session=view))
        if engine is not None:
            engine.session = session
            command = m.Authorize(
                command_id=self.floor.commands,
                fence=self.floor.fence,
                session_id=session.session_id,
                connector=1,
                expires_ms=LEASE_MS,
            )
            engine.say(command)

    def _start(self, session: Session) -> None:
        now_ms = int(time.time() * 1000)
        order = m.StartSupply(
            command_id=self.floor.commands,
            fence=self.floor.fence,
            session_id=session.session_id,
            connector=1,
            limit_w=11_040,
            expires_ms=now_ms + LEASE_MS,
            fallback_w=4_140,
            reason="shared",
            valid_until_ms=now_ms + LEASE_MS,
        )
        self.say(order)

    def _started(self, session: Session, n: int) -> None:
        now_ms = int(time.time() * 1000)
        self.say(m.Ack(n=n, time_ms=now_ms, clock_ms=now_ms))
        session.driver.say(_news(session, 0))

    def _ended(self, session: Session, message: m.Outbox) -> None:
        now_ms = int(time.time() * 1000)
        self.say(m.Ack(n=message.n, time_ms=now_ms, clock_ms=now_ms))
        session.driver.say(_news(session, 0))
        ticket = m.Ticket(
            ticket_id=f"t-{session.session_id}",
            session_id=session.session_id,
            cp_id=session.cp_id,
            driver_id=session.driver.conn.entity,
            substation_id="s000",
            start_ms=now_ms,
            end_ms=now_ms,
            duration_s=0,
            energy_wh=0,
            price_e4=3_000,
            amount_minor=0,
            currency="EUR",
            status="COMPLETED",
            reason="unplugged",
            average_w=0,
            co2_g=0,
        )
        session.driver.say(ticket)


def _fields(session: Session, energy_wh: int) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "state": "SUPPLYING",
        "cp_id": session.cp_id,
        "driver_id": session.driver.conn.entity,
        "energy_wh": energy_wh,
        "power_w": 7_360,
        "limit_w": 11_040,
        "currency": "EUR",
    }


def _news(session: Session, energy_wh: int) -> m.Update:
    return m.Update(**_fields(session, energy_wh))


async def serve(setup: Setup) -> None:
    """Serve on a free port of 127.0.0.1 until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    floor = Floor(Credential.from_json(setup.credential.encode()), setup.keys, Path(setup.log))
    server = await loop.create_server(lambda: Link(floor), "127.0.0.1", 0, backlog=BACKLOG)
    address = server.sockets[0].getsockname()
    print(msgspec.json.encode({"ready": "floor", "port": address[1]}).decode(), flush=True)
    await stop.wait()
    server.close()
    floor.close()


def main() -> None:
    """``python -m tools.bench.floor SETUP.json``."""
    uvloop.run(serve(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Setup)))


if __name__ == "__main__":
    main()
