"""The long run of the allocator: a few hundred days here, and that it is not blind: what is broken is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evcharge.energy import amperes, policies
from evcharge.energy.cars import Cars
from evcharge.energy.fill import Leaf
from evcharge.energy.tree import Row
from tools.trees import days
from tools.trees.__main__ import cli
from tools.trees.days import Outcome, day
from tools.trees.oracle import lexicographic

pytestmark = pytest.mark.tool
SEEDS = range(1, 201)
# Seeds among which a planted fault has to show.
ENOUGH = 120


def test_every_promise_is_kept_on_random_days() -> None:
    outcomes = [day(seed, every=20) for seed in SEEDS]
    assert [(outcome.seed, outcome.wrong) for outcome in outcomes if outcome.wrong] == []
    assert sum(outcome.solved for outcome in outcomes) >= 10
    assert sum(outcome.watched for outcome in outcomes) > 500
    happened = {kind for outcome in outcomes for kind in outcome.events}
    assert {"plug", "unplug", "limit", "cut", "phase", "line", "base", "solar"} <= happened
    assert {"time", "clock", "operator", "lie"} <= happened


def test_a_seed_is_a_day() -> None:
    assert day(17) == day(17) != day(18)


def nobody_is_patient_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before those who wait too long went first."""
    monkeypatch.setattr(amperes, "PATIENCE_MS", 10**15)


def raises_come_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "calm", lambda cars, watts, _now: (watts + cars.step_w, watts < 0, watts < 0))


def amperes_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "whole_amperes", lambda _cars, _paths, _tops, watts, _now: watts)


def the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amperes._Room, "rounds", lambda _self, _order, step_w, _wanted: step_w * 0)


def order_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "sorted", lambda sessions, **_: list(sessions), raising=False)


def weights_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = policies.by_fairness

    def alike(cars: Cars, *rest: object) -> object:
        cars.weight = np.ones(cars.count)
        return shared(cars, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(policies, "by_fairness", alike)


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (nobody_is_patient_enough, "starved"),
        (raises_come_on_top, "limit"),
        (amperes_are_cut, "amperes"),
        (the_rest_stays, "waste"),
        (order_matters, "order"),
        (weights_are_ignored, "level"),
    ],
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], kind: str
) -> None:
    plant(monkeypatch)
    assert any(each.startswith(f"{kind}: ") for seed in range(1, 1 + ENOUGH) for each in day(seed, every=1).wrong)


def test_sums_are_kept_and_go_on(tmp_path: Path) -> None:
    state = str(tmp_path / "sums.json")
    once = CliRunner().invoke(cli, ["--count", "5", "--state", state, "--json"])
    assert once.exit_code == 0 and json.loads(once.stdout)["seeds"] == 5
    more = CliRunner().invoke(cli, ["--count", "8", "--state", state, "--solve", "4"])
    assert more.exit_code == 0 and "every promise kept" in more.stdout
    kept = json.loads((tmp_path / "sums.json").read_bytes())
    whole = CliRunner().invoke(cli, ["--count", "8", "--solve", "0", "--json"])
    assert kept["seeds"] == 8 and kept["steps"] == json.loads(whole.stdout)["steps"]


def test_a_failing_seed_is_named_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real = days.day

    def broken(seed: int, steps: int, every: int) -> Outcome:
        if seed == 3:
            raise ZeroDivisionError
        outcome = real(seed, steps, every)
        return Outcome(seed=seed, wrong=["limit: n0 is passed"]) if seed == 2 else outcome

    monkeypatch.setattr("tools.trees.__main__.day", broken)
    shown = CliRunner().invoke(cli, ["--count", "4", "--json"])
    assert shown.exit_code == 1
    assert "again: python -m tools.trees --count 1 --seed 2" in shown.stderr and "ZeroDivisionError" in shown.stderr
    sums = json.loads(shown.stdout)
    assert (sums["seeds"], sums["broken"], list(sums["failing"])) == (4, 2, ["2", "3"])


def test_misuse(tmp_path: Path) -> None:
    state = tmp_path / "sums.json"
    assert CliRunner().invoke(cli, ["--count", "0"]).exit_code == 2
    assert CliRunner().invoke(cli, ["--count", "1", "--state", str(state)]).exit_code == 0
    other = CliRunner().invoke(cli, ["--count", "1", "--seed", "7", "--state", str(state)])
    assert other.exit_code == 2 and "give --seed 1" in other.stderr
    state.write_text("no sums", encoding="utf-8")
    assert CliRunner().invoke(cli, ["--count", "1", "--state", str(state)]).exit_code == 2
    assert CliRunner().invoke(cli, ["--count", "1", "--state", str(tmp_path / "no" / "x")]).exit_code == 1


def test_the_oracle_on_paper() -> None:
    leaves = [Leaf(0, 1, 0, 20)] * 3
    rows = [Row("site", 10, (0, 1, 2), (1.0,) * 3), Row("feeder", 2, (0, 1), (1.0,) * 2)]
    assert lexicographic(leaves, rows) == pytest.approx([1, 1, 8], abs=1e-4)
