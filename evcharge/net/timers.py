"""All timers of a process in one structure with one timer of the event loop.

A timer costs one dictionary entry; scheduling and cancelling are O(1). Time is cut into ticks: a timer fires at
the first tick that is not before its deadline, so never early and at most one tick late. Whoever moves a deadline
to a later moment does not touch the wheel: it lets the timer fire, looks, and schedules again.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable
from contextvars import copy_context
from math import ceil

from evcharge.net.clock import Clock

# Width of a tick, in seconds, unless another is asked for: far below the shortest deadline of the wire, 2 s for HELLO.
TICK_S = 0.05
# Timers that one turn of the loop fires: thousands of strangers may run out of time together, and each leaves a line in
# the log. The others need not wait until all are done.
MOST_PER_TURN = 128
# Shortest wait for a tick that has not come, in seconds. A loop counts milliseconds and may wake a little early, and so
# does one whose clock runs faster than this one; what is left then is for uvloop "at once" and, added to a large float,
# nothing at all: the loop would turn in a circle until the tick comes.
LEAST_WAIT_S = 0.001


class Timer:
    """A handle from ``schedule``; ``deadline_s`` is monotonic seconds."""

    __slots__ = ("_tick", "callback", "deadline_s")

    def __init__(self, deadline_s: float, callback: Callable[[], None], tick: int) -> None:
        self.deadline_s = deadline_s
        self.callback = callback
        self._tick = tick


class TimerWheel:
    """Belongs to one event loop. ``run_due`` is what that loop calls; a test with its own clock calls it too."""

    def __init__(self, clock: Clock, *, tick_s: float = TICK_S) -> None:
        self._clock = clock
        self._tick_s = tick_s
        self._ticks: list[int] = []
        # Ordered, because taking the first of a plain dict again and again looks at every gap that the others left.
        self._due: dict[int, OrderedDict[Timer, None]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._handle_tick = 0
        self._next_tick = 0
        self._running = False
        # That of whoever made it: who happens to schedule the next one is not whom all of them run for.
        self._context = copy_context()

    def __len__(self) -> int:
        """How many timers are waiting."""
        return sum(map(len, self._due.values()))

    def schedule(self, deadline_s: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` once when ``deadline_s`` has come; a deadline in the past: at the next turn."""
        tick = ceil(deadline_s / self._tick_s)
        if self._running and tick < self._next_tick:
            # A callback that asks for "now" again and again must not keep this turn from ending.
            tick = self._next_tick
        timer = Timer(deadline_s, callback, tick)
        waiting = self._due.get(tick)
        if waiting is None:
            self._due[tick] = OrderedDict(((timer, None),))
            heapq.heappush(self._ticks, tick)
            if not self._running:
                self._arm()
        else:
            waiting[timer] = None
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget the timer; one that has fired or was cancelled is no error."""
        waiting = self._due.get(timer._tick)
        if waiting is not None:
            waiting.pop(timer, None)

    def run_due(self, most: int | None = None) -> None:
        """Call what is due, ``most`` of it now and the rest at the next turn of the loop.

        A callback that raises does not keep the others from their turn.
        """
        if self._running:
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._running = True
        try:
            now = self._clock.monotonic()
            self._next_tick = int(now / self._tick_s) + 1
            if self._next_tick * self._tick_s <= now:
                # The quotient was rounded down, below a whole number.
                self._next_tick += 1
            while self._ticks and self._ticks[0] * self._tick_s <= now:
                waiting = self._due[self._ticks[0]]
                while waiting:
                    if most == 0:
                        return
                    if most is not None:
                        most -= 1
                    timer, _ = waiting.popitem(last=False)
                    timer.callback()
                del self._due[heapq.heappop(self._ticks)]
        finally:
            self._running = False
            self._arm()

    def close(self) -> None:
        """Forget all timers."""
        self._ticks.clear()
        self._due.clear()
        self._arm()

    def _arm(self) -> None:
        """Have exactly one timer of the loop, for the first tick that holds a timer; none when there is none."""
        while self._ticks and not self._due[self._ticks[0]]:
            del self._due[heapq.heappop(self._ticks)]
        if self._handle is not None:
            if self._ticks and self._handle_tick == self._ticks[0]:
                return
            self._handle.cancel()
            self._handle = None
        if self._ticks:
            self._handle_tick = self._ticks[0]
            delay_s = self._handle_tick * self._tick_s - self._clock.monotonic()
            delay_s = max(LEAST_WAIT_S, delay_s) if delay_s > 0 else 0.0
            self._handle = asyncio.get_running_loop().call_later(
                delay_s, self.run_due, MOST_PER_TURN, context=self._context
            )
