"""Advice over the real wire: where to charge, and why a session gets what it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from evcharge.central.decisions import Decisions
from evcharge.central.settings import places_of
from evcharge.central.site_mistakes import BadSite
from evcharge.central.translate import tables
from evcharge.central.translate.advice import Advice
from evcharge.domain import events as e
from evcharge.domain.effects import SetPoint
from evcharge.domain.reasons import Basis, Bound, Constraint, sentence
from evcharge.domain.state import ChargePoint, Connector, Link
from evcharge.domain.stations import MOST_STATIONS
from evcharge.domain.words import LimitReason, LinkState
from evcharge.ids import ChargePointId, ConnectorNo, Fence, NodeId
from evcharge.net.client import RequestRefused
from evcharge.units import Millis, Watts
from protocol import messages as m
from tests.support.central import Site, WirePeer, until
from tests.support.clock import START_MS
from tests.support.scenario import ANNA, Scenario, charging, connected
from tests.support.scenario import site as one_node
from tests.support.settings import site_file

SITE = """
[substations.north]
capacity_kw = 22
charge_points = ["NEAR", "FAR"]
[substations.south]
capacity_kw = 50
[charge_points.NEAR]
latitude = 48.10
longitude = 11.50
plug = "type2"
[charge_points.FAR]
latitude = 48.28
longitude = 11.50
plug = "ccs"
[charge_points.FARTHEST]
latitude = 40.0
longitude = 11.50
"""
HERE = {"latitude": 48.10, "longitude": 11.50}


def wish(**fields: Any) -> m.Recommend:
    """A vehicle that needs 27 kWh."""
    return m.Recommend(**({"id": 0, "battery_percent": 35.0} | fields))


async def advised(peer: WirePeer, **fields: Any) -> m.RecommendationView:
    reply = await peer.ask(wish(**fields))
    assert isinstance(reply.recommendation, m.RecommendationView)
    return reply.recommendation


def by_id(found: m.RecommendationView) -> dict[str, m.StationView]:
    assert len({row.cp_id for row in found.stations}) == len(found.stations)
    return {row.cp_id: row for row in found.stations}


async def places(tmp_path: Path) -> Site:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return Site(tmp_path, site_file=path)


# --- where to charge -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("battery", "kw", "carbon_g", "price", "queue", "energy", "hours", "kg", "score"),
    [
        (50, 50, 850, 0.25, 2, 30.0, 0.60, 25.5, 125.50),
        (20, 60, 200, 0.18, 0, 48.0, 0.80, 9.6, 164.16),
        (80, 65, 850, 0.30, 5, 12.0, 0.18, 10.2, 149.20),
        (35, 60, 200, 0.25, 1, 39.0, 0.65, 7.8, 163.15),
    ],
)
async def test_the_older_formula_to_the_digit(
    tmp_path: Path,
    battery: float,
    kw: int,
    carbon_g: int,
    price: float,
    queue: int,
    energy: float,
    hours: float,
    kg: float,
    score: float,
) -> None:
    """One charge point of so many kW for each vehicle, and as many vehicles there as the queue has."""
    tariff = {"price_per_kwh": price, "co2_g_per_kwh": carbon_g}
    async with Site(tmp_path, capacity_kw=kw * (queue + 1.0), **tariff) as site:
        await site.engine(connectors=max(1, queue), plugged=False, min_w=6_000, max_w=kw * 1_000)
        driver = await site.driver()
        for connector in range(1, queue + 1):
            await site.charge(driver, connector=connector)
        found = await advised(driver, mode="legacy", battery_percent=battery)
    (row,) = found.legacy
    assert (row.energy_needed_kwh, row.charging_time_hours, row.carbon_emission_kg) == (energy, hours, kg)
    assert (row.station_id, row.score, found.cp_id) == ("CP-1", score, "CP-1")
    assert (found.mode, found.stations, found.vehicle.need_wh) == ("legacy", [], energy * 1_000)


async def test_the_older_formula_without_any_supply(site: Site) -> None:
    driver = await site.driver()
    engine = await site.engine()
    engine.send(m.Status(connector=1, error="hot"))
    await engine.heard()
    found = await advised(driver, mode="legacy")
    assert (found.cp_id, found.legacy[0].score) == (None, None)
    assert "neither solar nor grid" in found.legacy[0].explanation and "No station" in found.sentence


async def test_the_best_charge_point_with_raw_figures_and_the_others_with_reasons(tmp_path: Path) -> None:
    async with await places(tmp_path) as site:
        for cp_id in ("NEAR", "FAR", "FARTHEST", "OUT"):
            await site.engine(cp_id, plugged=False)
        out = await site.engine("OUT-2", plugged=True)
        driver = await site.driver()
        operator = await site.operator()
        await operator.ask(m.Stop(id=0, cp_id="OUT"))
        await out.heard()
        found = await advised(driver, **HERE)
    assert (found.cp_id, found.connector, found.located, found.left_out) == ("NEAR", 1, True, 0)
    assert "NEAR suits best: free now" in found.sentence
    rows = by_id(found)
    near, far = rows["NEAR"], rows["FAR"]
    # 27 kWh at 0.30 EUR and 300 g; nothing holds it back from the connector's 11 kW.
    assert (near.rank, near.cost_minor, near.carbon_g, near.queue_s, near.power_w) == (1, 810, 8_100, 0, 11_000)
    assert (near.time_s, near.distance_m, near.front) == (8_836, 0, True)
    assert far.rank == 2 and 25_500 < far.distance_m < 26_500, "20 km north, by road a third more"
    assert far.cost_minor - 810 == round(far.distance_m / 1_000 * 0.18 * 0.30 * 100)
    assert far.time_s - 8_836 == pytest.approx(far.distance_m / 1_000 / 40 * 3_600, abs=1)
    assert not far.front and far.parts is not None and far.parts.cost > 0
    assert far.score is not None and near.score is not None and far.score > near.score
    assert rows["FARTHEST"].excluded == "out_of_reach" and rows["FARTHEST"].rank is None
    assert rows["OUT"].excluded == "out_of_service"
    assert rows["OUT-2"].excluded == "wait_unknown", "a vehicle stands there and does not charge"
    assert found.weights == m.Weights(cost=0.35, time=0.30, carbon=0.20, queue=0.15)
    assert found.vehicle == m.VehicleView(
        battery_percent=35.0, capacity_wh=60_000, target_percent=80.0, need_wh=27_000, max_w=11_000, range_m=116_666
    )


async def test_the_plug_has_to_fit_where_it_is_known(tmp_path: Path) -> None:
    async with await places(tmp_path) as site:
        for cp_id in ("NEAR", "FAR", "NOBODY-KNOWS"):
            await site.engine(cp_id, plugged=False)
        driver = await site.driver()
        rows = by_id(await advised(driver, plug="ccs"))
        assert rows["NEAR"].excluded == "no_fitting_connector"
        assert rows["FAR"].rank is not None and rows["NOBODY-KNOWS"].rank is not None
        assert {row.excluded for row in (await advised(driver)).stations} == {None}


async def test_no_position_means_no_way_and_says_so(site: Site) -> None:
    await site.engine(plugged=False)
    found = await advised(await site.driver(), **HERE)
    assert not found.located and "Distances do not count" in found.sentence
    assert by_id(found)["CP-1"].distance_m == 0


async def test_the_wait_is_what_the_session_there_is_expected_to_need(site: Site) -> None:
    _, driver, _ = await site.charging()
    rows = by_id(await advised(driver))
    # 12 kWh, the typical charge, at the 11 kW that it has.
    assert (rows["CP-1"].queue_s, rows["CP-1"].connector) == (3_927, 1)
    depart_ms = START_MS + 600_000
    await site.engine("CP-2")
    await driver.ask(m.ChargeRequest(id=0, cp_id="CP-2", depart_by_ms=depart_ms))
    assert by_id(await advised(driver))["CP-2"].queue_s == 600
    # Who waits there stays for a typical two hours, as the line reckons too.
    await (await site.driver("ben")).ask(m.ChargeRequest(id=0, cp_id="CP-2", wait=True))
    assert by_id(await advised(driver))["CP-2"].queue_s == 600 + 7_200


async def test_below_a_lost_node_nothing_is_recommended(site: Site) -> None:
    await site.engine(plugged=False)
    operator = await site.operator()
    assert (await advised(operator)).cp_id == "CP-1"
    await operator.ask(m.SubstationHealth(id=0, substation_id="site", ok=False))
    found = await advised(operator)
    assert (found.cp_id, by_id(found)["CP-1"].excluded) == (None, "out_of_service")


async def test_none_can_serve(site: Site) -> None:
    driver = await site.driver()
    assert "there is none" in (await advised(driver)).sentence
    await site.engine(plugged=False)
    operator = await site.operator()
    await operator.ask(m.Stop(id=0))
    found = await advised(operator)
    assert (found.cp_id, found.connector) == (None, None)
    assert "No charge point can serve this vehicle now (out of service: 1)." in found.sentence


async def test_weights_decide_and_fewer_are_ranked_when_asked(tmp_path: Path) -> None:
    async with await places(tmp_path) as site:
        await site.engine("NEAR", plugged=False, max_w=4_000)
        await site.engine("FAR", plugged=False, max_w=22_000)
        driver = await site.driver()
        quick = await advised(driver, **HERE, max_w=22_000, weights=m.Weights(time=1.0))
        cheap = await advised(driver, **HERE, max_w=22_000, weights=m.Weights(cost=1.0), max_results=1)
    assert (quick.cp_id, cheap.cp_id) == ("FAR", "NEAR")
    assert [row.rank for row in quick.stations] == [1, 2] and {row.front for row in quick.stations} == {True}
    assert [row.rank for row in cheap.stations] == [1, None]
    assert cheap.stations[1].score is not None and cheap.stations[1].excluded is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"weights": m.Weights(cost=0.5, time=0.4)}, "weights_out_of_range"),
        ({"weights": m.Weights()}, "weights_out_of_range"),
        ({"battery_percent": 80.0}, "energy_out_of_range"),
        ({"target_percent": 10.0}, "energy_out_of_range"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_reason(site: Site, fields: dict[str, Any], reason: str) -> None:
    driver = await site.driver()
    with pytest.raises(RequestRefused) as refused:
        await driver.ask(wish(**fields))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"battery_percent": float("nan")},
        {"weights": {"cost": float("nan")}},
        {"latitude": float("nan"), "longitude": 1.0},
        {"latitude": 1.0},
        {"battery_percent": 100.5},
        {"capacity_wh": 0},
        {"max_results": 4},
    ],
)
def test_no_number_and_half_a_position_are_malformed(fields: dict[str, Any]) -> None:
    data = msgspec.msgpack.encode({"type": "recommend", "id": 1, "battery_percent": 50.0} | fields)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(data, type=m.Recommend)


async def test_the_nearest_hundred_are_looked_at_and_the_answer_fits_a_frame(site: Site) -> None:
    """Ids of 64 four-byte characters make the rows as long as they can be."""
    driver = await site.driver()
    ids = [ChargePointId(f"{chr(0x1F600) * 60}{number:04}") for number in range(130)]
    for number, cp_id in enumerate(ids):
        outlet = Connector(Watts(1_400), Watts(11_000), occupied=number < 40)
        link = Link(state=LinkState.UP)
        site.state.charge_points[cp_id] = ChargePoint(cp_id, NodeId("site"), {ConnectorNo(1): outlet}, engine=link)
    site.state.cp_order[:] = sorted(site.state.charge_points)
    found = await advised(driver)
    assert len(found.stations) + found.left_out == 130 and found.left_out >= 130 - MOST_STATIONS
    assert len(found.stations) > 90
    free = [row for row in found.stations if row.score is not None]
    assert len(free) == 90, "those with something free come before the others that are as near"
    legacy = await advised(driver, mode="legacy")
    assert len(legacy.legacy) + legacy.left_out == 130 and len(legacy.legacy) > 60
    assert not site.central.failure.done()


@pytest.mark.parametrize("mode", ["pareto", "legacy"])
async def test_rows_that_do_not_fit_are_counted_as_left_out(
    site: Site, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Were there larger rows, the last ones would go first."""
    monkeypatch.setattr(tables, "ADVICE_ROOM", 1_000)
    for number in range(9):
        await site.engine(f"CP-{number}", plugged=False)
    found = await advised(await site.driver(), mode=mode)
    shown = [row.cp_id for row in found.stations] + [row.station_id for row in found.legacy]
    assert shown == [f"CP-{number}" for number in range(len(shown))] and 1 <= len(shown) < 9
    assert found.left_out == 9 - len(shown)


