"""Central goes down, on purpose or not, and comes back: the same state, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import errno

import pytest

from evcharge.audit.recovery import CorruptLog, LogInUse
from evcharge.central.records import BrokenRecords
from evcharge.domain import events as e
from evcharge.domain.evolve import evolve
from evcharge.domain.state import State
from evcharge.domain.words import LinkState, SessionStatus, Shown
from evcharge.ids import ChargePointId, SessionId
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import Site, WirePeer, canonical, copy_of, turns, until
from tests.support.clock import ManualClock

HOW = pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])


async def after_start(state: State, site: Site) -> bytes:
    """The state as a new start makes it, by design: links down since then, running sessions offline."""
    await until(lambda: site.central._journal.durable == site.central._journal.last)
    copy = copy_of(state)
    line = site.lines(e.CentralStarted)[-1]
    evolve(copy, line.event, line.stamp)
    return canonical(copy)


@HOW
async def test_the_state_is_the_same_byte_for_byte(killed: bool, site: Site) -> None:
    await site.charging("CP-1", "anna")
    engine, _, other = await site.charging("CP-2", "ben")
    waiting = await site.engine("CP-3", plugged=False)
    cleo = await site.driver("cleo")
    await site.charge(cleo, "CP-3")
    monitor = await site.monitor("CP-2")
    await engine.end(other, meter_wh=5_000)
    monitor.send(m.Fault(code="smoke"))
    with pytest.raises(RequestRefused):
        await site.charge(cleo, "CP-2")
    await waiting.heard()
    before = copy_of(site.state)
    for peer in site.peers:
        peer.run.cancel()
    await (site.kill() if killed else site.stop())
    expected = site.state
    assert canonical(site.history.state()) == canonical(expected), "the log tells all there is"
    await site.start()
    assert canonical(site.state) == await after_start(expected, site)
    assert site.state.sessions.keys() == before.sessions.keys()
    assert site.state.totals == before.totals
    assert site.state.provisional == before.provisional


@HOW
async def test_sessions_go_on_and_tickets_come_once(killed: bool, site: Site) -> None:
    engine, driver, session_id = await site.charging()
    monitor = await site.monitor()
    await site.restart(killed=killed)
    await site.settled()
    # Then, not now: who was not told when to come back may be there already.
    began = site.state_behind(e.CentralStarted)
    assert began.sessions[SessionId(session_id)].status is SessionStatus.OFFLINE
    assert began.charge_points[ChargePointId("CP-1")].monitor.state is LinkState.AWAITED
    await back(site, engine, driver, monitor)
    await engine.boot()
    assert site.shown() is Shown.SUPPLYING
    assert not engine.got(m.StopSupply), "going down is no reason to stop"
    assert engine.ups[1].next_n == 1
    await engine.end(session_id, meter_wh=4_000)
    assert (await driver.next(m.Ticket)).energy_wh == 3_000
    site.history.check()
    assert len(site.history.tickets()) == 1


async def back(site: Site, *peers: WirePeer) -> None:
    """These peers have found Central again. A drain told them when to come back."""
    for peer in peers:
        while len(peer.ups) < 2:
            if peer.client._visit is None:
                # Only for who waits for its moment: a handshake takes its turns, and others would fall silent.
                site.clock.advance(0.1)
            await turns(5)


async def test_a_stop_tells_the_peers_and_closes_them_in_order(site: Site) -> None:
    engine, driver, _ = await site.charging()
    await site.stop()
    for peer in (engine, driver):
        assert 0 < (await peer.next(m.Drain)).retry_after_s <= 5
        assert "DRAIN" in await peer.down()
    assert isinstance(site.history.logged[-1].event, e.CentralStopped)
    assert not site.logged(e.PeerDisconnected), "its own end is no loss of its peers"
    assert not site.logged(e.StopOrdered)


async def test_peers_that_talk_until_the_end_do_not_disturb_the_stop(site: Site) -> None:
    """What comes in when the log is closed already is not carried out, and is no failure."""
    engine, driver, session_id = await site.charging()
    talking = True

    def talk() -> None:
        if talking:
            driver.client.send(m.EndCharge(id=1, session_id="s-none"))
            engine.client.send(m.SupplyPaused(session_id=session_id))
            engine.client.send(m.SupplyResumed(session_id=session_id))
            site.central._loop.call_soon(talk)

    talk()
    await site.stop()
    talking = False
    assert not site.central.failure.done()
    assert isinstance(site.history.logged[-1].event, e.CentralStopped)
    acked = {line.stamp.actor for line in site.lines(e.RequestRefused)}
    assert acked <= {"driver:anna"}


async def test_what_was_acknowledged_before_a_kill_is_not_applied_again(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    await engine.end(session_id, meter_wh=2_000)
    await driver.next(m.Ticket)
    await site.restart(killed=True)
    await back(site, engine, driver)
    assert engine.ups[1].next_n == 2
    engine.send(m.Outbox(n=1, payload=m.SupplyEnded(session_id=session_id, meter_wh=9_999, reason="vehicle_full")))
    await engine.acked(1)
    assert len(site.history.tickets()) == 1
    assert site.state.totals.energy_wh == 1_000


async def test_tickets_wait_for_their_driver_and_come_again_until_confirmed(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    await driver.leave()
    await engine.end(session_id, meter_wh=2_500)
    await site.restart(killed=True)
    for _ in range(2):
        driver = await site.driver()
        ticket = await driver.next(m.Ticket)
        assert (ticket.energy_wh, ticket.ticket_id) == (1_500, f"t-{session_id}")
        await driver.leave()
    driver = await site.driver()
    driver.send(m.TicketReceived(ticket_id=(await driver.next(m.Ticket)).ticket_id))
    await driver.heard()
    await driver.leave()
    await site.restart(killed=True)
    driver = await site.driver()
    await driver.heard()
    assert not driver.got(m.Ticket)
    assert [ticket.ticket_id for ticket in (await driver.ask(m.Tickets(id=0))).tickets] == [f"t-{session_id}"]


async def test_a_monitor_that_does_not_come_back_stops_its_charge_point(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    monitor = await site.monitor()
    monitor.run.cancel()
    await site.restart()
    await back(site, engine, driver)
    await engine.boot()
    assert site.shown() is Shown.DISCONNECTED
    with pytest.raises(RequestRefused):
        await site.charge(driver)
    passed = site.clock.monotonic()
    while site.clock.monotonic() < passed + 90 and not engine.got(m.StopSupply):
        await site.beat(1.0, engine, driver)
    assert (await engine.next(m.StopSupply)).reason == "monitor_lost"
    gone = site.logged(e.PeerDisconnected)[-1]
    assert (gone.role.value, gone.cause) == ("monitor", "not back after a restart")
    assert site.session(session_id).stop is not None


async def test_a_monitor_that_is_back_in_time_stops_nothing(site: Site) -> None:
    engine, driver, _ = await site.charging()
    monitor = await site.monitor()
    await site.restart()
    await back(site, engine, driver, monitor)
    await engine.boot()
    await site.beat(21.0, engine, driver, monitor)
    assert site.shown() is Shown.SUPPLYING
    assert not engine.got(m.StopSupply)


async def test_a_deadline_that_passed_meanwhile_is_found_at_the_start(site: Site) -> None:
    _, driver, session_id = await site.charging()
    await site.engine("CP-2", plugged=False)
    waiting = await site.charge(driver, "CP-2")
    for peer in site.peers:
        peer.run.cancel()
    await site.kill()
    site.clock.advance_site(90_000)
    await site.start()
    await until(lambda: not site.history.session(waiting) and site.history.tickets(session_id))
    (ticket,) = site.history.tickets(session_id)
    assert (ticket.provisional, ticket.energy_wh) == (True, 0)


async def test_numbers_and_clocks_never_go_back(site: Site) -> None:
    """The machine's clock was set back by a day while Central was down: no lease lives longer by that."""
    await site.charging()
    order = site.state.last_command
    clock_ms = site.state.last_clock_ms
    fence = site.state.last_fence
    for peer in site.peers:
        peer.run.cancel()
    await site.kill()
    site.clock = ManualClock(5.0, utc_ms=site.clock.steady_ms() - 86_400_000)
    site.timers = site.clock.watch(site.timers.__class__(site.clock))
    await site.start()
    assert site.central._engine.clock_ms() >= clock_ms
    engine = await site.engine()
    assert engine.ups[0].fence is not None and engine.ups[0].fence > fence
    assert engine.client.channel_ms() >= clock_ms
    assert all(limit.command_id >= order for limit in engine.got(m.SetLimit))


# --- starts that fail -------------------------------------------------------------------------------------------------


async def test_two_centrals_on_one_log(site: Site) -> None:
    driver = await site.driver()
    with pytest.raises(LogInUse, match="another process"):
        await site.make().start()
    await driver.heard()


async def test_a_port_in_use_leaves_nothing_behind(site: Site) -> None:
    port = site.central.port
    await site.stop()
    blocker = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
    central = site.make(port=port)
    before = asyncio.all_tasks()
    with pytest.raises(OSError, match="in use") as failed:
        await central.start()
    assert failed.value.errno == errno.EADDRINUSE
    assert asyncio.all_tasks() == before
    blocker.close()
    await site.start()
    await site.driver()


async def test_a_damaged_log_is_refused_and_not_touched(site: Site) -> None:
    await site.charging()
    for peer in site.peers:
        peer.run.cancel()
    await site.stop()
    (path,) = site.central.log_dir.glob("audit-*.log")
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptLog, match="damaged"):
        await site.make().start()
    assert path.read_bytes() == data


async def test_a_damaged_file_of_records_gives_the_log_back(site: Site) -> None:
    await site.stop()
    path = site.directory / "central" / "registry-records.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(BrokenRecords):
        await site.make().start()
    path.unlink()
    await site.start()
