"""The token endpoint to the letter of RFC 6749 §4.4 and §5, and the documents that client libraries begin with."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from aiohttp import encode_basic_auth

from evcharge.sidecar.oauth.endpoint import JWKS_PATH, METADATA_PATH, TOKEN_PATH
from evcharge.sidecar.oauth.keys import ANNOUNCE_S
from evcharge.sidecar.web.scopes import Scope
from tests.sidecar.oauth.conftest import OAuthSite

GRANT = {"grant_type": "client_credentials"}


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": encode_basic_auth(name, secret)}


async def ask(site: OAuthSite, form: dict[str, str] | str, **more: Any) -> tuple[int, dict[str, Any], Any]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | more.pop("headers", {})
    async with site.client.post(TOKEN_PATH, data=form, headers=headers, **more) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def test_a_token_by_header_and_by_form(site: OAuthSite) -> None:
    secret = await site.add("app", Scope.RECOMMEND, Scope.CHARGE)
    by_form = GRANT | {"client_id": "app", "client_secret": secret}
    for form, more in ((GRANT, {"headers": basic("app", secret)}), (by_form, {})):
        status, body, headers = await ask(site, form, **more)
        assert status == 200
        assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 900, "charge recommend")
        assert (headers["Cache-Control"], headers["Pragma"]) == ("no-store", "no-cache")
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        async with site.client.get("/orchestrator/recommend", headers=bearer) as answer:
            assert (answer.status, await answer.json()) == (200, {"client": "app"})


async def test_fewer_scopes_when_fewer_are_asked_for(site: OAuthSite) -> None:
    secret = await site.add("app", Scope.RECOMMEND, Scope.CHARGE)
    _, body, _ = await ask(site, GRANT | {"scope": "charge"}, headers=basic("app", secret))
    assert body["scope"] == "charge"
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    async with site.client.get("/orchestrator/recommend", headers=bearer) as answer:
        assert answer.status == 403
        assert 'error="insufficient_scope", scope="recommend"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ("", 400, "invalid_request"),
        ("grant_type=", 400, "invalid_request"),
        ("grant_type=password", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        ("grant_type=client_credentials&scope=root", 400, "invalid_scope"),
        ("grant_type=client_credentials&scope=audit:read", 400, "invalid_scope"),
        ("grant_type=client_credentials&client_secret=x", 400, "invalid_request"),
        ("grant_type=client_credentials&client_id=other", 400, "invalid_request"),
        ("grant_type=client_credentials&%ff=%fe", 400, "invalid_request"),
    ],
)
async def test_each_error_by_its_name(site: OAuthSite, form: str, status: int, error: str) -> None:
    secret = await site.add()
    got, body, headers = await ask(site, form, headers=basic("app", secret))
    assert (got, body["error"]) == (status, error)
    assert body["error_description"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"].startswith("application/json")
    assert secret not in str(body)


@pytest.mark.parametrize(
    "header",
    [
        "Basic " + base64.b64encode(b"app:wrong").decode(),
        "Basic " + base64.b64encode(b"nobody:wrong").decode(),
        "Basic " + base64.b64encode(b"app").decode(),
        "Basic !!",
        "Basic " + base64.b64encode("app:é".encode()).decode(),
        "Bearer abc",
        "",
    ],
)
async def test_an_unknown_client_hears_nothing_but_that(site: OAuthSite, header: str) -> None:
    await site.add()
    status, body, headers = await ask(site, GRANT, headers={"Authorization": header})
    assert (status, body["error"]) == (401, "invalid_client")
    assert headers["WWW-Authenticate"].startswith("Basic ")


async def test_who_guesses_is_throttled_and_a_good_client_is_not(site: OAuthSite) -> None:
    secret = await site.add()
    for _ in range(5):
        assert (await ask(site, GRANT, headers=basic("app", "guess")))[0] == 401
    status, _, headers = await ask(site, GRANT, headers=basic("app", "guess"))
    assert (status, headers["Retry-After"]) == (429, "600")
    assert (await ask(site, GRANT, headers=basic("app", secret)))[0] == 200


async def test_what_has_no_meaning_here_is_ignored(site: OAuthSite) -> None:
    secret = await site.add()
    assert (await ask(site, GRANT | {"audience": "x", "scope": ""}, headers=basic("app", secret)))[0] == 200


async def test_the_metadata_lead_to_everything(site: OAuthSite) -> None:
    async with site.client.get(METADATA_PATH) as answer:
        said = await answer.json()
    assert said["token_endpoint"] == site.url + TOKEN_PATH
    assert said["jwks_uri"] == site.url + JWKS_PATH
    assert said["grant_types_supported"] == ["client_credentials"]
    assert "registry:service" not in said["scopes_supported"]


async def test_a_key_that_another_process_made_is_published_before_it_signs(site: OAuthSite) -> None:
    secret = await site.add()

    async def kids() -> list[str]:
        async with site.client.get(JWKS_PATH) as answer:
            return [key["kid"] for key in (await answer.json())["keys"]]

    async def signer() -> str:
        _, body, _ = await ask(site, GRANT, headers=basic("app", secret))
        return str(body["access_token"]).split(".")[0]

    (old,) = await kids()
    first = await signer()
    site.clock.advance(10)
    new = site.keys.add(site.clock.steady_ms())
    assert await kids() == [old, new.kid]
    assert await signer() == first
    site.clock.advance(ANNOUNCE_S)
    assert await signer() != first


async def test_a_damaged_key_file_ends_nothing_that_works(site: OAuthSite, tmp_path: Path) -> None:
    secret = await site.add()
    for damage in (b"", b"{", b"[]"):
        file = tmp_path / "jwt" / "0009999999999999-x.json"
        file.write_bytes(damage)
        file.chmod(0o600)
        status, body, _ = await ask(site, GRANT, headers=basic("app", secret))
        assert status == 200, body
        async with site.client.get(JWKS_PATH) as answer:
            assert len((await answer.json())["keys"]) == 1
