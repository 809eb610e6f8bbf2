"""Alerts of the weather and the heat, on the wire: from a gateway's message to what engines and drivers are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from evcharge.central import heat
from evcharge.domain import events as e
from evcharge.domain.state import Alert, Derated
from evcharge.domain.words import Hold, SessionStatus, Shown, WeatherKind
from evcharge.energy.rules import Fault
from evcharge.ids import NodeId
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import Site, canonical, until

SITE = "[substations.north]\ncapacity_kw = 22\n"


def alert(kind: str = "cold", *, active: bool = True, **more: object) -> m.WeatherAlert:
    return m.WeatherAlert(id=1, kind=kind, active=active, **more)  # type: ignore[arg-type]  # a test's own mixture


def temperature(degrees: float, **more: object) -> m.SensorReading:
    return m.SensorReading(id=2, name="temperature_c", value=degrees, **more)  # type: ignore[arg-type]  # the same


def by_file(tmp_path: Path, text: str) -> Site:
    path = tmp_path / "site.toml"
    path.write_text(SITE + text)
    return Site(tmp_path, site_file=path)


@pytest.fixture
async def hot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """22 kW, from 40 °C on less; the thermometer is looked at all the time."""
    monkeypatch.setattr(heat, "EVERY_S", 0.002)
    async with by_file(tmp_path, "[derating]\n") as site:
        yield site


# --- alerts -----------------------------------------------------------------------------------------------------------


async def test_an_alert_closes_the_site_until_it_is_over(site: Site) -> None:
    await site.engine(plugged=False)
    operator, driver = await site.operator(), await site.driver()
    told = alert(temperature_c=-3.25, detail="Munich", simulated=True)
    with capture_logs() as lines:
        assert await operator.ask(told) == m.Reply(re=told.id)
    assert site.shown() is Shown.OUT_OF_ORDER
    event = await site.line(e.WeatherAlerted)
    assert event == e.WeatherAlerted(kind=WeatherKind.COLD, milli_c=-3_250, detail="Munich", simulated=True)
    (line,) = (line for line in lines if line["event"] == "weather.alert")
    assert line["sentence"] == "the weather closes the site: cold, -3.2 °C, Munich (simulated)."
    with pytest.raises(RequestRefused) as no:
        await site.charge(driver)
    assert no.value.reason == "weather"
    assert "cold, -3.2 °C, Munich (simulated)" in no.value.sentence
    (row,) = (await operator.ask(m.Query(id=3, what="charge_points"))).charge_points or []
    assert (row.state, row.holds) == ("OUT_OF_ORDER", ["WEATHER"])
    await operator.ask(alert(active=False))
    assert site.shown() is Shown.ACTIVATED
    assert await site.charge(driver)


async def test_a_refresh_is_answered_and_not_logged(site: Site) -> None:
    await site.engine(plugged=False)
    operator = await site.operator()
    for _ in range(20):
        await operator.ask(alert("storm", cp_id="CP-1"))
    for _ in range(20):
        await operator.ask(alert("wind", active=False, cp_id="CP-1"))
    assert len(site.logged(e.WeatherAlerted)) == 1 and not site.logged(e.WeatherCleared)


@pytest.mark.parametrize(
    ("scope", "reason"),
    [({"cp_id": "CP-9"}, "unknown_charge_point"), ({"substation_id": "moon"}, "unknown_substation")],
)
async def test_a_scope_that_there_is_not(site: Site, scope: dict[str, str], reason: str) -> None:
    operator = await site.operator()
    with pytest.raises(RequestRefused) as no:
        await operator.ask(alert(**scope))
    assert no.value.reason == reason


@pytest.mark.parametrize("killed", [True, False])
async def test_an_alert_outlives_a_restart(site: Site, killed: bool) -> None:
    await site.engine(plugged=False)
    operator = await site.operator()
    await operator.ask(alert("heat", substation_id="site", temperature_c=41.0))
    before = site.state.alerts
    await operator.leave()
    await site.restart(killed=killed)
    assert site.state.alerts == before
    assert list(before.values()) == [
        Alert(
            kind=WeatherKind.HEAT, node_id=NodeId("site"), since_ms=before["heat below site"].since_ms, milli_c=41_000
        )
    ]
    engine = await site.engine("CP-2", plugged=False)
    assert engine and site.cp("CP-2").holds == {Hold.WEATHER}, "who comes later is covered too"
    operator = await site.operator()
    await operator.ask(alert("heat", active=False, substation_id="site"))
    assert site.cp("CP-1").holds == site.cp("CP-2").holds == set()
    assert canonical(site.state_at(10**9)) == canonical(site.state)


async def test_a_session_goes_on_and_none_begins(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    operator = await site.operator()
    await operator.ask(alert())
    assert site.shown() is Shown.SUPPLYING
    ended = m.SupplyEnded(session_id=session_id, meter_wh=3_000, reason="unplugged")
    engine.send(m.Outbox(n=site.cp().next_n, payload=ended))
    ticket = await driver.next(m.Ticket)
    assert ticket.status == "COMPLETED"
    assert site.shown() is Shown.OUT_OF_ORDER


async def test_a_site_that_has_it_so_stops_at_once(tmp_path: Path) -> None:
    async with by_file(tmp_path, "[weather]\nstop_now = true\n") as site:
        engine, driver, session_id = await site.charging()
        operator = await site.operator()
        await operator.ask(alert("storm"))
        order = await engine.next(m.StopSupply)
        assert (order.session_id, order.reason) == (session_id, "weather")
        ended = m.SupplyEnded(session_id=session_id, meter_wh=3_000, reason=order.reason)
        engine.send(m.Outbox(n=site.cp().next_n, payload=ended))
        ticket = await driver.next(m.Ticket)
        assert (ticket.status, ticket.reason) == (SessionStatus.INTERRUPTED.value, "weather")


async def test_who_waits_is_served_when_it_is_over(site: Site) -> None:
    engine, _, session_id = await site.charging()
    ben, operator = await site.driver("ben"), await site.operator()
    await ben.ask(m.ChargeRequest(id=5, cp_id="CP-1", wait=True))
    await operator.ask(alert())
    ended = m.SupplyEnded(session_id=session_id, meter_wh=3_000, reason="unplugged")
    engine.send(m.Outbox(n=site.cp().next_n, payload=ended))
    engine.send(m.Unplugged(connector=1))
    await engine.heard()
    (place,) = (await ben.ask(m.Queue(id=6))).queue or []
    assert (place.state, place.reason, place.eta_ms) == ("WAITING", "weather", None)
    await operator.ask(alert(active=False))
    assert await ben.next(m.Waiting, lambda news: news.state == "OFFERED")


# --- heat -------------------------------------------------------------------------------------------------------------


async def test_while_nobody_says_how_hot_it_is_half_of_the_limit_holds(hot: Site) -> None:
    assert hot.state.derated == Derated(500, fault=Fault.MISSING)
    engine, driver = await hot.engine(max_w=22_000), await hot.driver()
    order = await engine.start(await hot.charge(driver))
    assert order.limit_w <= 11_000
    operator = await hot.operator()
    await operator.ask(temperature(20.0))
    await until(lambda: hot.state.derated is not None and hot.state.derated.share == 1_000)


async def test_the_hotter_it_is_the_less_there_is_and_why_says_so(hot: Site) -> None:
    operator, driver = await hot.operator(), await hot.driver()
    await operator.ask(temperature(25.0))
    await hot.line(e.DeratingChanged, derated=Derated(1_000, 25_000, hot.clock.site_ms()))
    engine = await hot.engine(max_w=22_000)
    order = await engine.start(await hot.charge(driver))
    assert order.limit_w > 20_000
    await operator.ask(temperature(50.0))
    fell = await engine.next(m.SetLimit, lambda one: one.limit_w < 20_000)
    engine.done(fell)
    assert fell.limit_w <= 16_500
    said = (await driver.ask(m.Why(id=9))).why
    assert said is not None and said.node == "north"
    assert (said.node_limit_w, said.node_rated_w) == (16_500, 22_000)
    assert "16.5 kW in the heat (derated from 22 kW)" in said.sentence
    assert "temperature" in [one.name for one in said.inputs]
    (row,) = (await operator.ask(m.Query(id=4, what="substations"))).substations or []
    assert (row.capacity_w, row.limit_w) == (22_000, 16_500)


async def test_a_reading_that_cannot_be_true_changes_nothing(hot: Site) -> None:
    operator = await hot.operator()
    await operator.ask(temperature(45.0))
    await until(lambda: hot.state.derated is not None and hot.state.derated.share == 875)
    for degrees in (-60.1, 70.1, float("inf")):
        with pytest.raises(RequestRefused) as no:
            await operator.ask(temperature(degrees))
        assert no.value.reason == "reading_out_of_range"
    assert hot.central._sensors.newest("temperature_c", None) == 45.0


async def test_a_restart_keeps_what_the_log_has_until_a_source_is_back(hot: Site) -> None:
    operator = await hot.operator()
    await operator.ask(temperature(45.0))
    await hot.line(e.DeratingChanged, derated=Derated(875, 45_000, hot.clock.site_ms()))
    await operator.leave()
    await hot.restart(killed=True)
    assert hot.state.derated is not None and hot.state.derated.share == 875
    records = len(hot.logged(e.DeratingChanged))
    hot.clock.advance(heat.STALE_TEMPERATURE_S - 1)
    await hot.operator()
    assert len(hot.logged(e.DeratingChanged)) == records
    hot.clock.advance(2)
    await hot.line(e.DeratingChanged, derated=Derated(500, fault=Fault.MISSING))


async def test_without_a_table_heat_changes_nothing(site: Site) -> None:
    operator = await site.operator()
    await operator.ask(temperature(69.0))
    engine = await site.engine(max_w=22_000)
    order = await engine.start(await site.charge(await site.driver()))
    assert order.limit_w > 20_000 and site.state.derated is None
