"""One channel per peer: the newest wins, and only who is still there can fall silent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from evcharge.central import engine as engine_module
from evcharge.central.liveness import Liveness
from evcharge.central.peers import Peer
from evcharge.domain import events as e
from evcharge.domain.words import LinkState
from evcharge.domain.words import Role as DomainRole
from evcharge.ids import Fence
from evcharge.net.client import RequestRefused
from evcharge.net.timers import TimerWheel
from protocol import messages as m
from protocol.credentials import Role
from tests.support.central import Site, turns, until
from tests.support.clock import ManualClock
from tests.support.link import FlakyLink
from tests.support.raw_peer import RawPeer


async def test_the_newest_channel_takes_over_and_the_old_one_is_told(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    newer = site.join(engine.credential, outbox_epoch=7)
    assert (await newer.up()).fence == site.cp().engine.fence
    assert "SUPERSEDED" in await engine.down()
    gone = await site.line(e.PeerDisconnected, entity="CP-1")
    assert gone.fence < site.cp().engine.fence
    story = [line.event for line in site.history.logged if isinstance(line.event, e.PeerConnected | e.PeerDisconnected)]
    of_cp = [(type(event).__name__, event.fence) for event in story if event.entity == "CP-1"]
    old, new = gone.fence, site.cp().engine.fence
    assert of_cp == [("PeerConnected", old), ("PeerConnected", new), ("PeerDisconnected", old)]
    assert site.cp().engine.state is LinkState.UP, "the end of the old channel does not cut the new one"
    assert session_id in site.state.sessions
    assert not driver.downs


async def test_a_driver_with_two_programs_keeps_the_newest(site: Site) -> None:
    first = await site.driver()
    second = site.join(first.credential)
    await second.up()
    await first.down()
    await site.engine()
    await site.charge(second)
    await second.next(m.Update, lambda news: news.state == "AUTHORIZED" and news.limit_w is not None)
    assert not first.got(m.Update)


async def test_orders_for_the_old_channel_never_reach_the_new_one(site: Site) -> None:
    """What waited for the disk while the engine reconnected is void: boot brings the desired state anew."""
    engine, driver = await site.engine(), await site.driver()
    await engine.heard()
    site.disk.hold()
    asked = asyncio.create_task(site.charge(driver))
    await until(lambda: site.disk.waiting)
    newer = site.join(engine.credential, outbox_epoch=7)
    await turns()
    assert not newer.ups, "the outbox position that it would be told is not durable yet"
    site.disk.release()
    session_id = await asked
    await newer.up()
    await newer.heard()
    assert not [order for order in newer.got(m.Authorize) if order.fence != newer.ups[0].fence]
    newer.inbox.clear()
    await newer.ask(m.Boot(connectors=[m.ConnectorInfo(connector=1, min_w=1_400, max_w=11_000)]))
    assert (await newer.next(m.Authorize)).session_id == session_id


async def test_orders_that_wait_for_the_disk_are_void_when_another_channel_takes_over(site: Site) -> None:
    engine, driver = await site.engine(), await site.driver()
    newer = await RawPeer.at(site, engine.credential)
    await newer.up_to_session()
    await driver.heard()
    site.disk.hold()
    asked = asyncio.create_task(site.charge(driver))
    await until(lambda: site.disk.waiting)
    await newer.say_ready()
    await engine.down()
    site.disk.release()
    await asked
    await until(lambda: site.central._engine.backlog == 0)
    await turns()
    old_fence = engine.ups[0].fence
    orders = [order for order in await newer.said() if isinstance(order, m.Authorize | m.StartSupply)]
    assert all(order.fence != old_fence for order in orders), "they were for a channel that is no more"


async def test_a_ready_that_comes_late_does_not_replace_a_newer_channel(site: Site) -> None:
    """Its owner has given it up and opened another one: taking over would cut the living one."""
    credential = site.credential(Role.DRIVER, "anna")
    late = await RawPeer.at(site, credential)
    await late.up_to_session()
    driver = site.join(credential)
    await driver.up()
    await late.say_ready()
    assert await late.closed() == "SUPERSEDED"
    await driver.heard()
    assert driver.downs == []
    assert len(site.logged(e.PeerConnected)) == 1
    refused = await site.line(e.PeerRefused, code="superseded")
    assert refused.username == credential.username


async def test_a_takeover_while_the_old_connection_is_half_open(site: Site) -> None:
    async with FlakyLink(("127.0.0.1", site.central.port)) as link:
        engine = site.join(site.credential(Role.CP, "CP-1"), port=link.port)
        await engine.up()
        link.hole = True
        newer = site.join(engine.credential, outbox_epoch=7)
        await newer.up()
        await until(lambda: len(site.logged(e.PeerConnected)) == 2)
        await site.beat(3.0, newer)
        await site.line(e.PeerDisconnected, entity="CP-1")
        assert site.cp().engine.fence == newer.ups[0].fence
        assert site.cp().engine.state is LinkState.UP


# --- silence ----------------------------------------------------------------------------------------------------------


async def test_a_driver_may_be_silent(site: Site) -> None:
    driver = await site.driver()
    site.clock.advance(5.1)
    site.clock.advance(5.1)
    await driver.heard()
    assert not driver.downs


async def test_silence_is_counted_once_for_the_channel_that_is_silent(site: Site) -> None:
    """The watch over a channel that was superseded or closed does not hit its successor."""
    engine = await site.engine()
    await site.beat(3.0, engine)
    newer = site.join(engine.credential, outbox_epoch=7)
    await newer.up()
    await engine.down()
    await site.beat(4.0, newer)
    await newer.heard()
    assert not newer.downs
    await newer.leave()
    third = site.join(engine.credential, outbox_epoch=7)
    await third.up()
    await site.beat(4.0, third)
    assert not third.downs
    causes = [event.cause for event in site.logged(e.PeerDisconnected)]
    assert not any("silent" in cause for cause in causes), causes


@pytest.mark.parametrize("closed", [False, True])
async def test_the_watch_over_a_closed_channel_does_nothing(closed: bool) -> None:
    """A new one has its own; what is closed already is not aborted once more."""
    clock = ManualClock()
    began_s = clock.monotonic()
    aborted: list[str] = []
    adapter: Any = SimpleNamespace(
        conn=SimpleNamespace(closed=closed),
        silent_s=lambda now_s: now_s - began_s,
        address="192.0.2.1",
        abort=lambda _code, why: aborted.append(why),
    )
    timers = clock.watch(TimerWheel(clock))
    watch = Liveness(timers, clock, 5.0)
    peer = Peer(
        adapter,
        role=DomainRole.ENGINE,
        entity="CP-1",
        username="cp-1",
        public_key=bytes(32),
        fence=Fence(1),
        boot_id=bytes(16),
        outbox_epoch=None,
        stale=False,
    )
    watch.watch(peer)
    clock.advance(5.1)
    assert aborted == ([] if closed else ["silent for 5.1 s"])
    assert len(timers) == 0, "and it looks no more"


async def test_silence_does_not_count_while_central_itself_does_not_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, driver = await site.engine(), await site.driver()
    await pause_by_congestion(site, monkeypatch, engine, driver)
    site.clock.advance(5.1)
    await turns()
    assert not engine.downs
    engine.send(m.Heartbeat())
    site.clock.advance(4.9)
    resume = site.central._engine.on_relief
    assert resume is not None

    def resume_and_look() -> None:
        # At the moment when reading goes on the watch looks: what the engine said is still in the kernel.
        resume()
        site.clock.advance(0.2)

    site.central._engine.on_relief = resume_and_look
    site.disk.release()
    await until(lambda: not site.central._reception.paused)
    assert not engine.downs
    await engine.heard()
    await site.beat(4.0, engine)
    assert not engine.downs
    await site.beat(5.1)
    await engine.down()


async def pause_by_congestion(site: Site, monkeypatch: pytest.MonkeyPatch, *peers: object) -> None:
    """Central waits for its disk and reads nothing more from the first two peers."""
    engine, driver = peers
    monkeypatch.setattr(engine_module, "HIGH_MARK", 1)
    site.disk.hold()
    for cp_id in ("CP-7", "CP-8", "CP-9"):
        driver.send(m.ChargeRequest(id=f"ask-{cp_id}", cp_id=cp_id))  # type: ignore[attr-defined]
    await until(lambda: site.central._engine.congested)
    engine.send(m.Heartbeat())  # type: ignore[attr-defined]
    await until(lambda: len(site.central._reception.paused) == 2)


async def test_congestion_pauses_reading_and_relief_resumes_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, driver = await site.engine(), await site.driver()
    await pause_by_congestion(site, monkeypatch, engine, driver)
    adapters = [peer.adapter for peer in site.central._reception.paused]
    assert not any(adapter.reading for adapter in adapters)
    held = site.central._engine.backlog
    for number in range(50):
        driver.send(m.EndCharge(id=f"end-{number}", session_id="s-none"))
    await turns()
    assert site.central._engine.backlog == held, "nothing more is taken in"
    site.disk.release()
    await until(lambda: not site.central._reception.paused)
    assert all(adapter.reading for adapter in adapters)
    with pytest.raises(RequestRefused):
        await driver.ask(m.EndCharge(id=0, session_id="s-none"))
    assert len(driver.got(m.Refused)) == 53, "and nothing was lost"


async def test_a_peer_that_leaves_while_reading_is_paused_is_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, driver = await site.engine(), await site.driver()
    await pause_by_congestion(site, monkeypatch, engine, driver)
    driver.cut()
    engine.cut()
    site.clock.advance(45.1)
    site.disk.release()
    await until(lambda: not site.central._reception.paused)
    await until(lambda: site.central._engine.backlog == 0)
    assert not site.central.failure.done()
