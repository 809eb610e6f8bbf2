"""The sensors as a part of the sidecar: listens to all sources, tells Central, and says what each reading is worth."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from evcharge.net.clock import Clock, site_instant
from evcharge.sidecar.outgoing.http import Http
from evcharge.sidecar.outgoing.secrets import secret
from evcharge.sidecar.outgoing.settings import ClientCredentials
from evcharge.sidecar.outgoing.tokens import Granted, TokenCache, ask_for_token
from evcharge.sidecar.sensors.book import Book, Due, Reading, SensorReadings, State
from evcharge.sidecar.sensors.mqtt import MqttSource
from evcharge.sidecar.sensors.settings import (
    Broker,
    HttpSensor,
    MqttSensor,
    ReadingName,
    SensorsSettings,
    SimulatedSensor,
)
from evcharge.sidecar.sensors.sources import HttpSource, Simulated, SimulatorSource, Sleep, Source
from evcharge.sidecar.telling import RETRY_S, CentralAway, CentralRefused
from evcharge.sidecar.web.route import Answer, Call, Handler

log = structlog.get_logger()

# How often Central is told what is new, in seconds; a sensor is told of at most once a second.
TICK_S: Final = 1.0
# Longest wait for Central, in seconds; then it is away.
TELL_S: Final = 5.0

TellReading = Callable[[ReadingName, float, int, str | None], Awaitable[None]]
"""Name, value, site time of the measurement, substation. Raises CentralAway, CentralRefused."""


class Sensors:
    """A ``Concern``."""

    def __init__(
        self,
        settings: SensorsSettings,
        *,
        http: Http,
        environ: Mapping[str, str],
        clock: Clock,
        tell_reading: TellReading,
        random: Callable[[], float],
        simulated: Simulated | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Raises LackingSecret, BadBroker, or ValueError where sensors are simulated and there is no simulator."""
        self._http = http
        self._environ = environ
        self._clock = clock
        self._tell_reading = tell_reading
        self._random = random
        self._sleep = sleep
        self._book = Book(settings.sensors)
        self._tokens: dict[ClientCredentials, TokenCache] = {}
        self._sources = [*self._simulators(settings, simulated), *self._urls(settings), *self._brokers(settings)]
        self._away_until_s = float("-inf")
        self._states: dict[str, State] = {}
        self._refused: dict[str, str] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """By the routes' names."""
        return {"list_sensors": self.show}

    async def show(self, _call: Call) -> Answer:
        """Every sensor of the settings."""
        return Answer(body=SensorReadings(sensors=list(self.readings().values())))

    async def run(self) -> None:
        """Listen and tell until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for source in self._sources:
                    tasks.create_task(source.run(), name=f"sensors: {type(source).__name__}")
                tasks.create_task(self._tell(), name="sensors: tell")
        finally:
            for tokens in self._tokens.values():
                await tokens.close()

    def readings(self) -> dict[str, Reading]:
        """Every sensor by its name (a substation's: ``base_w of north``), with age, state and what is wrong."""
        return self._book.readings(self._clock.steady_ms())

    def outcomes(self) -> Counter[tuple[str, str]]:
        """What came from the sources, by their kind and how it went."""
        return self._book.outcomes

    def reconnected(self) -> None:
        """There is a channel to Central again, which may have restarted meanwhile."""
        self._away_until_s = float("-inf")
        self._book.forgotten()

    async def tell_due(self) -> None:
        """Tell Central what is new and fresh, as far as it is there."""
        now_s = self._clock.monotonic()
        if now_s < self._away_until_s:
            return
        for due in self._book.due(self._clock.steady_ms(), now_s):
            try:
                async with asyncio.timeout(TELL_S):
                    await self._tell_one(due)
            except (CentralAway, TimeoutError) as error:
                wait_s = error.retry_after_s if isinstance(error, CentralAway) else RETRY_S
                self._away_until_s = self._clock.monotonic() + wait_s
                return

    async def _tell_one(self, due: Due) -> None:
        at_ms = site_instant(self._clock, due.measured_ms)
        try:
            await self._tell_reading(due.name, due.value, at_ms, due.substation_id)
        except CentralRefused as error:
            if self._refused.get(due.key) != error.reason:
                log.warning("sensors.refused", sensor=due.key, reason=error.reason)
            self._refused[due.key] = error.reason
        else:
            self._refused.pop(due.key, None)
        # What was refused is not told again; the next reading is.
        self._book.told(due, self._clock.monotonic())

    async def _tell(self) -> None:
        while True:
            await self.tell_due()
            self._note_states()
            await self._sleep(TICK_S)

    def _note_states(self) -> None:
        """A line in the log when a sensor begins or ceases to be of use."""
        for key, reading in self.readings().items():
            if reading.state == self._states.get(key, "missing"):
                continue
            self._states[key] = reading.state
            if reading.state == "fresh":
                log.info("sensors.fresh", sensor=key, source=reading.source)
            else:
                log.warning("sensors.lost", sensor=key, source=reading.source, state=reading.state, why=reading.why)

    def _simulators(self, settings: SensorsSettings, simulated: Simulated | None) -> list[Source]:
        sensors = [sensor for sensor in settings.sensors if isinstance(sensor, SimulatedSensor)]
        if not sensors:
            return []
        if simulated is None:
            raise ValueError("sensors are simulated, but there is no simulator")
        log.warning("sensors.simulated", sensors=[sensor.key for sensor in sensors])
        return [SimulatorSource(sensors, simulated, book=self._book, clock=self._clock, sleep=self._sleep)]

    def _urls(self, settings: SensorsSettings) -> list[Source]:
        """One source for what is read from the same answer."""
        together: dict[tuple[object, ...], list[HttpSensor]] = {}
        for sensor in settings.sensors:
            if isinstance(sensor, HttpSensor):
                key = (sensor.url, sensor.every_s, sensor.header, sensor.secret_env, sensor.oauth)
                together.setdefault(key, []).append(sensor)
        return [
            HttpSource(
                sensors,
                self._http,
                headers=self._headers(sensors[0]),
                tokens=self._tokens_of(sensors[0].oauth),
                book=self._book,
                clock=self._clock,
                random=self._random,
                sleep=self._sleep,
            )
            for sensors in together.values()
        ]

    def _brokers(self, settings: SensorsSettings) -> list[Source]:
        together: dict[Broker, list[MqttSensor]] = {}
        for sensor in settings.sensors:
            if isinstance(sensor, MqttSensor):
                together.setdefault(sensor.broker, []).append(sensor)
        return [
            MqttSource(
                broker,
                sensors,
                password=None if broker.password_env is None else secret(self._environ, broker.password_env),
                book=self._book,
                clock=self._clock,
                random=self._random,
                sleep=self._sleep,
            )
            for broker, sensors in together.items()
        ]

    def _headers(self, sensor: HttpSensor) -> dict[str, str]:
        if sensor.header is None or sensor.secret_env is None:
            return {}
        return {sensor.header: secret(self._environ, sensor.secret_env)}

    def _tokens_of(self, credentials: ClientCredentials | None) -> TokenCache | None:
        if credentials is None:
            return None
        if credentials not in self._tokens:
            word = secret(self._environ, credentials.secret_env)

            async def ask() -> Granted:
                return await ask_for_token(self._http, credentials, word)

            self._tokens[credentials] = TokenCache(ask, clock=self._clock, name=credentials.client_id)
        return self._tokens[credentials]
