"""Drivers that charge again and again, whatever happens to Central or to the charge points."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from types import TracebackType

from evcharge.driver.client import ClientMaker, DriverClient, RequestFailed, RequestRefused, Unreachable
from evcharge.net.clock import Clock
from protocol.credentials import Credential
from protocol.messages import ReservationView, SessionView, TicketView, WaitingView

# Seconds after which a driver may end its charge before it is over.
END_AFTER_S = (0.1, 1.0)
# Seconds between a driver's charges, or its attempts.
PAUSE_S = (0.02, 0.2)
# Longest wait for any single charge to be over, seconds.
OVER_S = 90.0
# Pause between two looks, seconds.
LOOK_S = 0.05
# Longest wait for a first channel, seconds: Central is killed all the time.
CONNECT_S = 120.0
SUPPLYING = "SUPPLYING"


class Confirming:
    """A driver's watcher that takes every ticket."""

    def link(self, *, up: bool, why: str) -> None:
        """Nothing to do."""

    def update(self, session: SessionView) -> None:
        """Nothing to do."""

    def place(self, view: WaitingView) -> None:
        """Nothing to do."""

    def reservation(self, view: ReservationView) -> None:
        """Nothing to do."""

    def ticket(self, ticket: TicketView) -> bool:  # noqa: ARG002  # part of the interface
        """Taken: it is in the history already."""
        return True


class Drivers:
    """Use as ``async with``. ``places``: the charge points that each driver chooses from."""

    def __init__(
        self,
        credentials: Sequence[Credential],
        places: Sequence[Sequence[str]],
        address: tuple[str, int],
        *,
        clock: Clock,
        make_client: ClientMaker,
        rng: Random,
        energy_wh: tuple[int, int],
        end_early: float,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``energy_wh``: from, to; a charge ends by itself even when its driver is gone. ``end_early``: share of the
        charges that their driver ends.
        """
        self.finishing = False
        """No new charge is asked for."""
        self._rng = rng
        self._energy_wh = energy_wh
        self._end_early = end_early
        self._places = places
        self._drivers = [
            DriverClient(
                credential,
                *address,
                clock=clock,
                entropy=entropy,
                watcher=Confirming(),
                connect_s=CONNECT_S,
                make_client=make_client,
            )
            for credential in credentials
        ]
        self._current: dict[DriverClient, str] = {}
        self._driving: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Drivers:
        pairs = zip(self._drivers, self._places, strict=True)
        self._driving = [asyncio.create_task(self._drive(driver, places)) for driver, places in pairs]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for task in self._driving:
            task.cancel()
        await asyncio.gather(*self._driving, return_exceptions=True)
        for driver in self._drivers:
            await driver.leave()

    @property
    def charging(self) -> int:
        """Drivers whose session is supplied, as far as they were told."""
        views = [driver.newest(session_id) for driver, session_id in self._current.items()]
        return sum(view is not None and view.state == SUPPLYING for view in views)

    async def until_charging(self, count: int) -> None:
        """Wait until so many charge. Raises what a driver's task ended with."""
        while self.charging < count:
            self._check()
            await asyncio.sleep(LOOK_S)

    async def until_settled(self) -> None:
        """No more requests; wait until each driver charges or is done, and none is only about to begin.

        A charge point that goes away for good in that moment would leave its session open: it may have begun unheard.
        """
        self.finishing = True
        while self.charging < sum(not task.done() for task in self._driving):
            self._check()
            await asyncio.sleep(LOOK_S)

    async def finish(self, idle: Callable[[], bool] = lambda: True) -> None:
        """No more requests; wait until what runs is over, ``idle`` is true and every ticket has come."""
        self.finishing = True
        await asyncio.gather(*self._driving)
        while not idle():
            await asyncio.sleep(LOOK_S)
        for driver in self._drivers:
            await self._listed(driver)

    def _check(self) -> None:
        for task in self._driving:
            if task.done():
                task.result()

    async def _drive(self, driver: DriverClient, places: Sequence[str]) -> None:
        """Charge after charge until the finish."""
        driver.come_back()
        while not self.finishing:
            with suppress(Unreachable, RequestRefused, RequestFailed):
                await driver.connected()
                await self._charge(driver, self._rng.choice(places))
            await asyncio.sleep(self._rng.uniform(*PAUSE_S))

    async def _charge(self, driver: DriverClient, cp_id: str) -> None:
        try:
            session_id = (await driver.charge(cp_id, energy_wh=self._rng.randint(*self._energy_wh))).session_id
        except RequestFailed:
            # The answer was lost: it may have been granted. It ends by itself in any case.
            await driver.connected()
            found = await driver.own_session_at(cp_id)
            if found is None:
                return
            session_id = found
            driver.follow(session_id)
        outcome = asyncio.create_task(driver.outcome(session_id))
        self._current[driver] = session_id
        try:
            if self._rng.random() < self._end_early:
                await asyncio.wait({outcome}, timeout=self._rng.uniform(*END_AFTER_S))
                if not outcome.done():
                    with suppress(RequestRefused, RequestFailed):
                        await driver.end(session_id)
            with suppress(TimeoutError):
                async with asyncio.timeout(OVER_S):
                    await outcome
        finally:
            outcome.cancel()
            del self._current[driver]
            driver.forget(session_id)

    async def _listed(self, driver: DriverClient) -> None:
        """Central answers in order: behind this answer no ticket is on its way any more."""
        while True:
            with suppress(Unreachable, RequestRefused, RequestFailed):
                await driver.connected()
                await driver.tickets()
                return
            await asyncio.sleep(LOOK_S)
