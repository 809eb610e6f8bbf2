"""The load drills: small ones on a real Central, and outcomes that break a promise."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from tools.drill.honest import figures
from tools.drill.load import (
    SILENT_MS,
    STORM_S,
    latencies,
    p99_below,
    slow_readers,
    storm,
    storm_outcome,
    strangers,
    strangers_outcome,
)
from tools.drill.strangers import addresses
from tools.latencies import Latencies


def of(*seconds: float) -> dict[str, Any]:
    """A crowd's answer with these latencies."""
    found = Latencies()
    for each in seconds:
        found.add(each)
    return {"latencies": figures(found), "failed": 0}


def came(**answer: int) -> dict[str, Any]:
    return {"connections": 10, "open": 9} | answer


def test_a_histogram_survives_the_way_through_json() -> None:
    found = latencies(json.loads(json.dumps(of(0.001, 0.5))))
    assert len(found) == 2 and found.most_s == 0.5


def test_nothing_measured_keeps_no_promise() -> None:
    assert not p99_below("nothing", Latencies(), 100.0).kept


def test_addresses_are_many_and_of_this_machine() -> None:
    made = addresses(600, 3)
    assert len(set(made)) == 600 and all(it.startswith("127.3.") for it in made)
    assert all(1 <= int(it.split(".")[3]) <= 250 for it in made)


@pytest.mark.parametrize(
    ("last", "tries", "kept"),
    [(1.0, [1, 2], True), (STORM_S + 1, [1, 1], False), (1.0, [1, 3], False), (1.0, [1], False)],
)
def test_a_storm_keeps_its_promise_when_all_are_back_in_time(last: float, tries: list[int], kept: bool) -> None:
    assert storm_outcome("links", 2, 0.0, 0.0, 1.0, [{"last": last, "tries": tries}]).kept is kept


def test_slow_visits_break_the_promise_of_silent_strangers() -> None:
    slow = of(*[SILENT_MS / 1000 * 2] * 5)
    quick = of(*[0.01] * 5)
    assert strangers_outcome("silent", 10, came(), came(), (quick, quick), 1.0, 0.1).kept
    assert not strangers_outcome("silent", 10, came(), came(), (quick, slow), 1.0, 0.1).kept
    assert not strangers_outcome("silent", 10, came(), came(), (quick, quick), 1_000.0, 0.1).kept
    assert not strangers_outcome("silent", 10, came(), came(), (quick, quick | {"failed": 1}), 1.0, 0.1).kept


def test_without_strangers_no_promise_about_them_is_kept() -> None:
    quick = of(*[0.01] * 5)
    nobody = came() | {"connections": 0, "open": 0}
    for kind in ("silent", "holders", "garbage"):
        assert strangers_outcome(kind, 10, came(), came(), (quick, quick), 1.0, 0.1).kept
        assert not strangers_outcome(kind, 10, nobody, nobody, (quick, quick), 1.0, 0.1).kept
    locked_out = quick | {"failed": 3}
    assert not strangers_outcome("silent", 10, came(), came(), (locked_out, quick), 1.0, 0.1).kept
    assert strangers_outcome("holders", 10, came(), came(), (locked_out, quick), 1.0, 0.1).kept


def test_of_holders_only_known_charge_points_are_promised_something() -> None:
    slow = of(*[1.0] * 5)
    quick = of(*[0.01] * 5)
    assert strangers_outcome("holders", 10, came(), came(), (slow, quick), 1.0, 0.1).kept
    assert not strangers_outcome("holders", 10, came(), came(), (quick, slow), 1.0, 0.1).kept


@pytest.mark.tool
@pytest.mark.parametrize("cut", ["kill", "links"])
def test_a_small_storm(cut: str) -> None:
    outcome = asyncio.run(storm(engines=20, processes=2, cut=cut))
    assert outcome.kept, outcome


@pytest.mark.tool
@pytest.mark.parametrize("kind", ["silent", "holders", "garbage"])
def test_a_few_strangers(kind: str) -> None:
    outcome = asyncio.run(strangers(kind, count=24, seconds=1.5))
    broken = [promise.what for promise in outcome.promises if not promise.kept and "ms" not in promise.promised]
    assert not broken, outcome
    assert outcome.figures["connections of strangers"] >= 24
    assert outcome.figures["known source, ms"]["count"] > 10
    assert outcome.figures["unknown sources, ms"]["count"] > 10


@pytest.mark.tool
def test_a_few_slow_readers() -> None:
    outcome = asyncio.run(slow_readers(readers=3, others=100, seconds=6.0, asked_per_s=20, slow_s=1.0))
    cut = next(promise for promise in outcome.promises if promise.what == "of them cut")
    assert cut.kept, outcome


@pytest.mark.tool
def test_the_command_lists_every_drill() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.drill", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    for name in ("storm", "silent", "holders", "garbage", "slow-readers", "all", "central-kills", "clock"):
        assert f"  {name} " in done.stdout
