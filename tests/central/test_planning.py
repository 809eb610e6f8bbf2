"""The planner beside the loop: what it asks, what it hands over, and that nothing waits for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from evcharge.central import planning
from evcharge.central.planning import Planning, Question, answer, expected_arrivals
from evcharge.central.sensors import BATTERY, SOLAR, STEP_MS, Sensors
from evcharge.central.site_entries import BatteryEntry, EnergyEntry, PeriodEntry
from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.decide import AnyCommand
from evcharge.domain.state import Visit
from evcharge.energy.arrivals import Past
from evcharge.energy.model import Plan, Policy, Series, Signals
from evcharge.ids import NodeId
from evcharge.units import MS_PER_HOUR, Watts
from protocol import messages as m
from tests.support.central import Site
from tests.support.clock import ManualClock
from tests.support.scenario import CP, OTHER, Scenario, charging, connected, plug, reallocate, request, site, started
from tests.support.wire_peers import until

MAIN = NodeId("main")


class Rig:
    """A planner over a scenario's state; what it says is carried out there."""

    def __init__(self, scenario: Scenario, energy: EnergyEntry | None = None) -> None:
        self.scenario = scenario
        self.clock = ManualClock(utc_ms=scenario.at_ms)
        self.sensors = Sensors(self.clock)
        self.said: list[AnyCommand] = []
        self.planning = Planning(
            lambda: scenario.state, self.sensors, energy or EnergyEntry(), self.clock, self.said.append
        )

    def question(self) -> Question:
        return self.planning._question(MAIN)


def one() -> Scenario:
    scenario = Scenario().given(site(9_200), *connected())
    depart_ms = scenario.at_ms + 10 * MS_PER_HOUR
    scenario.given(*charging())
    scenario.session().depart_by_ms = depart_ms  # type: ignore[assignment]
    scenario.session().requested_wh = 9_000  # type: ignore[assignment]
    return scenario


def dear_now(scenario: Scenario) -> EnergyEntry:
    """Power is dear for the next two hours, by the clock of UTC."""
    minute = scenario.at_ms // 60_000 % 1_440
    begin, until_ = minute - 1, minute + 120
    text = [f"{at % 1_440 // 60:02}:{at % 60:02}" for at in (begin, until_)]
    return EnergyEntry(price_per_kwh=0.1, periods=[PeriodEntry(begin=text[0], until=text[1], price_per_kwh=0.5)])


def test_a_plan_waits_for_cheap_power() -> None:
    scenario = one()
    rig = Rig(scenario, dear_now(scenario))
    made = answer(rig.question(), dear_now(scenario))
    assert made is not None
    assert made.target_at(MAIN, scenario.at_ms) == 0
    assert (made.target_at(MAIN, scenario.at_ms + 3 * MS_PER_HOUR) or 0) > 0


def test_a_node_that_fails_is_a_reason_to_plan() -> None:
    """Nothing that was planned before says anything any more."""
    rig = Rig(one())
    before = rig.planning._signature()
    rig.scenario.given(e.NodeLost(node_id=MAIN, cause="reported"))
    assert rig.planning._signature() != before


def test_a_limit_of_a_charge_point_is_planned_with() -> None:
    rig = Rig(one())
    before = rig.planning._signature()
    rig.scenario.given(c.LimitChargePoint(cp_id=CP, limit_w=5_000))
    assert rig.planning._signature() != before
    (session,) = rig.question().sessions
    assert session.max_w == 5_000


def test_a_forecast_that_is_over_is_not_used_any_more() -> None:
    """142 per MWh told as 142 per kWh, and never again, must not decide for ever."""
    scenario = one()
    rig = Rig(scenario, EnergyEntry(price_per_kwh=0.1))
    rig.planning.foretell("price", Series(scenario.at_ms, STEP_MS, (142.0,)))
    assert rig.question().signals.price.values == (142.0,)
    rig.clock.advance(STEP_MS / 1000)
    assert set(rig.question().signals.price.values) == {0.1}


