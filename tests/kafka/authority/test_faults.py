"""Brokers that are away, killed, frozen, that forget a topic or refuse a password: requests are accepted and wait."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import TopicAuthorizationFailedError

from evcharge.sidecar.authority.kafka.fate import Message
from tests.kafka.authority.conftest import MakeMember, Member, Topic, until
from tests.kafka.broker import Broker
from tests.kafka.conftest import MakeBroker
from tests.kafka.noise import silence
from tests.sidecar.conftest import one_database

USER = "evcharge"
# How long one answer may take here, in seconds: a frozen broker is noticed after it.
PATIENCE_S = 1.0


def said(lines: list[Any]) -> list[tuple[str, str, str | None]]:
    """What an operator reads of it: event, place, sentence."""
    return [(one["event"], one["at"], one.get("sentence")) for one in lines if "at" in one]


async def state(member: Member, wanted: str) -> None:
    await until(lambda: member.queue.state == wanted)


@one_database
@pytest.mark.tool
@pytest.mark.timeout(240)
async def test_away_at_the_start_killed_frozen_and_without_its_topic(
    make_member: MakeMember, make_broker: MakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker: Broker = make_broker()
    topic = Topic(broker.address)
    async with silence():
        member = await make_member(topic, patience_s=PATIENCE_S)
        await _survive(member, broker)
        await member.queue.close()
    noise = [one for one in caplog.records if one.name.startswith(("aiokafka", "asyncio"))]
    assert not [one.getMessage() for one in noise if one.levelno >= logging.WARNING]


async def _survive(member: Member, broker: Broker) -> None:
    ids: list[str] = []

    async def ask(count: int = 1) -> None:
        ids.extend([await member.request() for _ in range(count)])

    async def decided() -> None:
        await until(lambda: _decided(member, ids))
        await until(lambda: member.queue.state == "connected")

    with structlog.testing.capture_logs() as lines:
        async with member.working():
            await ask(2)
            await until(lambda: {at for _, at, _ in said(lines)} == {"relay", "reading"})
            assert member.queue.state == "disconnected"
            assert await member.statuses(ids) == ["pending"] * 2
            assert (await member.concern.backlog())[:2] == (2, 2)
            away = f"The brokers {broker.address} do not answer; start them, or correct their addresses."
            assert {sentence for _, _, sentence in said(lines)} == {away}
            await broker.start()
            await decided()

            broker.kill()
            await state(member, "disconnected")
            await ask()
            assert (await member.concern.backlog()).undecided == 1
            await broker.start()
            await decided()

            broker.freeze()
            try:
                await ask()
                await state(member, "disconnected")
            finally:
                broker.thaw()
            await decided()

            await member.topic.delete()
            await ask()
            await decided()
    assert member.concern.worker.decisions == {"not_allowed": len(ids)}
    told = said(lines)
    for at in ("relay", "reading"):
        mine = [one for one in told if one[1] == at]
        assert [one[0].removeprefix("authority.kafka_") for one in mine] == ["trouble", "well"] * (len(mine) // 2), mine


async def _decided(member: Member, ids: list[str]) -> bool:
    return "pending" not in await member.statuses(ids)


async def _ended(*_: Any, **__: Any) -> Any:
    raise asyncio.CancelledError


async def _hangs(*_: Any, **__: Any) -> Any:
    await asyncio.get_running_loop().create_future()


async def _refused(*_: Any, **__: Any) -> Any:
    raise TopicAuthorizationFailedError("requests")


@one_database
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [(_refused, "do not allow to read"), (_hangs, "do not answer"), (_ended, "do not answer")],
)
async def test_a_member_that_is_given_nothing_says_so_once_and_goes_on(
    make_member: MakeMember, monkeypatch: pytest.MonkeyPatch, fault: Any, sentence: str
) -> None:
    """May join and not read; in a group that does not get its shares; with a client that ends by itself."""
    member = await make_member(patience_s=PATIENCE_S)
    calls = 0
    getmany = AIOKafkaConsumer.getmany

    async def failing(consumer: AIOKafkaConsumer, *more: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return await (fault if calls <= 3 else getmany)(consumer, *more, **named)

    async with member.working():
        first = await member.request()
        await member.until_logged(first, callback="delivered")
        # To become a member may take longer than such a patience, and then that is said too.
        await state(member, "connected")
        with structlog.testing.capture_logs() as lines:
            monkeypatch.setattr(AIOKafkaConsumer, "getmany", failing)
            request_id = await member.request()
            await until(lambda: calls > 3)
            await until(lambda: _decided(member, [request_id]))
            await state(member, "connected")
    (trouble, well) = [one for one in said(lines) if one[1] == "reading"]
    assert (trouble[0], well[0]) == ("authority.kafka_trouble", "authority.kafka_well")
    assert trouble[2] is not None and sentence in trouble[2]


@one_database
async def test_what_was_on_a_topic_that_is_deleted_is_relayed_to_its_successor(member: Member) -> None:
    ids = [await member.request() for _ in range(3)]
    await member.relay()
    assert sorted(await member.topic.requests()) == sorted(ids)
    await member.topic.delete()
    async with member.working():
        await until(lambda: _decided(member, ids))
        await member.settled()
    assert set(ids) <= set(await member.topic.requests())
    assert member.concern.worker.decisions.total() == 3


@one_database
async def test_a_password_that_is_refused_is_said_and_charging_requests_wait(
    make_member: MakeMember, make_broker: MakeBroker
) -> None:
    mechanism = "listener.name.clients.scram-sha-512.sasl.jaas.config"
    broker: Broker = make_broker(
        protocol="SASL_PLAINTEXT",
        properties={
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            mechanism: "org.apache.kafka.common.security.scram.ScramLoginModule required"
            f' username="{USER}" password="right";',
        },
        formatting=["--add-scram", f"SCRAM-SHA-512=[name={USER},password=right]"],
    )
    await broker.start()
    wrong = Topic(broker.address)
    wrong.settings = msgspec.structs.replace(
        wrong.settings, security="SASL_PLAINTEXT", username=USER, password_env="WRONG"
    )
    member = await make_member(wrong)
    with structlog.testing.capture_logs() as lines:
        async with member.working():
            request_id = await member.request()
            await until(lambda: len(said(lines)) >= 2)
            await asyncio.gather(*(until(lambda at=at: _times(member, at)) for at in ("relay", "reading")))
            assert (await member.concern.backlog()).undecided == 1
    refused = f"The brokers {broker.address} refuse this name and password; set those that they know."
    assert {sentence for _, _, sentence in said(lines)} == {refused}
    assert len(said(lines)) == 2
    right = await make_member(wrong, password_env="PASSWORD")
    async with right.working():
        await right.until_logged(request_id, callback="delivered")


@one_database
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"\x00\x00\x00\x20\x00\x00\x00\x01" + b"\xff" * 28, "is no broker of Kafka's; correct the addresses."),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "do not answer; start them, or correct their addresses."),
    ],
)
async def test_what_is_no_broker_ends_nothing(make_member: MakeMember, answer: bytes, sentence: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    member = await make_member(Topic(address))
    async with server, member.working():
        request_id = await member.request()
        await asyncio.gather(*(until(lambda at=at: _times(member, at)) for at in ("relay", "reading")))
        assert await member.statuses([request_id]) == ["pending"]
    assert all(address in one and one.endswith(sentence) for one in member.queue._troubles._now.values())


@one_database
async def test_a_mistake_of_our_own_is_no_fault_of_the_brokers(member: Member) -> None:
    broken: Any = None
    with pytest.raises(TypeError, match="not iterable"):
        await member.queue._cluster.send(member.topic.settings.topic, [Message(value=b"x", headers=broken)])


def _times(member: Member, at: Any) -> bool:
    return at in member.queue._troubles._now
