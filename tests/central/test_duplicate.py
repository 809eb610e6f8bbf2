"""Two processes with one credential: after the fourth takeover in a minute nothing begins there (SPEC §6.1)."""

from __future__ import annotations

import pytest

from evcharge.central.takeovers import MOST, WINDOW_S, Takeovers
from evcharge.domain import events as e
from evcharge.domain.words import Hold, Role, Shown, StopCause
from evcharge.net.client import RequestRefused
from protocol import messages as m
from protocol.credentials import Credential
from protocol.credentials import Role as WireRole
from tests.support.central import EnginePeer, Site, WirePeer, canonical, until
from tests.support.wire_peers import turns

MINE, OTHERS = b"\x01" * 16, b"\x02" * 16
KEY = (Role.ENGINE, "CP-1")
QUIET_S = WINDOW_S + 1


async def fight(site: Site, credential: Credential, takeovers: int, **client: object) -> WirePeer:
    """Two processes take the channel from each other; who has it in the end (the other one's, if the number is odd)."""
    holder = site.join(credential, boot_id=MINE, **client)
    await holder.up()
    for turn in range(takeovers):
        newer = site.join(credential, boot_id=(OTHERS, MINE)[turn % 2], **client)
        await newer.up()
        await holder.down()
        holder = newer
    return holder


async def held(site: Site) -> None:
    await until(lambda: Hold.DUPLICATE_ID in site.cp().holds)


# --- counting ---------------------------------------------------------------------------------------------------------


def test_the_fourth_takeover_within_a_minute_is_too_many() -> None:
    takeovers = Takeovers()
    assert [takeovers.count(KEY, now) for now in (0.0, 20.0, 40.0, 59.9, 60.0)] == [False, False, False, True, False]
    assert takeovers.contested(KEY)


def test_slow_takeovers_are_restarts() -> None:
    takeovers = Takeovers()
    assert not any(takeovers.count(KEY, now * (WINDOW_S / MOST)) for now in range(20))
    assert not takeovers.contested(KEY)


def test_the_alarm_ends_a_minute_after_the_last_takeover_and_nothing_is_kept() -> None:
    takeovers = Takeovers()
    for now in range(4):
        takeovers.count(KEY, float(now))
    takeovers.count((Role.DRIVER, "anna"), 2.0)
    takeovers.count(KEY, 30.0)
    assert takeovers.over(30.0 + WINDOW_S - 0.1) == []
    assert takeovers.over(30.0 + WINDOW_S) == [KEY]
    assert not takeovers.contested(KEY) and not takeovers._recent and not takeovers._contested


# --- at the door ------------------------------------------------------------------------------------------------------


async def test_a_process_that_comes_back_is_no_duplicate(site: Site) -> None:
    credential = site.credential(WireRole.CP, "CP-1")
    for times in range(1, 8):
        engine = site.join(credential, boot_id=MINE)
        await engine.up()
        await until(lambda times=times: len(site.logged(e.PeerConnected)) == times)
    assert not site.logged(e.IncidentRaised) and not site.cp().holds


async def test_neither_of_two_may_begin_a_charge(site: Site) -> None:
    holder = await fight(site, site.credential(WireRole.CP, "CP-1"), MOST)
    assert isinstance(holder, EnginePeer)
    await holder.boot(1)
    driver = await site.driver()
    waiting = await site.charge(driver)
    assert not site.cp().holds
    newer = site.join(holder.credential, boot_id=MINE)
    await newer.up()
    await held(site)
    assert "DUPLICATE_ID" in await holder.down()
    incident = await site.line(e.IncidentRaised, code="duplicate_id")
    assert "engine CP-1" in incident.detail
    ended = await site.line(e.AuthorizationExpired, session_id=waiting)
    assert ended.cause is StopCause.DUPLICATE_ID
    assert site.shown() is Shown.OUT_OF_ORDER
    with pytest.raises(RequestRefused, match="Two programs") as no:
        await site.charge(driver)
    assert no.value.reason == "duplicate_id"
    assert canonical(site.state_at(site.central._journal.durable)) == canonical(site.state)


