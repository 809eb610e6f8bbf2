"""The publisher: from Central's log to Kafka for as long as its process runs, each record once.

Whatever is wrong is told once per change and tried again. Every attempt begins with what Kafka itself says was
published, so it does not matter where the one before ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any
from zlib import crc32

import msgspec
import structlog

from evcharge.events.ahead import Ahead
from evcharge.events.course import Course
from evcharge.events.keys import Keys, Learned, learn
from evcharge.events.looking import Looking
from evcharge.events.lost import Lost
from evcharge.events.message import Message
from evcharge.events.parcels import Sizes
from evcharge.events.ports import Kafka, Link, Outlet
from evcharge.events.position import Kept, Position, after
from evcharge.events.reading import CentralLog, Reading
from evcharge.events.settings import PublisherSettings
from evcharge.events.tally import Tally
from evcharge.events.together import together
from evcharge.events.topics import Topics
from evcharge.events.troubles import UNFIT_LOG, Board, Fenced, Kind, Superseded, TooLarge, Trouble
from evcharge.events.waiting import Waiting, done
from evcharge.net.clock import Clock

log = structlog.get_logger()

# When a trouble is looked at again, in seconds.
RETRY_S = 2.0
# How often an idle publisher looks whether Kafka is there, in seconds.
LOOK_S = 10.0


class Publisher:
    """``run`` it once. ``tally`` and ``board`` are what metrics show."""

    def __init__(
        self,
        settings: PublisherSettings,
        link: Link,
        kafka: Kafka,
        *,
        instance: str,
        stop: asyncio.Event,
        clock: Clock,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``instance``: a name that no other start of a publisher has; ``stop``: set when it is to end."""
        self.tally = Tally()
        self.board = Board()
        self._settings = settings
        self._kafka = kafka
        self._instance = instance
        self._stop = stop
        self._clock = clock
        self._pause = pause
        self._sizes = Sizes()
        self._log = CentralLog(link, self.tally, self.board, pause, self._idle)
        self._waiting = Waiting(stop, kafka, self.board)
        self._looking = Looking(settings, kafka, self._waiting, clock)
        self._position: Position | None = None
        """What it wrote last."""
        self._charges: dict[str, str] = {}
        """Charge points by session, as they stand beside that position."""
        self._found: Kept | None = None
        """What stood there when it opened its way into Kafka last."""
        # Of two that turn each other away, none would ever get far if they came back at the same moments.
        self._turn_s = RETRY_S * (1 + crc32(instance.encode()) / 2**32)
        self._fenced = 0
        """How often in a row a transaction was refused; 0: the last one was committed."""
        self._to_look = False
        """A transaction was refused, and nobody has looked yet whether there is a successor."""
        self._stuck = False
        """Something could not be written: that Kafka is well again, only what is written shows."""
        self._claimed = False
        """The topic of positions says that this one goes on from there."""
        self._lost: Lost | None = None
        self._unfit = False
        """Central's log was another one, and nobody has looked at it again yet."""
        self._remarks: list[str] = []

    def unready(self) -> str | None:
        """Why events do not come through now, as one sentence; None: they do."""
        if self._stop.is_set():
            return "The publisher is ending."
        if self.board.troubles:
            return " ".join(trouble.sentence for trouble in self.board.troubles)
        return None if self.tally.kafka_connected else "The publisher is starting."

    async def run(self) -> None:
        """Until it is to end; the transaction of then is finished first.

        Raises:
            Superseded: another publisher has this one's place.
        """
        await together(self._until_stop(), self._log.watch_newest())

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
                self._unfit |= trouble.kind in UNFIT_LOG
                self.board.came(trouble)
                await self._wait_for_better(trouble)

    # --- one attempt --------------------------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """Publish until something is wrong, or the end."""
        await self._look()
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
            self.tally.kafka_connected = self._claimed = False
            await outlet.close()

    async def _look(self) -> None:
        """Whether it can be of use to turn away whoever publishes now.

        Raises:
            Superseded, Trouble
        """
        if self._to_look and await self._looking.has_successor(self._instance, self._found):
            raise Superseded
        if self._lost is not None:
            self._lost = await self._looking.still_lost(self._lost, self._from(self._lost.found).seq)
            if self._lost is not None:
                # It is raised every two seconds, and would remember each of them.
                raise self._lost.trouble.with_traceback(None)
        if self._unfit:
            await self._look_at_log()

    async def _look_at_log(self) -> None:
        """Whether Central's log is the right one now."""
        kept = await self._looking.kept()
        if kept is not None:
            if not self._stuck:
                self.board.mended(central=False)
            async with self._log.read(self._course(kept.position, {}), self._sizes) as reading:
                if await self._waiting.until(reading.compared.wait(), None):
                    reading.check()
        self._unfit = False

    async def _opened(self) -> Outlet | None:
        try:
            outlet = await self._waiting.patiently(self._kafka.open(), long=_NO_PRODUCER)
        except Trouble as trouble:
            if trouble.kind in (Kind.KAFKA_AWAY, Kind.KAFKA_SLOW, Kind.KAFKA_FAILED):
                raise await self._waiting.explained(trouble) from trouble
            raise
        self._to_look = False
        return outlet

    async def _begin(self, outlet: Outlet) -> Position | None:
        """Where to go on. None: the end came.

        Raises:
            Superseded, Trouble
        """
        found = outlet.kept.position
        if found is not None and self._position is not None and found.instance != self._instance:
            # It is turned away now, finds its own name on the topic, and comes back: this one ends.
            raise Superseded
        self._found = outlet.kept
        if found is not None or self._position is None:
            self._charges = dict(outlet.kept.charges)
        position, events = self._from(found), outlet.topics.events
        if not events.made:
            self._lost = await self._looking.lost(events.partitions, found, position.seq)
            if self._lost is not None:
                raise self._lost.trouble
        return None if self._stop.is_set() else position

    def _from(self, found: Position | None) -> Position:
        return found or self._position or Position(seq=self._settings.after_seq or 0)

    # --- carrying -----------------------------------------------------------------------------------------------------

    async def _carry(self, outlet: Outlet, position: Position) -> None:
        course = self._course(outlet.kept.position, self._charges)
        began_s = float("-inf")
        try:
            async with self._log.read(course, self._sizes) as reading:
                if not (await self._compared(outlet, reading) and await self._claim(outlet, position)):
                    return
                while await self._worth_it(outlet, reading.ahead, began_s):
                    began_s = self._clock.monotonic()
                    await self._publish(outlet, reading.ahead.take())
                    self.tally.waiting_bytes = reading.ahead.size
        finally:
            self.tally.waiting_bytes = 0

    def _course(self, found: Position | None, charges: Mapping[str, str]) -> Course:
        return Course(
            self._from(found),
            Keys(charges),
            self._settings.log_name,
            self._settings.format,
            told=found is None and self._position is None,
        )

    async def _compared(self, outlet: Outlet, reading: Reading) -> bool:
        """Wait until Central has shown the right log. False: the end came.

        Raises:
            Trouble: it is another one, or Kafka went away meanwhile.
        """
        while not await self._waiting.until(reading.compared.wait(), LOOK_S):
            if not await self._alive(outlet):
                return False
        reading.check()
        return not self._stop.is_set()

    async def _claim(self, outlet: Outlet, position: Position) -> bool:
        """Say on the topic who goes on from there, so that whoever is turned away knows by whom. False: the end came.

        Not before Central's log was compared: who cannot publish takes nobody's place, and no number is on the topic
        that no record has.
        """
        found = outlet.kept.position
        claim = msgspec.structs.replace(position, instance=self._instance, at_ms=self._clock.steady_ms())
        # Where the topic had to be made anew, nothing on it says where sessions charge.
        known = [Learned(*each) for each in self._charges.items()] if found is None else []
        if not await self._written(outlet.publish([], claim, learned=known)):
            return False
        if self._position is None:
            if found is not None and self._settings.after_seq not in (None, found.seq):
                log.warning(
                    "events.after_ignored", sentence=f"--after is ignored: record {found.seq} is published already."
                )
            log.info("events.begins", after_seq=claim.seq, topic=self._settings.topic, sessions=len(self._charges))
        self._position = claim
        self.tally.published_seq = claim.seq
        self._claimed = True
        self._idle()
        return True

    async def _worth_it(self, outlet: Outlet, ahead: Ahead, began_s: float) -> bool:
        """Wait until a transaction is worth its price. False: the end came.

        Raises:
            Trouble: Kafka went away meanwhile.
        """
        while not await self._waiting.until(ahead.some(), LOOK_S):
            if not await self._alive(outlet):
                return False
        if (rest_s := began_s + self._settings.pace_s - self._clock.monotonic()) > 0:
            await self._waiting.until(ahead.much(), rest_s)
        return not self._stop.is_set()

    async def _alive(self, outlet: Outlet) -> bool:
        """False: the end came.

        Raises:
            Trouble: Kafka went away.
        """
        alive = await self._waiting.patiently(outlet.alive())
        if alive is False:
            raise await self._waiting.explained(Trouble(Kind.KAFKA_AWAY, "Kafka does not answer any more."))
        return not self._stop.is_set()

    async def _written(self, sending: Coroutine[Any, Any, None]) -> bool:
        """True: it was committed. False: the end came, and it took too long."""
        try:
            return await self._waiting.patiently(done(sending), writing=True) is not None
        except (Trouble, Fenced, TooLarge):
            self._stuck = True
            raise

    async def _publish(self, outlet: Outlet, messages: list[Message]) -> None:
        tally, began_s = self.tally, self._clock.monotonic()
        tail = [(message.seq, message.digest) for message in messages[-1:]]
        position = after(tail, self._instance, self._clock.steady_ms())
        try:
            committed = await self._written(outlet.publish(messages, position, self._sizes.piece_bytes))
        except (Trouble, Fenced, TooLarge) as error:
            outcome = {Fenced: "fenced", TooLarge: "too_large"}.get(type(error), "failed")
            tally.transactions[outcome] += 1
            raise
        if not committed:
            return
        tally.commit_s.observe(self._clock.monotonic() - began_s)
        tally.transactions["committed"] += 1
        tally.records += len(messages)
        tally.bytes += sum(len(message.value) for message in messages)
        tally.published_seq = position.seq
        self._position = position
        for message in messages:
            learn(self._charges, message.learned)
            if message.cut:
                tally.cut += 1
                log.warning("events.cut", seq=message.seq, sentence="It is longer than the topic takes.")
        self._sizes.published(position.seq)
        self._fenced = 0
        self._well()

    # --- what is wrong ------------------------------------------------------------------------------------------------

    def _idle(self) -> None:
        """Where nothing waits that could show that Kafka is well, it is."""
        if self._claimed and self.tally.published_seq == self.tally.newest_seq:
            self._well()

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
        if trouble.kind in UNFIT_LOG:
            # Only a new channel can lead to another log; and a number that is too large now is not to come true with
            # the next records.
            await self._waiting.until(self._log.anew.wait(), None)
        else:
            await self._waiting.until(self._pause(RETRY_S), None)


_NO_PRODUCER = Trouble(
    Kind.KAFKA_SLOW,
    "Kafka takes connections, and there is no producer yet: the coordinator of transactions does not answer in time, "
    "or the topic of positions takes long to read.",
)
