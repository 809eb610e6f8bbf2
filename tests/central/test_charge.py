"""Charges over the real wire, from the request to the ticket, and what comes between."""

from __future__ import annotations

import pytest

from evcharge.domain import events as e
from evcharge.domain.words import Hold, LinkState, SessionStatus, Shown
from evcharge.energy.allocate import CALM_MS
from evcharge.ids import ConnectorNo, NodeId
from evcharge.net.client import RequestRefused
from protocol import messages as m
from protocol.credentials import Role
from tests.support.central import Site, turns, until


async def test_a_whole_charge(site: Site) -> None:
    engine, driver = await site.engine(), await site.driver()
    assert site.shown() is Shown.ACTIVATED
    reply = await driver.ask(m.ChargeRequest(id=0, cp_id="CP-1", energy_wh=5_000))
    session_id = reply.session_id
    assert (reply.session.state, reply.session.driver_id) == ("AUTHORIZED", "anna")
    start = await engine.start(session_id, meter_wh=70_000)
    assert (start.limit_w, start.reason) == (11_000, "connector_rating")
    assert site.shown() is Shown.SUPPLYING
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=72_000, power_w=11_000, soc=40))
    update = await driver.next(m.Update, lambda news: news.power_w > 0)
    assert (update.state, update.energy_wh, update.power_w, update.amount_minor) == ("SUPPLYING", 2_000, 11_000, 60)
    await engine.end(session_id, meter_wh=75_000)
    ticket = await driver.next(m.Ticket)
    assert (ticket.energy_wh, ticket.amount_minor, ticket.status) == (5_000, 150, "COMPLETED")
    driver.send(m.TicketReceived(ticket_id=ticket.ticket_id))
    await driver.heard()
    assert site.state.sessions == {}
    assert site.shown() is Shown.ACTIVATED
    (line,) = site.lines(e.ChargeAuthorized)
    assert (line.stamp.actor, line.stamp.source) == ("driver:anna", "127.0.0.1")
    site.history.check()


async def test_the_vehicle_may_come_before_or_after_the_request(site: Site) -> None:
    engine, driver = await site.engine(connectors=2), await site.driver()
    early = await site.charge(driver)
    assert site.session(early).connector == 1, "the connector with the vehicle is preferred"
    late = await site.charge(driver)
    await engine.start(early)
    await engine.next(m.Authorize, lambda order: order.session_id == late)
    await engine.heard()
    assert not engine.got(m.StartSupply)
    engine.send(m.Plugged(connector=2))
    assert (await engine.next(m.StartSupply)).session_id == late
    engine.send(m.Unplugged(connector=2))
    await engine.heard()
    assert not site.cp().connectors[ConnectorNo(2)].occupied


