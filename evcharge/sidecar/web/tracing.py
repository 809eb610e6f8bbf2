"""The id of each request: on its answer, on every line that is logged for it, and on what Central is told for it.

Whoever asks may bring one in ``X-Request-ID``, so that one id goes through all of its systems; otherwise it is made.
It is no secret and proves nothing: it finds things again.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog
from aiohttp import web
from structlog.contextvars import bound_contextvars

from evcharge.net.clock import Clock
from evcharge.sidecar.web.proxies import HEADER as FORWARDED_FOR
from evcharge.sidecar.web.proxies import Proxies

HEADER = "X-Request-ID"
# What may be brought along: it stands in logs, in the audit log and in an answer's head as it is.
PATTERN = r"[A-Za-z0-9._-]{1,64}"
# 80 bits, 16 characters: the first repetition is due after 10^12 requests.
ID_BYTES = 10
# Methods that change nothing: pages and probes ask by them every second, so their lines are details.
SAFE = ("GET", "HEAD", "OPTIONS")
# Under these a request knows its id, its route and its client, and whether its line is a detail whatever its method.
ID = web.RequestKey("evcharge.id", str)
ROUTE = web.RequestKey("evcharge.route", str)
CLIENT = web.RequestKey("evcharge.client", str)
DETAIL = web.RequestKey("evcharge.detail", bool)

_GIVEN = re.compile(PATTERN)
_current: ContextVar[str | None] = ContextVar("request_id", default=None)

log = structlog.get_logger()

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def current() -> str | None:
    """The id of the request that is answered here; None: of none."""
    return _current.get()


class Tracing:
    """Gives each request its id, and one line in the log."""

    def __init__(self, clock: Clock, entropy: Callable[[int], bytes], proxies: Proxies | None = None) -> None:
        self._clock = clock
        self._entropy = entropy
        self._proxies = proxies or Proxies()

    def id_of(self, request: web.BaseRequest) -> str:
        """The one that was brought along where it can be used, else a new one; the same whenever it is asked for."""
        found = request.get(ID)
        if found is None:
            given = request.headers.get(HEADER, "")
            found = given if _GIVEN.fullmatch(given) else new_id(self._entropy)
            request[ID] = found
        return found

    def source_of(self, request: web.BaseRequest) -> str:
        """Where it comes from, as throttles and the log name it."""
        return self._proxies.source(request.remote, request.headers.getall(FORWARDED_FOR, []))

    @contextmanager
    def during(self, request: web.BaseRequest) -> Iterator[None]:
        """What is logged here, and in tasks that begin here, has the request's id."""
        with bound_contextvars(request_id=self.id_of(request)):
            token = _current.set(self.id_of(request))
            try:
                yield
            finally:
                _current.reset(token)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Around all others: in the end one line says what became of the request."""
        status: int | None = None
        began_s = self._clock.monotonic()
        with self.during(request):
            try:
                answer = await handler(request)
                status = answer.status
            finally:
                say = log.debug if request.method in SAFE or request.get(DETAIL) else log.info
                say(
                    "http.request",
                    method=request.method,
                    route=request.get(ROUTE),
                    # None: who asked has hung up, or the sidecar ends.
                    status=status,
                    ms=round((self._clock.monotonic() - began_s) * 1000, 1),
                    client=request.get(CLIENT),
                    source=self.source_of(request),
                )
        return answer

    async def add_header(self, request: web.Request, response: web.StreamResponse) -> None:
        """Signal of an application: every answer says which request it answers."""
        response.headers[HEADER] = self.id_of(request)


def new_id(entropy: Callable[[int], bytes]) -> str:
    """An id that nobody had: 16 letters and digits."""
    return base64.b32encode(entropy(ID_BYTES)).decode().lower()
