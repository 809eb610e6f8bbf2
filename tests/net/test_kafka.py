"""How brokers are reached, and what is used of aiokafka that it promises to nobody: a release that changes it is seen
here, before a fault of a broker shows it.
"""

from __future__ import annotations

import ssl
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import ConnectionGroup
from aiokafka.consumer import fetcher
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalOperation,
    KafkaConnectionError,
    KafkaError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from structlog.testing import capture_logs

from evcharge.net import kafka_topics
from evcharge.net.kafka import KafkaSettings
from evcharge.net.kafka_client import give_up
from evcharge.net.kafka_faults import FAILURES, Fault, NoBroker, fault_of, understood

CLIENTS = {
    "producer": lambda: AIOKafkaProducer(transactional_id="x"),
    "consumer": lambda: AIOKafkaConsumer(group_id="x"),
    "administrator": AIOKafkaAdminClient,
}
# Versions of the request that can say it: all that brokers since 0.11 speak, as idempotent producers need them.
SAYING = (4, 5)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"kafka-2:{port} has no port from 1 to 65535"):
        msgspec.convert({"brokers": ["kafka-1:9092", f"kafka-2:{port}"]}, KafkaSettings)


def test_every_port_that_is_one_is_taken() -> None:
    for address in ("kafka-1:1", "kafka-1:65535", "[::1]:09092"):
        assert msgspec.convert({"brokers": [address]}, KafkaSettings).brokers == [address]


class Wire:
    """A connection that keeps what is asked, and answers nothing."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def connected(self) -> bool:
        return True

    async def send(self, request: Any, **_: Any) -> Any:
        self.asked.append(request)
        raise KafkaConnectionError

    async def close(self, **_: Any) -> None:
        pass


@pytest.mark.parametrize("version", SAYING)
@pytest.mark.parametrize("kind", CLIENTS)
async def test_no_client_makes_a_topic_by_asking_for_it(kind: str, version: int) -> None:
    made: Any = CLIENTS[kind]()
    client = made.client if kind == "producer" else made._client
    wire = Wire()
    client._conns["bootstrap", ConnectionGroup.DEFAULT] = wire
    assert await client._metadata_update(client.cluster, {"one", "other"}) is False
    if kind == "administrator":
        client.cluster._brokers = client.cluster._bootstrap_brokers = {}
        client.get_random_node = lambda: "bootstrap"
        with pytest.raises(KafkaError):
            await made.describe_topics(["one", "other"])
    built = [request.prepare({request.API_KEY: (version, version)}) for request in wire.asked]
    assert len(built) == (2 if kind == "administrator" else 1)
    for each in built:
        assert (each.API_VERSION, sorted(each.topics)) == (version, ["one", "other"])
        assert each.allow_auto_topic_creation is False
    await give_up(made, 1.0)


async def test_the_parts_of_a_client_that_are_used_to_give_it_up_are_there() -> None:
    producer: Any = CLIENTS["producer"]()
    assert producer._sender.sender_task is None
    assert producer._txn_manager._transaction_waiter is None
    assert (producer._message_accumulator._batches, producer._message_accumulator._pending_batches) == ({}, set())
    producer._message_accumulator.fail_all(KafkaError("over"))
    batch = MessageBatch(TopicPartition("x", 0), producer.create_batch(), 1.0, 0.0)
    assert not batch.future.done()
    assert not batch._drain_waiter.done()
    consumer: Any = CLIENTS["consumer"]()
    assert (consumer._coordinator, consumer._fetcher) == (None, None)
    for client in (producer.client, consumer._client, AIOKafkaAdminClient()._client, producer._sender):
        assert callable(client.close)
    assert callable(producer.stop)
    assert callable(consumer.stop)
    await producer.stop()
    await consumer.stop()


class NotText(str):
    """Text that is other bytes on the wire."""

    __slots__ = ()

    def encode(self, *_given: Any, **_more: Any) -> bytes:
        return b"\xff\xfe"


def batch(base_offset: int, headers: list[list[tuple[str, bytes]]]) -> bytes:
    """As a producer makes it, with a message for each element, which has these headers."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 65_536)
    for number, each in enumerate(headers):
        builder.append(number, 1, None, b"value", each)
    made = builder.build()
    made[0:8] = base_offset.to_bytes(8, "big")
    return bytes(made)


def read_all(data: bytes, begin: int) -> tuple[list[int], int]:
    """Offsets of what a consumer gives, and where it goes on."""
    records = fetcher.PartitionRecords(
        TopicPartition("t", 0), MemoryRecords(data), [], begin, None, None, True, fetcher.READ_COMMITTED
    )
    return [record.offset for record in records], records.next_fetch_offset


