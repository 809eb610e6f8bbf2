"""What changed since somebody looked: told once, as it is now, and never missed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.central.changes import Changes
from evcharge.domain import commands as c
from evcharge.energy.model import Plan
from protocol import codec
from protocol import messages as m
from protocol.cipher import max_body
from protocol.frames import MAX_FRAME
from tests.support.central import Site, WirePeer, until

NAMES = ("CP-1", "CP-2", "CP-3")


async def changes(peer: WirePeer, seen: m.ChangesView | None = None) -> m.ChangesView:
    """All that changed since ``seen``, its pages as one."""
    rows: list[m.ChargePointView] = []
    meters: list[m.MeterView] = []
    run, since = (None, 0) if seen is None else (seen.run, seen.upto)
    while True:
        reply = await peer.ask(m.Changes(id=0, run=run, since=since))
        assert len(codec.encode(reply)) <= max_body(MAX_FRAME)
        view = reply.changes
        assert isinstance(view, m.ChangesView) and (view.rows or view.meters or not view.more)
        rows += view.rows
        meters += view.meters
        if not view.more:
            return m.ChangesView(run=view.run, upto=view.upto, rows=rows, meters=meters)
        run, since = view.run, view.upto


async def test_who_asks_first_gets_all_and_then_what_changed(site: Site) -> None:
    operator = await site.operator()
    first, _ = await site.engine("CP-1"), await site.engine("CP-2")
    seen = await changes(operator)
    assert sorted(row.cp_id for row in seen.rows) == ["CP-1", "CP-2"]
    assert (await changes(operator, seen)).rows == []
    first.send(m.Status(connector=1, error="E7"))
    await first.heard()
    news = await changes(operator, seen)
    assert [(row.cp_id, row.connectors[0].state) for row in news.rows] == [("CP-1", "OUT_OF_ORDER")]
    assert (await changes(operator, news)).rows == []


async def test_meter_values_change_a_charge_point_with_the_reason_for_its_limit(site: Site) -> None:
    operator = await site.operator()
    engine, _, session_id = await site.charging()
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=1_200, power_w=7_000))
    await engine.heard()
    seen = await changes(operator)
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=1_500, power_w=7_000))
    await engine.heard()
    news = await changes(operator, seen)
    assert news.rows == [], "nothing else changed"
    assert news.meters == [m.MeterView(cp_id="CP-1", connector=1, power_w=7_000, energy_wh=500)]
    (row,) = (await changes(operator)).rows
    (connector,) = row.connectors
    assert (connector.power_w, connector.energy_wh, connector.driver) == (7_000, 500, "anna")
    told = (await operator.ask(m.Why(id=0, session_id=session_id))).why
    assert (connector.why, connector.decided_ms) == (told.sentence, told.at_ms)
    assert connector.why and connector.decided_ms


async def test_another_run_means_everything_again(site: Site) -> None:
    operator = await site.operator()
    await site.engine()
    seen = await changes(operator)
    await site.restart()
    await until(lambda: operator.ups)
    again = await site.operator()
    news = await changes(again, seen)
    assert news.run != seen.run
    assert [row.cp_id for row in news.rows] == ["CP-1"]


async def test_a_charge_point_that_there_is_not_is_not_counted(site: Site) -> None:
    driver, operator = await site.driver(), await site.operator()
    await site.engine()
    seen = await changes(operator)
    for number in range(5):
        driver.send(m.ChargeRequest(id=number, cp_id=f"nowhere-{number}"))
    await until(lambda: len(driver.got(m.Refused)) == 5)
    assert (await changes(operator, seen)).rows == []
    assert list(site.central._inbound._changes._charge_points) == ["CP-1"]


async def test_the_meter_of_a_session_that_is_over_is_forgotten(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=1_200, power_w=7_000))
    await engine.heard()
    assert list(site.central._inbound._changes._meters) == [session_id]
    await engine.end(session_id, meter_wh=2_000)
    await driver.next(m.Ticket)
    assert not site.central._inbound._changes._meters


async def test_pages_of_many(site: Site) -> None:
    operator = await site.operator()
    names = [f"CP-{number:03}" for number in range(130)]
    for name in names:
        await site.engine(name)
    seen = await changes(operator)
    assert sorted(row.cp_id for row in seen.rows) == names


async def test_plan_alerts_and_what_is_offered(site: Site) -> None:
    operator = await site.operator()
    await site.charging()
    (node,) = (await operator.ask(m.Query(id=0, what="substations"))).substations
    assert node.offered_w >= node.fallback_w > 0 and node.offered_w <= node.worst_case_w
    assert (await operator.ask(m.Query(id=0, what="alerts"))).alerts == []
    await operator.ask(m.WeatherAlert(id=0, kind="cold", active=True, temperature_c=-3.5, detail="Munich"))
    (alert,) = (await operator.ask(m.Query(id=0, what="alerts"))).alerts
    assert (alert.kind, alert.temperature_c, alert.detail, alert.cp_id) == ("cold", -3.5, "Munich", None)
    await operator.ask(m.WeatherAlert(id=0, kind="cold", active=False))
    assert (await operator.ask(m.Query(id=0, what="alerts"))).alerts == []


async def test_the_plan_is_shown_while_it_holds(site: Site) -> None:
    operator = await site.operator()
    await site.charging()
    now_ms = site.central._clock.site_ms()
    (node_id,) = site.central.state.nodes
    starts_ms = (now_ms, now_ms + 900_000)
    plan = Plan(made_ms=now_ms, life_ms=1_000, starts_ms=starts_ms, target_w={node_id: (9_000, 11_000), "gone": (1, 1)})
    site.central._engine.execute(c.AdoptPlan(root_id=node_id, plan=plan))
    (row,) = (await operator.ask(m.Query(id=0, what="plan"))).plan
    assert (row.substation_id, row.starts_ms, row.target_w) == (node_id, list(starts_ms), [9_000, 11_000])
    assert (row.made_ms, row.until_ms, row.limit_w) == (now_ms, now_ms + plan.life_ms, 22_000)
    site.clock.advance(1)
    assert (await operator.ask(m.Query(id=0, what="plan"))).plan == []


steps = st.lists(st.sampled_from((*NAMES, "s-1", "s-2", "look")), max_size=40)


@given(steps)
def test_never_missed_and_never_told_twice(steps: list[str]) -> None:
    counted = Changes("run", lambda: NAMES, lambda: ())
    changed: set[tuple[str, bool]] = set()
    seen = 0
    for step in [*steps, "look"]:
        if step == "look":
            found = counted.since(seen)
            assert {(one.key, one.meter) for one in found} == changed and len(found) == len(changed)
            assert [one.number for one in found] == sorted(one.number for one in found)
            seen, changed = counted.upto, set()
        elif step in NAMES:
            counted.mark(step)
            changed.add((step, False))
        else:
            counted.metered(step)
            changed.add((step, True))
