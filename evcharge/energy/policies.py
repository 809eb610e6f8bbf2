"""Policies side by side: pure, deterministic, the same two functions for each.

``plan`` looks ahead and may take a while; ``dispatch`` says what each connector gets now, with or without a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from operator import attrgetter

import msgspec
import numpy as np

from evcharge.energy import rules
from evcharge.energy.allocate import (
    Grants,
    by_fairness,
    by_laxity,
    calm,
    in_order,
    reasons,
    set_points,
    whole_reasons,
    with_targets,
)
from evcharge.energy.amperes import whole_amperes
from evcharge.energy.cars import Cars, Floats, Ints, ceilings_of, middle
from evcharge.energy.ceilings import SOFT_CAP, ceilings_w
from evcharge.energy.model import STEP_MS, Node, Plan, Session, SetPoint, Signals
from evcharge.energy.paths import Paths, Site, paths_of
from evcharge.energy.planner import BUDGET_S, make_plan
from evcharge.energy.tree import Tree

# An older plan says nothing any more: who came and went since is not in it.
PLAN_LIFE_MS = 900_000


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
        return Plan(made_ms=now_ms, starts_ms=(now_ms,), target_w={}, ruling=ruling, rules=after)
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
    sessions = sorted(sessions, key=attrgetter("id"))
    site = paths_of(tree, sessions)
    if not site.online.all():
        site = _left(site, Cars(sessions))
        sessions = [session for session, online in zip(sessions, site.online.tolist(), strict=True) if online]
        site = site._replace(bottoms=site.bottoms[site.online])
    if not sessions:
        return {}
    targets, ceilings = _from_plan(policy, now_ms, sessions, made)
    if policy is Policy.RULES:
        site.paths.caps[site.paths.names.index(tree.root)] *= SOFT_CAP
    cars = Cars(sessions)
    eased = cars.with_needs(_eased(policy, now_ms, sessions, made)) if policy is Policy.PLAN else cars
    paths = with_targets(site, eased, targets, now_ms)
    limits_w = ceilings_of(sessions, ceilings)
    highs = cars.tops_w(limits_w, look_ms) if whole else cars.highs_w(limits_w, look_ms)
    grants = _share(policy, now_ms, eased, paths, highs)
    usable_w = cars.usable_w(look_ms)
    if not whole:
        return set_points(cars, paths, grants.watts, highs, reasons(cars, paths, highs, grants, usable_w), None)
    watts = whole_amperes(eased, paths, highs, grants.watts, now_ms)
    found = whole_reasons(cars, paths, highs, grants, watts, usable_w)
    watts, steady, ramp = calm(cars, watts, now_ms)
    return set_points(cars, paths, watts, highs, found, (steady, ramp))


def _share(policy: Policy, now_ms: int, cars: Cars, paths: Paths, highs: Floats) -> Grants:
    if policy is Policy.EQUAL:
        return by_fairness(cars, paths, highs)
    if policy in (Policy.EDF, Policy.LLF):
        return in_order(paths, highs, _order(policy, now_ms, cars))
    return by_laxity(cars, paths, highs, now_ms)


def _eased(policy: Policy, now_ms: int, sessions: Sequence[Session], made: Plan | None) -> list[Session]:
    """With the needs that the plan will meet. In a shortage laxity alone would give all to the largest needs; what
    each is to miss is the plan's to share out, and who misses it is then no longer urgent.
    """
    if policy is not Policy.PLAN or made is None or not 0 <= now_ms - made.made_ms < PLAN_LIFE_MS:
        return list(sessions)
    return [
        msgspec.structs.replace(session, need_wh=max(session.delivered_wh, session.need_wh - short))
        if (short := made.short_wh.get(session.id, 0))
        else session
        for session in sessions
    ]


def _order(policy: Policy, now_ms: int, cars: Cars) -> Ints:
    """Ties go to who came first."""
    if policy is Policy.EDF:
        return np.lexsort((cars.arrival_ms, cars.departure_ms))  # who leaves at an unknown time is last
    lax = middle(cars.laxity(now_ms))
    return np.lexsort((cars.arrival_ms,) if lax is None else (cars.arrival_ms, lax))


def _left(site: Site, cars: Cars) -> Site:
    """The paths of those that can be steered, less what the others were told last."""
    told_w = np.where(site.online, 0.0, cars.last_w)
    return site._replace(paths=site.paths.lowered(site.paths.sums(told_w)).only(site.online))


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
