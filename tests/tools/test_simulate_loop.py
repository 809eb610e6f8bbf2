"""The virtual loop turns as asyncio's own does, and the disk keeps exactly what was synced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tools.simulate import loop as loop_module
from tools.simulate.disk import _stretches
from tools.simulate.loop import BEGIN_S, MANY_TIMERS, RESOLUTION_S, Process, Stuck, VirtualLoop

pytestmark = pytest.mark.tool


class Plain(asyncio.BaseEventLoop):
    """asyncio's own turns on virtual time: nothing of it is written anew."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = BEGIN_S
        self._selector = self
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        return self._now_s

    def select(self, timeout: float) -> list[object]:
        if timeout > 0:
            self._now_s = max(self._now_s, self._scheduled[0].when())  # type: ignore[attr-defined]  # its own heap
        return []

    def _process_events(self, _events: object) -> None:
        """There are no others."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


# What a callback does when it is called: call soon; call after so long, many at one moment; cancel one of those before.
DEEDS = st.one_of(
    st.just(("soon", 0.0)),
    st.tuples(st.just("later"), st.sampled_from([0.0, 1e-10, 0.001, 0.05, 0.05, 0.1, 5.0]) | st.floats(0, 10)),
    st.tuples(st.just("cancel"), st.floats(0, 1)),
)
# Deeper than this nothing more is asked for; more than that at once is not either.
DEEPEST, MOST = 5, 600


def played(loop: asyncio.BaseEventLoop, plan: list[list[tuple[str, float]]]) -> list[tuple[int, float]]:
    """Which callback ran when; the n-th that is asked for does what the plan says in its place."""
    ran: list[tuple[int, float]] = []
    handles: list[asyncio.Handle] = []
    numbers = count()

    def ask(schedule: Callable[..., asyncio.Handle], *arguments: Any, deep: int) -> None:
        if len(handles) < MOST and deep <= DEEPEST:
            handles.append(schedule(*arguments, run, next(numbers), deep))

    def run(number: int, deep: int) -> None:
        ran.append((number, loop.time()))
        for verb, value in plan[number % len(plan)]:
            if verb == "soon":
                ask(loop.call_soon, deep=deep + 1)
            elif verb == "later":
                ask(loop.call_later, value, deep=deep + 1)
            elif handles:
                handles[int(value * (len(handles) - 1))].cancel()
        if number % 7 == 3:
            raise ZeroDivisionError

    loop.set_exception_handler(lambda _loop, context: ran.append((-1, float("ZeroDivision" in repr(context)))))
    ask(loop.call_soon, deep=0)
    loop.call_later(1_000, loop.stop)
    loop.run_forever()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    return ran


MANY_CANCELLED = [[("later", 0.05)] * (3 * MANY_TIMERS), [("cancel", place / 400) for place in range(400)]]


@settings(deadline=None)
@given(st.lists(st.lists(DEEDS, max_size=12), min_size=1, max_size=8))
@example([[("soon", 0.0), *[("later", 1.0 + number % 5) for number in range(300)]], MANY_CANCELLED[1][:250]])
@example(MANY_CANCELLED)
def test_it_calls_what_asyncio_calls_in_the_same_order_at_the_same_times(plan: list[list[tuple[str, float]]]) -> None:
    assert played(VirtualLoop(), plan) == played(Plain(), plan)


def test_a_circle_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "MOST_STEPS", 1_000)
    loop = VirtualLoop()

    async def turn() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="without any time"):
        loop.run_until_complete(turn())
    loop.bury()


def test_a_dead_process_is_not_called_and_is_no_fault() -> None:
    loop = VirtualLoop()
    said: list[str] = []
    processes = [Process(name, "10.0.0.1") for name in ("one", "two")]
    for process in processes:
        loop.call_soon(said.append, f"{process.name} soon", context=process.context())
        loop.call_later(1.0, said.append, f"{process.name} later", context=process.context())
    loop.call_later(0.5, setattr, processes[0], "alive", False)
    loop.call_later(2.0, loop.stop)
    loop.run_forever()
    assert said == ["one soon", "two soon", "two later"]
    assert not loop.faults
    loop.close()


@given(st.sets(st.integers(0, 40)))
def test_stretches_are_all_of_it_and_do_not_touch(sectors: set[int]) -> None:
    stretches = list(_stretches(sectors))
    assert {sector for first, end in stretches for sector in range(first, end)} == sectors
    assert all(end < first for (_, end), (first, _) in pairwise(stretches))
    assert all(first < end for first, end in stretches)
