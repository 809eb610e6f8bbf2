"""What comes out of Kafka's client: each failure has a sentence, and none of them ends the publisher."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from evcharge.events import admin
from evcharge.events.faults import described
from evcharge.events.outlet import RealKafka, _check
from evcharge.events.settings import PublisherSettings
from evcharge.events.topics import Topic
from evcharge.events.troubles import Board, Fenced, Kind, TooLarge, Trouble
from evcharge.net.kafka import KafkaSettings


@pytest.mark.parametrize(
    "answer", [b"\x00\x00\x00\x20\x00\x00\x00\x01" + b"\xff" * 28, b"HTTP/1.1 400 Bad Request\r\n\r\n"]
)
async def test_what_answers_and_is_no_broker_is_a_trouble(answer: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = PublisherSettings(kafka=KafkaSettings(brokers=[address]))
        kafka = RealKafka(settings, lambda: {"bootstrap_servers": [address], "client_id": "test"})
        with pytest.raises(Trouble):
            await kafka.open()
        with pytest.raises(Trouble):
            await kafka.read_kept()
        with pytest.raises(Trouble):
            await kafka.newest_published(1, thorough=True)
        found = await kafka.look()
        assert found is not None
        assert address in found.sentence
        assert await kafka.unwritable() is None


async def test_all_brokers_are_looked_at_at_once() -> None:
    met = asyncio.Barrier(3)

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Each answers nobody before all of them were asked.
        await met.wait()
        writer.close()

    servers = [await asyncio.start_server(handle, "127.0.0.1", 0) for _ in range(3)]
    brokers = [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    settings = PublisherSettings(kafka=KafkaSettings(brokers=brokers))
    found = await RealKafka(settings, lambda: {"bootstrap_servers": brokers, "client_id": "test"}).look()
    assert found is not None
    assert found.kind is not Kind.KAFKA_SLOW
    for server in servers:
        server.close()


def test_no_error_of_the_client_is_without_a_sentence() -> None:
    for error in (TypeError("'NoneType' object is not iterable"), ValueError("x"), KeyError(1), KafkaError("y")):
        found = described(error)
        assert isinstance(found, Trouble)
        assert found.kind is Kind.KAFKA_FAILED
        assert type(error).__name__ in found.sentence


def test_of_pieces_that_failed_a_successor_explains_the_rest() -> None:
    future: asyncio.Future[Any] = asyncio.Future(loop=asyncio.new_event_loop())
    sent = [((1, 2), future), ((3,), future)]
    _check(["well", "well"], sent)
    with pytest.raises(TooLarge):
        _check(["well", MessageSizeTooLargeError()], sent)
    with pytest.raises(ProducerFenced):
        _check([MessageSizeTooLargeError(), ProducerFenced()], sent)
    # A piece that the client cancelled was not written either: its transaction may not be committed.
    with pytest.raises(KafkaError):
        _check([asyncio.CancelledError(), "well"], sent)
    future.get_loop().close()
    assert isinstance(described(ProducerFenced()), Fenced)


async def test_a_topic_that_somebody_makes_meanwhile_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Topic(name="evcharge.events", partitions=3, replication=1, config={})
    there: list[Topic | None] = [theirs]

    class Admin:
        async def create_topics(self, topics: list[Any]) -> Any:
            return SimpleNamespace(topic_errors=[(topics[0].name, 36, "It is there.")])

    async def found(_: object, __: str) -> Topic | None:
        return there[0]

    monkeypatch.setattr(admin, "_found", found)
    assert await admin._made(Admin(), "evcharge.events", 6, 1, {}) == theirs
    # Not seen yet by the broker that is asked: nothing is guessed.
    there[0] = None
    with pytest.raises(Trouble, match="looked at again"):
        await admin._made(Admin(), "evcharge.events", 6, 1, {})


def test_one_fault_of_brokers_is_told_once_in_whatever_words(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    for where in ("The broker a", "Kafka", "The broker a"):
        found = described(TimeoutError(), where)
        assert isinstance(found, Trouble)
        board.came(found)
    assert capsys.readouterr().out.count("events.trouble") == 1
