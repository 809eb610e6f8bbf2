"""A publisher over a Kafka in memory and a log in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from evcharge.events.publisher import Publisher
from evcharge.events.settings import PublisherSettings
from evcharge.net.clock import SystemClock
from evcharge.net.kafka import KafkaSettings
from tests.events.model_kafka import ModelKafka
from tests.support.log_central import EACH, Log

# Turns of the loop until something has to be true.
TURNS = 10_000
# How many of them a pause of one second is.
TURNS_A_SECOND = 8


class Running:
    """A publisher that runs, and everything it needs."""

    def __init__(self, log: Log, kafka: ModelKafka, instance: str = "one", after_seq: int | None = None) -> None:
        given = PublisherSettings(kafka=KafkaSettings(brokers=["x:1"]), pace_s=0, after_seq=after_seq)
        self.pauses: list[float] = []
        self.log = log
        self.stop = asyncio.Event()
        self.publisher = Publisher(
            given, log, kafka, instance=instance, stop=self.stop, clock=SystemClock(), pause=self._turn
        )
        self.task = asyncio.create_task(self.publisher.run())

    async def until(self, fact: Callable[[], bool]) -> None:
        for _ in range(TURNS):
            if fact():
                return
            await asyncio.sleep(0)
        raise AssertionError(self.publisher.board.troubles)

    async def done(self) -> None:
        """It published everything there is."""
        log, tally = self.log, self.publisher.tally
        await self.until(lambda: tally.published_seq == log.newest and tally.lag == 0 and tally.kafka_connected)
        await self.until(lambda: not self.publisher.board.troubles)

    async def end(self) -> None:
        self.stop.set()
        await self.task

    async def kill(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _turn(self, seconds: float) -> None:
        self.pauses.append(seconds)
        for _ in range(max(1, round(seconds * TURNS_A_SECOND))):
            await asyncio.sleep(0)


def check(kafka: ModelKafka, first: int, last: int, known_from: int = 1) -> None:
    """Each once, and in order: the model commits whole transactions one after the other. Those of charges that began
    before ``known_from`` name no charge point.
    """
    assert [seq for _, seq, _ in kafka.events] == list(range(first, last + 1))
    for key, seq, _ in kafka.events:
        assert key == (b"CP-%d" % ((seq - 1) // EACH % 10) if seq >= known_from else b"*")
