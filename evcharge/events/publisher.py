"""The publisher: from Central's log to Kafka for as long as its process runs, each record once.

Whatever is wrong is told once per change and tried again. Every attempt begins with what Kafka itself says was
published, so it does not matter where the one before ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from evcharge.events.ahead import Ahead
from evcharge.events.course import Course
from evcharge.events.keys import Keys
from evcharge.events.message import Message
from evcharge.events.parcels import Sizes
from evcharge.events.position import Kept, Position, after
from evcharge.events.settings import PublisherSettings
from evcharge.events.tally import Tally
from evcharge.events.topics import Topics
from evcharge.events.troubles import Board, Fenced, Kind, Superseded, TooLarge, Trouble
from evcharge.net.answers import RequestFailed, RequestRefused
from evcharge.net.clock import Clock
from evcharge.net.tail import BrokenTail, follow
from protocol import messages as m

log = structlog.get_logger()

# When a trouble is looked at again, in seconds.
RETRY_S = 2.0
# Kafka that has not answered for so long is a trouble, in seconds, although its answer is still waited for.
TELL_S = 5.0
# How often an idle publisher looks whether Kafka is there, in seconds.
LOOK_S = 10.0
# How often Central is asked for its newest record while nothing can be published, in seconds: the lag is a metric.
NEWEST_S = 5.0
# How long the transaction of now may take at the end, in seconds; then it is given up, and the next start repeats it.
DRAIN_S = 10.0
# By which name Central's metrics know this follower, behind that of its credential.
NAME = "publisher"

T = TypeVar("T")


class Link(Protocol):
    """What it needs of the link to Central."""

    @property
    def state(self) -> str: ...

    async def ask(self, message: m.Message, timeout_s: float = ...) -> m.Reply: ...

    def on_up(self, tell: Callable[[], None]) -> None: ...


class Outlet(Protocol):
    """The way into Kafka that nobody else has: ``evcharge.events.outlet``."""

    topics: Topics
    kept: Kept

    async def publish(self, messages: Sequence[Message], position: Position, piece_bytes: int = ...) -> None: ...

    async def alive(self) -> bool: ...

    async def close(self) -> None: ...


class Kafka(Protocol):
    """What it needs of Kafka: ``evcharge.events.outlet.RealKafka``. Each raises Trouble where nothing else is said."""

    async def open(self) -> Outlet:
        """Turn away whoever published before. Raises Fenced too."""
        ...

    async def read_kept(self) -> Kept:
        """What stands on the topic of positions, without turning anybody away."""
        ...

    async def newest_published(self, partitions: int) -> int:
        """The newest record of this log at the end of the topic; 0: there is none."""
        ...

    async def look(self) -> Trouble | None:
        """Why no broker lets this client in; None: one does. Raises nothing."""
        ...

    async def gone(self) -> Trouble | None:
        """That a topic is not there any more; None: both are, or nobody can tell. Raises nothing."""
        ...


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
        self._position: Position | None = None
        self._fenced = False
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
        watching = asyncio.create_task(self._watch_newest(), name="events: newest record")
        try:
            while not stop.is_set():
                try:
                    await self._attempt()
                except Fenced as error:
                    self._fenced = True
                    log.info("events.fenced", why=str(error))
                except TooLarge as error:
                    self._too_large(error.seqs)
                except Trouble as trouble:
                    self.board.came(trouble)
                    await self._wait_for_better(trouble)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    # --- one attempt --------------------------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """Publish until something is wrong, or the end."""
        if self._fenced:
            await self._look_for_successor()
        outlet = await self._opened()
        if outlet is None:
            return
        try:
            self._tell_topics(outlet.topics)
            position = await self._begin(outlet)
            if position is None:
                return
            self.tally.kafka_connected = True
            self.board.mended(central=False)
            await self._carry(outlet, position)
        finally:
            self.tally.kafka_connected = False
            await outlet.close()

    async def _opened(self) -> Outlet | None:
        try:
            outlet = await self._patiently(self._kafka.open())
        except Trouble as trouble:
            # The client does not say why it could not connect: a look does.
            if trouble.kind in (Kind.KAFKA_AWAY, Kind.KAFKA_SLOW, Kind.KAFKA_FAILED):
                raise await self._kafka.look() or trouble from trouble
            raise
        self._fenced = False
        return outlet

    async def _look_for_successor(self) -> None:
        """A transaction was refused: because it took too long, or because somebody else publishes now."""
        try:
            kept = await self._patiently(self._kafka.read_kept())
        except Trouble as trouble:
            raise await self._kafka.look() or trouble from trouble
        if kept is not None and kept.position is not None and kept.position.instance != self._instance:
            raise Superseded

    async def _begin(self, outlet: Outlet) -> Position | None:
        """Where to go on; says so on the topic, so that whoever is turned away knows by whom. None: the end came."""
        found = outlet.kept.position
        if found is None:
            found = await self._without_position(outlet)
        elif self._position is not None and found.instance != self._instance:
            # It is turned away now, finds its own name on the topic, and comes back: this one ends.
            raise Superseded
        elif self._position is None and self._settings.after_seq not in (None, found.seq):
            log.warning(
                "events.after_ignored", sentence=f"--after is ignored: record {found.seq} is published already."
            )
        claim = msgspec.structs.replace(found, instance=self._instance, at_ms=self._clock.steady_ms())
        done = await self._patiently(_done(outlet.publish([], claim)), writing=True)
        if done is None:
            return None
        if self._position is None:
            log.info(
                "events.begins", after_seq=claim.seq, topic=self._settings.topic, sessions=len(outlet.kept.charges)
            )
        self._position = claim
        self.tally.published_seq = claim.seq
        return claim

    async def _without_position(self, outlet: Outlet) -> Position:
        settings = self._settings
        events = outlet.topics.events
        newest = 0 if events.made else await self._kafka.newest_published(events.partitions)
        if self._position is not None and newest <= self._position.seq:
            # The topic was deleted while this publisher ran: it knows where it is.
            return self._position
        if newest and settings.after_seq is None:
            raise Trouble(
                Kind.POSITION_LOST,
                f"{settings.topic} holds records of the log {settings.log_name!r} up to {newest}, and "
                f"{settings.positions_topic} has no position of it: to go on behind them start with --after {newest}; "
                "to publish all of it again, under another --log name or to another --topic.",
            )
        return Position(seq=settings.after_seq or 0)

    # --- carrying -----------------------------------------------------------------------------------------------------

    async def _carry(self, outlet: Outlet, position: Position) -> None:
        course = Course(position, Keys(outlet.kept.charges), self._settings.log_name, self._settings.format)
        ahead = Ahead()
        reading = asyncio.create_task(self._read(course, ahead), name="events: read the log")
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
        while not await self._until(ahead.some(), LOOK_S):
            if self._stop.is_set():
                return False
            if not await outlet.alive():
                raise Trouble(Kind.KAFKA_AWAY, "Kafka does not answer any more.")
        if (rest_s := began_s + self._settings.pace_s - self._clock.monotonic()) > 0:
            await self._until(ahead.much(), rest_s)
        return not self._stop.is_set()

    async def _publish(self, outlet: Outlet, messages: list[Message]) -> None:
        tally, began_s = self.tally, self._clock.monotonic()
        tail = [(message.seq, message.digest) for message in messages[-1:]]
        position = after(tail, self._instance, self._clock.steady_ms())
        sending = outlet.publish(messages, position, self._sizes.piece_bytes)
        try:
            done = await self._patiently(_done(sending), writing=True)
        except (Trouble, Fenced, TooLarge) as error:
            outcome = {Fenced: "fenced", TooLarge: "too_large"}.get(type(error), "failed")
            tally.transactions[outcome] += 1
            raise
        if done is None:
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
        self.board.mended(central=False)

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
                        if taken.messages:
                            await ahead.put(taken.messages)
        except Trouble as trouble:
            ahead.fail(trouble)
        except BrokenTail as error:
            ahead.fail(Trouble(Kind.CENTRAL_ANSWER, f"Central's answer cannot be used: {error}."))

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
            self.board.came(
                Trouble(
                    Kind.TOPIC_UNFIT,
                    f"{self._settings.topic} does not even take the stand-in of record {seqs[0]}: raise its "
                    "max.message.bytes.",
                )
            )
        self._sizes.turned_away(seqs)

    async def _wait_for_better(self, trouble: Trouble) -> None:
        if trouble.kind is Kind.OTHER_LOG:
            # Only a new channel can lead to another log.
            await self._until(self._anew.wait(), None)
        else:
            await self._until(self._pause(RETRY_S), None)

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

    # --- waiting ------------------------------------------------------------------------------------------------------

    async def _until(self, fact: Awaitable[object], timeout_s: float | None) -> bool:
        """Wait for ``fact``, for so long at most, and not longer than to the end. True: it came."""
        waiting = asyncio.ensure_future(_done(fact))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({waiting, stopping}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            for task in (waiting, stopping):
                task.cancel()
            await asyncio.gather(waiting, stopping, return_exceptions=True)

    async def _patiently(self, work: Coroutine[Any, Any, T], *, writing: bool = False) -> T | None:
        """The result of ``work``, of which is told when it takes long; None: the end came, and it took too long.

        Raises:
            Trouble: a topic that is written is gone; the client would wait for it.
        """
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stopping}, timeout=TELL_S, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not self._stop.is_set():
                slow = Trouble(Kind.KAFKA_SLOW, "Kafka takes connections, and does not answer in time.")
                away = await self._kafka.look()
                if away is None and writing and (gone := await self._kafka.gone()) is not None:
                    raise gone
                self.board.came(away or slow)
                await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=DRAIN_S)
            return task.result() if task.done() else None
        finally:
            for each in (task, stopping):
                each.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)


async def _done(work: Awaitable[object]) -> bool:
    await work
    return True
