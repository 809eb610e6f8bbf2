"""Where readings come from: a simulator, and URLs that are asked again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from evcharge.net.backoff import reconnect_delay
from evcharge.net.clock import Clock
from evcharge.sidecar.outgoing.http import Fetched, FetchFailed, Http
from evcharge.sidecar.outgoing.tokens import NoToken, TokenCache, with_token
from evcharge.sidecar.sensors.book import Book
from evcharge.sidecar.sensors.pick import BadReading, pick
from evcharge.sidecar.sensors.settings import HttpSensor, Picked, SimulatedSensor

Sleep = Callable[[float], Awaitable[None]]

Simulated = Callable[[str, int], float | None]
"""The value of a sensor (by the name of its reading) at site time; None: it is not simulated."""

# How often the simulator is read, in seconds: as often as Central hears of a sensor.
SIMULATE_S: Final = 1.0


class Source(Protocol):
    """Fills the book with what some sensors say."""

    async def run(self) -> None:
        """Until cancelled; no failure outside ends it."""
        ...


def note(book: Book, sensor: Picked, data: bytes, now_ms: int, *, retained: bool = False) -> None:
    """Put what a sensor sent into the book. ``retained``: it was sent at some time before now."""
    try:
        found = pick(data, sensor.pointer, sensor.time_pointer, sensor.time_unit)
    except BadReading as error:
        # What somebody sent long ago does not take away what is known now.
        (book.failed if retained else book.bad)(sensor.key, str(error))
        return
    if retained and found.measured_ms is None:
        book.failed(sensor.key, "There is only a retained message that does not say when it was measured.")
        return
    book.heard(sensor.key, found.value, found.measured_ms, now_ms)


class SimulatorSource:
    """All simulated sensors."""

    def __init__(
        self, sensors: Sequence[SimulatedSensor], simulated: Simulated, *, book: Book, clock: Clock, sleep: Sleep
    ) -> None:
        self._sensors = sensors
        self._simulated = simulated
        self._book = book
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Part of ``Source``."""
        while True:
            self.read()
            await self._sleep(SIMULATE_S)

    def read(self) -> None:
        """All of them once."""
        at_ms = self._clock.site_ms()
        for sensor in self._sensors:
            value = self._simulated(sensor.name, at_ms)
            if value is None:
                self._book.failed(sensor.key, "The simulator has no such sensor.")
            else:
                self._book.heard(sensor.key, value, None, self._clock.steady_ms())


class HttpSource:
    """Sensors that stand in the answer of one URL."""

    def __init__(
        self,
        sensors: Sequence[HttpSensor],
        http: Http,
        *,
        headers: Mapping[str, str],
        tokens: TokenCache | None,
        book: Book,
        clock: Clock,
        random: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        """``sensors`` differ only in what they pick; ``headers`` may hold a secret."""
        self._sensors = sensors
        self._url = sensors[0].url
        self._every_s = sensors[0].every_s
        self._http = http
        self._headers = headers
        self._tokens = tokens
        self._book = book
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._failures = 0

    async def run(self) -> None:
        """Part of ``Source``."""
        while True:
            await self._sleep(await self.poll())

    async def poll(self) -> float:
        """Ask once. Returns the seconds until the next time: the usual ones, and more after failures in a row."""
        try:
            body = await self._answer()
        except (FetchFailed, NoToken, _NoAnswer) as error:
            for sensor in self._sensors:
                self._book.failed(sensor.key, str(error))
            wait_s = reconnect_delay(self._failures, self._random())
            self._failures += 1
            return max(self._every_s, wait_s, error.retry_after_s if isinstance(error, _NoAnswer) else 0.0)
        self._failures = 0
        now_ms = self._clock.steady_ms()
        for sensor in self._sensors:
            note(self._book, sensor, body, now_ms)
        return self._every_s

    async def _answer(self) -> bytes:
        if self._tokens is None:
            answer = await self._http.get(self._url, headers=self._headers)
        else:
            answer = await with_token(self._tokens, self._ask_with)
        if answer.status != 200:
            raise _NoAnswer(f"The server answered {answer.status}.", answer.retry_after_s or 0)
        return answer.body

    async def _ask_with(self, token: str) -> Fetched:
        return await self._http.get(self._url, headers={"Authorization": f"Bearer {token}"})


class _NoAnswer(Exception):
    def __init__(self, why: str, retry_after_s: float) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s
