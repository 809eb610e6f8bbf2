"""The feeder drill without a feeder: curves of true power, the verdict on them, what the command refuses."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from evcharge.cp.vehicle import MJ_PER_WH
from evcharge.demo.tally import TracePoint, peak_w
from evcharge.domain.words import StopCause
from tools.drill import feeder
from tools.drill.crash_report import Outcome
from tools.drill.feeder_power import Curve, Live, curves, kilowatts, sampled, total
from tools.drill.feeder_report import Marks, Seen, judge, picture, samples
from tools.drill.feeder_site import MIN_W, Plan
from tools.drill.log_check import LogFacts

CHANGES = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 9)), max_size=12).map(sorted)


# --- curves -------------------------------------------------------------------------------------------------------


def slow_at(changes: list[tuple[int, int]], at_ms: int) -> int:
    """The last change up to an instant, looked up the slow way."""
    return next((watts for when, watts in reversed(changes) if when <= at_ms), 0)


@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_a_sum_is_right_at_every_instant(parts: list[list[tuple[int, int]]]) -> None:
    summed = total([Curve(changes) for changes in parts])
    # Where several change at once, nobody sees a sum of old and new.
    assert all(earlier < later for earlier, later in pairwise(summed.times))
    for at_ms in range(202):
        assert summed.at(at_ms) == sum(slow_at(changes, at_ms) for changes in parts)


@given(CHANGES, st.integers(0, 200), st.integers(1, 60), st.integers(0, 9))
def test_questions_to_a_curve(changes: list[tuple[int, int]], since_ms: int, length: int, level: int) -> None:
    curve, until_ms = Curve(changes), since_ms + length
    each = [slow_at(changes, at_ms) for at_ms in range(since_ms, until_ms)]
    assert curve.energy_wms(since_ms, until_ms) == sum(each)
    assert curve.mean_w(since_ms, until_ms) == pytest.approx(sum(each) / length)
    within = curve.within(since_ms, until_ms)
    assert (set(within), within[0]) == (set(each), each[0])
    above = [at_ms for at_ms in range(since_ms, 300) if slow_at(changes, at_ms) > level]
    assert curve.first_above(level, since_ms) == (above[0] if above else None)
    up = [at_ms for at_ms in range(since_ms, until_ms + 1) if slow_at(changes, at_ms) > level]
    expected = None if up and up[-1] == until_ms else max(up, default=since_ms - 1) + 1
    assert curve.falls_to(level, since_ms, until_ms) == expected


def test_samples_and_points_are_what_flows() -> None:
    east, west = Curve([(1000, 5), (1300, 7)]), Curve([(900, 1), (1400, 0)])
    rows = list(csv.reader(io.StringIO(sampled({"east": east, "west": west}, 1000, 1400))))
    assert rows == [
        ["second", "east_w", "west_w", "total_w"],
        ["0.0", "5", "1", "6"],
        ["0.2", "5", "1", "6"],
        ["0.4", "7", "0", "7"],
    ]
    assert kilowatts(east, 1100, 1400) == [(0.0, 0.005), (0.2, 0.007), (0.3, 0.007)]


def test_a_trace_is_followed_while_it_grows(tmp_path: Path) -> None:
    trace = tmp_path / "east.trace"
    live = Live({"east": trace, "west": tmp_path / "west.trace"})
    live.look()
    assert live.total_w == 0
    whole = b'{"t":1,"cp":"a","c":1,"w":10}\n{"t":2,"cp":"b","c":1,"w":20}\n{"t":3,"cp":"a","c":1,"w":15}\n'
    seen = set()
    for cut in range(len(whole) + 1):
        trace.write_bytes(whole[:cut])
        live.look()
        seen.add(live.total_w)
    assert (sorted(live.watts("east")), live.watts("west")) == ([15, 20], [])
    assert seen == {0, 10, 30, 35}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_peak_is_the_one_that_the_demo_finds(lines: list[tuple[int, int, int]]) -> None:
    lines.sort(key=lambda line: line[1])
    points = [TracePoint(at_ms=at, cp_id=f"cp-{cp}", connector=1, power_w=watts) for cp, at, watts in lines]
    summed = total(list(curves(points).values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evcharge.demo.tally.read_trace", lambda _path: iter(points))
        assert max(summed.watts) == peak_w([Path("any")])


# --- the verdict --------------------------------------------------------------------------------------------------

PLAN = Plan(charge_points=2, limit_w=6_600, lease_s=10, hold_s=5)
MARKS = Marks(begin=0, kill=20_000, restart=40_000, cut=70_000, mend=110_000, end=130_000)
ENDED_MS = 131_000
# As it should be: equal shares; the fallback; equal shares; west falls, then east gets the rest; equal shares; nothing.
EAST = ((1_000, 3_300), (29_000, MIN_W), (60_000, 3_300), (100_000, 5_220), (115_000, 3_300), (130_500, 0))
WEST = ((1_000, 3_300), (29_000, MIN_W), (60_000, 3_300), (78_000, MIN_W), (116_000, 3_300), (130_500, 0))


class _Ticket(NamedTuple):
    """What the verdict reads of a ticket."""

    ticket_id: str
    energy_wh: int
    end_ms: int
    reason: StopCause


def verdict(
    east: tuple[tuple[int, int], ...] = EAST,
    west: tuple[tuple[int, int], ...] = WEST,
    *,
    tickets: tuple[tuple[int, int], ...] = (),
    meters: tuple[int, int] = (0, 0),
    late: tuple[str, ...] = (),
    found: str = "",
) -> tuple[Outcome, set[str]]:
    """The outcome of a run, and the promises that it broke. ``tickets``: (more Wh than the meter, end in ms)."""
    cars = {"cp-01": Curve(east), "cp-02": Curve(west)}
    registers = {
        cp_id: car.energy_wms(0, ENDED_MS) // MJ_PER_WH + more
        for (cp_id, car), more in zip(cars.items(), meters, strict=True)
    }
    facts = LogFacts()
    for number, register_wh in enumerate(registers.values()):
        more_wh, end_ms = tickets[number] if tickets else (0, 130_500)
        ticket = _Ticket(f"t-{number}", register_wh + more_wh, end_ms, StopCause.DRIVER_ENDED)
        facts.tickets[f"s-{number}"] = ticket  # type: ignore[assignment]
    if found:
        facts.findings.add(found, "something")
    outcome = judge(Seen(PLAN, MARKS, cars, ENDED_MS), facts, registers, late)
    return outcome, {promise.what for promise in outcome.promises if not promise.kept}


def shifted(changes: tuple[tuple[int, int], ...], number: int, at_ms: int) -> tuple[tuple[int, int], ...]:
    """With one change at another instant."""
    return tuple((at_ms, watts) if place == number else (at, watts) for place, (at, watts) in enumerate(changes))


def test_a_run_as_it_should_be_keeps_every_promise() -> None:
    outcome, broken = verdict()
    assert broken == set()
    assert outcome.kept
    assert outcome.figures["highest sum, W"] == dict.fromkeys(MARKS.phases(), 6_600)


def test_a_millisecond_above_the_limit_is_enough() -> None:
    # West's fall comes a millisecond after east's rise.
    _, broken = verdict(west=shifted(WEST, 3, 100_001))
    assert broken == {
        "true power of the feeder, any instant, W",
        "others rise after the row that is cut off has fallen, s",
    }
    _, broken = verdict(east=((1_000, 3_301), *EAST[1:]))
    assert broken == {"true power of the feeder, any instant, W"}


@pytest.mark.parametrize(
    ("east", "promise"),
    [
        (shifted(EAST, 0, 16_000), "mean power before, W"),
        (shifted(EAST, 1, 30_501), "kill -9 of Central to the last car at its fallback, s"),
        (((1_000, 3_300), (60_000, 3_300), *EAST[3:]), "kill -9 of Central to the last car at its fallback, s"),
        (((1_000, 3_300), (29_000, 0), *EAST[2:]), "lowest power of any car, kill to cut, W"),
        (shifted(EAST, 2, 66_500), "mean power after the restart, W"),
        (shifted(EAST, 3, 106_500), "mean power while that row is cut off, W"),
        ((*EAST[:5], (126_000, 0)), "mean power with that row back, W"),
    ],
)
def test_each_state_is_looked_at(east: tuple[tuple[int, int], ...], promise: str) -> None:
    _, broken = verdict(east=east)
    assert broken == {promise}


def test_who_never_rises_breaks_two_promises() -> None:
    outcome, broken = verdict(east=(*EAST[:3], (130_500, 0)))
    assert broken == {
        "others rise after the row that is cut off has fallen, s",
        "mean power while that row is cut off, W",
    }
    assert "never" in {promise.measured for promise in outcome.promises}


def test_the_books_are_looked_at() -> None:
    assert verdict(tickets=((1, 130_500), (0, 130_500)))[1] == {"energy on tickets = meters"}
    assert verdict(tickets=((0, 69_999), (0, 130_500)))[1] == {"sessions that the death of Central ended, of 2"}
    assert verdict(meters=(1, 0))[1] == {"meters that the traces of true power contradict"}
    assert verdict(meters=(0, -1))[1] == {"meters that the traces of true power contradict"}
    assert verdict(late=("not there",))[1] == {"states that were not reached in time"}
    assert verdict(found="stuck")[1] == {"sessions stuck"}
    assert verdict(found="lost_ticket")[1] == {"tickets lost, doubled or changed, of 2"}
    assert verdict(found="lost")[1] == {"acknowledged events lost or applied twice"}


def test_the_picture_shows_what_was_seen() -> None:
    seen = Seen(PLAN, MARKS, {"cp-01": Curve(EAST), "cp-02": Curve(WEST)}, ENDED_MS)
    svg = picture(seen)
    for words in ("2 cars on a feeder of 6.6 kW", "limit 6.6 kW", "Central dead", "west cut off", "east row"):
        assert words in svg.replace("\n", " ")
    rows = list(csv.DictReader(io.StringIO(samples(seen))))
    assert (rows[0]["second"], rows[-1]["second"]) == ("0.0", "130.0")
    assert max(int(row["total_w"]) for row in rows) == 6_600


# --- the command --------------------------------------------------------------------------------------------------


def test_a_limit_that_shows_nothing_is_refused() -> None:
    for limit in ("7", "44.16"):
        result = CliRunner().invoke(feeder.command, ["--charge-points", "6", "--limit-kw", limit])
        assert result.exit_code == 2
        assert "from 11.04" in result.output


def test_without_namespaces_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder, "missing", lambda: "this machine has none: do something")
    result = CliRunner().invoke(feeder.command, ["--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "skipped: this machine has none: do something\n"


def test_a_folder_with_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(json.dumps("mine"))
    result = CliRunner().invoke(feeder.command, ["--state", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds something" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
