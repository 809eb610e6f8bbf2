"""The publisher as a process, against a real broker: each record once, whoever is killed, and every fault told once."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from evcharge.events.kept import FIRST_LOOK
from tests.kafka.broker import Broker
from tests.kafka.conftest import MakeBroker
from tests.kafka.reading import Read, check_exactly_once, read_committed
from tests.support.log_central import CHARGE_POINTS, Log, LogCentral, write_credential
from tests.support.processes import LOOK_S, Process

# Longest wait for one fact, in seconds.
DEADLINE_S = 60.0


class Stand:
    """A log behind a Central, and publishers of it."""

    def __init__(self, folder: Path, central: LogCentral) -> None:
        self.folder = folder
        self.central = central
        self.log = central.log
        self.started: list[Process] = []
        self.credential = write_credential(folder / "events.json")

    def publisher(self, address: str, *more: object, **environment: str) -> Process:
        """One more, started."""
        words = ["run", "--credentials", self.credential, "--central", f"127.0.0.1:{self.central.port}"]
        words += ["--brokers", address, "--metrics", "127.0.0.1:0", *map(str, more)]
        process = Process("events", "events", words, self.folder, environment=environment)
        self.started.append(process)
        return process

    def number(self, process: Process, name: str) -> float:
        """One of its metrics; -1: it does not say."""
        for line in process.lines:
            if "metrics" in line:
                with urllib.request.urlopen(f"http://{line['metrics']}/metrics", timeout=10) as answer:
                    told = answer.read().decode()
                values = [row.rpartition(" ")[2] for row in told.splitlines() if row.startswith(f"{name} ")]
                return float(values[0]) if values else -1.0
        return -1.0

    async def until(self, fact: Callable[[], object], deadline_s: float = DEADLINE_S) -> Any:
        """Wait until it is true, while Central goes on."""
        try:
            async with asyncio.timeout(deadline_s):
                while not (found := await asyncio.to_thread(fact)):
                    await asyncio.sleep(LOOK_S)
                return found
        except TimeoutError:
            raise AssertionError("\n".join(process.tail() for process in self.started)) from None

    async def published(self, process: Process, seq: int | None = None) -> None:
        """Until it has published up to there; default: everything."""
        wanted = self.log.newest if seq is None else seq
        await self.until(lambda: self.number(process, "evcharge_events_sequence") >= wanted)

    async def told(self, process: Process, kind: str, times: int = 1) -> str:
        """Until it has told of such a trouble; the last sentence."""

        def sentences() -> list[str]:
            lines = process.logged("events.trouble")
            return [str(line["sentence"]) for line in lines if line["kind"] == kind]

        found: list[str] = await self.until(lambda: (said := sentences()) and len(said) >= times and said)
        assert len(found) == times, found
        return found[-1]

    async def read(self, address: str, topic: str = "evcharge.events", **settings: str) -> list[Read]:
        """What a consumer sees."""
        return await asyncio.to_thread(read_committed, address, topic, self.log.newest, **settings)

    async def stop(self, process: Process) -> None:
        """SIGTERM: it ends with 0, and its log has lines of its own only."""
        assert await asyncio.to_thread(process.stop) == 0, process.tail()
        check_log(process)


def check_log(process: Process) -> None:
    """Everything that it wrote is a line of its log: no traces, and nothing of the client's."""
    for line in process.errors.splitlines():
        if line.startswith("error: "):
            # Why it ended.
            continue
        assert line.startswith("{"), line
        assert json.loads(line)["event"].partition(".")[0] in ("events", "central", "metrics"), line


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with LogCentral(Log()) as central:
        made = Stand(tmp_path, central)
        yield made
        for process in made.started:
            if process.returncode is None:
                process.kill()


