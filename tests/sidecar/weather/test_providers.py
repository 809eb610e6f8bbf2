"""What providers answer becomes an observation that can be true, or a failure with its kind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.outgoing.http import Http
from evcharge.sidecar.outgoing.secrets import LackingSecret
from evcharge.sidecar.weather import open_meteo, openweather
from evcharge.sidecar.weather.observation import Provider, ProviderFailed, Where
from evcharge.sidecar.weather.providers import make_provider
from evcharge.sidecar.weather.settings import WeatherSettings
from tests.sidecar.weather import samples
from tests.support.clock import START_MS
from tests.support.driven import DrivenClock
from tests.support.ports import free_port
from tests.support.shared import real

KEY = "0123456789abcdef-the-key"
BERLIN = Where("Berlin,DE")
HERE = Where(None, 52.52, 13.405)


def test_real_answers_of_openweather() -> None:
    """Old and new shapes, in three units: what is not in °C cannot be true and is no value."""
    said = {}
    for sample in json.loads(real("weather/openweather/current_weather_samples.json").read_text()):
        body, kelvin = sample["body"], sample["units"].startswith("standard")
        if kelvin or sample["units"].startswith("imperial"):
            with pytest.raises(ProviderFailed) as caught:
                openweather.decode(json.dumps(body).encode(), 1)
            assert caught.value.trouble == "implausible"
        if kelvin:
            body["main"]["temp"] -= 273.15
        if not sample["units"].startswith("imperial"):
            one = openweather.decode(json.dumps(body).encode(), 1)
            assert (one.observed_ms, one.fetched_ms) == (body["dt"] * 1000, 1)
            assert one.thunderstorm is False
            said[body["name"], body["dt"]] = (round(one.temperature_c, 2), one.wind_m_s, one.gust_m_s, one.condition)
    assert said == {
        ("Fairbanks", 1586285705): (-10.5, 1.5, None, 600),
        ("Aksaray", 1586285439): (9.53, 8.81, None, 500),
        ("Williamstown", 1516204440): (-2.23, 1.06, None, 600),
        ("Berlin", 1548346800): (-4.0, 2.6, None, 600),
        ("London", 1600420164): (16.53, 2.1, None, 800),
        ("Laguna Blanca", 1579785089): (22.03, 4.29, None, 804),
        ("London", 1485789600): (7.17, 4.1, None, 300),
    }


def test_real_errors_of_openweather_are_no_weather() -> None:
    for sample in json.loads(real("weather/openweather/error_samples.json").read_text()):
        with pytest.raises(ProviderFailed) as caught:
            openweather.decode(json.dumps(sample["body"]).encode(), 1)
        assert caught.value.trouble == "bad_answer"


@pytest.mark.parametrize(
    ("codes", "thunder", "condition"),
    [([800], False, 800), ([199], False, 199), ([200], True, 200), ([500, 232], True, 232), ([300], False, 300)],
)
def test_thunderstorms_of_openweather(codes: list[int], thunder: bool, condition: int) -> None:
    body = samples.openweather(weather=[{"id": code} for code in codes])
    one = openweather.decode(json.dumps(body).encode(), 1)
    assert (one.thunderstorm, one.condition) == (thunder, condition)


def test_what_openweather_leaves_out_is_not_known() -> None:
    body = samples.openweather()
    del body["wind"], body["weather"]
    one = openweather.decode(json.dumps(body).encode(), 1)
    assert (one.wind_m_s, one.gust_m_s, one.thunderstorm, one.condition) == (None, None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"main": {}},
        {"main": {"temp": None}},
        {"main": {"temp": "-4"}},
        {"main": {"temp": True}},
        {"main": {"temp": -100}},
        {"main": {"temp": 1e400}},
        {"dt": 0},
        {"dt": None},
        {"cod": "404"},
        {"wind": {"speed": 500}},
        {"wind": {"speed": 3, "gust": -1}},
        {"weather": [{}]},
    ],
)
def test_a_temperature_that_is_missing_or_cannot_be_true_is_a_failure(change: dict[str, Any]) -> None:
    with pytest.raises(ProviderFailed):
        openweather.decode(json.dumps({**samples.openweather(), **change}).encode(), 1)


@pytest.mark.parametrize(
    ("code", "thunder"), [(0, False), (94, False), (95, True), (96, True), (99, True), (100, False), (None, None)]
)
def test_thunderstorms_of_open_meteo(code: int | None, thunder: bool | None) -> None:
    one = open_meteo.decode(json.dumps(samples.open_meteo(weather_code=code)).encode(), 1)
    assert (one.thunderstorm, one.condition) == (thunder, code)
    assert (one.temperature_c, one.wind_m_s, one.gust_m_s, one.observed_ms) == (-1.2, 2.5, 6.1, START_MS)


@pytest.mark.parametrize(
    ("name", "unit"), [("temperature_2m", "°F"), ("wind_speed_10m", "km/h"), ("wind_gusts_10m", "mp/h")]
)
def test_other_units_than_those_asked_for_are_no_answer(name: str, unit: str) -> None:
    body = samples.open_meteo()
    body["current_units"][name] = unit
    with pytest.raises(ProviderFailed) as caught:
        open_meteo.decode(json.dumps(body).encode(), 1)
    assert caught.value.trouble == "bad_answer"


@pytest.mark.parametrize("value", [None, "1", 66, -96])
def test_open_meteo_without_a_temperature_that_can_be_true(value: object) -> None:
    with pytest.raises(ProviderFailed):
        open_meteo.decode(json.dumps(samples.open_meteo(temperature_2m=value)).encode(), 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["temp", "dt", "main", "id"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["main", "dt", "weather", "wind", "cod", "current"]), JSON) | JSON)
def test_any_json_is_an_observation_or_a_failure(body: object) -> None:
    for decode in (openweather.decode, open_meteo.decode):
        try:
            one = decode(json.dumps(body).encode(), 1)
        except ProviderFailed:
            continue
        assert -95 <= one.temperature_c <= 65


@given(st.binary())
def test_any_bytes_are_an_observation_or_a_failure(body: bytes) -> None:
    for decode in (openweather.decode, open_meteo.decode):
        with pytest.raises(ProviderFailed):
            decode(body, 1)


# --- against a server ----------------------------------------------------------------------------------------------


class Server:
    """Both providers; the test chooses the answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[str], web.Response] = lambda _path: web.Response(status=500)
        self.base = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.query)))
        return self.answer(request.path)

    def settings(self, **more: Any) -> WeatherSettings:
        return WeatherSettings(
            openweather_url=self.base, open_meteo_url=self.base, open_meteo_names_url=self.base, **more
        )


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.handle)
    async with TestServer(app) as running:
        made.base = str(running.make_url("")).rstrip("/")
        yield made


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http(timeout_s=5.0)
    yield client
    await client.close()


