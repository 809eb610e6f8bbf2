"""Looks at the topics that turn nobody away: who publishes there goes on."""

from __future__ import annotations

from evcharge.events.lost import Lost, lost
from evcharge.events.ports import Kafka
from evcharge.events.position import Kept, Position
from evcharge.events.settings import PublisherSettings
from evcharge.events.troubles import Kind, Trouble
from evcharge.events.waiting import Waiting
from evcharge.net.clock import Clock

# How often a topic is read for records that no position tells of, in seconds, until somebody has mended it.
LOST_S = 60.0


class Looking:
    """Each look is ended by the publisher's end, and has no meaning then. Each raises Trouble."""

    def __init__(self, settings: PublisherSettings, kafka: Kafka, waiting: Waiting, clock: Clock) -> None:
        self._settings = settings
        self._kafka = kafka
        self._waiting = waiting
        self._clock = clock

    async def kept(self) -> Kept | None:
        """What the topic of positions says; None: it is gone."""
        wrong = await self._waiting.patiently(self._kafka.unwritable())
        return None if wrong is not None and wrong.kind is Kind.TOPIC_GONE else await self._read_kept()

    async def has_successor(self, instance: str, before: Kept | None) -> bool:
        """Why transactions of ``instance`` are refused: because somebody else publishes now. False: because they took
        too long, or somebody has only opened a way into Kafka, and may point at another log.

        ``before``: what stood there when this one opened its own way; None: it never had one. What another one has
        written since then, it wrote as its successor.
        """
        try:
            kept = await self._read_kept()
        except Trouble as trouble:
            raise await self._waiting.explained(trouble) from trouble
        if kept is None or kept.position is None or before is None:
            return False
        return kept.position.instance != instance and kept.position != before.position

    async def lost(self, partitions: int, found: Position | None, seq: int) -> Lost | None:
        """The records of this log behind ``seq`` on the topic of events; None: there are none.

        ``found``: what the topic of positions says. Without it the whole topic may have to be read. With it they are of
        somebody who publishes as well, and are at the end.
        """
        looking = self._kafka.newest_published(partitions, thorough=found is None)
        newest = await self._waiting.patiently(looking, long=_long(self._settings.topic))
        if newest is None or newest <= seq:
            return None
        return lost(self._settings, newest, found, partitions, self._clock.monotonic())

    async def still_lost(self, before: Lost, seq: int) -> Lost | None:
        """The same a while later; None: somebody has mended it, with a position or by deleting records."""
        kept = await self.kept()
        if kept is None or kept.position != before.found:
            return None
        if self._clock.monotonic() - before.looked_s < LOST_S:
            return before
        return await self.lost(before.partitions, before.found, seq)

    async def _read_kept(self) -> Kept | None:
        return await self._waiting.patiently(self._kafka.read_kept(), long=_long(self._settings.positions_topic))


def _long(topic: str) -> Trouble:
    return Trouble(
        Kind.TOPIC_LONG,
        f"{topic} is being read to find where to go on, and it takes long: there is much on it, or somebody's "
        "transaction is still open. It goes on by itself.",
    )
