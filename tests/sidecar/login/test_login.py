"""Logging in, what the cookie is, who it is, and when it is nobody any more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from evcharge.sidecar.login.concern import role_of
from evcharge.sidecar.login.settings import SESSION_LIFE_S, PageSettings
from evcharge.sidecar.oauth.clients import OAuthClient, secret_mark
from evcharge.sidecar.oauth.keys import LEEWAY_S
from evcharge.sidecar.services import AUDIENCE as BEARER_AUDIENCE
from evcharge.sidecar.services import Services
from evcharge.sidecar.web.route import COOKIE, CSRF_HEADER, HOST_COOKIE
from evcharge.sidecar.web.scopes import ROLES, Scope
from tests.sidecar.conftest import one_database
from tests.sidecar.login.conftest import LoginSite, MakeLoginSite


async def test_a_login_says_who_it_is_and_sets_the_cookie(site: LoginSite) -> None:
    secret = await site.add("anna", "operator")
    done = await site.login("anna", secret)
    now_ms = site.clock.steady_ms()
    csrf = done.me.pop("csrf")
    assert re.fullmatch(r"[\w-]{22}", csrf)
    assert done.me == {
        "name": "anna",
        "role": "operator",
        "scopes": sorted(scope.value for scope in ROLES["operator"]),
        "expires_ms": now_ms + SESSION_LIFE_S * 1000,
        "now_ms": now_ms,
    }
    assert done.header == (f"{COOKIE}={done.cookie}; Max-Age={SESSION_LIFE_S}; Path=/; HttpOnly; SameSite=Strict")
    assert await site.ask("GET", "/ui/me", done.headers) == (200, {**done.me, "csrf": csrf})
    assert (await site.ask("GET", "/list", done.headers))[0] == 200


async def test_each_login_is_a_session_of_its_own(site: LoginSite) -> None:
    secret = await site.add()
    one, two = await site.login("anna", secret), await site.login("anna", secret)
    assert one.cookie != two.cookie
    assert one.me["csrf"] != two.me["csrf"]


@one_database
async def test_over_tls_or_behind_a_proxy_that_speaks_it_the_cookie_is_bound_to_this_host(
    make_login_site: MakeLoginSite,
) -> None:
    site: LoginSite = await make_login_site(Services(page=PageSettings(url="https://site.example")))
    secret = await site.add()
    done = await site.login("anna", secret)
    assert done.name == HOST_COOKIE
    assert done.header.endswith("; Max-Age=43200; Path=/; HttpOnly; SameSite=Strict; Secure")
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 200
    # The plain name can be set by a neighbour below the same domain: over https it is nobody's.
    assert (await site.ask("GET", "/ui/me", {"Cookie": f"{COOKIE}={done.cookie}"}))[0] == 204
    assert (await site.ask("GET", "/list", {"Cookie": f"{COOKIE}={done.cookie}"}))[0] == 401


@pytest.mark.parametrize(
    ("scopes", "role"),
    [
        (ROLES["viewer"], "viewer"),
        (ROLES["operator"], "operator"),
        (ROLES["admin"], "admin"),
        (ROLES["driver"], "custom"),
        (ROLES["viewer"] | {Scope.CHARGE}, "custom"),
        (frozenset[Scope](), "custom"),
    ],
)
def test_a_role_is_its_scopes_exactly(scopes: frozenset[Scope], role: str) -> None:
    assert role_of(scopes) == role


async def test_a_driver_s_client_logs_in_and_sees_what_it_may(site: LoginSite) -> None:
    done = await site.login("app", await site.add("app", "driver"))
    assert done.me["role"] == "custom"
    status, problem = await site.ask("GET", "/api/cps", done.headers)
    assert (status, problem["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"client_id": "anna"},
        {"client_id": "", "client_secret": "x"},
        {"client_id": "a" * 65, "client_secret": "x"},
        {"client_id": "anna", "client_secret": "x" * 257},
        {"client_id": 1, "client_secret": 2},
        {"client_id": "anna", "client_secret": "x", "admin": True},
    ],
)
@one_database
async def test_bad_fields_are_named(site: LoginSite, body: dict[str, Any]) -> None:
    status, problem = await site.ask("POST", "/ui/login", json=body)
    assert (status, problem["code"]) == (422, "bad_fields")


@one_database
async def test_a_form_of_another_site_is_no_login(site: LoginSite) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        status, _ = await site.ask("POST", "/ui/login", {"Content-Type": kind}, data="{}")
        assert status == 415


async def test_a_wrong_secret_and_an_unknown_name_are_one_answer_and_are_counted(site: LoginSite) -> None:
    secret = await site.add()
    wrong = await site.try_login("anna", secret + "x")
    unknown = await site.try_login("nobody", secret)
    # Each request has an id of its own, and nothing else of the two differs.
    assert wrong[1].pop("request_id") != unknown[1].pop("request_id")
    assert wrong == unknown
    assert (wrong[0], wrong[1]["code"], wrong[2]) == (401, "unauthorized", "")
    for _ in range(3):
        assert (await site.try_login("anna", "guess"))[0] == 401
    status, problem, _ = await site.try_login("anna", "guess")
    assert (status, problem["code"]) == (429, "throttled")
    # The one limit for all that does not authenticate: tokens count with it.
    assert (await site.ask("GET", "/list", {"Authorization": "Bearer guess"}))[0] == 429
    # Who knows the secret gets in past a guesser behind the same address.
    await site.login("anna", secret)


async def test_a_session_is_no_bearer_token_and_a_bearer_token_no_session(site: LoginSite) -> None:
    secret = await site.add()
    done = await site.login("anna", secret)
    status, problem = await site.ask("GET", "/list", {"Authorization": f"Bearer {done.cookie}"})
    assert (status, problem["detail"]) == (401, "The token is for somebody else.")
    form = {"grant_type": "client_credentials", "client_id": "anna", "client_secret": secret}
    _, answer = await site.ask("POST", "/oauth2/token", data=form)
    bearer = answer["access_token"]
    assert (await site.ask("GET", "/list", {"Authorization": f"Bearer {bearer}"}))[0] == 200
    for cookie in (bearer, site.operator):
        assert (await site.ask("GET", "/list", {"Cookie": f"{COOKIE}={cookie}"}))[0] == 401


async def test_a_bearer_token_with_a_session_s_claims_is_still_none(site: LoginSite) -> None:
    secret = await site.add()
    claims = {"csrf": "x", "secret": secret_mark(secret)}
    for audience, status in (("evcharge-page", 200), (BEARER_AUDIENCE, 401), ("", 401)):
        token = site.token("anna", ROLES["operator"], audience=audience, more=claims)
        assert (await site.ask("GET", "/ui/me", {"Cookie": f"{COOKIE}={token}"}))[0] == status


async def test_a_token_for_the_page_without_a_session_s_claims_is_none(site: LoginSite) -> None:
    secret = await site.add()
    mark = secret_mark(secret)
    for more in ({}, {"csrf": "x"}, {"secret": mark}, {"csrf": "x", "secret": secret_mark("another")}):
        token = site.token("anna", ROLES["operator"], more=more)
        assert (await site.ask("GET", "/ui/me", {"Cookie": f"{COOKIE}={token}"}))[0] == 401
    stranger = site.token("stranger", ROLES["admin"], more={"csrf": "x", "secret": mark})
    assert (await site.ask("GET", "/ui/me", {"Cookie": f"{COOKIE}={stranger}"}))[0] == 401


async def test_with_a_token_and_a_cookie_the_token_speaks(site: LoginSite) -> None:
    done = await site.login("anna", await site.add("anna", "viewer"))
    body = {"role": "cp", "entity": "CP-1"}
    admin = {"Authorization": f"Bearer {site.operator}"}
    # No csrf is asked for: no browser sends this header by itself.
    assert (await site.ask("POST", "/register", {**done.headers, **admin}, json=body))[0] == 201
    assert (await site.ask("POST", "/register", done.unsafe, json=body))[0] == 403
    bad = {**done.headers, "Authorization": "Bearer no"}
    assert (await site.ask("GET", "/list", bad))[0] == 401
    # A session is asked for there, and a token is none.
    assert (await site.ask("GET", "/ui/me", admin))[0] == 204
    assert (await site.ask("POST", "/ui/logout", admin))[0] == 401


async def test_a_session_ends_by_itself(make_login_site: MakeLoginSite) -> None:
    site: LoginSite = await make_login_site(Services(page=PageSettings(session_life_s=600)))
    done = await site.login("anna", await site.add())
    assert "Max-Age=600;" in done.header
    site.clock.advance(600 + LEEWAY_S - 0.1)
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 200
    site.clock.advance(0.1)
    status, problem = await site.ask("GET", "/ui/me", done.headers)
    assert (status, problem["code"], problem["detail"]) == (
        401,
        "unauthorized",
        "Your session is over; log in again.",
    )


async def test_bad_cookies_are_refused_and_not_counted(site: LoginSite) -> None:
    secret = await site.add()
    done = await site.login("anna", secret)
    head, claims, signature = done.cookie.split(".")
    for cookie in ("", "x", "a.b.c", f"{head}.{claims}.", f"{head}.{claims}.{signature[::-1]}", "x" * 8_000) * 2:
        assert (await site.ask("GET", "/list", {"Cookie": f"{COOKIE}={cookie}"}))[0] == 401
    # A browser goes on sending what it has; whoever logs in then is not locked out, and open routes stay open.
    stale = {"Cookie": f"{COOKIE}={head}.{claims}."}
    assert (await site.try_login("anna", secret, stale))[0] == 200
    assert (await site.ask("GET", "/health", stale))[0] == 200


async def test_a_client_that_is_removed_is_out_with_the_next_look(site: LoginSite) -> None:
    secret = await site.add()
    done = await site.login("anna", secret)
    assert await site.clients.remove("anna")
    await site.look()
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 401
    # Another one of the same name does not inherit its sessions.
    site.clock.advance(1)
    again = await site.login("anna", await site.add())
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 401
    assert (await site.ask("GET", "/ui/me", again.headers))[0] == 200


async def test_a_secret_that_was_rotated_away_ends_its_sessions_and_no_other_ones(site: LoginSite) -> None:
    secret = await site.add()
    done = await site.login("anna", secret)
    newer = await site.clients.rotate("anna", site.clock.steady_ms(), overlap_s=60)
    assert newer is not None
    await site.look()
    other = await site.login("anna", newer)
    site.clock.advance(59)
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 200
    site.clock.advance(1)
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 401
    assert (await site.ask("GET", "/ui/me", other.headers))[0] == 200


async def test_a_login_with_a_secret_of_a_moment_ago_needs_no_look(site: LoginSite) -> None:
    await site.look()
    secret = await site.clients.add(
        OAuthClient(client_id="new", scopes=ROLES["viewer"], created_ms=site.clock.steady_ms())
    )
    done = await site.login("new", secret)
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 200


async def test_who_logs_out_is_out_with_every_copy_of_the_cookie_and_after_a_restart(
    make_login_site: MakeLoginSite,
) -> None:
    site: LoginSite = await make_login_site()
    secret = await site.add()
    done, other = await site.login("anna", secret), await site.login("anna", secret)
    async with site.client.post("/ui/logout", headers=done.unsafe) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
        assert answer.headers["Set-Cookie"] == f"{COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 401
    assert (await site.ask("POST", "/ui/logout", done.unsafe))[0] == 401
    assert (await site.ask("GET", "/ui/me", other.headers))[0] == 200
    # A second one over the same database: what a restart makes.
    again: LoginSite = await make_login_site()
    assert (await again.ask("GET", "/ui/me", done.headers))[0] == 401
    assert (await again.ask("GET", "/ui/me", other.headers))[0] == 200


async def test_only_a_session_with_its_csrf_can_be_ended(site: LoginSite) -> None:
    done = await site.login("anna", await site.add())
    assert (await site.ask("POST", "/ui/logout"))[0] == 401
    status, problem = await site.ask("POST", "/ui/logout", done.headers)
    assert (status, problem["code"]) == (403, "csrf")
    assert CSRF_HEADER in problem["detail"]
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 200
