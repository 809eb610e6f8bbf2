"""The energy bench: what it reads, that nothing knows the future, and its arithmetic on sessions that fit on a page."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from click.testing import CliRunner

from evcharge.energy.model import STEP_MS
from evcharge.energy.policies import Policy
from tools.bench.__main__ import cli
from tools.bench.energy import Case, Result, goals, month_before, site_of
from tools.bench.energy_data import (
    STEPS_PER_DAY,
    Habits,
    Visit,
    persisted,
    price_series,
    read_carbon,
    read_solar,
    read_tariff,
    read_visits,
    seasonal,
    step_of,
)
from tools.bench.energy_replay import Outcome, Site, clairvoyant, replay, unmanaged

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


def visit(name: str, arrival: int, stay: int, need_wh: int) -> Visit:
    return Visit(name, name, arrival, arrival + stay, need_wh, arrival + stay, need_wh)


MONDAY = step_of(at("2019-09-02 00:00-07:00"))


def test_habits_are_of_working_days_and_days_off() -> None:
    history = [visit("a", MONDAY + 96, 12, 4_000), visit("b", MONDAY + 97, 36, 8_000)]
    habits = Habits(history, date(2019, 9, 2), date(2019, 9, 5), ZONE, 6_656)
    (due,) = habits.expected(MONDAY + 288, 12 * 20)
    assert due.need_wh == 3_000
    assert due.max_w == 6_656
    assert due.arrival_ms == (MONDAY + 288 + 96 + 6) * STEP_MS
    assert due.departure_ms == due.arrival_ms + 24 * STEP_MS
    saturday = MONDAY + 5 * 288
    assert habits.expected(saturday, 288) == ()


def site(visits: list[Visit], capacity_w: int = 10_000, steps: int = 48, **more: object) -> Site:
    price = [0.3] * (steps // 2) + [0.1] * (steps - steps // 2)
    about = {"visits": visits, "first": MONDAY, "price": price, "capacity_w": capacity_w, "max_w": 6_656, "volts": 208}
    return Site(**(about | more))  # type: ignore[arg-type]


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
        "plan": outcome("plan", delivered_pct=99.9, cost_per_kwh=0.101),
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
    asked = {"delivered_pct", "cost_per_kwh", "peak_kw", "co2_kg", "set_point_changes"}
    assert set(case["policies"]) == {"equal", "clairvoyant"}
    assert asked <= set(case["policies"]["clairvoyant"])


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
