"""The front door: listens, makes an ``Adapter`` for every connection, counts, drains in order (SPEC §5).

Whoever is admitted is the handler's business; the server sees to what must hold before anybody is known: how many
connections a source may open, and how many handshakes are computed at a time.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
import structlog

from evcharge.net.adapter import Adapter
from evcharge.net.clock import Clock
from evcharge.net.flow import Rate, Traffic, WaitLimits
from evcharge.net.handler import PeerHandler
from evcharge.net.keepalive import keep_alive
from evcharge.net.lanes import Lanes, SlotLimits
from evcharge.net.sources import SourceLimits, Sources, source_of
from evcharge.net.timers import TimerWheel
from protocol.cipher import Entropy
from protocol.connection import Connection
from protocol.credentials import Credential, Role
from protocol.errors import CloseCode, RefuseCode
from protocol.events import Limits
from protocol.messages import Drain

# What the kernel keeps for one connection in each direction, bytes (it takes twice as much): the longest frame. Left to
# itself it grows to megabytes for a peer that does not read, which no limit of ours would see.
KERNEL_BUFFER = 64 << 10
# How many connections one turn of the loop accepts. After EMFILE asyncio goes on for so many rounds, and logs each.
ACCEPTS_PER_TURN = 64
# What counts as unlimited: no machine of ours serves a million peers.
MOST_FILES = 1 << 20
# Descriptors that stay free for the log, the registry and the rest of the process.
SPARE_FILES = 128
# Who is told of a drain first, and comes back first: those that carry running sessions.
_DRAIN_ORDER = {Role.CP: 0, Role.MONITOR: 1}
# A drain spreads the return of even a few peers over this time, in seconds.
MIN_SPREAD_S = 1.0

log = structlog.get_logger(__name__)


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server itself enforces (SPEC §5.2)."""

    unauthenticated: int = 8192
    """Connections that have not reached READY, in all."""
    known_share: float = 0.25
    """Share of these that only known sources may take: strangers cannot fill the door."""
    connections: int | None = None
    """Connections in all; None: what the process may open, less a reserve."""
    backlog: int = 4096
    """Connections that the kernel keeps for us while we are busy: a whole site that reconnects at once."""
    source: SourceLimits = SourceLimits()
    """What one unknown source may do."""
    slots: SlotLimits = SlotLimits()
    """Handshakes that are computed at a time."""
    rate: Rate = Rate()
    """Messages of one peer; the handler may set another for a peer."""
    wait: WaitLimits = WaitLimits()
    """What waits for a peer that reads slowly."""


_LIMITS = Limits()
_SERVER_LIMITS = ServerLimits()


class Counts(msgspec.Struct):
    """Since the start, for metrics and tests; ``open`` and ``unauthenticated`` are now."""

    accepted: int = 0
    turned_away: int = 0
    """There was no room, or a drain; what one source had too much is counted in ``sources``."""
    busy: int = 0
    """Waited for a handshake slot for too long."""
    established: int = 0
    open: int = 0
    unauthenticated: int = 0


