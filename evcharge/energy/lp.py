"""The linear program of a site's power over time, built as one sparse matrix and solved by HiGHS.

kW, kWh, hours and money. It is never infeasible: what cannot be delivered is bought as shortage, in tiers that get
dearer, so that a shortage is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import highspy
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

# Least price of a missing kWh, and how many times the dearest one it is: no price, in any currency, is a reason to
# leave a car empty. A demand charge is paid once a month: a kW of peak carries two kWh at least.
SHORTAGE_PRICE = 10.0
SHORTAGE_FACTOR = 10.0
SHORTAGE_OF_PEAK = 0.5
# A session's need in equal parts: the first part that is missing costs the least, the last five times that. Within a
# part the optimum does not care who misses it, so ten parts share a shortage to within a tenth of a need.
PARTS = 10
TIERS = tuple(5.0 ** (k / (PARTS - 1)) for k in range(PARTS))
# Money per kWh and hour of waiting where nothing is uncertain: between equal prices the earlier is better.
EARLY = 1e-4
# Money per kWh through the battery beside its losses, so that it is not cycled for nothing.
WEAR = 1e-3
# One way through the battery.
EFFICIENCY = 0.95
# From so many columns on, interior point without crossover takes over from the dual simplex. Without presolve, which
# costs more here than it saves, the simplex was the faster one by three times on 40,000 columns.
SIMPLEX_COLUMNS = 200_000


class Demands(NamedTuple):
    """Sessions as arrays of the same length; a session may use periods ``first`` to ``last`` - 1."""

    need: Floats
    power: Floats
    first: Ints
    last: Ints
    last_share: Floats
    """Share of period last - 1 that is before departure."""
    penalty: Floats
    """Factor of SHORTAGE_PRICE: expected arrivals count less than those who are there."""
    first_share: Floats
    """Share of period ``first`` that is after arrival."""
    whole: Floats
    """Need from arrival on: tiers are parts of it, so that who has much already misses the rest first."""


class NodeRow(NamedTuple):
    """Σ shares · x of ``members`` ≤ cap, in each period."""

    members: Ints
    cap: Floats
    shares: Floats | None = None
    """One per member, for a phase's row; None: the node's own row, where each counts fully. Of two rows without shares
    one lies within the other, or they have no member in common: they are a tree's."""


class Store(NamedTuple):
    """A battery: kWh and kW."""

    soc: float
    least: float
    capacity: float
    charge: float
    discharge: float


class Problem(NamedTuple):
    """All of it. Arrays over periods have their number of elements."""

    hours: Floats
    price: Floats
    """Money per kWh with carbon in it."""
    base: Floats
    pv: Floats
    cap: Floats
    demands: Demands
    nodes: Sequence[NodeRow] = ()
    export: float = 0.0
    demand_charge: float = 0.0
    billed_peak: float = 0.0
    store: Store | None = None
    alive: Floats | None = None
    """Per session and period (rows, columns): how likely it is still there; None: surely."""
    peak_of: Ints | None = None
    """Per period, the billing interval whose mean the demand charge counts; None: each period is one."""
    waiting: float = EARLY
    """Money per kWh and hour of waiting."""
    spare: NDArray[np.bool_] | None = None
    """Per session, whether only room under the limits is kept for it: what it draws costs nothing and takes nobody's
    sun. None: for none."""


class Solution(NamedTuple):
    """What to do. ``power`` is the sum over sessions per period, ``of`` each session's kWh."""

    power: Floats
    session: Ints
    period: Ints
    x: Floats
    """Column by column: session, period, kW."""
    short: Floats
    battery: Floats
    grid: Floats
    objective: float


class SolverFailed(Exception):
    """HiGHS did not come to an optimum; its status is the text."""


def shortage_price(problem: Problem) -> float:
    """Money per missing kWh."""
    dearest = float(np.max(problem.price, initial=0.0))
    return max(SHORTAGE_PRICE, SHORTAGE_FACTOR * dearest, SHORTAGE_OF_PEAK * problem.demand_charge)