BAD_PLACES = {
    "half": ("latitude = 1\n", "needs longitude too: they go together"),
    "far north": ("latitude = 91\nlongitude = 0\n", "latitude has to be from -90 to 90"),
    "far east": ("latitude = 1\nlongitude = 181\n", "longitude has to be from -180 to 180"),
    "no number": ("latitude = nan\nlongitude = 0\n", "latitude has to be from -90 to 90"),
    "odd plug": ('plug = "a\\nb"\n', "plug needs names of 1 to 64 printable characters"),
}


@pytest.mark.parametrize("name", BAD_PLACES)
def test_mistakes_about_places_have_one_sentence(tmp_path: Path, name: str) -> None:
    text, expected = BAD_PLACES[name]
    values = site_file(tmp_path, f"[substations.a]\ncapacity_kw = 1\n[charge_points.X]\n{text}")
    with pytest.raises(BadSite, match=rf"line [345]: \[charge_points\.X\] {expected}"):
        places_of(values)


# --- why -------------------------------------------------------------------------------------------------------------


async def why(peer: WirePeer, session_id: str | None = None) -> m.WhyView:
    reply = await peer.ask(m.Why(id=0, session_id=session_id))
    assert isinstance(reply.why, m.WhyView)
    return reply.why


async def test_why_is_the_newest_decision_in_the_log(site: Site) -> None:
    engine, driver, first = await site.charging()
    told = await why(driver)
    (issued,) = site.logged(e.SetPointIssued)
    assert issued.basis is not None
    assert (told.session_id, told.cp_id, told.connector, told.state) == (first, "CP-1", 1, "SUPPLYING")
    assert (told.limit_w, told.reason) == (issued.grant.limit_w, issued.reason.value)
    assert (told.constraint, told.node) == (issued.basis.bound.constraint.value, issued.basis.bound.node)
    assert told.at_ms == START_MS
    assert told.sentence == f"{sentence(issued.basis)}."
    operator = await site.operator()
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=5_000))
    await engine.next(m.SetLimit)
    decided = [one for one in site.logged(e.SetPointIssued) if one.session_id == first][-1]
    assert decided.basis is not None
    again = await why(driver, first)
    assert (again.limit_w, again.node_limit_w) == (decided.grant.limit_w, decided.basis.bound.limit_w)
    assert [(one.limit_w, one.constraint) for one in again.rejected] == [
        (one.limit_w, one.constraint.value) for one in decided.basis.rejected
    ]
    assert [(one.name, one.age_ms) for one in again.inputs] == [(one.name, one.age_ms) for one in decided.basis.inputs]


