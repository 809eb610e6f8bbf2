"""No request that another site makes changes anything, whatever cookie the browser adds to it."""

from __future__ import annotations

from typing import Any

import pytest

from evcharge.sidecar.login.settings import PageSettings
from evcharge.sidecar.services import Services
from evcharge.sidecar.web.route import CSRF_HEADER
from tests.sidecar.login.conftest import LoginSite, MakeLoginSite

BODY = {"role": "cp", "entity": "CP-1"}


@pytest.fixture
def database_url() -> None:
    """Nothing of it is stored: once is enough."""


async def register(site: LoginSite, headers: dict[str, str]) -> tuple[int, str]:
    status, answer = await site.ask("POST", "/register", headers, json=BODY)
    return status, answer.get("code", "")


async def test_an_unsafe_method_needs_the_session_s_own_csrf(site: LoginSite) -> None:
    secret = await site.add("anna", "admin")
    done, other = await site.login("anna", secret), await site.login("anna", secret)
    right: str = done.me["csrf"]
    wrong: list[dict[str, str]] = [{}]
    wrong += [{CSRF_HEADER: one} for one in ("", "x", right[:-1], right + "x", right.swapcase(), other.me["csrf"], "é")]
    for more in wrong:
        assert await register(site, {**done.headers, **more}) == (403, "csrf"), more
    # It is a header's word alone: not a query's, not a cookie's.
    asked = {"Cookie": f"{done.headers['Cookie']}; csrf={right}"}
    status, _ = await site.ask("POST", f"/register?csrf={right}", asked, json=BODY)
    assert status == 403
    assert await register(site, done.unsafe) == (201, "")


async def test_reading_needs_none(site: LoginSite) -> None:
    done = await site.login("anna", await site.add())
    assert (await site.ask("GET", "/list", done.headers))[0] == 200
    assert (await site.ask("GET", "/list", {**done.headers, "Sec-Fetch-Site": "cross-site"}))[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ],
    ids=repr,
)
async def test_another_site_s_request_is_none_even_with_the_csrf(site: LoginSite, header: dict[str, str]) -> None:
    secret = await site.add("anna", "admin")
    done = await site.login("anna", secret)
    assert await register(site, {**done.unsafe, **header}) == (403, "csrf")
    # Nobody is logged in as somebody else by another site either.
    status, problem, cookie = await site.try_login("anna", secret, header)
    assert (status, problem["code"], cookie) == (403, "csrf", "")
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 200


async def test_the_page_s_own_requests_pass(site: LoginSite) -> None:
    secret = await site.add("anna", "admin")
    own = str(site.client.make_url("/")).rstrip("/")
    headers = {"Origin": own, "Sec-Fetch-Site": "same-origin"}
    assert (await site.try_login("anna", secret, headers))[0] == 200
    done = await site.login("anna", secret)
    assert await register(site, {**done.unsafe, **headers}) == (201, "")


async def test_behind_a_proxy_the_page_s_url_is_its_origin(make_login_site: MakeLoginSite) -> None:
    services = Services(page=PageSettings(url="https://site.example/"))
    site: LoginSite = await make_login_site(services)
    secret = await site.add()
    host: dict[str, Any] = {"Host": "other.example"}
    for origin, more, status in (
        ("https://site.example", {}, 200),
        ("https://other.example", host, 200),
        ("http://site.example", {}, 403),
        ("http://other.example", host, 403),
        ("https://evil.example", {}, 403),
    ):
        assert (await site.try_login("anna", secret, {"Origin": origin, **more}))[0] == status, origin
    problem = (await site.try_login("anna", secret, {"Origin": "http://site.example"}))[1]
    assert "https://site.example" in problem["detail"]