def solve(problem: Problem, *, seconds: float = float("inf"), threads: int = 1) -> Solution:
    """The optimum. Raises SolverFailed, after ``seconds`` at the latest."""
    periods, count = len(problem.hours), len(problem.demands.need)
    demands, hours = problem.demands, problem.hours
    lengths = np.maximum(0, demands.last - demands.first)
    session = np.repeat(np.arange(count, dtype=np.int32), lengths)
    offset = np.arange(len(session), dtype=np.int32) - np.repeat(np.cumsum(lengths) - lengths, lengths).astype(np.int32)
    period = (np.repeat(demands.first, lengths) + offset).astype(np.int32)
    width = len(session)
    high = demands.power[session].copy()
    high[period == demands.first[session]] *= demands.first_share[session[period == demands.first[session]]]
    high[period == demands.last[session] - 1] *= demands.last_share[session[period == demands.last[session] - 1]]
    middle = np.cumsum(hours) - hours / 2
    shortage = shortage_price(problem)
    # Waiting is dear in the currency in which a shortage is.
    cost = problem.waiting * (shortage / SHORTAGE_PRICE) * middle[period] * hours[period]
    tiers = np.asarray(TIERS)
    matrix = _Matrix()
    x = matrix.columns(cost, np.zeros(width), high)
    short_cost = (shortage * demands.penalty[:, None] * tiers[None, :]).ravel()
    part = np.repeat(np.maximum(demands.whole, demands.need) / len(TIERS), len(TIERS))
    short = matrix.columns(short_cost, np.zeros(len(part)), part)
    if problem.alive is not None:
        # What is given to a car that may be gone is worth less: its shortage is then not filled.
        worth = shortage * (1.0 - problem.alive[session, period]) * demands.penalty[session]
        matrix.add_cost(x, worth * hours[period])
    grid = matrix.columns(problem.price * hours, np.zeros(periods), np.maximum(problem.cap, 0.0))
    # Where the base load alone is above the limit, the excess is nobody's to steer: it must not make it infeasible.
    over = matrix.columns(1e3 * shortage * hours, np.zeros(periods), np.full(periods, np.inf))
    out = matrix.columns(-problem.export * hours, np.zeros(periods), np.full(periods, np.inf))
    # need: Σ dt x + Σ u = need
    rows = matrix.rows(demands.need, demands.need)
    matrix.put(rows[session], x, hours[period])
    matrix.put(np.repeat(rows, len(TIERS)), short, np.ones(len(short)))
    # balance: Σ x + bc − bd − g + y − over = pv − base
    balance = matrix.rows(problem.pv - problem.base, problem.pv - problem.base)
    matrix.put(balance, grid, -np.ones(periods))
    matrix.put(balance, over, -np.ones(periods))
    matrix.put(balance, out, np.ones(periods))
    _limit(problem, matrix, session, period, x, balance)
    if problem.spare is not None and problem.spare.any():
        # Σ x of the spare ones + g − y ≤ cap
        kept = problem.spare[session]
        limit = matrix.rows(np.full(periods, -np.inf), np.maximum(problem.cap, 0.0))
        _sum_up(matrix, limit, period[kept], x[kept], [grid])
        matrix.put(limit, out, -np.ones(periods))
    if problem.demand_charge > 0:
        _bill_peak(problem, matrix, grid)
    battery = _battery(problem, matrix, balance) if problem.store is not None else None
    values, objective = matrix.solve(seconds, threads)
    power = np.bincount(period, weights=values[x], minlength=periods).astype(np.float64)
    return Solution(
        power=power,
        session=session,
        period=period,
        x=values[x],
        short=values[short].reshape(count, len(TIERS)).sum(axis=1),
        battery=np.zeros(periods) if battery is None else values[battery[0]] - values[battery[1]],
        grid=values[grid],
        objective=objective,
    )


def _limit(problem: Problem, matrix: _Matrix, session: Ints, period: Ints, x: Ints, balance: Ints) -> None:
    """Limits of nodes and phases, and all power into the balance.

    What a node draws is a column of its own, which the row above takes instead of the sessions': each session is then
    in two rows however deep the tree is, which makes the simplex several times faster.
    """
    periods, count = len(problem.hours), len(problem.demands.need)
    # What is to be taken by the next row above: sessions' columns, and totals of nodes with one of their members.
    free = np.ones(len(x), dtype=bool) if problem.spare is None else ~problem.spare[session]
    totals: list[tuple[int, Ints]] = []
    inside = np.zeros(count, dtype=bool)
    for node in sorted((node for node in problem.nodes if node.shares is None), key=lambda node: len(node.members)):
        if not len(node.members):
            continue
        inside[:] = False
        inside[node.members] = True
        chosen = free & inside[session]
        free &= ~chosen
        below = [columns for member, columns in totals if inside[member]]
        totals = [pair for pair in totals if not inside[pair[0]]]
        total = matrix.columns(np.zeros(periods), np.zeros(periods), np.maximum(node.cap, 0.0))
        # Σ x + Σ totals below − total = 0
        rows = matrix.rows(np.zeros(periods), np.zeros(periods))
        _sum_up(matrix, rows, period[chosen], x[chosen], below)
        matrix.put(rows, total, -np.ones(periods))
        totals.append((int(node.members[0]), total))
    _sum_up(matrix, balance, period[free], x[free], [columns for _, columns in totals])
    for node in problem.nodes:
        if node.shares is not None:
            share = np.zeros(count)
            share[node.members] = node.shares
            chosen = share[session] > 0
            rows = matrix.rows(np.full(periods, -np.inf), np.maximum(node.cap, 0.0))
            matrix.put(rows[period[chosen]], x[chosen], share[session[chosen]])


def _sum_up(matrix: _Matrix, rows: Ints, period: Ints, x: Ints, totals: Sequence[Ints]) -> None:
    matrix.put(rows[period], x, np.ones(len(x)))
    for columns in totals:
        matrix.put(rows, columns, np.ones(len(rows)))


