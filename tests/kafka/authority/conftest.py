"""The charge authorization over a topic of a real broker, with both databases where the database matters."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from evcharge.net.clock import Clock
from evcharge.net.kafka import client_arguments
from evcharge.sidecar.authority.kafka.queue import KafkaQueue
from evcharge.sidecar.authority.kafka.settings import QueueKafka
from evcharge.sidecar.authority.queue import Waiting
from evcharge.sidecar.database import Database
from tests.kafka.broker import Broker
from tests.sidecar.authority.conftest import MakePlace, Place, database, make_place, receiver
from tests.sidecar.conftest import HandClock, clock, database_url, one_database, postgres

__all__ = ["clock", "database", "database_url", "make_place", "one_database", "postgres", "receiver"]

# Longest wait for a fact, in seconds.
DEADLINE_S = 60.0
# One look at a topic, in milliseconds.
LOOK_MS = 100


async def until(fact: Callable[[], Awaitable[object]] | Callable[[], object]) -> None:
    """As soon as it is true. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = fact()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.02)


class Topic:
    """The topics of one test, read and written from outside."""

    def __init__(self, address: str) -> None:
        self.tag = secrets.token_hex(4)
        self.settings = QueueKafka(
            brokers=[address],
            topic=f"requests-{self.tag}",
            dead_topic=f"requests-{self.tag}.dlq",
            group=f"group-{self.tag}",
            partitions=2,
            session_s=1.0,
            look_s=0.2,
            retry_s=0.05,
            patience_s=5.0,
        )

    @property
    def address(self) -> str:
        return self.settings.brokers[0]

    def queue(self, database: Database, clock: Clock, most: int = 100, **changes: Any) -> KafkaQueue:
        """A member."""
        chosen = msgspec.structs.replace(self.settings, **changes)
        arguments = client_arguments(chosen, {"PASSWORD": "right", "WRONG": "wrong"}, "test")
        return KafkaQueue(database, chosen, arguments, clock=clock, most=most, most_of_client=most)

    async def write(self, value: bytes | None, key: bytes | None = None, times: int = 1) -> None:
        """As anybody who may write to the topic."""
        async with AIOKafkaProducer(bootstrap_servers=self.address, max_request_size=4_000_000) as producer:
            for _ in range(times):
                await producer.send_and_wait(self.settings.topic, value, key=key)

    async def read(self, name: str) -> list[Any]:
        """Every record there is now."""
        async with AIOKafkaConsumer(bootstrap_servers=self.address, auto_offset_reset="earliest") as consumer:
            places = self._places(name)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            found: list[Any] = []
            async with asyncio.timeout(DEADLINE_S):
                while any([await consumer.position(place) < ends[place] for place in places]):
                    for records in (await consumer.getmany(timeout_ms=LOOK_MS)).values():
                        found += records
            return found

    def _places(self, name: str) -> list[TopicPartition]:
        return [TopicPartition(name, number) for number in range(self.settings.partitions)]

    async def requests(self) -> list[str]:
        """The ids of all messages."""
        records = await self.read(self.settings.topic)
        return [msgspec.msgpack.decode(one.value, type=Waiting).request_id for one in records]

    async def dead(self) -> list[dict[str, str]]:
        """The headers of what was put aside."""
        records = await self.read(self.settings.dead_topic)
        return [{name: text.decode() for name, text in one.headers} for one in records]

    async def behind(self) -> int:
        """Messages that the group has not committed."""
        name = self.settings.topic
        async with AIOKafkaConsumer(
            bootstrap_servers=self.address, group_id=self.settings.group, enable_auto_commit=False
        ) as consumer:
            places = self._places(name)
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            return sum([ends[place] - (await consumer.committed(place) or 0) for place in places])

    async def admin(self, work: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
        """Something that an operator does."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await client.start()
        try:
            return await work(client)
        finally:
            await client.close()

    async def delete(self) -> None:
        await self.admin(lambda client: client.delete_topics([self.settings.topic]))

    async def make(self) -> bool:
        """As an operator does; False: it is not gone yet."""
        new = NewTopic(self.settings.topic, self.settings.partitions, 1)
        told = await self.admin(lambda client: client.create_topics([new]))
        return all(code == 0 for _, code, *_ in told.topic_errors)


class Member(Place):
    """A sidecar's charge authorization with its queue."""

    queue: KafkaQueue
    topic: Topic

    async def relay(self) -> None:
        """Everything that is due."""
        while await self.queue.relay.step():
            pass

    async def decide(self) -> None:
        """What one batch needs, by hand."""
        async with asyncio.timeout(DEADLINE_S):
            await self.concern.worker.step()

    async def crash(self) -> None:
        """Forget everything, as a kill does: what is not in the database or on the topic is gone."""
        await self.queue.close()

    @asynccontextmanager
    async def deciding(self) -> AsyncIterator[None]:
        """With the work of a member, and nobody who tells: that is the work of the one who serves the database."""
        running = [asyncio.create_task(work()) for work in (self.queue.run, self.concern.worker.run)]
        try:
            yield
            assert not any(task.done() for task in running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def settled(self) -> None:
        """Nothing waits any more, in the table or on the topic."""
        await until(lambda: self._nothing_waits())

    async def _nothing_waits(self) -> bool:
        return await self.rows("queue") == 0 and await self.topic.behind() == 0

    async def statuses(self, ids: Sequence[str]) -> list[str]:
        return [(await self.logged(one))["status"] for one in ids]


@pytest.fixture
def topic(broker: Broker) -> Topic:
    return Topic(broker.address)


MakeMember = Callable[..., Awaitable[Member]]


@pytest.fixture
async def make_member(
    make_place: MakePlace, database: Database, clock: HandClock, topic: Topic
) -> AsyncIterator[MakeMember]:
    """Makes members over one database and one topic, each with changes of its own."""
    queues: list[KafkaQueue] = []

    async def make(topic: Topic = topic, place: dict[str, Any] | None = None, **changes: Any) -> Member:
        queue = topic.queue(database, clock, **changes)
        queues.append(queue)
        made: Any = await make_place(queue=queue, **(place or {}))
        made.__class__ = Member
        made.queue, made.topic = queue, topic
        assert isinstance(made, Member)
        return made

    yield make
    for queue in queues:
        await queue.close()


@pytest.fixture
async def member(make_member: MakeMember) -> Member:
    return await make_member()
