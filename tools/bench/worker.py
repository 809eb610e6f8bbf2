"""A process of the load generator: ``python -m tools.bench.worker`` reads orders as JSON lines and answers each.

It is told what to connect, and then to make a load in a window of CLOCK_MONOTONIC, which all processes of a machine
share. It answers when the last request of the load has been answered, so that the bench, which reads the server's CPU
time before and after, sets the whole work against the whole CPU time.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from protocol.credentials import Credential
from tools.bench.peer import PeerLink, client_context
from tools.daemon import raise_file_limit
from tools.fleet import (
    OPENING,
    TICK_S,
    ChargePoint,
    Driver,
    Fleet,
    FleetFailed,
    Link,
    pace,
    read_credentials,
)
from tools.latencies import Latencies

# Telemetry updates of one session in the session cycle.
UPDATES = 3
# Longest wait for sessions to start, seconds.
START_S = 120.0
# Longest wait for what was under way at the end of a load, seconds.
SETTLE_S = 5.0

monotonic = time.monotonic


class Window(msgspec.Struct):
    """When a load asks for more, monotonic seconds; latencies are of what is answered from ``count_s`` on."""

    begin_s: float
    count_s: float
    end_s: float


class Open(msgspec.Struct, tag="open"):
    """Have ``points`` charge points and ``drivers`` drivers open, of those in the files; more than are open already."""

    port: int
    points_file: str = ""
    points: int = 0
    drivers_file: str = ""
    drivers: int = 0
    boots: bool = True


class OpenPeer(msgspec.Struct, tag="open_peer"):
    """The same for the peer's server: ``points`` charge points."""

    port: int
    points: int
    certificate: str


class Start(msgspec.Struct, tag="start"):
    """Have a session run at every charge point; the drivers leave afterwards."""


class Telemetry(msgspec.Struct, tag="telemetry"):
    """Pairs of update and heartbeat: each next one when the last was answered, or at a pace."""

    window: Window
    per_s: float | None = None
    links: int = 1_000_000
    """How many of the connections; the others are silent."""
    beat_every: int = 1
    """At a pace: so many updates to a heartbeat, for an update is a sign of life too; then updates are counted."""


class Cycles(msgspec.Struct, tag="cycles"):
    """Whole sessions, one after the other, at each charge point with a driver of its own."""

    window: Window


class Handshakes(msgspec.Struct, tag="handshakes"):
    """Open, close, open again: as many at once as ``Fleet`` allows."""

    window: Window
    port: int
    points_file: str
    points: int


class Close(msgspec.Struct, tag="close"):
    """Close all."""


Order = Open | OpenPeer | Start | Telemetry | Cycles | Handshakes | Close


class Outcome(msgspec.Struct, kw_only=True):
    """What an order came to."""

    done: bool = True
    total: int = 0
    """Everything that was done, from the first request to the last answer …"""
    last_s: float = 0.0
    """… which came at this monotonic second."""
    seconds: float = 0.0
    losses: list[str] = []
    retries: int = 0
    latencies: dict[int, int] = {}
    most_s: float = 0.0


