"""What Central is told of the sensors: the newest, at most once a second, and nothing that is old."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
import structlog

from evcharge.sidecar.outgoing.http import Http
from evcharge.sidecar.sensors.concern import Sensors
from evcharge.sidecar.sensors.settings import ReadingName, SensorsSettings, SimulatedSensor
from evcharge.sidecar.telling import CentralAway, CentralRefused
from tests.support.driven import DrivenClock

Told = tuple[ReadingName, float, int, str | None]


class Rig:
    """Simulated sensors whose values the test sets; None: there is no such sensor."""

    def __init__(self) -> None:
        self.clock = DrivenClock()
        self.values: dict[str, float | None] = {"base_w": 10_000.0, "solar_w": 0.0}
        self.told: list[Told] = []
        self.attempts = 0
        self.error: CentralAway | CentralRefused | None = None
        self.hangs = False
        names = [SimulatedSensor(name="base_w", substation_id="north"), SimulatedSensor(name="solar_w")]
        self.sensors = Sensors(
            SensorsSettings(sensors=[*names]),
            http=Http(),
            environ={},
            clock=self.clock,
            tell_reading=self.tell,
            random=lambda: 0.5,
            sleep=self.clock.sleep,
            simulated=lambda name, _ms: self.values[name],
        )
        self.running = asyncio.create_task(self.sensors.run())

    async def tell(self, name: ReadingName, value: float, at_ms: int, substation_id: str | None) -> None:
        self.attempts += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.told.append((name, value, at_ms, substation_id))

    async def after(self, seconds: float) -> list[Told]:
        """What Central hears in that time."""
        self.told = []
        await self.clock.pass_time(seconds)
        return self.told

    async def end(self) -> None:
        self.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.running


async def test_each_sensor_once_a_second_in_site_time() -> None:
    rig = Rig()
    told = await rig.after(10.0)
    assert [one[0] for one in told].count("base_w") in (10, 11)
    assert {(name, value, node) for name, value, _, node in told} == {
        ("base_w", 10_000.0, "north"),
        ("solar_w", 0.0, None),
    }
    times = [at_ms for name, _, at_ms, _ in told if name == "solar_w"]
    assert all(then - now == 1_000 for now, then in pairwise(times))
    assert rig.sensors.handlers().keys() == {"list_sensors"}
    await rig.end()


async def test_while_central_is_away_nothing_queues_and_then_comes_the_newest() -> None:
    rig = Rig()
    await rig.after(2.0)
    rig.error, rig.attempts = CentralAway(5), 0
    for watts in range(20):
        rig.values["base_w"] = 1_000.0 * watts
        await rig.after(1.0)
    assert rig.attempts <= 5, "not a flood"
    rig.error = None
    rig.sensors.reconnected()
    told = await rig.after(1.0)
    assert [(name, value) for name, value, _, _ in told] == [("base_w", 19_000.0), ("solar_w", 0.0)]
    await rig.end()


async def test_reconnecting_ends_the_wait() -> None:
    rig = Rig()
    rig.error = CentralAway(1_000)
    await rig.after(2.0)
    rig.error = None
    assert await rig.after(10.0) == []
    rig.sensors.reconnected()
    assert len(await rig.after(1.0)) == 2
    await rig.end()


async def test_a_sensor_that_went_silent_is_not_said_again() -> None:
    rig = Rig()
    await rig.after(2.0)
    with structlog.testing.capture_logs() as logs:
        rig.values["base_w"] = None
        await rig.after(1.0)
        assert [name for name, *_ in await rig.after(20.0)] == ["solar_w"] * 20
        rig.sensors.reconnected()
        assert "base_w" not in [name for name, *_ in await rig.after(1.0)]
        reading = rig.sensors.readings()["base_w of north"]
        assert (reading.state, reading.value, reading.why) == ("stale", None, "The simulator has no such sensor.")
        rig.values["base_w"] = 5.0
        await rig.after(2.0)
    said = [(log["event"], log["sensor"]) for log in logs]
    assert said == [("sensors.lost", "base_w of north"), ("sensors.fresh", "base_w of north")]
    await rig.end()


async def test_what_cannot_be_true_is_not_told() -> None:
    rig = Rig()
    await rig.after(2.0)
    for value in (float("nan"), float("inf"), -1.0, 1e12):
        rig.values["base_w"] = value
        await rig.after(1.0)
        assert "base_w" not in [name for name, *_ in await rig.after(3.0)]
        assert rig.sensors.readings()["base_w of north"].state == "missing"
    await rig.end()


async def test_a_refusal_is_said_once_and_holds_up_no_other_sensor() -> None:
    rig = Rig()
    with structlog.testing.capture_logs() as logs:
        rig.error, rig.attempts = CentralRefused("unknown_substation", "x"), 0
        await rig.after(10.0)
    assert rig.attempts >= 20
    assert [log["sensor"] for log in logs if log["event"] == "sensors.refused"] == ["base_w of north", "solar_w"]
    await rig.end()


async def test_an_answer_that_does_not_come_is_central_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.sidecar.sensors.concern.TELL_S", 0.01)
    rig = Rig()
    rig.hangs = True
    await rig.clock.pass_time(0.0)
    async with asyncio.timeout(10):
        while rig.sensors._away_until_s < rig.clock.monotonic():
            await asyncio.sleep(0)
    rig.hangs = False
    assert await rig.after(1.0) == []
    assert len(await rig.after(6.0)) >= 2
    await rig.end()


async def test_site_time_that_runs_fast() -> None:
    rig = Rig()
    rig.clock.speed = 60.0
    told = await rig.after(3.0)
    assert {at_ms for *_, at_ms, _ in told} <= {1_763_683_200_000 + step * 60_000 for step in range(4)}
    await rig.end()


def test_simulated_sensors_need_a_simulator() -> None:
    with pytest.raises(ValueError, match="simulator"):
        Sensors(
            SensorsSettings(sensors=[SimulatedSensor(name="solar_w")]),
            http=Http(),
            environ={},
            clock=DrivenClock(),
            tell_reading=lambda *_: asyncio.sleep(0),
            random=lambda: 0.5,
        )
