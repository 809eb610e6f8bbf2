"""What others write to the topic of events: none of it may keep the publisher from finding its own records."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from evcharge.events import kept
from evcharge.events.kept import newest_published
from evcharge.events.settings import PublisherSettings
from evcharge.net.kafka import KafkaSettings, client_arguments
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


async def test_a_mistake_in_reading_them_is_no_fault_of_a_broker(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_topic(broker.address, "mistaken.events")
    settings = PublisherSettings(kafka=KafkaSettings(brokers=[broker.address]), topic="mistaken.events")
    write(broker, settings.topic, [("log", b"site"), ("seq", b"7")])
    monkeypatch.setattr(kept, "SEQ_DIGITS", None)
    with pytest.raises(TypeError):
        await newest_published(settings, client_arguments(settings.kafka, {}, "test"), 1, thorough=True)
