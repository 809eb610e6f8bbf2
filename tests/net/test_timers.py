from __future__ import annotations

import asyncio
from math import ceil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evcharge.net.clock import SystemClock
from evcharge.net.timers import MOST_PER_TURN, TICK_S, Timer, TimerWheel
from tests.support.clock import ManualClock
from tools.simulate.loop import BEGIN_S, VirtualLoop
from tools.simulate.machines import SimClock


async def test_a_timer_fires_once_not_early_and_at_most_a_tick_late() -> None:
    clock = ManualClock(100.0)
    wheel = clock.watch(TimerWheel(clock))
    fired: list[float] = []
    wheel.schedule(101.0, lambda: fired.append(clock.monotonic()))
    clock.advance(0.999)
    assert not fired
    clock.advance(0.001 + TICK_S)
    assert len(fired) == 1
    clock.advance(100)
    assert len(fired) == 1
    assert len(wheel) == 0


async def test_the_loop_has_one_timer_for_all_and_none_for_none() -> None:
    loop = asyncio.get_running_loop()
    wheel = TimerWheel(SystemClock())
    assert wheel._handle is None
    timers = [wheel.schedule(wheel._clock.monotonic() + 1000 - number, lambda: None) for number in range(100)]
    assert wheel._handle is not None
    assert wheel._handle.when() - loop.time() == pytest.approx(901, abs=2)
    for timer in timers:
        wheel.cancel(timer)
        wheel.cancel(timer)
    assert len(wheel) == 0
    wheel.run_due()
    assert wheel._handle is None
    wheel.schedule(0, lambda: None)
    wheel.close()
    assert wheel._handle is None


async def test_real_time_makes_it_fire() -> None:
    clock = SystemClock()
    wheel = TimerWheel(clock)
    fired = asyncio.get_running_loop().create_future()
    start = clock.monotonic()
    wheel.schedule(start + 60, lambda: None)
    wheel.schedule(start + 0.01, lambda: fired.set_result(clock.monotonic()))
    assert await fired >= start + 0.01
    wheel.close()


async def test_a_callback_that_raises_does_not_stop_the_others() -> None:
    clock = ManualClock()
    wheel = TimerWheel(clock)
    done: list[int] = []

    def broken() -> None:
        raise ZeroDivisionError

    now = clock.monotonic()
    wheel.schedule(now + 1, broken)
    wheel.schedule(now + 1, lambda: done.append(1))
    wheel.schedule(now + 2, lambda: done.append(2))
    clock.advance(5)
    with pytest.raises(ZeroDivisionError):
        wheel.run_due()
    assert wheel._handle is not None, "the rest is still due"
    wheel.run_due()
    assert done == [1, 2]


async def test_a_callback_that_always_wants_now_does_not_keep_the_turn_from_ending() -> None:
    clock = ManualClock()
    wheel = clock.watch(TimerWheel(clock))
    calls: list[float] = []

    def again() -> None:
        calls.append(clock.monotonic())
        wheel.run_due()
        wheel.schedule(clock.monotonic() - 10, again)

    again()
    clock.advance(1)
    clock.advance(1)
    assert len(calls) == 3


async def test_that_holds_at_the_very_moment_of_a_tick() -> None:
    for number in range(1, 500):
        # For some of them (43 is the first) the quotient by TICK_S is rounded to below the number.
        clock = ManualClock(number * TICK_S)
        wheel = TimerWheel(clock)
        left = [2]

        def again(clock: ManualClock = clock, wheel: TimerWheel = wheel, left: list[int] = left) -> None:
            if left[0]:
                left[0] -= 1
                wheel.schedule(clock.monotonic(), again)

        wheel.schedule(0.0, again)
        wheel.run_due()
        assert (left[0], len(wheel)) == (1, 1), number
        wheel.close()


# Times that the loop wakes the wheel for one timer: too early by the drift, by the drift of what is left then, in time.
WAKES = 3


@settings(deadline=None)
@given(st.floats(-2e-4, 2e-4), st.integers(1, 200_000))
# Its clock is one float below 1,024 when the loop is past it: what is left is less than one float of the loop's.
@example(0.9999848840218432 - 1.0, 480)
def test_a_loop_that_wakes_it_too_early_is_not_kept_turning(drift: float, ticks: int) -> None:
    """Between a loop and a clock that do not agree: another quartz here, uvloop's milliseconds on a site."""
    loop = VirtualLoop()
    clock = SimClock(loop, drift)
    wakes = [0]

    async def play() -> None:
        fired: asyncio.Future[None] = loop.create_future()

        class Counted(TimerWheel):
            def run_due(self, most: int | None = None) -> None:
                wakes[0] += 1
                if wakes[0] > WAKES and not fired.done():
                    fired.set_exception(AssertionError(f"woken {wakes[0]} times"))
                super().run_due(most)

        Counted(clock).schedule(BEGIN_S + ticks * TICK_S, lambda: fired.set_result(None))
        await fired

    try:
        loop.run_until_complete(play())
    finally:
        loop.close()
    assert not loop.faults


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("schedule"), st.floats(0, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("advance"), st.floats(0, 3)),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_every_timer_fires_exactly_when_its_tick_has_come_unless_cancelled(
    steps: list[tuple[str, float]],
) -> None:
    async def play() -> None:
        clock = ManualClock(50.0)
        wheel = clock.watch(TimerWheel(clock))
        deadlines: list[float] = []
        timers: list[Timer] = []
        fired: list[int] = []
        cancelled: set[int] = set()
        for verb, value in steps:
            if verb == "schedule":
                number = len(timers)
                deadlines.append(clock.monotonic() + value)
                timers.append(wheel.schedule(deadlines[-1], lambda number=number: fired.append(number)))
            elif verb == "cancel" and int(value) < len(timers):
                wheel.cancel(timers[int(value)])
                if int(value) not in fired:
                    cancelled.add(int(value))
            elif verb == "advance":
                clock.advance(value)
                now = clock.monotonic()
                due = {number for number, at in enumerate(deadlines) if ceil(at / TICK_S) * TICK_S <= now}
                assert due - cancelled == set(fired)
                assert all(deadlines[number] <= now for number in fired)
        assert len(fired) == len(set(fired))
        assert len(wheel) == len(timers) - len(fired) - len(cancelled)
        wheel.close()

    asyncio.run(play())


async def test_many_timers_of_one_tick_leave_the_loop_its_other_work() -> None:
    wheel = TimerWheel(SystemClock())
    fired: list[int] = []
    seen: list[int] = []
    for number in range(3 * MOST_PER_TURN + 5):
        wheel.schedule(0.0, lambda number=number: fired.append(number))
    while len(wheel):
        await asyncio.sleep(0)
        seen.append(len(fired))
    assert fired == list(range(3 * MOST_PER_TURN + 5))
    steps = sorted(set(seen) - {0})
    assert steps == [MOST_PER_TURN, 2 * MOST_PER_TURN, 3 * MOST_PER_TURN, 3 * MOST_PER_TURN + 5]


async def test_a_finer_tick() -> None:
    clock = ManualClock()
    wheel = clock.watch(TimerWheel(clock, tick_s=0.005))
    fired: list[float] = []
    wheel.schedule(clock.monotonic() + 0.1, lambda: fired.append(clock.monotonic()))
    clock.advance(0.099)
    assert not fired
    clock.advance(0.006)
    assert fired