def test_what_cannot_be_decoded_is_passed_over_with_its_batch() -> None:
    well, bad = [("log", b"site")], [(NotText("ab"), b"1")]
    behind = batch(2, [well, bad, well]) + batch(5, [well]) + batch(6, [bad]) + batch(7, [well])
    data = batch(0, [well, well]) + behind
    with capture_logs() as said:
        assert read_all(data, 0) == ([0, 1, 2, 5, 7], 8)
    assert [(each["event"], each["offset"], each["next_offset"]) for each in said] == [
        ("kafka.passed_over", 3, 5),
        ("kafka.passed_over", 6, 7),
    ]
    # Begun in its middle, behind the one that is to blame.
    assert read_all(behind, 4) == ([5, 7], 8)
    assert read_all(batch(0, [bad]), 0) == ([], 1)
    assert read_all(batch(0, [well]), 0) == ([0], 1)


@pytest.mark.parametrize("extra", ["kafka", "dev"])
def test_no_release_of_it_is_installed_that_nobody_has_looked_at(extra: str) -> None:
    config = ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    (wanted,) = (line for line in config["options.extras_require"][extra].splitlines() if "aiokafka" in line)
    assert wanted.endswith(">= 0.14, < 0.15")


class Administrator:
    """One whose brokers say this."""

    def __init__(self, told: Any) -> None:
        self._told = told

    async def describe_topics(self, names: list[str]) -> Any:
        return [{"topic": name, **self._told} for name in names]

    async def create_topics(self, topics: list[Any]) -> Any:
        return SimpleNamespace(topic_errors=[(topic.name, *self._told) for topic in topics])


def place(replicas: int, in_sync: int) -> dict[str, list[int]]:
    return {"replicas": list(range(replicas)), "isr": list(range(in_sync))}


async def test_what_is_seen_of_a_topic() -> None:
    there = Administrator({"error_code": 0, "partitions": [place(3, 3), place(3, 1), place(2, 2)]})
    assert await kafka_topics.look(there, "x") == kafka_topics.Seen(partitions=3, replication=2, in_sync=1)
    assert await kafka_topics.look(Administrator({"error_code": 3, "partitions": []}), "x") is None
    with pytest.raises(TopicAuthorizationFailedError, match="x"):
        await kafka_topics.look(Administrator({"error_code": 29, "partitions": []}), "x")
    for nonsense in ({"error_code": 0, "partitions": []}, {"error_code": 0, "partitions": None}, {}):
        with pytest.raises(NoBroker):
            await kafka_topics.look(Administrator(nonsense), "x")


async def test_a_topic_is_made_here_or_by_somebody_else_or_not_at_all() -> None:
    assert await kafka_topics.make(Administrator((0, None)), "x", 1, 1, {}) is True
    assert await kafka_topics.make(Administrator((36, "It is there.")), "x", 1, 1, {}) is False
    for told, why in (((44, "Not on Sundays."), "Not on Sundays"), ((44,), PolicyViolationError.description)):
        with pytest.raises(kafka_topics.NotMade) as caught:
            await kafka_topics.make(Administrator(told), "x", 1, 1, {})
        assert caught.value.why == str(why).rstrip(".")
        assert fault_of(caught.value.error) is Fault.QUOTA


def test_only_what_a_client_cannot_read_says_that_there_is_no_broker() -> None:
    for nonsense in (
        AssertionError("a"),
        TypeError("b"),
        KeyError("c"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "d"),
    ):
        with pytest.raises(NoBroker, match=f"^{type(nonsense).__name__}: ") as caught, understood():
            raise nonsense
        assert isinstance(caught.value, FAILURES)
        assert fault_of(caught.value) is Fault.NO_BROKER
        assert not isinstance(nonsense, FAILURES), "outside of a call it is a mistake of ours"


def test_what_a_client_says_itself_stays_what_it_is() -> None:
    untrusted = ssl.SSLCertVerificationError(1, "self-signed certificate")
    for error in (KafkaConnectionError("x"), ConnectionRefusedError(), TimeoutError(), untrusted):
        with pytest.raises(type(error)) as caught, understood():
            raise error
        assert caught.value is error
    assert fault_of(untrusted) is Fault.UNTRUSTED
    for over in (IllegalOperation("not in transaction"), ConsumerStoppedError()):
        with pytest.raises(KafkaError), understood():
            raise over