async def test_pause_and_resume_reach_the_driver(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    await engine.report(m.SupplyPaused(session_id=session_id, meter_wh=1_100))
    assert (await driver.next(m.Update, lambda news: news.state == "PAUSED")).energy_wh == 100
    await engine.report(m.SupplyResumed(session_id=session_id))
    await driver.next(m.Update, lambda news: news.state == "SUPPLYING")


async def test_a_driver_ends_its_own_session_and_gets_one_answer(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    ended = await driver.ask(m.EndCharge(id=0, session_id=session_id))
    assert (ended.session_id, ended.session.reason) == (session_id, "driver_ended")
    again = await driver.ask(m.EndCharge(id=0, session_id=session_id))
    assert again.session_id == session_id, "asking twice is no error"
    stop = await engine.next(m.StopSupply)
    assert stop.reason == "driver_ended"
    engine.done(stop)
    await engine.end(session_id, meter_wh=1_500, reason="driver_ended")
    ticket = await driver.next(m.Ticket)
    assert (ticket.status, ticket.energy_wh) == ("COMPLETED", 500)
    assert len(site.logged(e.StopOrdered)) == 1


async def test_ending_before_the_start_leaves_no_ticket(site: Site) -> None:
    engine, driver = await site.engine(plugged=False), await site.driver()
    session_id = await site.charge(driver)
    ended = await driver.ask(m.EndCharge(id=0, session_id=session_id))
    assert ended.session.state == "EXPIRED"
    await engine.next(m.StopSupply)
    assert site.state.sessions == {}
    assert not driver.got(m.Ticket)


async def test_a_driver_sees_and_ends_only_its_own_sessions(site: Site) -> None:
    _, anna, session_id = await site.charging()
    ben = await site.driver("ben")
    with pytest.raises(RequestRefused) as no:
        await ben.ask(m.EndCharge(id=0, session_id=session_id))
    assert no.value.reason == "not_your_session"
    ((row,),) = (point.connectors for point in (await ben.ask(m.List(id=0))).charge_points)
    assert (row.driver, row.state) == ("a*", "SUPPLYING")
    assert (row.session_id, row.limit_w, row.energy_wh, row.power_w, row.reason) == (None, None, 0, 0, None)
    ((row,),) = (point.connectors for point in (await anna.ask(m.List(id=0))).charge_points)
    assert (row.driver, row.session_id, row.limit_w) == ("anna", session_id, 11_000)
    assert not ben.got(m.Update)
    assert (await ben.ask(m.Tickets(id=0))).tickets == []
    ben.send(m.TicketReceived(ticket_id=f"t-{session_id}"))
    await ben.heard()
    assert not site.logged(e.TicketDelivered)


async def test_an_operator_stops_and_resumes_a_charge_point(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    operator = await site.operator()
    stopped = await operator.ask(m.Stop(id=0, cp_id="CP-1"))
    assert stopped.session_id is None, "the answer is for whoever asked, the session is the driver's"
    stop = await engine.next(m.StopSupply)
    assert stop.reason == "stopped"
    assert site.cp().holds == {Hold.ADMIN}
    await engine.end(session_id, meter_wh=2_000, reason="stopped")
    assert (await driver.next(m.Ticket)).status == "INTERRUPTED"
    assert site.shown() is Shown.STOPPED
    await operator.ask(m.Resume(id=0, cp_id="CP-1"))
    assert site.shown() is Shown.ACTIVATED
    await site.charge(driver)


async def test_an_operator_stops_all_at_once_and_each_order_has_its_own_number(site: Site) -> None:
    engines = [await site.engine(f"CP-{i}") for i in (1, 2)]
    driver, operator = await site.driver(), await site.operator()
    sessions = [await site.charge(driver, f"CP-{i}") for i in (1, 2)]
    for engine, session_id in zip(engines, sessions, strict=True):
        await engine.start(session_id)
    await operator.ask(m.Stop(id=0))
    orders = [await engine.next(m.StopSupply) for engine in engines]
    assert [order.session_id for order in orders] == sessions
    assert len({order.command_id for order in orders}) == 2
    await operator.ask(m.Resume(id=0))
    assert not any(cp.holds for cp in site.state.charge_points.values())


async def test_a_smaller_capacity_lowers_the_limit_at_once_and_a_larger_one_raises_it(site: Site) -> None:
    engine, driver, _ = await site.charging()
    operator = await site.operator()
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=5_000))
    lower = await engine.next(m.SetLimit)
    assert (lower.limit_w, lower.reason) == (4_830, "shared"), "21 whole amperes"
    assert (await driver.next(m.Update, lambda news: news.limit_w == 4_830)).reason == "shared"
    engine.done(lower)
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=1_000))
    paused = await engine.next(m.SetLimit)
    assert (paused.limit_w, paused.reason) == (0, "no_capacity")
    engine.done(paused)
    site.clock.advance_site(CALM_MS / 1000)
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=22_000))
    assert (await engine.next(m.SetLimit)).limit_w == 11_000


async def test_power_is_given_only_when_it_is_free(site: Site) -> None:
    """The second vehicle starts after the first one has acknowledged its smaller share."""
    first, second = [await site.engine(cp_id, max_w=22_000) for cp_id in ("CP-1", "CP-2")]
    driver = await site.driver()
    assert (await first.start(await site.charge(driver, "CP-1"))).limit_w == 22_000
    session_id = await site.charge(driver, "CP-2")
    lower = await first.next(m.SetLimit)
    assert lower.limit_w == 10_810
    await second.heard()
    await turns()
    assert not second.got(m.StartSupply)
    first.done(lower)
    assert (await second.start(session_id)).limit_w == 11_040


async def test_a_start_that_came_too_late_is_sent_again(site: Site) -> None:
    engine, driver = await site.engine(), await site.driver()
    await site.charge(driver)
    late = await engine.next(m.StartSupply)
    assert late.valid_until_ms == site.central._engine.clock_ms() + 10_000
    engine.done(late, "expired")
    again = await engine.next(m.StartSupply)
    assert again.command_id > late.command_id


