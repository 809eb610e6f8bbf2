"""Messages that are none, and such as nobody may decide: put aside with the reason, and nothing is skipped or lost."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, KafkaTimeoutError
from sqlalchemy import update

from evcharge.net.kafka_faults import is_too_large
from evcharge.sidecar.authority.queue import Waiting
from evcharge.sidecar.authority.sealing import Sealer, Secrets
from evcharge.sidecar.authority.tables import queue_table
from tests.kafka.authority.conftest import MakeMember, Member, until
from tests.sidecar.authority.conftest import PEPPER, SEAL_KEY, STATION, TOKEN
from tests.sidecar.conftest import everything, one_database

UNKNOWN = "11111111-2222-4333-8444-555555555555"


async def own(member: Member) -> Waiting:
    """The one message that waits in the table."""
    async with member.database.reading() as connection:
        data = (await connection.execute(queue_table.select())).one().data
    return msgspec.msgpack.decode(data, type=Waiting)


async def replace(member: Member, data: bytes) -> None:
    async with member.database.writing() as connection:
        await connection.execute(update(queue_table).values(data=data))


async def test_what_nobody_accepted_is_put_aside_and_holds_up_nobody(member: Member) -> None:
    request_id = await member.request()
    real = await own(member)
    foreign = msgspec.structs.replace(real, request_id=UNKNOWN)
    named_cc = msgspec.msgpack.encode(msgspec.structs.replace(real, client="cc"))
    values: list[tuple[bytes | None, bytes | None, str]] = [
        (b"\xc1 no message", None, "unreadable"),
        (None, request_id.encode(), "unreadable"),
        (b"\x91" * 200_000, None, "unreadable"),
        (b"x" * 900_000, b"\xff\x00", "unreadable"),
        (named_cc.replace(b"\xa2cc", b"\xa2\xff\xff"), None, "unreadable"),
        (msgspec.msgpack.encode(foreign), None, "unknown_request"),
        (msgspec.msgpack.encode(msgspec.structs.replace(real, request_id="\x00'; --")), None, "unknown_request"),
        (msgspec.msgpack.encode(msgspec.structs.replace(real, sealed=b"\x80" * 90)), None, "altered"),
        (msgspec.msgpack.encode(msgspec.structs.replace(real, received_ms=0)), None, "altered"),
    ]
    await member.queue._cluster.look()
    await _limit(member, member.topic.settings.topic, 1_000_000)
    for value, key, _ in values:
        await member.topic.write(value, key)
    await member.allow()
    taking = asyncio.create_task(member.queue.take(9))
    await until(lambda: member.queue.dead.total() == len(values))
    taking.cancel()
    assert (await member.statuses([request_id]), await member.rows("queue")) == (["pending"], 1)
    async with member.working():
        await member.until_logged(request_id, status="allowed", callback="delivered")
        await member.settled()
    dead = await member.topic.dead()
    assert sorted(one["reason"] for one in dead) == sorted(why for *_, why in values)
    assert {one["source_topic"] for one in dead} == {member.topic.settings.topic}
    places = {(one["source_partition"], one["source_offset"]) for one in dead}
    assert len(places) == len(values), "each says where it stood"
    assert all(one["sentence"].endswith(".") for one in dead)
    assert {one.get("request_id") for one in dead if one["reason"] == "altered"} == {request_id}
    assert {one.get("request_id") for one in dead if one["reason"] == "unknown_request"} == {None}
    (large,) = [one for one in dead if one.get("cut_from_bytes") == "900000"]
    records = await member.topic.read(member.topic.settings.dead_topic)
    assert max(len(one.value or b"") for one in records) == 65_536 and large
    assert member.queue.dead.total() == len(values)


@pytest.mark.parametrize("kind", ["another key", "no message", "bad fields"])
async def test_a_request_of_ours_that_is_poison_is_invalid_and_put_aside(member: Member, kind: str) -> None:
    request_id = await member.request()
    one = await own(member)
    secrets = Secrets(request_id=request_id, driver_token=TOKEN, callback_url=member.hook())
    other_key = Sealer(PEPPER, b"A" * 43 + b"=").seal(secrets)
    short = Sealer(PEPPER, SEAL_KEY).seal(msgspec.structs.replace(secrets, driver_token="short"))
    await replace(
        member,
        {
            "another key": msgspec.msgpack.encode(msgspec.structs.replace(one, sealed=other_key)),
            "no message": b"\xc1 no message",
            "bad fields": msgspec.msgpack.encode(msgspec.structs.replace(one, sealed=short)),
        }[kind],
    )
    reason = "bad_fields" if kind == "bad fields" else "unreadable"
    async with member.working():
        entry = await member.until_logged(
            request_id, status="invalid", callback="delivered" if kind == "bad fields" else "dead"
        )
        await member.settled()
    assert entry["reason"] == reason
    assert [body["status"] for body in member.receiver.bodies()] == (["invalid"] if kind == "bad fields" else [])
    (dead,) = await member.topic.dead()
    assert (dead["reason"], dead["request_id"]) == (reason, request_id)


@one_database
async def test_killed_before_it_is_put_aside_it_still_is(
    make_member: MakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await make_member()
    request_id = await member.request()
    await replace(member, b"\xc1 no message")
    await member.relay()
    with monkeypatch.context() as patched:

        async def kill(*_: Any) -> None:
            raise ZeroDivisionError

        patched.setattr(member.queue, "_bury", kill)
        with pytest.raises(ZeroDivisionError):
            await member.decide()
    assert await member.statuses([request_id]) == ["invalid"]
    await member.crash()
    other = await make_member()
    async with other.working():
        await other.settled()
    assert [one["reason"] for one in await member.topic.dead()] == ["unreadable"]
    assert other.concern.worker.decisions.total() == 0


@one_database
async def test_while_nothing_can_be_put_aside_nothing_is_skipped(member: Member) -> None:
    await member.relay()
    await _limit(member, member.topic.settings.dead_topic, 1)
    for number in range(3):
        await member.topic.write(b"no message %d" % number)
    request_id = await member.request()
    async with member.working():
        await until(lambda: "dead_letters" in member.queue._troubles._now)
        said = member.queue._troubles._now["dead_letters"]
        assert "max.message.bytes" in said and member.queue.state == "disconnected"
        assert await member.topic.behind() >= 3 and await member.topic.dead() == []
        assert (await member.concern.backlog()).undecided <= 1
        await _limit(member, member.topic.settings.dead_topic, 1_000_000)
        await member.until_logged(request_id, callback="delivered")
        await member.settled()
        await until(lambda: not member.queue._troubles._now)
    assert [one["reason"] for one in await member.topic.dead()] == ["unreadable"] * 3


@one_database
async def test_a_dead_topic_that_takes_80_kib_takes_whatever_comes(member: Member) -> None:
    await member.relay()
    await _limit(member, member.topic.settings.topic, 1_000_000)
    await _limit(member, member.topic.settings.dead_topic, 81_920)
    await member.topic.write(b"v" * 300_000, b"k" * 300_000)
    async with member.working():
        await until(lambda: member.queue.dead.total() == 1)
        await member.settled()
    (one,) = await member.topic.read(member.topic.settings.dead_topic)
    assert (len(one.value), len(one.key)) == (65_536, 1_024)


@one_database
@pytest.mark.parametrize("name", ["topic", "dead_topic"])
async def test_a_topic_made_here_takes_nothing_that_unpacks_to_more_than_a_message(member: Member, name: str) -> None:
    """300 bytes of a stranger's are hundreds of kilobytes here, 10,000 would be hundreds of megabytes."""
    await member.queue._cluster.look()
    topic = getattr(member.topic.settings, name)
    async with AIOKafkaProducer(
        bootstrap_servers=member.topic.address, compression_type="gzip", max_batch_size=1_000_000
    ) as producer:
        batch = producer.create_batch()
        for _ in range(3):
            batch.append(key=None, value=bytes(100_000), timestamp=None)
        with pytest.raises(KafkaError) as caught:
            await (await producer.send_batch(batch, topic, partition=0))
    assert batch.size() < 2_000 and is_too_large(caught.value)
    assert await member.topic.read(topic) == []


