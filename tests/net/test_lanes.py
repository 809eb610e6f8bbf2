"""The two lanes together, without a network: whose turn it is, and what happens while somebody is served."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from evcharge.net import lanes as lanes_module
from evcharge.net.lanes import ANSWERS_PER_TURN, Lanes, SlotLimits
from tests.support.clock import ManualClock


class Waiting:
    """Stands for an adapter whose HELLO is there."""

    def __init__(self, name: str, *, closed: bool = False) -> None:
        self.name = name
        self.source = ""
        self.conn = SimpleNamespace(closed=closed)


class Hall:
    def __init__(self, **limits: Any) -> None:
        self.clock = ManualClock()
        self.served: list[str] = []
        self.busy: list[str] = []
        self.on_serve: Any = lambda _who: None
        self.lanes = Lanes(SlotLimits(**limits), self.clock, serve=self._serve, busy=self._busy)
        self.clock.watch(self.lanes.timers)

    def ask(self, *who: Any, known: bool = False) -> None:
        for each in who:
            self.lanes.ask(each, known=known)

    def _serve(self, who: Any) -> None:
        self.served.append(who.name)
        self.on_serve(who)

    def _busy(self, who: Any) -> None:
        self.busy.append(who.name)
        who.conn.closed = True


async def test_the_lanes_take_turns_and_one_turn_of_the_loop_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall(known=50, unknown=50)
    monkeypatch.setattr(lanes_module, "ANSWERS_PER_TURN", 0)
    hall.ask(*[Waiting("known") for _ in range(20)], known=True)
    hall.ask(*[Waiting("unknown") for _ in range(20)])
    monkeypatch.undo()
    assert not hall.served
    await asyncio.sleep(0)
    assert hall.served == ["known", "unknown"] * (ANSWERS_PER_TURN // 2)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(hall.served) == 40
    hall.lanes.close()


async def test_who_is_gone_is_not_served_and_keeps_no_slot() -> None:
    hall = Hall(unknown=1)
    holder, gone, last = Waiting("holder"), Waiting("gone", closed=True), Waiting("last")
    hall.ask(holder, gone, last)
    hall.lanes.leave(holder)
    assert hall.served == ["holder", "last"]
    assert hall.lanes.unknown.holding == 1


async def test_a_hello_that_proves_bad_makes_room_at_once_and_never_nests() -> None:
    hall = Hall(unknown=1)
    depth = deepest = 0

    def refuse(who: Waiting) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        who.conn.closed = True
        hall.lanes.leave(who)  # type: ignore[arg-type]
        depth -= 1

    holder, people = Waiting("holder"), [Waiting(str(number)) for number in range(200)]
    hall.ask(holder, *people)
    hall.on_serve = refuse
    hall.lanes.leave(holder)  # type: ignore[arg-type]
    assert len(hall.served) == 1 + ANSWERS_PER_TURN
    while hall.lanes.unknown.waiting:
        await asyncio.sleep(0)
    assert hall.served == ["holder", *(str(number) for number in range(200))]
    assert deepest == 1
    assert hall.lanes.unknown.holding == 0


async def test_patience_and_slots_need_one_timer() -> None:
    hall = Hall(unknown=1, slot_s=2.0, busy_s=3.0)
    hall.ask(*[Waiting(str(number)) for number in range(300)])
    assert len(hall.lanes.timers) == 1
    hall.clock.advance(2.01)
    assert hall.served == ["0", "1"]
    assert len(hall.lanes.timers) == 1
    hall.clock.advance(1.0)
    while hall.lanes.unknown.waiting:
        await asyncio.sleep(0)
    assert hall.busy == [str(number) for number in range(2, 300)]
    hall.clock.advance(5.0)
    assert len(hall.lanes.timers) == 0
