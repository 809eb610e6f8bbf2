"""Access tokens: two libraries that nobody here wrote agree with us, and no known attack gets through."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from typing import Any

import jwt as pyjwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as jose
from joserfc.jwk import KeySet

from evcharge.sidecar.oauth.keys import LEEWAY_S, make_key
from evcharge.sidecar.oauth.tokens import BadToken, Issuer, Known, Verifier, issue
from evcharge.sidecar.web.scopes import Scope

NOW = 1_763_683_200
OURS = make_key(NOW * 1000)
THEIRS = make_key(NOW * 1000)
CLIENT = "greencharge-app"
# When the client was made, UTC ms.
SINCE = (NOW - 3_600) * 1000
ISSUER, AUDIENCE = "greencharge", "ev-clients"
OWN = Issuer(name=ISSUER, audience=AUDIENCE, key=lambda kid: OURS.key if kid == OURS.kid else None, own=True)
OTHER = Issuer(name="https://id.example", audience="evcharge", key=lambda kid: THEIRS.key if kid == "k" else None)


class Here:
    """Clients that there are, all made at the same moment."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def since(self, name: str) -> int | None:
        return SINCE if name in self.names else None


def verifier(known: Known | None = None) -> Verifier:
    return Verifier([OWN, OTHER], known or Here(CLIENT))


def token(**more: Any) -> str:
    asked: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "client": CLIENT, "now_s": NOW, "life_s": 900}
    asked["since"] = SINCE
    return issue(OURS, scopes=frozenset({Scope.RECOMMEND}), entropy=lambda size: bytes(size), **(asked | more))


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**more: Any) -> dict[str, Any]:
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": CLIENT,
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 900,
        "scope": "recommend",
        "since": SINCE,
    }
    return {name: value for name, value in (whole | more).items() if value is not None}


def signed(header: dict[str, Any], body: dict[str, Any], key: Any = OURS.key) -> str:
    first, second = part(header), part(body)
    raw = pyjwt.algorithms.RSAAlgorithm(pyjwt.algorithms.RSAAlgorithm.SHA256).sign(
        f"{first}.{second}".encode(), key.private_key
    )
    return f"{first}.{second}.{part(raw)}"


HEADER = {"alg": "RS256", "typ": "JWT", "kid": OURS.kid}


def hs256_with_the_public_key() -> str:
    text = f"{part({**HEADER, 'alg': 'HS256'})}.{part(claims())}"
    return f"{text}.{part(hmac.new(OURS.key.as_pem(private=False), text.encode(), hashlib.sha256).digest())}"


ATTACKS: dict[str, str] = {
    "alg none": f"{part({**HEADER, 'alg': 'none'})}.{part(claims())}.",
    "alg None in capitals": f"{part({**HEADER, 'alg': 'NoNe'})}.{part(claims())}.",
    "HS256 with the public key": hs256_with_the_public_key(),
    "RS384": signed({**HEADER, "alg": "RS384"}, claims()),
    "no kid": signed({"alg": "RS256"}, claims()),
    "wrong kid": signed({**HEADER, "kid": "another"}, claims()),
    "kid of another issuer's key": signed({**HEADER, "kid": "k"}, claims(), THEIRS.key),
    "kid that is a path": signed({**HEADER, "kid": "../../../../dev/null"}, claims()),
    "kid that is a query": signed({**HEADER, "kid": "x' UNION SELECT 'AAAA"}, claims()),
    "kid that is a list": signed({**HEADER, "kid": [OURS.kid]}, claims()),
    "a key in the header": signed({**HEADER, "kid": "own", "jwk": THEIRS.public}, claims(), THEIRS.key),
    "an address of keys in the header": signed(
        {**HEADER, "kid": "own", "jku": "http://127.0.0.1/k"}, claims(), THEIRS.key
    ),
    "a critical extension": signed({**HEADER, "crit": ["b64"], "b64": False}, claims()),
    "another kind of token": signed({**HEADER, "typ": "logout+jwt"}, claims()),
    "wrong issuer": signed(HEADER, claims(iss="https://evil.example")),
    "wrong audience": signed(HEADER, claims(aud="other")),
    "audiences without ours": signed(HEADER, claims(aud=["other", "another"])),
    "no audience": signed(HEADER, claims(aud=None)),
    "no end": signed(HEADER, claims(exp=None)),
    "an end that is a text": signed(HEADER, claims(exp=str(NOW + 900))),
    "expired": signed(HEADER, claims(exp=NOW - LEEWAY_S)),
    "not yet valid": signed(HEADER, claims(nbf=NOW + LEEWAY_S + 1)),
    "issued in the future": signed(HEADER, claims(iat=NOW + LEEWAY_S + 1)),
    "no subject": signed(HEADER, claims(sub="")),
    "a client of before, under the same name": signed(HEADER, claims(since=SINCE - 1)),
    "no word since when the client is one": signed(HEADER, claims(since=None)),
    "a client that is gone": signed(HEADER, claims(sub="nobody")),
    "a key of somebody else": signed(HEADER, claims(), THEIRS.key),
    "truncated": token()[:-8],
    "without its signature": token().rpartition(".")[0] + ".",
    "two parts": token().rpartition(".")[0],
    "five parts (encrypted)": token() + ".x.y",
    "too long": token() + "A" * 9_000,
    "nothing": "",
    "not ASCII": "é.é.é",
    "a bomb of brackets": f"{part(b'[' * 4_000)}.{part(b'[' * 4_000)}.x",
}


