"""Whole amperes from the smallest current up, and whose turn it is where not all can have that.

Three promises: no sum passes a limit; no ampere stays that fits for somebody who wants it, except what is kept free for
one that has waited too long; and nobody that can be served waits for ever. The last one, where limits do not change:
whoever leaves at an unknown time, or could not wait any longer if it is to be full, gets the smallest current after
PATIENCE_MS and at most DWELL_MS (and what is left of it at the next look) for each session that has waited longer.
"""

from __future__ import annotations

import numpy as np

from evcharge.energy.allocate import CALM_MS, ROUNDING_W, URGENT_LAXITY
from evcharge.energy.cars import Bools, Cars, Floats, Ints, middle
from evcharge.energy.paths import Paths

# Who was given the smallest current keeps it this long where not all can have it: contactors and vehicles wear.
DWELL_MS = 600_000
# Who has waited this long, and cannot wait any longer, goes before everybody's shares: three turns of others.
PATIENCE_MS = 3 * DWELL_MS


def whole_amperes(cars: Cars, paths: Paths, tops: Floats, watts: Floats, now_ms: int) -> Floats:
    """Amperes that a charge point can be told: none, or from the smallest current up, whole ones; made of ``watts``.

    First those who were given the smallest current less than ``DWELL_MS`` ago keep it, then who has waited too long
    gets it: if that does not fit yet, nobody else begins where it is to be. Then everybody has what is theirs, rounded
    down. What is left over lifts those that have nothing to the smallest current, then adds single amperes; the least
    laxity first each time, where nobody knows it those who have waited longest.
    """
    room = _Room(paths.binding(tops))
    given = np.zeros(cars.count)
    on = cars.last_w > 0
    order, late = _turns(cars, tops, now_ms)
    given += room.give(order[(_dwells(cars, now_ms) & (tops > 0))[order]], cars.min_w)
    if len(late):
        given += room.give(late, cars.min_w)
        room.reserve(late[given[late] == 0], cars.min_w, (given > 0) & ~on)
        room.beginners = ~on & (given == 0)
    amps = np.floor((np.minimum(watts, tops) + ROUNDING_W) / cars.step_w) * cars.step_w
    more = np.where(amps >= cars.min_w, amps, 0.0) - given
    given += room.give(order[more[order] > 0], more)
    given += room.give(order[((given == 0) & (tops > 0))[order]], cars.min_w)
    room.beginners = None
    rising = order[((given > 0) & (given < tops))[order]]
    while len(rising):
        got = room.rounds(rising, cars.step_w, tops - given)
        given += got
        rising = rising[((got > 0) & (given < tops))[rising]]
    return given


def _dwells(cars: Cars, now_ms: int) -> Bools:
    since_ms = now_ms - cars.turned_ms
    return np.asarray((cars.last_w > 0) & (since_ms >= 0) & (since_ms < DWELL_MS))


def _turns(cars: Cars, tops: Floats, now_ms: int) -> tuple[Ints, Ints]:
    """Whose turn it is first; and those that have waited too long, the longest wait first."""
    known = cars.laxity(now_ms)
    lax = middle(known)
    since = np.where(np.isnan(cars.turned_ms), cars.arrival_ms, cars.turned_ms)
    # From the future: the clock was set back, and nobody knows how long it has waited. Served once, that is known.
    since = np.where(since > now_ms + CALM_MS, -np.inf, since)
    # Unknown departures: who waits goes before who charges, and the longest wait first.
    on = cars.last_w > 0
    order = np.lexsort((since, on if lax is None else lax))
    # Who leaves at an unknown time compares with nothing.
    late = ~on & (tops > 0) & (now_ms - since >= PATIENCE_MS) & ~(known >= URGENT_LAXITY)
    by_wait = np.argsort(since, kind="stable")
    return order, by_wait[late[by_wait]]


class _Room:
    """What is left in each row that can be full at all."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._left = paths.caps.copy()
        self._kept = np.zeros(len(paths.caps))
        self.beginners: Bools | None = None
        """Who may not have what is kept free."""

    def give(self, order: Ints, amounts: Floats) -> Floats:
        """One after the other in this order: its whole amount to each for which it fits, else nothing."""
        given = np.zeros(len(amounts))
        if not len(order):
            return given
        paths = self._paths
        # The room only shrinks: for whom it is too small now, it will be.
        order = order[(amounts <= self._room() + ROUNDING_W)[order]]
        if not len(order):
            return given
        wanted = np.zeros(len(amounts))
        wanted[order] = amounts[order]
        # A row that has room for all of them refuses nobody.
        tight = paths.sums(wanted) > self._left - self._kept
        tight[0] = False
        if not tight.any():
            given = wanted
        else:
            asks = np.array(tight[paths.rows].any(axis=0), dtype=np.bool_)
            given[order] = np.where(asks[order], 0.0, wanted[order])
            self._one_by_one(order[asks[order]], amounts, tight, given)
        self._left -= paths.sums(given)
        self._left[0] = np.inf
        return given

    def rounds(self, order: Ints, step_w: Floats, wanted: Floats) -> Floats:
        """One ampere each, or as many for each as fit for all."""
        steps = np.zeros(len(step_w))
        steps[order] = step_w[order]
        held = self._paths.sums(steps)
        counted = held > 0
        fits = (self._left[counted] / held[counted]).min(initial=np.inf)
        times = float(np.floor(min((wanted / step_w)[order].min(), fits)))
        return self.give(order, steps * max(1.0, times))

    def reserve(self, order: Ints, amounts: Floats, begun: Bools) -> None:
        """Keep free what these lack, in this order: as far as it fits beside those before them and who has begun."""
        paths = self._paths
        alone = paths.caps - paths.sums(np.where(begun, amounts, 0.0))
        alone[0] = np.inf
        for i in order.tolist():
            rows, shares = paths.rows[:, i], paths.shares[:, i]
            if (amounts[i] * shares <= alone[rows] + ROUNDING_W).all():
                alone[rows] -= amounts[i] * shares
                self._kept[rows] += amounts[i] * shares
        self._kept[0] = 0.0

    def _room(self) -> Floats:
        room = np.maximum(self._paths.room(self._left), 0.0)
        if self.beginners is None:
            return room
        return np.where(self.beginners, np.maximum(self._paths.room(self._left - self._kept), 0.0), room)

    def _one_by_one(self, order: Ints, amounts: Floats, tight: Bools, given: Floats) -> None:
        paths = self._paths
        columns = np.flatnonzero(tight[paths.rows].any(axis=1))
        rows = np.where(tight[paths.rows[columns]], paths.rows[columns], 0)
        left, kept = self._left.tolist(), self._kept.tolist()
        asked = amounts[order].tolist()
        of_rows = rows[:, order].T.tolist()
        of_shares = paths.shares[np.ix_(columns, order)].T.tolist()
        begins = [False] * len(asked) if self.beginners is None else self.beginners[order].tolist()
        taken = [0.0] * len(asked)
        for place, (amount, mine, shares) in enumerate(zip(asked, of_rows, of_shares, strict=True)):
            for row, share in zip(mine, shares, strict=True):
                free = left[row] - kept[row] if begins[place] else left[row]
                if share * amount - free > ROUNDING_W:
                    break
            else:
                taken[place] = amount
                for row, share in zip(mine, shares, strict=True):
                    left[row] -= share * amount
        given[order] = taken
