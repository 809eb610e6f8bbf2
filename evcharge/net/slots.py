"""Handshake slots: how many handshakes are computed at a time, and who is next (SPEC §5.2). Pure.

Without them, five thousand peers that come back at once all wait for each other until all of them are too late. A slot
is for the work between HELLO and AUTH. Who holds one for longer than ``hold_s`` loses it, so that nobody can shut the
others out by saying nothing more; its handshake may still go on. Sources take turns: thousands that wait behind one
address keep another one waiting for one of them, not for all.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

P = TypeVar("P")


class Slots(Generic[P]):
    """One lane. Every call is O(1), amortised; ``now`` is monotonic seconds and never goes back.

    ``ask`` once for everybody whose HELLO is there, ``leave`` when its AUTH is there or it is gone, and after each of
    them, and at ``deadline``, call ``late`` and ``next`` until they return None.
    """

    __slots__ = ("_hold_s", "_holding", "_size", "_turns", "_wait_s", "_waiting")

    def __init__(self, size: int, *, hold_s: float, wait_s: float) -> None:
        """``size`` slots, each held for at most ``hold_s``; nobody waits for longer than ``wait_s``."""
        self._size = size
        self._hold_s = hold_s
        self._wait_s = wait_s
        # Who, and when it loses its slot or its patience: both rise from the first to the last.
        self._holding: OrderedDict[P, float] = OrderedDict()
        self._waiting: OrderedDict[P, tuple[float, str]] = OrderedDict()
        # Source → who of it waits, in order; the first source is next.
        self._turns: OrderedDict[str, OrderedDict[P, None]] = OrderedDict()

    @property
    def holding(self) -> int:
        """Slots that are taken."""
        return len(self._holding)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def ask(self, who: P, now: float, source: str = "") -> None:
        """Stand at the end of the queue of one's source."""
        self._waiting[who] = (now + self._wait_s, source)
        queue = self._turns.get(source)
        if queue is None:
            queue = self._turns[source] = OrderedDict()
        queue[who] = None

    def leave(self, who: P) -> None:
        """Give the slot back, or leave the queue; nothing happens for one that has neither."""
        if self._holding.pop(who, None) is None and who in self._waiting:
            self._forget(who)

    def late(self, now: float) -> P | None:
        """Somebody who has waited for too long; it is out of the queue."""
        waiting = self._waiting
        if waiting and waiting[who := next(iter(waiting))][0] <= now:
            self._forget(who)
            return who
        return None

    def next(self, now: float) -> P | None:
        """Who gets a slot now; None: nobody waits, or all slots are held."""
        holding = self._holding
        while holding and holding[first := next(iter(holding))] <= now:
            del holding[first]
        if not self._waiting or len(holding) >= self._size:
            return None
        source, queue = next(iter(self._turns.items()))
        who = next(iter(queue))
        self._forget(who)
        if source in self._turns:
            self._turns.move_to_end(source)
        holding[who] = now + self._hold_s
        return who

    def _forget(self, who: P) -> None:
        """Out of both queues."""
        _, source = self._waiting.pop(who)
        queue = self._turns[source]
        del queue[who]
        if not queue:
            del self._turns[source]

    def deadline(self) -> float | None:
        """When somebody who waits gets a slot at the latest, or loses patience; None when nobody waits."""
        if not self._waiting:
            return None
        patience, _ = self._waiting[next(iter(self._waiting))]
        if len(self._holding) < self._size:
            return patience
        return min(patience, self._holding[next(iter(self._holding))])
