"""The weather as a part of the sidecar: looks at it, judges it, tells Central, and answers about it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from evcharge.net.clock import Clock
from evcharge.sidecar.telling import RETRY_S, CentralAway, CentralRefused
from evcharge.sidecar.weather.alerts import KINDS, UNKNOWN, Kind, Standings, judge
from evcharge.sidecar.weather.observation import Observation, Provider
from evcharge.sidecar.weather.outbox import Key, Outbox
from evcharge.sidecar.weather.schemas import (
    AlertAnswer,
    AlertReport,
    ObservationAnswer,
    PlaceAnswer,
    ToldAnswer,
    WeatherAnswer,
)
from evcharge.sidecar.weather.settings import Place, WeatherSettings
from evcharge.sidecar.weather.watch import Watch
from evcharge.sidecar.web.problem import Problem, not_found, unavailable
from evcharge.sidecar.web.route import Answer, Call, Handler

log = structlog.get_logger()

# How often it is looked whether something is due, in seconds: an alert waits no longer than that.
TICK_S: Final = 1.0
# Longest wait for Central's answer, in seconds; then it is away.
TELL_S: Final = 10.0


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What Central is told."""

    kind: Kind
    active: bool
    substation_id: str | None = None
    cp_id: str | None = None
    """One charge point alone; neither: the whole site."""
    temperature_c: float | None = None
    """Where the alert is about it."""
    detail: str = ""
    """The place, for people."""
    simulated: bool = False
    by: str | None = None
    """The client that reported it; None: the sidecar saw it itself."""
    trace: str | None = None
    """Its request's id."""


Tell = Callable[[Alert], Awaitable[None]]
"""Returns after Central's answer. Raises CentralAway, CentralRefused."""
TellTemperature = Callable[[float, int], Awaitable[None]]
"""°C and site time of the measurement. Raises as ``Tell``."""


