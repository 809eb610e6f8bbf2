"""A member of the group: messages that it was given, held until they are done with, and how far it has come."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from evcharge.net.kafka_client import give_up, in_time, unasked
from evcharge.net.kafka_faults import FAILURES, understood
from evcharge.sidecar.authority.kafka.cluster import CLOSE_S
from evcharge.sidecar.authority.kafka.faults import reason, sentence
from evcharge.sidecar.authority.kafka.settings import QueueKafka
from evcharge.sidecar.authority.kafka.troubles import Trouble

log = structlog.get_logger()

# Bytes that one answer of a broker may bring, and one partition of it, as they are stored: with the client's one answer
# ahead the bound of what is held, as long as the topic takes nothing compressed (``cluster.UNCOMPRESSED``). A larger
# message comes alone.
FETCH_BYTES = 4 * 1024 * 1024
PARTITION_BYTES = 256 * 1024
# How long one look at the topic waits for a message, in milliseconds.
LOOK_MS = 1_000
# Signs of life in the time of a session.
BEATS = 3
# A member that has lost its part: its messages come again, to whoever has it now.
_LOST = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class Reader(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Joins when it is asked to, and joins anew after each failure."""

    def __init__(self, settings: QueueKafka, arguments: Mapping[str, Any]) -> None:
        self._settings = settings
        self._arguments = dict(arguments)
        self._consumer: AIOKafkaConsumer | None = None
        self._places = itertools.count(1)
        self.held: dict[int, ConsumerRecord[bytes, bytes]] = {}
        """Messages that are not done with, by places that never come again, each partition's in order."""
        self._read: dict[TopicPartition, int] = {}
        """Behind the last message of each partition that was given."""
        self._committed: dict[TopicPartition, int] = {}

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        """What is not committed comes again, to this member or another. No more here: heartbeats wait for it."""
        self._forget()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Part of the client's listener."""

    def _forget(self) -> None:
        self.held.clear()
        self._read.clear()
        self._committed.clear()

    async def join(self) -> None:
        """Be a member. Raises Trouble."""
        if self._consumer is not None:
            return
        chosen = self._settings
        consumer = AIOKafkaConsumer(
            **self._arguments,
            group_id=chosen.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(chosen.session_s * 1000),
            heartbeat_interval_ms=int(chosen.session_s * 1000 / BEATS),
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_BYTES,
            metadata_max_age_ms=int(chosen.look_s * 1000),
        )
        try:
            async with in_time(chosen.patience_s):
                with understood():
                    consumer.subscribe([chosen.topic], listener=self)
                    await consumer.start()
        except FAILURES as error:
            await give_up(consumer, CLOSE_S)
            why = await reason(error, self._arguments, chosen.patience_s)
            raise Trouble(sentence(why, chosen.addresses, self._doing)) from error
        except BaseException:
            await give_up(consumer, CLOSE_S)
            raise
        self._consumer = consumer

    @property
    def _doing(self) -> str:
        return f"read the topic {self._settings.topic} as group {self._settings.group}"

    async def fetch(self, most: int) -> None:
        """Hold more, up to ``most``, when there are any within a second. Raises Trouble."""
        assert self._consumer is not None
        chosen = self._settings
        try:
            # While the group shares its work anew the client waits for its part longer than it was told: for members
            # that died as long as their session lasts.
            async with in_time(LOOK_MS / 1000 + chosen.session_s + chosen.patience_s):
                with understood():
                    found = await self._consumer.getmany(timeout_ms=LOOK_MS, max_records=most)
        except FAILURES as error:
            await self.close()
            raise Trouble(sentence(error, chosen.addresses, self._doing)) from error
        for partition, records in found.items():
            for record in records:
                self.held[next(self._places)] = record
                self._read[partition] = record.offset + 1

    def done(self, places: Iterable[int]) -> None:
        """They need not come again."""
        for place in places:
            self.held.pop(place, None)

    async def commit(self) -> None:
        """Tell the group how far it has come: before the first that is not done with. Raises Trouble.

        What fails is told with the next one; until then messages come again that are done with.
        """
        ahead = dict(self._read)
        for record in self.held.values():
            partition = TopicPartition(record.topic, record.partition)
            ahead[partition] = min(ahead[partition], record.offset)
        new = {partition: offset for partition, offset in ahead.items() if self._committed.get(partition) != offset}
        if self._consumer is None or not new:
            return
        # Never cancelled: the client goes on with it all the same, and its failure would be nobody's.
        told = asyncio.ensure_future(self._consumer.commit(new))
        unasked(told)
        await asyncio.wait([told], timeout=self._settings.patience_s)
        try:
            if not told.done() or told.cancelled():
                raise TimeoutError
            with understood():
                told.result()
        except _LOST:
            log.info("authority.kafka_rebalanced", group=self._settings.group)
            self._forget()
        except FAILURES as error:
            raise Trouble(sentence(error, self._settings.addresses, self._doing)) from error
        else:
            self._committed |= new

    async def close(self) -> None:
        """Leave the group; what is not committed comes again."""
        consumer, self._consumer = self._consumer, None
        self._forget()
        if consumer is not None:
            await give_up(consumer, CLOSE_S)
