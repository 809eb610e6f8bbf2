"""The HTTP server below the application: bounded connections, bounded waiting, and its own errors in our one shape.

What aiohttp refuses before a request exists (a header line that is too long, no HTTP at all) it would answer with a
piece of what was sent, and log it with a trace: both may hold a token. Here it is a problem like any other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from evcharge.sidecar.web.api import HEADERS
from evcharge.sidecar.web.problem import Problem
from evcharge.sidecar.web.tracing import HEADER, new_id

log = structlog.get_logger()

# Open connections in all: dashboards, probes and apps of a large site, and far below the files one process may open.
CONNECTIONS = 1_000
# Time for the first whole request head, seconds: who is slower sends it byte by byte on purpose.
HEAD_S = 10.0
# How long an idle connection is kept for its next request, seconds: longer than a page's or probe's rhythm.
IDLE_S = 30.0
# A request head: longest line and header field, bytes, and most fields. A token may have 8,192 characters.
LINE_BYTES = 8_190
FIELD_BYTES = 9_000
FIELDS = 64


class Connection(RequestHandler):
    """One connection."""

    __slots__ = ("heard_s",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make room when there are too many; give up who sends no request."""
        self.heard_s = self._loop.time()
        super().connection_made(transport)
        manager = self._manager
        if manager is not None and len(manager.connections) > CONNECTIONS:
            self._make_room(manager)
        self._loop.call_later(HEAD_S, self._give_up, transport)

    def data_received(self, data: bytes) -> None:
        """Note that it is alive."""
        self.heard_s = self._loop.time()
        super().data_received(data)

    def _make_room(self, manager: web.Server) -> None:
        """Close who has been silent for longest and waits for nothing: strangers that only hold places lose them."""
        log.warning("http.too_many_connections", connections=CONNECTIONS)
        idle = [
            one
            for one in manager.connections
            if isinstance(one, Connection) and one is not self and one._current_request is None
        ]
        (min(idle, key=lambda one: one.heard_s) if idle else self).force_close()

    def _give_up(self, transport: asyncio.BaseTransport) -> None:
        if self._request_count == 0 and not transport.is_closing():
            log.info("http.no_request", seconds=HEAD_S)
            transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  # aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """A problem with nothing of the request in it; ``exc`` and ``message`` may quote it."""
        # There is no request yet that could have brought an id along.
        assert isinstance(self._manager, _Server)
        request_id = new_id(self._manager.entropy)
        log.warning("http.unreadable", status=status, kind=type(exc).__name__, request_id=request_id)
        kind = HTTPStatus(status)
        detail = "The request cannot be read as HTTP: its line or headers are malformed or too long."
        if kind is HTTPStatus.INTERNAL_SERVER_ERROR:
            detail = "The sidecar made a mistake of its own; its log has the trace."
        problem = Problem(kind, "unreadable", detail)
        answer = web.Response(
            status=status,
            body=msgspec.json.encode(problem.body(request_id)),
            content_type=problem.media_type,
            headers={**HEADERS, HEADER: request_id},
        )
        answer.force_close()
        return answer


class _Server(web.Server):
    entropy: Callable[[int], bytes]

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application on such a server."""

    __slots__ = ("_entropy",)

    def __init__(
        self, application: web.Application, *, drain_s: float, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        """``drain_s``: how long open answers may take when it ends; ``entropy`` for the ids of what is no request."""
        self._entropy = entropy
        super().__init__(
            application,
            access_log=None,
            shutdown_timeout=drain_s,
            keepalive_timeout=IDLE_S,
            max_line_size=LINE_BYTES,
            max_field_size=FIELD_BYTES,
            max_headers=FIELDS,
            auto_decompress=False,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs)
        server.entropy = self._entropy
        return server
