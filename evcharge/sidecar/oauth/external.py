"""The keys of one other issuer, whose tokens are accepted too: its JWKS, kept in memory and looked at again.

A token may name a key that is not known yet (the issuer rotated). Then the JWKS is fetched once more, but never more
often than every ``LEAST_S``, however many such tokens a stranger sends; the token itself is refused meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from evcharge.net.ending import heeding_its_end

log = structlog.get_logger()

# How often the JWKS is fetched when nothing asks for it, and at least how long lies between two fetches, seconds.
REFRESH_S = 300.0
LEAST_S = 30.0
# Largest JWKS that is read, bytes, and most keys of it: large issuers have under ten.
JWKS_BYTES = 64 * 1024
KEYS = 32
# Time for the whole answer, seconds.
FETCH_S = 10.0
# Smallest modulus whose signatures count, bits. RFC 7518 §3.3
LEAST_BITS = 2048


class _Jwk(msgspec.Struct):
    kty: str = ""
    kid: str = ""
    use: str = "sig"
    alg: str = "RS256"
    n: str = ""
    e: str = ""


class _Jwks(msgspec.Struct):
    keys: list[_Jwk]


class ExternalKeys:
    """The issuer's keys by ``kid``."""

    def __init__(self, url: str, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """``pause`` waits that many seconds."""
        self._url = url
        self._pause = pause
        self._keys: dict[str, RSAKey] = {}
        self._wanted = asyncio.Event()
        self._failed = False

    def find(self, kid: str) -> RSAKey | None:
        """The key, if it is known; otherwise the next look is soon."""
        key = self._keys.get(kid)
        if key is None:
            self._wanted.set()
        return key

    async def run(self) -> None:
        """Fetch again and again, until cancelled."""
        while True:
            self._wanted.clear()
            await self.refresh()
            await self._pause(LEAST_S)
            try:
                async with asyncio.timeout(REFRESH_S - LEAST_S):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def refresh(self) -> None:
        """Fetch the JWKS; one that cannot be had leaves the keys as they are."""
        try:
            with heeding_its_end():
                keys = parse(await self._fetch())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if not self._failed:
                log.warning("oauth.external_keys_failed", url=self._url, kind=type(error).__name__)
            self._failed = True
            return
        if self._failed or keys.keys() != self._keys.keys():
            log.info("oauth.external_keys", url=self._url, keys=sorted(keys))
        self._failed = False
        self._keys = keys

    async def _fetch(self) -> bytes:
        async with (
            asyncio.timeout(FETCH_S),
            # As it is: a compressed answer may be small and its content without end. Of limits see heeding_its_end.
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None), trust_env=False, auto_decompress=False
            ) as session,
            session.get(self._url, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status != 200:
                raise ValueError("not 200")
            data = bytearray()
            async for chunk in answer.content.iter_any():
                data += chunk
                if len(data) > JWKS_BYTES:
                    raise ValueError("too large")
            return bytes(data)


def parse(data: bytes) -> dict[str, RSAKey]:
    """The RSA signing keys of a JWKS by ``kid``; others are left out.

    Raises:
        ValueError: it is no JWKS.
    """
    try:
        listed = msgspec.json.decode(data, type=_Jwks).keys[:KEYS]
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("no JWKS") from None
    found: dict[str, RSAKey] = {}
    for entry in listed:
        if entry.kty != "RSA" or entry.use != "sig" or entry.alg != "RS256" or not entry.kid:
            continue
        try:
            key = RSAKey.import_key({"kty": "RSA", "n": entry.n, "e": entry.e})
        except (JoseError, ValueError, TypeError):
            continue
        if key.public_key.key_size >= LEAST_BITS:
            found[entry.kid] = key
    return found
