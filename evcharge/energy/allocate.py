"""Who gets how much now (L1): a level for all, under targets where a plan gives them, and calm.

Works without a plan: a node's target is then its limit. Sums never pass a limit; whatever is rounded, is rounded down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from evcharge.energy.cars import MOST_LAXITY, MOST_W, MOST_WH, Bools, Cars, Floats, Ints, middle
from evcharge.energy.fill import Curves, fill_paths
from evcharge.energy.model import STEP_MS, Limit, Session, SetPoint
from evcharge.energy.paths import INFINITY, Paths, Site
from evcharge.units import MS_PER_HOUR

# No raise sooner than this after the last set-point: frequent profile writes wear out chargers' flash.
CALM_MS = 60_000
# Who can wait less than this many steps is not kept waiting by plans and rules: the next look is a step away.
URGENT_LAXITY = 1.0
# Further from now than any need lasts: a float holds it.
FAR_MS = 10**18
# Slack that rounding of floats may leave in a sum, W.
ROUNDING_W = 1e-6


class Grants(NamedTuple):
    """Watts per session, and the row that kept each from more; 0: itself."""

    watts: Floats
    rows: Ints


class Reasons(NamedTuple):
    """What keeps each from more, and the row that does; 0: its connector is named instead."""

    limits: list[Limit]
    rows: Ints


def laxity(session: Session, now_ms: int) -> float | None:
    """Steps that it can still wait and be full at departure; None when nobody knows when it leaves."""
    if session.departure_ms is None or session.departure_ms != session.departure_ms:
        return None
    if session.max_w <= 0:
        return 0.0
    needed_ms = min(session.remaining_wh, MOST_WH) * MS_PER_HOUR / min(session.max_w, MOST_W)
    away_ms = max(-FAR_MS, min(FAR_MS, session.departure_ms - now_ms))
    return max(-MOST_LAXITY, min(MOST_LAXITY, (away_ms - needed_ms) / STEP_MS))


def by_laxity(cars: Cars, paths: Paths, highs: Floats, now_ms: int) -> Grants:
    """Smoothed least-laxity-first, who leaves at an unknown time as the middle of the others; fair shares when no
    departure is known."""
    lax = middle(cars.laxity(now_ms))
    if lax is None:
        return by_fairness(cars, paths, highs)
    return Grants(*fill_paths(Curves(lax - 1.0, np.maximum(cars.max_w, 1.0), np.zeros(cars.count), highs), paths))


def by_fairness(cars: Cars, paths: Paths, highs: Floats) -> Grants:
    """Weighted max-min fairness."""
    nothing = np.zeros(cars.count)
    return Grants(*fill_paths(Curves(nothing, cars.weight, nothing, highs), paths))


def in_order(paths: Paths, highs: Floats, order: Ints) -> Grants:
    """One after the other, each as much as there is left: what EDF and LLF do."""
    paths = paths.binding(highs)
    watts, by = highs.copy(), np.zeros(len(highs), dtype=np.intp)
    left = paths.caps.tolist()
    rows, shares = paths.rows.T.tolist(), paths.shares.T.tolist()
    wanted = highs.tolist()
    for i in order.tolist():
        most, tightest = wanted[i], 0
        for row, share in zip(rows[i], shares[i], strict=True):
            if row and left[row] < most * share:
                most, tightest = max(0.0, left[row]) / share, row
        for row, share in zip(rows[i], shares[i], strict=True):
            left[row] -= share * most
        watts[i], by[i] = most, tightest
    return Grants(watts, by)


def with_targets(site: Site, cars: Cars, targets: Mapping[str, int], now_ms: int, *, whole: bool) -> Paths:
    """The paths, and one row for each node with a target: over the sessions that draw from this very node.

    Whoever would be late by waiting is not held back by a plan: it comes first, and the target is for the others. What
    whole amperes and forecasts lose is made good that way while there is still time. A target is a mean over minutes:
    one that is less than the smallest current is that current for a part of them, or who is nearly full would never be.
    Where several are nearly full, and the target has the energy for all of them, none of them waits for the others.
    Who is new takes of what nobody has: the next plan comes soon, and may keep it waiting.
    """
    paths, bottoms, _ = site
    if not targets:
        return paths
    urgent = cars.laxity(now_ms) < URGENT_LAXITY
    mean_w = cars.usable_w(STEP_MS)
    first_w = np.bincount(bottoms, np.where(urgent, mean_w, 0.0), minlength=len(paths.caps))
    held = ~urgent & ~cars.new
    if whole:
        nearly_full = held & (mean_w < cars.min_w)
        theirs_w = np.bincount(bottoms, np.where(nearly_full, mean_w, 0.0), minlength=len(paths.caps))
        target_w = np.array([targets.get(name, 0) for name in paths.names], dtype=np.float64)
        fits = first_w + theirs_w <= target_w
        first_w += np.where(fits, theirs_w, 0.0)
        held &= ~(nearly_full & fits[bottoms])
    used = np.unique(bottoms[held]).tolist()
    left_w = {}
    for row in used:
        if paths.names[row] in targets:
            left = max(0.0, float(targets[paths.names[row]]) - float(first_w[row]))
            if whole and left > 0.0:
                left = max(left, float(cars.min_w[held & (bottoms == row)].min()))
            # All that the node has is no target: it is the node that keeps each from more.
            if left < paths.caps[row]:
                left_w[row] = left
    return paths.targeted(bottoms, left_w, {row: f"{paths.names[row]}/plan" for row in left_w}, held)


def reasons(cars: Cars, paths: Paths, highs: Floats, grants: Grants, usable_w: Floats) -> Reasons:
    """Why each has not more, where power need not be in whole amperes."""
    own = _own(cars, highs, usable_w)
    rows = _behind_plans(paths, grants.watts, highs, grants.rows, np.full(cars.count, ROUNDING_W))
    limits = [mine if row == 0 else _of_row(paths.names[row]) for mine, row in zip(own, rows.tolist(), strict=True)]
    return Reasons(limits, rows)


def whole_reasons(cars: Cars, paths: Paths, tops: Floats, grants: Grants, watts: Floats, usable_w: Floats) -> Reasons:
    """The same for ``watts`` in whole amperes, made of the ``grants``."""
    limits = _own(cars, tops, usable_w)
    rows = np.zeros(cars.count, dtype=np.intp)
    less = np.flatnonzero(watts < tops)
    if len(less):
        binding = paths.binding(tops)
        tightest = binding.tightest(binding.caps - binding.sums(watts), less)
        shared = (grants.rows[less] > 0) & (watts[less] > 0)
        rows[less] = np.where(shared, grants.rows[less], tightest)
        least_w = np.where(watts > 0, cars.step_w, cars.min_w) - ROUNDING_W
        rows = _behind_plans(paths, watts, tops, rows, least_w)
        by_row = {row: _of_row(paths.names[row]) for row in np.unique(rows[less]).tolist()}
        for i, row, is_shared, has in zip(
            less.tolist(), rows[less].tolist(), shared.tolist(), (watts[less] > 0).tolist(), strict=True
        ):
            planned = by_row[row] is Limit.PLAN and not has
            limits[i] = by_row[row] if is_shared or planned else Limit.WHOLE_AMPERES if has else Limit.MINIMA
    return Reasons(limits, rows)


def _behind_plans(paths: Paths, watts: Floats, highs: Floats, rows: Ints, least_w: Floats) -> Ints:
    """``rows``, with the limit itself where a plan only shares out what that limit leaves: without the plan there would
    be less than ``least_w`` more, with all that others may have by their targets.
    """
    planned = np.flatnonzero([row > 0 and paths.names[row].endswith("/plan") for row in rows.tolist()])
    if not len(planned):
        return rows
    targets, more = paths.rows[0], highs - watts
    wanted = np.bincount(targets, more, minlength=len(paths.caps))
    part = np.divide(paths.caps - paths.sums(watts), wanted, out=np.zeros(len(wanted)), where=wanted > 0.0)
    # Who has no target is in row 0: nothing was planned for him.
    part[0] = 0.0
    left = paths.caps - paths.sums(watts + part.clip(0.0, 1.0)[targets] * more)
    left[0] = INFINITY
    left[targets] = INFINITY
    full = planned[(paths.room(left) < least_w)[planned]]
    found = rows.copy()
    found[full] = paths.tightest(left, full)
    return found


def _own(cars: Cars, highs: Floats, usable_w: Floats) -> list[Limit]:
    """Why nobody but itself stops each at its high."""
    rating = (highs > cars.max_w - cars.step_w) | ((cars.max_w < cars.min_w) & (cars.remaining_wh > 0))
    kinds = np.where(rating, 0, np.where(highs >= usable_w, 1, 2))
    return [_OWN[kind] for kind in kinds.tolist()]


_OWN = (Limit.RATING, Limit.NEED, Limit.RULE)


def _of_row(name: str) -> Limit:
    return Limit.PLAN if name.endswith("/plan") else Limit.NODE


def calm(cars: Cars, watts: Floats, now_ms: int) -> tuple[Floats, Bools, Bools]:
    """Set-points without raises that are too small, too soon or too fast, and which of them are steady, which ramp.

    A decrease is never delayed. A set-point from the future (a clock that was set back) delays nothing.
    """
    raised = (watts > cars.last_w) & ~np.isnan(cars.last_ms)
    since_ms = now_ms - cars.last_ms
    soon = (since_ms >= 0) & (since_ms < CALM_MS)
    steady = raised & (soon | (watts - cars.last_w < cars.step_w))
    # What it was told may be a power that is none of those it can be told now.
    kept = np.floor((cars.last_w + ROUNDING_W) / cars.step_w) * cars.step_w
    kept = np.where(kept >= cars.min_w, kept, 0.0)
    # A ramp from nothing has to reach the smallest current, or it would never begin.
    ramped = np.floor_divide(cars.last_w + cars.ramp_w, cars.step_w) * cars.step_w
    ramped = np.maximum(cars.min_w, ramped)
    ramp = raised & ~steady & (ramped < watts)
    return np.where(steady, kept, np.where(ramp, ramped, watts)), steady, ramp


def set_points(
    cars: Cars, paths: Paths, watts: Floats, highs: Floats, found: Reasons, held: tuple[Bools, Bools] | None
) -> dict[str, SetPoint]:
    """By connector; ``held``: which raises are held back, as steady and by ramp."""
    limits, rows = found.limits, found.rows
    if held is not None:
        for which, limit in zip(held, (Limit.STEADY, Limit.RAMP), strict=True):
            for i in np.flatnonzero(which).tolist():
                limits[i] = limit
        rows = np.where(held[0] | held[1], 0, rows)
    places = [paths.names[row] if row else name for row, name in zip(rows.tolist(), cars.connectors, strict=True)]
    # Rounding must not take the last watt of a power that is whole.
    whole_w = np.maximum(watts + ROUNDING_W, 0.0).astype(np.int64).tolist()
    points = map(
        SetPoint, whole_w, limits, [name.removesuffix("/plan") for name in places], highs.astype(np.int64).tolist()
    )
    return dict(zip(cars.connectors, points, strict=True))