async def test_who_had_nothing_hears_what_is_so_now(site: Site) -> None:
    """Nothing is decided anew where nothing stays nothing; the question is answered all the same."""
    engine, driver, session_id = await site.charging()
    operator = await site.operator()
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=1_000))
    while (await engine.next(m.SetLimit)).limit_w:
        pass
    told = await why(driver)
    assert (told.constraint, told.node_limit_w) == ("minima", 1_000)
    assert told.sentence.startswith("site has 1 kW, and the smallest current is 1.38 kW")
    assert "turn of others" not in told.sentence
    decided = len(site.logged(e.SetPointIssued))
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=900))
    assert (await why(driver)).sentence.startswith("site has 0.9 kW, and the smallest current is 1.38 kW")
    await operator.ask(m.SensorReading(id=0, name="base_w", substation_id="site", value=1_800.0))
    assert "which takes all of it" in (await why(driver)).sentence
    assert len(site.logged(e.SetPointIssued)) == decided
    await operator.ask(m.SubstationHealth(id=0, substation_id="site", ok=False))
    assert (await why(driver, session_id)).sentence.startswith("site is lost or on trial")


async def test_why_of_somebody_else_or_of_nothing(site: Site) -> None:
    _, _, session_id = await site.charging()
    ben = await site.driver("ben")
    for asked, reason in ((session_id, "not_your_session"), ("s-none", "unknown_session"), (None, "unknown_session")):
        with pytest.raises(RequestRefused) as refused:
            await ben.ask(m.Why(id=0, session_id=asked))
        assert refused.value.reason == reason


