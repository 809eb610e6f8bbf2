"""An operator limits a charge point over the real wire: set-points fall, everybody is told why, and it holds."""

from __future__ import annotations

import pytest

from evcharge.central.notices import limited_charge_points
from evcharge.domain import events as e
from evcharge.domain.words import SessionStatus
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.central.test_restart import back
from tests.support.central import Site, WirePeer


async def limit_of(peer: WirePeer) -> int | None:
    """What the table of charge points shows of its only row."""
    (row,) = (await peer.ask(m.Query(id=0, what="charge_points"))).charge_points
    return row.limit_w


async def test_what_charges_falls_and_its_driver_reads_why(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    operator = await site.operator()
    assert await limit_of(operator) is None
    await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1", limit_w=7_000))
    assert await limit_of(operator) == 7_000
    lower = await engine.next(m.SetLimit)
    assert (lower.limit_w, lower.fallback_w, lower.reason) == (7_000, 1_380, "operator")
    assert (await driver.next(m.Update, lambda news: news.limit_w == 7_000)).reason == "operator"
    why = (await driver.ask(m.Why(id=0, session_id=session_id))).why
    assert (why.reason, why.constraint, why.node, why.node_limit_w) == ("operator", "operator", "CP-1", 7_000)
    assert why.sentence.startswith("an operator limits CP-1 to 7 kW")
    engine.done(lower)
    await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1"))
    assert await limit_of(operator) is None
    raised = await engine.next(m.SetLimit)
    assert (raised.limit_w, raised.reason) == (11_000, "connector_rating"), "at once, not after a minute of calm"


async def test_the_same_limit_again_is_answered_and_leaves_no_record(site: Site) -> None:
    await site.engine()
    operator = await site.operator()
    for limit_w in (7_000, 7_000, None, None):
        await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1", limit_w=limit_w))
    assert [event.limit_w for event in site.logged(e.ChargePointLimited)] == [7_000, None]
    with pytest.raises(RequestRefused) as no:
        await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-9", limit_w=7_000))
    assert no.value.reason == "unknown_charge_point"


async def test_one_below_the_smallest_current_pauses_and_refuses(site: Site) -> None:
    engine, driver, operator = await site.engine(connectors=2), await site.driver(), await site.operator()
    session_id = await site.charge(driver, connector=1)
    await engine.start(session_id)
    await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1", limit_w=1_000))
    paused = await engine.next(m.SetLimit)
    assert (paused.limit_w, paused.fallback_w, paused.reason) == (0, 0, "operator")
    engine.done(paused)
    why = (await driver.ask(m.Why(id=0, session_id=session_id))).why
    assert "an operator limits CP-1 to 1 kW, and the smallest current is 1.38 kW" in why.sentence
    ben = await site.driver("ben")
    with pytest.raises(RequestRefused) as no:
        await site.charge(ben, connector=2)
    assert no.value.reason == "limited"
    assert "CP-1/2 is limited by the operator to 1 kW, and the least it charges with is 1.38 kW" in no.value.sentence
    waits = (await ben.ask(m.ChargeRequest(id=0, cp_id="CP-1", connector=2, wait=True))).waiting
    assert (waits.state, waits.reason, waits.eta_ms) == ("WAITING", "limited", None)
    await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1", limit_w=2_000))
    assert (await engine.next(m.SetLimit)).limit_w == 2_000
    assert (await ben.next(m.Waiting, lambda news: news.state == "OFFERED")).cp_id == "CP-1"


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_it_holds_over_a_restart(killed: bool, site: Site) -> None:
    engine, driver, session_id = await site.charging()
    operator = await site.operator()
    await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1", limit_w=7_000))
    engine.done(await engine.next(m.SetLimit))
    assert [*limited_charge_points(site.state)] == [
        "An operator limits the connectors of CP-1 (7 kW); limit_charge_point without a limit lifts it."
    ]
    await site.restart(killed=killed)
    assert site.cp().limit_w == 7_000
    await back(site, engine, driver, operator)
    await engine.boot()
    assert (await engine.next(m.SetLimit)).limit_w == 7_000
    assert site.session(session_id).status is SessionStatus.SUPPLYING
    why = (await driver.ask(m.Why(id=0, session_id=session_id))).why
    assert why.reason == "operator"
    await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1"))
    assert (await engine.next(m.SetLimit, lambda order: order.limit_w == 11_000)).reason == "connector_rating"