class Weather:
    """A ``Concern``."""

    def __init__(
        self,
        settings: WeatherSettings,
        provider: Provider,
        *,
        clock: Clock,
        tell: Tell,
        tell_temperature: TellTemperature,
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._clock = clock
        self._tell = tell
        self._tell_temperature = tell_temperature
        self._sleep = sleep
        self._watches: dict[str, Watch] = {}
        for place in settings.places:
            self._watches.setdefault(
                _key(place),
                Watch(
                    place.where,
                    provider,
                    poll_s=settings.poll_s,
                    old_s=settings.old_s,
                    clock=clock,
                    random=random,
                ),
            )
        self._standings: dict[str | None, Standings] = {place.substation_id: UNKNOWN for place in settings.places}
        self._outbox = Outbox(settings.refresh_s)
        self._away_until_s = 0.0
        self._temperature_told_ms: int | None = None

    def handlers(self) -> Mapping[str, Handler]:
        """By the routes' names."""
        return {"weather": self.overview, "weather_alert": self.take_alert}

    async def run(self) -> None:
        """Look and tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every_tick(self.poll_due), name="weather: look")
            tasks.create_task(self._every_tick(self.tell_due), name="weather: tell")

    def outcomes(self) -> Counter[str]:
        """Questions to the provider by how they went: ``ok``, or the trouble."""
        return sum((watch.outcomes for watch in self._watches.values()), Counter())

    def reconnected(self) -> None:
        """There is a channel to Central again, which may have restarted meanwhile."""
        self._away_until_s = 0.0
        self._temperature_told_ms = None
        self._outbox.reconnected([key for key, active in self._wanted().items() if active])

    async def poll_due(self) -> None:
        """Ask about every place that is due, all at once: one that does not answer holds up no other."""
        async with asyncio.TaskGroup() as tasks:
            for watch in self._watches.values():
                if watch.due:
                    tasks.create_task(self._poll(watch))

    async def tell_due(self) -> None:
        """Tell Central what it does not know, as far as it is there."""
        if self._clock.monotonic() < self._away_until_s:
            return
        try:
            for key in self._outbox.due(self._wanted(), self._clock.monotonic()):
                await self._tell_key(key)
            await self._tell_newest_temperature()
        except CentralAway as error:
            self._away_until_s = self._clock.monotonic() + error.retry_after_s

    async def overview(self, _call: Call) -> Answer:
        """GET /api/weather."""
        return Answer(
            body=WeatherAnswer(
                provider=self._provider.name,
                simulated=self._provider.simulated,
                places=[self._place(place) for place in self._settings.places],
            )
        )

    async def take_alert(self, call: Call) -> Answer:
        """POST /api/weather_alert: what a weather office says goes to Central as it is."""
        body: AlertReport = call.body
        kind, active = body.meaning()
        alert = Alert(
            kind=kind,
            active=active,
            temperature_c=body.temperature_c if body.temperature_c is not None else body.temperature,
            detail=body.detail or body.message or "",
            by=call.client,
            trace=call.request_id,
        )
        about = self._about(alert, body)
        for each in about:
            try:
                await self._say(self._tell(each))
            except CentralAway as error:
                detail = "Central does not answer; send the alert again."
                raise unavailable("central_away", detail, error.retry_after_s) from None
            except CentralRefused as error:
                raise Problem(HTTPStatus.CONFLICT, "refused", error.sentence) from None
        covers = [name for each in about if (name := each.cp_id or each.substation_id) is not None]
        log.info("weather.alert_from_outside", client=call.client, kind=kind, active=active, covers=covers)
        return Answer(body=ToldAnswer(status="told", kind=kind, active=active, covers=covers))

    def _about(self, alert: Alert, body: AlertReport) -> list[Alert]:
        """One alert for each part of the site that it is about."""
        if body.cp_id is not None:
            return [msgspec.structs.replace(alert, cp_id=body.cp_id)]
        if body.substation_id is not None:
            return [msgspec.structs.replace(alert, substation_id=body.substation_id)]
        if body.city is None:
            return [alert]
        places = [place for place in self._settings.places if _same_city(place.city, body.city)]
        if not places:
            raise not_found("No place of the settings has this city.")
        return [msgspec.structs.replace(alert, substation_id=place.substation_id) for place in places]

    async def _every_tick(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await step()
            await self._sleep(TICK_S)

    async def _poll(self, watch: Watch) -> None:
        seen = await watch.poll()
        for place in self._settings.places:
            if _key(place) != _key_of(watch):
                continue
            before = self._standings[place.substation_id]
            after = self._standings[place.substation_id] = judge(before, seen, self._settings.limits)
            for kind in KINDS:
                # That there is none when it is first looked at is no news.
                changed = bool(after[kind].active) != bool(before[kind].active)
                if changed and seen is not None:
                    log.info(
                        "weather.alert" if after[kind].active else "weather.no_alert",
                        kind=kind,
                        place=place.name,
                        substation=place.substation_id,
                        temperature_c=seen.temperature_c,
                        simulated=seen.simulated,
                    )

    def _wanted(self) -> dict[Key, bool | None]:
        return {
            (substation_id, kind): standings[kind].active
            for substation_id, standings in self._standings.items()
            for kind in KINDS
        }

    async def _tell_key(self, key: Key) -> None:
        substation_id, kind = key
        place = next(place for place in self._settings.places if place.substation_id == substation_id)
        seen = self._watches[_key(place)].observation
        active = self._standings[substation_id][kind].active
        # It was judged from an observation, and what is not known is not due.
        assert seen is not None
        assert active is not None
        alert = Alert(
            kind=kind,
            active=active,
            substation_id=substation_id,
            temperature_c=seen.temperature_c if kind in ("cold", "heat") else None,
            detail=_detail(kind, place, seen),
            simulated=seen.simulated,
        )
        try:
            await self._say(self._tell(alert))
        except CentralRefused as error:
            if self._outbox.refused(key, active, self._clock.monotonic(), error.sentence):
                log.warning("weather.alert_refused", kind=kind, substation=substation_id, reason=error.reason)
        else:
            self._outbox.answered(key, active, self._clock.monotonic())

    async def _tell_newest_temperature(self) -> None:
        """That of the whole site, or of the first place where none is the whole site's."""
        places = sorted(self._settings.places, key=lambda place: place.substation_id is not None)
        watch = self._watches[_key(places[0])] if places else None
        seen = None if watch is None or watch.state != "ok" else watch.observation
        if seen is None or seen.observed_ms == self._temperature_told_ms:
            return
        try:
            await self._say(self._tell_temperature(seen.temperature_c, seen.observed_ms))
        except CentralRefused as error:
            log.warning("weather.temperature_refused", reason=error.reason)
        # What was refused once is not told again; the next one is.
        self._temperature_told_ms = seen.observed_ms

    async def _say(self, saying: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(TELL_S):
                await saying
        except TimeoutError:
            raise CentralAway(RETRY_S) from None

    def _place(self, place: Place) -> PlaceAnswer:
        watch = self._watches[_key(place)]
        standings = self._standings[place.substation_id]
        return PlaceAnswer(
            place=place.name,
            substation_id=place.substation_id,
            provider=self._provider.name,
            simulated=self._provider.simulated,
            state=watch.state,
            since_ms=watch.since_ms,
            trouble=watch.trouble,
            why=watch.why,
            observation=self._observation(watch.observation),
            alerts=[self._alert((place.substation_id, kind), standings) for kind in KINDS if standings[kind].active],
        )

    def _observation(self, seen: Observation | None) -> ObservationAnswer | None:
        if seen is None:
            return None
        return ObservationAnswer(
            temperature_c=seen.temperature_c,
            wind_m_s=seen.wind_m_s,
            gust_m_s=seen.gust_m_s,
            thunderstorm=seen.thunderstorm,
            condition=seen.condition,
            observed_ms=seen.observed_ms,
            fetched_ms=seen.fetched_ms,
            age_s=max(0, self._clock.site_ms() - seen.observed_ms) // 1000,
        )

    def _alert(self, key: Key, standings: Standings) -> AlertAnswer:
        return AlertAnswer(
            kind=key[1],
            since_ms=standings[key[1]].since_ms,
            told=self._outbox.told(key) is True,
            refused=self._outbox.sentence(key),
        )


def _key(place: Place) -> str:
    return place.where.name.casefold()


def _key_of(watch: Watch) -> str:
    return watch.where.name.casefold()


def _same_city(ours: str | None, theirs: str) -> bool:
    """With or without the country, if one of both has none."""
    if ours is None:
        return False
    (city, _, country), (other, _, other_country) = (name.casefold().partition(",") for name in (ours, theirs))
    same = not country.strip() or not other_country.strip() or country.strip() == other_country.strip()
    return city.strip() == other.strip() and same


def _detail(kind: Kind, place: Place, seen: Observation) -> str:
    if kind != "wind":
        return place.name
    felt = max(speed for speed in (seen.wind_m_s, seen.gust_m_s, 0.0) if speed is not None)
    return f"{felt:.0f} m/s, {place.name}"
