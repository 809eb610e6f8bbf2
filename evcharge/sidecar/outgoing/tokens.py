"""Access tokens for outgoing calls: OAuth2's client credentials (RFC 6749 §4.4), fetched when needed and kept.

However many calls want one, one request is under way. A token is renewed before it ends, and where that fails the old
one serves for as long as it lives.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from urllib.parse import quote_plus

import msgspec
import structlog

from evcharge.net.clock import Clock
from evcharge.sidecar.outgoing.http import Fetched, FetchFailed, Http
from evcharge.sidecar.outgoing.settings import ClientCredentials

log = structlog.get_logger()

# A token is renewed this long before its end, in seconds: a call on its way and clocks that differ are covered.
MARGIN_S: Final = 60.0
# … but never in the first half of its life: of short tokens each would be renewed at once.
MARGIN_SHARE: Final = 0.5
# Life of a token whose server names none, in seconds: RFC 6749 leaves it open; a short guess costs a request.
LIFE_S: Final = 300.0
# Longest life that is believed, in seconds.
LIFE_MAX_S: Final = 86_400.0
# After a failure nothing is asked for this long, in seconds, doubled up to the second: a server that is away is not
# asked by every reading, and one that is back is found soon.
BACKOFF_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0
# A fresh token that the resource refuses too means that it refuses us: no more new ones for this long, in seconds.
REFUSED_S: Final = 60.0
# Longest token, in characters: what fits into a header of common servers.
TOKEN_CHARS: Final = 8_000


class NoToken(Exception):
    """There is none now; the text is one sentence without any secret."""


class Granted(NamedTuple):
    """A token and how long it lives from the request on."""

    token: str
    life_s: float

    def __repr__(self) -> str:
        return f"Granted(life_s={self.life_s})"


class _Answer(msgspec.Struct):
    """What is read of a token endpoint's answer (RFC 6749 §5.1)."""

    access_token: str
    token_type: str
    expires_in: float | None = None


class _Kept(NamedTuple):
    token: str
    renew_s: float
    ends_s: float


async def ask_for_token(http: Http, credentials: ClientCredentials, secret: str) -> Granted:
    """One request to the token endpoint.

    Raises:
        NoToken
    """
    form = {"grant_type": "client_credentials"}
    if credentials.scope:
        form["scope"] = credentials.scope
    headers = {}
    if credentials.style == "basic":
        # RFC 6749 §2.3.1: both are form-encoded before they are put together.
        pair = f"{quote_plus(credentials.client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form |= {"client_id": credentials.client_id, "client_secret": secret}
    try:
        fetched = await http.post_form(credentials.token_url, form, headers=headers)
    except FetchFailed as error:
        raise NoToken(f"No token: {error}") from None
    if fetched.status != 200:
        raise NoToken(f"No token: the token endpoint answered {fetched.status}.")
    try:
        # Not strict: some servers write the number of seconds as a string.
        answer = msgspec.json.decode(fetched.body, type=_Answer, strict=False)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise NoToken("No token: the token endpoint's answer cannot be read.") from None
    token = answer.access_token
    if answer.token_type.lower() != "bearer":
        raise NoToken("No token: the token endpoint gives tokens of another type than bearer.")
    if not 0 < len(token) <= TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        raise NoToken("No token: what the token endpoint gives is none.")
    life_s = LIFE_S if answer.expires_in is None else answer.expires_in
    if not life_s > 0:
        raise NoToken("No token: what the token endpoint gives has ended already.")
    return Granted(token, min(life_s, LIFE_MAX_S))


class TokenCache:
    """The token of one client at one server."""

    def __init__(self, ask: Callable[[], Awaitable[Granted]], *, clock: Clock, name: str) -> None:
        """``ask`` raises NoToken; ``name`` is for the log."""
        self._ask = ask
        self._clock = clock
        self._name = name
        self._kept: _Kept | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._failures = 0
        self._why = "No token."
        self._again_s = 0.0
        """Monotonic seconds before which no token is asked for, after a failure."""
        self._refused_until_s = 0.0

    async def token(self) -> str:
        """A token that lives.

        Raises:
            NoToken
        """
        kept = self._kept
        now_s = self._clock.monotonic()
        if kept is not None and now_s < kept.renew_s:
            return kept.token
        if self._renewing is None and (self._failures == 0 or now_s >= self._again_s):
            # A task of its own: who waits for it may be cancelled, and the others still want the token.
            self._renewing = asyncio.create_task(self._renew(), name=f"token of {self._name}")
        if (renewing := self._renewing) is not None:
            await asyncio.wait({renewing})
            if not renewing.cancelled():
                # A mistake of ours is everybody's; what can go wrong outside was kept as words.
                renewing.result()
        kept = self._kept
        if kept is None or self._clock.monotonic() >= kept.ends_s:
            raise NoToken(self._why)
        return kept.token

    def refused(self, token: str) -> bool:
        """A resource answered 401 to ``token``: forget it. Returns whether another one may help."""
        kept = self._kept
        if kept is None or kept.token != token:
            return True
        now_s = self._clock.monotonic()
        if now_s < self._refused_until_s:
            return False
        self._refused_until_s = now_s + REFUSED_S
        self._kept = None
        log.info("outgoing.token_refused", name=self._name)
        return True

    async def close(self) -> None:
        """Stop a request that is under way; whoever waits for it gets NoToken."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
            self._renewing = None

    async def _renew(self) -> None:
        asked_s = self._clock.monotonic()
        try:
            granted = await self._ask()
        except NoToken as error:
            self._why = str(error)
            wait_s = min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** min(self._failures, 8))
            self._again_s = self._clock.monotonic() + wait_s
            if self._failures == 0:
                log.warning("outgoing.no_token", name=self._name, why=self._why)
            self._failures += 1
        else:
            self._failures = 0
            margin_s = min(MARGIN_S, granted.life_s * MARGIN_SHARE)
            ends_s = asked_s + granted.life_s
            self._kept = _Kept(granted.token, ends_s - margin_s, ends_s)
        finally:
            self._renewing = None


async def with_token(tokens: TokenCache, call: Callable[[str], Awaitable[Fetched]]) -> Fetched:
    """``call`` with a token; once more with a new one where it answers 401.

    Raises:
        NoToken
        FetchFailed
    """
    token = await tokens.token()
    answer = await call(token)
    if answer.status != 401 or not tokens.refused(token):
        return answer
    return await call(await tokens.token())
