"""Clients that are given up: soon, whatever the broker does, with nothing left running or for asyncio to print.

What is sent meanwhile fails; it does not wait without end.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from evcharge.net.kafka import client_arguments
from evcharge.net.kafka_client import give_up, in_time, unasked
from evcharge.sidecar.authority.kafka.cluster import Cluster
from evcharge.sidecar.authority.kafka.fate import Message
from evcharge.sidecar.authority.kafka.settings import QueueKafka
from tests.kafka.authority.conftest import until
from tests.kafka.broker import Broker
from tests.kafka.conftest import MakeBroker, new_broker
from tests.kafka.noise import silence

WITHIN_S = 0.5
# Longest end of all parts together, in seconds, on a machine that has something else to do for a while. Without being
# given up a producer would go on for ever, and a consumer for its request's 40 s.
SOON_S = 15.0
PARTITIONS = 3


class Site:
    """A broker that a test may harm, with a topic of its own."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.topic = f"given-up-{secrets.token_hex(4)}"

    async def start(self) -> None:
        if self.broker.pid is None:
            await self.broker.start()
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.address)
        await admin.start()
        await admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])
        await admin.close()

    def producer(self, **more: Any) -> AIOKafkaProducer:
        settings = {"enable_idempotence": True, "request_timeout_ms": 2_000, "retry_backoff_ms": 20, **more}
        return AIOKafkaProducer(bootstrap_servers=self.broker.address, **settings)

    async def send(self, producer: AIOKafkaProducer, count: int = 30) -> list[asyncio.Future[Any]]:
        """Messages of which some wait until others are through."""
        made = []
        for number in range(count):
            future = await producer.send(self.topic, b"x" * 6_000, partition=number % PARTITIONS)
            unasked(future)
            made.append(future)
        return made


async def nothing_runs() -> None:
    mine = {asyncio.current_task()}
    async with asyncio.timeout(10):
        await until(lambda: asyncio.all_tasks() <= mine)