def provider(server: Server, http: Http, kind: str) -> Provider:
    settings = server.settings(provider=kind)
    return make_provider(settings, http, clock=DrivenClock(), environ={"EVCHARGE_OPENWEATHER_KEY": KEY})


async def test_openweather_by_city_and_by_position(server: Server, http: Http) -> None:
    server.answer = lambda _path: web.json_response(samples.openweather(-4.5))
    asks = provider(server, http, "openweather")
    assert (await asks.fetch(BERLIN)).temperature_c == -4.5
    assert (await asks.fetch(HERE)).fetched_ms == START_MS
    assert server.asked == [
        ("/data/2.5/weather", {"units": "metric", "appid": KEY, "q": "Berlin,DE"}),
        ("/data/2.5/weather", {"units": "metric", "appid": KEY, "lat": "52.52000", "lon": "13.40500"}),
    ]


@pytest.mark.parametrize(
    ("status", "trouble"),
    [(401, "bad_key"), (404, "unknown_place"), (429, "throttled"), (500, "bad_answer"), (302, "bad_answer")],
)
async def test_each_refusal_of_openweather_is_its_own(server: Server, http: Http, status: int, trouble: str) -> None:
    server.answer = lambda _path: web.json_response(
        {"cod": status, "message": f"Invalid {KEY}"}, status=status, headers={"Retry-After": "70", "Location": "/"}
    )
    with structlog.testing.capture_logs() as logs, pytest.raises(ProviderFailed) as caught:
        await provider(server, http, "openweather").fetch(BERLIN)
    assert caught.value.trouble == trouble
    assert caught.value.retry_after_s == (70 if trouble in ("throttled", "bad_answer") else None)
    assert KEY not in str(caught.value) + repr(logs)


