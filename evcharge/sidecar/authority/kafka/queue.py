"""The queue on a topic of Kafka's, over the same table.

A request's row is written by the transaction that accepts it, relayed to the topic, and deleted when it is decided.
The topic brings requests to whoever reads it: one sidecar, or two while one follows another. What counts is the table.
So nothing that a broker loses is lost, whoever can write to the topic can decide nothing, and a sidecar that is started
without Kafka finds everything that is undecided.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.net.clock import Clock
from evcharge.net.kafka_client import quiet
from evcharge.sidecar.authority.kafka.cluster import Cluster
from evcharge.sidecar.authority.kafka.fate import Fate, Message, dead_message, fate, named
from evcharge.sidecar.authority.kafka.outbox import Outbox
from evcharge.sidecar.authority.kafka.reader import Reader
from evcharge.sidecar.authority.kafka.relay import Relay
from evcharge.sidecar.authority.kafka.settings import QueueKafka
from evcharge.sidecar.authority.kafka.troubles import State, Trouble, Troubles
from evcharge.sidecar.authority.queue import OutboxQueue, Taken, Waiting
from evcharge.sidecar.database import Database

log = structlog.get_logger()


class KafkaQueue:
    """A ``RequestQueue``."""

    def __init__(
        self,
        database: Database,
        settings: QueueKafka,
        arguments: Mapping[str, Any],
        *,
        clock: Clock,
        most: int,
        most_of_client: int,
    ) -> None:
        """``arguments``: as from ``client_arguments``; ``most``: requests that may wait, of all clients and of one."""
        quiet()
        self._settings = settings
        self._table = OutboxQueue(database, most=most, most_of_client=most_of_client)
        self._outbox = Outbox(database)
        self._troubles = Troubles()
        self._cluster = Cluster(settings, arguments)
        self._morgue = Cluster(settings, arguments)
        self._reader = Reader(settings, arguments)
        self.relay = Relay(self._outbox, self._cluster, clock=clock, settings=settings, troubles=self._troubles)
        self.dead: Counter[str] = Counter()
        """Messages put aside since the start, by reason."""

    @property
    def state(self) -> State:
        """What ``/health`` shows."""
        return self._troubles.state

    async def run(self) -> None:
        """Relay until it is cancelled."""
        try:
            await self.relay.run()
        finally:
            await self.close()

    async def close(self) -> None:
        """Leave the group and the brokers."""
        await self._reader.close()
        await self._cluster.close()
        await self._morgue.close()

    async def put(self, connection: AsyncConnection, waiting: Waiting) -> None:
        """Add it with the transaction of ``connection``; what waits is what is undecided, on the topic or not.

        Raises:
            QueueFull: all clients together, or this one, have as many there as may be.
        """
        await self._table.put(connection, waiting)

    def committed(self) -> None:
        """Relay it."""
        self.relay.ring()

    async def take(self, most: int) -> Sequence[Taken]:
        """The oldest of this member's part that are not acknowledged, 1 to ``most``; waits until there is one.

        What need not be decided is settled here, and never before what has to be: dead letters that cannot be written
        hold up no decision that was fetched with them.
        """
        while True:
            if not self._reader.held:
                await self._fetch(most)
                continue
            fates = await self._fates(list(self._reader.held)[:most])
            taken = [
                Taken(place, self._reader.held[place].value or b"", each.request_id)
                for place, each in fates.items()
                if each.open and place in self._reader.held
            ]
            if taken:
                return taken
            await self._settle({place: each for place, each in fates.items() if not each.open})

    async def ack(self, taken: Sequence[Taken]) -> None:
        """They are decided: those that were invalid are put aside, their rows go, and the group is told."""
        await self._settle(await self._fates(one.place for one in taken))

    async def _fetch(self, most: int) -> None:
        try:
            await self._reader.join()
            await self._commit()
            await self._reader.fetch(most)
        except Trouble as trouble:
            self._troubles.say("reading", str(trouble))
            await asyncio.sleep(self._settings.retry_s)
        else:
            # Not before: who may be a member need not be allowed to read.
            self._troubles.well("reading")

    async def _fates(self, places: Iterable[int]) -> dict[int, Fate]:
        """Of those that are still held, as the tables say now."""
        records = {place: self._reader.held[place] for place in places if place in self._reader.held}
        names = {name for one in records.values() if (name := named(one.value or b"", one.key)) is not None}
        known = await self._outbox.known(names)
        return {place: fate(one.value or b"", one.key, known) for place, one in records.items()}

    async def _settle(self, fates: Mapping[int, Fate]) -> None:
        """Dead letter, row, offset: whatever is killed between, the message comes again and does the rest."""
        await self._bury({place: each for place, each in fates.items() if each.death is not None})
        await self._outbox.remove([each.number for each in fates.values() if each.number is not None])
        self._reader.done(fates)
        await self._commit()

    async def _bury(self, dying: Mapping[int, Fate]) -> None:
        """Write them to the dead topic, however long that takes, or until other members have them."""
        topic = self._settings.dead_topic
        while left := [place for place in dying if place in self._reader.held]:
            sent = await self._morgue.send(topic, [self._dead_letter(place, dying[place]) for place in left])
            for number in sent.done:
                self._buried(left[number], dying[left[number]])
            dying = {left[number]: dying[left[number]] for number in range(len(left)) if number not in sent.done}
            if dying:
                large = f"The topic {topic} takes no messages of 80 KiB; raise its max.message.bytes."
                said = large if sent.trouble is None else sent.trouble
                self._troubles.say("dead_letters", f"Requests wait until a message is put aside. {said}")
                await asyncio.sleep(self._settings.retry_s)
        self._troubles.well("dead_letters")

    def _dead_letter(self, place: int, each: Fate) -> Message:
        record = self._reader.held[place]
        source = (record.topic, record.partition, record.offset)
        assert each.death is not None
        return dead_message(each.death, each.request_id, record.value or b"", record.key, source)

    def _buried(self, place: int, each: Fate) -> None:
        assert each.death is not None
        self.dead[each.death.value] += 1
        record = self._reader.held.get(place)
        where = {} if record is None else {"partition": record.partition, "offset": record.offset}
        log.warning("authority.dead_message", reason=each.death.value, request_id=each.request_id, **where)

    async def _commit(self) -> None:
        try:
            await self._reader.commit()
        except Trouble as trouble:
            self._troubles.say("commit", str(trouble))
        else:
            self._troubles.well("commit")
