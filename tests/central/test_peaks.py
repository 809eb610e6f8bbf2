"""The demand charge at work: the month's peak is measured and remembered, and no vehicle is slowed below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from evcharge.central.peaks import SUN_MS, Billed, PeakWatch
from evcharge.central.planning import BILLED, Planning, answer
from evcharge.central.sensors import BASE, SOLAR, Sensors
from evcharge.central.site_entries import BatteryEntry, EnergyEntry
from evcharge.central.telemetry import Telemetry
from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.decide import AnyCommand
from evcharge.energy.model import Input, Plan
from evcharge.energy.peaks import QUARTER_MS, month_of
from evcharge.ids import NodeId
from evcharge.units import MS_PER_HOUR
from protocol import messages as m
from tests.support.central import Site
from tests.support.clock import ManualClock
from tests.support.scenario import CP, Scenario, charging, connected, site

MAIN = NodeId("main")
CHARGED = EnergyEntry(demand_charge_per_kw=12.0)


class Rig:
    """A site with one vehicle that charges; its own time goes on with the clock."""

    def __init__(self, energy: EnergyEntry = CHARGED, scenario: Scenario | None = None) -> None:
        self.scenario = scenario or Scenario().given(site(50_000), *connected(), *charging())
        # At the beginning of a quarter.
        self.clock = ManualClock(utc_ms=-(-self.scenario.at_ms // QUARTER_MS) * QUARTER_MS)
        self.sensors, self.telemetry, self.sun_is_told = Sensors(self.clock), Telemetry(), False
        self.energy, self.meter_wh = energy, 0.0
        self.peaks: list[e.Event] = []
        self.watch = PeakWatch(
            lambda: self.scenario.state,
            self.sensors,
            self.telemetry,
            energy,
            self.clock,
            self.execute,
            lambda: self.sun_is_told,
        )

    def quarters(self, count: int, car_w: int, **sensors: float | None) -> None:
        """``sensors``: what they say all the time."""
        session = self.scenario.session()
        for _ in range(count * QUARTER_MS // 5_000):
            for name, value in sensors.items():
                if value is not None:
                    self.sensors.heard(name, MAIN if name == BASE else None, value, None)
            meter_wh = session.start_meter_wh + int(self.meter_wh)
            self.telemetry.update(
                self.scenario.state, CP, session.session_id, meter_wh, car_w, None, self.clock.monotonic()
            )
            self.watch.look()
            self.clock.advance(5)
            self.meter_wh += car_w * 5_000 / MS_PER_HOUR
        self.watch.look()

    @property
    def billed_w(self) -> int:
        found = self.watch.billed(MAIN, self.clock.site_ms())
        return 0 if found is None else found.watts

    def execute(self, command: AnyCommand) -> None:
        self.peaks += self.scenario.when(command).events

    def plan(self) -> Plan:
        planning = Planning(
            lambda: self.scenario.state, self.sensors, self.energy, self.clock, lambda _: None, self.watch.billed
        )
        made = answer(planning._question(MAIN), self.energy)
        assert made is not None
        return made


def near(watts: int, measured_w: int) -> bool:
    """Never above; a look in 180 and a watt-hour less at most."""
    return measured_w * 0.99 - 8 <= watts <= measured_w


def test_charging_and_what_else_draws_make_the_peak_and_the_sun_less_of_it() -> None:
    rig = Rig()
    rig.quarters(1, 7_000, base_w=2_000.0)
    assert near(rig.billed_w, 9_000)
    assert rig.scenario.state.nodes[MAIN].peak_w == rig.billed_w
    rig.quarters(1, 3_000, base_w=2_000.0)
    assert near(rig.billed_w, 9_000), "what is billed stays billed"
    sunny = Rig()
    sunny.quarters(1, 7_000, base_w=2_000.0, solar_w=4_000.0)
    assert near(sunny.billed_w, 5_000)


def test_no_sun_is_taken_for_none_that_is_only_silent() -> None:
    rig = Rig()
    rig.quarters(1, 5_000, solar_w=3_000.0)
    before_w = rig.billed_w
    assert near(before_w, 2_000)
    rig.quarters(1, 5_000, solar_w=None)
    assert SUN_MS < QUARTER_MS
    assert rig.billed_w == before_w
    rig = Rig()
    rig.sun_is_told = True
    rig.quarters(1, 5_000)
    assert rig.billed_w == 0, "a sun that is only foretold was not measured"


def test_the_sun_is_not_forgotten_in_a_restart() -> None:
    rig = Rig()
    plan = Plan(made_ms=rig.clock.site_ms(), starts_ms=(), target_w={}, inputs=(Input(SOLAR, 5),))
    rig.scenario.given(c.AdoptPlan(root_id=MAIN, plan=plan))
    again = Rig(scenario=rig.scenario)
    again.quarters(1, 5_000)
    assert again.billed_w == 0
    again.quarters(1, 5_000, solar_w=1_000.0)
    assert near(again.billed_w, 4_000)


def test_a_battery_may_have_given_all_that_it_can() -> None:
    battery = BatteryEntry(capacity_kwh=40, charge_kw=10, discharge_kw=3)
    rig = Rig(EnergyEntry(demand_charge_per_kw=12.0, battery=battery))
    rig.quarters(1, 5_000)
    assert near(rig.billed_w, 2_000)


def test_a_meter_that_is_silent_has_measured_nothing() -> None:
    rig = Rig(scenario=Rig().scenario.given(c.NoteBaseLoad(node_id=MAIN, base_w=20_000)))
    rig.quarters(1, 5_000)
    assert near(rig.billed_w, 5_000)


def test_a_month_that_is_over_is_paid() -> None:
    rig = Rig()
    rig.quarters(1, 7_000)
    assert rig.billed_w
    rig.clock.advance(31 * 86_400)
    assert rig.billed_w == 0
    rig.quarters(2, 1_000)
    assert near(rig.billed_w, 1_000)
    months = [peak.month for peak in rig.peaks if isinstance(peak, e.PeakRose)]
    assert months == sorted(set(months)), "one record for each"
    assert months[-1] == month_of(rig.clock.site_ms(), CHARGED.offset)


def test_a_rise_that_is_no_record_counts_until_the_restart() -> None:
    rig = Rig()
    rig.quarters(1, 10_000)
    rig.quarters(1, 10_150)
    assert len(rig.peaks) == 1
    assert near(rig.billed_w, 10_150)
    assert rig.billed_w > rig.scenario.state.nodes[MAIN].peak_w
    again = Rig(scenario=rig.scenario)
    assert again.billed_w == rig.scenario.state.nodes[MAIN].peak_w


def test_nothing_is_billed_without_a_demand_charge() -> None:
    rig = Rig(EnergyEntry())
    rig.scenario.given(c.NotePeak(node_id=MAIN, month=month_of(rig.clock.site_ms(), CHARGED.offset), peak_w=9_000))
    assert rig.watch.billed(MAIN, rig.clock.site_ms()) is None


def test_who_charges_below_the_billed_peak_is_not_slowed() -> None:
    """There is time until tomorrow: without a peak the plan spreads it thin, with one it need not."""
    rig = Rig()
    session = rig.scenario.session()
    now_ms = rig.clock.site_ms()
    session.depart_by_ms, session.requested_wh = now_ms + 10 * MS_PER_HOUR, 20_000  # type: ignore[assignment]
    thin_w = rig.plan().target_at(MAIN, now_ms)
    assert thin_w is not None
    assert thin_w < 3_000
    rig.scenario.given(c.NotePeak(node_id=MAIN, month=month_of(now_ms, CHARGED.offset), peak_w=7_000))
    made = rig.plan()
    assert made.target_at(MAIN, now_ms) == 7_000
    assert BILLED in [one.name for one in made.inputs]


@pytest.mark.parametrize("killed", [True, False])
async def test_on_the_wire_and_over_a_restart(tmp_path: Path, killed: bool) -> None:
    path = tmp_path / "site.toml"
    path.write_text("[substations.main]\ncapacity_kw = 50\n[energy]\ndemand_charge_per_kw = 12\n", encoding="utf-8")
    clock = ManualClock(utc_ms=1_763_683_200_000 // QUARTER_MS * QUARTER_MS)
    async with Site(tmp_path, clock=clock, site_file=path) as site:
        engine, _, session_id = await site.charging()
        start_wh = site.session(session_id).start_meter_wh
        for step in range(91):
            engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=start_wh + step * 25, power_w=9_000))
            await engine.heard()
            site.central._peaks.look()
            site.clock.advance_site(10)
        rose = await site.line(e.PeakRose)
        # 25 Wh in 10 s are 9 kW; of 90 pieces the one that ends the quarter is lost.
        assert (rose.node_id, rose.peak_w) == (MAIN, 8_900)
        await site.restart(killed=killed)
        assert site.state.nodes[MAIN].peak_w == 8_900
        question = site.central._planning._question(MAIN)
        assert question.signals.billed_peak_w == 8_900
        assert site.central._peaks.billed(MAIN, site.clock.site_ms()) == Billed(
            8_900, site.lines(e.PeakRose)[0].stamp.at_ms
        )
        assert question.signals.ages[BILLED] >= 0
