"""One water level for all: x_i = clip(slope_i · (level − start_i), low_i, high_i), where a leaf stops at its first full
row.

The level rises; a row that is full freezes the leaves in it, and the others go on. With all starts 0 this is weighted
max-min fairness by progressive filling (Bertsekas & Gallager, Data Networks, ch. 6.5.2), exact for any rows with shares
of 0 or more; with start = laxity − 1 and slope = rating it is smoothed least-laxity-first (Chen et al., "Smoothed
least-laxity-first algorithm for EV charging", 2020) over a tree of limits instead of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from evcharge.energy.tree import Row

INFINITY = float("inf")


class Leaf(NamedTuple):
    """How one leaf rises: nothing above ``low`` before the level passes its start; ``slope`` > 0, low ≤ high."""

    start: float
    slope: float
    low: float
    high: float


class Filled(NamedTuple):
    """Values in the order of the leaves, and the index of the row that stopped each; None: its own ``high`` did."""

    values: list[float]
    rows: list[int | None]


def fill(leaves: Sequence[Leaf], rows: Sequence[Row]) -> Filled:
    """Exact up to rounding: sums may pass a limit by parts in 1e12. Raises ValueError when the lows do not fit."""
    values = [leaf.low for leaf in leaves]
    stopped: list[int | None] = [None] * len(leaves)
    # A row that holds all its highs never stops anybody, so nobody has to look at it.
    used: list[int] = []
    of_leaf: list[list[tuple[int, float]]] = [[] for _ in leaves]
    fixed: list[float] = []
    for index, row in enumerate(rows):
        pairs = list(zip(row.leaves, row.shares, strict=True))
        low = sum([share * leaves[i].low for i, share in pairs])
        if low > row.cap_w * (1 + 1e-12) + 1e-9:
            raise ValueError(f"the least of {row.name} is {low:.0f} of {row.cap_w:.0f}")
        if sum([share * leaves[i].high for i, share in pairs]) <= row.cap_w:
            continue
        for i, share in pairs:
            of_leaf[i].append((len(used), share))
        used.append(index)
        fixed.append(low)
    caps = [rows[index].cap_w for index in used]
    # Of the leaves that rise at this level: a row holds Σ share·x = fixed + level · slope.
    slopes = [0.0] * len(used)
    full_at = [INFINITY] * len(used)
    queue: list[tuple[float, int]] = []
    bends: list[tuple[float, int, int]] = []
    for i, leaf in enumerate(leaves):
        if not of_leaf[i]:
            values[i] = leaf.high
        elif leaf.high > leaf.low:
            bends.append((leaf.start + leaf.low / leaf.slope, 0, i))
            bends.append((leaf.start + leaf.high / leaf.slope, 1, i))
    bends.sort()
    touched: set[int] = set()
    next_bend = 0
    rising: set[int] = set()
    done = [False] * len(leaves)

    def stop(i: int, value: float) -> None:
        leaf = leaves[i]
        values[i] = value
        done[i] = True
        rising.discard(i)
        for used_row, share in of_leaf[i]:
            fixed[used_row] += share * (value + leaf.slope * leaf.start)
            slopes[used_row] -= share * leaf.slope

    while next_bend < len(bends):
        level, ends, i = bends[next_bend]
        if touched and level > bends[next_bend - 1][0]:
            # All that begin at one level have begun: their rows are full earlier than was thought.
            begun = bends[next_bend - 1][0]
            for index in touched:
                at = max(begun, _full_at(caps[index], fixed[index], slopes[index]))
                if at < full_at[index]:
                    full_at[index] = at
                    heappush(queue, (at, index))
            touched.clear()
        if queue and queue[0][0] < level:
            was, full = heappop(queue)
            if was != full_at[full]:
                continue  # it was looked at again since
            at = _full_at(caps[full], fixed[full], slopes[full])
            if at > was:
                # Leaves of it have stopped since: it is full later than was thought.
                full_at[full] = at
                if at < INFINITY:
                    heappush(queue, (at, full))
                continue
            full_at[full] = INFINITY
            for each in rows[used[full]].leaves:
                if done[each]:
                    continue
                leaf = leaves[each]
                stopped[each] = used[full]
                if each in rising:
                    stop(each, min(leaf.high, max(leaf.low, leaf.slope * (was - leaf.start))))
                else:
                    done[each] = True
            continue
        next_bend += 1
        if done[i]:
            continue
        leaf = leaves[i]
        if ends:
            stop(i, leaf.high)
            continue
        rising.add(i)
        for used_row, share in of_leaf[i]:
            fixed[used_row] -= share * (leaf.low + leaf.slope * leaf.start)
            slopes[used_row] += share * leaf.slope
            touched.add(used_row)
    return Filled(values, stopped)


def _full_at(cap: float, fixed: float, slope: float) -> float:
    """The level at which a row is full; rounding may leave a slope that is none."""
    return (cap - fixed) / slope if slope > 1e-9 else INFINITY
