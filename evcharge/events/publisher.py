"""The publisher: from Central's log to Kafka for as long as its process runs, each record once.

Whatever is wrong is told once per change and tried again. Every attempt begins with what Kafka itself says was
published, so it does not matter where the one before ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from zlib import crc32

import msgspec
import structlog

from evcharge.events.ahead import Ahead
from evcharge.events.course import Course
from evcharge.events.keys import Keys
from evcharge.events.lost import Lost, lost
from evcharge.events.message import Message
from evcharge.events.parcels import Sizes
from evcharge.events.ports import Kafka, Link, Outlet
from evcharge.events.position import Position, after
from evcharge.events.settings import PublisherSettings
from evcharge.events.tally import Tally
from evcharge.events.together import together
from evcharge.events.topics import Topics
from evcharge.events.troubles import Board, Fenced, Kind, Superseded, TooLarge, Trouble
from evcharge.events.waiting import Waiting, done
from evcharge.net.answers import RequestFailed, RequestRefused
from evcharge.net.clock import Clock
from evcharge.net.tail import BrokenTail, follow
from protocol import messages as m

log = structlog.get_logger()

# When a trouble is looked at again, in seconds.
RETRY_S = 2.0
# How often an idle publisher looks whether Kafka is there, in seconds.
LOOK_S = 10.0
# How often Central is asked for its newest record while nothing can be published, in seconds: the lag is a metric.
NEWEST_S = 5.0
# By which name Central's metrics know this follower, behind that of its credential.
NAME = "publisher"


class Publisher:
    """``run`` it once. ``tally`` and ``board`` are what metrics show."""

    def __init__(
        self,
        settings: PublisherSettings,
        link: Link,
        kafka: Kafka,
        *,
        instance: str,
        clock: Clock,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``instance``: a name that no other start of a publisher has."""
        self.tally = Tally()
        self.board = Board()
        self._settings = settings
        self._link = link
        self._kafka = kafka
        self._instance = instance
        self._clock = clock
        self._pause = pause
        self._sizes = Sizes()
        self._anew = asyncio.Event()
        self._stop = asyncio.Event()
        self._waiting = Waiting(self._stop, kafka, self.board)
        self._position: Position | None = None
        # Of two that turn each other away, none would ever get far if they came back at the same moments.
        self._turn_s = RETRY_S * (1 + crc32(instance.encode()) / 2**32)
        self._fenced = 0
        """How often in a row a transaction was refused; 0: the last one was committed."""
        self._to_look = False
        """A transaction was refused, and nobody has looked yet whether there is a successor."""
        self._stuck = False
        """Records could not be written: that Kafka is well again, only written records show."""
        self._lost: Lost | None = None
        self._unverified: int | None = None
        self._remarks: list[str] = []
        link.on_up(self._anew.set)

    def unready(self) -> str | None:
        """Why events do not come through now, as one sentence; None: they do."""
        if self._stop.is_set():
            return "The publisher is ending."
        if self.board.troubles:
            return " ".join(trouble.sentence for trouble in self.board.troubles)
        return None if self.tally.kafka_connected else "The publisher is starting."

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; the transaction of then is finished first.

        Raises:
            Superseded: another publisher has this one's place.
        """
        self._stop = stop
        self._waiting = Waiting(stop, self._kafka, self.board)
        await together(self._until_stop(), self._watch_newest())

    async def _until_stop(self) -> None:
        while not self._stop.is_set():
            try:
                await self._attempt()
            except Fenced as error:
                self._fenced += 1
                self._to_look = True
                log.info("events.fenced", why=str(error))
                if self._fenced > 1:
                    await self._waiting.until(self._pause(self._turn_s), None)
            except Trouble as trouble:
                self.board.came(trouble)
                await self._wait_for_better(trouble)

    # --- one attempt --------------------------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """Publish until something is wrong, or the end."""
        if self._to_look:
            await self._look_for_successor()
        if self._lost is not None:
            await self._look_for_position(self._lost)
        outlet = await self._opened()
        if outlet is None:
            return
        try:
            self._tell_topics(outlet.topics)
            position = await self._begin(outlet)
            if position is None:
                return
            self.tally.kafka_connected = True
            if not self._stuck:
                self.board.mended(central=False)
            await self._carry(outlet, position)
        except TooLarge as error:
            self._too_large(error.seqs)
        finally:
            self.tally.kafka_connected = False
            await outlet.close()

    async def _opened(self) -> Outlet | None:
        try:
            outlet = await self._waiting.patiently(self._kafka.open())
        except Trouble as trouble:
            if trouble.kind in (Kind.KAFKA_AWAY, Kind.KAFKA_SLOW, Kind.KAFKA_FAILED):
                raise await self._waiting.explained(trouble) from trouble
            raise
        self._to_look = False
        return outlet

    async def _look_for_successor(self) -> None:
        """A transaction was refused: because it took too long, or because somebody else publishes now."""
        try:
            kept = await self._waiting.patiently(self._kafka.read_kept())
        except Trouble as trouble:
            raise await self._waiting.explained(trouble) from trouble
        if kept is not None and kept.position is not None and kept.position.instance != self._instance:
            raise Superseded

    async def _look_for_position(self, before: Lost) -> None:
        """Whether somebody has mended it: without turning away a publisher that knows where it is."""
        wrong = await self._waiting.patiently(self._kafka.unwritable())
        if wrong is None or wrong.kind is not Kind.TOPIC_GONE:
            kept = await self._waiting.patiently(self._kafka.read_kept())
            if kept is not None and kept.position == before.found:
                raise before.trouble
        self._lost = None

    async def _begin(self, outlet: Outlet) -> Position | None:
        """Where to go on; says so on the topic, so that whoever is turned away knows by whom. None: the end came."""
        found = outlet.kept.position
        if found is not None and self._position is not None and found.instance != self._instance:
            # It is turned away now, finds its own name on the topic, and comes back: this one ends.
            raise Superseded
        position = found or self._position or Position(seq=self._settings.after_seq or 0)
        if not await self._is_newest(outlet, position):
            return None
        if found is not None and self._position is None and self._settings.after_seq not in (None, found.seq):
            log.warning(
                "events.after_ignored", sentence=f"--after is ignored: record {found.seq} is published already."
            )
        claim = msgspec.structs.replace(position, instance=self._instance, at_ms=self._clock.steady_ms())
        if await self._waiting.patiently(done(outlet.publish([], claim)), writing=True) is None:
            return None
        if self._position is None:
            log.info(
                "events.begins", after_seq=claim.seq, topic=self._settings.topic, sessions=len(outlet.kept.charges)
            )
        self._position = claim
        self.tally.published_seq = claim.seq
        return claim

    async def _is_newest(self, outlet: Outlet, position: Position) -> bool:
        """Whether no record behind ``position`` is on the topic already. False: the end came.

        Raises:
            Trouble: one is.
        """
        events, found = outlet.topics.events, outlet.kept.position
        if events.made:
            return True
        # Without a position the whole topic may have to be read. With one it is about somebody who publishes as well,
        # and whose records are at the end.
        newest = await self._waiting.patiently(self._kafka.newest_published(events.partitions, thorough=found is None))
        if newest is None:
            return False
        if newest > position.seq:
            self._lost = lost(self._settings, newest, found)
            raise self._lost.trouble
        return True

    # --- carrying -----------------------------------------------------------------------------------------------------

    async def _carry(self, outlet: Outlet, position: Position) -> None:
        course = Course(position, Keys(outlet.kept.charges), self._settings.log_name, self._settings.format)
        ahead = Ahead()
        reading = asyncio.create_task(self._read(course, ahead), name="events: read the log")
        # Whatever ends it is heard by who publishes: what only stopped to read would look healthy for ever.
        reading.add_done_callback(ahead.ended)
        began_s = float("-inf")
        try:
            while await self._worth_it(outlet, ahead, began_s):
                began_s = self._clock.monotonic()
                await self._publish(outlet, ahead.take())
                self.tally.waiting_bytes = ahead.size
        finally:
            self.tally.waiting_bytes = 0
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _worth_it(self, outlet: Outlet, ahead: Ahead, began_s: float) -> bool:
        """Wait until a transaction is worth its price. False: the end came.

        Raises:
            Trouble: Kafka went away meanwhile.
        """
        while not await self._waiting.until(ahead.some(), LOOK_S):
            if self._stop.is_set():
                return False
            if not await outlet.alive():
                raise Trouble(Kind.KAFKA_AWAY, "Kafka does not answer any more.")
        if (rest_s := began_s + self._settings.pace_s - self._clock.monotonic()) > 0:
            await self._waiting.until(ahead.much(), rest_s)
        return not self._stop.is_set()

    async def _publish(self, outlet: Outlet, messages: list[Message]) -> None:
        tally, began_s = self.tally, self._clock.monotonic()
        tail = [(message.seq, message.digest) for message in messages[-1:]]
        position = after(tail, self._instance, self._clock.steady_ms())
        sending = outlet.publish(messages, position, self._sizes.piece_bytes)
        try:
            committed = await self._waiting.patiently(done(sending), writing=True)
        except (Trouble, Fenced, TooLarge) as error:
            outcome = {Fenced: "fenced", TooLarge: "too_large"}.get(type(error), "failed")
            tally.transactions[outcome] += 1
            self._stuck = True
            raise
        if committed is None:
            return
        tally.commit_s.observe(self._clock.monotonic() - began_s)
        tally.transactions["committed"] += 1
        tally.records += len(messages)
        tally.bytes += sum(len(message.value) for message in messages)
        tally.published_seq = position.seq
        self._position = position
        for message in messages:
            if message.cut:
                tally.cut += 1
                log.warning("events.cut", seq=message.seq, sentence="It is longer than the topic takes.")
        self._sizes.published(position.seq)
        self._fenced = 0
        self._well()

    async def _read(self, course: Course, ahead: Ahead) -> None:
        """Read ahead of what is published."""
        try:
            while True:
                # Behind a new channel there may be another log: the last record that was taken is compared.
                self._anew.clear()
                course.ask_again()
                async with aclosing(
                    follow(self._link, course.after_seq, NAME, away=self._away, pause=self._pause)
                ) as batches:
                    async for batch in batches:
                        if self._anew.is_set():
                            break
                        taken = course.take(batch, self._sizes.cut)
                        self.tally.newest_seq = batch.newest_seq
                        self.board.mended(central=True)
                        self._tell_missed(taken.missed, course)
                        self._tell_unverified(taken.verified, course)
                        if self.tally.published_seq == batch.newest_seq:
                            # Nothing waits that could show it.
                            self._well()
                        if taken.messages:
                            await ahead.put(taken.messages)
        except BrokenTail as error:
            raise Trouble(Kind.CENTRAL_ANSWER, f"Central's answer cannot be used: {error}.") from error

    # --- what is wrong ------------------------------------------------------------------------------------------------

    def _away(self, why: str) -> None:
        self.board.came(Trouble(Kind.CENTRAL_AWAY, f"Central's log cannot be read: {why}"))

    def _tell_missed(self, missed: int, course: Course) -> None:
        if missed:
            self.tally.missed += missed
            log.error(
                "events.missed",
                records=missed,
                before_seq=course.seq,
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

    def _well(self) -> None:
        self._stuck = False
        self.board.mended(central=False)

    def _tell_topics(self, topics: Topics) -> None:
        for topic in (topics.events, topics.positions):
            if topic.made:
                log.info("events.topic_made", topic=topic.name, partitions=topic.partitions)
        for remark in topics.remarks:
            if remark not in self._remarks:
                log.warning("events.topic_differs", sentence=remark)
        self._remarks = topics.remarks
        self._sizes.told(topics.events.number("max.message.bytes"))

    def _too_large(self, seqs: tuple[int, ...]) -> None:
        if len(seqs) == 1 and seqs[0] in self._sizes.cut:
            raise Trouble(
                Kind.TOPIC_UNFIT,
                f"{self._settings.topic} does not even take the stand-in of record {seqs[0]}: raise its "
                "max.message.bytes.",
            )
        self._sizes.turned_away(seqs)

    async def _wait_for_better(self, trouble: Trouble) -> None:
        if trouble.kind is Kind.OTHER_LOG:
            # Only a new channel can lead to another log.
            await self._waiting.until(self._anew.wait(), None)
        else:
            await self._waiting.until(self._pause(RETRY_S), None)

    async def _watch_newest(self) -> None:
        """How far Central is, while nobody reads its log."""
        while True:
            await self._pause(NEWEST_S)
            if self.tally.kafka_connected:
                continue
            try:
                state = (await self._link.ask(m.AuditState(id=0))).audit_state
            except (RequestRefused, RequestFailed) as error:
                self._away(str(error))
                continue
            if state is not None and not any(each.kind is Kind.OTHER_LOG for each in self.board.troubles):
                self.tally.newest_seq = state.newest_seq
                self.board.mended(central=True)
