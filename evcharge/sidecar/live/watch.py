"""Watching the site: what is asked of Central when, and what of the answers is news."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeVar

import msgspec
import structlog

from evcharge.net.answers import CentralAway, RequestFailed, RequestRefused, Unanswered
from evcharge.net.clock import Clock
from evcharge.net.tail import Record
from evcharge.sidecar.live import asking
from evcharge.sidecar.live.asking import Cursor, Link
from evcharge.sidecar.live.badge import Badge, badge_of
from evcharge.sidecar.live.chain import Verdict
from evcharge.sidecar.live.picture import Picture
from evcharge.sidecar.live.records import incident_of
from evcharge.sidecar.live.rows import Incident
from evcharge.sidecar.live.sse import Audience, Tell, event
from protocol import messages as m

log = structlog.get_logger()

T = TypeVar("T")

# How often is asked what changed, seconds: meters come once a second. Each kind of news is told as often at most.
LOOK_S = 1.0
# The least between two looks that records lead to: five a second are enough for an eye, and little for Central.
LEAST_S = 0.2
# How often parts are asked for of which no record tells, how the log is signed, and what could not be answered.
PARTS_S = 10.0
STATE_S = 5.0
RETRY_S = 5.0


class News(NamedTuple):
    """What came of one look."""

    anew: bool
    """The picture is another one: it has to be sent whole, and nothing else."""
    tells: list[Tell]


class Watch:
    """One picture, kept up by one question after the other."""

    def __init__(self, link: Link | None, clock: Clock, chain: Callable[[], Verdict | None]) -> None:
        """``chain``: what the sidecar itself found of the log; None: nothing."""
        self._link = link
        self._clock = clock
        self._chain = chain
        self._picture = Picture()
        self._written: dict[Audience, bytes] = {}
        self._heard_ms: int | None = None
        self._cursor = Cursor()
        self._anew = True
        self._asleep = False
        self._dirty: set[asking.Part] = set()
        self._incidents: list[Incident] | None = None
        self._state: m.AuditStateView | None = None
        self._badge: Badge | None = None
        self._asked_s: dict[str, float] = {}
        self._told_s: dict[str, float] = {}
        # What was refused the last time: said once.
        self._refused: set[str] = set()
        self.asked = 0
        """Questions to Central."""

    def picture(self, audience: Audience) -> bytes | None:
        """The event ``picture``, written once for all who ask before the next look; None: it is asked for just now."""
        asks = self._link is not None and self._link.state == "connected"
        if self._heard_ms is None or (self._asleep and asks):
            return None
        if audience not in self._written:
            self._written[audience] = self._picture.whole(self._badge, self._heard_ms, audience)
        return self._written[audience]

    def sleep(self) -> None:
        """Nobody looks: what is known grows old, and is shown to the next one only where nothing newer can be had."""
        self._asleep = True

    def renew(self) -> None:
        """Central came back: everything is asked for again, and sent whole."""
        self._anew = True

    def take(self, records: Iterable[Record]) -> bool:
        """What is known of the log's newest records. True: a look is worth while."""
        worth = False
        for record in records:
            found = incident_of(record)
            if found is not None and self._incidents is not None:
                self._incidents = [*self._incidents, found][-asking.INCIDENTS :]
            parts = asking.parts_after(record.kind)
            self._dirty.update(parts)
            worth = worth or found is not None or bool(parts) or asking.changes_after(record.kind)
        return worth

    async def look(self, newest_seq: int) -> News:
        """Ask what is due; ``newest_seq`` is the log's newest record. Raises CentralAway, Unanswered."""
        assert self._link is not None
        if self._anew or self._asleep:
            self._asked_s.clear()
        self._anew = await self._ask_changes(self._link) or self._anew
        for name in asking.PARTS:
            if self._is_due(name, LOOK_S if name == "substations" or name in self._dirty else PARTS_S):
                await self._ask_part(self._link, name)
        if self._incidents is None and self._is_due("incidents", RETRY_S):
            self._incidents = await self._usable("incidents", asking.incidents(self._link))
        if self._incidents is not None:
            self._picture.put("incidents", self._incidents)
        if self._is_due("audit_state", STATE_S):
            self._state = await self._usable("audit_state", asking.state(self._link)) or self._state
        if self._cursor.run is None:
            return News(False, [])
        self._heard_ms = self._clock.site_ms()
        self._asleep = False
        self._written.clear()
        return self._news(badge_of(self._chain(), self._state, newest_seq))

    async def _ask_changes(self, link: Link) -> bool:
        """Whether all charge points are other ones."""
        told = await self._usable("changes", asking.changes(link, self._cursor))
        if told is None:
            return False
        anew, views = told
        self.asked += len(views) - 1
        if anew:
            self._picture.replace({})
        for view in views:
            self._picture.update(view.rows, view.meters)
        return anew

    async def _ask_part(self, link: Link, name: asking.Part) -> None:
        # What a record says while it is asked for counts for the next time.
        self._dirty.discard(name)
        try:
            value = await self._usable(name, asking.part(link, name))
        except (CentralAway, Unanswered):
            self._dirty.add(name)
            raise
        if value is not None:
            self._picture.put(name, value)

    async def _usable(self, what: str, question: Awaitable[T]) -> T | None:
        """The answer; None for one that cannot be used, which is said once. Raises CentralAway, Unanswered."""
        self.asked += 1
        try:
            answer = await question
        except (CentralAway, Unanswered):
            raise
        except (RequestRefused, RequestFailed) as error:
            if what not in self._refused:
                self._refused.add(what)
                log.warning("live.not_answered", what=what, why=str(error))
            return None
        self._refused.discard(what)
        return answer

    def _is_due(self, name: str, every_s: float) -> bool:
        now_s, asked_s = self._clock.monotonic(), self._asked_s.get(name)
        if asked_s is not None and now_s - asked_s < every_s - LEAST_S / 2:
            return False
        self._asked_s[name] = now_s
        return True

    def _news(self, badge: Badge | None) -> News:
        picture = self._picture
        takes = {"points": picture.take_points, "meters": picture.take_meters, "site": picture.take_site}
        if self._anew:
            self._anew, self._badge = False, badge
            for take in takes.values():
                take()
            return News(True, [])
        tells: list[Tell] = []
        for name, take in takes.items():
            if self._may_tell(name) and (tell := take()) is not None:
                self._told_s[name] = self._clock.monotonic()
                tells.append(tell)
        if badge is not None and badge != self._badge and self._may_tell("chain"):
            self._badge, self._told_s["chain"] = badge, self._clock.monotonic()
            written = event("chain", msgspec.json.encode(badge))
            tells.append(lambda _audience: written)
        return News(False, tells)

    def _may_tell(self, name: str) -> bool:
        """At most once a second each; what has to wait goes with a later look."""
        told_s = self._told_s.get(name)
        return told_s is None or self._clock.monotonic() - told_s >= LOOK_S - LEAST_S / 2