def test_the_token_that_the_attacks_are_made_from_is_good() -> None:
    for good in (token(), signed(HEADER, claims()), signed(HEADER, claims(aud=["x", AUDIENCE]))):
        principal = verifier().verify(good, NOW)
        assert (principal.name, principal.scopes) == (CLIENT, frozenset({Scope.RECOMMEND}))


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_gets_through(name: str) -> None:
    judge = verifier()
    for _ in range(2):
        with pytest.raises(BadToken) as caught:
            judge.verify(ATTACKS[name], NOW)
        assert str(caught.value).startswith("The token")


def test_others_verify_it_from_the_jwks() -> None:
    keys = json.dumps({"keys": [OURS.public]})
    fresh = token(now_s=int(time.time()))
    theirs = pyjwt.PyJWKSet.from_json(keys)[OURS.kid]
    assert pyjwt.decode(fresh, theirs.key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)["sub"] == CLIENT
    assert jose.decode(fresh, KeySet.import_key_set(json.loads(keys)), algorithms=["RS256"]).claims["sub"] == CLIENT
    assert set(OURS.public) == {"kty", "n", "e", "kid", "use", "alg"}, "nothing private"


def test_a_remembered_token_still_ends_and_its_client_may_go() -> None:
    there = Here(CLIENT)
    judge = verifier(there)
    kept = token(life_s=100)
    judge.verify(kept, NOW)
    judge.verify(kept, NOW + 100 + LEEWAY_S - 1)
    with pytest.raises(BadToken, match="expired"):
        judge.verify(kept, NOW + 100 + LEEWAY_S)
    again = token()
    judge.verify(again, NOW)
    there.names.clear()
    with pytest.raises(BadToken, match="no longer"):
        judge.verify(again, NOW)


def test_a_key_that_is_taken_away_takes_its_tokens_with_it() -> None:
    keys = {OURS.kid: OURS.key}
    judge = Verifier([Issuer(name=ISSUER, audience=AUDIENCE, key=keys.get, own=True)], Here(CLIENT))
    kept = token()
    judge.verify(kept, NOW)
    keys.clear()
    with pytest.raises(BadToken, match="not known here"):
        judge.verify(kept, NOW)


def test_another_issuer_gives_scopes_by_name_or_by_role_but_never_centrals() -> None:
    header = {"alg": "RS256", "kid": "k"}
    asked = {"iss": "https://id.example", "aud": "evcharge", "sub": "anna", "exp": NOW + 60}
    scopes = "recommend registry:service openid"
    principal = verifier().verify(signed(header, asked | {"scope": scopes, "role": "Viewer"}, THEIRS.key), NOW)
    assert re.fullmatch("ext:[0-9a-f]{24}:anna", principal.name)
    assert Scope.SITE_READ in principal.scopes
    assert Scope.REGISTRY_SERVICE not in principal.scopes
    admin = verifier().verify(signed(header, asked | {"role": ["admin"]}, THEIRS.key), NOW)
    assert admin.scopes == frozenset(Scope) - {Scope.REGISTRY_SERVICE}
    few = Issuer(name=OTHER.name, audience=OTHER.audience, key=OTHER.key, most=frozenset({Scope.RECOMMEND}))
    bounded = Verifier([few], Here()).verify(signed(header, asked | {"role": ["admin"]}, THEIRS.key), NOW)
    assert bounded.scopes == frozenset({Scope.RECOMMEND})
    nothing = verifier().verify(signed(header, asked | {"role": "root"}, THEIRS.key), NOW)
    assert nothing.scopes == frozenset()
    with pytest.raises(BadToken):
        verifier().verify(signed(HEADER, asked, OURS.key), NOW)


@given(st.text(max_size=400) | st.lists(st.binary(max_size=60).map(part), max_size=5).map(".".join))
def test_any_text_is_no_token(text: str) -> None:
    with pytest.raises(BadToken):
        verifier().verify(text, NOW)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_every_changed_byte_is_noticed(place: int, change: int) -> None:
    good = bytearray(token().encode())
    good[place % len(good)] ^= change
    changed = good.decode("latin-1")
    try:
        verifier().verify(changed, NOW)
    except BadToken:
        return
    # The last character of a base64 part has bits that mean nothing.
    assert base64.urlsafe_b64decode(changed.split(".")[2] + "==") == base64.urlsafe_b64decode(
        token().split(".")[2] + "=="
    )
