"""``/metrics``, ``/healthz`` and ``/readyz`` of a daemon on a listener of its own: plain HTTP, a bound on everything.

It shares the event loop with what the daemon is for. So the metrics are made in small pieces between which the loop
goes on, and however often somebody asks, there is one answer in ``FRESH_S``. ``/healthz`` is answered by the loop
alone: whoever hears nothing knows that it hangs. ``/readyz`` says whether the daemon is of use now (``readiness``).
A daemon without metrics has the other two.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family

from evcharge.net.metrics import Own
from evcharge.net.readiness import Readiness

log = structlog.get_logger(__name__)

METRICS = "/metrics"
HEALTH = "/healthz"
READY = "/readyz"
# An answer is given to all who ask within this time, seconds: more often nobody needs one, and a thousand who ask cost
# the daemon no more than one.
FRESH_S = 1.0
# How long the loop is held for one piece of an answer, seconds, before the others have their turn.
PIECE_S = 0.001
# Connections at once, and of one source: two Prometheus servers, a person, a probe. For whoever comes on top the one is
# cut that has been silent longest: a probe asks at once, and a daemon whose probes are shut out would be killed.
CONNECTIONS = 32
PER_SOURCE = 8
# From a connection to a whole request head, and how long an idle one is kept, seconds: a scrape comes every 15 s, and
# most servers give up after 10.
HEAD_S = 10.0
IDLE_S = 60.0
# How long an answer that is being made may take at the end, seconds.
CLOSE_S = 1.0
# A request head, bytes and fields: Prometheus' own takes 300 bytes.
LINE_BYTES = 1_024
FIELD_BYTES = 4_096
FIELDS = 32

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "evcharge"}


class Address(NamedTuple):
    """Where to listen. ``asked``: somebody said so; otherwise it is the default, which another daemon may have."""

    host: str
    port: int
    asked: bool = True


class Collector(Protocol):
    """Who knows the numbers."""

    async def look(self) -> None:
        """Gather what takes time, or has to be waited for."""
        ...

    def collect(self) -> Iterator[Family]:
        """Every family, from what is known now; each one is made at once."""
        ...


class Exposition:
    """Serves what a ``Collector`` knows. ``start`` and ``close`` belong to one event loop."""

    def __init__(self, daemon: str, address: Address, *, option: str = "--metrics") -> None:
        """``option``: what an operator chooses another address with."""
        self.listening: str | None = None
        """``HOST:PORT`` while it serves."""
        self._address = address
        self._option = option
        self._own = Own(daemon)
        self._collector: Collector | None = None
        self._readiness = Readiness()
        self._server: asyncio.Server | None = None
        self._handlers: web.Server | None = None
        self._watching: asyncio.Task[None] | None = None
        self._making = asyncio.Lock()
        self._text = b""
        self._made_s = float("-inf")
        self._looking = asyncio.Lock()
        self._looked_s = float("-inf")

    async def start(self, collector: Collector | None, readiness: Readiness | None = None) -> None:
        """Listen. A default address that is taken is a line in the log, and nothing is served.

        ``collector``: None serves no metrics. ``readiness``: None is ready as long as it answers.
        Raises OSError: an address that was asked for is taken, or is none of this machine.
        """
        self._collector = collector
        self._readiness = readiness or Readiness()
        host, port, asked = self._address
        loop = asyncio.get_running_loop()
        handlers = _Handlers(
            self._answer,
            access_log=None,
            keepalive_timeout=IDLE_S,
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
            max_headers=FIELDS,
            auto_decompress=False,
        )
        try:
            # One address, so that port 0 is one port.
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self._server = await loop.create_server(handlers, *found[0][4][:2], backlog=CONNECTIONS)
        except OSError as error:
            sentence = _sentence(host, port, error, self._option)
            if asked or error.errno != errno.EADDRINUSE:
                raise OSError(error.errno, sentence) from None
            log.warning("metrics.not_served", sentence=sentence)
            return
        self._handlers = handlers
        bound = self._server.sockets[0].getsockname()
        self.listening = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
        if collector is not None:
            self._watching = loop.create_task(self._own.run(), name="metrics: loop lag")

    async def close(self) -> None:
        """Stop; again: nothing."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._handlers is not None:
            self._handlers.pre_shutdown()
            await self._handlers.shutdown(CLOSE_S)
            self._handlers = None
        self.listening = None

    async def text(self, collector: Collector) -> bytes:
        """All metrics, in Prometheus' text format; at most ``FRESH_S`` old."""
        loop = asyncio.get_running_loop()
        async with self._making:
            began_s = loop.time()
            if began_s - self._made_s < FRESH_S:
                return self._text
            await asyncio.gather(self._own.look(), collector.look())
            parts: list[bytes] = []
            piece_s = loop.time()
            for source in (self._own, collector):
                for family in source.collect():
                    parts.append(generate_latest(_One(family)))
                    if loop.time() - piece_s > PIECE_S:
                        await asyncio.sleep(0)
                        piece_s = loop.time()
            self._text, self._made_s = b"".join(parts), loop.time()
            self._own.scrape_s = self._made_s - began_s
            return self._text

    async def ready(self) -> tuple[bool, str]:
        """Whether the daemon is of use now, and the sentence that says it."""
        readiness, loop = self._readiness, asyncio.get_running_loop()
        async with self._looking:
            if loop.time() - self._looked_s >= FRESH_S:
                await readiness.look()
                self._looked_s = loop.time()
        why = readiness.unready()
        if why is not None:
            return False, f"not ready: {why}"
        note = readiness.note()
        return True, f"ready; {note}" if note else "ready"

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path not in (HEALTH, READY) and (request.path != METRICS or self._collector is None):
            there = f"{HEALTH} and {READY}" if self._collector is None else f"{METRICS}, {HEALTH} and {READY}"
            return _plain(404, f"There are {there}, and nothing else.\n")
        if request.method not in ("GET", "HEAD"):
            return _plain(405, f"{request.path} answers GET and HEAD.\n", Allow="GET, HEAD")
        if request.path == HEALTH:
            return _plain(200, "ok\n")
        if request.path == READY:
            ready, sentence = await self.ready()
            return _plain(200 if ready else 503, f"{sentence}\n")
        assert self._collector is not None
        text = await self.text(self._collector)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, **_HEADERS})


