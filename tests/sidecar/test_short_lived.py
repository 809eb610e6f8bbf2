"""Credentials that end by themselves: role debug only, an hour unless asked for, never more than a day (SPEC §8)."""

from __future__ import annotations

import msgspec
import pytest

from evcharge.net.registry_client import RegistryCallFailed, register
from protocol.credentials import Credential, Role
from tests.sidecar.conftest import HandClock, Site

HOUR_MS = 3_600_000


@pytest.mark.parametrize(("asked", "life_ms"), [(None, HOUR_MS), (1, 1_000), (90, 90_000), (86_400, 24 * HOUR_MS)])
async def test_the_life_asked_for_is_signed_and_told(
    site: Site, clock: HandClock, asked: int | None, life_ms: int
) -> None:
    raw = await register(str(site.client.make_url("/")), site.operator, "debug", "me", valid_s=asked)
    assert Credential.from_json(raw).role is Role.DEBUG
    _, records = await site.changes()
    until_ms = clock.steady_ms() + life_ms
    assert records[-1].not_after_ms == until_ms
    assert msgspec.json.decode(raw)["not_after_ms"] == until_ms


@pytest.mark.parametrize("asked", [0, -1, 86_401, 2**60, True, "1h", 1.5, []])
async def test_no_other_life_is_given(site: Site, asked: object) -> None:
    body = {"role": "debug", "entity": "me", "valid_s": asked}
    status, answer, _ = await site.ask("POST", "/register", token=site.operator, body=body)
    assert (status, set(answer["fields"])) == (422, {"valid_s"})


@pytest.mark.parametrize("role", ["cp", "monitor", "driver", "gateway"])
async def test_other_roles_have_none(site: Site, role: str) -> None:
    with pytest.raises(RegistryCallFailed, match="for role debug only"):
        await register(str(site.client.make_url("/")), site.operator, role, "x", valid_s=60)
    assert "not_after_ms" not in await site.register("x", role)


async def test_it_ends_at_its_time_and_the_name_is_free_again(site: Site, clock: HandClock) -> None:
    first = await site.register("me", "debug", valid_s=60)
    person = {"username": first["username"], "password": first["password"]}
    clock.advance(59.0)
    assert (await site.ask("POST", "/verify", body=person))[0] == 200
    clock.advance(1.0)
    assert (await site.ask("POST", "/verify", body=person))[0] == 401
    assert (await site.register("me", "debug"))["epoch"] == 2