def _bill_peak(problem: Problem, matrix: _Matrix, grid: Ints) -> None:
    """z ≥ mean of g over each billing interval, z ≥ the peak that is billed already."""
    periods = len(problem.hours)
    of = np.arange(periods, dtype=np.int32) if problem.peak_of is None else problem.peak_of
    total = np.bincount(of, weights=problem.hours)
    peak = matrix.columns(
        np.array([problem.demand_charge]), np.array([problem.billed_peak]), np.array([np.inf], dtype=np.float64)
    )
    # Σ share g − z ≤ 0
    rows = matrix.rows(np.full(len(total), -np.inf), np.zeros(len(total)))
    matrix.put(rows[of], grid, problem.hours / total[of])
    matrix.put(rows, np.repeat(peak, len(total)), -np.ones(len(total)))


def _battery(problem: Problem, matrix: _Matrix, balance: Ints) -> tuple[Ints, Ints]:
    """soc_t = soc_{t−1} + 0.95 dt bc − dt bd / 0.95; at the end at least what there was, up to a half."""
    store, hours, periods = problem.store, problem.hours, len(problem.hours)
    assert store is not None
    zeros = np.zeros(periods)
    into = matrix.columns(WEAR * hours, zeros, np.full(periods, store.charge))
    out = matrix.columns(WEAR * hours, zeros, np.full(periods, store.discharge))
    least = np.full(periods, min(store.least, store.soc))
    least[-1] = max(least[-1], min(store.soc, store.capacity / 2))
    soc = matrix.columns(zeros, least, np.full(periods, max(store.capacity, store.soc)))
    matrix.put(balance, into, np.ones(periods))
    matrix.put(balance, out, -np.ones(periods))
    begin = zeros.copy()
    begin[0] = store.soc
    chain = matrix.rows(begin, begin)
    matrix.put(chain, soc, np.ones(periods))
    matrix.put(chain[1:], soc[:-1], -np.ones(periods - 1))
    matrix.put(chain, into, -EFFICIENCY * hours)
    matrix.put(chain, out, hours / EFFICIENCY)
    return into, out


class _Matrix:
    """Columns, rows and entries in the order in which they come; compressed once at the end."""

    def __init__(self) -> None:
        self._cost: list[Floats] = []
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._row_low: list[Floats] = []
        self._row_high: list[Floats] = []
        self._entries: list[tuple[Ints, Ints, Floats]] = []
        self._width = 0
        self._height = 0
        self._more: list[tuple[Ints, Floats]] = []

    def columns(self, cost: Floats, low: Floats, high: Floats) -> Ints:
        """Indices of new columns."""
        self._cost.append(cost)
        self._low.append(low)
        self._high.append(high)
        self._width += len(cost)
        return np.arange(self._width - len(cost), self._width, dtype=np.int32)

    def rows(self, low: Floats, high: Floats) -> Ints:
        """Indices of new rows."""
        self._row_low.append(low)
        self._row_high.append(high)
        self._height += len(low)
        return np.arange(self._height - len(low), self._height, dtype=np.int32)

    def put(self, rows: Ints, columns: Ints, values: Floats) -> None:
        """Entries; no place twice."""
        self._entries.append((rows, columns, values))

    def add_cost(self, columns: Ints, cost: Floats) -> None:
        """On top of what the columns cost."""
        self._more.append((columns, cost))

    def solve(self, seconds: float, threads: int) -> tuple[Floats, float]:
        """Values of the columns, and the objective. Raises SolverFailed."""
        rows = np.concatenate([entry[0] for entry in self._entries])
        columns = np.concatenate([entry[1] for entry in self._entries])
        values = np.concatenate([entry[2] for entry in self._entries])
        order = np.argsort(columns, kind="stable")
        starts = np.zeros(self._width + 1, dtype=np.int32)
        np.cumsum(np.bincount(columns, minlength=self._width), out=starts[1:])
        cost = np.concatenate(self._cost)
        for chosen, added in self._more:
            cost[chosen] += added
        model: Any = highspy.HighsLp()
        model.num_col_, model.num_row_ = self._width, self._height
        model.col_cost_ = cost
        model.col_lower_, model.col_upper_ = np.concatenate(self._low), np.concatenate(self._high)
        model.row_lower_, model.row_upper_ = np.concatenate(self._row_low), np.concatenate(self._row_high)
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.start_ = starts
        model.a_matrix_.index_ = rows[order]
        model.a_matrix_.value_ = values[order]
        make: Any = highspy.Highs
        solver = make()
        solver.silent()
        solver.setOptionValue("threads", threads)
        solver.setOptionValue("time_limit", seconds)
        if self._width < SIMPLEX_COLUMNS:
            solver.setOptionValue("solver", "simplex")
            solver.setOptionValue("presolve", "off")
        else:
            solver.setOptionValue("solver", "ipm")
            solver.setOptionValue("run_crossover", "off")
        solver.passModel(model)
        solver.run()
        status = solver.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolverFailed(solver.modelStatusToString(status))
        found = np.asarray(solver.getSolution().col_value, dtype=np.float64)
        return found, float(solver.getInfo().objective_function_value)
