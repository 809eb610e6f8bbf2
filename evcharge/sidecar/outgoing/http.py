"""Outgoing HTTP to addresses that the operator set: bounded in time and bytes, and no secret in what went wrong.

No redirect is followed: it would carry a key to wherever it points. No text of an exception is passed on: aiohttp puts
the whole URL into some of them, and a weather provider's key stands in it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, Literal

import aiohttp
import msgspec

from evcharge.net.ending import heeding_its_end

# Time for a whole exchange, in seconds: a weather provider answers in tenths of one.
TIMEOUT_S: Final = 10.0
# Largest body that is read, in bytes: weather has 1 KiB, the status page of a large inverter some ten.
MAX_BYTES: Final = 256 * 1024
# Connections to one server at once: a site has several sensors at one gateway, and no server minds this many.
PER_HOST: Final = 4
# Longest wait that a server may ask for by Retry-After, in seconds: longer is a mistake or malice.
RETRY_AFTER_MAX_S: Final = 3_600

Kind = Literal["unreachable", "timeout", "certificate", "too_large"]

_SENTENCES: Final[Mapping[Kind, str]] = {
    "unreachable": "The server cannot be reached.",
    "timeout": "The server did not answer in time.",
    "certificate": "The server's certificate cannot be verified.",
    "too_large": "The answer is far too large.",
}


class FetchFailed(Exception):
    """There is no answer."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(_SENTENCES[kind])
        self.kind = kind


class Fetched(msgspec.Struct, frozen=True):
    """An answer, whatever its status."""

    status: int
    body: bytes
    retry_after_s: int | None = None
    """What the server asked for."""


class Http:
    """One pool of connections for all outgoing calls; ``close`` it at the end."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BYTES) -> None:
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Fetched:
        """Raises FetchFailed."""
        return await self._ask("GET", url, params=params, headers=headers, tls=tls)

    async def post_form(
        self,
        url: str,
        form: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Fetched:
        """Raises FetchFailed."""
        return await self._ask("POST", url, form=form, headers=headers, tls=tls)

    async def close(self) -> None:
        """Close the connections; calls that are under way fail."""
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None,
        tls: ssl.SSLContext | None,
    ) -> Fetched:
        try:
            with heeding_its_end():
                async with (
                    asyncio.timeout(self._timeout_s),
                    self._open().request(
                        method,
                        url,
                        params=params,
                        data=form,
                        headers=headers,
                        allow_redirects=False,
                        ssl=True if tls is None else tls,
                    ) as response,
                ):
                    return Fetched(response.status, await self._read(response), _retry_after(response.headers))
        except TimeoutError:
            raise FetchFailed("timeout") from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            raise FetchFailed("certificate") from None
        except (aiohttp.ClientError, OSError, ValueError):
            # ValueError: a URL or header that cannot be sent; its text may hold a secret.
            raise FetchFailed("unreachable") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > self._max_bytes:
                raise FetchFailed("too_large")
        return bytes(data)

    def _open(self) -> aiohttp.ClientSession:
        # Made at the first call: a session belongs to the loop that runs then.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # The whole exchange has its limit, and nobody waits for the client's own (see heeding_its_end).
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit_per_host=PER_HOST),
                cookie_jar=aiohttp.DummyCookieJar(),
                # What is compressed may be a thousand times as large as what is counted.
                headers={"Accept-Encoding": "identity", "Accept": "application/json", "User-Agent": "evcharge"},
                auto_decompress=False,
            )
        return self._session


def _retry_after(headers: Mapping[str, str]) -> int | None:
    """Whole seconds; the form with a date is not used by the servers that are asked here."""
    text = headers.get("Retry-After", "")
    return min(int(text), RETRY_AFTER_MAX_S) if text.isdecimal() and text.isascii() and len(text) < 10 else None
