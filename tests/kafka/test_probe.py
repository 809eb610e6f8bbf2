"""What evcharge needs of a broker and its client, each tried alone: when one of these fails, look no further."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import InvalidTxnState, KafkaError, ProducerFenced

from tests.kafka.broker import Broker

# Longest wait for a fact, in seconds.
DEADLINE_S = 30.0
# A look at a topic that may be empty, in milliseconds.
LOOK_MS = 200


class Probe:
    """A broker, and clients of it that are closed again."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.tag = secrets.token_hex(4)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def topic(self, name: str, partitions: int = 1) -> str:
        """A new topic."""
        whole = f"{name}-{self.tag}"
        async with self.admin() as admin:
            await admin.create_topics([NewTopic(whole, partitions, 1)])
        return whole

    @asynccontextmanager
    async def producer(self, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
        client = AIOKafkaProducer(bootstrap_servers=self.address, **settings)
        await client.start()
        try:
            yield client
        finally:
            await client.stop()

    @asynccontextmanager
    async def consumer(self, **settings: Any) -> AsyncIterator[AIOKafkaConsumer]:
        # With "latest", its default, the client may still go to the end after it was told to seek elsewhere.
        client = AIOKafkaConsumer(bootstrap_servers=self.address, auto_offset_reset="earliest", **settings)
        await client.start()
        try:
            yield client
        finally:
            await client.stop()

    async def read(self, topic: str, isolation: str) -> list[bytes]:
        """All there is for this reader now: everything up to the end that the broker tells it."""
        place = TopicPartition(topic, 0)
        async with self.consumer(isolation_level=isolation) as consumer:
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            found: list[bytes] = []
            async with asyncio.timeout(DEADLINE_S):
                while await consumer.position(place) < end:
                    for records in (await consumer.getmany(timeout_ms=LOOK_MS)).values():
                        found += [record.value for record in records]
            return found


@pytest.fixture
def probe(broker: Broker) -> Probe:
    """One for this test."""
    return Probe(broker.address)


async def until(fact: Callable[[], bool], step: Callable[[], Awaitable[object]]) -> None:
    """Take steps until it is true. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while not fact():
            await step()


async def test_topics_are_made_and_listed(probe: Probe) -> None:
    made = await probe.topic("made", 6)
    async with probe.admin() as admin:
        assert made in await admin.list_topics()
        (told,) = await admin.describe_topics([made])
    assert len(told["partitions"]) == 6


async def test_an_idempotent_producer_is_told_where_its_records_are(probe: Probe) -> None:
    topic = await probe.topic("idempotent", 6)
    async with probe.producer(enable_idempotence=True, acks="all") as producer:
        told = [await producer.send_and_wait(topic, b"%d" % i, partition=i % 6) for i in range(12)]
    assert [one.offset for one in told] == [0] * 6 + [1] * 6


async def test_partitions_are_chosen_by_hand_and_read_again(probe: Probe) -> None:
    topic = await probe.topic("replay", 3)
    async with probe.producer() as producer:
        for i in range(6):
            await producer.send_and_wait(topic, b"%d" % i, partition=i % 3)
    places = [TopicPartition(topic, i) for i in range(3)]
    async with probe.consumer() as consumer:
        consumer.assign(places)
        assert set((await consumer.end_offsets(places)).values()) == {2}
        for _ in range(2):
            await consumer.seek_to_beginning(*places)
            found: list[bytes] = []
            async with asyncio.timeout(DEADLINE_S):
                while len(found) < 6:
                    found += [
                        one.value for many in (await consumer.getmany(timeout_ms=LOOK_MS)).values() for one in many
                    ]
            assert sorted(found) == [b"%d" % i for i in range(6)]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compression(probe: Probe, codec: str) -> None:
    topic = await probe.topic(codec)
    async with probe.producer(compression_type=codec) as producer:
        await producer.send_and_wait(topic, b"x" * 5_000)
    assert await probe.read(topic, "read_uncommitted") == [b"x" * 5_000]


async def test_two_members_of_a_group_share_and_take_over(probe: Probe) -> None:
    topic = await probe.topic("group", 6)
    settings: dict[str, Any] = {
        "group_id": f"group-{probe.tag}",
        "enable_auto_commit": False,
        "session_timeout_ms": 6_000,
        "heartbeat_interval_ms": 500,
    }
    async with probe.consumer(**settings) as first:
        first.subscribe([topic])
        await until(lambda: len(first.assignment()) == 6, lambda: first.getmany(timeout_ms=LOOK_MS))
        async with probe.consumer(**settings) as second:
            second.subscribe([topic])

            async def both() -> None:
                await asyncio.gather(first.getmany(timeout_ms=LOOK_MS), second.getmany(timeout_ms=LOOK_MS))

            await until(lambda: (len(first.assignment()), len(second.assignment())) == (3, 3), both)
            assert not first.assignment() & second.assignment()
        await until(lambda: len(first.assignment()) == 6, lambda: first.getmany(timeout_ms=LOOK_MS))


async def test_what_a_transaction_committed_is_read(probe: Probe) -> None:
    topic = await probe.topic("committed")
    async with probe.producer(transactional_id=f"t-{probe.tag}") as producer:
        for value in (b"one", b"two"):
            async with producer.transaction():
                await producer.send_and_wait(topic, value, partition=0)
    assert await probe.read(topic, "read_committed") == [b"one", b"two"]


async def test_what_a_transaction_gave_up_is_not_read(probe: Probe) -> None:
    topic = await probe.topic("aborted")
    async with probe.producer(transactional_id=f"t-{probe.tag}") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"given up", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"kept", partition=0)
    assert await probe.read(topic, "read_committed") == [b"kept"]
    assert await probe.read(topic, "read_uncommitted") == [b"given up", b"kept"]


async def test_an_open_transaction_is_not_read_yet(probe: Probe) -> None:
    topic = await probe.topic("open")
    async with probe.producer(transactional_id=f"t-{probe.tag}") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open", partition=0)
        assert await probe.read(topic, "read_committed") == []
        assert await probe.read(topic, "read_uncommitted") == [b"open"]
        await producer.commit_transaction()
    assert await probe.read(topic, "read_committed") == [b"open"]


async def test_who_is_succeeded_is_fenced(probe: Probe) -> None:
    topic = await probe.topic("fenced")
    settings: dict[str, Any] = {"bootstrap_servers": probe.address, "transactional_id": f"t-{probe.tag}"}
    old, new = AIOKafkaProducer(**settings), AIOKafkaProducer(**settings)
    try:
        await old.start()
        await old.begin_transaction()
        await old.send_and_wait(topic, b"of the old one", partition=0)
        await new.start()
        async with new.transaction():
            await new.send_and_wait(topic, b"of the new one", partition=0)
        # Which one it is told depends on whether the broker has the end of its transaction already.
        with pytest.raises((ProducerFenced, InvalidTxnState)):
            await old.send_and_wait(topic, b"too late", partition=0)
            await old.commit_transaction()
    finally:
        await new.stop()
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(old.stop(), DEADLINE_S)
    assert await probe.read(topic, "read_committed") == [b"of the new one"]


async def test_offsets_are_committed_with_a_transaction(probe: Probe) -> None:
    source, target = await probe.topic("source"), await probe.topic("target")
    group = f"group-{probe.tag}"
    place = TopicPartition(source, 0)
    async with probe.producer(transactional_id=f"t-{probe.tag}") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(target, b"given up", partition=0)
        await producer.send_offsets_to_transaction({place: 1}, group)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(target, b"kept", partition=0)
            await producer.send_offsets_to_transaction({place: 2}, group)
    async with probe.consumer(group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([place])
        assert await consumer.committed(place) == 2