class Server:
    """Listens with Central's credential. ``timers`` runs every connection's deadlines."""

    def __init__(
        self,
        credential: Credential,
        handler: PeerHandler,
        *,
        clock: Clock,
        timers: TimerWheel | None = None,
        limits: Limits = _LIMITS,
        server_limits: ServerLimits = _SERVER_LIMITS,
        sources: Sources | None = None,
        entropy: Entropy = os.urandom,
        checkpoint: Callable[[], bytes] | None = None,
    ) -> None:
        """``sources`` that are known from earlier; they have the limits that they were made with.

        ``checkpoint`` gives the newest checkpoint of the log, for PONGs.
        """
        self.timers = TimerWheel(clock) if timers is None else timers
        self.counts = Counts()
        self.traffic = Traffic()
        self.draining = False
        """True from the start of ``drain`` on: refuse newcomers with DRAINING."""
        # In the order in which they came: a set of objects has another order each time.
        self.adapters: dict[Adapter, None] = {}
        self.sources = Sources(server_limits.source) if sources is None else sources
        self.lanes = Lanes(server_limits.slots, clock, serve=self._serve, busy=self._busy)
        self._credential = credential
        self._handler = handler
        self._clock = clock
        self._limits = limits
        self._server_limits = server_limits
        self._most = 0
        self._most_unknown = 0
        self._greeter = _Greeter(self)
        self._entropy = entropy
        self._checkpoint = checkpoint
        self._servers: list[asyncio.Server] = []
        self._waiting_for_last: list[asyncio.Future[None]] = []

    async def start(self, host: str, port: int) -> list[tuple[str, int]]:
        """Listen; returns the real addresses. Port 0: a free one, the same for all addresses of ``host``.

        Raises OSError (the address is taken, or is not one of this machine).
        """
        limits = self._server_limits
        self._most = limits.connections or max(1, _files_allowed() - SPARE_FILES)
        # Where files are fewer than the door is wide, the reserve for known sources is one of files.
        self._most_unknown = int(min(limits.unauthenticated, self._most) * (1 - limits.known_share))
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses: list[tuple[str, int]] = []
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                wanted = addresses[0][1] if addresses else port
                listener = _bind(family, (address[0], wanted, *address[2:]))
                server = await loop.create_server(lambda: self._greeter, sock=listener, backlog=ACCEPTS_PER_TURN)
                listener.listen(self._server_limits.backlog)
                self._servers.append(server)
                addresses.append(listener.getsockname()[:2])
        except OSError:
            self.stop_listening()
            raise
        return addresses

    @property
    def listening(self) -> bool:
        """Whether somebody may connect."""
        return bool(self._servers)

    def stop_listening(self) -> None:
        """Take no new connection; those that are there stay."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def drain(self, finish: Callable[[], Awaitable[None]], *, return_per_s: float = 500.0) -> None:
        """Go down in order: stop listening, tell the peers, ``finish`` the work, close the peers, wait for the last.

        Every peer is told another moment to come back, engines the first ones, ``return_per_s`` of them a second.
        """
        self.draining = True
        self.stop_listening()
        ready = [adapter for adapter in self.adapters if adapter.ready]
        ready.sort(key=lambda adapter: _DRAIN_ORDER.get(adapter.role, len(_DRAIN_ORDER)))
        spread_s = max(MIN_SPREAD_S, len(ready) / return_per_s)
        for place, adapter in enumerate(ready, 1):
            adapter.send(Drain(retry_after_s=round(spread_s * place / len(ready), 3)))
        try:
            await finish()
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop listening, close every peer with DRAIN, and wait until the last one is gone (at most 2 s)."""
        self.draining = True
        self.stop_listening()
        for adapter in list(self.adapters):
            adapter.close(CloseCode.DRAIN, "Central is going down")
        if self.adapters:
            gone = asyncio.get_running_loop().create_future()
            self._waiting_for_last.append(gone)
            # Every adapter cuts its own transport after LINGER_S.
            await gone
        self.lanes.close()

    def greet(self, transport: asyncio.Transport) -> None:
        """Somebody has connected: make an adapter, or drop it before anything was made for it."""
        peername = transport.get_extra_info("peername")
        if peername is None:
            # It has left already.
            transport.abort()
            return
        source = source_of(str(peername[0]))
        if not self._has_room(source):
            self.counts.turned_away += 1
            transport.abort()
            return
        if not self.sources.enter(source, self._clock.monotonic()):
            transport.abort()
            return
        adapter = self._make()
        adapter.source = source
        transport.set_protocol(adapter)
        adapter.connection_made(transport)

    # --- Owner of the adapters ----------------------------------------------------------------------------------

    def adapter_made(self, adapter: Adapter) -> None:
        self.counts.accepted += 1
        self.counts.open += 1
        self.counts.unauthenticated += 1
        self.adapters[adapter] = None

    def adapter_hello(self, adapter: Adapter) -> None:
        self.lanes.ask(adapter, known=self.sources.known(adapter.source, self._clock.monotonic()))

    def adapter_auth(self, adapter: Adapter) -> None:
        self.lanes.leave(adapter)

    def adapter_ready(self, adapter: Adapter) -> None:
        self.counts.established += 1
        self.counts.unauthenticated -= 1
        now = self._clock.monotonic()
        self.sources.leave(adapter.source, now)
        self.sources.succeed(adapter.source, now, now)

    def adapter_lost(self, adapter: Adapter) -> None:
        self.adapters.pop(adapter, None)
        self.counts.open -= 1
        now = self._clock.monotonic()
        if adapter.established:
            # Channels end after a day, all of a site together: their source is known for another day from now on.
            self.sources.succeed(adapter.source, now, now)
        else:
            self.counts.unauthenticated -= 1
            self.sources.leave(adapter.source, now)
            self.lanes.leave(adapter)
        if not self.adapters:
            for gone in self._waiting_for_last:
                if not gone.done():
                    gone.set_result(None)
            self._waiting_for_last.clear()

    # --- inside -------------------------------------------------------------------------------------------------

    def _has_room(self, source: str) -> bool:
        counts, limits = self.counts, self._server_limits
        if self.draining or counts.open >= self._most or counts.unauthenticated >= limits.unauthenticated:
            return False
        # Asked only when it matters.
        crowded = counts.unauthenticated >= self._most_unknown
        return not crowded or self.sources.known(source, self._clock.monotonic())

    def _serve(self, adapter: Adapter) -> None:
        adapter.answer_hello()

    def _busy(self, adapter: Adapter) -> None:
        if adapter.refuse(RefuseCode.BUSY, 0):
            self.counts.busy += 1

    def _make(self) -> Adapter:
        limits = self._server_limits
        conn = Connection.server(
            self._credential,
            now=self._clock.monotonic(),
            entropy=self._entropy,
            limits=self._limits,
            checkpoint=self._checkpoint,
        )
        return Adapter(
            conn,
            self._handler,
            self,
            clock=self._clock,
            timers=self.timers,
            rate=limits.rate,
            wait_limits=limits.wait,
            traffic=self.traffic,
        )


class _Greeter(asyncio.Protocol):
    """The protocol of every new connection, one object for all: whoever is turned away costs nothing more."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._server.greet(cast(asyncio.Transport, transport))


def _bind(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        keep_alive(listener)
        for direction in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            listener.setsockopt(socket.SOL_SOCKET, direction, KERNEL_BUFFER)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        where = f"{address[0]} port {address[1]}"
        if error.errno == errno.EADDRINUSE:
            raise OSError(error.errno, f"{where} is in use: stop the other process or take another port") from None
        raise OSError(error.errno, f"cannot listen on {where}: {os.strerror(error.errno or 0)}") from None
    return listener


def _files_allowed() -> int:
    """How many descriptors this process may have, after raising its own limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return MOST_FILES
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
