"""Ten a minute for each client on the gateway's routes, exactly: the whole sidecar, and a clock in the test's hand."""

from __future__ import annotations

import os

from evcharge.sidecar.oauth.clients import Clients, OAuthClient
from evcharge.sidecar.web.scopes import ROLES
from tests.sidecar.conftest import HandClock, Site

ASK = "/orchestrator/recommend?battery_percent=40"


async def client(site: Site, name: str) -> str:
    """An access token of a new client app."""
    clients = Clients(site.database, os.urandom)
    made = OAuthClient(client_id=name, scopes=ROLES["driver"], created_ms=site.clock.steady_ms())
    secret = await clients.add(made)
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
    async with site.client.post("/oauth2/token", data=form) as answer:
        return str((await answer.json())["access_token"])


async def test_the_eleventh_in_a_minute_is_429_for_each_client_by_itself(site: Site, clock: HandClock) -> None:
    first, second = await client(site, "first"), await client(site, "second")

    async def statuses(token: str, times: int) -> list[int]:
        return [(await site.ask("GET", ASK, token=token))[0] for _ in range(times)]

    # Nobody is connected to Central here: 503 is an answer like any other, and counts.
    assert await statuses(first, 4) == [503] * 4
    clock.advance(20.0)
    assert await statuses(first, 6) == [503] * 6
    status, said, headers = await site.ask("GET", ASK, token=first)
    assert (status, said["code"], headers["Retry-After"]) == (429, "throttled", "40")
    assert headers["RateLimit-Policy"] == '"gateway";q=10;w=60'
    assert headers["RateLimit"] == '"gateway";r=0;t=40'

    assert await statuses(second, 10) == [503] * 10, "another client has its own ten"
    status, _, headers = await site.ask("GET", ASK, token=second)
    assert (status, headers["Retry-After"]) == (429, "60")

    clock.advance(39.0)
    assert await statuses(first, 1) == [429]
    clock.advance(1.0)
    assert await statuses(first, 5) == [503] * 4 + [429], "four of the window have passed, and no more"
    assert await statuses(second, 1) == [429]


async def test_the_gateway_s_routes_share_their_ten_and_others_have_their_own(site: Site) -> None:
    token = await client(site, "app")
    for path in ("/solar-status", "/battery-status", "/grid-load", "/optimize-charging", ASK) * 2:
        assert (await site.ask("GET", path, token=token))[0] == 503
    assert (await site.ask("GET", "/solar/1.0.0/solar-status", token=token))[0] == 429
    assert (await site.ask("GET", "/health"))[0] == 200


async def test_a_throttled_client_costs_nothing_below(site: Site) -> None:
    """What is refused by the throttle is not read: neither its query nor its body."""
    token = await client(site, "app")
    for _ in range(10):
        await site.ask("POST", "/charge", token=token, data=b"no JSON")
    status, said, _ = await site.ask("POST", "/charge", token=token, data=b"no JSON")
    assert (status, said["code"]) == (429, "throttled")
    assert (await site.ask("GET", "/orchestrator/recommend?nonsense", token=token))[0] == 429
