"""From a request to its decision over the topic, step by step; and killed between every two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from evcharge.sidecar.authority.acl import Asked
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.tables import Reason
from tests.kafka.authority.conftest import MakeMember, Member, Topic, until
from tests.sidecar.authority.conftest import STATION, TOKEN, MakePlace, Place
from tests.sidecar.conftest import one_database


class Killed(Exception):
    """Here the process ends."""


async def test_a_request_goes_over_the_topic_and_its_callback_comes(member: Member) -> None:
    await member.allow()
    async with member.working():
        request_id = await member.request()
        await until(lambda: bool(member.receiver.got))
        await member.settled()
    assert [body["status"] for body in member.receiver.bodies()] == ["allowed"]
    assert (await member.topic.requests(), await member.topic.dead()) == ([request_id], [])
    assert member.queue.state == "connected"


# What the process that is killed does next, by the object and its method.
STEPS: dict[str, Callable[[Member], tuple[object, str]]] = {
    "relayed": lambda member: (member.queue.relay, "step"),
    "marked as relayed": lambda member: (member.queue._outbox, "relayed"),
    "taken": lambda member: (member.queue._outbox, "known"),
    "decided": lambda member: (member.concern.worker._requests, "decide"),
    "acknowledged": lambda member: (member.queue, "ack"),
    "deleted": lambda member: (member.queue._outbox, "remove"),
    "committed": lambda member: (member.queue._reader, "done"),
}


async def test_killed_before_any_step_it_is_decided_once_and_told(
    make_member: MakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await make_member()
    ids: list[str] = []
    decisions = 0
    for step, found in STEPS.items():
        ids.append(await member.request())
        with monkeypatch.context() as patched:

            def kill(*_: Any, **__: Any) -> None:
                raise Killed

            patched.setattr(*found(member), kill)
            with pytest.raises(Killed):
                await member.relay()
                await member.decide()
        decisions += member.concern.worker.decisions.total()
        assert await member.rows("queue") == (0 if step == "committed" else 1), step
        await member.crash()
        member = await make_member()
        await member.relay()
        # Until the group is told as well: what comes again would be the first that the next one settles.
        going_on = asyncio.create_task(_decide_all(member))
        await member.settled()
        going_on.cancel()
        await asyncio.wait([going_on])
        assert (await member.rows("queue"), await member.rows("callbacks")) == (0, len(ids)), step
    decisions += member.concern.worker.decisions.total()
    assert await member.statuses(ids) == ["not_allowed"] * len(STEPS)
    async with member.working():
        await member.settled()
        await until(lambda: len(member.receiver.got) == len(STEPS))
    assert sorted(body["request_id"] for body in member.receiver.bodies()) == sorted(ids)


async def _decide_all(member: Member) -> None:
    while True:
        await member.concern.worker.step()


async def test_copies_on_the_topic_are_one_decision(member: Member) -> None:
    request_id = await member.request()
    await member.relay()
    ((copy,),) = [[one.value for one in await member.topic.read(member.topic.settings.topic)]]
    await member.topic.write(copy, request_id.encode(), times=4)
    await member.decide()
    before = await member.logged(request_id)
    await member.allow()
    await member.topic.write(copy, None, times=2)
    async with member.working():
        await member.settled()
    assert (await member.logged(request_id))["decided_at"] == before["decided_at"]
    assert member.concern.worker.decisions == {"not_allowed": 1}
    assert await member.topic.dead() == []


@one_database
async def test_the_oldest_come_first_and_again_until_they_are_acknowledged(make_member: MakeMember) -> None:
    topic_of_one = await make_member(partitions=1)
    ids = [await topic_of_one.request() for _ in range(5)]
    await topic_of_one.relay()
    queue = topic_of_one.queue
    async with asyncio.timeout(20):
        first = await queue.take(3)
        assert [one.request_id for one in first] == ids[:3] == [one.request_id for one in await queue.take(3)]
        await queue.ack(first[1:])
        assert [one.request_id for one in await queue.take(9)] == [ids[0]]
        await queue.ack(first[:1])
        assert [one.request_id for one in await queue.take(9)] == ids[3:]


@one_database
async def test_what_stands_behind_one_that_is_not_done_with_is_not_committed(make_member: MakeMember) -> None:
    member = await make_member(partitions=1)
    ids = [await member.request() for _ in range(3)]
    await member.relay()
    async with asyncio.timeout(20):
        await member.queue.ack((await member.queue.take(3))[1:])
        await member.crash()
        other = await make_member(partitions=1)
        again = await other.queue.take(9)
    assert again[0].request_id == ids[0]


async def test_two_members_share_the_work(make_member: MakeMember) -> None:
    one, other = await make_member(), await make_member()

    async def all_told() -> bool:
        # Only the one who serves the database tells, and nobody rings there for what the other has decided.
        one.concern.sender.ring()
        return len(one.receiver.got) == 30

    await one.relay()
    async with one.working(), other.deciding():
        await until(lambda: all(len(_parts(each)) == 1 for each in (one, other)))
        ids = [await (one if number % 2 else other).request(f"{TOKEN}{number}") for number in range(30)]
        await until(all_told)
        await one.settled()
    assert await one.statuses(ids) == ["not_allowed"] * 30
    mine, theirs = one.concern.worker.decisions.total(), other.concern.worker.decisions.total()
    assert mine + theirs == 30 and mine and theirs
    assert sorted(body["request_id"] for body in one.receiver.bodies()) == sorted(ids)


def _parts(member: Member) -> set[TopicPartition]:
    consumer = member.queue._reader._consumer
    return set() if consumer is None else set(consumer.assignment())


class Gate:
    """An authority that answers when it is opened."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()

    async def check(self, asked: Sequence[Asked], now_ms: int) -> Sequence[Reason]:
        self.asked.set()
        await self.open.wait()
        return [Reason.LISTED for _ in asked]


