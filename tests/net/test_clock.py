from __future__ import annotations

import time
from pathlib import Path

import pytest

from evcharge.net import clock as clock_module
from evcharge.net.clock import SiteClockFile, SystemClock, human_ms


class Machine:
    """The machine's clocks, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 500.0
        self.utc_ns = 1_700_000_000_000_000_000
        monkeypatch.setattr(clock_module.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(clock_module.time, "time_ns", lambda: self.utc_ns)


def test_steady_time_does_not_follow_a_step_of_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    clock = SystemClock()
    machine.utc_ns += 3600 * 10**9
    machine.now_s += 1.5
    assert clock.monotonic() == 501.5
    assert clock.steady_ms() == 1_700_000_001_500
    assert clock.site_ms() == clock.steady_ms()
    assert clock.speed == 1.0


def test_site_time_stands_until_its_start_then_runs_at_its_speed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(monkeypatch)
    path = tmp_path / "site.json"
    SiteClockFile(site_ms=1000, speed=60.0).write(path)
    clock = SystemClock(path)
    assert clock.speed == 60.0
    machine.now_s += 10
    assert clock.site_ms() == 1000
    SiteClockFile(site_ms=1000, speed=60.0, start_monotonic=512.0).write(path)
    machine.now_s += 1
    assert clock.site_ms() == 1000, "it starts at 512"
    machine.now_s += 3
    assert clock.site_ms() == 1000 + 2 * 60_000
    assert not list(tmp_path.glob("*.tmp"))


def test_a_frozen_clock_is_not_read_from_disk_at_every_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch)
    path = tmp_path / "site.json"
    SiteClockFile(site_ms=1000, speed=2.0).write(path)
    clock = SystemClock(path)
    machine.now_s += 0.01
    path.unlink()
    assert clock.site_ms() == 1000
    machine.now_s += 1
    with pytest.raises(FileNotFoundError):
        clock.site_ms()


def test_deadlines_of_people_last_at_least_two_seconds_of_wall_time() -> None:
    assert human_ms(60, 1.0) == 60_000
    assert human_ms(1, 1.0) == 1_000
    assert human_ms(60, 1200.0) == 2_400_000
    assert human_ms(60, 10.0) == 60_000


def test_the_real_clock_moves() -> None:
    clock = SystemClock()
    assert abs(clock.steady_ms() - time.time() * 1000) < 5_000
    assert clock.monotonic() <= clock.monotonic()
