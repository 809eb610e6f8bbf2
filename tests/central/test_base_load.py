"""What else draws at a site, on the wire: remembered over restarts, never absurd, forgotten if an operator says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evcharge.central.sensors import STALE_S
from evcharge.central.surroundings import log
from evcharge.domain import events as e
from evcharge.domain.meters import ABSURD
from evcharge.domain.words import Health
from evcharge.ids import NodeId
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import Site, canonical, turns
from tests.support.wire_peers import WirePeer

SITE = NodeId("site")
# A raise waits for calm (energy.md, L1).
RAISE_DWELL_S = 60.0


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """22 kW."""
    async with Site(tmp_path) as site:
        yield site


def base(value: float, **more: object) -> m.SensorReading:
    return m.SensorReading(id=1, name="base_w", value=value, **more)  # type: ignore[arg-type]  # a test's own mixture


def unwatch(what: str, substation_id: str = SITE) -> m.Unwatch:
    return m.Unwatch(id=2, substation_id=substation_id, what=what)  # type: ignore[arg-type]  # one of the two


async def share(site: Site) -> None:
    """Power is shared anew, as it is every few seconds."""
    site.central._reallocate(SITE)
    await turns()


@pytest.mark.parametrize("killed", [True, False])
async def test_a_restart_while_the_meter_is_down_gives_nothing_away(site: Site, killed: bool) -> None:
    operator = await site.operator()
    await operator.ask(base(15_000.0))
    await site.line(e.BaseLoadRose)
    await operator.leave()
    await site.restart(killed=killed)
    assert site.state.nodes[SITE].metered_w == 15_750
    engine, driver = await site.engine(), await site.driver()
    order = await engine.start(await site.charge(driver))
    assert order.limit_w <= 22_000 - 15_000
    issued = site.logged(e.SetPointIssued)[-1]
    assert issued.basis is not None
    assert [one.name for one in issued.basis.inputs] == ["silent base load of site"]


async def test_silence_counts_as_what_was_shown_at_most(site: Site) -> None:
    engine, _, session_id = await site.charging()
    operator = await site.operator()
    for value in (12_000.0, 15_000.0, 14_000.0):
        await operator.ask(base(value))
    engine.done(await engine.next(m.SetLimit, lambda order: order.limit_w < 11_000))
    await site.beat(STALE_S + 0.1, engine, operator)
    await share(site)
    newest = site.session(session_id).lease.newest
    assert newest is not None
    assert newest.limit_w == 6_210, "whole amperes of what is left beside 15.75 kW"


async def test_a_reading_a_second_is_no_history(site: Site) -> None:
    operator = await site.operator()
    for value in range(10_000, 10_500):
        operator.send(m.SensorReading(name="base_w", value=float(value)))
    await operator.heard()
    assert site.state.nodes[SITE].metered_w == 10_500
    assert len(site.logged(e.BaseLoadRose)) == 1


async def test_the_worse_it_is_the_less_may_charge_but_nonsense_is_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "warning", lambda event, **_: said.append(event), raising=False)
    engine, _, session_id = await site.charging()
    operator = await site.operator()
    await operator.ask(base(2_000.0))
    for value in (1e9, ABSURD * 22_000 + 1.0, float("inf")):
        with pytest.raises(RequestRefused) as no:
            await operator.ask(base(value))
        assert no.value.reason == "reading_out_of_range"
        assert "base_w of site, where 0 to 44 kW are believed, cannot be true" in no.value.sentence
        await share(site)
        newest = site.session(session_id).lease.newest
        assert newest is not None
        assert newest.limit_w == 0, "while it says so nobody charges"
    engine.done(await engine.next(m.SetLimit, lambda order: order.limit_w == 0))
    assert said == ["reading.absurd"], "once, until it makes sense again"
    await operator.ask(base(2_000.0))
    operator.send(m.SensorReading(name="base_w", value=1e9))
    await operator.heard()
    assert said == ["reading.absurd"] * 2, "without an id it is said nowhere else"
    with pytest.raises(RequestRefused, match="where 0 to 44 kW are believed"):
        await operator.ask(base(-5.0))
    assert site.central._sensors.believed_w(SITE) is None
    await site.beat(RAISE_DWELL_S + STALE_S + 0.1, engine, operator)
    await share(site)
    assert (await engine.next(m.SetLimit, lambda order: order.limit_w > 0)).limit_w == 11_000
    assert site.state.nodes[SITE].metered_w == 2_230


async def test_a_reading_of_an_hour_ago_is_not_fresh(site: Site) -> None:
    operator = await site.operator()
    await operator.ask(base(15_000.0))
    site.clock.advance(STALE_S + 0.1)
    await operator.ask(base(500.0, at_ms=site.clock.site_ms() - 3_600_000))
    assert site.central._sensors.measured_w() == {}
    engine, driver = await site.engine(), await site.driver()
    assert (await engine.start(await site.charge(driver))).limit_w <= 7_000


async def test_an_operator_forgets_a_meter_that_is_gone(site: Site) -> None:
    operator = await site.operator()
    await operator.ask(base(21_500.0))
    site.clock.advance(STALE_S + 0.1)
    await operator.ask(unwatch("base_w"))
    await site.line(e.BaseLoadForgotten)
    assert site.central._sensors.base_ages_ms() == {}
    engine, driver = await site.engine(), await site.driver()
    assert (await engine.start(await site.charge(driver))).limit_w == 11_000
    assert canonical(site.state_at(10**9)) == canonical(site.state)


async def test_a_meter_that_speaks_is_not_forgotten_but_begins_anew(site: Site) -> None:
    operator = await site.operator()
    await operator.ask(base(20_000.0))
    await operator.ask(base(1_000.0))
    await operator.ask(unwatch("base_w"))
    assert (await site.line(e.BaseLoadForgotten)).most_w == 1_230
    assert site.central._sensors.measured_w() == {SITE: 1_000}
    assert site.state.nodes[SITE].metered_w == 1_230
    assert len(site.logged(e.BaseLoadRose)) == 1, "one record says both: no crash comes in between"


async def test_an_operator_ends_a_watch(site: Site) -> None:
    """One report by hand, and none ever after."""
    operator = await site.operator()
    await operator.ask(m.SubstationHealth(id=1, substation_id=SITE, ok=True, load_w=5))
    await operator.ask(unwatch("health"))
    await site.beat(30.0, operator)
    assert site.state.nodes[SITE].health is Health.UP
    assert not site.logged(e.NodeLost)
    row = (await operator.ask(m.Query(id=3, what="substations"))).substations[0]
    assert row.measured_w is None
    await operator.ask(m.SubstationHealth(id=1, substation_id=SITE, ok=True))
    await site.beat(9.0, operator)
    await operator.ask(m.SubstationHealth(id=1, substation_id=SITE, ok=True))
    await site.beat(9.0, operator)
    assert site.state.nodes[SITE].health is Health.UP, "the watch of before counts for nothing"
    await site.beat(1.1, operator)
    assert (await site.line(e.NodeLost)).silent


async def test_an_operator_ends_a_loss_by_silence_after_a_restart_too(site: Site) -> None:
    operator = await site.operator()
    await operator.ask(m.SubstationHealth(id=1, substation_id=SITE, ok=True))
    await site.beat(10.1, operator)
    await site.line(e.NodeLost)
    await operator.leave()
    await site.restart()
    assert site.state.nodes[SITE].health is Health.LOST
    operator = await site.operator()
    await operator.ask(unwatch("health"))
    await site.line(e.NodeUnwatched)
    assert site.state.nodes[SITE].health is Health.PROBING
    await site.beat(30.0, operator)
    await operator.leave()
    await site.restart()
    assert site.state.nodes[SITE].health is not Health.LOST
    assert not site.state.nodes[SITE].watched


@pytest.mark.parametrize("what", ["health", "base_w"])
async def test_nothing_is_awaited_from_a_node_that_there_is_not(site: Site, what: str) -> None:
    operator: WirePeer = await site.operator()
    with pytest.raises(RequestRefused) as no:
        await operator.ask(unwatch(what, "nowhere"))
    assert no.value.reason == "unknown_substation"