async def test_a_rebalance_while_a_batch_is_decided_loses_nothing_and_decides_nothing_twice(
    make_member: MakeMember,
) -> None:
    gate = Gate()
    slow = await make_member(place={"authority": gate, "settings": AuthoritySettings(check_s=60)})
    ids = [await slow.request(f"{TOKEN}{number}") for number in range(12)]
    await slow.relay()
    deciding = asyncio.create_task(slow.concern.worker.step())
    await gate.asked.wait()
    other = await make_member()
    async with other.deciding():
        await until(lambda: len(_parts(slow)) == len(_parts(other)) == 1)
        assert not deciding.done()
        gate.open.set()
        await deciding
        async with slow.deciding():
            await slow.settled()
    assert set(await slow.statuses(ids)) <= {"allowed", "not_allowed"}
    assert slow.concern.worker.decisions.total() + other.concern.worker.decisions.total() == 12


@one_database
async def test_what_the_topic_lost_is_relayed_again(make_member: MakeMember) -> None:
    """By its retention, an operator or a broker's disk, while nobody looked: the row is still there."""
    member = await make_member(look_s=60.0)
    request_id = await member.request()
    await member.relay()
    await member.topic.delete()
    await until(member.topic.make)
    await member.relay()
    assert await member.topic.requests() == []
    member.clock.advance(301)
    async with member.working():
        await member.until_logged(request_id, callback="delivered")
        await member.settled()
    assert member.concern.worker.decisions.total() == 1


@one_database
async def test_what_went_to_the_topic_long_ago_and_is_not_decided_is_said_until_it_is(member: Member) -> None:
    """A client that is given nothing to read says nothing."""
    ids = [await member.request() for _ in range(3)]
    await member.relay()
    assert member.queue.state == "connected"
    member.clock.advance(301)
    await member.relay()
    assert (member.queue.state, set(member.queue._troubles._now)) == ("disconnected", {"undecided"})
    async with member.working():
        await until(lambda: member.queue.state == "connected")
        await member.settled()
    assert await member.statuses(ids) == ["not_allowed"] * 3


@one_database
async def test_what_another_relayed_before_is_relayed_again_without_a_word(make_member: MakeMember) -> None:
    before = await make_member()
    await before.request()
    await before.relay()
    await before.crash()
    before.clock.advance(301)
    member = await make_member()
    await member.relay()
    assert len(await member.topic.requests()) == 2 and member.queue.state == "connected"


async def test_kafka_is_switched_on_and_off_and_on(
    make_member: MakeMember, make_place: MakePlace, topic: Topic
) -> None:
    without: Place = await make_place()
    before = await without.request()
    member = await make_member()
    await member.relay()
    assert await topic.requests() == [before], "what waited in the table is relayed"
    relayed = await member.request()
    await member.relay()
    await member.crash()
    without = await make_place()
    await without.concern.worker.step()
    assert {(await without.logged(one))["status"] for one in (before, relayed)} == {"not_allowed"}
    assert without.concern.worker.decisions.total() == 2, "what is on the topic alone is decided"
    again = await make_member()
    last = await again.request()
    async with again.working():
        await again.settled()
    assert again.concern.worker.decisions == {"not_allowed": 1}
    assert sorted(await topic.requests()) == sorted([before, relayed, last])
    assert await topic.dead() == []


@one_database
async def test_what_is_on_the_topic_still_counts(make_member: MakeMember) -> None:
    member = await make_member(most=2)
    body = {"station_id": STATION, "driver_token": TOKEN, "callback_url": member.hook()}
    await member.request()
    await member.relay()
    await member.request()
    status, said, _ = await member.ask("POST", "/api/chargingRequestValidator/", json=body)
    assert (status, said["code"]) == (503, "queue_full")
    assert (await member.concern.backlog())[:2] == (2, 1)
    await member.relay()
    assert (await member.concern.backlog())[:2] == (2, 0)
    async with member.working():
        await member.settled()
    assert (await member.concern.backlog())[:2] == (0, 0)
    await member.request()
