"""Who gets how much now (L1): a level for all, whole amperes, turns where not all can charge, and calm.

Works without a plan: a node's target is then its limit. Sums never pass a limit; whatever is rounded, is rounded down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from statistics import median
from typing import NamedTuple

from evcharge.energy.fill import Leaf, fill
from evcharge.energy.model import STEP_MS, Limit, Session, SetPoint
from evcharge.energy.tree import Row
from evcharge.units import MS_PER_HOUR

# Who was given the smallest current keeps it this long where not all can have it: contactors and vehicles wear.
DWELL_MS = 600_000
# No raise sooner than this after the last set-point: frequent profile writes wear out chargers' flash.
CALM_MS = 60_000
# Who can wait less than this many steps is not kept waiting by plans and rules: the next look is a step away.
URGENT_LAXITY = 1.0
# Slack that rounding of floats may leave in a sum, W.
ROUNDING_W = 1e-6


class Grants(NamedTuple):
    """Watts per session, in order, and what kept each from more: a row's name for NODE and PLAN."""

    watts: list[float]
    limits: list[tuple[Limit, str]]


def laxity(session: Session, now_ms: int) -> float | None:
    """Steps that it can still wait and be full at departure; None when nobody knows when it leaves."""
    if session.departure_ms is None:
        return None
    if session.max_w <= 0:
        return 0.0
    needed_ms = session.remaining_wh * MS_PER_HOUR / session.max_w
    return (session.departure_ms - now_ms - needed_ms) / STEP_MS


def laxities(sessions: Sequence[Session], now_ms: int) -> list[float] | None:
    """Laxity of each; one that is unknown counts as the middle of the others. None when all are unknown."""
    found = [laxity(session, now_ms) for session in sessions]
    known = [each for each in found if each is not None]
    if not known:
        return None
    middle = median(known)
    return [middle if each is None else each for each in found]


def usable_w(session: Session, look_ms: int = STEP_MS) -> float:
    """The most that it can take until the next look, ``look_ms`` from now, without regard to whole amperes."""
    return min(float(session.max_w), session.remaining_wh * MS_PER_HOUR / look_ms)


