"""The energy bench: what it reads, that nothing knows the future, and its arithmetic on sessions that fit on a page."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from evcharge.energy.forecast import DAYS
from evcharge.energy.model import STEP_MS, Policy
from evcharge.sim.tariffs import read_tariff
from tools.bench.__main__ import cli
from tools.bench.energy import Case, Result, goals, goals_table, month_before, run, site_of
from tools.bench.energy_data import (
    STEPS_PER_DAY,
    Visit,
    carbon_past,
    habits_of,
    lateness_of,
    offset_of,
    persisted,
    price_series,
    read_carbon,
    read_solar,
    read_visits,
    seasonal,
    step_of,
    sunny,
)
from tools.bench.energy_replay import Outcome, Site, came_today, clairvoyant, foreseen, replay, unmanaged
from tools.bench.energy_speed import FEEDERS, QUARTERS, day_of_all, figures, plugged
from tools.bench.log import Figure

ZONE = ZoneInfo("America/Los_Angeles")
SESSIONS = """arrival,departure,requested_kwh,delivered_kwh,station_id,session_id,estimated_departure,claimed
2019-09-02 08:02:00-07:00,2019-09-02 10:00:00-07:00,9.0,3.0,CA-1,one,2019-09-02 09:00:00-07:00,True
2019-09-02 08:10:00-07:00,2019-09-05 10:00:00-07:00,9.0,6.0,CA-2,two,,False
2019-09-03 08:00:00-07:00,2019-09-03 08:00:10-07:00,9.0,0.0,CA-2,none,,False
2019-08-30 08:00:00-07:00,2019-08-30 09:00:00-07:00,9.0,5.0,CA-1,before,,False
"""
TARIFF = {
    "schedule": [
        {
            "effective_start": "10-01",
            "effective_end": "5-31",
            "dow_mask": "ALL",
            "times": [0],
            "tariffs": [0.07],
            "demand_charge": 1,
        },
        {
            "effective_start": "06-01",
            "effective_end": "09-30",
            "dow_mask": "WEEKDAYS",
            "times": [0, 8.5, 12],
            "tariffs": [0.1, 0.2, 0.3],
            "demand_charge": 15,
        },
        {
            "effective_start": "06-01",
            "effective_end": "09-30",
            "dow_mask": "WEEKENDS",
            "times": [0],
            "tariffs": [0.05],
            "demand_charge": 15,
        },
    ]
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "sessions.csv").write_text(SESSIONS)
    (tmp_path / "tariff.json").write_text(json.dumps(TARIFF))
    return tmp_path


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_sessions_lie_on_steps_stay_a_day_at_most_and_need_something(files: Path) -> None:
    visits = read_visits(files / "sessions.csv", date(2019, 9, 1), date(2019, 9, 30), ZONE)
    assert [visit.id for visit in visits] == ["one", "two"]
    one, two = visits
    assert one.arrival == step_of(at("2019-09-02 08:00-07:00"))
    assert one.departure - one.arrival == 24
    assert one.need_wh == 3_000
    assert (one.declared_departure - one.arrival, one.declared_wh) == (12, 9_000)
    assert two.departure - two.arrival == STEPS_PER_DAY
    assert (two.declared_departure, two.declared_wh) == (two.departure, 6_000)


def test_prices_by_season_weekday_and_local_time(files: Path) -> None:
    tariff = read_tariff(files / "tariff.json")
    assert tariff.price(at("2019-09-02 08:29")) == 0.1
    assert tariff.price(at("2019-09-02 08:30")) == 0.2
    assert tariff.price(at("2019-09-01 13:00")) == 0.05
    assert tariff.price(at("2019-12-31 13:00")) == tariff.price(at("2019-01-01 13:00")) == 0.07
    first = step_of(at("2019-09-02 11:55-07:00"))
    assert price_series(tariff, first, 2, ZONE) == (0.2, 0.3)


def test_a_tariff_with_a_hole_says_for_which_day(files: Path) -> None:
    tariff = read_tariff(files / "tariff.json")
    with pytest.raises(ValueError, match="no prices for 2019-07-01"):
        tariff._replace(seasons=tariff.seasons[:1]).season(date(2019, 7, 1))


def test_carbon_fills_gaps_with_what_was_before(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("time,moer\n2019-05-01 00:05:00+00:00,0.3\n2019-05-01 00:15:00+00:00,0.5\n")
    first = step_of(datetime(2019, 5, 1, tzinfo=UTC))
    assert read_carbon(path, first, 5) == (0.3, 0.3, 0.3, 0.5, 0.5)
    with pytest.raises(ValueError, match="no values"):
        read_carbon(path, first + 100, 5)


def test_the_sun_keeps_standard_time(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text('"Time stamp","kW"\n"Sep 2, 11:30 am",110\n"Sep 2, 12:00 pm",220\n')
    first = step_of(at("2019-09-02 12:55-07:00"))
    assert read_solar(path, 100.0, first, 2, ZONE) == pytest.approx((48_000, 96_000))


def test_forecasts_know_nothing_that_comes() -> None:
    """The same past gives the same forecast, whatever follows."""
    past, now = [float(k % 288) for k in range(7 * 288 + 10)], 7 * 288 + 9
    for future in (0.0, 1_000.0):
        actual = [*past, *[future] * 400]
        assert persisted(actual, 0, now, 300).values == persisted([*past, *[5.0] * 400], 0, now, 300).values
        index = now - 7 * 288
        assert seasonal(actual, 7 * 288, index, 300, now) == seasonal([*past, *[5.0] * 400], 7 * 288, index, 300, now)
    series = seasonal(past, 7 * 288, 9, 300, now)
    assert series.values[0] == past[now]
    assert series.values[280] == pytest.approx(1.0)
    assert series.start_ms == now * STEP_MS


def test_the_sun_is_expected_as_central_does_and_knows_nothing_that_comes() -> None:
    days = [100.0 if 100 <= k % 288 < 160 else 0.0 for k in range(4 * 288)]
    now = MONDAY + 3 * 288 + 95
    series = sunny(days, MONDAY, now, 300)
    assert series == sunny([*days[: 3 * 288 + 96], *[7.0] * 400], MONDAY, now, 300)
    assert (series.start_ms, series.step_ms) == ((now - now % 3) * STEP_MS, 3 * STEP_MS)
    assert series.start_ms + len(series.values) * series.step_ms >= (now + 300) * STEP_MS
    assert series.values[:30] == pytest.approx([*[0.0] * 2, 200 / 3, *[100.0] * 19, 100 / 3, *[0.0] * 7], abs=1e-6)


def test_the_sun_of_more_than_eight_days_ago_is_forgotten_as_central_does() -> None:
    now = MONDAY + 10 * 288
    days = [float(k % 288) for k in range(11 * 288)]
    older = [9_999.0 if k < 2 * 288 else value for k, value in enumerate(days)]
    assert sunny(older, MONDAY, now, 300) == sunny(days, MONDAY, now, 300)
    assert sunny([9_999.0 if k < 2 * 288 + 9 else value for k, value in enumerate(days)], MONDAY, now, 300) != sunny(
        days, MONDAY, now, 300
    )


def test_the_past_of_a_series_is_what_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    first = step_of(datetime(2019, 5, 1, tzinfo=UTC))
    rows = [f"2019-05-{1 + k // 24:02} {k % 24:02}:00:00+00:00,{k // 24}" for k in range(24 * 20)]
    path.write_text("\n".join(["time,moer", *rows]))
    past = carbon_past(path, first + 3 * STEPS_PER_DAY + 5)
    assert len(past) == 3 * STEPS_PER_DAY
    assert past[0] == 0
    assert past[-1] == 3
    assert len(carbon_past(path, first + 18 * STEPS_PER_DAY)) == DAYS * STEPS_PER_DAY
    with pytest.raises(ValueError, match="nothing to forecast from"):
        carbon_past(path, first + 5)


def visit(name: str, arrival: int, stay: int, need_wh: int) -> Visit:
    return Visit(name, name, arrival, arrival + stay, need_wh, arrival + stay, need_wh)


MONDAY = step_of(at("2019-09-02 00:00-07:00"))


def test_habits_are_of_the_local_days_of_the_history() -> None:
    history = [visit("a", MONDAY + 96, 12, 4_000), visit("b", MONDAY + 97, 36, 8_000)]
    habits = habits_of(history, date(2019, 9, 2), date(2019, 9, 5), ZONE, 6_656)
    assert habits.days == 4
    hasty, patient = habits.expected((MONDAY + 288) * STEP_MS, (MONDAY + 528) * STEP_MS)
    assert (hasty.need_wh, patient.need_wh) == (1_000, 2_000)
    assert hasty.max_w == patient.max_w == 6_656 // 4
    assert hasty.arrival_ms == patient.arrival_ms == (MONDAY + 288 + 96 + 6) * STEP_MS
    assert hasty.departure_ms == hasty.arrival_ms + 12 * STEP_MS
    assert patient.departure_ms == patient.arrival_ms + 36 * STEP_MS


def test_lateness_is_how_far_declarations_held() -> None:
    late = visit("a", MONDAY, 12, 4_000)._replace(declared_departure=MONDAY + 9)
    assert lateness_of([late, visit("b", MONDAY, 5, 1)]) == (0, 3 * STEP_MS)


def test_who_came_is_counted_from_midnight_until_now() -> None:
    arrivals = (5, 280, 288 + 90, 288 + 100, 288 + 101, 288 + 200)
    case = site([visit(f"v{k}", MONDAY + each, 12, 3_000) for k, each in enumerate(arrivals)])
    assert came_today(case, MONDAY + 288 + 100) == 2
    assert came_today(case, MONDAY + 287) == 2


def site(visits: list[Visit], capacity_w: int = 10_000, steps: int = 48, **more: object) -> Site:
    price = [0.3] * (steps // 2) + [0.1] * (steps - steps // 2)
    about = {"visits": visits, "first": MONDAY, "price": price, "capacity_w": capacity_w, "max_w": 6_656, "volts": 208}
    about["offset"] = offset_of(ZONE)
    return Site(**(about | more))  # type: ignore[arg-type]


def test_where_a_peak_costs_only_those_who_surely_come_are_reckoned_with() -> None:
    history = [
        visit(f"v{day}.{k}", MONDAY + 288 * day + 12, 12, 3_000) for day, n in enumerate((4, 8)) for k in range(n)
    ]
    habits = habits_of(history, date(2019, 9, 2), date(2019, 9, 3), ZONE, 6_656)
    for charge, likely in ((0.0, {1.0, 0.195}), (10.0, {1.0})):
        there = site([visit("a", MONDAY, 40, 6_000)], habits=habits, demand_charge=charge)
        assert {each.likely for each in foreseen(there, MONDAY)} == likely


def test_the_bound_waits_for_the_cheap_half_and_the_plan_does_too() -> None:
    case = site([visit("a", MONDAY, 40, 6_000)])
    best = clairvoyant(case)
    assert best.delivered_pct == pytest.approx(100)
    assert best.cost_per_kwh == pytest.approx(0.1)
    plan = replay(case, Policy.PLAN, whole=False)
    assert plan.cost_per_kwh == pytest.approx(0.1, rel=0.01)
    assert plan.delivered_pct == pytest.approx(100, abs=0.1)
    assert replay(case, Policy.LLF, whole=False).cost_per_kwh == pytest.approx(0.3)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("whole", [True, False])
def test_no_policy_delivers_more_than_the_bound_nor_passes_the_limit(policy: Policy, whole: bool) -> None:
    visits = [visit(f"v{k}", MONDAY + 2 * k, 14 + k % 5, 3_000 + 500 * k) for k in range(10)]
    case = site(visits, capacity_w=9_000)
    outcome = replay(case, policy, whole=whole)
    assert outcome.delivered_pct <= clairvoyant(case).delivered_pct + 1e-3
    assert outcome.peak_kw <= 9.001
    assert outcome.delivered_pct > 20
    assert (
        replay(case, policy, whole=whole) == msgspec.structs.replace(outcome, plan_p95_ms=None) or policy is Policy.PLAN
    )


def test_unmanaged_knows_no_limit_and_the_demand_charge_counts_its_quarter() -> None:
    visits = [visit("a", MONDAY, 12, 1_664), visit("b", MONDAY, 12, 1_664)]
    outcome = unmanaged(site(visits, capacity_w=1_000, demand_charge=10.0))
    assert outcome.peak_kw == pytest.approx(2 * 6.656)
    assert outcome.bill == pytest.approx(3.328 * 0.3 + 10 * 2 * 6.656)


def test_solar_costs_nothing() -> None:
    case = site([visit("a", MONDAY, 40, 6_000)], pv=[50_000.0] * 48)
    assert clairvoyant(case).cost_per_kwh == pytest.approx(0)
    assert replay(case, Policy.EQUAL, whole=True).cost_per_kwh == 0


def test_spans_that_nobody_bridges_are_solved_apart_with_the_same_result() -> None:
    visits = [visit("a", MONDAY, 8, 4_000), visit("b", MONDAY + 10, 8, 5_000), visit("c", MONDAY + 12, 20, 9_000)]
    apart = clairvoyant(site(visits))
    together = clairvoyant(site(visits, demand_charge=1e-9))
    assert apart.delivered_pct == pytest.approx(together.delivered_pct)
    assert apart.cost_per_kwh == pytest.approx(together.cost_per_kwh)


def test_the_worst_decile_is_the_mean_of_the_tenth_that_got_least() -> None:
    visits = [visit(f"v{k}", MONDAY, 12, 100) for k in range(19)] + [visit("poor", MONDAY, 1, 6_656)]
    outcome = unmanaged(site(visits))
    assert outcome.worst_decile_pct == pytest.approx((100 / 12 + 100) / 2)


def outcome(policy: str, **figures: float) -> Outcome:
    zero = dict.fromkeys(("delivered_pct", "cost_per_kwh", "peak_kw", "co2_kg", "bill", "worst_decile_pct"), 0.0)
    return Outcome(policy=policy, set_point_changes=0, **(zero | figures))  # type: ignore[arg-type]


def test_goals_compare_the_plan_with_the_right_ones() -> None:
    policies = {
        "plan": msgspec.structs.replace(outcome("plan", delivered_pct=99.9, cost_per_kwh=0.101), plan_p95_ms=16.0),
        "plan_any": outcome("plan_any", delivered_pct=100.0),
        "clairvoyant": outcome("clairvoyant", delivered_pct=99.96, cost_per_kwh=0.1),
        "llf": outcome("llf", delivered_pct=99.8, cost_per_kwh=0.102),
        "equal": outcome("equal", cost_per_kwh=0.106),
    }
    result = Result(case="100 kW", sessions=1, energy_kwh=1, capacity_kw=100, policies=policies)
    figures = {figure.what.partition(": ")[2]: figure for figure in goals([result])}
    assert figures["energy below clairvoyant"].value == pytest.approx(0.06)
    assert not figures["energy below clairvoyant"].met
    assert figures["cost above clairvoyant"].value == pytest.approx(1.0)
    assert figures["cost above LLF"].met
    assert figures["energy above LLF"].value == pytest.approx(0.1)
    assert figures["cheaper than equal share"].value == pytest.approx(4.717, abs=1e-3)
    assert figures["lost by whole amperes"].value == pytest.approx(0.1)
    assert (figures["CPU of a plan, p95"].value, figures["CPU of a plan, p95"].met) == (16.0, False)


def test_each_figure_is_beside_its_goal_and_says_whether_it_was_missed() -> None:
    figures = [Figure("a", "a: x", 0.06, "<=", 0.05, "points"), Figure("b", "b: y", 4.7, ">=", 4.0, "%")]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(goals_table(figures))
    lines = [line for line in console.export_text().splitlines() if ": " in line]
    assert [("missed" in line, "ok" in line) for line in lines] == [(True, False), (False, True)]
    assert "<= 0.05 points" in lines[0]
    assert "4.700 %" in lines[1]


def test_history_ends_the_day_before() -> None:
    assert month_before(date(2019, 9, 1)) == (date(2019, 8, 1), date(2019, 8, 31))


def test_a_month_without_history_has_no_habits(files: Path) -> None:
    case = Case(
        name="x",
        sessions=files / "sessions.csv",
        history=files / "sessions.csv",
        first=date(2019, 8, 30),
        last=date(2019, 9, 2),
        history_first=date(2019, 7, 1),
        history_last=date(2019, 7, 31),
        capacity_kw=10,
        tariff=files / "tariff.json",
    )
    assert site_of(case).habits is None
    assert len(site_of(case).visits) == 3


def test_the_command_prints_each_policy_as_json(files: Path) -> None:
    arguments = ["energy", "--sessions", str(files / "sessions.csv"), "--history", str(files / "sessions.csv")]
    arguments += [
        "--from",
        "2019-09-02",
        "--to",
        "2019-09-03",
        "--capacity-kw",
        "7",
        "--tariff",
        str(files / "tariff.json"),
    ]
    done = CliRunner().invoke(cli, [*arguments, "--policies", "equal,clairvoyant", "--json"])
    assert done.exit_code == 0, done.output
    (case,) = json.loads(done.stdout)["cases"]
    assert case["sessions"] == 2
    assert "sessions: equal" in done.stderr
    assert "sessions: clairvoyant" in done.stderr
    asked = {"delivered_pct", "cost_per_kwh", "peak_kw", "co2_kg", "set_point_changes"}
    assert set(case["policies"]) == {"equal", "clairvoyant"}
    assert asked <= set(case["policies"]["clairvoyant"])


def test_without_arguments_the_fixed_cases_run_and_what_planning_costs(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(
        name="100 kW",
        sessions=files / "sessions.csv",
        history=files / "sessions.csv",
        first=date(2019, 9, 2),
        last=date(2019, 9, 3),
        history_first=date(2019, 8, 1),
        history_last=date(2019, 8, 31),
        capacity_kw=7,
        tariff=files / "tariff.json",
        policies=("equal", "llf", "plan", "plan_any", "clairvoyant"),
    )
    monkeypatch.setattr("tools.bench.energy_command.fixed_cases", lambda _: [case])
    monkeypatch.setattr("tools.bench.energy_speed.SESSIONS", 2)
    done = CliRunner().invoke(cli, ["energy", "--data", str(files), "--jobs", "1", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)["goals"]
    assert {"100 kW: cost above clairvoyant", "100 kW: CPU of a plan, p95"} <= set(said)
    for what in ("at their times, 96 quarters", "all plugged in now"):
        assert said[f"2 sessions: {what}"]["goal"] == 0.5
        assert 0 < said[f"2 sessions: {what}"]["value"] < 60
    for what in ("a level for all", "set-points in whole amperes"):
        assert said[f"2 sessions: {what}"]["goal"] == 2.0
        assert 0 < said[f"2 sessions: {what}"]["value"] < 1_000


def test_two_processes_come_to_what_one_does(files: Path) -> None:
    case = Case(
        name="x",
        sessions=files / "sessions.csv",
        history=files / "sessions.csv",
        first=date(2019, 9, 2),
        last=date(2019, 9, 3),
        history_first=date(2019, 8, 1),
        history_last=date(2019, 8, 31),
        capacity_kw=5,
        tariff=files / "tariff.json",
        policies=("equal", "llf", "clairvoyant"),
    )
    told: list[str] = []
    alone = run([case, msgspec.structs.replace(case, name="y", capacity_kw=3)], told.append)
    both = run([case, msgspec.structs.replace(case, name="y", capacity_kw=3)], told.append, jobs=2)
    assert alone == both
    assert list(both[0].policies) == ["equal", "llf", "clairvoyant"]
    assert [result.case for result in both] == ["x", "y"]
    assert alone[0].policies["llf"].peak_kw > 3 > alone[1].policies["llf"].peak_kw
    assert sorted(told[:6]) == sorted(told[6:]) == sorted(f"{n}: {p}" for n in "xy" for p in case.policies)


def test_the_large_site_has_all_sessions_at_their_times() -> None:
    """A day of quarters; who stays past midnight is there until it."""
    visits = [visit(f"v{k}", MONDAY + 288 * k + 96, 30 if k else 250, 5_000) for k in range(100)]
    problem = day_of_all(visits, MONDAY, [0.1] * 288, 6_656)
    assert len(problem.hours) == QUARTERS
    assert set(problem.demands.first.tolist()) == {32}
    assert problem.demands.last.tolist() == [96] + [42] * 99
    assert len(problem.nodes) == FEEDERS
    assert sorted(k for node in problem.nodes for k in node.members.tolist()) == list(range(100))
    sessions, tree, _ = plugged(visits, MONDAY, [0.1] * 288, 6_656, 208)
    assert {session.node for session in sessions} == set(tree.nodes) - {"site"}
    assert all(session.departure_ms == (MONDAY + 30) * STEP_MS for session in sessions[1:])
    with pytest.raises(ValueError, match="1000 are needed"):
        figures(visits, MONDAY, [0.1] * 600, 6_656, 208)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--policies", "best"], "unknown: best"),
        (["--sessions", "{sessions}"], "--sessions needs --from"),
        (["--cases", "x", "--data", "{folder}"], "cannot read that"),
    ],
)
def test_what_is_wrong_is_said(files: Path, arguments: list[str], says: str) -> None:
    filled = [each.format(sessions=files / "sessions.csv", folder=files) for each in arguments]
    done = CliRunner().invoke(cli, ["energy", *filled])
    assert done.exit_code != 0
    assert says in done.output
