"""The same question under way is asked once, and everybody gets its answer."""

from __future__ import annotations

import asyncio

import pytest

from evcharge.net.answers import CentralAway
from evcharge.sidecar.gateway.central import Central
from evcharge.sidecar.web.problem import Problem
from protocol import messages as m
from tests.sidecar.gateway.support import FakeLink


class SlowLink(FakeLink):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def ask(self, message: m.Message, timeout_s: float = 1.0) -> m.Reply:
        self.asked.append(message)
        await self.go.wait()
        said = self.says(message)
        if isinstance(said, Exception):
            raise said
        return said


def wish(percent: float = 35.0) -> m.Recommend:
    return m.Recommend(id=0, battery_percent=percent, weights=m.Weights(cost=1.0))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_same_is_asked_once_and_another_is_asked_too() -> None:
    link = SlowLink()
    central = Central(link, 5.0)
    asked = [asyncio.create_task(central.ask_shared(wish())) for _ in range(4)]
    other = asyncio.create_task(central.ask_shared(wish(36.0)))
    await turns()
    asked[0].cancel()
    await turns()
    link.go.set()
    answers = await asyncio.gather(*asked[1:], other)
    assert len(answers) == 4
    assert link.asked == [wish(), wish(36.0)]
    await central.ask_shared(wish())
    assert link.asked[2:] == [wish()], "an answer is not kept"


async def test_its_failure_is_everybodys() -> None:
    link = SlowLink()
    link.fail(CentralAway("gone"))
    central = Central(link, 5.0)
    asked = [asyncio.create_task(central.ask_shared(wish())) for _ in range(3)]
    await turns()
    link.go.set()
    for task in asked:
        with pytest.raises(Problem):
            await task
    link.say(session_id="s")
    assert (await central.ask_shared(wish())).session_id == "s"
