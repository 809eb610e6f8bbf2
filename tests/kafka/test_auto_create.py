"""Brokers that make topics by themselves, as Kafka's own default has it: each topic is made here, as it has to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from evcharge.events.admin import looked_at
from evcharge.events.parcels import MAX_MESSAGE_BYTES
from evcharge.events.settings import PublisherSettings
from evcharge.events.topics import POSITIONS_CONFIG
from evcharge.net.kafka import KafkaSettings, client_arguments
from evcharge.net.kafka_client import give_up
from tests.kafka.authority.conftest import (
    MakeMember,
    Member,
    Topic,
    clock,
    database,
    database_url,
    make_member,
    make_place,
    postgres,
    receiver,
    until,
)
from tests.kafka.broker import Broker
from tests.kafka.conftest import new_broker
from tests.kafka.test_publisher import Stand, delete_topic, own_topics, stand
from tests.sidecar.conftest import one_database

__all__ = ["clock", "database", "database_url", "make_member", "make_place", "postgres", "receiver", "stand"]


@pytest.fixture(scope="module")
def making(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One that makes whatever is asked for."""
    made = new_broker(tmp_path_factory.mktemp("making"), properties={"auto.create.topics.enable": "true"})
    try:
        asyncio.run(made.start())
        yield made
    finally:
        made.stop()


@pytest.fixture
def topic(making: Broker) -> Topic:
    return Topic(making.address)


@pytest.fixture
async def admin(making: Broker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=making.address)
    await client.start()
    yield client
    await client.close()


async def differs(admin: AIOKafkaAdminClient, name: str, wanted: dict[str, str]) -> dict[str, Any]:
    """What a topic has other than wanted; everything where it is not there."""
    if name not in await admin.list_topics():
        return dict(wanted)
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    ((_code, _message, _type, _name, entries),) = answer.resources
    has = {entry[0]: entry[1] for entry in entries}
    return {key: has.get(key) for key, value in wanted.items() if has.get(key) != value}


EVENTS = {"cleanup.policy": "delete", "max.message.bytes": str(MAX_MESSAGE_BYTES), "retention.ms": "604800000"}


async def test_nobody_makes_a_topic_by_looking_for_it(making: Broker, admin: AIOKafkaAdminClient) -> None:
    """Not an administrator, not a consumer that waits for it, not a producer that would write to it."""
    settings = PublisherSettings(
        kafka=KafkaSettings(brokers=[making.address]), topic="looked.at", positions_topic="looked.at.positions"
    )
    assert await looked_at(settings, client_arguments(settings.kafka, {}, "test"), make=False) is None
    consumer = AIOKafkaConsumer("looked.at", bootstrap_servers=making.address, request_timeout_ms=1_000)
    with pytest.raises(KafkaError):
        await consumer.start()
    await give_up(consumer, 1.0)
    producer = AIOKafkaProducer(bootstrap_servers=making.address, request_timeout_ms=1_000)
    await producer.start()
    with pytest.raises(KafkaError):
        await producer.send("looked.at", b"x")
    await give_up(producer, 1.0)
    assert not [name for name in await admin.list_topics() if name.startswith("looked")]
    # These brokers would have.
    await admin._send_request(MetadataRequest(["looked.at"]))
    await until(lambda: _there(admin, "looked.at"))


async def _there(admin: AIOKafkaAdminClient, name: str) -> bool:
    return name in await admin.list_topics()


async def test_the_publisher_makes_its_topics_and_makes_them_again(
    stand: Stand, making: Broker, admin: AIOKafkaAdminClient
) -> None:
    wanted = {"made.events": EVENTS, "made.positions": POSITIONS_CONFIG}
    stand.log.grow(50)
    publisher = stand.publisher(making.address, *own_topics("made"))
    await stand.published(publisher)
    # That the first start of all is slow may be told too.
    before = len(publisher.logged("events.trouble"))
    for name, config in wanted.items():
        assert await differs(admin, name, config) == {}
    for name, config in wanted.items():
        await delete_topic(making.address, name)
        stand.log.grow(50)
        await stand.published(publisher)
        assert await differs(admin, name, config) == {}
    assert sorted(each.seq for each in await stand.read(making.address, "made.events")) == list(range(51, 151))
    told = {line["kind"] for line in publisher.logged("events.trouble")[before:]}
    assert told <= {"topic_gone"}, publisher.tail()
    await stand.stop(publisher)


async def test_a_topic_of_positions_that_was_made_otherwise_is_refused_with_the_likely_cause(
    stand: Stand, making: Broker, admin: AIOKafkaAdminClient
) -> None:
    await admin._send_request(MetadataRequest(["theirs.positions"]))
    await until(lambda: _there(admin, "theirs.positions"))
    publisher = stand.publisher(making.address, *own_topics("theirs"))
    assert "auto.create.topics.enable" in await stand.told(publisher, "topic_unfit")
    await stand.stop(publisher)


@one_database
async def test_the_queue_makes_its_topics_and_makes_them_again(
    make_member: MakeMember, topic: Topic, admin: AIOKafkaAdminClient
) -> None:
    wanted = {
        topic.settings.topic: {"compression.type": "uncompressed", "max.message.bytes": "65536"},
        topic.settings.dead_topic: {"compression.type": "uncompressed", "max.message.bytes": "262144"},
    }
    member: Member = await make_member()
    # A member that joins before anybody has looked for the topic, as at every start.
    waiting = asyncio.create_task(member.queue.take(1))
    await until(lambda: member.queue._troubles._now.get("reading"))
    waiting.cancel()
    await asyncio.wait([waiting])
    async with member.working():
        for gone in (None, *wanted):
            if gone is not None:
                await admin.delete_topics([gone])
            request_id = await member.request()
            await member.until_logged(request_id, callback="delivered")
            await until(lambda: _as_wanted(admin, wanted))


async def _as_wanted(admin: AIOKafkaAdminClient, wanted: dict[str, dict[str, str]]) -> bool:
    found = [await differs(admin, name, config) for name, config in wanted.items()]
    for each in found:
        # One that is made otherwise stays so.
        assert None not in each.values() or "compression.type" not in each
    return not any(found)