async def test_a_plan_that_does_not_come_is_said_and_no_other_thread_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario().given(site(9_200), *connected(), *charging())
    rig = Rig(scenario, dear_now(scenario))
    release, begun = threading.Event(), []

    def hangs(question: Question, energy: EnergyEntry) -> Plan | None:
        begun.append(question)
        release.wait(30)
        return answer(question, energy)

    monkeypatch.setattr(planning, "answer", hangs)
    monkeypatch.setattr(planning, "LATE_S", 0.05)
    await rig.planning._plan(MAIN)
    assert [type(said) for said in rig.said] == [c.FailPlan]
    # Its thread may begin after it was given up.
    await until(lambda: begun)
    await rig.planning._plan(MAIN)
    assert len(begun) == 1, "the first one has not come back yet"
    since_s = rig.planning.failing[MAIN]
    assert rig.planning.outcomes == {"made": 0, "failed": 1}
    release.set()
    await until(lambda: rig.planning._late is not None and rig.planning._late.done())
    monkeypatch.setattr(planning, "answer", answer)
    monkeypatch.setattr(planning, "LATE_S", 30.0)
    assert rig.planning.failing == {MAIN: since_s}
    await rig.planning._plan(MAIN)
    assert isinstance(rig.said[-1], c.AdoptPlan)
    assert not rig.planning.failing
    assert rig.planning.outcomes == {"made": 1, "failed": 1}
    assert rig.planning.took_s.count == 2


def test_a_forecast_from_outside_replaces_our_own() -> None:
    scenario = one()
    rig = Rig(scenario, dear_now(scenario))
    before = rig.planning._signature()
    rig.planning.foretell("price", Series(scenario.at_ms, STEP_MS, (0.1,)))
    assert rig.planning._signature() != before, "a new forecast is a reason to plan"
    made = answer(rig.question(), EnergyEntry())
    assert made is not None
    assert (made.target_at(MAIN, scenario.at_ms) or 0) > 0, "between equal prices the earlier is better"


def test_the_sun_of_yesterday_is_expected_today() -> None:
    rig = Rig(one())
    begin_ms = rig.scenario.at_ms - rig.scenario.at_ms % STEP_MS - 3 * 96 * STEP_MS
    for slot in range(3 * 96):
        shines = 40 <= slot % 96 < 60
        rig.sensors.heard(SOLAR, None, 5_000.0 if shines else 0.0, begin_ms + slot * STEP_MS)
    question = rig.question()
    assert len([value for value in question.histories["pv"] if value is not None]) == 3 * 96 + 1
    seen: list[Signals] = []

    def spy(_policy: Policy, _now: int, _sessions: object, _nodes: object, signals: Signals) -> None:
        seen.append(signals)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "plan", spy)
        answer(question, EnergyEntry())
    assert seen[0].pv is not None
    # The running quarter has the newest reading.
    hours = [round(value) for value in seen[0].pv.values]
    assert hours[:97] == [0] * 40 + [5_000] * 20 + [0] * 37
    assert min(seen[0].pv.values) >= 0


def test_the_sun_is_never_expected_to_be_below_nought() -> None:
    """It shone every other day; today it does not, and what is missing at noon would be missing in the evening too."""
    rig = Rig(one())
    begin_ms = rig.scenario.at_ms - rig.scenario.at_ms % STEP_MS - (7 * 96 + 50) * STEP_MS
    for slot in range(7 * 96 + 51):
        shines = 40 <= slot % 96 < 60 and slot // 96 % 2 == 0
        rig.sensors.heard(SOLAR, None, 5_000.0 if shines else 0.0, begin_ms + slot * STEP_MS)
    seen: list[Signals] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "plan", lambda *arguments: seen.append(arguments[-1]))
        answer(rig.question(), EnergyEntry())
    assert seen[0].pv is not None
    assert min(seen[0].pv.values) == 0
    assert max(seen[0].pv.values) > 1_000


def test_carbon_that_changes_is_worth_a_plan_where_nothing_else_is() -> None:
    scenario = Scenario().given(site(500_000), *connected())
    rig = Rig(scenario.given(*charging()))
    assert not rig.planning._worth(rig.question())
    rig.planning.foretell("co2", Series(scenario.at_ms, STEP_MS, (0.3, 0.3)))
    assert not rig.planning._worth(rig.question())
    rig.planning.foretell("co2", Series(scenario.at_ms, STEP_MS, (0.3, 0.1)))
    assert rig.planning._worth(rig.question())


