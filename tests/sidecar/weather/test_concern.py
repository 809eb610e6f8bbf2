"""What the weather leads to: Central is told until it answers, and the routes show the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer

from evcharge.sidecar.routes.weather import ROUTES
from evcharge.sidecar.telling import CentralAway, CentralRefused
from evcharge.sidecar.weather.concern import Alert, Weather
from evcharge.sidecar.weather.observation import ProviderFailed
from evcharge.sidecar.weather.schemas import WeatherAnswer
from evcharge.sidecar.weather.settings import Place, WeatherSettings
from evcharge.sidecar.weather.simulated import SimulatedProvider
from evcharge.sidecar.web.api import Api
from tests.sidecar.believing import BelievingDoor
from tests.sidecar.weather.samples import Scripted, seen
from tests.support.driven import DrivenClock

PLACES = [
    Place(city="Berlin"),
    Place(city="Madrid,ES", substation_id="south"),
    Place(city="berlin ", substation_id="north"),
]


class Central:
    """Remembers what it was told; away or refusing when the test says so."""

    def __init__(self) -> None:
        self.told: list[Alert] = []
        self.temperatures: list[tuple[float, int]] = []
        self.away: CentralAway | None = None
        self.refuses: set[str | None] = set()
        self.hangs = False
        self.attempts = 0

    async def tell(self, alert: Alert) -> None:
        self.attempts += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away is not None:
            raise self.away
        if alert.substation_id in self.refuses:
            raise CentralRefused("unknown_substation", "There is no such substation.")
        self.told.append(alert)

    async def temperature(self, celsius: float, at_ms: int) -> None:
        if self.away is not None:
            raise self.away
        self.temperatures.append((celsius, at_ms))

    def news(self) -> list[tuple[str, bool, str | None]]:
        """What it was told since it was last looked at."""
        told, self.told = self.told, []
        return [(alert.kind, alert.active, alert.substation_id) for alert in told]


class Rig:
    def __init__(self, settings: WeatherSettings | None = None) -> None:
        self.clock = DrivenClock()
        self.central = Central()
        self.provider = Scripted()
        self.provider.says = {"Berlin": seen(10.0), "berlin": seen(10.0), "Madrid,ES": seen(20.0)}
        self.settings = settings or WeatherSettings(places=PLACES)
        self.weather = Weather(
            self.settings,
            self.provider,
            clock=self.clock,
            tell=self.central.tell,
            tell_temperature=self.central.temperature,
            random=lambda: 0.5,
            sleep=self.clock.sleep,
        )

    async def look(self, after_s: float = 0.0, **says: float) -> list[tuple[str, bool, str | None]]:
        """Let time pass, then let one poll and one round of telling happen."""
        self.clock.advance(after_s)
        at_s = self.clock.monotonic() - 1_000.0
        for name, celsius in says.items():
            self.provider.says["Madrid,ES" if name == "Madrid" else name] = seen(celsius, at_s)
        await self.weather.poll_due()
        await self.weather.tell_due()
        return self.central.news()


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_one_request_for_each_city(rig: Rig) -> None:
    await rig.look()
    assert sorted(rig.provider.asked) == ["Berlin", "Madrid,ES"]


async def test_at_first_central_hears_what_is_known(rig: Rig) -> None:
    """It may remember an alert of before this process began."""
    first = await rig.look()
    assert first == [(kind, False, where) for where in (None, "south", "north") for kind in ("cold", "heat", "wind")]
    assert await rig.look(1.0) == []
    assert await rig.look(1_800.0, Berlin=10.0, Madrid=20.0) == [("storm", False, w) for w in (None, "south", "north")]


async def test_cold_is_told_for_the_places_that_have_it_and_again_while_it_lasts(rig: Rig) -> None:
    async def cold(after_s: float, celsius: float) -> list[tuple[bool, str | None]]:
        return [(active, where) for kind, active, where in await rig.look(after_s, Berlin=celsius) if kind == "cold"]

    await rig.look()
    assert await cold(600, -3.25) == [(True, None), (True, "north")]
    assert rig.central.temperatures[-1] == (-3.25, rig.clock.site_ms())
    assert await cold(599, -3.0) == []
    assert await cold(1, -3.0) == [(True, None), (True, "north")]
    assert await cold(600, 0.5) == [(True, None), (True, "north")]
    assert await cold(600, 1.0) == [(False, None), (False, "north")]
    assert await cold(600, 0.5) == []


async def test_a_told_alert_says_what_was_measured(rig: Rig) -> None:
    await rig.look()
    rig.clock.advance(600)
    rig.provider.says["Berlin"] = seen(-3.25, 600, gust_m_s=31.0, thunderstorm=True)
    await rig.weather.poll_due()
    await rig.weather.tell_due()
    cold, wind, storm = [alert for alert in rig.central.told if alert.active and alert.substation_id is None]
    assert (cold.detail, cold.temperature_c, cold.simulated) == ("Berlin", -3.25, False)
    assert (wind.detail, wind.temperature_c) == ("31 m/s, Berlin", None)
    assert (storm.detail, storm.temperature_c) == ("Berlin", None)


async def test_a_failing_provider_ends_no_alert(rig: Rig) -> None:
    await rig.look()
    await rig.look(600, Berlin=-3.0)
    rig.provider.fails = ProviderFailed("timeout", "slow")
    for _ in range(20):
        news = await rig.look(600)
        assert all(active for _, active, _ in news)
    assert ("cold", True, None) in news, "it is still said"
    temperatures = len(rig.central.temperatures)
    rig.weather.reconnected()
    await rig.look(1)
    assert len(rig.central.temperatures) == temperatures, "an old temperature is not said as if it were new"
    rig.provider.fails = None
    assert ("cold", False, None) in await rig.look(1_000, Berlin=5.0)


async def test_while_central_is_away_nothing_is_lost_and_it_is_not_flooded(rig: Rig) -> None:
    await rig.look()
    rig.central.away = CentralAway(5)
    rig.central.attempts = 0
    assert await rig.look(600, Berlin=-3.0) == []
    for _ in range(4):
        await rig.look(1.0)
    assert rig.central.attempts == 1
    rig.central.away = None
    assert await rig.look(1.0) == [("cold", True, None), ("cold", True, "north")]
    assert rig.central.temperatures[-1][0] == -3.0


async def test_what_came_and_went_while_central_was_away_is_not_told(rig: Rig) -> None:
    await rig.look()
    rig.central.away = CentralAway(5)
    await rig.look(600, Berlin=-3.0)
    await rig.look(600, Berlin=5.0)
    rig.central.away = None
    assert await rig.look(5.0) == []


async def test_an_answer_that_does_not_come_is_central_away(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.sidecar.weather.concern.TELL_S", 0.01)
    rig.central.hangs = True
    assert await rig.look() == []
    rig.central.hangs = False
    assert len(await rig.look(5.0)) == 9


async def test_after_a_reconnect_active_alerts_are_told_again(rig: Rig) -> None:
    await rig.look()
    await rig.look(600, Berlin=-3.0)
    temperatures = len(rig.central.temperatures)
    rig.weather.reconnected()
    assert await rig.look(1) == [("cold", True, None), ("cold", True, "north")]
    assert len(rig.central.temperatures) == temperatures + 1


async def test_reconnecting_ends_the_wait(rig: Rig) -> None:
    rig.central.away = CentralAway(1_000)
    await rig.look()
    rig.central.away = None
    assert await rig.look(1) == []
    rig.weather.reconnected()
    assert len(await rig.look(1)) == 9


async def test_a_refusal_is_said_once_and_shown(rig: Rig) -> None:
    rig.central.refuses = {"north"}
    with structlog.testing.capture_logs() as logs:
        await rig.look()
        await rig.look(600, Berlin=-3.0)
        await rig.look(600, Berlin=-3.0)
        rig.central.refuses = set()
        assert ("cold", True, "north") in await rig.look(600, Berlin=-3.0)
    said = [log for log in logs if log["event"] == "weather.alert_refused" and log["kind"] == "cold"]
    assert len(said) == 2, "that there was none, and that there is one"


async def test_a_site_without_places_has_no_weather() -> None:
    rig = Rig(WeatherSettings())
    assert await rig.look() == []
    assert rig.central.temperatures == []


async def test_the_temperature_is_that_of_the_whole_site(rig: Rig) -> None:
    await rig.look()
    assert rig.central.temperatures == [(10.0, rig.clock.site_ms())]
    await rig.look(1.0)
    assert len(rig.central.temperatures) == 1


async def test_run_looks_and_tells_by_itself(rig: Rig) -> None:
    running = asyncio.create_task(rig.weather.run())
    await rig.clock.pass_time(1.0)
    assert len(rig.central.news()) == 9
    await rig.clock.pass_time(10.0)
    assert len(rig.provider.asked) == 2
    rig.provider.says["Berlin"] = seen(-1.0, 600)
    await rig.clock.pass_time(600.0)
    assert ("cold", True, None) in rig.central.news()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# --- the routes ----------------------------------------------------------------------------------------------------


class Site:
    def __init__(self, rig: Rig, client: TestClient[Any, Any]) -> None:
        self.rig, self.client = rig, client

    async def ask(self, method: str, path: str, body: object = None, name: str = "office") -> tuple[int, Any, Any]:
        head = {"Authorization": f"Bearer {name}"}
        async with self.client.request(method, path, headers=head, json=body) as answer:
            return answer.status, msgspec.json.decode(await answer.read()), answer.headers


@pytest.fixture
async def site(rig: Rig) -> AsyncIterator[Site]:
    api = Api(ROUTES, rig.weather.handlers(), door=BelievingDoor(), clock=rig.clock)
    async with TestClient(TestServer(api.application())) as client:
        yield Site(rig, client)


async def test_the_overview_before_and_after_the_first_look(site: Site) -> None:
    status, body, _ = await site.ask("GET", "/api/weather", name="viewer")
    assert status == 200
    assert [(place["state"], place["observation"]) for place in body["places"]] == [("starting", None)] * 3
    await site.rig.look()
    await site.rig.look(600, Berlin=-3.0)
    site.rig.clock.advance(90)
    status, body, _ = await site.ask("GET", "/api/weather", name="viewer")
    answer = msgspec.convert(body, WeatherAnswer, strict=True)
    assert (answer.provider, answer.simulated) == ("openweather", False)
    berlin, madrid, _ = answer.places
    assert (berlin.place, berlin.substation_id, berlin.state) == ("Berlin", None, "ok")
    assert berlin.observation is not None
    assert (berlin.observation.temperature_c, berlin.observation.age_s) == (-3.0, 90)
    assert [(alert.kind, alert.told, alert.refused) for alert in berlin.alerts] == [("cold", True, "")]
    assert madrid.alerts == []


async def test_the_overview_shows_a_failure_beside_the_alert_that_stays(site: Site) -> None:
    await site.rig.look()
    site.rig.central.refuses = {None}
    await site.rig.look(600, Berlin=-3.0)
    site.rig.provider.fails = ProviderFailed("bad_key", "The key is wrong.")
    await site.rig.look(600)
    _, body, _ = await site.ask("GET", "/api/weather")
    berlin = body["places"][0]
    assert (berlin["state"], berlin["trouble"], berlin["why"]) == ("unavailable", "bad_key", "The key is wrong.")
    assert [(one["kind"], one["told"], one["refused"]) for one in berlin["alerts"]] == [
        ("cold", False, "There is no such substation.")
    ]


async def test_simulated_weather_is_labelled_everywhere() -> None:
    rig = Rig()
    provider = SimulatedProvider(rig.settings.simulated, clock=rig.clock)
    weather = Weather(
        rig.settings,
        provider,
        clock=rig.clock,
        tell=rig.central.tell,
        tell_temperature=rig.central.temperature,
        random=lambda: 0.5,
    )
    await weather.poll_due()
    await weather.tell_due()
    assert rig.central.told
    assert all(alert.simulated for alert in rig.central.told)
    api = Api(ROUTES, weather.handlers(), door=BelievingDoor(), clock=rig.clock)
    async with TestClient(TestServer(api.application())) as client:
        _, body, _ = await Site(rig, client).ask("GET", "/api/weather")
    assert body["simulated"]
    assert all(place["simulated"] and place["provider"] == "simulated" for place in body["places"])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"kind": "heat"}, [("heat", True, None, None)]),
        ({"kind": "storm", "active": False}, [("storm", False, None, None)]),
        ({"alert": "ALERT_COLD"}, [("cold", True, None, None)]),
        ({"alert": "WEATHER_OK"}, [("cold", False, None, None)]),
        ({"alert": "WEATHER_OK", "kind": "wind"}, [("wind", False, None, None)]),
        ({"alert": "ALERT_STORM", "kind": "storm", "active": True}, [("storm", True, None, None)]),
        (
            {"alert": "ALERT_COLD", "cp_id": "CP-1", "city": "Berlin", "temperature": -2, "timestamp": 1.5},
            [("cold", True, None, "CP-1")],
        ),
        ({"alert": "ALERT_COLD", "substation_id": "x", "city": "Nowhere"}, [("cold", True, "x", None)]),
        ({"alert": "ALERT_COLD", "city": "BERLIN"}, [("cold", True, None, None), ("cold", True, "north", None)]),
        ({"alert": "ALERT_COLD", "city": "Berlin,DE"}, [("cold", True, None, None), ("cold", True, "north", None)]),
        ({"alert": "ALERT_COLD", "city": "madrid"}, [("cold", True, "south", None)]),
        ({"kind": "cold", "city": None, "timestamp": "2026-01-01T00:00:00Z"}, [("cold", True, None, None)]),
    ],
)
async def test_an_office_tells_central(site: Site, body: dict[str, Any], told: list[Any]) -> None:
    status, answer, headers = await site.ask("POST", "/api/weather_alert", body)
    assert status == 200, answer
    said = [(one.kind, one.active, one.substation_id, one.cp_id) for one in site.rig.central.told]
    assert said == told
    assert answer["status"] == "told"
    assert (answer["kind"], answer["active"]) == told[0][:2]
    assert not any(one.simulated for one in site.rig.central.told)
    assert {(one.by, one.trace) for one in site.rig.central.told} == {("office", headers["X-Request-ID"])}
    if "temperature" in body:
        assert site.rig.central.told[0].temperature_c == -2.0


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "alert"),
        ({"alert": "OK"}, 422, "alert"),
        ({"kind": "snow"}, 422, "kind"),
        ({"alert": "ALERT_COLD", "kind": "heat"}, 422, "kind"),
        ({"alert": "ALERT_COLD", "active": False}, 422, "active"),
        ({"alert": "WEATHER_OK", "active": True}, 422, "active"),
        ({"kind": "cold", "temperature_c": 300}, 422, "temperature_c"),
        ({"kind": "cold", "cp_id": ""}, 422, "cp_id"),
        ({"kind": "cold", "colour": "red"}, 422, "colour"),
        ({"kind": "cold", "city": "Madrid,US"}, 404, None),
        ({"kind": "cold", "city": "Rome"}, 404, None),
    ],
)
async def test_what_an_office_must_not_send(site: Site, body: object, status: int, field: str | None) -> None:
    got, answer, _ = await site.ask("POST", "/api/weather_alert", body)
    assert got == status
    assert field is None or field in answer["fields"]
    assert site.rig.central.told == []


async def test_central_away_and_central_refusing(site: Site) -> None:
    site.rig.central.away = CentralAway(7)
    status, body, headers = await site.ask("POST", "/api/weather_alert", {"kind": "cold"})
    assert (status, body["code"], headers["Retry-After"]) == (503, "central_away", "7")
    site.rig.central.away = None
    site.rig.central.refuses = {"x"}
    status, body, _ = await site.ask("POST", "/api/weather_alert", {"kind": "cold", "substation_id": "x"})
    assert (status, body["code"], body["detail"]) == (409, "refused", "There is no such substation.")


async def test_who_may_only_look_may_not_alert(site: Site) -> None:
    status, _, _ = await site.ask("POST", "/api/weather_alert", {"kind": "cold"}, name="viewer")
    assert status == 403
    assert site.rig.central.told == []


# --- the settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[[places]]", "city"),
        ("[[places]]\nlatitude = 1.0", "longitude"),
        ('[[places]]\ncity = "A1"\n[[places]]\ncity = "B2"', "places"),
        ('[[places]]\ncity = "A1"\nsubstation = "x"', "substation"),
        ('openweather_url = "http://example.org"', "openweather_url"),
        ('open_meteo_url = "example.org"', "open_meteo_url"),
        ("poll_s = 0.5", "poll_s"),
        ("[limits]\ncold_clear_c = -1.0", "cold_clear_c"),
        ('provider = "bbc"', "provider"),
    ],
)
def test_settings_that_cannot_be(text: str, wrong: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=wrong):
        msgspec.toml.decode(text, type=WeatherSettings)


def test_settings_of_a_demo() -> None:
    text = (
        'poll_s = 4.0\n[[places]]\ncity = "Berlin"\n[[places]]\nlatitude = 40.4\nlongitude = -3.7\nsubstation_id = "s"'
    )
    settings = msgspec.toml.decode(text, type=WeatherSettings)
    assert [place.name for place in settings.places] == ["Berlin", "40.4, -3.7"]