class _One:
    """A registry of one family, as ``generate_latest`` wants one."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family


class _Connection(RequestHandler):
    """One connection."""

    __slots__ = ("_heard_s", "_source")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self._source: str | None = name[0] if name else None
        self._heard_s = self._loop.time()
        self._make_room()
        self._loop.call_later(HEAD_S, self._give_up, transport)

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        super().data_received(data)

    def _make_room(self) -> None:
        """Cut those that have been silent longest: of this one's source, where that has too many, else of all."""
        assert self._manager is not None
        others = [each for each in self._manager.connections if isinstance(each, _Connection) and each is not self]
        open_ones = [each for each in others if each.transport is not None and not each.transport.is_closing()]
        same = [each for each in open_ones if each._source == self._source]
        for those, most in ((same, PER_SOURCE), (open_ones, CONNECTIONS)):
            if len(those) >= most:
                victim = min(those, key=_Connection._claim)
                victim._cut()
                return

    def _claim(self) -> tuple[bool, float]:
        """How much it is to be kept: an answer that is being made, then the newest word."""
        return self._current_request is not None, self._heard_s

    def _cut(self) -> None:
        # What was written and is not read yet would hold it open.
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def _give_up(self, transport: asyncio.BaseTransport) -> None:
        if self._request_count == 0 and not transport.is_closing():
            transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  # aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Nothing of a request that is no HTTP is said again; the trace of a bug of ours is for the log."""
        if status == 500:
            log.error("metrics.failed", exc_info=exc)
        return _plain(status, "This cannot be answered.\n")


class _Handlers(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


def _plain(status: int, text: str, **headers: str) -> web.Response:
    """A sentence; the connection ends with it. Only who reads metrics comes again and again."""
    answer = web.Response(status=status, text=text, headers={**_HEADERS, **headers})
    answer.force_close()
    return answer


def _sentence(host: str, port: int, error: OSError, option: str) -> str:
    where, other = f"{host} port {port}", f"choose another address with {option}, or `off`"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use, so nothing is served there: {other}"
    # getaddrinfo has numbers of its own.
    why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return f"cannot listen on {where}: {why}; {other}"
