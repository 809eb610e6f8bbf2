"""OAuth2 and JWT libraries that nobody here wrote work unchanged, and ``curl`` does."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import jwt as pyjwt
import pytest
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt as jose
from joserfc.jwk import KeySet

from evcharge.sidecar.services import AUDIENCE
from tests.support.http_site import HttpSite
from tests.support.site import CP

pytestmark = pytest.mark.process

WELL_KNOWN = "/.well-known/oauth-authorization-server"
RECOMMEND = "/orchestrator/recommend?battery_percent=40"


def metadata(http_site: HttpSite) -> dict[str, Any]:
    with OAuth2Session() as session:
        session.trust_env = False
        found: dict[str, Any] = session.get(http_site.url + WELL_KNOWN, withhold_token=True).json()
    return found


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_fetches_a_token_and_asks_for_a_recommendation(http_site: HttpSite, method: str) -> None:
    about = metadata(http_site)
    assert method in about["token_endpoint_auth_methods_supported"]
    made = http_site.client(f"authlib-{method.replace('_', '-')}", "--role", "driver")
    with OAuth2Session(made["client_id"], made["client_secret"], token_endpoint_auth_method=method) as session:
        session.trust_env = False
        token = session.fetch_token(about["token_endpoint"], grant_type="client_credentials", scope="recommend")
        assert (token["token_type"], token["scope"]) == ("Bearer", "recommend")
        answer = session.get(http_site.url + RECOMMEND)
        assert answer.status_code == 200, answer.text
        assert answer.json()["decision"]["recommended_station"] is not None
        assert session.get(http_site.url + "/api/cps").status_code == 403


def test_pyjwt_and_joserfc_verify_our_tokens_from_the_jwks(http_site: HttpSite) -> None:
    about = metadata(http_site)
    token = http_site.token("viewer")
    assert token is not None
    theirs = pyjwt.PyJWKClient(about["jwks_uri"])
    key = theirs.get_signing_key_from_jwt(token)
    claims = pyjwt.decode(token, key.key, algorithms=["RS256"], audience=AUDIENCE, issuer=about["issuer"])
    assert claims["sub"] == "app-viewer"
    assert set(claims) == {"iss", "aud", "sub", "iat", "nbf", "exp", "jti", "scope", "since"}
    with OAuth2Session() as session:
        session.trust_env = False
        keys = KeySet.import_key_set(session.get(about["jwks_uri"], withhold_token=True).json())
    found = jose.decode(token, keys, algorithms=["RS256"])
    rules = jose.JWTClaimsRegistry(
        iss={"essential": True, "value": about["issuer"]}, aud={"essential": True, "value": AUDIENCE}
    )
    rules.validate(found.claims)
    assert found.claims == claims
    assert found.header == {"alg": "RS256", "typ": "JWT", "kid": key.key_id}


def test_curl_as_in_the_readme(http_site: HttpSite) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    made = http_site.client("curl", "--role", "operator")

    def curl(*arguments: str) -> Any:
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--fail-with-body", "--noproxy", "*", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    secret = f"{made['client_id']}:{made['client_secret']}"
    token = curl("-u", secret, "-d", "grant_type=client_credentials", made_url(http_site))["access_token"]
    bearer = ("-H", f"Authorization: Bearer {token}")
    rows = curl(*bearer, f"{http_site.url}/api/cps")["charge_points"]
    assert CP in {row["cp_id"] for row in rows}
    assert curl(*bearer, "-X", "POST", f"{http_site.url}/api/cps/{CP}/stop")
    assert curl(*bearer, f"{http_site.url}/api/cps/{CP}")["state"] == "STOPPED"
    assert curl(*bearer, "-X", "POST", f"{http_site.url}/api/cps/{CP}/resume")


def made_url(http_site: HttpSite) -> str:
    return str(metadata(http_site)["token_endpoint"])