async def test_a_start_that_is_never_answered_is_sent_again(renewing: None, site: Site) -> None:
    engine, driver = await site.engine(), await site.driver()
    await site.charge(driver)
    first = await engine.next(m.StartSupply)
    await site.beat(9.9, engine)
    assert not engine.got(m.StartSupply)
    await site.beat(0.2, engine)
    second = await engine.next(m.StartSupply)
    assert second.valid_until_ms > first.valid_until_ms


async def test_leases_are_renewed_even_while_another_substation_is_busy(renewing: None, site: Site) -> None:
    (site.directory / "site.toml").write_text(
        '[substations.north]\ncapacity_kw = 22\ncharge_points = ["CP-1"]\n'
        '[substations.south]\ncapacity_kw = 22\ncharge_points = ["CP-2"]\n'
    )
    site._settings["site_file"] = site.directory / "site.toml"
    await site.restart()
    engine, _, _ = await site.charging("CP-1")
    busy = True

    def keep_busy() -> None:
        if busy:
            site.central._allocation.dirty(NodeId("south"))
            site.central._loop.call_soon(keep_busy)

    keep_busy()
    await site.beat(16.0, engine)
    renewed = await engine.next(m.SetLimit)
    busy = False
    assert renewed.expires_ms > site.central._engine.clock_ms()


async def test_an_authorization_without_a_vehicle_expires_by_its_deadline(site: Site) -> None:
    engine, driver = await site.engine(plugged=False), await site.driver()
    session_id = await site.charge(driver)
    site.clock.advance_site(59.9)
    await turns()
    assert session_id in site.state.sessions
    site.clock.advance_site(0.2)
    news = await driver.next(m.Update)
    assert (news.state, news.reason) == ("EXPIRED", "expired")
    assert (await engine.next(m.StopSupply)).session_id == session_id
    assert site.state.sessions == {}
    assert site.state.totals.expired == 1
    await site.charge(driver)


