"""The way into Kafka: a transactional producer that nobody else has, and the position that it found.

After any fault an outlet is closed and another one opened: its first request ends the transaction of whoever came
before (a broker turns that one away from then on), and the position that is read then is the whole truth. So a fault
is survived in the same way as SIGKILL, and there is one way only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from evcharge.events.admin import prepared
from evcharge.events.faults import described, look
from evcharge.events.kept import name_of, newest_published, read_kept
from evcharge.events.keys import Learned
from evcharge.events.message import Headers, Message
from evcharge.events.parcels import MAX_MESSAGE_BYTES, PIECE_BYTES, Parcel, parcels
from evcharge.events.position import Kept, Position, Row, rows_of
from evcharge.events.settings import PublisherSettings
from evcharge.events.topics import Topics, unsafe
from evcharge.events.troubles import Fenced, Kind, TooLarge, Trouble
from evcharge.net.kafka import BadKafka
from evcharge.net.kafka_client import give_up, unasked
from evcharge.net.kafka_faults import FAILURES, is_too_large, understood

# After this time the brokers end a transaction that is still open, in milliseconds: readers of committed records wait
# for it so long where a publisher ended in its middle and is not started again.
TRANSACTION_MS = 60_000
# How long one transaction may take here, in seconds: less, so that it is this side that gives it up.
COMMIT_S = 45.0
# How long one request may take, in milliseconds.
REQUEST_MS = 15_000
# From the first connection to a transactional producer, in seconds.
OPEN_S = 60.0
# How long a broker may take to say that it is there, in seconds: what comes meanwhile waits.
ALIVE_S = 5.0
# How long each part of an end may take, in seconds.
CLOSE_S = 2.0
# Charge points whose partition is remembered: those of the largest site.
MOST_KEYS = 20_000
# Who cannot even ask does not know.
_UNKNOWN: tuple[type[Exception], ...] = (*FAILURES, Trouble)


class RealKafka:
    """What the publisher needs of Kafka."""

    def __init__(self, settings: PublisherSettings, arguments: Callable[[], Mapping[str, Any]]) -> None:
        """``arguments``: how clients are made, asked anew for each attempt (a password may change); raises BadKafka."""
        self._settings = settings
        self._arguments = arguments

    async def open(self) -> Outlet:
        """A new outlet; raises Trouble, Fenced."""
        return await Outlet.open(self._settings, self._now())

    async def read_kept(self) -> Kept:
        """As ``read_kept``."""
        return await read_kept(self._settings, self._now())

    async def newest_published(self, partitions: int, *, thorough: bool) -> int:
        """As ``newest_published``."""
        return await newest_published(self._settings, self._now(), partitions, thorough=thorough)

    async def look(self) -> Trouble | None:
        """As ``faults.look``."""
        try:
            return await look(self._now())
        except Trouble as trouble:
            return trouble

    async def unwritable(self) -> Trouble | None:
        """Why the topics take nothing."""
        settings = self._settings
        both = f"{settings.topic} or {settings.positions_topic}"
        try:
            async with asyncio.timeout(OPEN_S):
                topics = await prepared(settings, self._now(), make=False)
        except _UNKNOWN:
            return None
        if topics is None:
            return Trouble(
                Kind.TOPIC_GONE, f"{both} is not there any more; it is made again, and what was on it is gone."
            )
        return unsafe(topics)

    def _now(self) -> Mapping[str, Any]:
        try:
            return self._arguments()
        except BadKafka as error:
            raise Trouble(Kind.KAFKA_SETTINGS, str(error)) from error


class Outlet:
    """One producer, from ``open`` to ``close``."""

    def __init__(self, settings: PublisherSettings, producer: AIOKafkaProducer, topics: Topics, kept: Kept) -> None:
        """``open`` makes one."""
        self.topics = topics
        self.kept = kept
        self._settings = settings
        self._producer = producer
        self._name = name_of(settings)
        count = topics.events.partitions
        # Kafka's own rule, so that every client that asks finds the same partition. In plain Python it is slow.
        self._partition_of = lru_cache(MOST_KEYS)(lambda key: (murmur2(key) & 0x7FFFFFFF) % count)

    @classmethod
    async def open(cls, settings: PublisherSettings, arguments: Mapping[str, Any]) -> Outlet:
        """Make the topics where they are missing, turn away whoever published before, and read the position.

        Raises:
            Trouble, Fenced
        """
        producer = _producer(settings, arguments)
        try:
            async with asyncio.timeout(OPEN_S):
                topics = await prepared(settings, arguments)
                assert topics is not None
                with understood():
                    await producer.start()
            kept = await read_kept(settings, arguments)
        except FAILURES as error:
            await give_up(producer, CLOSE_S)
            raise described(error) from error
        except BaseException:
            await give_up(producer, CLOSE_S)
            raise
        return cls(settings, producer, topics, kept)

    async def publish(
        self,
        messages: Sequence[Message],
        position: Position,
        piece_bytes: int = PIECE_BYTES,
        *,
        learned: Sequence[Learned] = (),
    ) -> None:
        """All of them and the position behind them in one transaction: every message is seen, or none is. ``learned``
        is stored with what they taught.

        Raises:
            Trouble, Fenced, TooLarge: nobody knows what became of it, and the outlet has to be closed.
        """
        rows = rows_of(self._name, position, [*learned, *(each for message in messages for each in message.learned)])
        try:
            async with asyncio.timeout(COMMIT_S):
                with understood():
                    await self._producer.begin_transaction()
                sent = [
                    await self._send(parcel, position.at_ms)
                    for parcel in parcels(messages, self._partition_of, piece_bytes)
                ]
                sent += await self._send_rows(rows, position.at_ms)
                # Everything has to be there before the end is asked for: the client would commit what is left.
                _check(await asyncio.gather(*(future for _, future in sent), return_exceptions=True), sent)
                with understood():
                    await self._producer.commit_transaction()
        except FAILURES as error:
            raise described(error) from error

    async def alive(self) -> bool:
        """Whether a broker answers. Raises nothing."""
        try:
            async with asyncio.timeout(ALIVE_S):
                with understood():
                    return bool(await self._producer.client.force_metadata_update())
        except FAILURES:
            return False

    async def close(self) -> None:
        """End it; a transaction that is open is given up."""
        await give_up(self._producer, CLOSE_S)

    async def _send(self, parcel: Parcel, at_ms: int) -> _Sent:
        batch = self._producer.create_batch()
        for message in parcel.messages:
            _append(batch, at_ms, message.key, message.value, message.headers)
        batch.close()
        topic = self._settings.topic
        with understood():
            future = await self._producer.send_batch(batch, topic, partition=parcel.partition)
        # Where a later piece cannot even be sent, nobody asks for this one.
        unasked(future)
        return tuple(message.seq for message in parcel.messages), future

    async def _send_rows(self, rows: Sequence[Row], at_ms: int) -> list[_Sent]:
        sent: list[_Sent] = []
        for begin in range(0, len(rows), ROWS):
            batch = self._producer.create_batch()
            for row in rows[begin : begin + ROWS]:
                _append(batch, at_ms, row.key, row.value, ())
            batch.close()
            with understood():
                future = await self._producer.send_batch(batch, self._settings.positions_topic, partition=0)
            unasked(future)
            sent.append(((), future))
        return sent


_Sent = tuple[tuple[int, ...], asyncio.Future[Any]]
# Positions in one piece: 200 bytes each, so that any topic takes it.
ROWS = 1_000


def _producer(settings: PublisherSettings, arguments: Mapping[str, Any]) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **arguments,
        transactional_id=settings.transactional_id,
        enable_idempotence=True,
        acks="all",
        compression_type=None if settings.compression == "none" else settings.compression,
        transaction_timeout_ms=TRANSACTION_MS,
        request_timeout_ms=REQUEST_MS,
        # Pieces are measured here; none is longer than the longest message.
        max_batch_size=2 * MAX_MESSAGE_BYTES,
    )


def _append(batch: Any, at_ms: int, key: bytes, value: bytes | None, headers: Headers) -> None:
    added = batch.append(timestamp=at_ms, key=key, value=value, headers=list(headers))
    assert added is not None, "pieces are smaller than what the client takes"


def _check(results: Sequence[object], sent: Sequence[_Sent]) -> None:
    """Raises what went wrong with any piece; a successor explains everything else."""
    errors: list[tuple[Exception, tuple[int, ...]]] = []
    for result, (seqs, _) in zip(results, sent, strict=True):
        if isinstance(result, asyncio.CancelledError):
            # The client does that when it gives a piece up: it was not sent, and nobody has asked for an end here.
            errors.append((KafkaError("a piece was given up"), seqs))
        elif isinstance(result, Exception):
            errors.append((result, seqs))
    for error, _ in errors:
        if isinstance(described(error), Fenced):
            raise error
    for error, seqs in errors:
        if is_too_large(error) and seqs:
            raise TooLarge(seqs) from error
    for error, _ in errors:
        with understood():
            raise error
