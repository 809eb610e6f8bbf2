"""The load tool: each promise can be broken, short editions keep them all, and a fleet that disobeys is caught."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.drill.crash_report import Outcome
from tools.loadgen.judge import FAIR, FEWEST_SAMPLES, GRACE_S, verdict
from tools.loadgen.peers import Outlet
from tools.loadgen.pictures import BUCKETS, histogram, latency_chart, load_chart
from tools.loadgen.record import GRANTED, Asked, Billed, Charge, Outage, Record, Sample, jain
from tools.loadgen.run import Load, run
from tools.loadgen.scenarios import SCENARIOS, Scenario

A_LOAD = Scenario(name="a", what="a load", requests=4, users=2, seconds=4.0, substations=2, exhausts=True)


def asked(number: int, answer: str = GRANTED) -> Asked:
    cp_id = f"cp-{number}"
    granted = {"session_id": f"s-{number}", "granted_at": cp_id} if answer == GRANTED else {"sentence": "No."}
    at_s = float(number)
    return Asked(
        user="u", wanted_w=7_000, cp_id=cp_id, at_s=at_s, answers=1, answer=answer, answered_s=at_s + 0.01, **granted
    )


def sample(number: int) -> Sample:
    return Sample(
        at_s=number / 5,
        substation_id=f"s{number % 2}",
        capacity_w=10_000,
        worst_w=9_000,
        load_w=8_000,
        true_w=8_500,
        wanted_w=9_500,
        steady=True,
    )


def good() -> Record:
    """Four requests: three granted at two substations, of which one came back after an outage; one refused."""
    return Record(
        asked=[asked(1), asked(2), asked(3), asked(4, "no_capacity")],
        charges=[
            Charge(session_id=f"s-{n}", cp_id=f"cp-{n}", substation_id=f"s{n % 2}", start_wh=100, end_wh=100 + 50 * n)
            for n in (1, 2)
        ],
        billed=[Billed(ticket_id=f"t-s-{n}", session_id=f"s-{n}", energy_wh=50 * n) for n in (1, 2)],
        lapsed=["s-3"],
        samples=[sample(number) for number in range(FEWEST_SAMPLES)],
        substations={f"cp-{n}": f"s{n % 2}" for n in (1, 2, 3, 4)},
    )


def broken(outcome: Outcome) -> list[str]:
    return [promise.what for promise in outcome.promises if not promise.kept]


def test_a_good_record_keeps_everything() -> None:
    assert broken(verdict(A_LOAD, good())) == []


def _change(place: list, number: int = 0, **fields: object) -> None:  # type: ignore[type-arg]  # any of them
    place[number] = msgspec.structs.replace(place[number], **fields)


BREAKS: dict[str, tuple[Callable[[Record], object], list[str]]] = {
    "no answer": (
        lambda it: _change(it.asked, 3, answers=0, answer="", answered_s=None),
        ["requests without exactly one answer", "refused for want of power"],
    ),
    "two answers": (lambda it: _change(it.asked, answers=2), ["requests without exactly one answer"]),
    "no outcome": (lambda it: it.lapsed.clear(), ["granted requests without an outcome"]),
    "no reason": (lambda it: _change(it.asked, 3, sentence=""), ["refusals without a reason"]),
    "never looked": (
        lambda it: it.samples.clear(),
        [
            "looks at the substations",
            "… compared while power flowed",
            "fairness over 0 of 2 substations",
        ],
    ),
    "worst case": (lambda it: _change(it.samples, worst_w=10_001), ["worst case above capacity"]),
    "measured": (lambda it: _change(it.samples, load_w=10_001), ["measured sum above capacity"]),
    "true": (lambda it: _change(it.samples, true_w=10_001, steady=False), ["true power above capacity"]),
    "above worst": (lambda it: _change(it.samples, true_w=9_001), ["true power above the worst case"]),
    "nothing flowed": (
        lambda it: it.samples.__setitem__(slice(None), [msgspec.structs.replace(one, true_w=0) for one in it.samples]),
        ["… compared while power flowed", "fairness over 2 of 2 substations"],
    ),
    "slow": (lambda it: _change(it.asked, answered_s=10.0), ["decisions, 99th percentile"]),
    "no ticket": (
        lambda it: it.billed.pop(),
        ["granted requests without an outcome", "sessions begun without exactly one ticket"],
    ),
    "two tickets": (lambda it: it.billed.append(it.billed[0]), ["sessions begun without exactly one ticket"]),
    "ticket of nothing": (
        lambda it: it.billed.append(Billed(ticket_id="t", session_id="s-9", energy_wh=0)),
        ["tickets of sessions that never began", "tickets that differ from the meter"],
    ),
    "wrong ticket": (lambda it: _change(it.billed, energy_wh=51), ["tickets that differ from the meter"]),
    "no final meter": (lambda it: _change(it.charges, 1, end_wh=None), ["tickets that differ from the meter"]),
    "ran twice": (lambda it: it.charges.append(it.charges[0]), ["sessions that ran twice"]),
    "unfair": (
        lambda it: it.samples.__setitem__(
            slice(None),
            [msgspec.structs.replace(one, true_w=one.true_w * (one.substation_id == "s0")) for one in it.samples],
        ),
        ["fairness over 2 of 2 substations"],
    ),
    "too few": (lambda it: it.asked.pop(0), ["requests not made"]),
    "never refused": (lambda it: _change(it.asked, 3, answer="busy"), ["refused for want of power"]),
    "lost": (lambda it: it.losses.append("driver-1: gone"), ["connections lost"]),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_promise_can_be_broken(name: str) -> None:
    record = good()
    damage, expected = BREAKS[name]
    damage(record)
    found = broken(verdict(A_LOAD, record))
    assert found == expected


def test_where_central_chooses_the_substations_are_balanced() -> None:
    routed = msgspec.structs.replace(A_LOAD, routed=True)
    record = good()
    assert "balance over 2 of 2 substations" not in broken(verdict(routed, record))
    record.charges[1].end_wh = 5_100
    record.billed[1] = msgspec.structs.replace(record.billed[1], energy_wh=5_000)
    assert broken(verdict(routed, record)) == ["balance over 2 of 2 substations"]


def test_nothing_at_all_keeps_no_promise_about_something() -> None:
    found = broken(verdict(A_LOAD, Record()))
    assert {"requests granted", "decisions, 99th percentile", "looks at the substations"} <= set(found)


@pytest.mark.parametrize(
    ("from_s", "until_s", "expected"),
    [
        # cp-2 was granted at s0 at second 2, others at seconds 1 and 3.
        (0.4, 1.9, []),
        (2.4, None, []),
        (1.6, 2.5, ["granted elsewhere while s0 was down", "granted at s0 after it came back"]),
        (0.4, 2.1, ["granted at s0 while it was down", "granted at s0 after it came back"]),
        (3.1, None, ["granted elsewhere while s0 was down"]),
    ],
)
def test_an_outage_sends_requests_elsewhere_until_it_is_over(
    from_s: float, until_s: float | None, expected: list[str]
) -> None:
    record = good()
    record.outages = [Outage(substation_id="s0", from_s=from_s, until_s=until_s)]
    assert GRACE_S == 0.5
    assert [what for what in broken(verdict(A_LOAD, record)) if "s0" in what] == expected


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_the_index_of_fairness(values: list[int]) -> None:
    assert 1 / len(values) - 1e-9 <= jain(values) <= 1 + 1e-9
    assert jain([values[0] + 1] * 3) == pytest.approx(1.0)
    assert jain([100, 50, 50]) < FAIR < jain([100, 90, 80])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_histogram_counts_everything_once(values: list[float]) -> None:
    steps = histogram(values)
    assert len(steps) == BUCKETS + 1 and sum(count for _, count in steps) == len(values)


def test_pictures_are_whole_documents() -> None:
    for text in (load_chart(A_LOAD, good()), latency_chart(A_LOAD, good())):
        assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "capacity 10 kW" in load_chart(A_LOAD, good())


def test_a_shorter_edition_has_the_same_pace() -> None:
    high = SCENARIOS["high"]
    short = high.scaled(0.2)
    assert (short.requests, short.seconds, short.users) == (100, 24.0, 50)
    assert short.requests / short.seconds == high.requests / high.seconds
    for scenario in SCENARIOS.values():
        times = scenario.arrivals_s(Random(1))
        assert times == sorted(times) and len(times) == scenario.requests and max(times) <= scenario.seconds


def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.loadgen", *arguments], capture_output=True, text=True, check=False, timeout=110
    )


@pytest.mark.tool
def test_the_command_line_teaches_and_refuses(tmp_path: Path) -> None:
    listed = tool("list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(SCENARIOS)
    assert tool().stdout == listed.stdout
    assert "python -m tools.loadgen all" in tool("--help").stdout
    wrong = tool("nonsense")
    assert wrong.returncode == 2 and "there is no scenario nonsense" in wrong.stderr
    assert tool("normal", "--svg", str(tmp_path / "none")).returncode == 2


@pytest.mark.tool
@pytest.mark.parametrize("name", ["normal", "burst"])
def test_a_short_edition_keeps_every_promise_but_time(name: str, tmp_path: Path) -> None:
    """How long decisions take says something on an idle machine only."""
    done = tool(name, "--time-scale", "0.1", "--json", str(tmp_path / "out.json"), "--svg", str(tmp_path))
    assert done.returncode in (0, 1), done.stderr
    told = json.loads((tmp_path / "out.json").read_text())
    promises = told["verdicts"][name]["promises"]
    assert [what for what, _, _, kept in promises if not kept and not what.startswith("decisions")] == []
    assert {path.name for path in tmp_path.glob("*.svg")} == {f"{name}-load.svg", f"{name}-latency.svg"}
    if name == "burst":
        assert len(told["records"][name]["asked"]) == 20


@pytest.mark.tool
async def test_a_charge_point_that_does_not_obey_is_seen(tmp_path: Path) -> None:
    """The same load with vehicles that take what they want: the measured and the true sum break the promise."""

    class Greedy(Load):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]  # passed through
            for outlet in self._outlets:
                outlet.__class__ = Disobedient

    # Any three of the four at once are too many for one of the two substations: two draw more than 8 kW.
    scenario = msgspec.structs.replace(
        SCENARIOS["burst"], requests=16, users=4, charge_points=16, substations=2, capacity_kw=16.0, stay_s=(4.0, 6.0)
    )
    found = broken(verdict(scenario, await run(scenario, tmp_path / "site", 1, Greedy)))
    assert {"true power above capacity", "true power above the worst case"} <= set(found), found


class Disobedient(Outlet):
    """Draws what the vehicle takes, whatever it is told."""

    __slots__ = ()

    def power_w(self, _now: float) -> int:
        return 0 if self.charge is None else self.wanted_w
