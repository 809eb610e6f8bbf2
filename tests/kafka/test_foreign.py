"""What others write to the topic of events: none of it may keep the publisher from finding its own records."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as producing
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import Producer

from evcharge.events import kept
from evcharge.events.kept import newest_published
from evcharge.events.settings import PublisherSettings
from evcharge.net.kafka import KafkaSettings, client_arguments
from evcharge.sidecar.authority.kafka.reader import Reader
from evcharge.sidecar.authority.kafka.settings import QueueKafka
from tests.kafka.broker import Broker
from tests.kafka.test_publisher import make_topic

FOREIGN: list[list[tuple[str, bytes | None]]] = [
    [("log", b"site"), ("seq", None)],
    [("log", b"site"), ("seq", b"9" * 5_000)],
    [("log", b"site"), ("seq", b"\xff\xfe")],
    [("log", b"site"), ("seq", "²".encode())],
    [("log", b"site"), ("seq", b"-1")],
    [("log", b"site"), ("seq", b"")],
    [("log", b"site")],
    [("log", None), ("seq", b"99")],
    [("seq", b"99")],
    [],
]


def write(broker: Broker, topic: str, headers: list[tuple[str, bytes | None]]) -> None:
    producer = Producer({"bootstrap.servers": broker.address})
    producer.produce(topic, b"{}", headers=headers)
    assert producer.flush(30) == 0


async def test_numbers_that_are_none_are_passed_over(broker: Broker) -> None:
    await make_topic(broker.address, "foreign.events")
    settings = PublisherSettings(kafka=KafkaSettings(brokers=[broker.address]), topic="foreign.events")
    arguments = client_arguments(settings.kafka, {}, "test")
    write(broker, settings.topic, [("log", b"site"), ("seq", b"7")])
    for headers in FOREIGN:
        write(broker, settings.topic, headers)
    for thorough in (False, True):
        assert await newest_published(settings, arguments, 1, thorough=thorough) == 7


class NotText(str):
    """Text that is other bytes on the wire."""

    __slots__ = ()

    def encode(self, *_given: Any, **_more: Any) -> bytes:
        return b"\xff\xfe"


async def write_undecodable(address: str, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message with a header whose name is not UTF-8: aiokafka in C and librdkafka would not write it."""
    with monkeypatch.context() as patch:
        for module in (message_accumulator, producing):
            patch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        producer = AIOKafkaProducer(bootstrap_servers=address)
        await producer.start()
        await producer.send_and_wait(topic, b"x", partition=0, headers=[(NotText("ab"), b"1")])
        await producer.stop()


async def test_a_header_whose_name_is_no_text_does_not_hide_the_newest(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_topic(broker.address, "undecodable.events")
    settings = PublisherSettings(kafka=KafkaSettings(brokers=[broker.address]), topic="undecodable.events")
    arguments = client_arguments(settings.kafka, {}, "test")
    write(broker, settings.topic, [("log", b"site"), ("seq", b"7")])
    await write_undecodable(broker.address, settings.topic, monkeypatch)
    assert await newest_published(settings, arguments, 1, thorough=True) == 7
    write(broker, settings.topic, [("log", b"site"), ("seq", b"8")])
    await write_undecodable(broker.address, settings.topic, monkeypatch)
    assert await newest_published(settings, arguments, 1, thorough=False) == 8


async def test_the_queue_reads_on_behind_a_header_whose_name_is_no_text(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = QueueKafka(brokers=[broker.address], topic="undecodable.requests", group="undecodable", session_s=1.0)
    await make_topic(broker.address, settings.topic)
    write(broker, settings.topic, [])
    await write_undecodable(broker.address, settings.topic, monkeypatch)
    write(broker, settings.topic, [])
    reader = Reader(settings, client_arguments(settings, {}, "test"))
    try:
        await reader.join()
        async with asyncio.timeout(60):
            while len(reader.held) < 2:
                await reader.fetch(10)
        assert [record.offset for record in reader.held.values()] == [0, 2]
        reader.done(list(reader.held))
        await reader.commit()
    finally:
        await reader.close()


async def test_a_mistake_in_reading_them_is_no_fault_of_a_broker(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_topic(broker.address, "mistaken.events")
    settings = PublisherSettings(kafka=KafkaSettings(brokers=[broker.address]), topic="mistaken.events")
    write(broker, settings.topic, [("log", b"site"), ("seq", b"7")])
    monkeypatch.setattr(kept, "SEQ_DIGITS", None)
    with pytest.raises(TypeError):
        await newest_published(settings, client_arguments(settings.kafka, {}, "test"), 1, thorough=True)
