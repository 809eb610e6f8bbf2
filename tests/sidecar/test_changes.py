"""The change feed: order, completeness, limits, and that a waiting follower wakes at once."""

from __future__ import annotations

import asyncio

import pytest

from evcharge.sidecar.auth import Scope
from evcharge.sidecar.registry import rules as registry_module
from protocol.credentials import Role
from protocol.records import BadRecord, SignedRecord, open_record, sign_record
from tests.sidecar.conftest import MakeSite, Site


async def test_a_waiting_follower_wakes_at_a_registration_and_at_a_revocation(site: Site) -> None:
    rev, _ = await site.changes()
    for change, expected in [
        (lambda: site.register("CP-1"), "active"),
        (lambda: site.ask("DELETE", "/register/CP-1", token=site.operator), "revoked"),
    ]:
        waiting = asyncio.create_task(site.changes(rev, wait=25))
        await until_waiting(site)
        assert not waiting.done()
        await change()
        # The clock of the test's patience, not of the feed: an answer that waits for its 25 s fails here.
        rev, records = await asyncio.wait_for(waiting, 5)
        assert [record.status for record in records] == [expected]
        assert [record.rev for record in records] == [rev]


async def until_waiting(site: Site) -> None:
    """Until a follower waits in the registry."""
    event = site.opened.registry._changed
    while not event._waiters:
        await asyncio.sleep(0)


async def test_a_follower_without_news_is_answered_after_its_wait(site: Site) -> None:
    rev, _ = await site.changes()
    assert await site.changes(rev, wait=0.01) == (rev, [])
    assert await site.changes(rev) == (rev, [])


async def test_only_the_newest_revision_of_a_name_is_told(site: Site) -> None:
    await site.register("CP-1")
    await site.ask("DELETE", "/register/CP-1", token=site.operator)
    await site.register("CP-1")
    rev, records = await site.changes(2)
    assert (rev, [(record.username, record.status, record.rev) for record in records]) == (
        5,
        [("cp-cp-1", "active", 5)],
    )


async def test_a_long_feed_comes_in_pieces(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "CHANGES_ROWS", 4)
    for number in range(9):
        await site.register(f"CP-{number}")
    await site.ask("DELETE", "/register/CP-0", token=site.operator)
    after, revisions, names = 0, [], []
    for _ in range(10):
        rev, records = await site.changes(after)
        assert len(records) <= 4
        if not records:
            break
        assert rev == records[-1].rev
        revisions += [record.rev for record in records]
        names += [record.username for record in records]
        after = rev
    assert revisions == sorted(set(revisions))
    assert len(set(names)) == len(names) == 11
    assert names[-1] == "cp-cp-0"


async def test_a_follower_that_knows_more_than_the_registry_is_told(site: Site) -> None:
    status, said, _ = await site.ask("GET", "/changes?after=99&wait=25", token=site.service)
    assert (status, said["code"]) == (409, "rev_ahead")


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=", "wait=-1", "wait=nan", "wait=x"])
async def test_bad_queries_are_named(site: Site, query: str) -> None:
    status, said, _ = await site.ask("GET", f"/changes?{query}", token=site.service)
    assert (status, set(said["fields"])) == (422, {query.partition("=")[0]})


async def test_followers_that_wait_are_bounded(make_site: MakeSite) -> None:
    site: Site = await make_site(waiters=1)
    rev, _ = await site.changes()
    waiting = asyncio.create_task(site.changes(rev, wait=25))
    await until_waiting(site)
    status, said, headers = await site.ask("GET", f"/changes?after={rev}&wait=25", token=site.service)
    assert (status, said["code"], headers["Retry-After"]) == (503, "busy", "1")
    assert await site.changes(rev) == (rev, [])
    await site.register("CP-1")
    assert (await waiting)[0] == rev + 1
    assert (await site.changes(rev + 1, wait=0.001))[1] == []


async def test_a_drain_wakes_every_follower(site: Site) -> None:
    rev, _ = await site.changes()
    waiting = asyncio.create_task(site.changes(rev, wait=25))
    await until_waiting(site)
    site.opened.registry.close()
    assert await asyncio.wait_for(waiting, 5) == (rev, [])
    assert await site.changes(rev, wait=25) == (rev, [])


async def test_a_tampered_or_foreign_record_does_not_open(site: Site) -> None:
    await site.register("CP-1")
    _, answer, _ = await site.ask("GET", "/changes", token=site.service)
    record = site.open(answer["records"][0])
    forged = sign_record(record, bytes(32))
    with pytest.raises(BadRecord):
        open_record(forged, site.signer)
    first, second = answer["records"][:2]
    with pytest.raises(BadRecord):
        open_record(SignedRecord(signed=first["signed"], signature=second["signature"]), site.signer)
    assert record.role is Role.CENTRAL
    assert site.opened.tokens.scope_of(f"bearer {site.service}") is Scope.SERVICE