def test_the_battery_is_what_its_sensor_says() -> None:
    entry = BatteryEntry(capacity_kwh=40, charge_kw=10, discharge_kw=8, least_percent=20)
    rig = Rig(one(), EnergyEntry(battery=entry))
    assert rig.question().signals.battery is None, "its level was never heard"
    rig.sensors.heard(BATTERY, None, 55.0, None)
    battery = rig.question().signals.battery
    assert battery is not None
    assert (battery.soc_wh, battery.capacity_wh, battery.min_soc_wh) == (22_000, 40_000, 8_000)
    assert (battery.max_charge_w, battery.max_discharge_w) == (10_000, 8_000)


def test_nobody_is_expected_before_a_week_was_seen() -> None:
    now_ms = 1_763_683_200_000
    day = 24 * MS_PER_HOUR
    visits = [Visit(now_ms - k * day + MS_PER_HOUR, 4 * MS_PER_HOUR, 9_000, 7_000) for k in range(14, 0, -1)]
    assert now_ms % day == 0
    assert expected_arrivals(visits[-7:], [], now_ms, EnergyEntry()) == (), "of the first day not all is known"
    assert len(expected_arrivals(visits[-8:], [], now_ms, EnergyEntry())) == 4
    *found, more = expected_arrivals(visits, [], now_ms, EnergyEntry())
    assert more.likely < 1
    dear_peak = expected_arrivals(visits, [], now_ms, EnergyEntry(demand_charge_per_kw=10))
    assert all(each.likely == 1 for each in dear_peak), "a peak is not raised for those who may not come"
    assert {each.arrival_ms for each in found} == {now_ms + MS_PER_HOUR + MS_PER_HOUR // 2}
    assert sum(each.need_wh for each in found) == 9_000
    assert all(each.departure_ms - each.arrival_ms == 4 * MS_PER_HOUR for each in found)


def test_who_came_today_is_counted_with_and_without_a_ticket() -> None:
    day = 24 * MS_PER_HOUR
    today_ms = 1_763_683_200_000
    visits = [
        Visit(today_ms - k * day + hour * MS_PER_HOUR, MS_PER_HOUR, 9_000, 7_000)
        for k in range(14, 0, -1)
        for hour in (1, 8)
        for _ in range(1 + 3 * (k % 2))
    ]
    now_ms = today_ms + 6 * MS_PER_HOUR

    def energy_wh(came: list[Visit], there: list[Past]) -> int:
        return sum(each.need_wh for each in expected_arrivals([*visits, *came], there, now_ms, EnergyEntry())[:3])

    gone = Visit(today_ms + MS_PER_HOUR, MS_PER_HOUR, 9_000, 7_000)
    here = Past(today_ms + MS_PER_HOUR, 5 * MS_PER_HOUR, 0, 7_000, ended=False)
    none, some, more = energy_wh([], []), energy_wh([gone] * 2, [here]), energy_wh([gone] * 2, [here] * 4)
    assert none < some < more
    assert energy_wh([gone] * 3, []) == some
    yesterday = Past(today_ms - 1, 7 * MS_PER_HOUR, 0, 7_000, ended=False)
    assert energy_wh([], [yesterday] * 9) < some


def test_sessions_without_a_ticket_are_there() -> None:
    rig = Rig(one())
    session = rig.scenario.session()
    rig.clock.advance(600.0)
    (there,) = rig.question().there
    assert (there.arrival_ms, there.max_w, there.ended) == (session.start_ms, session.max_w, False)
    assert there.stay_ms == rig.clock.site_ms() - (session.start_ms or 0) > 0
    rig.scenario.state.provisional[session.session_id] = None  # type: ignore[assignment]
    assert rig.question().there == [], "its ticket made it a visit"


def test_the_days_that_count_are_those_of_a_month_and_of_the_site() -> None:
    """A visit of six weeks ago weighs nothing; and a day begins at the site's midnight."""
    day, now_ms = 24 * MS_PER_HOUR, 1_763_683_200_000
    old = [Visit(now_ms - 42 * day + 5 * MS_PER_HOUR, MS_PER_HOUR, 60_000, 7_000)] * 50
    visits = [Visit(now_ms - k * day + MS_PER_HOUR, MS_PER_HOUR, 9_000, 7_000) for k in range(31, 0, -1)]
    energy = EnergyEntry(time_zone="Asia/Tokyo")
    first = Visit(now_ms - 60 * day, MS_PER_HOUR, 1, 7_000)
    found = expected_arrivals([first, *old, *visits], [], now_ms, energy)
    assert max(each.need_wh for each in found if each.likely == 1) < 9_000
    assert {each.arrival_ms % day for each in found} == {MS_PER_HOUR + MS_PER_HOUR // 2}


def test_carbon_that_is_told_goes_on_as_learnt() -> None:
    """Two days of a course are told, up to now; the plan waits for the clean hour that they let one expect."""
    scenario = one()
    rig = Rig(scenario)
    start_ms = scenario.at_ms - scenario.at_ms % STEP_MS - 2 * 96 * STEP_MS
    clean = [0.0 if 8 <= slot % 96 < 24 else 0.9 for slot in range(2 * 96 + 1)]
    rig.planning.foretell("co2", Series(start_ms, STEP_MS, tuple(clean)))
    question = rig.question()
    assert question.carbon is not None
    seen: list[Signals] = []

    def spy(_policy: Policy, _now: int, _sessions: object, _nodes: object, signals: Signals) -> None:
        seen.append(signals)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "plan", spy)
        answer(question, EnergyEntry())
    series = seen[0].co2
    assert series is not None
    at = list(series.values[:: STEP_MS // series.step_ms])
    assert at[:96] == pytest.approx([0.9] * 8 + [0.0] * 16 + [0.9] * 72)
    made = answer(question, EnergyEntry())
    assert made is not None
    assert made.target_at(MAIN, scenario.at_ms) == 0
    assert (made.target_at(MAIN, scenario.at_ms + 10 * STEP_MS) or 0) > 0


async def test_what_fails_is_said_once_until_it_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(one())

    def broken(*_: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(planning, "answer", broken)
        await rig.planning._plan(MAIN)
        await rig.planning._plan(MAIN)
    assert rig.said == [c.FailPlan(cause="MemoryError: no room")]
    await rig.planning._plan(MAIN)
    assert isinstance(rig.said[-1], c.AdoptPlan)
    with monkeypatch.context() as patch:
        patch.setattr(planning, "answer", broken)
        await rig.planning._plan(MAIN)
    assert rig.said[-1] == c.FailPlan(cause="MemoryError: no room")


async def test_a_site_where_nobody_charges_has_no_plan() -> None:
    rig = Rig(Scenario().given(site(9_200), *connected()))
    await rig.planning._plan(MAIN)
    assert rig.said == []


def test_who_begins_is_not_held_back_by_a_plan_of_before_and_is_in_the_next() -> None:
    """An authorization that waits for power runs out in a minute, the plan for cheap power takes hours."""
    scenario = Scenario().given(site(30_000), *connected(), *charging())
    scenario.pass_time(1_000)
    scenario.given(e.PlanAdopted(root_id=MAIN, plan=leaving(scenario, MAIN, 0)))
    scenario.given(*connected(OTHER, 3), request("s-2", OTHER), plug(OTHER))
    scenario.when(reallocate())
    begins = [one.session_id for one in scenario.events if isinstance(one, e.SetPointIssued) and one.grant.limit_w]
    assert begins == ["s-2"]
    assert {each.id for each in Rig(scenario).question().sessions} == {"s-1", "s-2"}
    scenario.given(started("s-2", cp_id=OTHER), reallocate())
    newest = scenario.session("s-2").lease.newest
    assert newest is not None and newest.limit_w == 11_040, "until there is one that knows it"


async def test_a_plan_is_withdrawn_where_none_is_needed_any_more() -> None:
    """Power costs the same all day, and the tree holds nobody back: nor must what was planned before that."""
    scenario = Scenario().given(site(30_000), *connected(), *charging())
    rig = Rig(scenario)
    scenario.given(e.PlanAdopted(root_id=MAIN, plan=leaving(scenario, MAIN, 0)))
    scenario.pass_time(1_000)
    rig.clock.advance(1.0)
    await rig.planning._plan(MAIN)
    (said,) = rig.said
    scenario.when(said).then_kinds(e.PlanAdopted)
    assert not scenario.state.plans[MAIN].holds(scenario.at_ms)
    scenario.given(e.PlanAdopted(root_id=NodeId("elsewhere"), plan=leaving(scenario, NodeId("elsewhere"), 0)))
    await rig.planning._plan(MAIN)
    assert rig.said == [said], "once; and another tree's plan is none of its business"


def test_what_was_planned_for_a_smaller_limit_ends_with_it() -> None:
    """A larger capacity is used at once; where the limit was not what the plan was short of, the plan goes on."""
    scenario = Scenario().given(site(9_200), *connected(), *charging())
    for target_w, to_w, kept in ((5_000, 20_000, True), (20_000, 9_200, True), (9_200, 20_000, False)):
        scenario.given(e.CapacityChanged(substation_id=MAIN, capacity_w=Watts(29_200 - to_w)))
        scenario.given(e.PlanAdopted(root_id=MAIN, plan=leaving(scenario, MAIN, target_w)))
        scenario.given(e.CapacityChanged(substation_id=MAIN, capacity_w=Watts(to_w)))
        assert (MAIN in scenario.state.plans) is kept, target_w


def leaving(scenario: Scenario, node_id: NodeId, target_w: int) -> Plan:
    """A plan that gives a node so much for now."""
    now_ms = scenario.at_ms
    return Plan(made_ms=now_ms, starts_ms=(now_ms,), target_w={node_id: (target_w,)})


async def test_central_plans_for_a_vehicle_that_charges(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.charging()
    operator = await site.operator()
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=5_000))
    await until(lambda: site.logged(e.PlanAdopted))
    (adopted,) = site.logged(e.PlanAdopted)[:1]
    assert set(adopted.plan.target_w) == {"site"}
    assert site.state.plans == {"site": adopted.plan}


async def test_a_base_load_is_acted_on_at_once(site: Site) -> None:
    engine, _, _ = await site.charging()
    operator = await site.operator()
    await operator.ask(m.SensorReading(id=0, name="base_w", value=15_000.0))
    assert (await engine.next(m.SetLimit)).limit_w == 6_900, "7 kW are left of 22, in whole amperes"


async def test_readings_and_forecasts_on_the_wire(site: Site) -> None:
    operator = await site.operator()
    price = m.SetForecast(id=0, name="price", start_ms=0, step_ms=900_000, values=[0.1, 0.2])
    assert isinstance(await operator.ask(price), m.Reply)
    assert isinstance(await operator.ask(m.SensorReading(id=0, name="solar_w", value=1.0)), m.Reply)


async def test_the_rules_answer_whoever_asks(site: Site) -> None:
    operator = await site.operator()
    found = (await operator.ask(m.Query(id=0, what="optimization"))).optimization
    assert found is not None
    assert (found.mode, found.power_w, found.rule) == ("PAUSE_CHARGING", 0, "grid_unknown")
    assert found.fault == {"solar": "missing", "battery": "missing", "grid": "missing"}
    assert not found.in_force
    assert found.reason.startswith(
        f"The rules are not in force here, the policy {Policy.PLAN.value} shares the power; "
    )
    for name, value in (("grid_percent", 85.0), ("solar_w", 60_001.0), ("battery_percent", 70.1)):
        await operator.ask(m.SensorReading(id=0, name=name, value=value))  # type: ignore[arg-type]
    found = (await operator.ask(m.Query(id=0, what="optimization"))).optimization
    assert found is not None
    assert (found.rule, found.solar_w, found.fault) == ("solar_high_battery_high", 60_001, {})


async def test_rules_limit_real_sessions(tmp_path: Path) -> None:
    async with Site(tmp_path, policy="rules") as site:
        operator = await site.operator()
        for name, value in (("grid_percent", 40.0), ("solar_w", 0.0), ("battery_percent", 50.0)):
            await operator.ask(m.SensorReading(id=0, name=name, value=value))  # type: ignore[arg-type]
        await until(lambda: site.logged(e.RulingChanged))
        engine = await site.engine()
        driver = await site.driver()
        start = await engine.start(await site.charge(driver))
        assert (start.limit_w, start.reason) == (5_000, "rule")