class Worker:
    """Carries out orders, one after the other."""

    def __init__(self) -> None:
        self._fleet = Fleet("127.0.0.1", 0)
        self._points: list[ChargePoint] = []
        self._drivers: list[Driver] = []
        self._peers: list[PeerLink] = []
        self._total, self._last_s = 0, 0.0
        self._latencies = Latencies()

    async def obey(self, order: Order) -> Outcome:
        """Do it. Raises FleetFailed."""
        self._total, self._last_s, self._latencies = 0, 0.0, Latencies()
        self._fleet.losses.clear()
        self._fleet.retries = 0
        began = monotonic()
        await self._obey(order)
        return Outcome(
            total=self._total,
            last_s=self._last_s,
            seconds=monotonic() - began,
            losses=self._fleet.losses[:5],
            retries=self._fleet.retries,
            latencies=self._latencies.counts,
            most_s=self._latencies.most_s,
        )

    async def _obey(self, order: Order) -> None:
        match order:
            case Open():
                await self._open(order)
            case OpenPeer():
                await self._open_peer(order)
            case Start():
                await self._start()
            case Telemetry():
                await self._telemetry(order)
            case Cycles():
                await self._cycles(order.window)
            case Handshakes():
                await self._handshakes(order)
            case Close():
                await self._close()

    # --- connections

    async def _open(self, order: Open) -> None:
        self._fleet.port, self._fleet.boots = order.port, order.boots
        self._fleet.rest()
        wanted: list[Link] = []
        if order.points > len(self._points):
            credentials = read_credentials(Path(order.points_file).read_text(), len(self._points), order.points)
            fresh = [ChargePoint(self._fleet, each) for each in credentials]
            self._points += fresh
            wanted += fresh
        if order.drivers > len(self._drivers):
            credentials = read_credentials(Path(order.drivers_file).read_text(), len(self._drivers), order.drivers)
            drivers = [Driver(self._fleet, each) for each in credentials]
            self._drivers += drivers
            wanted += drivers
        # Those that are in have to show that they live while the others come.
        self._fleet.keep(self._points)
        await self._fleet.connect(wanted)

    async def _open_peer(self, order: OpenPeer) -> None:
        context = client_context(Path(order.certificate))
        fresh = [PeerLink(order.port, context, f"CP{n}") for n in range(len(self._peers), order.points)]
        self._peers += fresh
        waiting = list(fresh)

        async def work() -> None:
            while waiting:
                why = await waiting.pop().open()
                if why:
                    raise FleetFailed(f"a client of the peer does not get in: {why}.")

        async with asyncio.TaskGroup() as tasks:
            for _ in range(OPENING):
                tasks.create_task(work())

    async def _start(self) -> None:
        for number, point in enumerate(self._points):
            if not point.session:
                self._drivers[number % len(self._drivers)].request(point.credential.entity)
        for driver in self._drivers:
            driver.flush()
        await self._until(lambda: all(point.session for point in self._points), START_S)
        running = sum(bool(point.session) for point in self._points)
        if running < len(self._points):
            raise FleetFailed(f"{running} of {len(self._points)} sessions run. {self._fleet.losses[:3]}")
        await self._fleet.close(self._drivers)
        self._drivers = []

    async def _close(self) -> None:
        self._fleet.rest()
        await self._fleet.close([*self._points, *self._drivers])
        for peer in self._peers:
            peer.close()
        await self._until(lambda: all(peer.transport is None for peer in self._peers), SETTLE_S)
        self._points, self._drivers, self._peers = [], [], []

    async def _until(self, fact: Callable[[], bool], limit_s: float) -> None:
        end = monotonic() + limit_s
        while not fact() and not self._fleet.losses and monotonic() < end:
            await asyncio.sleep(TICK_S)

    # --- loads

    async def _telemetry(self, order: Telemetry) -> None:
        window = order.window
        links: Sequence[Any] = (self._peers or self._points)[: order.links]
        self._fleet.rest()
        saturate = order.per_s is None

        def answered(link: Any, seconds: float, now: float) -> None:
            self._did(window, seconds, now, count=order.beat_every == 1)
            if saturate and now < window.end_s:
                link.pair(now)

        # The last beats are answered first: they are no pairs.
        await self._until(lambda: not any(link.sent for link in links), SETTLE_S)

        for link in links:
            link.on_ack = answered
        await _sleep_until(window.begin_s)
        if order.per_s is None:
            for link in links:
                link.pair(monotonic())
            await _sleep_until(window.end_s)
        else:
            await pace(links, order.per_s, window.end_s, self._say(order.beat_every))
        await self._until(lambda: not any(link.sent for link in links), SETTLE_S)
        for link in links:
            link.on_ack = None
        gone = sum(not link.ready for link in links)
        if gone:
            self._fleet.losses.append(f"{gone} connections ended.")
        if not self._peers:
            self._fleet.keep(self._points)

    def _say(self, beat_every: int) -> Callable[[Any, float], None]:
        """What a link says at its turn."""
        if beat_every == 1:
            return lambda link, now: link.pair(now)

        def turn(link: Any, now: float) -> None:
            link.turn(now, beat_every)
            self._total += 1

        return turn

    def _did(self, window: Window, seconds: float, now: float, *, count: bool = True) -> None:
        """Something was done, ``seconds`` after it was asked for."""
        self._total += count
        self._last_s = now
        if now >= window.count_s:
            self._latencies.add(seconds)

    async def _cycles(self, window: Window) -> None:
        pairs = list(zip(self._points, self._drivers, strict=True))
        running: set[str] = set()
        for point, driver in pairs:
            self._prepare_cycle(point, driver, window, running)
        await _sleep_until(window.begin_s)
        for point, driver in pairs:
            running.add(point.credential.entity)
            driver.request(point.credential.entity)
            driver.flush()
        await _sleep_until(window.end_s)
        await self._until(lambda: not running, SETTLE_S)

    def _prepare_cycle(self, point: ChargePoint, driver: Driver, window: Window, running: set[str]) -> None:
        cp_id = point.credential.entity
        began = 0.0

        def started(_: ChargePoint) -> None:
            for _update in range(UPDATES):
                point.update()
            point.end()

        def ticket(_: object) -> None:
            nonlocal began
            now = monotonic()
            self._did(window, now - (began or window.begin_s), now)
            began = now
            if now < window.end_s:
                driver.request(cp_id)
            else:
                running.discard(cp_id)

        point.on_started = started
        driver.on_ticket = ticket

    async def _handshakes(self, order: Handshakes) -> None:
        window = order.window
        self._fleet.port, self._fleet.boots = order.port, False
        credentials = read_credentials(Path(order.points_file).read_text(), 0, order.points)
        first = ChargePoint(self._fleet, credentials[0])
        await self._fleet.connect([first])
        await self._fleet.close([first])
        self._total += 1
        self._fleet.closing = True
        await _sleep_until(window.begin_s)

        async def work(own: Sequence[Credential]) -> None:
            turn = 0
            while monotonic() < window.end_s:
                # A new one each time: the end of its last connection may still be on the way.
                link = ChargePoint(self._fleet, own[turn % len(own)])
                turn += 1
                began = monotonic()
                why = await link.open()
                now = monotonic()
                if why:
                    self._fleet.losses.append(why)
                else:
                    self._did(window, now - began, now)
                link.close()

        async with asyncio.TaskGroup() as tasks:
            at_once = min(OPENING, len(credentials))
            for number in range(at_once):
                tasks.create_task(work(credentials[number::at_once]))
        self._fleet.closing = False


async def _sleep_until(moment_s: float) -> None:
    await asyncio.sleep(max(0.0, moment_s - monotonic()))


async def _serve(obey: Callable[[Order], Awaitable[Outcome]]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print('{"ready":"worker"}', flush=True)
    async for line in reader:
        order: Order = msgspec.json.decode(line, type=Order)
        try:
            answer: object = await obey(order)
        except FleetFailed as error:
            answer = {"done": False, "why": str(error)}
        print(msgspec.json.encode(answer).decode(), flush=True)


def main() -> None:
    """``python -m tools.bench.worker``."""
    raise_file_limit()
    # The generator makes no cycles; a collection of 10,000 connections would show as a latency of the server.
    gc.disable()
    uvloop.run(_serve(Worker().obey))


if __name__ == "__main__":
    main()