async def test_why_before_anything_was_decided(site: Site) -> None:
    await site.engine(plugged=False)
    driver = await site.driver()
    session_id = await site.charge(driver)
    told = await why(driver)
    assert (told.session_id, told.state, told.limit_w, told.at_ms) == (session_id, "AUTHORIZED", None, None)
    assert "waits for the vehicle" in told.sentence


async def test_a_session_that_ended_leaves_nothing_in_memory(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    assert site.central._decisions.of(session_id) is not None
    await engine.end(session_id, meter_wh=2_000)
    await driver.next(m.Ticket)
    assert site.central._decisions.of(session_id) is None
    with pytest.raises(RequestRefused):
        await driver.ask(m.Why(id=0, session_id=session_id))


async def test_after_a_restart_the_figures_come_with_the_next_set_point(site: Site) -> None:
    _, driver, session_id = await site.charging()
    before = await why(driver)
    await site.restart(killed=True)
    site.clock.advance(1.1)
    await until(lambda: driver.client.connected)
    told = await why(driver, session_id)
    assert told.constraint is None and told.limit_w == before.limit_w
    assert told.sentence


def test_of_what_was_decided_before_the_start_the_reason_is_still_known() -> None:
    scenario = Scenario().given(one_node(9_000), *connected(), *charging())
    advice = Advice(Decisions(), {})
    for reason in LimitReason:
        scenario.session("s-1").limit_reason = reason
        reply = advice.why(m.Why(id=0), ANNA, scenario.state, scenario.stamp())
        assert isinstance(reply, m.Reply) and reply.why is not None
        assert reply.why.sentence.startswith("Decided before Central was started because ")
    scenario.session("s-1").limit_reason = None
    reply = advice.why(m.Why(id=0), ANNA, scenario.state, scenario.stamp())
    assert isinstance(reply, m.Reply) and reply.why is not None
    assert reply.why.sentence == "Decided before Central was started; the figures come with the next set-point."


def test_of_a_plan_it_is_said_that_no_departure_was() -> None:
    """Who said when he leaves has no use for the hint; nor where something else binds."""
    scenario = Scenario().given(one_node(9_000), *connected(), *charging())
    session = scenario.session("s-1")
    decisions = Decisions()
    advice = Advice(decisions, {})

    def told(constraint: Constraint) -> str:
        basis = Basis(Bound(constraint, "main", 2_300, 0, 1))
        grant = session.lease.newest
        assert grant is not None
        decided = SetPoint(
            cp_id=session.cp_id,
            fence=Fence(1),
            command_id=grant.command_id,
            session_id=session.session_id,
            connector=session.connector,
            limit_w=2_300,
            fallback_w=1_380,
            expires_ms=0,
            reason=LimitReason.PLAN,
            start_valid_ms=None,
            decided_ms=0,
            basis=basis,
        )
        decisions.note(decided)
        reply = advice.why(m.Why(id=0), ANNA, scenario.state, scenario.stamp())
        assert isinstance(reply, m.Reply) and reply.why is not None
        return reply.why.sentence

    said = "; no departure was said: --depart."
    assert told(Constraint.PLAN) == f"the plan gives main 2.3 kW now, shared by 1{said}"
    assert said not in told(Constraint.CAPACITY)
    session.depart_by_ms = Millis(scenario.at_ms + 1)
    assert said not in told(Constraint.PLAN)
