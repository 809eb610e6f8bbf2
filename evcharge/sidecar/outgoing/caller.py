"""Calls to URLs that others named: resolved once, every address judged, and a connection to just those addresses.

A name is resolved anew for each call and never again within it, so nothing can change between the check and the
connection (DNS rebinding); TLS and the ``Host`` header keep the name. No redirect is followed, no proxy of the
environment is used, no cookie is kept, and nothing is read of an answer but its status and headers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from ssl import SSLContext
from types import TracebackType

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from evcharge.sidecar.outgoing.guard import Guard, RefusedTarget, Target

# Look-ups at once. They block a thread each, for as long as the system's resolver likes: threads of their own, so that
# a name server that is silent holds nothing but calls.
LOOKUPS = 16
# Sent with each call, so that a receiver's log tells who it was.
USER_AGENT = "evcharge"

Lookup = Callable[[str, int], Awaitable[list[str]]]


class CallFailed(Exception):
    """No answer came; ``code`` is one word for logs: refused, dns, connect, tls, timeout or answer."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Reply(msgspec.Struct, frozen=True):
    """What is of use of an answer."""

    status: int
    retry_after: str | None
    """The header as it came."""


class Caller:
    """A client session with the guard in it; use it as an async context manager."""

    def __init__(
        self, guard: Guard, *, timeout_s: float, lookup: Lookup | None = None, tls: SSLContext | None = None
    ) -> None:
        """``timeout_s`` bounds a whole call; ``lookup`` gives a host's addresses as texts; ``tls``: other roots."""
        self.guard = guard
        self._timeout_s = timeout_s
        self._lookup = lookup
        self._tls = tls
        self._threads: ThreadPoolExecutor | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Caller:
        lookup = self._lookup
        if lookup is None:
            self._threads = ThreadPoolExecutor(LOOKUPS, "lookup")
            lookup = _system(self._threads)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_GuardedResolver(self.guard, lookup),
                # Each call is judged by itself: no remembered address and no connection of an earlier one.
                use_dns_cache=False,
                force_close=True,
                limit=0,
                ssl=self._tls or True,
            ),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            # A few bytes that unpack to gigabytes stay a few bytes.
            auto_decompress=False,
            headers={"User-Agent": USER_AGENT},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send ``body``.

        Raises:
            CallFailed: there is no answer, or the URL may not be called.
        """
        assert self._session is not None, "use it as a context manager"
        try:
            target = self.guard.target(url)
            return await self._post(self._session, target, body, headers)
        except TimeoutError:
            raise CallFailed("timeout", f"no answer within {self._timeout_s:g} s") from None
        except aiohttp.InvalidURL:
            raise CallFailed("refused", "is no URL") from None
        except RefusedTarget as error:
            raise CallFailed("refused", str(error)) from None
        except aiohttp.ClientSSLError:
            raise CallFailed("tls", "TLS failed, or its certificate is not good") from None
        except aiohttp.ClientConnectorError as error:
            # No address and no text of the system: they would tell of the network here.
            if isinstance(error.os_error, RefusedTarget):
                raise CallFailed("refused", str(error.os_error)) from None
            if isinstance(error, aiohttp.ClientConnectorDNSError):
                raise CallFailed("dns", "its host has no address") from None
            raise CallFailed("connect", "it does not take connections") from None
        except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
            # RuntimeError: some of uvloop's failures to connect.
            raise CallFailed("answer", f"no HTTP answer came ({type(error).__name__})") from None

    async def _post(
        self, session: aiohttp.ClientSession, target: Target, body: bytes, headers: Mapping[str, str]
    ) -> Reply:
        async with session.post(target.url, data=body, headers=headers, allow_redirects=False) as answer:
            # Its body stays unread: what is in flight of it is dropped with the connection.
            return Reply(answer.status, answer.headers.get("Retry-After"))


class _GuardedResolver(AbstractResolver):
    """What the connector asks for the addresses of a name, and connects to: all of them judged, or none at all."""

    def __init__(self, guard: Guard, lookup: Lookup) -> None:
        self._guard = guard
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = self._guard.judge(host, port, await self._lookup(host, port))
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
            if family in (socket.AF_UNSPEC, socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6)
        ]

    async def close(self) -> None:
        """Nothing is kept open."""


def _system(threads: ThreadPoolExecutor) -> Lookup:
    """Addresses as this machine's resolver gives them."""

    def look(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        return [str(place[4][0]) for place in found]

    async def lookup(host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(threads, look, host, port)

    return lookup
