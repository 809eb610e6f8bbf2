"""What the sidecar tells Prometheus, over both databases: the declared metrics, and values that are true."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.exposition import generate_latest
from sqlalchemy.exc import OperationalError

from evcharge.sidecar import metrics as m
from evcharge.sidecar.assembly import Outside, assemble
from evcharge.sidecar.bootstrap import KEYS, initialise, open_registry
from evcharge.sidecar.metrics import SidecarMetrics, Standing
from evcharge.sidecar.sensors.settings import SimulatedSensor
from evcharge.sidecar.services import Services
from evcharge.sidecar.weather.settings import Place, WeatherSettings
from evcharge.sidecar.web.tally import UNMATCHED
from tests.metrics.support import LIMIT_S, Told, check_metrics
from tests.sidecar.conftest import HandClock


class Sidecar:
    """All parts put together, as ``serve`` does it, with the work that a test asks for."""

    def __init__(self, client: TestClient[Any, Any], metrics: SidecarMetrics, operator: str, clock: HandClock) -> None:
        self.client = client
        self.metrics = metrics
        self.parts = metrics._parts
        self.operator = operator
        self.clock = clock

    async def get(self, path: str, token: str | None = None) -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.client.get(path, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def told(self) -> Told:
        """As the exposition asks."""
        await self.metrics.look()
        return Told(b"".join(generate_latest(_One(family)) for family in self.metrics.collect()))


class _One:
    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> Any:
        yield self._family


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is only busy is waited for."""
    monkeypatch.setattr("evcharge.net.metrics.PATIENCE_S", LIMIT_S)


@pytest.fixture
async def sidecar(
    tmp_path: Path, clock: HandClock, signing_keys: Path, database_url: str | None
) -> AsyncIterator[Sidecar]:
    directory = tmp_path / "registry"
    await initialise(directory, "http://127.0.0.1:8080", clock=clock, entropy=os.urandom, database_url=database_url)
    shutil.copytree(signing_keys, directory / KEYS)
    opened = await open_registry(directory, clock=clock, entropy=os.urandom, database_url=database_url)
    made = assemble(
        directory,
        opened,
        clock=clock,
        entropy=os.urandom,
        services=Services(
            sensors=[SimulatedSensor(name="solar_w"), SimulatedSensor(name="grid_percent")],
            weather=WeatherSettings(provider="simulated", places=[Place(city="Berlin")]),
        ),
        outside=Outside(simulated=lambda name, _at_ms: 5_000.0 if name == "solar_w" else None),
    )
    async with TestClient(TestServer(made.application)) as client:
        yield Sidecar(client, made.metrics, (directory / "operator.token").read_text().strip(), clock)
    await opened.store.close()


async def test_every_metric_is_as_declared_and_promtool_finds_no_fault(sidecar: Sidecar) -> None:
    empty = await sidecar.told()
    assert empty.differs(m.TABLE) == {}
    check_metrics(empty.text)
    await sidecar.get("/health")
    full = await sidecar.told()
    assert full.differs(m.TABLE) == {}
    check_metrics(full.text)


async def test_requests_are_counted_by_their_route_however_strange_the_path(sidecar: Sidecar) -> None:
    await sidecar.get("/health")
    await sidecar.get("/health")
    for number in range(30):
        await sidecar.get(f"/no-such-path-{number}")
    async with sidecar.client.delete("/health"):
        pass
    told = await sidecar.told()
    requests = {(s.labels["route"], s.labels["status"]): s.value for s in told.samples("evcharge_http_requests_total")}
    assert requests == {("health", "2xx"): 2, (UNMATCHED, "4xx"): 31}
    assert told.value("evcharge_http_request_seconds_count", route="health") == 2
    assert len(told.by("evcharge_http_request_seconds_count", "route")) == 2


async def test_tokens_are_counted_by_what_they_were(sidecar: Sidecar) -> None:
    assert await sidecar.get("/api/sensors", sidecar.operator) == 200
    assert await sidecar.get("/health") == 200
    for _ in range(5):
        assert await sidecar.get("/api/sensors", "nonsense") == 401
    assert await sidecar.get("/api/sensors", "nonsense") == 429
    told = await sidecar.told()
    decisions = told.by("auth_decisions_total", "status")
    assert decisions == {"accepted": 1, "none": 1, "failed": 5, "throttled": 1, "expired": 0}
    assert told.value("throttled_total") == 1


async def test_a_client_that_asks_too_much_is_counted(sidecar: Sidecar) -> None:
    while await sidecar.get("/health") != 429:
        pass
    assert (await sidecar.told()).value("throttled_total") == 1


async def test_what_waits_in_the_database_is_counted(sidecar: Sidecar) -> None:
    body = {
        "station_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "driver_token": "driver-token.of_20~chars",
        "callback_url": "https://receiver.example/told",
    }
    headers = {"Authorization": f"Bearer {sidecar.operator}"}
    async with sidecar.client.post("/api/chargingRequestValidator/", json=body, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
    told = await sidecar.told()
    assert told.value("evcharge_authorization_queue_depth") == 1
    assert told.by("evcharge_callbacks_waiting", "state") == {"pending": 0, "dead": 0}
    await sidecar.parts.authority.worker.step()
    told = await sidecar.told()
    assert told.value("evcharge_authorization_queue_depth") == 0
    assert told.by("evcharge_callbacks_waiting", "state") == {"pending": 1, "dead": 0}
    assert told.value("evcharge_authorizations_total", decision="not_allowed") == 1
    assert told.value("evcharge_database_seconds_count", kind="write") > 0


async def test_a_database_that_is_away_is_said_and_what_was_known_stays(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await sidecar.told()).value("evcharge_database_up") == 1

    async def away() -> Any:
        raise OperationalError("select", {}, Exception("away"))

    monkeypatch.setattr(sidecar.metrics._backlog, "_ask", away)
    told = await sidecar.told()
    assert told.value("evcharge_database_up") == 0
    assert told.value("evcharge_authorization_queue_depth") == 0


async def test_weather_and_sensors_are_counted_by_how_it_went(sidecar: Sidecar) -> None:
    await sidecar.parts.weather.poll_due()
    running = asyncio.create_task(sidecar.parts.sensors.run())
    while not sidecar.parts.sensors.outcomes():
        await asyncio.sleep(0)
    running.cancel()
    told = await sidecar.told()
    assert told.value("evcharge_weather_fetches_total", outcome="ok") == 1
    assert told.value("evcharge_sensor_readings_total", source="simulator", outcome="ok") == 1
    assert told.value("evcharge_sensor_readings_total", source="simulator", outcome="failed") == 1
    assert told.by("evcharge_sensors", "state") == {"fresh": 1, "missing": 1, "stale": 0}


async def test_what_parts_say_of_themselves(sidecar: Sidecar) -> None:
    told = await sidecar.told()
    assert told.value("evcharge_live_clients") == 0
    assert told.samples("evcharge_history_lag_records") == told.samples("evcharge_central_connected") == []
    assert told.value("evcharge_history_sequence") == 0
    sidecar.metrics._parts = msgspec.structs.replace(
        sidecar.parts, standing=lambda: Standing(live_clients=3, history_seq=90, history_newest=100)
    )
    told = await sidecar.told()
    assert told.value("evcharge_live_clients") == 3
    assert (told.value("evcharge_history_sequence"), told.value("evcharge_history_lag_records")) == (90, 10)