async def test_unplugging_ends_the_session(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    engine.send(m.Unplugged(connector=1))
    await engine.end(session_id, meter_wh=1_234, reason="unplugged")
    ticket = await driver.next(m.Ticket)
    assert (ticket.status, ticket.reason, ticket.energy_wh) == ("COMPLETED", "unplugged", 234)


async def test_a_silent_engine_is_lost_and_its_session_is_offline_until_it_is_back(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    monitor = await site.monitor()
    await site.beat(4.9, monitor, driver)
    assert site.cp().engine.state is LinkState.UP
    await site.beat(0.2, monitor, driver)
    assert "TIMEOUT" in await engine.down()
    assert (await driver.next(m.Update, lambda news: news.state == "OFFLINE")).session_id == session_id
    gone = await site.line(e.PeerDisconnected, entity="CP-1")
    assert gone.cause.startswith("silent for 5.")
    await engine.up(2)
    assert site.session(session_id).status is SessionStatus.OFFLINE, "until it has booted"
    await engine.boot()
    assert site.session(session_id).status is SessionStatus.SUPPLYING
    assert site.shown() is Shown.SUPPLYING
    await driver.next(m.Update, lambda news: news.state == "SUPPLYING")
    assert (await engine.next(m.SetLimit)).session_id == session_id, "the desired state is sent anew"
    await engine.end(session_id, meter_wh=3_000)
    assert (await driver.next(m.Ticket)).energy_wh == 2_000


async def test_an_order_that_was_lost_with_the_channel_is_made_good_at_boot(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    engine.cut()
    await site.line(e.PeerDisconnected, entity="CP-1")
    await engine.up(2)
    engine.inbox.clear()
    await driver.ask(m.EndCharge(id=0, session_id=session_id))
    await engine.boot()
    assert (await engine.next(m.StopSupply)).session_id == session_id


async def test_a_monitor_that_falls_silent_stops_the_session_and_none_starts(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    monitor = await site.monitor()
    await site.beat(5.1, engine, driver)
    await monitor.down()
    stop = await engine.next(m.StopSupply)
    assert stop.reason == "monitor_lost"
    await engine.end(session_id, meter_wh=1_900, reason="monitor_lost")
    ticket = await driver.next(m.Ticket)
    assert (ticket.status, ticket.reason) == ("INTERRUPTED", "monitor_lost")
    gone = await site.line(e.PeerDisconnected, role="monitor")
    assert gone.cause.startswith("silent for 5.")
    await monitor.leave()
    await until(lambda: site.cp().monitor.state is LinkState.LOST)
    assert site.shown() is Shown.DISCONNECTED
    with pytest.raises(RequestRefused) as no:
        await site.charge(driver)
    assert no.value.reason == "disconnected"


async def test_a_fault_stops_at_once_and_recovery_restores(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    monitor = await site.monitor()
    monitor.send(m.Health(engine_ok=False), m.Fault(code="no_answer", detail="3 checks missed"))
    stop = await engine.next(m.StopSupply)
    assert stop.reason == "fault"
    assert site.shown() is Shown.OUT_OF_ORDER
    (hold,) = site.logged(e.HoldPlaced)
    assert hold.detail == "no_answer: 3 checks missed"
    await engine.end(session_id, meter_wh=1_001, reason="fault")
    assert (await driver.next(m.Ticket)).reason == "fault"
    monitor.send(m.Recovery())
    await monitor.heard()
    assert site.shown() is Shown.ACTIVATED


async def test_a_session_whose_engine_stays_away_is_settled_and_adjusted_later(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=1_600, power_w=11_000))
    await engine.heard()
    engine.run.cancel()
    await driver.next(m.Update, lambda news: news.state == "OFFLINE")
    site.clock.advance_site(86_401)
    ticket = await driver.next(m.Ticket)
    assert (ticket.energy_wh, ticket.status, ticket.reason) == (600, "INTERRUPTED", "silent")
    back = site.join(engine.credential, outbox_epoch=7)
    await back.up()
    back.send(m.Outbox(n=1, payload=m.SupplyEnded(session_id=session_id, meter_wh=2_000, reason="vehicle_full")))
    late = await driver.next(m.Ticket)
    assert (late.ticket_id, late.energy_wh, late.adjustments) == (ticket.ticket_id, 600, [400])
    site.history.check()
    assert site.history.energy_wh() == 1_000


async def test_readings_of_a_session_are_forgotten_however_it_ends(site: Site) -> None:
    telemetry = site.central._telemetry
    engine, driver = await site.engine(), await site.driver()
    operator = await site.operator()

    async def another() -> str:
        session_id = await site.charge(driver)
        await engine.start(session_id)
        engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=1_100, power_w=9_000))
        await engine.heard()
        assert set(telemetry._live) == {session_id}
        return session_id

    def none_left() -> bool:
        return not telemetry._live

    await engine.end(await another(), meter_wh=1_200)
    assert none_left(), "its normal end"
    session_id = await another()
    await operator.ask(m.Stop(id=0))
    await engine.end(session_id, meter_wh=1_200, reason="stopped")
    await operator.ask(m.Resume(id=0))
    assert none_left(), "a stop"
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=1_300, power_w=9_000))
    await engine.heard()
    assert none_left(), "an update that comes late"
    await another()
    engine.run.cancel()
    await driver.next(m.Update, lambda news: news.state == "OFFLINE")
    site.clock.advance_site(86_401)
    await driver.next(m.Ticket, lambda ticket: ticket.reason == "silent")
    assert none_left(), "settled without its final meter"
    other, driver, session_id = await site.charging("CP-2", "ben")
    other.send(m.SupplyUpdate(session_id=session_id, meter_wh=1_100, power_w=9_000))
    await other.heard()
    await other.leave()
    newcomer = site.join(other.credential, outbox_epoch=8)
    await newcomer.up()
    ticket = await driver.next(m.Ticket)
    assert ticket.reason == "outbox_lost"
    assert none_left(), "its charge point came back with an empty disk"


async def test_updates_for_another_session_are_ignored_and_told_once(site: Site) -> None:
    _, driver, session_id = await site.charging("CP-1")
    stranger = await site.engine("CP-2")
    for meter_wh in (5_000, 6_000):
        stranger.send(m.SupplyUpdate(session_id=session_id, meter_wh=meter_wh, power_w=1))
    await stranger.heard()
    await driver.heard()
    assert not any(news.energy_wh or news.power_w for news in driver.got(m.Update))
    assert site.central._telemetry.live_of(session_id) is None
    assert site.session(session_id).meter_wh == 1_000


async def test_a_boot_is_answered_with_or_without_an_id(site: Site) -> None:
    engine = site.join(site.credential(Role.CP, "CP-1"))
    await engine.up()
    engine.send(m.Boot(connectors=[m.ConnectorInfo(connector=1, min_w=1_400, max_w=11_000)]))
    ack = await engine.next(m.Ack)
    assert (ack.re, ack.n, ack.time_ms) == (None, None, site.clock.site_ms())