@pytest.fixture(scope="module")
def frozen_at_times(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = new_broker(tmp_path_factory.mktemp("frozen"))
    yield made
    made.stop()


@pytest.fixture
async def site(request: pytest.FixtureRequest, frozen_at_times: Broker, make_broker: MakeBroker) -> AsyncIterator[Site]:
    # After a kill it takes three times as long until it serves again as a new one takes.
    broker = make_broker() if "killed" in request.node.name else frozen_at_times
    made = Site(broker)
    await made.start()
    yield made
    if broker.pid is not None:
        broker.thaw()


FAULTS: dict[str, Callable[[Broker], None]] = {
    "frozen": lambda broker: broker.freeze(),
    "killed": lambda broker: broker.kill(),
    "well": lambda broker: None,
}


@pytest.mark.parametrize("transactions", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_producer_with_messages_under_way(site: Site, fault: str, transactions: bool) -> None:
    async def fail() -> None:
        producer = site.producer(**({"transactional_id": site.topic} if transactions else {}))
        await producer.start()
        if transactions:
            await producer.begin_transaction()
        await asyncio.gather(*await site.send(producer, 3))
        FAULTS[fault](site.broker)
        sending = asyncio.create_task(site.send(producer))
        if fault == "killed":
            # Long enough for a batch to come back and be sent again.
            await until(lambda: any(batch.retry_count for batch in _batches(producer)))
        else:
            await until(lambda: bool(_batches(producer)))
        ending = [asyncio.create_task(producer.commit_transaction())] if transactions else []
        async with asyncio.timeout(SOON_S):
            await give_up(producer, WITHIN_S)
        async with asyncio.timeout(SOON_S):
            await asyncio.wait([sending, *ending])
            failed = [task.exception() for task in (sending, *ending)]
            if failed[0] is None:
                await asyncio.wait(sending.result())
        assert fault == "well" or failed[-1] is None or isinstance(failed[-1], KafkaError)

    async with silence():
        await fail()
        await nothing_runs()


def _batches(producer: AIOKafkaProducer) -> list[Any]:
    accumulator = producer._message_accumulator
    return [*accumulator._pending_batches, *(one for each in accumulator._batches.values() for one in each)]


async def test_a_producer_whose_name_another_has_now(site: Site) -> None:
    async def fenced() -> None:
        first = site.producer(transactional_id=site.topic)
        await first.start()
        await first.begin_transaction()
        await asyncio.gather(*await site.send(first, 3))
        second = site.producer(transactional_id=site.topic)
        await second.start()
        with pytest.raises(KafkaError):
            await asyncio.gather(*await site.send(first))
        await give_up(first, WITHIN_S)
        await give_up(second, WITHIN_S)

    async with silence():
        await fenced()
        await nothing_runs()


@pytest.mark.parametrize("group", ["group", None])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_consumer(site: Site, fault: str, group: str | None) -> None:
    async def fail() -> None:
        consumer = AIOKafkaConsumer(
            site.topic, bootstrap_servers=site.broker.address, group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        await consumer.getmany(timeout_ms=300)
        FAULTS[fault](site.broker)
        async with asyncio.timeout(SOON_S):
            await give_up(consumer, WITHIN_S)

    async with silence():
        await fail()
        await nothing_runs()


async def test_clients_that_never_started_or_have_stopped(site: Site) -> None:
    async with silence():
        admin = AIOKafkaAdminClient(bootstrap_servers=site.broker.address)
        await admin.start()
        for client in (site.producer(), AIOKafkaConsumer(bootstrap_servers=site.broker.address), admin):
            await give_up(client, WITHIN_S)
            await give_up(client, WITHIN_S)
        await nothing_runs()


async def test_a_client_that_ends_is_a_failure_and_an_end_that_is_asked_for_is_one() -> None:
    async def ends() -> None:
        async with in_time(9.0):
            raise asyncio.CancelledError

    async def waits() -> None:
        async with in_time(9.0):
            await asyncio.get_running_loop().create_future()

    with pytest.raises(KafkaError):
        await ends()
    with pytest.raises(TimeoutError):
        async with in_time(0.01):
            await asyncio.get_running_loop().create_future()
    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("kind", ["producer", "consumer", "administrator"])
async def test_who_is_to_end_ends_although_its_client_ends_in_the_same_turn(site: Site, kind: str) -> None:
    """The client takes what ends its caller for the end of a task of its own."""
    address = {"bootstrap_servers": site.broker.address}
    client: Any
    match kind:
        case "producer":
            client = site.producer()
            await client.start()
            own = client.client._sync_task
        case "consumer":
            client = AIOKafkaConsumer(site.topic, **address)
            await client.start()
            own = client._fetcher._fetch_task
        case _:
            client = AIOKafkaAdminClient(**address)
            await client.start()
            own = client._client._sync_task
    async with silence():
        ending = asyncio.create_task(give_up(client, WITHIN_S))
        own.add_done_callback(lambda _: ending.cancel())
        await asyncio.wait([ending])
        assert ending.cancelled()
        await nothing_runs()


async def test_both_clients_are_given_up_although_the_first_ends_in_the_same_turn(site: Site) -> None:
    settings = QueueKafka(brokers=[site.broker.address], topic=site.topic, dead_topic=f"{site.topic}.dead")
    async with silence():
        cluster = Cluster(settings, client_arguments(settings, {}, "test"))
        await cluster.look()
        assert (await cluster.send(site.topic, [Message(key=b"k", value=b"x")])).done == [0]
        assert cluster._producer is not None and cluster._admin is not None
        ending = asyncio.create_task(cluster.close())
        cluster._producer.client._sync_task.add_done_callback(lambda _: ending.cancel())
        await asyncio.wait([ending])
        assert ending.cancelled()
        del cluster
        await nothing_runs()
