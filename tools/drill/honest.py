"""The honest peers of the load drills: engines that come back, visitors that measure the door, peers that beat."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from protocol import messages as m
from protocol.credentials import Credential
from tools.drill.crowd_types import Line
from tools.fleet import ChargePoint, Driver, Fleet, Link, pace
from tools.latencies import Latencies

Place = tuple[str, int]
# Pause after a connection that was refused or reset before it was open, seconds: a port where nobody listens yet.
AGAIN_S = 0.02
# Longest wait for all to be back, seconds: ten times what is promised.
BACK_S = 120.0
# Questions of a stalled reader a second: within 20 s their answers, 27 KiB each, are more than may wait for it.
ASKED_PER_S = 2
# What its machine takes in by itself, bytes: the kernel's usual megabytes would hide that nobody reads.
SMALL_BUFFER = 4_096

monotonic = time.monotonic


def figures(latencies: Latencies) -> dict[str, Any]:
    """A histogram for JSON."""
    return {"counts": {str(key): count for key, count in latencies.counts.items()}, "most_s": latencies.most_s}


class Storm:
    """Engines that lose their connection and come back at once, without back-off and without jitter."""

    def __init__(self, place: Place, peers: Sequence[Credential]) -> None:
        self._fleet = Fleet(*place)
        self._points = [ChargePoint(self._fleet, peer) for peer in peers]
        self._back: asyncio.Task[dict[str, Any]] | None = None

    async def act(self, go: Line) -> dict[str, Any]:
        """``join``: connect in peace. ``expect``: from now on come back whenever it is lost. ``cut``: lose it now.
        ``back``: when all are there, how often each tried and when the last one was in."""
        match go.do:
            case "join":
                await self._fleet.connect(self._points)
                self._fleet.keep(self._points)
            case "expect":
                self._back = asyncio.create_task(self._come_back())
            case "cut":
                self._back = asyncio.create_task(self._come_back())
                for point in self._points:
                    if point.transport is not None:
                        point.transport.abort()
                return {"at": monotonic()}
            case "back":
                assert self._back is not None
                return await asyncio.wait_for(self._back, BACK_S)
        return {}

    async def _come_back(self) -> dict[str, Any]:
        self._fleet.closing = True
        tries = await asyncio.gather(*(self._one(point) for point in self._points))
        self._fleet.closing = False
        return {"tries": [count for count, _ in tries], "last": max(at for _, at in tries)}

    async def _one(self, point: ChargePoint) -> tuple[int, float]:
        """Attempts are connections that Central took; a port where nobody listens is none."""
        while point.transport is not None:
            await asyncio.sleep(AGAIN_S)
        tries = 0
        while True:
            made = point.made
            why = await point.open()
            tries += point.made - made
            if not why:
                return tries, monotonic()
            if point.made == made:
                await asyncio.sleep(AGAIN_S)


class Visitors:
    """Peers that connect, are let in and leave, one after the other, and measure how long it takes to be let in."""

    def __init__(self, place: Place, peers: Sequence[Credential], sources: Sequence[str]) -> None:
        self._fleet = Fleet(*place, boots=False)
        self._sources = cycle(sources)
        self._visitors = [ChargePoint(self._fleet, peer) for peer in peers]

    async def act(self, go: Line) -> dict[str, Any]:
        """``visit`` for so many seconds. From connect to READY; a failed visit counts with all its time."""
        end_s = monotonic() + go.seconds
        latencies, failed = Latencies(), 0
        self._fleet.closing = True

        async def visit(visitor: Link) -> None:
            nonlocal failed
            began, waiting = monotonic(), False
            while monotonic() < end_s:
                # With many addresses each visit comes from one that Central does not know.
                self._fleet.source = (next(self._sources), 0)
                why = await visitor.open()
                waiting = bool(why)
                if why:
                    failed += 1
                    await asyncio.sleep(AGAIN_S)
                    continue
                latencies.add(monotonic() - began)
                visitor.close()
                while visitor.transport is not None:
                    await asyncio.sleep(AGAIN_S / 10)
                await asyncio.sleep(AGAIN_S)
                began = monotonic()
            if waiting:
                # It never got in: all that time counts, though there is no end of it.
                latencies.add(monotonic() - began)

        await asyncio.gather(*(visit(visitor) for visitor in self._visitors))
        return {"latencies": figures(latencies), "failed": failed}


class Beats:
    """Connected engines that beat once a second and measure the answer."""

    def __init__(self, place: Place, peers: Sequence[Credential], source: str | None) -> None:
        self._fleet = Fleet(*place, boots=False, source=source)
        self._points = [ChargePoint(self._fleet, peer) for peer in peers]

    async def act(self, go: Line) -> dict[str, Any]:
        """``join``, then ``beat`` for so many seconds."""
        if go.do == "join":
            await self._fleet.connect(self._points)
            self._fleet.keep(self._points)
            return {}
        latencies = Latencies()
        for point in self._points:
            point.on_ack = lambda _point, seconds, _now: latencies.add(seconds)
        await asyncio.sleep(go.seconds)
        lost = sum(not point.ready for point in self._points)
        return {"latencies": figures(latencies), "lost": lost}


class Stalled:
    """Drivers that ask for long lists and do not read the answers."""

    def __init__(self, place: Place, peers: Sequence[Credential], asked_per_s: int) -> None:
        self._fleet = Fleet(*place)
        self._asked_per_s = asked_per_s
        self._drivers = [Driver(self._fleet, peer) for peer in peers]

    async def act(self, go: Line) -> dict[str, Any]:
        """``join``, then ``stall`` for so many seconds: how many Central cut."""
        if go.do == "join":
            await self._fleet.connect(self._drivers)
            for driver in self._drivers:
                assert driver.transport is not None
                driver.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            return {}
        self._fleet.closing = True
        for driver in self._drivers:
            assert driver.transport is not None
            driver.transport.pause_reading()
        await pace(self._drivers, len(self._drivers) * self._asked_per_s, monotonic() + go.seconds, _ask)
        # Who reads again finds out that it is over.
        for driver in self._drivers:
            if driver.transport is not None:
                driver.transport.resume_reading()
        await asyncio.sleep(1.0)
        return {"cut": sum(not driver.ready for driver in self._drivers)}


def _ask(driver: Driver, _now: float) -> None:
    if driver.transport is not None and not driver.transport.is_closing():
        driver.send(m.List(id=1))
        driver.flush()