async def test_when_one_has_left_charging_goes_on_after_a_minute(site: Site) -> None:
    credential = site.credential(WireRole.CP, "CP-1")
    holder = await fight(site, credential, MOST + 1)
    assert isinstance(holder, EnginePeer)
    await held(site)
    for peer in site.peers:
        if peer is not holder:
            await peer.leave()
    await holder.boot(1)
    holder.send(m.Plugged(connector=1))
    await site.beat(QUIET_S, holder)
    await site.line(e.HoldLifted, hold=Hold.DUPLICATE_ID)
    session_id = await site.charge(await site.driver())
    await holder.start(session_id)


async def test_a_running_session_stays_with_its_owner(site: Site) -> None:
    credential = site.credential(WireRole.CP, "CP-1")
    owner = site.join(credential, boot_id=MINE, outbox_epoch=7)
    assert isinstance(owner, EnginePeer)
    await owner.up()
    await owner.boot(1)
    owner.send(m.Plugged(connector=1))
    driver = await site.driver()
    session_id = await site.charge(driver)
    await owner.start(session_id)
    intruder = site.join(credential, boot_id=OTHERS, outbox_epoch=8)
    while not site.cp().holds:
        assert len(site.logged(e.PeerRefused)) <= MOST
        await site.beat(1, owner)
        await turns()
    await held(site)
    assert {refused.code for refused in site.logged(e.PeerRefused)} == {"duplicate_id"}
    assert not owner.downs and not intruder.ups, "another outbox would settle what the owner still has to report"
    await owner.end(session_id, meter_wh=1_700)
    ticket = await driver.next(m.Ticket)
    assert (ticket.energy_wh, ticket.reason) == (700, "target_reached")


async def test_after_the_alarm_only_the_owner_gets_in_while_it_runs(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    credential = engine.credential
    site.session(session_id).boot_id = MINE
    await engine.leave()
    owner = await fight(site, credential, MOST + 1)
    assert isinstance(owner, EnginePeer)
    await held(site)
    site.join(credential, boot_id=OTHERS)
    await site.line(e.PeerRefused, code="duplicate_id")
    assert not owner.downs
    assert site.session(session_id).stop is None and not driver.got(m.Ticket)


async def test_an_owner_that_is_gone_is_waited_for_a_minute(site: Site) -> None:
    engine, _, session_id = await site.charging()
    credential = engine.credential
    site.session(session_id).boot_id = MINE
    await engine.leave()
    owner = await fight(site, credential, MOST + 1)
    await held(site)
    for peer in site.peers:
        if peer.credential is credential:
            await peer.leave()
    await site.line(e.PeerDisconnected, fence=owner.ups[0].fence or 0)
    heir = site.join(credential, boot_id=OTHERS)
    await site.line(e.PeerRefused, code="duplicate_id")
    while not heir.ups:
        await site.beat(1)
        await turns()
    assert Hold.DUPLICATE_ID not in site.cp().holds


async def test_a_restart_of_central_keeps_the_alarm_until_it_is_quiet(site: Site) -> None:
    await fight(site, site.credential(WireRole.CP, "CP-1"), MOST + 1)
    await held(site)
    for peer in site.peers:
        await peer.leave()
    await site.restart()
    assert Hold.DUPLICATE_ID in site.cp().holds
    await site.beat(QUIET_S)
    await until(lambda: not site.cp().holds)


async def test_two_monitors_hold_their_charge_point_too(site: Site) -> None:
    await site.engine()
    await fight(site, site.credential(WireRole.MONITOR, "CP-1"), MOST + 1)
    await held(site)
    assert "monitor CP-1" in (await site.line(e.IncidentRaised, code="duplicate_id")).detail


async def test_two_programs_of_a_driver_are_told_and_hold_nothing(site: Site) -> None:
    await site.engine()
    credential = site.credential(WireRole.DRIVER, "CP-1")
    await fight(site, credential, MOST + 1)
    await site.line(e.IncidentRaised, code="duplicate_id")
    assert not site.cp().holds
    assert any("DUPLICATE_ID" in why for peer in site.peers for why in peer.downs)