@one_database
async def test_a_relay_that_fails_ends_no_dead_letter_that_is_under_way(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    await member.relay()
    await member.topic.write(b"no message")
    burying, failed = asyncio.Event(), asyncio.Event()
    send = AIOKafkaProducer.send

    async def gated(producer: AIOKafkaProducer, topic: str, *more: Any, **named: Any) -> Any:
        if topic == member.topic.settings.dead_topic:
            burying.set()
            await failed.wait()
        elif not failed.is_set():
            raise KafkaTimeoutError
        return await send(producer, topic, *more, **named)

    monkeypatch.setattr(AIOKafkaProducer, "send", gated)
    with structlog.testing.capture_logs() as lines:
        async with member.working():
            await burying.wait()
            request_id = await member.request()
            await until(lambda: "relay" in member.queue._troubles._now)
            failed.set()
            await member.until_logged(request_id, callback="delivered")
            await member.settled()
    assert {one["at"] for one in lines if one["event"] == "authority.kafka_trouble"} == {"relay"}
    assert (len(await member.topic.dead()), member.queue.dead.total()) == (1, 1)


@one_database
async def test_a_request_that_is_too_large_for_the_topic_waits_and_the_others_go_on(
    member: Member, caplog: pytest.LogCaptureFixture
) -> None:
    await member.relay()
    await _limit(member, member.topic.settings.topic, 1_500)
    large = await member.request(callback_url=member.hook("/" + "x" * 1_900))
    small = await member.request()
    async with member.working():
        await member.until_logged(small, callback="delivered")
        await until(lambda: "size" in member.queue._troubles._now)
        assert await member.statuses([large]) == ["pending"]
        await _limit(member, member.topic.settings.topic, 100_000)
        member.clock.advance(301)
        await member.until_logged(large, callback="delivered")
        await until(lambda: member.queue.state == "connected")


async def _limit(member: Member, topic: str, size: int) -> None:
    """What the topic takes; once the broker says so itself."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(size)})
    await member.topic.admin(lambda client: client.alter_configs([resource]))

    async def known() -> bool:
        asked = ConfigResource(ConfigResourceType.TOPIC, topic)
        (told,) = await member.topic.admin(lambda client: client.describe_configs([asked]))
        settings = {one[0]: one[1] for one in told.resources[0][4]}
        return bool(settings["max.message.bytes"] == str(size))

    await until(known)


@one_database
async def test_tokens_and_addresses_are_sealed_on_the_topic_and_put_aside_sealed(member: Member) -> None:
    request_id = await member.request()
    await member.relay()
    sealed = await own(member)
    await member.topic.write(msgspec.msgpack.encode(msgspec.structs.replace(sealed, station_id=STATION[::-1])))
    async with member.working():
        await member.until_logged(request_id, callback="delivered")
        await member.settled()
    settings = member.topic.settings
    seen = b""
    for name in (settings.topic, settings.dead_topic):
        for one in await member.topic.read(name):
            seen += one.value + (one.key or b"") + b"".join(text for _, text in one.headers)
    seen += await everything(member.database)
    assert request_id.encode() in seen
    assert TOKEN.encode() not in seen and b"/hook" not in seen
