"""A credential gets a new secret while the old one goes on for a while; then the old one ends by itself."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest

from evcharge.sidecar.registry.rules import DEFAULT_OVERLAP_S
from protocol.credentials import Credential
from tests.sidecar.conftest import HandClock, Site


async def rotate(site: Site, name: str = "CP-1", **body: object) -> tuple[int, dict[str, Any]]:
    status, answer, _ = await site.ask("POST", f"/rotate/{name}", token=site.operator, body=body)
    return status, answer


async def good(site: Site, answer: dict[str, Any]) -> bool:
    person = {"username": answer["username"], "password": answer["password"]}
    return (await site.ask("POST", "/verify", body=person))[0] == 200


async def keys(site: Site) -> dict[int, bytes]:
    _, records = await site.changes()
    return next(record for record in records if record.username == "cp-cp-1").keys


async def test_both_secrets_are_good_until_the_overlap_is_over(site: Site, clock: HandClock) -> None:
    old = await site.register("CP-1")
    status, new = await rotate(site, overlap_s=60)
    assert status == 200
    assert set(new) == set(old) - {"station_id"} | {"station_id"}
    assert (new["username"], new["epoch"], new["station_id"]) == (old["username"], 2, old["station_id"])
    assert new["password"] != old["password"]
    first, second = (Credential.from_json(msgspec.json.encode(one)).public_key() for one in (old, new))
    assert await keys(site) == {1: first, 2: second}
    assert await good(site, old)
    assert await good(site, new)

    clock.advance(59.0)
    assert await site.opened.registry.retire_due() == pytest.approx(1.0)
    assert await good(site, old)
    clock.advance(1.0)
    assert await site.opened.registry.retire_due() == math.inf
    assert await keys(site) == {2: second}
    assert not await good(site, old)
    assert await good(site, new)


async def test_a_follower_hears_of_the_new_key_and_of_the_end_of_the_old_one(site: Site, clock: HandClock) -> None:
    await site.register("CP-1")
    rev = site.opened.registry.rev
    following = asyncio.create_task(site.changes(rev, wait=20))
    await rotate(site)
    rev, records = await following
    assert [set(record.keys) for record in records] == [{1, 2}]
    following = asyncio.create_task(site.changes(rev, wait=20))
    clock.advance(DEFAULT_OVERLAP_S)
    await site.opened.registry.retire_due()
    _, records = await following
    assert [set(record.keys) for record in records] == [{2}]


async def test_without_an_overlap_the_old_secret_ends_at_once(site: Site) -> None:
    old = await site.register("CP-1")
    _, new = await rotate(site, overlap_s=0)
    assert set(await keys(site)) == {2}
    assert not await good(site, old)
    assert await good(site, new)


async def test_of_three_the_oldest_ends_at_once(site: Site) -> None:
    answers = [await site.register("CP-1")]
    answers += [(await rotate(site))[1] for _ in range(3)]
    assert set(await keys(site)) == {3, 4}
    assert [await good(site, answer) for answer in answers] == [False, False, True, True]


async def test_a_revocation_ends_both(site: Site) -> None:
    old = await site.register("CP-1")
    _, new = await rotate(site)
    await site.ask("DELETE", "/register/CP-1", token=site.operator)
    assert not await good(site, old)
    assert not await good(site, new)
    status, said = await rotate(site)
    assert (status, said["code"]) == (409, "revoked")


async def test_what_cannot_be_rotated(site: Site) -> None:
    for name, expected in (("nobody", (404, "unknown")), ("central", (409, "pinned"))):
        status, said = await rotate(site, name)
        assert (status, said["code"]) == expected
    await site.register("CP-1")
    for overlap in (-1, 86_401, "x", 1.5, True):
        status, said = await rotate(site, overlap_s=overlap)
        assert (status, set(said["fields"])) == (422, {"overlap_s"})
    assert set(await keys(site)) == {1}


async def test_the_background_task_retires_what_falls_due(site: Site, clock: HandClock) -> None:
    """It sleeps until something is rotated: the rotation wakes it, and what is due by then ends."""
    await site.register("CP-1")
    working = asyncio.create_task(site.opened.registry.keep_retiring())
    try:
        await rotate(site, overlap_s=30)
        clock.advance(30.0)
        await site.register("CP-2")
        rev = site.opened.registry.rev
        following = asyncio.create_task(site.changes(rev, wait=20))
        await rotate(site, "CP-2", overlap_s=60)
        _, records = await following
        while not any(set(record.keys) == {2} for record in records):
            _, records = await site.changes()
    finally:
        working.cancel()


async def test_a_rotation_needs_no_body(site: Site) -> None:
    await site.register("CP-1")
    async with site.client.post("/rotate/CP-1", headers={"Authorization": f"Bearer {site.operator}"}) as answer:
        assert (answer.status, (await answer.json())["epoch"]) == (200, 2)


async def test_the_sidecar_keeps_its_own(site: Site) -> None:
    status, said = await rotate(site, "sidecar")
    assert (status, said["code"]) == (409, "pinned")
    status, said, _ = await site.ask("DELETE", "/register/sidecar", token=site.operator)
    assert (status, said["code"]) == (409, "pinned")
