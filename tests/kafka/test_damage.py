"""Brokers that answer nonsense, at the first question or in the middle of the work: each time it is a trouble that is
told and tried again, and never the end of the publisher or of a sidecar.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import pytest

from evcharge.events import admin, faults, kept, outlet
from evcharge.events.message import Message
from evcharge.events.outlet import RealKafka
from evcharge.events.position import Position
from evcharge.events.settings import PublisherSettings
from evcharge.events.troubles import Fenced, TooLarge, Trouble
from evcharge.net.kafka import KafkaSettings, client_arguments
from evcharge.net.kafka_client import quiet
from evcharge.sidecar.authority.kafka import fate, troubles
from evcharge.sidecar.authority.kafka.cluster import Cluster
from evcharge.sidecar.authority.kafka.reader import Reader
from evcharge.sidecar.authority.kafka.settings import QueueKafka
from tests.kafka.conftest import MakeBroker
from tests.kafka.damage import CLIENT, Way
from tests.support.ports import free_port

ROUNDS = 14
SHARES = (0.03, 0.06, 0.1, 0.2)
# An end that a round may need at most, in seconds.
ROUND_S = 40.0
MESSAGES = [
    Message(seq=seq, digest=b"d" * 32, key=b"k%d" % seq, value=b"{}", headers=(("log", b"site"), ("seq", b"%d" % seq)))
    for seq in range(1, 20)
]


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is never answered is given up soon."""
    for module, limits in (
        (outlet, {"REQUEST_MS": 800, "OPEN_S": 2.5, "COMMIT_S": 2.0, "CLOSE_S": 0.3}),
        (kept, {"REQUEST_MS": 800, "STALL_S": 2.0, "CLOSE_S": 0.3}),
        (admin, {"ASK_MS": 800, "CLOSE_S": 0.3}),
        (faults, {"LOOK_S": 1.0}),
    ):
        for name, limit in limits.items():
            monkeypatch.setattr(module, name, limit)


@pytest.mark.timeout(240)
async def test_answers_that_are_none_end_nothing(make_broker: MakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet()
    # What the client leaves behind of itself is not what is looked for here.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    port, way_port = free_port(), free_port()
    address = f"127.0.0.1:{way_port}"
    way = Way(port)
    async with way.open(way_port):
        broker = make_broker(port=port, properties={"advertised.listeners": f"CLIENTS://{address}"})
        await broker.start()
        settings = PublisherSettings(kafka=KafkaSettings(brokers=[address]))
        queue = QueueKafka(brokers=[address], patience_s=1.0, session_s=2.0)
        arguments = client_arguments(settings.kafka, {}, CLIENT)
        kafka = RealKafka(settings, lambda: arguments)
        # The first time it makes its own topics, for which a busy broker may take seconds.
        await work(kafka, QueueKafka(brokers=[address]), arguments, lambda: None, allowed=())
        impatient(monkeypatch)
        for seed in range(ROUNDS):
            way.random = Random(seed)
            share = way.random.choice(SHARES)

            def damaging(share: float = share) -> None:
                way.share = share

            if seed % 2:
                damaging()
            async with asyncio.timeout(ROUND_S):
                await work(kafka, queue, arguments, damaging)
            way.share = 0.0
    assert way.damaged > 2 * ROUNDS


async def work(
    kafka: RealKafka,
    queue: QueueKafka,
    arguments: dict[str, object],
    begun: Callable[[], None],
    allowed: tuple[type[Exception], ...] = (Trouble, Fenced, TooLarge, troubles.Trouble),
) -> None:
    """Everything that asks a broker for something; ``begun`` is called in the middle."""

    async def publish() -> None:
        opened = await kafka.open()
        begun()
        try:
            for _ in range(3):
                await opened.publish(MESSAGES, Position(seq=19))
            await opened.alive()
        finally:
            await opened.close()

    async def relay() -> None:
        cluster = Cluster(queue, arguments)
        try:
            await cluster.look()
            for _ in range(3):
                await cluster.send(queue.topic, [fate.Message(value=b"x", key=b"k")] * 3)
                await cluster.look()
        finally:
            await cluster.close()

    async def read() -> None:
        reader = Reader(queue, arguments)
        try:
            await reader.join()
            for _ in range(2):
                await reader.fetch(10)
                reader.done(list(reader.held))
                await reader.commit()
        finally:
            await reader.close()

    steps: list[Callable[[], Awaitable[object]]] = [publish, relay, read, kafka.read_kept]
    for step in (*steps, lambda: kafka.newest_published(6, thorough=True)):
        with suppress(*allowed):
            await step()
    await kafka.look()
    await kafka.unwritable()
