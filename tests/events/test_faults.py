"""What comes out of Kafka's client: each failure has a sentence, and none of them ends the publisher."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced, UnknownError

from evcharge.events import admin, kept, outlet
from evcharge.events.faults import described
from evcharge.events.message import Message
from evcharge.events.outlet import Outlet, RealKafka, _check
from evcharge.events.position import Kept, Position
from evcharge.events.settings import PublisherSettings
from evcharge.events.topics import Topic, Topics
from evcharge.events.troubles import Board, Fenced, Kind, TooLarge, Trouble
from evcharge.net.kafka import KafkaSettings
from evcharge.net.kafka_faults import NoBroker


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
    for error in (NoBroker("TypeError: 'NoneType' object is not iterable"), KafkaError("y"), UnknownError("z")):
        found = described(error)
        assert isinstance(found, Trouble)
        assert found.kind is Kind.KAFKA_FAILED
        assert ("TypeError" if isinstance(error, NoBroker) else type(error).__name__) in found.sentence
        assert ("as a broker of Kafka's does" in found.sentence) == isinstance(error, NoBroker)


class Producer:
    """One of whose calls may be answered with nonsense."""

    def __init__(self, nonsense: str = "") -> None:
        self._nonsense = nonsense

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*_: Any, **__: Any) -> Any:
            if name == self._nonsense:
                raise TypeError("'NoneType' object is not iterable")
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            written.set_result(None)
            return written

        return call

    def create_batch(self) -> Any:
        return SimpleNamespace(append=lambda **_: object(), close=lambda: None)


def _outlet(producer: Producer) -> Outlet:
    topic = Topic(name="evcharge.events", partitions=3, replication=1, config={})
    settings = PublisherSettings(kafka=KafkaSettings(brokers=["x:1"]))
    return Outlet(settings, producer, Topics(events=topic, positions=topic, remarks=[]), Kept(None, {}))


MESSAGE = Message(seq=1, digest=b"d" * 32, key=b"CP-1", value=b"{}", headers=())


@pytest.mark.parametrize("call", ["begin_transaction", "send_batch", "commit_transaction"])
async def test_nonsense_in_the_middle_of_a_transaction_is_a_trouble(call: str) -> None:
    await _outlet(Producer()).publish([MESSAGE], Position(seq=1))
    with pytest.raises(Trouble, match="does not answer as a broker of Kafka's does"):
        await _outlet(Producer(call)).publish([MESSAGE], Position(seq=1))


async def test_an_answer_that_leaves_out_what_was_asked_for_is_a_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    class Consumer(Producer):
        def assign(self, _: object) -> None: ...

        async def end_offsets(self, _: object) -> dict[object, int]:
            return {}

        beginning_offsets = end_offsets

    monkeypatch.setattr(kept, "AIOKafkaConsumer", lambda **_: Consumer())
    settings = PublisherSettings(kafka=KafkaSettings(brokers=["x:1"]))
    for asked in (kept.read_kept(settings, {}), kept.newest_published(settings, {}, 3, thorough=True)):
        with pytest.raises(Trouble, match="does not answer as a broker of Kafka's does"):
            await asked


async def test_a_mistake_of_our_own_is_no_fault_of_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the publisher with all that it says, and is not tried again for ever."""

    def broken(*_: object) -> Any:
        raise AssertionError("pieces are smaller than what the client takes")

    with monkeypatch.context() as patched:
        patched.setattr(outlet, "_append", broken)
        with pytest.raises(AssertionError, match="pieces are smaller"):
            await _outlet(Producer()).publish([MESSAGE], Position(seq=1))
    settings = PublisherSettings(kafka=KafkaSettings(brokers=["x:1"]))
    monkeypatch.setattr(admin, "AIOKafkaAdminClient", lambda **_: Producer())
    monkeypatch.setattr(admin, "_found", broken)
    kafka = RealKafka(settings, lambda: {"bootstrap_servers": ["x:1"], "client_id": "test"})
    for asked in (kafka.open, kafka.unwritable, lambda: admin.looked_at(settings, {}, make=False)):
        with pytest.raises(AssertionError, match="pieces are smaller"):
            await asked()


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


async def test_nonsense_in_an_answer_ends_no_publisher() -> None:
    """Neither where it is asked whether anybody is there, nor where what became of a piece is nonsense."""

    async def confused() -> bool:
        raise ValueError("a length of -7")

    producer: Any = SimpleNamespace(client=SimpleNamespace(force_metadata_update=confused))
    topics: Any = SimpleNamespace(events=SimpleNamespace(partitions=1))
    settings = PublisherSettings(kafka=KafkaSettings(brokers=["kafka:9092"]))
    kept: Any = None
    assert await Outlet(settings, producer, topics, kept).alive() is False
    future: asyncio.Future[Any] = asyncio.Future()
    with pytest.raises(NoBroker, match="a length of -7"):
        _check([ValueError("a length of -7")], [((1,), future)])
