"""Nothing leaves Central before what it depends on is on the disk; what an engine reports is applied once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from evcharge.domain import events as e
from evcharge.domain.words import SessionStatus
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import EnginePeer, Site, WirePeer, turns, until


@pytest.fixture(autouse=True)
def let_go(site: Site) -> Iterator[None]:
    """A test that fails must not leave the disk held."""
    yield
    site.disk.release()


async def hold(site: Site, *peers: WirePeer) -> None:
    """Everything so far is durable and said; from now on no sync returns."""
    for peer in peers:
        await peer.heard()
    await until(lambda: site.central._engine.backlog == 0)
    await until(lambda: site.central._journal.durable == site.central._journal.last)
    for peer in peers:
        await peer.heard()
        peer.inbox.clear()
    site.disk.hold()


def started(session_id: str) -> m.SupplyStarted:
    return m.SupplyStarted(session_id=session_id, meter_wh=1_000)


async def test_a_grant_and_its_order_leave_only_when_they_are_durable(site: Site) -> None:
    engine, driver = await site.engine(), await site.driver()
    await hold(site, engine, driver)
    asked = asyncio.create_task(driver.ask(m.ChargeRequest(id=0, cp_id="CP-1")))
    await until(lambda: site.disk.waiting)
    await turns()
    assert site.state.sessions, "it is decided"
    assert not asked.done(), "and not said"
    assert not engine.inbox
    site.disk.release()
    session_id = (await asked).session_id
    assert (await engine.next(m.Authorize)).session_id == session_id


async def test_a_refusal_waits_as_well(site: Site) -> None:
    driver = await site.driver()
    await hold(site, driver)
    asked = asyncio.create_task(site.charge(driver, "CP-9"))
    await until(lambda: site.disk.waiting)
    await turns()
    assert not asked.done()
    site.disk.release()
    with pytest.raises(RequestRefused):
        await asked


async def test_an_ack_of_the_outbox_waits_for_the_disk_and_so_does_that_of_a_repeat(site: Site) -> None:
    engine, driver = await site.engine(), await site.driver()
    session_id = await site.charge(driver)
    engine.done(await engine.next(m.StartSupply))
    await hold(site, engine, driver)
    n = engine.put(started(session_id))
    await until(lambda: site.disk.waiting)
    engine.send(m.Outbox(n=n, payload=started(session_id)))
    await engine.heard()
    await turns()
    assert site.session(session_id).status is SessionStatus.SUPPLYING
    assert not engine.inbox
    assert not driver.got(m.Update), "not even that it supplies"
    site.disk.release()
    await engine.acked(n)
    await engine.acked(n)
    assert (await driver.next(m.Update)).state == "SUPPLYING"
    assert len(site.logged(e.SupplyStarted)) == len(site.logged(e.OutboxApplied)) == 1


async def test_telemetry_shows_nothing_that_is_not_durable(site: Site) -> None:
    """The first update of a session may come in the same breath as the report that it began."""
    engine, driver = await site.engine(), await site.driver()
    session_id = await site.charge(driver)
    engine.done(await engine.next(m.StartSupply))
    await hold(site, engine, driver)
    engine.put(started(session_id))
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=1_500, power_w=11_000))
    await engine.heard()
    await turns()
    assert not driver.inbox
    site.disk.release()
    assert (await driver.next(m.Update, lambda news: news.power_w == 11_000)).state == "SUPPLYING"


async def test_the_answer_to_a_question_shows_durable_things_only(site: Site) -> None:
    engine, driver, operator = await site.engine(), await site.driver(), await site.operator()
    await hold(site, engine, driver, operator)
    asked = asyncio.create_task(site.charge(driver))
    await until(lambda: site.disk.waiting)
    questions = [
        asyncio.create_task(operator.ask(m.Query(id=0, what="sessions"))),
        asyncio.create_task(driver.ask(m.List(id=0))),
        asyncio.create_task(driver.ask(m.Tickets(id=0))),
    ]
    await turns()
    assert not any(question.done() for question in questions)
    site.disk.release()
    session_id = await asked
    assert (await questions[0]).sessions[0].session_id == session_id
    await asyncio.gather(*questions)


async def test_a_ticket_leaves_only_when_it_is_durable(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    await hold(site, engine, driver)
    n = engine.put(m.SupplyEnded(session_id=session_id, meter_wh=2_000, reason="vehicle_full"))
    await until(lambda: site.disk.waiting)
    await turns()
    assert not driver.inbox and not engine.inbox
    site.disk.release()
    assert (await driver.next(m.Ticket)).energy_wh == 1_000
    await engine.acked(n)


async def test_answers_come_in_the_order_of_the_requests(site: Site) -> None:
    """A question behind a command waits behind it, even one that needs no record itself."""
    driver = await site.driver()
    await hold(site, driver)
    order: list[str] = []

    async def ask(name: str, message: m.Message) -> None:
        with suppress(RequestRefused):
            await driver.ask(message)
        order.append(name)

    asked = [asyncio.create_task(ask("request", m.ChargeRequest(id=0, cp_id="CP-9")))]
    await until(lambda: site.disk.waiting)
    asked.append(asyncio.create_task(ask("list", m.List(id=0))))
    await turns()
    asked.append(asyncio.create_task(ask("end", m.EndCharge(id=0, session_id="s"))))
    await turns()
    assert not order
    site.disk.release()
    await asyncio.gather(*asked)
    assert order == ["request", "list", "end"]


async def test_heartbeats_do_not_wait_for_the_disk(site: Site) -> None:
    engine, driver = await site.engine(), await site.driver()
    await hold(site, engine, driver)
    refused = asyncio.create_task(site.charge(driver, "CP-9"))
    await until(lambda: site.disk.waiting)
    ack = await engine.ask(m.Heartbeat(id=0))
    assert (ack.time_ms, ack.clock_ms) == (site.clock.site_ms(), site.central._engine.clock_ms())
    site.disk.release()
    await asyncio.gather(refused, return_exceptions=True)


async def test_the_outbox_is_applied_in_order_and_a_gap_is_refused(site: Site) -> None:
    engine, _, session_id = await site.charging()
    assert site.cp().next_n == 1
    paused = m.SupplyPaused(session_id=session_id)
    engine.send(m.Outbox(n=3, payload=paused))
    refused = await engine.next(m.Refused)
    assert (refused.reason, refused.re) == ("outbox_gap", None)
    assert site.session(session_id).status is SessionStatus.SUPPLYING
    await engine.report(paused)
    assert site.session(session_id).status is SessionStatus.PAUSED
    engine.send(m.Outbox(n=0, payload=m.SupplyStarted(session_id=session_id, meter_wh=9)))
    await engine.acked(0)
    assert site.session(session_id).start_meter_wh == 1_000, "a repeat changes nothing"
    await engine.heard()
    assert not engine.got(m.Ack)


async def test_the_next_channel_says_where_to_go_on(site: Site) -> None:
    engine, _, _ = await site.charging()
    assert engine.ups[0].next_n == 0
    engine.cut()
    assert (await engine.up(2)).next_n == 1
    await engine.leave()
    other = site.join(engine.credential, outbox_epoch=99)
    assert (await other.up()).next_n == 0, "a new outbox begins at 0"
    driver = await site.driver("ben")
    assert driver.ups[0].next_n is None


async def test_an_outbox_is_taken_before_boot(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    engine.cut()
    await engine.up(2)
    await engine.end(session_id, meter_wh=1_700)
    assert (await driver.next(m.Ticket)).energy_wh == 700
    assert isinstance(engine, EnginePeer)
