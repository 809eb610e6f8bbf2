"""The two queues for a handshake slot, one for known sources and one for strangers, and the one timer of both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from evcharge.net.adapter import Adapter
from evcharge.net.clock import Clock
from evcharge.net.slots import Slots
from evcharge.net.timers import Timer, TimerWheel

# Width of a tick of the slots' timer, in seconds: a slot that is held for 100 ms must not be held for 150.
FINE_TICK_S = 0.005
# HELLOs that one turn of the loop answers, at 0.1 ms each, and peers that it tells BUSY: the others must not wait long.
ANSWERS_PER_TURN = 16
BUSY_PER_TURN = 128


class SlotLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many handshakes are under way between HELLO and AUTH (SPEC §5.2)."""

    known: int = 64
    """Slots for sources from which a peer got in lately."""
    unknown: int = 64
    """Slots for all others."""
    slot_s: float = 0.1
    """How long a slot is held at most, in seconds."""
    busy_s: float = 3.0
    """How long a HELLO waits for a slot, in seconds, before it is told BUSY."""


class Lanes:
    """Gives slots to adapters. ``serve`` and ``busy`` are called for those whose turn or patience has come."""

    def __init__(
        self,
        limits: SlotLimits,
        clock: Clock,
        *,
        serve: Callable[[Adapter], None],
        busy: Callable[[Adapter], None],
    ) -> None:
        self.known: Slots[Adapter] = Slots(limits.known, hold_s=limits.slot_s, wait_s=limits.busy_s)
        self.unknown: Slots[Adapter] = Slots(limits.unknown, hold_s=limits.slot_s, wait_s=limits.busy_s)
        self.timers = TimerWheel(clock, tick_s=FINE_TICK_S)
        """Holds one timer at most."""
        self._clock = clock
        self._serve = serve
        self._busy = busy
        self._timer: Timer | None = None
        self._again: asyncio.Handle | None = None
        self._in_turn = False

    def ask(self, adapter: Adapter, *, known: bool) -> None:
        """A whole HELLO of this adapter is there."""
        (self.known if known else self.unknown).ask(adapter, self._clock.monotonic(), adapter.source)
        self._turn()

    def leave(self, adapter: Adapter) -> None:
        """Its AUTH is there, or it is gone."""
        # Its source may have become known meanwhile, so both are asked.
        self.known.leave(adapter)
        self.unknown.leave(adapter)
        if self.known.waiting or self.unknown.waiting:
            self._turn()

    def close(self) -> None:
        """Forget the timer."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self.timers.close()

    def _turn(self) -> None:
        """Tell those who waited for too long, and serve as many as there are slots; the rest at the next turn."""
        if self._in_turn or self._again is not None:
            return
        self._in_turn = True
        try:
            more = self._tell_late() or self._serve_next()
        finally:
            self._in_turn = False
        if more:
            self._again = asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self._arm()

    def _go_on(self) -> None:
        self._again = None
        self._turn()

    def _tell_late(self) -> bool:
        """True: there may be more."""
        now = self._clock.monotonic()
        for _ in range(BUSY_PER_TURN):
            adapter = self.known.late(now)
            if adapter is None:
                adapter = self.unknown.late(now)
            if adapter is None:
                return False
            self._busy(adapter)
        return True

    def _serve_next(self) -> bool:
        """One of each lane in turn, so that neither waits for the other. True: there may be more."""
        lane, other = self.known, self.unknown
        for _ in range(ANSWERS_PER_TURN):
            adapter = lane.next(now := self._clock.monotonic())
            if adapter is None:
                adapter = other.next(now)
            if adapter is None:
                return False
            if not adapter.conn.closed:
                self._serve(adapter)
            if adapter.conn.closed:
                # It left while it waited, or its HELLO was not genuine.
                self.known.leave(adapter)
                self.unknown.leave(adapter)
            lane, other = other, lane
        return True

    def _arm(self) -> None:
        """Have a timer no later than the next deadline of both lanes; a later one is seen when it fires."""
        due = min((at for at in (self.known.deadline(), self.unknown.deadline()) if at is not None), default=None)
        if due is None or (self._timer is not None and self._timer.deadline_s <= due):
            return
        if self._timer is not None:
            self.timers.cancel(self._timer)
        self._timer = self.timers.schedule(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._turn()
