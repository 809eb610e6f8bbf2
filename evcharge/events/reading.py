"""Central's log as it is read ahead of what is published, and compared with what was published before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import structlog

from evcharge.events.ahead import Ahead
from evcharge.events.course import Course, Taken
from evcharge.events.parcels import Sizes
from evcharge.events.ports import Link
from evcharge.events.tally import Tally
from evcharge.events.troubles import UNFIT_LOG, Board, Kind, Trouble
from evcharge.net.answers import RequestFailed, RequestRefused
from evcharge.net.tail import BrokenTail, follow
from protocol import messages as m

log = structlog.get_logger()

# How often Central is asked for its newest record while nothing can be published, in seconds: the lag is a metric.
NEWEST_S = 5.0
# When Central is asked again after it was away or refused, in seconds.
RETRY_S = 0.5
# By which name Central's metrics know this follower, behind that of its credential.
NAME = "publisher"


class Reading:
    """One who reads, from a position on."""

    def __init__(self) -> None:
        self.ahead = Ahead()
        self.compared = asyncio.Event()
        """Central has answered, and ``check`` knows whether its log is the one of the position."""
        self._failed: BaseException | None = None

    def check(self) -> None:
        """Raises what ended the reading before the log was compared: Trouble where it is another log."""
        if self._failed is not None:
            raise self._failed

    def ended(self, task: asyncio.Task[None]) -> None:
        """``task`` has read until now."""
        if not task.cancelled() and not self.compared.is_set():
            self._failed = task.exception()
        self.compared.set()
        # Whatever ends it is heard by who publishes: what only stopped to read would look healthy for ever.
        self.ahead.ended(task)


class CentralLog:
    """How a publisher reads; what is wrong with Central and its log is told here."""

    def __init__(
        self,
        link: Link,
        tally: Tally,
        board: Board,
        pause: Callable[[float], Awaitable[None]],
        seen: Callable[[], None],
    ) -> None:
        """``seen`` is called when ``tally`` knows Central's newest record again."""
        self.anew = asyncio.Event()
        """There is another channel since the log was asked for last; perhaps to another log."""
        self._link = link
        self._tally = tally
        self._board = board
        self._pause = pause
        self._seen = seen
        self._unverified: int | None = None
        self._missed_to = 0
        """Up to which record it was told what is missing."""
        link.on_up(self.anew.set)

    @asynccontextmanager
    async def read(self, course: Course, sizes: Sizes) -> AsyncIterator[Reading]:
        """Read on until the block ends."""
        reading = Reading()
        task = asyncio.create_task(self._read(course, sizes, reading), name="events: read the log")
        task.add_done_callback(reading.ended)
        try:
            yield reading
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def watch_newest(self) -> None:
        """How far Central is, while nobody reads its log."""
        while True:
            await self._pause(NEWEST_S)
            if self._tally.kafka_connected or self._unfit():
                continue
            reply = await self._ask(m.AuditState(id=0))
            state = None if reply is None else reply.audit_state
            if state is not None and not self._unfit():
                self._tally.newest_seq = state.newest_seq
                self._board.mended(central=True)

    def _unfit(self) -> bool:
        """Whether it is told that this is the wrong log: only a comparison can show that it is another one now."""
        return any(each.kind in UNFIT_LOG for each in self._board.troubles)

    async def _read(self, course: Course, sizes: Sizes, reading: Reading) -> None:
        try:
            while True:
                # Behind a new channel there may be another log: the last record that was taken is compared.
                self.anew.clear()
                course.ask_again()
                # Who follows a log that ends before hears of it only after a while; without a wait it is said at once.
                tail = await self._tail(course.after_seq)
                if tail is None:
                    await self._pause(RETRY_S)
                    continue
                if not course.comparable(tail.first_seq, tail.newest_seq):
                    reading.compared.set()
                async with aclosing(
                    follow(self._link, course.after_seq, NAME, away=self._away, pause=self._pause)
                ) as batches:
                    async for batch in batches:
                        if self.anew.is_set():
                            break
                        taken = course.take(batch, sizes.cut)
                        reading.compared.set()
                        self._tally.newest_seq = batch.newest_seq
                        self._board.mended(central=True)
                        self._tell_missed(taken)
                        self._tell_unverified(taken.verified, course)
                        self._seen()
                        if taken.messages:
                            await reading.ahead.put(taken.messages)
        except BrokenTail as error:
            raise Trouble(Kind.CENTRAL_ANSWER, f"Central's answer cannot be used: {error}.") from error

    async def _tail(self, after_seq: int) -> m.TailView | None:
        """What is behind ``after_seq`` now; None: Central does not say."""
        reply = await self._ask(m.Follow(id=0, after_seq=after_seq, wait_ms=0, name=NAME))
        if reply is None:
            return None
        if reply.tail is None:
            raise BrokenTail("the answer has no tail")
        return reply.tail

    async def _ask(self, message: m.Message) -> m.Reply | None:
        """The answer; None: there is none, which is told."""
        try:
            return await self._link.ask(message)
        except (RequestRefused, RequestFailed) as error:
            self._away(str(error))
            return None

    def _away(self, why: str) -> None:
        self._board.came(Trouble(Kind.CENTRAL_AWAY, f"Central's log cannot be read: {why}"))

    def _tell_missed(self, taken: Taken) -> None:
        if not taken.missed:
            return
        before_seq = taken.messages[0].seq
        # What was not published yet is read again at every attempt.
        missed = min(taken.missed, before_seq - 1 - self._missed_to)
        if missed > 0:
            self._missed_to = before_seq - 1
            self._tally.missed += missed
            log.error(
                "events.missed",
                records=missed,
                before_seq=before_seq,
                sentence="They were archived before they could be published, so they are not on the topic.",
            )

    def _tell_unverified(self, verified: bool | None, course: Course) -> None:
        if verified is False and self._unverified != course.verify_seq:
            self._unverified = course.verify_seq
            log.warning(
                "events.unverified",
                seq=course.verify_seq,
                sentence="The last record that was published cannot be compared with Central's: it is archived, or its "
                "hash was never stored. Nobody can tell whether this is the same log; the records behind it follow.",
            )
