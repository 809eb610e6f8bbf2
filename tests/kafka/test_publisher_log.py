"""The publisher against a real broker, where Central's log or the topic of positions is not what it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol import messages as m
from tests.kafka.broker import Broker
from tests.kafka.reading import check_exactly_once
from tests.kafka.test_publisher import Stand, check_log, delete_topic, own_topics
from tests.support.log_central import CHARGE_POINTS, EACH, Log, LogCentral, bodies


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with LogCentral(Log()) as central:
        made = Stand(tmp_path, central)
        yield made
        for process in made.started:
            if process.returncode is None:
                process.kill()


async def test_who_points_at_the_wrong_central_does_not_end_the_right_one(stand: Stand, broker: Broker) -> None:
    own = own_topics("wrong")
    stand.log.grow(100)
    right = stand.publisher(broker.address, *own)
    await stand.published(right)
    other = Log()
    other.bodies = list(bodies(300, name="other"))
    async with LogCentral(other) as elsewhere:
        wrong = stand.publisher(broker.address, *own, "--central", f"127.0.0.1:{elsewhere.port}")
        assert "is another one" in await stand.told(wrong, "other_log")
        # It was turned away while it had nothing to write, and hears of it now.
        stand.log.grow(100)
        await stand.published(right)
        refused = len(right.logged("events.fenced"))
        assert refused <= 1
        # On a new channel it looks again, and turns nobody away.
        asked = len(elsewhere.received)
        elsewhere.cut()
        await stand.until(lambda: any(_follows(message) for _, message in elsewhere.received[asked:]))
        stand.log.grow(100)
        await stand.published(right)
        assert len(right.logged("events.fenced")) == refused
        await stand.stop(wrong)
    check_exactly_once(await stand.read(broker.address, "wrong.events"), 300)
    await stand.stop(right)


async def test_a_number_behind_the_end_of_the_log_is_not_stored(stand: Stand, broker: Broker) -> None:
    own = own_topics("typo")
    stand.log.grow(20)
    mistaken = stand.publisher(broker.address, *own, "--after", 500)
    assert "the newest record of Central's log, 20" in await stand.told(mistaken, "after_ahead")
    await stand.stop(mistaken)
    right = stand.publisher(broker.address, *own)
    await stand.published(right)
    assert not right.logged("events.after_ignored")
    check_exactly_once(await stand.read(broker.address, "typo.events"), 20)
    await stand.stop(right)


async def test_a_charge_keeps_its_key_where_the_positions_are_deleted(stand: Stand, broker: Broker) -> None:
    own = own_topics("forgotten")
    # Both times in the middle of a charge.
    stand.log.grow(EACH + EACH // 2)
    publisher = stand.publisher(broker.address, *own)
    await stand.published(publisher)
    await delete_topic(broker.address, "forgotten.positions")
    stand.log.grow(2)
    await stand.published(publisher)
    await stand.stop(publisher)
    stand.log.grow(EACH)
    again = stand.publisher(broker.address, *own)
    await stand.published(again)
    found = await stand.read(broker.address, "forgotten.events")
    check_exactly_once(found, stand.log.newest)
    assert all(each.key == f"CP-{(each.seq - 1) // EACH % CHARGE_POINTS}" for each in found)
    await stand.stop(again)
    check_log(again)


def _follows(message: m.Message) -> bool:
    """It was told how far the log goes, and waits for records."""
    return isinstance(message, m.Follow) and message.wait_ms > 0
