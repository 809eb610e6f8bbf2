"""How much each node gets over the next hours (L2): the linear program of ``lp`` on a grid of 5 and 15 minutes.

The plan says how much, never who: which car gets it is the allocator's to decide each time, by laxity.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from evcharge.energy.lp import SHORTAGE_PRICE, Demands, Floats, NodeRow, Problem, Solution, Store, solve
from evcharge.energy.model import STEP_MS, Battery, Input, Plan, Series, Session, Signals
from evcharge.energy.survival import Survival
from evcharge.energy.tree import PHASES, Tree
from evcharge.units import MS_PER_HOUR

# The first hour in steps of 5 minutes, the rest in quarters: prices and billing change on quarters.
FINE_STEPS = 12
COARSE_MS = 900_000
# A plan that sees less cannot tell that power will be cheaper tonight.
LEAST_HORIZON_MS = 14 * MS_PER_HOUR
MAX_PERIODS = 104
# How far forecasts have to reach, ms: the longest horizon is a day, and an hour for where it begins in a quarter.
FORESIGHT_MS = 25 * MS_PER_HOUR
# How long a plan may take; what is late is left to the allocator alone.
BUDGET_S = 1.0
# Vehicles that are only expected count a little less than those that are there.
EXPECTED_PENALTY = 0.9
# Money per kWh and hour of waiting: of 10,000 kWh that wait for an hour one is missed in the end, because somebody came
# whom nobody expected, or left early, and it is worth SHORTAGE_PRICE. A saving that is smaller is not worth the wait.
WAITING = SHORTAGE_PRICE / 10_000
# A session that nobody knows the departure of is planned as if it left after this long from now, ms.
UNKNOWN_STAY_MS = 4 * MS_PER_HOUR


def periods(now_ms: int, until_ms: int) -> list[int]:
    """Edges of the periods: the first from now to the next 5 minutes, from about an hour on quarters of the clock."""
    edges = [now_ms]
    edge = now_ms - now_ms % STEP_MS + STEP_MS
    while len(edges) < FINE_STEPS or edge % COARSE_MS:
        edges.append(edge)
        edge += STEP_MS
    until_ms = max(until_ms, now_ms + LEAST_HORIZON_MS)
    while len(edges) <= MAX_PERIODS and edges[-1] < until_ms:
        edges.append(edge)
        edge += COARSE_MS
    return edges


def means(series: Series, edges: Sequence[int]) -> Floats:
    """Mean of a step function over each period; the first and last value hold beyond its ends."""
    if not series.values:
        raise ValueError("a series without values")
    marks = series.start_ms + series.step_ms * np.arange(len(series.values) + 1, dtype=np.float64)
    sums = np.concatenate(([0.0], np.cumsum(series.values))) * series.step_ms
    at = np.asarray(edges, dtype=np.float64)
    area = np.interp(at, marks, sums)
    area += np.minimum(at - marks[0], 0.0) * series.values[0] + np.maximum(at - marks[-1], 0.0) * series.values[-1]
    return np.asarray(np.diff(area) / np.diff(at), dtype=np.float64)


def demands_of(sessions: Sequence[tuple[float, int, int, float, float]], edges: Sequence[int]) -> Demands:
    """Rows of (kWh, from ms, until ms, kW, penalty) on the grid, ``whole`` the kWh. What lies outside is left out."""
    marks = list(edges)
    last_period = len(marks) - 2
    rows = []
    for need, start, end, power, penalty in sessions:
        start, end = max(start, marks[0]), min(end, marks[-1])
        if end <= start:
            rows.append((need, power, 0, 0, 0.0, penalty, 0.0))
            continue
        first = min(last_period, bisect_right(marks, start) - 1)
        last = min(last_period, bisect_right(marks, end - 1) - 1)
        first_share = (marks[first + 1] - start) / (marks[first + 1] - marks[first])
        last_share = (end - marks[last]) / (marks[last + 1] - marks[last])
        if first == last:
            # Both shares would be multiplied; the one period has the share between the two.
            first_share, last_share = (end - start) / (marks[first + 1] - marks[first]), 1.0
        rows.append((need, power, first, last + 1, last_share, penalty, first_share))
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    return Demands(
        need=table[:, 0],
        power=table[:, 1],
        first=table[:, 2].astype(np.int32),
        last=table[:, 3].astype(np.int32),
        last_share=table[:, 4],
        penalty=table[:, 5],
        first_share=table[:, 6],
        whole=table[:, 0].copy(),
    )


def make_plan(
    now_ms: int, sessions: Sequence[Session], tree: Tree, signals: Signals, *, seconds: float = BUDGET_S
) -> Plan:
    """The plan. Raises SolverFailed when there is none in time; the allocator then works without."""
    edges = periods(now_ms, max((s.departure_ms or 0 for s in sessions), default=0))
    problem = problem_of(now_ms, sessions, tree, signals, edges)
    solution = solve(problem, seconds=seconds)
    return _plan_of(now_ms, sessions, edges, solution, inputs_of(signals))


def inputs_of(signals: Signals) -> tuple[Input, ...]:
    """What the signals were made from, by name: two plans from the same inputs are equal."""
    return tuple(Input(name, age_ms) for name, age_ms in sorted(signals.ages.items()))


def problem_of(now_ms: int, sessions: Sequence[Session], tree: Tree, signals: Signals, edges: Sequence[int]) -> Problem:
    """Sessions first, then expected ones, on the grid of ``edges``."""
    span = len(edges) - 1
    hours = np.diff(np.asarray(edges, dtype=np.float64)) / MS_PER_HOUR
    root = tree.nodes[tree.root]
    latest_ms = max(signals.lateness_ms, default=0)
    spare = [False] * len(sessions)
    rows = [(s.remaining_wh / 1000, now_ms, _leaves_ms(s, now_ms, latest_ms), s.max_w / 1000, 1.0) for s in sessions]
    for each in signals.expected:
        if each.departure_ms > now_ms:
            # Those who were expected by now and did not come are not expected any more, in the share that has passed.
            share = 1.0
            if each.arrival_ms < now_ms:
                share = max(0.0, 1.0 - (now_ms - each.arrival_ms) / MS_PER_HOUR)
            need = each.need_wh / 1000 * share
            if need > 0:
                start_ms = max(now_ms + STEP_MS, each.arrival_ms)
                rows.append((need, start_ms, each.departure_ms, each.max_w / 1000, EXPECTED_PENALTY * each.likely))
                spare.append(each.likely < 1)
    demands = demands_of(rows, edges)
    demands.whole[: len(sessions)] = [session.need_wh / 1000 for session in sessions]
    price = means(signals.price, edges)
    if signals.co2 is not None:
        price = price + signals.co2_price * means(signals.co2, edges)
    base = means(signals.base, edges) if signals.base is not None else np.full(span, max(0, root.base_w))
    pv = means(signals.pv, edges) if signals.pv is not None else np.full(span, max(0, root.pv_w))
    cap = np.full(span, root.cap_w / 1000)
    if signals.cap is not None:
        cap = np.minimum(cap, means(signals.cap, edges) / 1000)
    return Problem(
        hours=hours,
        price=price,
        base=np.maximum(base, 0.0) / 1000,
        pv=np.maximum(pv, 0.0) / 1000,
        cap=cap,
        demands=demands,
        nodes=_limits(sessions, tree, demands.power, span),
        export=signals.export_price,
        demand_charge=signals.demand_charge,
        billed_peak=signals.billed_peak_w / 1000,
        store=_store(signals.battery),
        alive=_alive(now_ms, sessions, signals, edges, len(rows)),
        # Each period for itself, though quarters are billed: a quarter's mean would let the power jump within it, and
        # what was drawn since this quarter began is not known here.
        peak_of=None,
        waiting=WAITING,
        spare=np.array(spare, dtype=np.bool_),
    )


def _limits(sessions: Sequence[Session], tree: Tree, powers: Floats, span: int) -> list[NodeRow]:
    """Rows of the nodes below the root and of all phases that can bind, with the base load as it is now.

    ``powers`` are kW of sessions and, after them, of vehicles that are only expected. Those have no place yet but the
    root, whose own limit is the grid's; nobody knows their phases either, so each phase has a third of them.
    """
    here, limits = len(sessions), []
    for row in tree.rows(sessions):
        members, shares = np.asarray(row.leaves, dtype=np.int32), np.asarray(row.shares)
        whole = row.name in tree.nodes
        if whole and row.name == tree.root:
            continue
        if row.name.rpartition("/")[0] == tree.root:
            members = np.concatenate((members, np.arange(here, len(powers), dtype=np.int32)))
            shares = np.concatenate((shares, np.full(len(powers) - here, 1 / len(PHASES))))
        if float(shares @ powers[members]) > row.cap_w / 1000:
            limits.append(NodeRow(members, np.full(span, row.cap_w / 1000), None if whole else shares))
    return limits


def quarters(edges: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """The billing quarter that each period lies in, numbered from 0."""
    _, number = np.unique(np.asarray(edges[:-1], dtype=np.int64) // COARSE_MS, return_inverse=True)
    return number.astype(np.int32)


def _leaves_ms(session: Session, now_ms: int, latest_ms: int) -> int:
    """Until when power is worth planning for it."""
    if session.departure_ms is None:
        return now_ms + UNKNOWN_STAY_MS
    # Whoever is still there after the declared end may leave any moment, and may be served until then.
    return max(session.departure_ms + max(0, latest_ms), now_ms + STEP_MS)


def _alive(
    now_ms: int, sessions: Sequence[Session], signals: Signals, edges: Sequence[int], count: int
) -> Floats | None:
    """P(still there at the middle of a period | there now): from how others kept to what they had declared, and of who
    declared nothing from how long others stayed.
    """
    late = np.asarray(signals.lateness_ms, dtype=np.float64)
    if not len(late) and all(session.departure_ms is not None for session in sessions):
        return None
    survival = Survival(signals.stays)
    middle = (np.asarray(edges[:-1], dtype=np.float64) + np.asarray(edges[1:], dtype=np.float64)) / 2
    alive = np.ones((count, len(middle)))
    for i, session in enumerate(sessions):
        if session.departure_ms is None:
            alive[i] = survival.still(now_ms - session.arrival_ms, middle - now_ms)
        elif len(late):
            now_left = len(late) - np.searchsorted(late, now_ms - session.departure_ms)
            left = len(late) - np.searchsorted(late, middle - session.departure_ms)
            # Later than anybody before: nothing is known, so the next moments count as sure.
            alive[i] = left / now_left if now_left else 1.0
    return alive


def _store(battery: Battery | None) -> Store | None:
    if battery is None:
        return None
    return Store(
        soc=battery.soc_wh / 1000,
        least=battery.min_soc_wh / 1000,
        capacity=battery.capacity_wh / 1000,
        charge=battery.max_charge_w / 1000,
        discharge=battery.max_discharge_w / 1000,
    )


def _plan_of(
    now_ms: int, sessions: Sequence[Session], edges: Sequence[int], solution: Solution, inputs: tuple[Input, ...]
) -> Plan:
    span = len(edges) - 1
    targets: dict[str, tuple[int, ...]] = {}
    here = solution.session < len(sessions)
    index, period, power = solution.session[here], solution.period[here], solution.x[here]
    names = sorted({session.node for session in sessions})
    number = np.array([names.index(session.node) for session in sessions], dtype=np.int32)
    for each, name in enumerate(names):
        chosen = number[index] == each
        total = np.bincount(period[chosen], weights=power[chosen], minlength=span)
        # Up, by less than a watt: limits are the allocator's to keep, a target is not one.
        targets[name] = tuple(int(watts) for watts in np.ceil(total * 1000 - 1e-3))
    return Plan(
        made_ms=now_ms,
        starts_ms=tuple(edges[:-1]),
        target_w=targets,
        battery_w=tuple(int(watts) for watts in np.trunc(solution.battery * 1000)),
        short_wh={
            s.id: round(short * 1000) for s, short in zip(sessions, solution.short, strict=False) if short > 1e-3
        },
        inputs=inputs,
    )
