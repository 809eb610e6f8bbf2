"""Access tokens (RFC 9068 in spirit): RS256, issued here, verified here, and those of one other issuer.

A verifier decides everything itself: the algorithm is RS256 whatever the header says, a key is only ever taken from
the issuer's own set by ``kid``, and every other header that could name or carry a key is ignored.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from evcharge.sidecar.oauth.keys import LEEWAY_S, SigningKey
from evcharge.sidecar.web.route import Principal
from evcharge.sidecar.web.scopes import ROLES, Scope, parse_scopes, scope_text

ALGORITHM = "RS256"
# Types that a token's header may name (RFC 9068 §2.1, RFC 7519 §5.1); none is allowed too.
TYPES = ("JWT", "at+jwt")
# Longest token that is looked at, in characters: ours have 800, those of large issuers 3,000.
TOKEN_CHARS = 8_192
# Longest subject that stands in a client's name, in characters.
SUBJECT_CHARS = 128
# Longest name of a client, in characters, and of the part that tells other issuers' clients apart.
NAME_CHARS = 64
DIGEST_CHARS = 24
# Tokens whose signature was found good and is not computed again, until they end.
REMEMBERED = 4_096
# Random bytes of a token's own id.
JTI_BYTES = 16


class BadToken(Exception):
    """It is no access token of ours; the text is one sentence and never a part of the token."""


class Expired(BadToken):
    """It was a good one: its client gets a new one, and guesses nothing."""


class ClientGone(BadToken):
    """Its client is none of ours, or none any more."""


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs, for whom, and with which keys."""

    name: str
    """``iss``."""
    audience: str
    """``aud``, or one of it."""
    key: Callable[[str], RSAKey | None]
    """The key with this ``kid``."""
    most: frozenset[Scope] = frozenset(Scope) - {Scope.REGISTRY_SERVICE}
    """What somebody else's tokens may allow, whatever they say."""
    own: bool = False
    """Ours: its ``sub`` is a client of ours, and its scopes are taken as they are."""


class Header(msgspec.Struct, frozen=True):
    """What is read of a token's header."""

    alg: str
    kid: str
    typ: str | None = None
    crit: Any = None


