"""OAuth2's side that clients see: the token endpoint (RFC 6749 §4.4), the keys (RFC 7517), the metadata (RFC 8414)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote_plus

import msgspec
import structlog

from evcharge.net.clock import Clock
from evcharge.sidecar.bootstrap import BootstrapError
from evcharge.sidecar.oauth.clients import Clients, OAuthClient
from evcharge.sidecar.oauth.keys import ANNOUNCE_S, KeyFolder, published, signs
from evcharge.sidecar.oauth.known import KnownClients
from evcharge.sidecar.oauth.tokens import issue
from evcharge.sidecar.web.problem import Problem
from evcharge.sidecar.web.route import Answer, Call, Handler
from evcharge.sidecar.web.scopes import Scope, parse_scopes, scope_text

log = structlog.get_logger()

TOKEN_PATH = "/oauth2/token"  # noqa: S105  # a path
JWKS_PATH = "/.well-known/jwks.json"
METADATA_PATH = "/.well-known/oauth-authorization-server"
GRANT = "client_credentials"
# Life of a token, in seconds: short, so that what a client lost is of no use tomorrow.
TOKEN_LIFE_S = 900
# RFC 6749 §5.1: nobody on the way keeps a token.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sends, as a form."""

    grant_type: str = ""
    scope: str = ""
    client_id: str = ""
    client_secret: str = ""


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An access token (RFC 6749 §5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    """Seconds."""
    scope: str


class Jwk(msgspec.Struct, frozen=True, kw_only=True):
    """A public RSA key (RFC 7517, 7518)."""

    kty: str
    n: str
    e: str
    kid: str
    use: str
    alg: str


class Jwks(msgspec.Struct, frozen=True, kw_only=True):
    """A set of them."""

    keys: list[Jwk]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization server (RFC 8414)."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    scopes_supported: list[str]
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    service_documentation: str


class OAuthError(Problem):
    """A refusal in the words of RFC 6749 §5.2; ``code`` is one of its errors."""

    media_type = "application/json"

    def body(self, request_id: str | None = None) -> dict[str, object]:
        """The error's own words, and those of every other problem here."""
        return {"error": self.code, "error_description": self.detail, **super().body(request_id)}


def as_oauth(problem: Problem) -> Problem:
    """A problem of reading the request, in RFC 6749's words; others (a throttle) are as they are everywhere."""
    if isinstance(problem, OAuthError) or problem.status is not HTTPStatus.BAD_REQUEST:
        return problem
    return _refused("invalid_request", problem.detail)


class Failures(Protocol):
    """Counts what did not authenticate."""

    def failed(self, source: str, what: str) -> None:
        """Count one. Raises Problem (429) when there were too many."""
        ...


class OAuth:
    """The handlers."""

    def __init__(
        self,
        clients: Clients,
        keys: KeyFolder,
        *,
        issuer: str,
        audience: str,
        url: Callable[[], str],
        clock: Clock,
        entropy: Callable[[int], bytes],
        failures: Failures,
        known: KnownClients,
        life_s: int = TOKEN_LIFE_S,
    ) -> None:
        """``url``: where clients reach this server, without a slash at the end."""
        self._clients = clients
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._url = url
        self._clock = clock
        self._entropy = entropy
        self._failures = failures
        self._known = known
        self._life_s = life_s

    def handlers(self) -> Mapping[str, Handler]:
        """By the names of their routes."""
        return {"token": self.token, "jwks": self.jwks, "metadata": self.metadata}

    async def token(self, call: Call) -> Answer:
        """A token for a client that shows its secret, in the header or in the form, not in both."""
        form: TokenForm = call.body
        header = None if call.request is None else call.request.headers.get("Authorization")
        client_id, secret = _credentials(header, form)
        if not form.grant_type:
            raise _refused("invalid_request", f"grant_type is missing; send {GRANT}.")
        if form.grant_type != GRANT:
            raise _refused("unsupported_grant_type", f"Only {GRANT} is served here.")
        client = await self._clients.authenticate(client_id, secret, self._clock.steady_ms())
        if client is None:
            self._failures.failed(call.source, "oauth client")
            raise _unknown_client("The client or its secret is not known.")
        scopes = _wanted(form.scope, client)
        token = self.issue(client, scopes, audience=self._audience, life_s=self._life_s)
        log.info("oauth.token", client=client.client_id, scope=scope_text(scopes), source=call.source)
        kind = "Bearer"
        body = TokenAnswer(access_token=token, token_type=kind, expires_in=self._life_s, scope=scope_text(scopes))
        return Answer(body=body, headers=NO_STORE)

    def issue(
        self,
        client: OAuthClient,
        scopes: frozenset[Scope],
        *,
        audience: str,
        life_s: int,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """A token for a client that showed its secret; ``more`` are further claims."""
        self._known.add(client)
        self._refresh()
        now_ms = self._clock.steady_ms()
        driver = {} if client.driver_id is None else {"driver": client.driver_id}
        return issue(
            signs(self._keys.keys.values(), now_ms),
            issuer=self._issuer,
            audience=audience,
            client=client.client_id,
            scopes=scopes,
            now_s=now_ms // 1000,
            life_s=life_s,
            entropy=self._entropy,
            since=client.created_ms,
            more={**driver, **(more or {})},
        )

    def _refresh(self) -> None:
        """See what another process added; a file that is damaged ends nothing that works."""
        try:
            self._keys.refresh()
        except BootstrapError as error:
            log.error("oauth.keys_not_read", why=str(error))  # noqa: TRY400

    async def jwks(self, _call: Call) -> Answer:
        """Every key that may have signed a token that lives."""
        self._refresh()
        keys = published(self._keys.keys.values(), self._clock.steady_ms())
        kept = {"Cache-Control": f"public, max-age={ANNOUNCE_S // 2}"}
        return Answer(body=Jwks(keys=[Jwk(**key.public) for key in keys]), headers=kept)

    async def metadata(self, _call: Call) -> Answer:
        """What a client library needs to begin with."""
        return Answer(body=metadata(self._issuer, self._url()), headers={"Cache-Control": "public, max-age=300"})


def metadata(issuer: str, url: str) -> Metadata:
    """What RFC 8414 §2 asks for, and is true here."""
    return Metadata(
        issuer=issuer,
        token_endpoint=url + TOKEN_PATH,
        jwks_uri=url + JWKS_PATH,
        scopes_supported=sorted(scope.value for scope in Scope if scope is not Scope.REGISTRY_SERVICE),
        response_types_supported=[],
        grant_types_supported=[GRANT],
        token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
        service_documentation=url + "/openapi.json",
    )


def _credentials(header: str | None, form: TokenForm) -> tuple[str, str]:
    if header is None:
        if not form.client_id or not form.client_secret:
            raise _unknown_client("Send client_id and client_secret, by HTTP Basic or in the form.")
        return form.client_id, form.client_secret
    if form.client_secret:
        raise _refused("invalid_request", "The client shows its secret twice, in the header and in the form.")
    scheme, _, text = header.partition(" ")
    try:
        name, colon, secret = base64.b64decode(text.strip(), validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        name, colon, secret = "", "", ""
    if scheme.lower() != "basic" or not colon:
        raise _unknown_client("The Authorization header is not HTTP Basic.")
    # RFC 6749 §2.3.1: both are form-encoded before they are put together.
    name, secret = unquote_plus(name), unquote_plus(secret)
    if form.client_id not in ("", name):
        raise _refused("invalid_request", "The form's client_id is not the header's.")
    return name, secret


def _wanted(text: str, client: OAuthClient) -> frozenset[Scope]:
    """The scopes that are asked for; all that the client has where it asks for none."""
    try:
        scopes = parse_scopes(text) or client.scopes
    except ValueError as error:
        raise _refused("invalid_scope", f"{error}.") from None
    if not scopes <= client.scopes:
        raise _refused("invalid_scope", f"This client may have: {scope_text(client.scopes)}.")
    return scopes


def _refused(error: str, detail: str) -> OAuthError:
    return OAuthError(HTTPStatus.BAD_REQUEST, error, detail, headers=NO_STORE)


def _unknown_client(detail: str) -> OAuthError:
    # RFC 6749 §5.2: a challenge for who tried the header; who tried the form learns that there is one.
    challenge = {"WWW-Authenticate": 'Basic realm="evcharge", charset="UTF-8"'}
    return OAuthError(HTTPStatus.UNAUTHORIZED, "invalid_client", detail, headers={**NO_STORE, **challenge})
