"""Client apps in the database: secrets shown once, kept as hashes, rotated with an overlap."""

from __future__ import annotations

import asyncio

import pytest

from evcharge.net.clock import SystemClock
from evcharge.sidecar.oauth.clients import ClientExists, OAuthClient
from evcharge.sidecar.oauth.known import KnownClients
from evcharge.sidecar.web.scopes import Scope
from tests.sidecar.conftest import everything
from tests.sidecar.oauth.conftest import OAuthSite


async def test_the_life_of_a_client(site: OAuthSite) -> None:
    now = site.clock.steady_ms()
    secret = await site.add("app", Scope.RECOMMEND)
    known = await site.clients.authenticate("app", secret, now)
    assert known is not None
    assert known == await site.clients.get("app")
    assert [one.client_id for one in await site.clients.listed()] == ["app"]
    with pytest.raises(ClientExists):
        await site.add("app")
    for wrong in ("", "app", secret[:-1], secret + "x", secret.swapcase()):
        assert await site.clients.authenticate("app", wrong, now) is None
    assert await site.clients.authenticate("nobody", secret, now) is None
    assert await site.clients.authenticate("no body'--", secret, now) is None
    stored = await everything(site.database)
    assert b"app" in stored
    assert secret.encode() not in stored
    assert await site.clients.remove("app")
    assert not await site.clients.remove("app")
    assert await site.clients.authenticate("app", secret, now) is None


async def test_a_rotated_secret_stays_good_for_its_overlap(site: OAuthSite) -> None:
    first, now = await site.add("app"), site.clock.steady_ms()
    second = await site.clients.rotate("app", now, overlap_s=60)
    assert second is not None
    good = [await site.clients.authenticate("app", one, now + 59_999) is not None for one in (first, second)]
    assert good == [True, True]
    good = [await site.clients.authenticate("app", one, now + 60_000) is not None for one in (first, second)]
    assert good == [False, True]
    third = await site.clients.rotate("app", now + 1_000, overlap_s=0)
    assert third is not None
    after = [await site.clients.authenticate("app", one, now + 1_000) is not None for one in (first, second, third)]
    assert after == [False, False, True], "without an overlap all of before end at once"
    assert await site.clients.rotate("nobody", now) is None


@pytest.mark.parametrize("name", ["", "App", "a b", "-a", "a" * 65, "a'b"])
async def test_a_name_that_is_none(site: OAuthSite, name: str) -> None:
    with pytest.raises(ValueError, match="a client's name is 1 to 64"):
        await site.add(name)


async def test_nobody_gets_centrals_own_scope(site: OAuthSite) -> None:
    for scopes in (frozenset[Scope](), frozenset({Scope.REGISTRY_SERVICE, Scope.CHARGE})):
        with pytest.raises(ValueError, match="never Central's own"):
            await site.clients.add(OAuthClient(client_id="a", scopes=scopes, created_ms=0))


async def test_a_client_that_was_added_right_behind_a_look_is_known(site: OAuthSite) -> None:
    known = KnownClients(site.clients, SystemClock())
    for name in ("one", "two", "three"):
        await known.refresh()
        await site.add(name)
        await asyncio.gather(*(known.look_again() for _ in range(20)))
        assert known.since(name) is not None
