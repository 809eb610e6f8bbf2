"""Who is known, who is asked about, and what the log says of those who were not let near."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from evcharge.central import records, registry
from evcharge.central.records import KeptRecords
from evcharge.central.registry import AWAY_S, DENIED_S
from evcharge.central.rejections import WINDOW_S
from evcharge.domain import events as e
from protocol import messages as m
from protocol import records as wire_records
from protocol.credentials import Role
from protocol.errors import RefuseCode
from tests.central.test_door import forger
from tests.support.central import Site, turns, until
from tests.support.raw_peer import RawPeer, verdict

HERE = "127.0.0.1"


async def dropped(site: Site, times: int, address: str = HERE) -> None:
    """Connections of a source that are cut at once."""
    for _ in range(times):
        reader, writer = await asyncio.open_connection(HERE, site.central.port, local_addr=(address, 0))
        with pytest.raises(ConnectionError):
            assert await reader.read() == b""
            raise ConnectionResetError
        writer.close()


# --- sources --------------------------------------------------------------------------------------------------------


async def test_known_sources_are_known_after_a_restart(site: Site) -> None:
    driver = await site.driver()
    now_s = site.clock.monotonic
    for killed in (True, False):
        site.clock.advance(3_600)
        await site.restart(killed=killed)
        assert site.central._sources.known(HERE, now_s())
        assert not site.central._sources.known("127.0.0.2", now_s())
    site.clock.advance(1.1)
    await until(lambda: driver.client.connected)
    await driver.leave()
    site.clock.advance(86_390)
    await site.restart()
    assert site.central._sources.known(HERE, now_s())
    site.clock.advance(20)
    await site.restart()
    assert not site.central._sources.known(HERE, now_s())


async def test_the_end_of_a_channel_keeps_its_source_known_over_a_restart(site: Site) -> None:
    driver = await site.driver()
    site.clock.advance(40_000)
    await driver.leave()
    await site.line(e.PeerDisconnected, entity="anna")
    site.clock.advance(60_000)
    await site.restart()
    assert len(site.logged(e.PeerConnected)) == 1
    assert site.central._sources.known(HERE, site.clock.monotonic())


async def test_a_clock_that_was_set_back_keeps_sources_known_and_for_no_longer_than_a_day(site: Site) -> None:
    await site.driver()
    await site.stop()
    site.clock._utc_ms -= 7 * 86_400_000
    await site.start()
    now_s = site.clock.monotonic()
    assert site.central._sources.known(HERE, now_s)
    assert not site.central._sources.known(HERE, now_s + 86_401)


async def test_a_stranger_that_was_refused_is_not_known_after_a_restart(site: Site) -> None:
    assert await verdict(site, forger(site.credential(Role.DRIVER, "anna"))) is RefuseCode.UNKNOWN
    await site.restart()
    assert not site.central._sources.known(HERE, site.clock.monotonic())


async def test_knocks_above_the_share_of_a_source_are_one_line_a_minute(tmp_path: Path) -> None:
    async with Site(tmp_path, source_burst=1.0, source_per_s=0.01) as site:
        held = await RawPeer.at(site)
        await until(lambda: site.central._server.counts.open == 1)
        await dropped(site, 5)
        line = await site.line(e.PeerRefused, code="source_limit")
        (written,) = site.lines(e.PeerRefused)
        assert (written.stamp.source, line.username, line.authentication) == (HERE, None, False)
        await dropped(site, 5)
        await turns()
        assert len(site.lines(e.PeerRefused)) == 1
        site.clock.advance(WINDOW_S)
        await until(lambda: len([it for it in site.logged(e.PeerRefused) if it.code == "source_limit"]) == 2)
        assert sum(it.count for it in site.logged(e.PeerRefused) if it.code == "source_limit") == 10
        held.leave()


async def test_what_was_turned_away_last_is_written_when_central_stops(tmp_path: Path) -> None:
    async with Site(tmp_path, source_burst=1.0, source_per_s=0.01) as site:
        held = await RawPeer.at(site)
        await until(lambda: site.central._server.counts.open == 1)
        await dropped(site, 1)
        await site.line(e.PeerRefused, code="source_limit")
        await dropped(site, 3)
        held.leave()
        await site.stop()
        assert sum(it.count for it in site.logged(e.PeerRefused) if it.code == "source_limit") == 4


async def test_who_was_told_busy_leaves_a_line(tmp_path: Path) -> None:
    async with Site(tmp_path, slots_unknown=1, slot_s=0.9, busy_s=0.9) as site:
        first = await RawPeer.at(site, site.credential(Role.DRIVER, "anna"))
        await first.up_to_auth()
        second = await RawPeer.at(site, site.credential(Role.DRIVER, "ben"))
        third = await RawPeer.at(site, site.credential(Role.DRIVER, "cleo"))
        await second.send_held()
        await until(lambda: site.central._server.lanes.unknown.waiting == 1)
        site.clock.advance(0.5)
        await third.send_held()
        await until(lambda: site.central._server.lanes.unknown.waiting == 2)
        site.clock.advance(0.41)
        assert await second.closed() == "UnexpectedMessage", "an ALERT"
        line = await site.line(e.PeerRefused, code="busy")
        assert (line.username, line.authentication) == (None, False)
        assert (await third.step()) is None
        for peer in (first, third):
            peer.leave()


async def test_an_engine_that_is_held_by_its_rate_is_not_lost(site: Site) -> None:
    """It talks too much; that is not silence."""
    engine = await site.engine()
    for _ in range(50):
        engine.send(*[m.Status(connector=1, occupied=True)] * 10)
    (adapter,) = site.central._server.adapters
    await until(lambda: not adapter.reading)
    for _ in range(16):
        site.clock.advance(0.5)
        await turns(5)
    assert not site.logged(e.PeerDisconnected)
    await engine.heard()


# --- look-ups -------------------------------------------------------------------------------------------------------


async def test_a_known_peer_costs_no_task_and_no_question(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()
    site.central._tasks.start = None  # type: ignore[method-assign,assignment]  # nobody may ask for one
    assert await verdict(site, credential) is None
    site.registry.revoke(credential.username)
    await site.followed()
    assert await verdict(site, credential) is RefuseCode.REVOKED
    assert site.registry.looked_up == []


async def test_a_key_that_was_denied_is_not_asked_about_again_for_a_while(site: Site) -> None:
    made_up = forger(site.credential(Role.DRIVER, "anna"))
    await site.followed()
    for _ in range(3):
        assert await verdict(site, made_up) is RefuseCode.UNKNOWN
    assert len(site.registry.looked_up) == 1
    assert await verdict(site, forger(made_up)) is RefuseCode.UNKNOWN
    assert len(site.registry.looked_up) == 2, "another key is another question"
    site.clock.advance(DENIED_S + 0.1)
    assert await verdict(site, made_up) is RefuseCode.UNKNOWN
    assert len(site.registry.looked_up) == 3


async def test_a_denied_key_that_is_registered_then_gets_in_at_once(site: Site) -> None:
    late = site.credential(Role.DRIVER, "anna")
    record = site.registry.records.pop(late.username)
    await until(lambda: site.central._registry.live)
    site.registry.cut_feed()
    await until(lambda: not site.central._registry.live)
    assert await verdict(site, late) is RefuseCode.UNKNOWN
    site.registry.put(record)
    site.registry.come_back()
    await site.followed()
    assert not site.central._registry._denied
    assert await verdict(site, late) is None


async def test_denied_keys_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_DENIED", 2)
    made_up = [forger(site.credential(Role.DRIVER, "anna")) for _ in range(3)]
    await site.followed()
    for each in made_up:
        assert await verdict(site, each) is RefuseCode.UNKNOWN
    assert len(site.central._registry._denied) == 2
    assert await verdict(site, made_up[2]) is RefuseCode.UNKNOWN
    assert len(site.registry.looked_up) == 3
    assert await verdict(site, made_up[0]) is RefuseCode.UNKNOWN
    assert len(site.registry.looked_up) == 4


async def test_more_look_ups_than_the_limit_are_asked_to_come_again(tmp_path: Path) -> None:
    async with Site(tmp_path, lookups=2) as site:
        site.registry.hold_lookups = asyncio.Event()
        strangers = [forger(site.credential(Role.DRIVER, name)) for name in ("anna", "ben", "cleo")]
        known = site.credential(Role.DRIVER, "dora")
        await site.followed()
        waiting = [asyncio.create_task(verdict(site, each)) for each in strangers[:2]]
        await until(lambda: len(site.registry.looked_up) == 2)
        assert await verdict(site, strangers[2]) is RefuseCode.UNAVAILABLE
        assert await verdict(site, known) is None, "who is kept needs no look-up"
        site.registry.hold_lookups.set()
        assert await asyncio.gather(*waiting) == [RefuseCode.UNKNOWN] * 2
        assert await verdict(site, strangers[2]) is RefuseCode.UNKNOWN
        assert site.central._registry._lookups == 0


async def test_a_registry_that_is_silent_is_not_asked_for_each_peer_that_comes_back(site: Site) -> None:
    credentials = [site.credential(Role.DRIVER, name) for name in ("anna", "ben", "cleo")]
    unknown = forger(credentials[0])
    await site.followed()
    site.registry.go_away()
    await until(lambda: not site.central._registry.live)
    asked: list[str] = []
    ask = site.central._registry._ask

    async def counted(username: str, key: bytes) -> object:
        asked.append(username)
        return await ask(username, key)

    site.central._registry._ask = counted  # type: ignore[method-assign,assignment]
    for each in credentials:
        assert await verdict(site, each) is None
    assert await verdict(site, unknown) is RefuseCode.UNAVAILABLE
    assert len(asked) == 1
    site.clock.advance(AWAY_S + 0.1)
    assert await verdict(site, credentials[0]) is None
    assert len(asked) == 2
    site.registry.come_back()
    await site.followed()
    assert await verdict(site, unknown) is RefuseCode.UNKNOWN, "and it is asked again as soon as it is back"


async def test_an_odd_answer_is_not_silence(site: Site) -> None:
    await site.lost_the_feed()
    credential = site.credential(Role.DRIVER, "anna")
    site.registry.answer = web.json_response({}, status=500)
    assert await verdict(site, credential) is RefuseCode.UNAVAILABLE
    assert await verdict(site, credential) is None


async def test_a_disk_that_cannot_be_read_asks_newcomers_to_come_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(records.KeptRecords, "get", broken)
    assert await verdict(site, credential) is RefuseCode.UNAVAILABLE
    assert not site.central.failure.done()


# --- kept records ---------------------------------------------------------------------------------------------------


async def test_a_signature_is_verified_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()
    opened: list[object] = []
    monkeypatch.setattr(
        records, "open_record", lambda signed, key: (opened.append(signed), wire_records.open_record(signed, key))[1]
    )
    for _ in range(3):
        assert await verdict(site, credential) is None
    assert not opened, "it was verified when it came"
    site.central._kept._verified.clear()
    for _ in range(3):
        assert await verdict(site, credential) is None
    assert len(opened) == 1, "after a restart it is read, once"
    site.registry.revoke(credential.username)
    await site.followed()
    assert await verdict(site, credential) is RefuseCode.REVOKED
    assert len(opened) == 2, "the new record, as it came"


def test_an_older_record_never_replaces_a_newer_one_in_memory(tmp_path: Path) -> None:
    kept = KeptRecords(tmp_path / "records.sqlite", bytes(32))
    newer = wire_records.RegistryRecord(
        username="anna", role=Role.DRIVER, entity="anna", keys={1: bytes(32)}, status="revoked", rev=7
    )
    kept.put(newer, wire_records.SignedRecord("", ""))
    kept.put(msgspec.structs.replace(newer, status="active", rev=6), wire_records.SignedRecord("", ""))
    assert kept.get("anna") == newer
    kept.close()


async def test_verified_records_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_VERIFIED", 2)
    credentials = [site.credential(Role.DRIVER, name) for name in ("anna", "ben", "cleo")]
    await site.followed()
    for each in credentials:
        assert await verdict(site, each) is None
    assert list(site.central._kept._verified) == ["driver-ben", "driver-cleo"]
