"""Central and its registry: look-ups, kept records, the change feed, and a registry that is away."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from evcharge.central.records import BrokenRecords, Kept, KeptRecords
from evcharge.central.registry import MAX_ANSWER
from evcharge.domain import events as e
from protocol import messages as m
from protocol.credentials import Role, b64url, b64url_decode
from protocol.errors import RefuseCode
from protocol.records import SignedRecord, sign_record
from tests.support.central import Site, until
from tests.support.fake_registry import FakeRegistry
from tests.support.raw_peer import verdict


async def went_away(site: Site) -> None:
    """The registry is away and Central knows it."""
    site.registry.go_away()
    await until(lambda: not site.central._registry.live)


# --- while it is there ------------------------------------------------------------------------------------------------


async def test_a_known_peer_costs_no_look_up_while_the_feed_is_live(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()
    assert await verdict(site, credential) is None
    assert site.registry.looked_up == []


async def test_a_newcomer_that_the_feed_has_not_brought_yet_is_looked_up(site: Site) -> None:
    await site.lost_the_feed()
    credential = site.credential(Role.DRIVER, "anna")
    assert await verdict(site, credential) is None
    assert site.registry.looked_up == ["driver-anna"]


async def test_a_new_credential_of_a_revoked_name_is_let_in_before_the_feed_tells_of_it(site: Site) -> None:
    old = site.credential(Role.DRIVER, "anna")
    site.registry.revoke(old.username)
    await site.followed()
    site.registry.cut_feed()
    new = site.credential(Role.DRIVER, "anna")
    assert await verdict(site, new) is None
    assert await verdict(site, old) is RefuseCode.UNKNOWN


async def test_wrong_secrets_are_looked_up_and_refused(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()
    wrong = msgspec.structs.replace(credential, password=FakeRegistry().register(Role.DRIVER, "x").password)
    assert await verdict(site, wrong) is RefuseCode.UNKNOWN
    assert site.registry.looked_up == ["driver-anna"]


# --- while it is away -------------------------------------------------------------------------------------------------


async def test_a_kept_record_admits_and_the_log_says_that_it_was_stale(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()
    fresh = site.join(credential)
    await fresh.up()
    await fresh.leave()
    await went_away(site)
    await site.join(credential).up()
    await site.line(e.PeerConnected, stale_record=True)
    connected = site.logged(e.PeerConnected)
    assert [event.stale_record for event in connected] == [False, True]


async def test_an_unknown_one_comes_again_later(site: Site) -> None:
    await went_away(site)
    assert await verdict(site, site.credential(Role.DRIVER, "new")) is RefuseCode.UNAVAILABLE
    assert not (await site.line(e.PeerRefused, code="unavailable")).authentication


async def test_a_new_key_of_a_kept_name_comes_again_later(site: Site) -> None:
    """Nobody knows whether it was rotated meanwhile: that is no failed authentication."""
    site.credential(Role.DRIVER, "anna")
    await site.followed()
    await went_away(site)
    assert await verdict(site, site.credential(Role.DRIVER, "anna")) is RefuseCode.UNAVAILABLE


async def test_a_known_revocation_holds_for_ever(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    site.registry.revoke(credential.username)
    await site.followed()
    await went_away(site)
    for hours in (0, 25):
        site.clock.advance(hours * 3_600)
        assert await verdict(site, credential) is RefuseCode.REVOKED


async def test_kept_records_admit_for_a_day_even_over_a_restart(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()
    await site.stop()
    site.registry.go_away()
    await site.start(followed=False)
    site.clock.advance(86_390)
    assert await verdict(site, credential) is None
    site.clock.advance(20)
    assert await verdict(site, credential) is RefuseCode.UNAVAILABLE
    site.registry.come_back()
    await site.followed()
    assert await verdict(site, credential) is None


async def test_running_channels_go_on(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    await went_away(site)
    await engine.end(session_id, meter_wh=2_000)
    assert await driver.next(m.Ticket)


async def test_central_finds_the_registry_again(site: Site) -> None:
    await went_away(site)
    credential = site.credential(Role.DRIVER, "anna")
    site.registry.come_back()
    await site.followed()
    assert await verdict(site, credential) is None
    assert site.registry.looked_up == []


async def test_a_look_up_that_gets_no_answer_is_given_up(site: Site) -> None:
    site.central._registry._lookup_s = 0.02
    site.registry.hold_lookups = asyncio.Event()
    site.registry.cut_feed()
    credential = site.credential(Role.DRIVER, "anna")
    assert await verdict(site, credential) is RefuseCode.UNAVAILABLE
    site.registry.hold_lookups.set()


# --- answers that are none --------------------------------------------------------------------------------------------

ODD: dict[str, Callable[[], web.Response]] = {
    "another service": lambda: web.Response(text="<html>hello</html>", content_type="text/html"),
    "not ours": lambda: web.json_response({"records": "none", "record": 7}),
    "no token": lambda: web.json_response({}, status=401),
    "broken": lambda: web.json_response({}, status=500),
    "elsewhere": lambda: web.Response(status=307, headers={"Location": "/elsewhere"}),
    "endless": lambda: web.Response(body=b" " * (MAX_ANSWER + 1)),
    "deep": lambda: web.Response(body=b'{"x":' + b"[" * 100_000),
    "not text": lambda: web.Response(body=b'{"record":{"signed":"\xff","signature":"\xff"}}'),
}


@pytest.mark.parametrize("kind", ODD)
async def test_an_odd_answer_to_a_look_up_admits_nobody(kind: str, site: Site) -> None:
    await site.lost_the_feed()
    credential = site.credential(Role.DRIVER, "anna")
    site.registry.answer = ODD[kind]()
    assert await verdict(site, credential) is RefuseCode.UNAVAILABLE
    assert await verdict(site, credential) is None
    assert not site.central.failure.done()


@pytest.mark.parametrize("kind", ODD)
async def test_an_odd_answer_of_the_feed_is_asked_again(kind: str, site: Site) -> None:
    site.registry.answer = ODD[kind]()
    site.credential(Role.DRIVER, "anna")
    await until(lambda: site.registry.answer is None)
    await site.followed()
    assert site.central._kept.get("driver-anna") is not None
    assert not site.central.failure.done()


def other_signer(signed: SignedRecord) -> SignedRecord:
    return SignedRecord(signed.signed, b64url(os.urandom(64)))


def other_content(signed: SignedRecord) -> SignedRecord:
    return SignedRecord(b64url(b64url_decode(signed.signed).replace(b"anna", b"evil")), signed.signature)


@pytest.mark.parametrize("forge", [other_signer, other_content])
async def test_a_forged_record_admits_nobody(forge: Callable[[SignedRecord], SignedRecord], site: Site) -> None:
    site.registry.tamper = forge
    credential = site.credential(Role.DRIVER, "anna")
    await until(lambda: not site.central._registry.live)
    assert await verdict(site, credential) is RefuseCode.UNAVAILABLE
    assert site.central._kept.get("driver-anna") is None
    site.registry.tamper = lambda signed: signed
    await site.followed()
    assert await verdict(site, credential) is None


async def test_the_true_record_of_somebody_else_admits_nobody(site: Site) -> None:
    site.registry.cut_feed()
    anna, ben = site.credential(Role.DRIVER, "anna"), site.credential(Role.DRIVER, "ben")
    of_ben = sign_record(site.registry.records[ben.username], site.registry.seed)
    site.registry.tamper = lambda _: of_ben
    assert await verdict(site, anna) is RefuseCode.UNKNOWN


async def test_a_retired_key_finds_the_names_record_and_admits_nobody(site: Site) -> None:
    site.registry.cut_feed()
    old, new = site.credential(Role.DRIVER, "anna"), site.credential(Role.DRIVER, "anna")
    present = site.registry.signed(new.username)
    site.registry.answer = web.json_response({"record": msgspec.to_builtins(present)})
    assert await verdict(site, old) is RefuseCode.UNKNOWN
    assert await verdict(site, new) is None


async def test_an_old_record_played_again_admits_nobody(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    before = site.registry.signed(credential.username)
    site.registry.revoke(credential.username)
    await site.followed()
    site.registry.tamper = lambda _: before
    site.registry.cut_feed()
    assert await verdict(site, credential) is RefuseCode.REVOKED


async def test_an_answer_that_was_made_up_hides_no_later_revocation(site: Site) -> None:
    engine = await site.engine()
    await site.followed()
    site.registry.answer = web.json_response({"rev": 2**40, "records": []})
    site.registry._wake()
    await until(lambda: site.registry.answer is None)
    site.registry.revoke(engine.credential.username)
    assert await engine.refused() is RefuseCode.REVOKED


# --- the file ---------------------------------------------------------------------------------------------------------


async def test_a_changed_file_of_records_admits_nobody(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    await site.followed()
    with sqlite3.connect(site.directory / "central" / "registry-records.sqlite", isolation_level=None) as db:
        db.execute("UPDATE records SET signature = ?", (b64url(os.urandom(64)),))
    # What this process has verified stays in its memory; the next one reads the file.
    site.central._kept._verified.clear()
    await went_away(site)
    assert await verdict(site, credential) is RefuseCode.UNAVAILABLE


async def test_a_disk_that_keeps_no_records_admits_no_newcomers_and_stops_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await site.engine()
    await site.followed()

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(KeptRecords, "put", full)
    credential = site.credential(Role.DRIVER, "anna")
    await until(lambda: not site.central._registry.live)
    assert await verdict(site, credential) is RefuseCode.UNAVAILABLE
    site.registry.revoke(engine.credential.username)
    assert "REVOKED" in await engine.down(), "a revocation acts all the same"
    assert not site.central.failure.done()
    polls = site.registry.polls
    await until(lambda: site.registry.polls > polls + 3)
    await until(lambda: site.central._engine.backlog == 0)
    assert len(site.logged(e.PeerRevoked)) == 1, "and is told once, however often the feed is asked"
    monkeypatch.undo()
    await site.followed()


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(os.urandom(4096))
    with pytest.raises(BrokenRecords, match=r"records\.sqlite cannot be used .* move it away"):
        KeptRecords(path, bytes(32))


def test_records_are_for_their_owner_only(tmp_path: Path) -> None:
    registry = FakeRegistry()
    kept = KeptRecords(tmp_path / "records.sqlite", registry.public_key)
    assert (tmp_path / "records.sqlite").stat().st_mode & 0o777 == 0o600
    assert kept.followed() == Kept(0, 0)
    kept.follow(Kept(3, 5))
    kept.follow(Kept(4, 6))
    assert kept.followed() == Kept(4, 6)
    kept.close()


async def test_an_older_revision_never_replaces_a_newer_one(tmp_path: Path) -> None:
    registry = FakeRegistry()
    kept = KeptRecords(tmp_path / "records.sqlite", registry.public_key)
    credential = registry.register(Role.DRIVER, "anna")
    first = registry.signed(credential.username)
    registry.revoke(credential.username)
    second = registry.signed(credential.username)
    for signed in (second, first, second):
        kept.put(kept.verify(signed), signed)
        record = kept.get(credential.username)
        assert record is not None and record.status == "revoked"
    kept.close()
