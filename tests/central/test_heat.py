"""The thermometer's watch: what it tells the engine, when, and what it takes for silence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from evcharge.central.heat import GRACE_S, RENEW_S, STALE_TEMPERATURE_S, HeatWatch
from evcharge.central.sensors import STALE_S, TEMPERATURE, Sensors
from evcharge.domain import commands as c
from evcharge.domain.decide import AnyCommand
from evcharge.domain.state import Derated, State
from evcharge.energy.derating import Derating
from evcharge.energy.rules import Fault
from evcharge.units import Millis
from tests.support.clock import ManualClock

LINE = Derating(40_000, 60_000, 500, 55_000)


class Watched:
    """A watch whose commands take effect at once."""

    def __init__(self, derated: Derated | None = None, line: Derating | None = LINE, speed: float = 1.0) -> None:
        self.clock = ManualClock(speed=speed)
        self.state = State(derated=derated)
        self.sensors = Sensors(self.clock)
        self.told: list[Derated] = []
        execute: Callable[[AnyCommand], None] = self._execute
        self.watch = HeatWatch(lambda: self.state, self.sensors, self.clock, execute, line)

    def _execute(self, command: AnyCommand) -> None:
        assert isinstance(command, c.Derate)
        self.state.derated = command.derated
        self.told.append(command.derated)

    def hears(self, degrees: float, at_ms: int | None = None) -> list[Derated]:
        """A reading, and what is told because of it."""
        assert self.sensors.heard(TEMPERATURE, None, degrees, at_ms)
        return self.looks()

    def looks(self) -> list[Derated]:
        before = len(self.told)
        self.watch.look()
        return self.told[before:]

    def passes(self, seconds: float) -> list[Derated]:
        self.clock.advance(seconds)
        return self.looks()


UNKNOWN = Derated(625, fault=Fault.MISSING)


def test_the_first_reading_is_told() -> None:
    site = Watched(UNKNOWN)
    assert site.looks() == []
    assert site.hears(50.0) == [Derated(750, 50_000, Millis(site.clock.site_ms()))]
    assert site.looks() == []


def test_a_small_step_is_told_to_nobody() -> None:
    site = Watched(UNKNOWN)
    site.hears(50.0)
    assert site.hears(50.3) == []
    assert site.hears(49.7) == []
    assert [each.share for each in site.hears(50.4)] == [740]
    assert site.hears(50.0) != []


def test_a_fraction_counts_towards_the_heat() -> None:
    site = Watched(UNKNOWN)
    (told,) = site.hears(45.00049)
    assert (told.milli_c, told.share) == (45_001, 874)
    (cold,) = Watched(UNKNOWN).hears(-10.00051)
    assert (cold.milli_c, cold.share) == (-10_000, 1_000)


def test_silence_counts_as_what_is_assumed_and_never_as_zero_degrees() -> None:
    site = Watched(UNKNOWN)
    site.hears(20.0)
    assert site.passes(STALE_TEMPERATURE_S) == []
    with capture_logs() as lines:
        assert site.passes(0.1) == [Derated(625, fault=Fault.STALE)]
        assert site.passes(1.0) == []
    (line,) = lines
    assert line["event"] == "temperature.unknown" and "62.5 %" in line["sentence"]
    with capture_logs() as lines:
        assert [each.share for each in site.hears(20.0)] == [1_000]
    assert [line["event"] for line in lines] == ["temperature.known"]


def test_the_log_has_a_fresh_reading_though_nothing_changes() -> None:
    site = Watched(UNKNOWN)
    site.hears(45.0)
    records = sum(len(site.passes(60.0) + site.hears(45.0)) for _ in range(60))
    assert records == 60 * 60 // RENEW_S


def test_after_a_start_the_reading_of_before_holds_until_it_is_old() -> None:
    clock = ManualClock()
    kept = Derated(900, 44_000, Millis(clock.site_ms() - 600_000))
    site = Watched(kept)
    assert site.looks() == site.passes(GRACE_S + 1) == []
    assert site.passes(STALE_TEMPERATURE_S - 600 - GRACE_S - 1) == []
    assert site.passes(0.1) == [UNKNOWN]


def test_after_a_long_absence_it_holds_until_sources_are_back() -> None:
    kept = Derated(900, 44_000, Millis(ManualClock().site_ms() - 86_400_000))
    site = Watched(kept)
    assert site.looks() == site.passes(GRACE_S) == []
    assert site.passes(0.1) == [UNKNOWN]
    early = Watched(kept)
    assert [each.share for each in early.hears(50.0)] == [750]


def test_a_reading_that_is_told_late_is_as_old_as_it_says() -> None:
    site = Watched(UNKNOWN)
    now_ms = site.clock.site_ms()
    assert [each.share for each in site.hears(20.0, now_ms - 1_799_000)] == [1_000]
    assert site.passes(2.0) == [Derated(625, fault=Fault.STALE)]


@pytest.mark.parametrize(("speed", "patience_s"), [(1.0, STALE_TEMPERATURE_S), (6.0, 300.0), (600.0, STALE_S)])
def test_a_fast_clock_leaves_a_source_time_to_speak(speed: float, patience_s: float) -> None:
    site = Watched(UNKNOWN, speed=speed)
    site.hears(20.0)
    assert Fault.STALE not in [each.fault for each in site.passes(patience_s)]
    assert [each.fault for each in site.passes(0.1)] == [Fault.STALE]


def test_where_nobody_asked_it_says_nothing() -> None:
    site = Watched(None, None)
    assert site.hears(69.0) == []


async def test_where_nobody_asked_it_does_not_even_run() -> None:
    await Watched(None, None).watch.run()