def tops_w(sessions: Sequence[Session], ceilings_w: Mapping[str, float], look_ms: int = STEP_MS) -> list[int]:
    """The same in whole amperes: nothing, or the smallest current and up.

    A need is rounded up: a vehicle that is nearly full gets the smallest current, or it would never be full.
    """
    tops = []
    for session in sessions:
        allowed_w = min(float(session.max_w), ceilings_w.get(session.id, session.max_w))
        most = int(allowed_w // session.step_w)
        needed = max(session.min_a, ceil(usable_w(session, look_ms) / session.step_w)) if session.remaining_wh else 0
        tops.append(min(most, needed) * session.step_w if most >= session.min_a else 0)
    return tops


def highs_w(sessions: Sequence[Session], ceilings_w: Mapping[str, float], look_ms: int = STEP_MS) -> list[float]:
    """The most for each session: what it can take, under its ceiling (by id) where a rule gave one."""
    return [
        min(usable_w(session, look_ms), max(0.0, ceilings_w.get(session.id, session.max_w))) for session in sessions
    ]


def by_laxity(sessions: Sequence[Session], rows: Sequence[Row], highs: Sequence[float], now_ms: int) -> Grants:
    """Smoothed least-laxity-first; fair shares when no departure is known."""
    lax = laxities(sessions, now_ms)
    if lax is None:
        return by_fairness(sessions, rows, highs)
    leaves = [
        Leaf(each - 1.0, float(max(1, session.max_w)), 0.0, high)
        for session, each, high in zip(sessions, lax, highs, strict=True)
    ]
    return _filled(sessions, leaves, rows)


def by_fairness(sessions: Sequence[Session], rows: Sequence[Row], highs: Sequence[float]) -> Grants:
    """Weighted max-min fairness."""
    leaves = [
        Leaf(0.0, float(max(1, session.weight)), 0.0, high) for session, high in zip(sessions, highs, strict=True)
    ]
    return _filled(sessions, leaves, rows)


def in_order(sessions: Sequence[Session], rows: Sequence[Row], highs: Sequence[float], order: Iterable[int]) -> Grants:
    """One after the other, each as much as there is left: what EDF and LLF do."""
    room = _Room(rows, len(sessions))
    watts, limits = [0.0] * len(sessions), [(Limit.NEED, "")] * len(sessions)
    for i in order:
        watts[i] = min(highs[i], room.for_leaf(i))
        room.take(i, watts[i])
        limits[i] = _own(sessions[i], highs[i]) if watts[i] >= highs[i] else _row(room.tightest(i))
    return Grants(watts, limits)


def _filled(sessions: Sequence[Session], leaves: Sequence[Leaf], rows: Sequence[Row]) -> Grants:
    values, stopped = fill(leaves, rows)
    limits = [
        _own(session, leaf.high) if row is None else _row(rows[row].name)
        for session, leaf, row in zip(sessions, leaves, stopped, strict=True)
    ]
    return Grants(values, limits)


def _own(session: Session, high_w: float) -> tuple[Limit, str]:
    """Why nobody but itself stops it at ``high_w``."""
    if high_w > session.max_w - session.step_w:
        return Limit.RATING, session.connector
    return (Limit.NEED, session.connector) if high_w >= usable_w(session) else (Limit.RULE, session.connector)


def _row(name: str) -> tuple[Limit, str]:
    node, _, part = name.partition("/")
    return (Limit.PLAN, node) if part == "plan" else (Limit.NODE, name)


def whole_amperes(
    sessions: Sequence[Session], rows: Sequence[Row], tops: Sequence[int], grants: Grants, now_ms: int
) -> Grants:
    """Amperes that a charge point can be told: none, or from the smallest current up, whole ones.

    First those who were given the smallest current less than ``DWELL_MS`` ago keep it. Then everybody has what is
    theirs, rounded down. What is left over lifts those that have nothing to the smallest current, then adds single
    amperes; the least laxity first each time, where nobody knows it those who have waited longest.
    """
    count = len(sessions)
    room = _Room(rows, count)
    watts, limits = [0.0] * count, list(grants.limits)
    order = _turns(sessions, now_ms)
    for i in order:
        if tops[i] and _dwells(sessions[i], now_ms) and sessions[i].min_w <= room.for_leaf(i):
            room.take(i, sessions[i].min_w)
            watts[i] = sessions[i].min_w
    for i in order:
        session = sessions[i]
        amps = int((min(grants.watts[i], tops[i]) + ROUNDING_W) // session.step_w)
        wanted = float(amps * session.step_w) if amps >= session.min_a else 0.0
        if wanted > watts[i] and wanted - watts[i] <= room.for_leaf(i):
            room.take(i, wanted - watts[i])
            watts[i] = wanted
    for i in order:
        if watts[i] == 0 < tops[i] and sessions[i].min_w <= room.for_leaf(i):
            room.take(i, sessions[i].min_w)
            watts[i] = sessions[i].min_w
    rising = [i for i in order if 0 < watts[i] < tops[i]]
    while rising:
        rising = [i for i in rising if watts[i] < tops[i] and sessions[i].step_w <= room.for_leaf(i)]
        for i in rising:
            if sessions[i].step_w <= room.for_leaf(i):
                room.take(i, sessions[i].step_w)
                watts[i] += sessions[i].step_w
    for i, session in enumerate(sessions):
        if watts[i] >= tops[i]:
            limits[i] = _own(session, tops[i])
        elif watts[i] == 0:
            limits[i] = (Limit.MINIMA, room.tightest(i))
        elif limits[i][0] not in (Limit.NODE, Limit.PLAN):
            limits[i] = (Limit.WHOLE_AMPERES, room.tightest(i))
    return Grants(watts, limits)


def _dwells(session: Session, now_ms: int) -> bool:
    return session.last_w > 0 and session.turned_ms is not None and now_ms - session.turned_ms < DWELL_MS


def _turns(sessions: Sequence[Session], now_ms: int) -> list[int]:
    """Whose turn it is first."""
    lax = laxities(sessions, now_ms)

    def key(i: int) -> tuple[float, int, str]:
        session = sessions[i]
        # Unknown departures: who waits goes before who charges, and the longest wait first.
        since = session.turned_ms if session.turned_ms is not None else session.arrival_ms
        return (float(session.last_w > 0) if lax is None else lax[i], since, session.id)

    return sorted(range(len(sessions)), key=key)


class _Room:
    """What is left in each row."""

    def __init__(self, rows: Sequence[Row], leaves: int) -> None:
        self._left = [row.cap_w for row in rows]
        self._names = [row.name for row in rows]
        self._of_leaf: list[list[tuple[int, float]]] = [[] for _ in range(leaves)]
        for index, row in enumerate(rows):
            for i, share in zip(row.leaves, row.shares, strict=True):
                self._of_leaf[i].append((index, share))

    def for_leaf(self, i: int) -> float:
        """The most that this leaf can have on top of what it has."""
        return max(0.0, min([self._left[row] / share for row, share in self._of_leaf[i]]) + ROUNDING_W)

    def take(self, i: int, watts: float) -> None:
        for row, share in self._of_leaf[i]:
            self._left[row] -= share * watts

    def tightest(self, i: int) -> str:
        """The row that has least room for this leaf."""
        row = min(self._of_leaf[i], key=lambda pair: self._left[pair[0]] / pair[1])[0]
        return self._names[row]


def calm(session: Session, point: SetPoint, now_ms: int) -> SetPoint:
    """The set-point without raises that are too small, too soon or too fast. A decrease is never delayed."""
    if point.watts <= session.last_w or session.last_ms is None:
        return point
    if now_ms - session.last_ms < CALM_MS or point.watts - session.last_w < session.step_w:
        return SetPoint(session.last_w, Limit.STEADY, session.connector, point.wanted_w)
    if session.ramp_w is not None:
        # A ramp from nothing has to reach the smallest current, or it would never begin.
        amps = max(session.min_a, (session.last_w + session.ramp_w) // session.step_w)
        if amps * session.step_w < point.watts:
            return SetPoint(amps * session.step_w, Limit.RAMP, session.connector, point.wanted_w)
    return point


def with_targets(
    rows: Sequence[Row], sessions: Sequence[Session], targets: Mapping[str, int], now_ms: int
) -> list[Row]:
    """The rows, and one for each node with a target: over the sessions that draw from this very node.

    Whoever would be late by waiting is not held back by a plan: it comes first, and the target is for the others. What
    whole amperes and forecasts lose is made good that way while there is still time.
    """
    more = []
    for node_id, target_w in targets.items():
        left_w, members = float(target_w), []
        for i, session in enumerate(sessions):
            if session.node == node_id:
                left = laxity(session, now_ms)
                if left is not None and left < URGENT_LAXITY:
                    left_w -= usable_w(session)
                else:
                    members.append(i)
        if members:
            more.append(Row(f"{node_id}/plan", max(0.0, left_w), tuple(members), (1.0,) * len(members)))
    return [*rows, *more]
