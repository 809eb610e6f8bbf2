"""How the publisher waits: its end is heard at any moment, and nobody's task dies alone."""

from __future__ import annotations

import asyncio

import pytest

from evcharge.events import waiting
from evcharge.events.together import together
from evcharge.events.troubles import Board, Kind, Trouble
from evcharge.events.waiting import Waiting
from tests.events.model_kafka import ModelKafka


async def _never() -> None:
    await asyncio.Event().wait()


class Slow(ModelKafka):
    """Brokers that take connections and say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def look(self) -> Trouble | None:
        self.asked.set()
        await _never()
        return None


async def test_the_end_is_heard_while_brokers_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TELL_S", 0.0)
    stop, kafka = asyncio.Event(), Slow()
    work = asyncio.ensure_future(Waiting(stop, kafka, Board()).patiently(_never()))
    await kafka.asked.wait()
    stop.set()
    # Nothing is written, so there is nothing to wait for either.
    await asyncio.wait_for(work, 5)


async def test_what_is_written_is_finished_at_the_end() -> None:
    stop, may = asyncio.Event(), asyncio.Event()

    async def write() -> str:
        await may.wait()
        return "written"

    work = asyncio.ensure_future(Waiting(stop, ModelKafka(), Board()).patiently(write(), writing=True))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.sleep(0)
    may.set()
    assert await work == "written"


async def test_what_takes_nothing_is_told_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TELL_S", 0.0)
    kafka, board, may = ModelKafka(), Board(), asyncio.Event()

    async def unsafe() -> Trouble:
        may.set()
        return Trouble(Kind.KAFKA_UNSAFE, "Too few.")

    async def write() -> str:
        await may.wait()
        while not board.troubles:
            await asyncio.sleep(0)
        return "written"

    monkeypatch.setattr(kafka, "unwritable", unsafe)
    assert await Waiting(asyncio.Event(), kafka, board).patiently(write(), writing=True) == "written"
    assert [each.kind for each in board.troubles] == [Kind.KAFKA_UNSAFE]


async def test_work_that_somebody_else_cancelled_is_a_trouble() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(Trouble, match="gave up"):
        await Waiting(asyncio.Event(), ModelKafka(), Board()).patiently(cancelled())


async def test_of_tasks_that_belong_together_none_outlives_the_others() -> None:
    ended: list[str] = []

    async def beside() -> None:
        try:
            await _never()
        finally:
            ended.append("beside")

    async def work() -> None:
        await asyncio.sleep(0)
        ended.append("work")

    await together(work(), beside())
    assert ended == ["work", "beside"]

    async def broken() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await together(_never(), broken())
    with pytest.raises(RuntimeError, match="nobody asked"):
        await together(_never(), work())
