"""Readings from URLs: against a server, with and without tokens, and when it is down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from evcharge.sidecar.outgoing.http import Http
from evcharge.sidecar.outgoing.secrets import LackingSecret
from evcharge.sidecar.outgoing.settings import ClientCredentials
from evcharge.sidecar.sensors.concern import Sensors
from evcharge.sidecar.sensors.settings import HttpSensor, SensorsSettings, SimulatedSensor
from evcharge.sidecar.sensors.sources import HttpSource
from tests.support.driven import DrivenClock, settle
from tests.support.ports import free_port

SECRET = "the-secret-of-the-roof"
ENVIRON = {"ROOF_KEY": SECRET}


class Device:
    """An inverter with a status page, an API key, and a token endpoint."""

    def __init__(self) -> None:
        self.base = ""
        self.body: bytes = b'{"solar": {"kw": 12.5, "at": 1763683200}, "battery": [80]}'
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[dict[str, str]] = []
        self.tokens = 0
        self.wants: str | None = None

    async def look(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.headers))
        if self.wants is not None and request.headers.get("Authorization") != f"Bearer {self.wants}":
            return web.Response(status=401)
        return web.Response(body=self.body, status=self.status, headers=self.headers)

    async def token(self, request: web.Request) -> web.Response:
        self.tokens += 1
        return web.json_response({"access_token": f"t{self.tokens}", "token_type": "bearer", "expires_in": 600})


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    made = Device()
    app = web.Application()
    app.router.add_get("/status", made.look)
    app.router.add_post("/token", made.token)
    async with TestServer(app) as server:
        made.base = str(server.make_url("")).rstrip("/")
        yield made


class Rig:
    def __init__(self, *sensors: HttpSensor | SimulatedSensor, environ: dict[str, str] | None = None) -> None:
        self.clock = DrivenClock()
        self.http = Http(timeout_s=5.0)
        self.told: list[Any] = []
        self.sensors = Sensors(
            SensorsSettings(sensors=list(sensors)),
            http=self.http,
            environ=ENVIRON if environ is None else environ,
            clock=self.clock,
            tell_reading=self.tell,
            random=lambda: 0.5,
            sleep=self.clock.sleep,
            simulated=lambda name, _ms: 42.0 if name == "grid_percent" else None,
        )

    async def tell(self, *told: Any) -> None:
        self.told.append(told)

    @property
    def sources(self) -> list[HttpSource]:
        return [source for source in self.sensors._sources if isinstance(source, HttpSource)]

    def look(self) -> dict[str, tuple[str, float | None, str]]:
        return {key: (one.state, one.value, one.why) for key, one in self.sensors.readings().items()}


def solar(device: Device, **more: Any) -> HttpSensor:
    return HttpSensor(
        **{"name": "solar_w", "url": f"{device.base}/status", "pointer": "/solar/kw", "scale": 1000.0, **more}
    )


async def test_what_stands_in_one_answer_is_asked_for_once(device: Device) -> None:
    battery = solar(device, name="battery_percent", pointer="/battery/0", scale=1.0)
    rig = Rig(solar(device, time_pointer="/solar/at"), battery)
    (source,) = rig.sources
    rig.clock.advance(7.0)
    assert await source.poll() == 5.0
    assert rig.look() == {"solar_w": ("fresh", 12_500.0, ""), "battery_percent": ("fresh", 80.0, "")}
    assert [one.age_s for one in rig.sensors.readings().values()] == [7.0, 0.0]
    assert len(device.asked) == 1
    await rig.http.close()


async def test_a_number_alone_is_enough(device: Device) -> None:
    device.body = b"12.5\n"
    rig = Rig(solar(device, pointer=None))
    await rig.sources[0].poll()
    assert rig.look()["solar_w"][:2] == ("fresh", 12_500.0)
    await rig.http.close()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"solar": {"kw": "12"}}', b'{"solar": {"kw": null}}', b"<html>"])
async def test_an_answer_without_a_number_is_no_reading(device: Device, body: bytes) -> None:
    rig = Rig(solar(device))
    await rig.sources[0].poll()
    device.body = body
    await rig.sources[0].poll()
    state, value, why = rig.look()["solar_w"]
    assert (state, value) == ("missing", None)
    assert why
    await rig.http.close()


async def test_a_server_that_fails_is_asked_less_often_and_its_last_word_ages(device: Device) -> None:
    rig = Rig(solar(device, every_s=1.0))
    (source,) = rig.sources
    await source.poll()
    device.status = 503
    assert [await source.poll() for _ in range(8)] == [1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert rig.look()["solar_w"] == ("fresh", 12_500.0, "The server answered 503.")
    rig.clock.advance(61)
    assert rig.look()["solar_w"][:2] == ("stale", None)
    device.headers = {"Retry-After": "120"}
    assert await source.poll() == 120.0
    device.status = 200
    assert await source.poll() == 1.0
    assert rig.look()["solar_w"][0] == "fresh"
    await rig.http.close()


async def test_nobody_there(device: Device) -> None:
    rig = Rig(solar(device, url=f"http://127.0.0.1:{free_port()}/"))
    await rig.sources[0].poll()
    assert rig.look()["solar_w"] == ("missing", None, "The server cannot be reached.")
    await rig.http.close()


async def test_a_key_goes_into_its_header_and_nowhere_else(device: Device) -> None:
    with structlog.testing.capture_logs() as logs:
        rig = Rig(solar(device, header="X-Api-Key", secret_env="ROOF_KEY"))
        await rig.sources[0].poll()
        device.status = 403
        await rig.sources[0].poll()
    assert device.asked[0]["X-Api-Key"] == SECRET
    assert SECRET not in repr(logs) + repr(rig.look())
    with pytest.raises(LackingSecret, match="ROOF_KEY"):
        Rig(solar(device, header="X-Api-Key", secret_env="ROOF_KEY"), environ={})
    await rig.http.close()


async def test_a_token_is_fetched_kept_and_renewed_when_it_is_refused(device: Device) -> None:
    credentials = ClientCredentials(token_url=f"{device.base}/token", client_id="me", secret_env="ROOF_KEY")
    other = solar(device, name="battery_percent", pointer="/battery/0", scale=1.0, every_s=10.0, oauth=credentials)
    rig = Rig(solar(device, oauth=credentials), other)
    device.wants = "t1"
    for source in rig.sources:
        await source.poll()
    assert (device.tokens, len(device.asked)) == (1, 2), "both share a token"
    device.wants = "t2"
    await rig.sources[0].poll()
    assert (device.tokens, len(device.asked)) == (2, 4)
    assert {one[0] for one in rig.look().values()} == {"fresh"}
    device.wants = "another"
    await rig.sources[0].poll()
    assert rig.look()["solar_w"] == ("fresh", 12_500.0, "The server answered 401.")
    await rig.http.close()


async def test_the_whole_way_to_central(device: Device) -> None:

    rig = Rig(
        solar(device, time_pointer="/solar/at"), SimulatedSensor(name="grid_percent"), SimulatedSensor(name="base_w")
    )
    running = asyncio.create_task(rig.sensors.run())
    # The server is real, so its answer takes a moment of real time.
    async with asyncio.timeout(10):
        while rig.look()["solar_w"][0] != "fresh":
            await settle()
    await rig.clock.pass_time(1.0)
    start_ms = 1_763_683_200_000
    assert ("solar_w", 12_500.0, start_ms, None) in rig.told
    assert ("grid_percent", 42.0, start_ms, None) in rig.told
    assert rig.look()["base_w"] == ("missing", None, "The simulator has no such sensor.")
    assert json.dumps(rig.told).count("base_w") == 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await rig.http.close()
