"""A revoked credential: its channel ends within 2 s, its charge point is held, and no race lets it back in."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiohttp import web

from evcharge.central.revoking import REVOKED_ENGINE_S
from evcharge.domain import events as e
from evcharge.domain.words import Hold, Shown
from protocol import messages as m
from protocol.credentials import Role
from protocol.errors import RefuseCode
from tests.support.central import Site, turns, until
from tests.support.raw_peer import RawPeer, verdict


async def test_a_revocation_closes_the_channel_and_holds_the_charge_point(site: Site) -> None:
    engine = await site.engine()
    site.registry.revoke(engine.credential.username)
    # At once: the clock stands still.
    assert "REVOKED" in await engine.down()
    assert await engine.refused() is RefuseCode.REVOKED
    assert site.cp().holds == {Hold.REVOKED}
    assert len(await _all(site, e.PeerRevoked)) == 1
    newer = site.join(site.credential(Role.CP, "CP-1", "cp-cp-1-new"), outbox_epoch=7)
    await newer.up()
    assert not site.cp().holds, "a new credential is a charge point again"


async def test_a_revoked_engine_gets_the_time_to_report_its_final_meter_and_no_more(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    site.registry.revoke(engine.credential.username)
    stop = await engine.next(m.StopSupply)
    assert stop.reason == "revoked"
    await engine.end(session_id, meter_wh=1_800, reason="revoked")
    assert (await driver.next(m.Ticket)).energy_wh == 800
    assert not engine.downs
    assert REVOKED_ENGINE_S < 1.5
    site.clock.advance(REVOKED_ENGINE_S + 0.1)
    assert "REVOKED" in await engine.down()
    assert await engine.refused() is RefuseCode.REVOKED
    assert not driver.downs


async def test_a_credential_that_was_made_anew_ends_the_channel_of_the_old_one(site: Site) -> None:
    driver = await site.driver()
    waiting = await RawPeer.at(site, site.credential(Role.DRIVER, "ben"))
    await waiting.up_to_session()
    site.credential(Role.DRIVER, "ben")
    new = site.credential(Role.DRIVER, "anna")
    assert "REVOKED" in await driver.down()
    assert await verdict(site, new) is None
    await waiting.say_ready()
    assert await waiting.closed() == "REVOKED"
    assert not [event for event in site.logged(e.PeerConnected) if event.entity == "ben"]


async def _all(site: Site, kind: type[e.PeerRevoked]) -> list[e.PeerRevoked]:
    await until(lambda: site.logged(kind))
    return site.logged(kind)


async def test_a_revoked_monitor_and_a_revoked_driver_are_closed(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    monitor = await site.monitor()
    site.registry.revoke(driver.credential.username)
    assert await driver.refused() is RefuseCode.REVOKED
    assert site.session(session_id).stop is None, "the vehicle charges on"
    site.registry.revoke(monitor.credential.username)
    assert await monitor.refused() is RefuseCode.REVOKED
    assert (await engine.next(m.StopSupply)).reason == "monitor_lost"
    assert site.shown() is Shown.DISCONNECTED


async def test_the_old_credential_is_revoked_while_the_new_one_is_in_use(site: Site) -> None:
    old = site.credential(Role.CP, "CP-1", "cp-old")
    new = site.join(site.credential(Role.CP, "CP-1", "cp-new"))
    await new.up()
    site.registry.revoke(old.username)
    await site.followed()
    await new.heard()
    assert not new.downs and not site.cp().holds


async def test_a_revocation_between_admission_and_ready_is_not_too_late(site: Site) -> None:
    peer = await RawPeer.at(site, site.credential(Role.CP, "CP-1"))
    await peer.up_to_session()
    site.registry.revoke("cp-cp-1")
    await site.line(e.PeerRefused, code="revoked", username="cp-cp-1")
    await peer.say_ready()
    assert await peer.closed() in ("REVOKED", "")
    assert not site.logged(e.PeerConnected)


async def test_a_look_up_that_saw_the_revocation_first_does_not_swallow_it(site: Site) -> None:
    """The feed is away and the revoked peer knocks again: its open channel is closed when the feed is back."""
    engine = await site.engine()
    await site.followed()
    await site.lost_the_feed()
    site.registry.revoke(engine.credential.username)
    assert await verdict(site, engine.credential) is RefuseCode.REVOKED
    await engine.heard()
    site.registry.come_back()
    assert await engine.refused() is RefuseCode.REVOKED
    assert site.cp().holds == {Hold.REVOKED}


@pytest.mark.parametrize("overtaken", ["made anew", "revoked and active again"])
async def test_a_change_that_a_look_up_has_overtaken_ends_no_channel(site: Site, overtaken: str) -> None:
    """An answer of the feed was long under way: meanwhile the peer came with what the registry has now."""
    await site.lost_the_feed()
    credential = site.credential(Role.DRIVER, "anna")
    if overtaken != "made anew":
        site.registry.revoke(credential.username)
    late = {"rev": site.registry.rev, "records": [msgspec.to_builtins(site.registry.signed(credential.username))]}
    if overtaken == "made anew":
        credential = site.credential(Role.DRIVER, "anna")
    else:
        site.registry.change(credential.username, status="active")
    driver = site.join(credential)
    await driver.up()
    site.registry.answer = web.json_response(late)
    site.registry.come_back()
    await until(lambda: site.registry.answer is None)
    await site.followed()
    await driver.heard()
    assert not driver.downs and not site.logged(e.PeerRevoked)


@pytest.mark.parametrize("newer", ["revoked too", "made anew"])
async def test_a_revocation_that_a_look_up_has_overtaken_is_not_put_off(site: Site, newer: str) -> None:
    """The feed brings the old one, and is away again behind it."""
    engine = await site.engine()
    await site.followed()
    await site.lost_the_feed()
    name = engine.credential.username
    site.registry.revoke(name)
    late = {"rev": site.registry.rev, "records": [msgspec.to_builtins(site.registry.signed(name))]}
    if newer == "revoked too":
        site.registry.change(name)
        assert await verdict(site, engine.credential) is RefuseCode.REVOKED
    else:
        # It is let in, and never says that it is ready.
        await (await RawPeer.at(site, site.registry.register(Role.CP, "CP-1"))).up_to_session()
    site.registry.answer = web.json_response(late)
    site.registry.come_back()
    site.registry.away_behind = True
    assert "REVOKED" in await engine.down()


async def test_a_revocation_that_comes_while_a_look_up_waits_in_vain(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()
    await site.lost_the_feed()
    site.registry.hold_lookups = asyncio.Event()
    peer = await RawPeer.at(site, credential)
    await peer.up_to_auth()
    await peer.send_held()
    await until(lambda: site.registry.looked_up)
    site.registry.revoke(credential.username)
    site.registry.come_back()
    await site.followed()
    site.registry.answer = web.json_response({}, status=500)
    site.registry.hold_lookups.set()
    assert await peer.closed() == "REVOKED"


async def test_a_revocation_while_central_is_down_is_found_at_its_start(site: Site) -> None:
    engine, _, session_id = await site.charging()
    await site.kill()
    await engine.leave()
    site.registry.revoke(engine.credential.username)
    await site.start()
    await site.followed()
    assert site.cp().holds == {Hold.REVOKED}
    assert site.session(session_id).stop is not None


async def test_a_revocation_that_was_not_durable_in_a_crash_is_told_again(site: Site) -> None:
    engine = await site.engine()
    await engine.heard()
    await site.followed()
    site.disk.hold()
    site.registry.revoke(engine.credential.username)
    await until(lambda: site.cp().holds)
    site.disk.failing["fdatasync"] = 5
    site.disk.release()
    await site.central.failure
    await site.kill()
    site.disk.failing.clear()
    _forget_unsynced(site)
    await site.start()
    await site.followed()
    assert site.cp().holds == {Hold.REVOKED}


def _forget_unsynced(site: Site) -> None:
    """What no sync confirmed is not on the disk after a power cut; nothing of it may have come there."""
    (path,) = site.central.log_dir.glob("audit-*.log")
    data = path.read_bytes()
    offset = sum(record.size for record in site.history.records if record.seq <= site.central._journal.durable)
    path.write_bytes(data[:offset] + bytes(len(data) - offset))


async def test_an_active_change_closes_nobody(site: Site) -> None:
    engine = await site.engine()
    site.registry.change(engine.credential.username, station_id="11111111-2222-4333-8444-555555555555")
    await site.followed()
    await engine.heard()
    assert not engine.downs


async def test_what_is_not_a_peer_is_of_no_concern(site: Site) -> None:
    site.credential(Role.CENTRAL, "central", status="revoked")
    await site.followed()
    await turns()
    assert not site.logged(e.PeerRevoked)
