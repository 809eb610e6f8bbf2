"""Topics that are there, and messages that the brokers have: what the relay and the dead letters need of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from evcharge.net.kafka_client import give_up, in_time, unasked
from evcharge.net.kafka_faults import FAILURES, is_too_large, understood
from evcharge.net.kafka_topics import NotMade, look, make
from evcharge.sidecar.authority.kafka.fate import Message
from evcharge.sidecar.authority.kafka.faults import reason, sentence
from evcharge.sidecar.authority.kafka.settings import QueueKafka
from evcharge.sidecar.authority.kafka.troubles import Trouble

log = structlog.get_logger()

# How long a client may take to say good-bye, in seconds.
CLOSE_S = 1.0
# What topics that are made here take at once, in bytes: several times what the sidecar writes (16 KiB; 80 KiB of a dead
# message). Together with UNCOMPRESSED it bounds what a reader has to hold: otherwise some kilobytes of a stranger's,
# which the client unpacks as one piece, are gigabytes.
REQUEST_BYTES = 65_536
DEAD_MESSAGE_BYTES = 262_144
UNCOMPRESSED = "uncompressed"
_HOUR_MS = 3_600_000


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of several messages, by their places."""

    done: list[int] = []
    """All brokers that have to have it have it."""
    too_large: list[int] = []
    trouble: str | None = None
    """Of all others; they may be there or not."""


class Cluster:
    """A producer and an administrator: made when they are needed, made anew after each failure.

    One task's own: what it does when it fails would end what another has under way.
    """

    def __init__(self, settings: QueueKafka, arguments: Mapping[str, Any]) -> None:
        """``arguments``: as from ``client_arguments``."""
        self._settings = settings
        self._arguments = dict(arguments)
        self._patience = {"request_timeout_ms": int(settings.patience_s * 1000)}
        self._admin: AIOKafkaAdminClient | None = None
        self._producer: AIOKafkaProducer | None = None
        self._lost = False
        """The topic of the requests was not there, and nobody was told yet."""

    async def look(self) -> bool:
        """Make topics that are missing; whether that of the requests was, also when making it took several looks.

        Raises:
            Trouble
        """
        chosen = self._settings
        missing = []
        for name in (chosen.topic, chosen.dead_topic):
            async with self._answered(f"look at the topic {name}"):
                if await look(await self._administrator(), name) is None:
                    missing.append(name)
        self._lost = self._lost or chosen.topic in missing
        for name in missing:
            await self._make(name)
        lost, self._lost = self._lost, False
        return lost

    async def _make(self, name: str) -> None:
        chosen = self._settings
        dead = name == chosen.dead_topic
        kept_ms = (chosen.dead_days * 24 if dead else chosen.retention_hours) * _HOUR_MS
        config = {
            "retention.ms": str(kept_ms),
            "max.message.bytes": str(DEAD_MESSAGE_BYTES if dead else REQUEST_BYTES),
            "compression.type": UNCOMPRESSED,
        }
        doing = f"make the topic {name}"
        try:
            async with self._answered(doing):
                made = await make(await self._administrator(), name, chosen.partitions, chosen.replication, config)
        except NotMade as refused:
            raise Trouble(sentence(refused.error, chosen.addresses, doing)) from refused
        if made:
            log.info("authority.topic_made", topic=name, partitions=chosen.partitions)

    async def send(self, topic: str, messages: Sequence[Message]) -> Sent:
        """Write them and wait for the brokers' word."""
        try:
            sent = await self._send(topic, messages)
        except Trouble as trouble:
            return Sent(trouble=str(trouble))
        if len(messages) > 1 and sent.too_large:
            # Together they may have been too large: alone it is seen which one is.
            done = list(sent.done)
            too_large: list[int] = []
            for place in sent.too_large:
                alone = await self.send(topic, [messages[place]])
                if alone.trouble is not None:
                    return Sent(done=done, too_large=too_large, trouble=alone.trouble)
                (done if alone.done else too_large).append(place)
            return Sent(done=done, too_large=too_large, trouble=sent.trouble)
        return sent

    async def _send(self, topic: str, messages: Sequence[Message]) -> Sent:
        doing = f"write to the topic {topic}"
        async with self._answered(doing):
            producer = await self._started()
            waiting: list[asyncio.Future[Any]] = []
            try:
                for one in messages:
                    headers = list(one.headers)
                    with understood():
                        future = await producer.send(topic, one.value, key=one.key, headers=headers)
                    unasked(future)
                    waiting.append(future)
                said = await asyncio.gather(*waiting, return_exceptions=True)
            finally:
                # Nobody asks any more for those that are still open.
                for future in waiting:
                    future.cancel()
        done: list[int] = []
        too_large: list[int] = []
        failed: BaseException | None = None
        for place, word in enumerate(said):
            if not isinstance(word, BaseException):
                done.append(place)
            elif is_too_large(word):
                too_large.append(place)
            else:
                failed = word
        if failed is not None:
            await self._drop()
            return Sent(done=done, too_large=too_large, trouble=sentence(failed, self._settings.addresses, doing))
        return Sent(done=done, too_large=too_large)

    async def _administrator(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            # One that could not be started has nothing to be closed.
            admin = AIOKafkaAdminClient(**self._arguments, **self._patience)
            with understood():
                await admin.start()
            self._admin = admin
        return self._admin

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._arguments, **self._patience, acks="all", enable_idempotence=True, linger_ms=0
            )
            try:
                with understood():
                    await producer.start()
            except BaseException:
                await give_up(producer, CLOSE_S)
                raise
            self._producer = producer
        return self._producer

    @asynccontextmanager
    async def _answered(self, doing: str) -> AsyncIterator[None]:
        """In time, or both clients are given up: none of them tells reliably whether it can still be used."""
        try:
            async with in_time(self._settings.patience_s):
                yield
        except FAILURES as error:
            await self._drop()
            why = await reason(error, self._arguments, self._settings.patience_s)
            raise Trouble(sentence(why, self._settings.addresses, doing)) from error

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        admin, self._admin = self._admin, None
        try:
            if producer is not None:
                await give_up(producer, CLOSE_S)
        finally:
            if admin is not None:
                await give_up(admin, CLOSE_S)

    async def close(self) -> None:
        """Give both back."""
        await self._drop()
