"""One water level for all: x_i = clip(slope_i · (level − start_i), low_i, high_i), where a leaf stops at its first full
row.

The level rises; a row that is full freezes the leaves in it, and the others go on. ``fill`` does that for any rows,
``fill_tree`` for those of a tree: there a row's level depends on those below it alone, so one depth after the other is
done, all rows of a depth at once. With all starts 0 this is weighted
max-min fairness by progressive filling (Bertsekas & Gallager, Data Networks, ch. 6.5.2), exact for any rows with shares
of 0 or more; with start = laxity − 1 and slope = rating it is smoothed least-laxity-first (Chen et al., "Smoothed
least-laxity-first algorithm for EV charging", 2020) over a tree of limits instead of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from evcharge.energy.cars import Floats, Ints
from evcharge.energy.paths import INFINITY, Paths
from evcharge.energy.tree import Row


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
    done = [leaf.high <= leaf.low for leaf in leaves]

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


class Curves(NamedTuple):
    """Leaves as columns: see ``Leaf``."""

    starts: Floats
    slopes: Floats
    lows: Floats
    highs: Floats


def fill_paths(curves: Curves, paths: Paths) -> tuple[Floats, Ints]:
    """Value of each leaf and the row of ``paths`` that stopped it, 0 where its own high did. Raises as ``fill``."""
    paths = paths.binding(curves.highs)
    if len(paths.rows) == paths.nested:
        return fill_tree(curves, paths)
    rows, numbers = paths.as_rows()
    leaves = [Leaf(*each) for each in zip(*[column.tolist() for column in curves], strict=True)]
    values, stopped = fill(leaves, rows)
    by = [0 if row is None else numbers[row] for row in stopped]
    return np.array(values, dtype=np.float64), np.array(by, dtype=np.intp)


def fill_tree(curves: Curves, paths: Paths) -> tuple[Floats, Ints]:
    """As ``fill_paths``, for paths that are a tree: Σ x ≤ cap for all that are below a node.

    A row's sum over its leaves, each of which ends where it is full or a row below is, is piecewise linear in the
    level: its bends are sorted, and the row is full between two of them.
    """
    starts, slopes, lows, highs = curves
    caps = paths.caps
    begins, ends = starts + lows / slopes, starts + highs / slopes
    most, stopped = highs, np.zeros(len(highs), dtype=np.intp)
    for rows in paths.rows:
        sums = np.bincount(rows, most, minlength=len(caps))
        members = np.flatnonzero((sums > caps)[rows])
        if not len(members):
            continue
        at = rows[members]
        held = np.bincount(at, lows[members], minlength=len(caps))
        if len(over := np.flatnonzero(held > caps * (1 + 1e-12) + 1e-9)):
            row = int(over[0])
            raise ValueError(f"the least of {paths.names[row]} is {held[row]:.0f} of {caps[row]:.0f}")
        level = _levels(at, begins[members], ends[members], slopes[members], caps - held)[at]
        late = (level < ends[members]) & (lows[members] < highs[members])
        members, level = members[late], level[late]
        stopped[members] = rows[members]
        ends[members] = np.maximum(begins[members], level)
        if most is highs:
            most = highs.copy()
        risen = slopes[members] * (level - starts[members])
        most[members] = np.minimum(highs[members], np.maximum(lows[members], risen))
    return most, stopped


def _levels(rows: Ints, begins: Floats, ends: Floats, slopes: Floats, rooms: Floats) -> Floats:
    """By row: the level at which its leaves, from ``begins`` to ``ends``, have taken all of its room above the lows.

    Only rows that are full at some level are in ``rows``.
    """
    places = np.concatenate((rows, rows))
    bends = np.concatenate((begins, ends))
    order = np.lexsort((bends, places))
    places, bends = places[order], bends[order]
    rising = np.concatenate((slopes, -slopes))[order].cumsum()
    first = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
    # What a row holds above the lows at each of its bends; between rows nothing rises, but rounding would.
    grown = rising[:-1] * (bends[1:] - bends[:-1])
    grown[first[1:] - 1] = 0.0
    taken = np.concatenate(([0.0], grown.cumsum()))
    counts = np.diff(np.concatenate((first, [len(places)])))
    taken -= np.repeat(taken[first], counts)
    # The last bend before the row is full; where there is no room at all, its first one.
    found = places[first]
    below = np.add.reduceat(taken < rooms[places], first)
    last = first + np.maximum(below, 1) - 1
    rest = rooms[found] - taken[last]
    levels = np.full(len(rooms), INFINITY)
    levels[found] = bends[last] + np.where(rest > 0, rest / np.maximum(rising[last], 1e-9), 0.0)
    return levels
