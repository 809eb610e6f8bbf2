"""The live picture: one set of questions to Central, however many browsers look, and none while nobody does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import structlog
from msgspec import Meta

from evcharge.net.answers import CentralAway, Unanswered
from evcharge.net.clock import Clock
from evcharge.net.tail import Record
from evcharge.sidecar.live.asking import Link
from evcharge.sidecar.live.chain import Verdict
from evcharge.sidecar.live.log_tail import LogTail
from evcharge.sidecar.live.settings import LiveSettings
from evcharge.sidecar.live.sse import Audience, Tell, audience_of, event
from evcharge.sidecar.live.stream import Stream
from evcharge.sidecar.live.watch import LEAST_S, LOOK_S, Watch
from evcharge.sidecar.web.problem import Problem, bad_request, unavailable
from evcharge.sidecar.web.route import Answer, Call, Handler
from protocol.fields import MAX_COUNT

log = structlog.get_logger()

# How long the picture is kept up after the last page has left: a reload finds it as it is.
LINGER_S = 30.0
# When a page may try again that found too many, and one that came while the sidecar goes down; seconds.
FULL_S = 10
DRAIN_S = 1
# Longest number of a record, digits (``MAX_COUNT``).
_DIGITS = 16


class LiveQuery(msgspec.Struct, frozen=True, kw_only=True):
    """From where."""

    after: Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None = None
    """The newest record that the page has; the header ``Last-Event-ID`` comes before it."""


class Live:
    """A ``Concern``. What it counts are plain attributes, for whoever measures."""

    def __init__(
        self,
        link: Link | None,
        *,
        clock: Clock,
        version: str,
        settings: LiveSettings | None = None,
        chain: Callable[[], Verdict | None] = lambda: None,
    ) -> None:
        """``link`` None: there is no Central. ``chain``: what the sidecar itself found of the log; None: nothing."""
        self._link = link
        self._clock = clock
        self._version = version
        self._settings = settings or LiveSettings()
        self._streams: dict[Stream, None] = {}
        self._names: Counter[str] = Counter()
        self._left_s = -LINGER_S
        self._awake = asyncio.Event()
        self._stir = asyncio.Event()
        self._closed = False
        self._linked = False
        self._linked_ms = clock.site_ms()
        self.log = LogTail(link, self._taken)
        """``lag`` is what it has not read yet, ``asked`` its questions to Central."""
        self.watch = Watch(link, clock, chain)
        """``asked`` are its questions to Central."""
        self.opened = 0
        """Streams since the start."""
        self.dropped = 0
        """Streams that ended because their pages did not keep up."""
        self.turned_away = 0
        """Streams that were too many."""
        self.gaps = 0
        """Streams that were told to read their tables anew."""

    @property
    def clients(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    @property
    def lag(self) -> int:
        """Durable records that were not read yet."""
        return self.log.lag

    @property
    def asked(self) -> int:
        """Questions to Central since the start."""
        return self.log.asked + self.watch.asked

    # --- streams ------------------------------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Part of ``Concern``."""
        return {"live": self.live}

    async def live(self, call: Call) -> Answer:
        """A stream for one page."""
        after, name = _after(call), call.client
        if self._closed:
            raise unavailable("draining", "The sidecar is going down; come back to the next one.", DRAIN_S)
        if len(self._streams) >= self._settings.streams:
            self.turned_away += 1
            raise unavailable("too_many_streams", "As many look as may; close a page that nobody needs.", FULL_S)
        if self._names[name] >= self._settings.streams_per_client:
            self.turned_away += 1
            most = self._settings.streams_per_client
            detail = f"This client has {most} open streams, as many as one may; close a page that nobody needs."
            headers = {"Retry-After": str(FULL_S)}
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "too_many_streams", detail, headers=headers)
        stream = Stream(self, audience_of(call.principal), after, name)
        self._streams[stream] = None
        self._names[name] += 1
        self.opened += 1
        self._awake.set()
        self._stir.set()
        # Without the header a proxy may gather what is for now.
        return Answer(stream=stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    def leave(self, stream: Stream, *, slow: bool) -> None:
        """A stream is over."""
        del self._streams[stream]
        self._names[stream.client] -= 1
        if not self._names[stream.client]:
            del self._names[stream.client]
        self._left_s = self._clock.monotonic()
        if slow:
            self.dropped += 1
            log.info("live.too_slow", client=stream.client)

    def note_gap(self) -> None:
        """A stream had to leave records out."""
        self.gaps += 1

    def close(self) -> None:
        """End all streams, now and for good: a drain waits for nobody who only looks."""
        self._closed = True
        for stream in list(self._streams):
            stream.end()

    def hello(self, *, resumed: bool) -> bytes:
        """The first event of a stream."""
        self._note_link()
        said = {
            "now_ms": self._clock.site_ms(),
            "speed": self._clock.speed,
            "link": self._link_said(),
            "version": self._version,
            "resumed": resumed,
        }
        return event("hello", msgspec.json.encode(said))

    def picture(self, audience: Audience) -> bytes | None:
        """The event ``picture``; None: nothing was heard yet."""
        return self.watch.picture(audience)

    def _tell(self, tell: Tell) -> None:
        written: dict[Audience, bytes] = {}
        for stream in list(self._streams):
            audience = stream.audience
            if audience not in written:
                written[audience] = tell(audience)
            stream.push(written[audience])

    # --- what it does by itself ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Part of ``Concern``: follow and ask while somebody looks."""
        if self._link is None:
            await asyncio.Event().wait()
            return
        self._link.on_up(self._came_back)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="live records")
            tasks.create_task(self._look(), name="live picture")

    def _looked_at(self) -> bool:
        if self._streams or self._clock.monotonic() - self._left_s < LINGER_S:
            return True
        self._awake.clear()
        self.watch.sleep()
        return False

    async def _follow(self) -> None:
        while True:
            await self._awake.wait()
            await self.log.follow(self._looked_at)

    def _taken(self, records: list[Record]) -> None:
        for stream in self._streams:
            stream.stir()
        if self.watch.take(records):
            self._stir.set()

    async def _look(self) -> None:
        while True:
            await self._awake.wait()
            began_s = self._clock.monotonic()
            self._stir.clear()
            self._note_link()
            if self._linked:
                try:
                    anew, tells = await self.watch.look(self.log.newest_seq)
                except (CentralAway, Unanswered) as error:
                    log.debug("live.unanswered", why=str(error))
                else:
                    self._told(tells, anew=anew)
            self._looked_at()
            await asyncio.sleep(LEAST_S)
            left_s = LOOK_S - (self._clock.monotonic() - began_s)
            if left_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._stir.wait()

    def _told(self, tells: list[Tell], *, anew: bool) -> None:
        for stream in list(self._streams):
            # Also one that came before there was anything to see.
            stream.renew() if anew else stream.stir()
        for tell in tells:
            self._tell(tell)

    # --- the link -----------------------------------------------------------------------------------------------------

    def _came_back(self) -> None:
        self.watch.renew()
        self._note_link()
        self._stir.set()

    def _note_link(self) -> None:
        linked = self._link is not None and self._link.state == "connected"
        if linked != self._linked:
            self._linked, self._linked_ms = linked, self._clock.site_ms()
            written = event("link", msgspec.json.encode(self._link_said()))
            for stream in self._streams:
                stream.note_link(written)

    def _link_said(self) -> dict[str, Any]:
        return {"state": "connected" if self._linked else "disconnected", "since_ms": self._linked_ms}


def _after(call: Call) -> int | None:
    """The newest record that the page has. Raises Problem."""
    said = None if call.request is None else call.request.headers.get("Last-Event-ID")
    query: LiveQuery | None = call.query
    if not said:
        return None if query is None else query.after
    if not (said.isascii() and said.isdigit() and len(said) <= _DIGITS):
        raise bad_request("Last-Event-ID is the number of the newest record that you have; leave it out to begin anew.")
    return min(int(said), MAX_COUNT)
