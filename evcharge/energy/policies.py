"""Policies side by side: pure, deterministic, the same two functions for each.

``plan`` looks ahead and may take a while; ``dispatch`` says what each connector gets now, with or without a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from evcharge.energy import rules
from evcharge.energy.allocate import (
    Grants,
    by_fairness,
    by_laxity,
    calm,
    highs_w,
    in_order,
    laxities,
    tops_w,
    whole_amperes,
    with_targets,
)
from evcharge.energy.ceilings import SOFT_CAP, ceilings_w
from evcharge.energy.model import STEP_MS, Node, Plan, Session, SetPoint, Signals
from evcharge.energy.planner import BUDGET_S, inputs_of, make_plan
from evcharge.energy.tree import Row, Tree

# An older plan says nothing any more: who came and went since is not in it.
PLAN_LIFE_MS = 900_000

# A share that lacks less than this is met.
MET_WH = 10
# Comes after everybody who still waits for their share: later than any departure that is planned for.
LAST_MS = 7 * 86_400_000


class Policy(StrEnum):
    """How power is shared."""

    RULES = "rules"
    """The rule table as ceilings, least laxity under them."""
    EQUAL = "equal"
    """Max-min fair."""
    EDF = "edf"
    """Earliest departure first."""
    LLF = "llf"
    """Least laxity first."""
    SLLF = "sllf"
    """Smoothed least laxity first."""
    PLAN = "plan"
    """Smoothed least laxity first under a plan's targets: the default."""


def plan(
    policy: Policy,
    now_ms: int,
    sessions: Sequence[Session],
    nodes: Iterable[Node],
    signals: Signals,
    *,
    seconds: float = BUDGET_S,
) -> Plan | None:
    """A plan, for the policies that have one. Raises BadTree, SolverFailed."""
    if policy is Policy.PLAN:
        in_order_of_id = sorted(sessions, key=lambda session: session.id)
        return make_plan(now_ms, in_order_of_id, Tree(nodes), signals, seconds=seconds)
    if policy is Policy.RULES:
        after, ruling = rules.follow(signals.rules, signals.readings, now_ms)
        inputs = inputs_of(signals)
        return Plan(made_ms=now_ms, starts_ms=(now_ms,), target_w={}, ruling=ruling, rules=after, inputs=inputs)
    return None


def dispatch(
    policy: Policy,
    now_ms: int,
    sessions: Sequence[Session],
    nodes: Iterable[Node],
    made: Plan | None = None,
    *,
    whole: bool = True,
    look_ms: int = STEP_MS,
) -> dict[str, SetPoint]:
    """Set-point by connector. ``whole`` amperes, as charge points need them, or any power. Raises BadTree.

    Sessions below a node that is offline get none; what they were told last is kept free for them. ``look_ms``: until
    the next call at the latest.
    """
    tree = Tree(nodes)
    # Ties go by this order, and floats are summed in it: the caller's must not matter.
    sessions = sorted(sessions, key=lambda session: session.id)
    steered = [session for session in sessions if tree.online(session.node)]
    rows = _left(tree, sessions, steered)
    targets, ceilings = _from_plan(policy, now_ms, steered, made)
    if policy is Policy.RULES:
        rows = [row._replace(cap_w=row.cap_w * SOFT_CAP) if row.name == tree.root else row for row in rows]
    eased = _eased(policy, now_ms, steered, made)
    rows = with_targets(rows, eased, targets, now_ms)
    tops = tops_w(steered, ceilings, look_ms)
    highs = [float(top) for top in tops] if whole else highs_w(steered, ceilings, look_ms)
    grants = _share(policy, now_ms, eased, rows, highs)
    if whole:
        grants = whole_amperes(eased, rows, tops, grants, now_ms)
    points = {}
    for session, watts, high, (limit, at) in zip(steered, grants.watts, highs, grants.limits, strict=True):
        point = SetPoint(max(0, int(watts + 1e-6)), limit, at, int(high))
        points[session.connector] = calm(session, point, now_ms) if whole else point
    return points


def _share(
    policy: Policy, now_ms: int, sessions: Sequence[Session], rows: Sequence[Row], highs: Sequence[float]
) -> Grants:
    if policy is Policy.EQUAL:
        return by_fairness(sessions, rows, highs)
    if policy in (Policy.EDF, Policy.LLF):
        return in_order(sessions, rows, highs, _order(policy, now_ms, sessions))
    return by_laxity(sessions, rows, highs, now_ms)


def _eased(policy: Policy, now_ms: int, sessions: Sequence[Session], made: Plan | None) -> list[Session]:
    """With the needs that the plan will meet. In a shortage laxity alone would give all to the largest needs; what
    each is to miss is the plan's to share out, and who misses it is then no longer urgent.
    """
    if policy is not Policy.PLAN or made is None or not 0 <= now_ms - made.made_ms < PLAN_LIFE_MS:
        return list(sessions)
    return [_less(session, short) if (short := made.short_wh.get(session.id, 0)) else session for session in sessions]


def _less(session: Session, short_wh: int) -> Session:
    need_wh = max(session.delivered_wh, session.need_wh - short_wh)
    if need_wh - session.delivered_wh > MET_WH or session.departure_ms is None:
        return msgspec.structs.replace(session, need_wh=need_wh)
    # It has its share: the nearer its departure, the more laxity alone would give it of what is others'.
    return msgspec.structs.replace(session, need_wh=need_wh, departure_ms=session.departure_ms + LAST_MS)


def _order(policy: Policy, now_ms: int, sessions: Sequence[Session]) -> list[int]:
    """Ties go to who came first."""
    lax = laxities(sessions, now_ms) or [0.0] * len(sessions)

    def key(i: int) -> tuple[float, int, str]:
        session = sessions[i]
        departure = session.departure_ms if session.departure_ms is not None else float("inf")
        return (departure if policy is Policy.EDF else lax[i], session.arrival_ms, session.id)

    return sorted(range(len(sessions)), key=key)


def _left(tree: Tree, sessions: Sequence[Session], steered: Sequence[Session]) -> list[Row]:
    """The rows of those that can be steered, less what the others were told last."""
    rows = tree.rows(steered)
    if len(steered) == len(sessions):
        return rows
    there = {session.id for session in steered}
    silent = [session for session in sessions if session.id not in there]
    taken = {
        row.name: sum(share * silent[i].last_w for i, share in zip(row.leaves, row.shares, strict=True))
        for row in tree.rows(silent)
    }
    return [row._replace(cap_w=max(0.0, row.cap_w - taken.get(row.name, 0.0))) for row in rows]


def _from_plan(
    policy: Policy, now_ms: int, sessions: Sequence[Session], made: Plan | None
) -> tuple[dict[str, int], Mapping[str, float]]:
    """Targets by node and ceilings by session; none where there is no plan, or an old one."""
    if made is not None and not 0 <= now_ms - made.made_ms < PLAN_LIFE_MS:
        made = None
    if policy is Policy.RULES:
        return {}, ceilings_w(now_ms, sessions, None if made is None else made.ruling)
    if policy is not Policy.PLAN or made is None:
        return {}, {}
    found = {session.node: made.target_at(session.node, now_ms) for session in sessions}
    return {node: target for node, target in found.items() if target is not None}, {}
