"""A substation is lost on the wire: set-points at once, another feed, one at a time on trial, silence, restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evcharge.central import allocation
from evcharge.domain import events as e
from evcharge.domain import failover
from evcharge.domain.words import Health
from evcharge.ids import NodeId
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import Site, turns, until
from tests.support.wire_peers import WirePeer

NORTH, SOUTH = NodeId("north"), NodeId("south")
SITE = """
[substations.north]
capacity_kw = 30
backup = ["south"]
charge_points = ["CP-1", "CP-3"]

[substations.south]
capacity_kw = 15
charge_points = ["CP-2"]
"""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    async with Site(tmp_path, site_file=path) as site:
        yield site


def health(ok: bool, substation_id: str = NORTH, **more: object) -> m.SubstationHealth:
    return m.SubstationHealth(id=1, substation_id=substation_id, ok=ok, **more)  # type: ignore[arg-type]


async def substations(peer: WirePeer) -> dict[str, m.SubstationView]:
    reply = await peer.ask(m.Query(id=2, what="substations"))
    return {row.substation_id: row for row in reply.substations}


async def test_set_points_of_a_loss_wait_for_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gathers changes, nobody looks regularly, and still both hear of it; the clock stands still."""
    first, _, _ = await site.charging("CP-1", "anna")
    second, _, _ = await site.charging("CP-2", "ben")
    operator = await site.operator()
    await turns()
    monkeypatch.setattr(allocation, "GATHER_S", 1e6)
    monkeypatch.setattr(allocation, "REGULAR_S", 1e6)
    first.inbox.clear()
    second.inbox.clear()
    before_ms = site.clock.site_ms()
    await operator.ask(health(ok=False, detail="breaker open"))
    lower = await first.next(m.SetLimit)
    assert lower.reason == "substation_lost"
    assert 0 < lower.limit_w <= 1_404, "the smallest current"
    assert (await second.next(m.SetLimit)).limit_w < 11_000, "room for it"
    assert site.clock.site_ms() == before_ms
    assert (await site.line(e.NodeLost)).cause == "breaker open"


async def test_another_feed_and_nobody_is_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # A minute in which both feeds count is a matter of tests/domain; here no charge point answers renewals.
    monkeypatch.setattr(failover, "SWITCH_MS", 0)
    first, _, session_id = await site.charging("CP-1", "anna")
    second, _, _ = await site.charging("CP-2", "ben")
    operator = await site.operator()
    await operator.ask(health(ok=False))
    for engine in (first, second):
        engine.done(await engine.next(m.SetLimit, lambda order: order.limit_w < 10_000))
    moved = await site.line(e.ChargePointMoved, cp_id="CP-1")
    assert (moved.from_id, moved.to_id, moved.cause) == (NORTH, SOUTH, "north is lost")
    first.done(await first.next(m.SetLimit, lambda order: order.limit_w > 1_404))
    await site.line(e.MoveCompleted, cp_id="CP-1")
    rows = await substations(operator)
    assert (rows[NORTH].health, rows[NORTH].sessions, rows[NORTH].home_sessions) == ("LOST", 0, 1)
    assert (rows[SOUTH].health, rows[SOUTH].sessions, rows[SOUTH].home_sessions) == ("UP", 2, 1)
    assert rows[SOUTH].worst_case_w <= 15_000
    listed = await operator.ask(m.List(id=3))
    assert {row.cp_id: row.substation_id for row in listed.charge_points} == {"CP-1": SOUTH, "CP-2": SOUTH}
    await first.end(session_id, meter_wh=5_000)
    assert (await site.line(e.TicketIssued)).ticket.energy_wh == 4_000


async def test_silence_is_a_loss_for_those_that_reported(site: Site) -> None:
    operator = await site.operator()
    await operator.ask(health(ok=True, load_w=12_000))
    site.clock.advance(4.0)
    row = (await substations(operator))[NORTH]
    assert (row.measured_w, row.measured_age_ms) == (12_000, 4_000)
    await site.beat(5.9, operator)
    assert site.state.nodes[NORTH].health is Health.UP
    await site.beat(0.2, operator)
    assert (await site.line(e.NodeLost)).cause == "silent for 10.1 s"
    assert site.state.nodes[SOUTH].health is Health.UP, "it never said anything"
    await operator.ask(health(ok=True))
    assert site.state.nodes[NORTH].health is Health.PROBING
    await site.beat(10.1, operator)
    await until(lambda: len(site.logged(e.NodeLost)) == 2)


async def test_after_a_restart_silence_is_no_loss_until_there_was_a_report(site: Site) -> None:
    """Its gateway may have been taken away for good; what was lost before is so still."""
    operator = await site.operator()
    await operator.ask(health(ok=True))
    await operator.ask(health(ok=False, substation_id=SOUTH))
    await operator.leave()
    await site.restart()
    site.clock.advance(60.0)
    await turns()
    assert [node.health for node in site.state.nodes.values()] == [Health.UP, Health.LOST]
    operator = await site.operator()
    await operator.ask(health(ok=True))
    await site.beat(10.1, operator)
    await until(lambda: site.state.nodes[NORTH].health is Health.LOST)


async def test_any_charge_point(site: Site) -> None:
    """The substation that is used least, one that was named, and when to come back when there is none."""
    for cp_id in ("CP-1", "CP-2", "CP-3"):
        await site.engine(cp_id, plugged=False)
    driver, operator = await site.driver(), await site.operator()

    async def sent(**wish: object) -> str:
        reply = await driver.ask(m.ChargeRequest(id=4, cp_id="*", **wish))  # type: ignore[arg-type]
        assert reply.session is not None
        return str(reply.session.cp_id)

    assert await sent(power_w=11_000) == "CP-1"
    assert await sent(substation_id=SOUTH) == "CP-2"
    await operator.ask(health(ok=False, substation_id=SOUTH))
    await operator.ask(m.SetCapacity(id=5, substation_id=NORTH, capacity_w=2_000))
    with pytest.raises(RequestRefused) as no:
        await sent()
    assert no.value.reason == "no_capacity"
    said = "No substation can serve one more vehicle now; try again in 60 s. Now north has 2 kW, 1.38 kW of it taken; "
    assert no.value.sentence.startswith(said)


async def test_a_substation_that_there_is_not(site: Site) -> None:
    operator = await site.operator()
    with pytest.raises(RequestRefused) as no:
        await operator.ask(health(ok=True, substation_id="nowhere"))
    assert no.value.reason == "unknown_substation"