class Claims(msgspec.Struct, frozen=True):
    """What is read of a token's claims."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    nbf: float = 0
    iat: float = 0
    scope: str = ""
    role: str | list[str] = ""
    driver: str | None = None
    since: int = 0
    """Ours: when the client was made, UTC ms: another one under its name does not inherit its tokens."""
    # Of a session; another issuer may mean anything by these names.
    jti: Any = None
    csrf: Any = None
    secret: Any = None


class Known(Protocol):
    """Which clients of ours there are."""

    def since(self, name: str) -> int | None:
        """When the client was made, UTC milliseconds; None: there is none of this name."""
        ...


class Verified(NamedTuple):
    """A token whose signature was found good."""

    principal: Principal
    exp: float
    """UTC seconds."""
    since: int | None
    """Ours: since when its client has been one."""
    issuer: Issuer
    kid: str
    claims: Claims


class Verifier:
    """Turns a token into who it stands for."""

    def __init__(self, issuers: list[Issuer], known: Known) -> None:
        """``known``: the clients of ours."""
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._known = known
        self._good: OrderedDict[bytes, Verified] = OrderedDict()

    def verify(self, token: str, now_s: float) -> Principal:
        """Who this token stands for at ``now_s``, UTC seconds.

        Raises:
            BadToken
        """
        return self.verified(token, now_s).principal

    def verified(self, token: str, now_s: float) -> Verified:
        """What this token says at ``now_s``, UTC seconds.

        Raises:
            BadToken
        """
        if len(token) > TOKEN_CHARS:
            raise BadToken("The token is too long.")
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = self._good.get(digest)
        if found is None:
            found = self._judge(token, now_s)
            self._good[digest] = found
            while len(self._good) > REMEMBERED:
                self._good.popitem(last=False)
        if found.exp + LEEWAY_S <= now_s:
            self._good.pop(digest, None)
            raise Expired("The token has expired; get a new one.")
        if found.issuer.key(found.kid) is None:
            # A key that was taken away takes its tokens with it.
            self._good.pop(digest, None)
            raise BadToken("The token's issuer or key is not known here.")
        if found.since is not None and self._known.since(found.principal.name) != found.since:
            self._good.pop(digest, None)
            raise ClientGone("The token's client is no longer one; ask the operator.")
        return found

    def _judge(self, token: str, now_s: float) -> Verified:
        parts = token.split(".")
        if len(parts) != 3:
            raise BadToken("The token is no JWT.")
        header = _part(parts[0], Header)
        if header.alg != ALGORITHM or header.crit is not None or header.typ not in (None, *TYPES):
            raise BadToken(f"The token is not signed with {ALGORITHM}.")
        # Read before the signature only to choose whose key has to fit.
        issuer = self._issuers.get(_part(parts[1], Claims).iss)
        key = None if issuer is None else issuer.key(header.kid)
        if issuer is None or key is None:
            raise BadToken("The token's issuer or key is not known here.")
        try:
            signed = jwt.decode(token, key, algorithms=[ALGORITHM])
            claims = msgspec.convert(signed.claims, Claims)
        except (JoseError, msgspec.ValidationError, ValueError, TypeError):
            raise BadToken("The token's signature does not fit.") from None
        _check(claims, issuer, now_s)
        since = claims.since if issuer.own else None
        return Verified(_principal(claims, issuer), claims.exp, since, issuer, header.kid, claims)


def issue(
    key: SigningKey,
    *,
    issuer: str,
    audience: str,
    client: str,
    scopes: frozenset[Scope],
    now_s: int,
    life_s: int,
    entropy: Callable[[int], bytes],
    since: int,
    more: Mapping[str, str] | None = None,
) -> str:
    """A signed access token; ``since`` is when its client was made, UTC ms."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": client,
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + life_s,
        "jti": base64.urlsafe_b64encode(entropy(JTI_BYTES)).rstrip(b"=").decode(),
        "scope": scope_text(scopes),
        "since": since,
        **(more or {}),
    }
    return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": key.kid}, claims, key.key)


def _part(text: str, kind: type[Any]) -> Any:
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        return msgspec.json.decode(data, type=kind)
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise BadToken("The token is no JWT with a key id.") from None


def _check(claims: Claims, issuer: Issuer, now_s: float) -> None:
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss != issuer.name or issuer.audience not in audiences:
        raise BadToken("The token is for somebody else.")
    if claims.exp + LEEWAY_S <= now_s:
        raise Expired("The token has expired; get a new one.")
    if max(claims.nbf, claims.iat) - LEEWAY_S > now_s:
        raise BadToken("The token is not valid yet; compare the clocks.")
    if not claims.sub or len(claims.sub) > SUBJECT_CHARS:
        raise BadToken("The token names no client.")


def external_name(issuer: str, subject: str) -> str:
    """Somebody else's client among ours: at most 64 characters, and never the name of one of ours."""
    digest = hashlib.sha256(f"{issuer}\0{subject}".encode()).hexdigest()[:DIGEST_CHARS]
    shown = "".join(char if char.isascii() and char.isalnum() else "-" for char in subject)
    return f"ext:{digest}:{shown}"[:NAME_CHARS]


def _principal(claims: Claims, issuer: Issuer) -> Principal:
    if issuer.own:
        return Principal(name=claims.sub, scopes=parse_scopes(claims.scope), driver_id=claims.driver)
    scopes: set[Scope] = set()
    known = {scope.value: scope for scope in Scope}
    for word in claims.scope.split():
        # Another issuer's own scopes mean nothing here.
        scopes |= {known[word]} if word in known else set()
    for role in [claims.role] if isinstance(claims.role, str) else claims.role:
        scopes |= ROLES.get(role.lower(), frozenset())
    # Central's door is opened by its own token alone.
    return Principal(name=external_name(issuer.name, claims.sub), scopes=frozenset(scopes) & issuer.most, external=True)