async def make_topic(address: str, name: str, partitions: int = 1, **config: str) -> None:
    """By hand, before the publisher comes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=settings)])
    finally:
        await admin.close()


async def delete_topic(address: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.delete_topics([name])
        # The controller has said so; what the broker takes until it knows would be gone with the topic.
        async with asyncio.timeout(DEADLINE_S):
            while name in await admin.list_topics():
                await asyncio.sleep(LOOK_S)
    finally:
        await admin.close()


def own_topics(name: str) -> list[str]:
    """Options for a test that shares the broker with others."""
    return ["--topic", f"{name}.events", "--positions-topic", f"{name}.positions"]


@pytest.mark.timeout(240)
async def test_killed_again_and_again_each_record_comes_once(stand: Stand, make_broker: MakeBroker) -> None:
    broker = make_broker()
    await broker.start()
    stand.log.grow(3_000)
    publisher = stand.publisher(broker.address)
    for kill in range(4):
        await stand.published(publisher)
        stand.log.grow(4_000)
        # While it is at it: the next records are on their way.
        await stand.published(publisher, stand.log.newest - 3_999)
        match kill % 3:
            case 0:
                publisher.kill()
                publisher = stand.publisher(broker.address)
            case 1:
                broker.kill()
                broker.launch()
            case 2:
                stand.central.cut()
    await stand.published(publisher)
    found = await stand.read(broker.address)
    check_exactly_once(found, stand.log.newest)
    assert {each.key for each in found} == {f"CP-{number}" for number in range(CHARGE_POINTS)}
    await stand.stop(publisher)


async def test_a_message_says_what_the_record_says(stand: Stand, broker: Broker) -> None:
    stand.log.grow(12)
    publisher = stand.publisher(broker.address, *own_topics("says"))
    await stand.published(publisher)
    found = await stand.read(broker.address, "says.events")
    check_exactly_once(found, 12)
    (second,) = (each for each in found if each.seq == 2)
    assert second.key == "CP-0"
    assert second.headers == {
        "log": b"site",
        "schema": b"evcharge.meter_sampled",
        "version": b"1",
        "seq": b"2",
        "content-type": b"application/json",
        "trace": b"r-2",
    }
    assert json.loads(second.value)["data"] == {"session_id": "s-0000000000", "meter_wh": 2, "power_w": 11_000}
    # A second start goes on where the first ended, and still knows where the session charges.
    await stand.stop(publisher)
    stand.log.grow(5)
    again = stand.publisher(broker.address, *own_topics("says"))
    await stand.published(again)
    found = await stand.read(broker.address, "says.events")
    check_exactly_once(found, 17)
    assert {each.key for each in found if each.seq > 12} == {"CP-1"}
    await stand.stop(again)


async def test_of_two_publishers_the_first_one_ends(stand: Stand, broker: Broker) -> None:
    stand.log.grow(10)
    first = stand.publisher(broker.address, *own_topics("two"))
    await stand.published(first)
    second = stand.publisher(broker.address, *own_topics("two"))
    await stand.published(second)
    stand.log.grow(500)
    assert await stand.until(lambda: first.returncode is not None)
    assert first.returncode == 1
    assert "Another publisher of the same log and topic has taken over" in first.errors
    check_log(first)
    await stand.published(second)
    check_exactly_once(await stand.read(broker.address, "two.events"), 510)
    await stand.stop(second)


async def test_a_broker_that_is_away_or_frozen_is_told_once(stand: Stand, make_broker: MakeBroker) -> None:
    broker = make_broker()
    stand.log.grow(100)
    publisher = stand.publisher(broker.address)
    assert broker.address in await stand.told(publisher, "kafka_away")
    await stand.until(lambda: stand.number(publisher, "evcharge_events_lag_records") == -1)
    await broker.start()
    await stand.published(publisher)
    # A busy machine's broker is slow too while it starts.
    slow = sum(line["kind"] == "kafka_slow" for line in publisher.logged("events.trouble"))
    mended = len(publisher.logged("events.mended"))
    broker.freeze()
    stand.log.grow(100)
    await stand.told(publisher, "kafka_slow", slow + 1)
    broker.thaw()
    await stand.published(publisher)
    await stand.until(lambda: len(publisher.logged("events.mended")) == mended + 1)
    check_exactly_once(await stand.read(broker.address), 200)
    await stand.stop(publisher)


async def test_of_a_record_that_a_topic_does_not_take_a_stand_in_comes(stand: Stand, broker: Broker) -> None:
    await make_topic(broker.address, "small.events", 2, max_message_bytes="20000")
    text = "".join(chr(33 + number * number % 90) for number in range(100_000))
    stand.log.grow(30)
    long = {"at_ms": 1, "clock_ms": 1, "actor": "x", "source": "y", "data": {"cp_id": "CP-1", "text": text[::-7] * 30}}
    stand.log.bodies.append(msgspec.msgpack.encode(["incident_raised", 1, long]))
    stand.log.bodies += stand.log.bodies[:9]
    publisher = stand.publisher(broker.address, *own_topics("small"), "--compression", "none")
    await stand.published(publisher)
    found = await stand.read(broker.address, "small.events")
    check_exactly_once(found, 40)
    (cut,) = (each for each in found if "cut" in each.headers)
    assert cut.seq == 31
    assert cut.key == "CP-1"
    assert json.loads(cut.value)["data"] is None
    assert len(publisher.logged("events.cut")) == 1
    assert stand.number(publisher, "evcharge_events_cut_total") == 1
    await stand.stop(publisher)
    # Where the publisher makes the topic, it comes whole.
    whole = stand.publisher(broker.address, *own_topics("large"), "--compression", "none")
    await stand.published(whole)
    found = await stand.read(broker.address, "large.events")
    check_exactly_once(found, 40)
    (one,) = (each for each in found if each.seq == 31)
    assert json.loads(one.value)["data"]["text"] == long["data"]["text"]
    await stand.stop(whole)


@pytest.mark.timeout(240)
async def test_a_topic_that_is_deleted_is_made_again(stand: Stand, broker: Broker) -> None:
    stand.log.grow(50)
    publisher = stand.publisher(broker.address, *own_topics("gone"))
    await stand.published(publisher)
    await delete_topic(broker.address, "gone.events")
    stand.log.grow(50)
    await stand.published(publisher)
    found = await stand.read(broker.address, "gone.events")
    assert sorted(each.seq for each in found) == list(range(51, 101))
    await stand.stop(publisher)
    # Without a position nothing is published a second time: somebody has to say where to go on.
    await delete_topic(broker.address, "gone.positions")
    lost = stand.publisher(broker.address, *own_topics("gone"))
    assert "--after 100" in await stand.told(lost, "position_lost")
    await stand.stop(lost)
    stand.log.grow(10)
    going_on = stand.publisher(broker.address, *own_topics("gone"), "--after", 100)
    await stand.published(going_on)
    found = await stand.read(broker.address, "gone.events")
    assert sorted(each.seq for each in found) == list(range(51, 111))
    await stand.stop(going_on)


async def test_a_lost_position_is_seen_behind_whatever_was_written_since(stand: Stand, broker: Broker) -> None:
    own = [*own_topics("behind"), "--partitions", 1]
    stand.log.grow(100)
    first = stand.publisher(broker.address, *own)
    await stand.published(first)
    await stand.stop(first)
    # Another log on the same topics writes more than is looked at first.
    stand.log.grow(FIRST_LOOK + 1_000)
    neighbour = stand.publisher(broker.address, *own, "--log", "other")
    await stand.published(neighbour)
    await stand.stop(neighbour)
    await delete_topic(broker.address, "behind.positions")
    # Neither without a word where to go on, nor with one that was true long ago.
    for more in ([], ["--after", 50]):
        lost = stand.publisher(broker.address, *own, *more)
        assert "--after 100" in await stand.told(lost, "position_lost")
        await stand.stop(lost)
    going_on = stand.publisher(broker.address, *own, "--after", 100)
    await stand.published(going_on)
    found = await stand.read(broker.address, "behind.events")
    check_exactly_once([each for each in found if each.headers["log"] == b"site"], stand.log.newest)
    await stand.stop(going_on)


async def test_two_with_a_topic_of_positions_each_publish_each_record_once(stand: Stand, broker: Broker) -> None:
    both = [
        stand.publisher(broker.address, "--topic", "both.events", "--positions-topic", f"both.{name}")
        for name in ("one", "two")
    ]
    await stand.until(lambda: all(each.logged("events.begins") for each in both))
    stand.log.grow(200)
    await stand.until(lambda: max(stand.number(each, "evcharge_events_sequence") for each in both) >= 200)
    # Whoever did not write them is told so as soon as it is turned away, or wants to write.
    await stand.until(lambda: any(_waits(each) for each in both))
    stand.log.grow(200)
    await stand.until(lambda: max(stand.number(each, "evcharge_events_sequence") for each in both) >= 400)
    check_exactly_once(await stand.read(broker.address, "both.events"), 400)
    (waits,) = (each for each in both if _waits(each))
    assert "another --positions-topic" in await stand.told(waits, "position_lost")
    for each in both:
        await stand.stop(each)


def _waits(publisher: Process) -> bool:
    """It found records that it has not published. That brokers are slow may be told of any of them."""
    return any(line["kind"] == "position_lost" for line in publisher.logged("events.trouble"))