async def test_a_server_that_is_away_is_said_without_the_key(server: Server, http: Http) -> None:
    server.base = f"http://127.0.0.1:{free_port()}"
    with structlog.testing.capture_logs() as logs, pytest.raises(ProviderFailed) as caught:
        await provider(server, http, "openweather").fetch(BERLIN)
    assert caught.value.trouble == "unreachable"
    assert KEY not in repr(caught.value) + repr(logs)
    assert caught.value.__cause__ is None


async def test_open_meteo_finds_a_city_once(server: Server, http: Http) -> None:
    found = {"results": [{"id": 1, "name": "Berlin", "latitude": 52.52, "longitude": 13.41, "country_code": "DE"}]}
    server.answer = lambda path: web.json_response(found if path == "/v1/search" else samples.open_meteo(-1.2))
    asks = provider(server, http, "open-meteo")
    assert (await asks.fetch(BERLIN)).temperature_c == -1.2
    await asks.fetch(BERLIN)
    await asks.fetch(HERE)
    assert [path for path, _ in server.asked] == ["/v1/search"] + ["/v1/forecast"] * 3
    assert server.asked[0][1] == {"name": "Berlin", "count": "1", "format": "json", "countryCode": "DE"}
    assert server.asked[1][1] == {
        "latitude": "52.52000",
        "longitude": "13.41000",
        "current": "temperature_2m,weather_code,wind_speed_10m,wind_gusts_10m",
        "wind_speed_unit": "ms",
        "timeformat": "unixtime",
    }


async def test_open_meteo_does_not_know_a_city(server: Server, http: Http) -> None:
    server.answer = lambda _path: web.json_response({"generationtime_ms": 0.5})
    with pytest.raises(ProviderFailed) as caught:
        await provider(server, http, "open-meteo").fetch(Where("Nowhere"))
    assert caught.value.trouble == "unknown_place"


@pytest.mark.parametrize(("status", "trouble"), [(400, "bad_answer"), (429, "throttled"), (502, "bad_answer")])
async def test_each_refusal_of_open_meteo(server: Server, http: Http, status: int, trouble: str) -> None:
    server.answer = lambda _path: web.json_response({"error": True, "reason": "x"}, status=status)
    with pytest.raises(ProviderFailed) as caught:
        await provider(server, http, "open-meteo").fetch(HERE)
    assert caught.value.trouble == trouble


def test_without_a_key_the_weather_is_simulated_and_says_so() -> None:
    http, clock = Http(), DrivenClock()
    with structlog.testing.capture_logs() as logs:
        made = make_provider(WeatherSettings(), http, clock=clock, environ={})
    assert (made.name, made.simulated) == ("simulated", True)
    assert logs[0]["event"] == "weather.simulated"
    keyed = make_provider(WeatherSettings(), http, clock=clock, environ={"EVCHARGE_OPENWEATHER_KEY": KEY})
    assert (keyed.name, keyed.simulated) == ("openweather", False)
    with pytest.raises(LackingSecret, match="MY_KEY"):
        make_provider(
            WeatherSettings(provider="openweather", openweather_key_env="MY_KEY"), http, clock=clock, environ={}
        )
    with pytest.raises(LackingSecret):
        make_provider(WeatherSettings(), http, clock=clock, environ={"EVCHARGE_OPENWEATHER_KEY": "a\nb"})
