"""What each connector gets now, with or without a plan: pure, deterministic, the same function for each policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

import msgspec
import numpy as np

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
from evcharge.energy.model import STEP_MS, Node, Plan, Policy, Session, SetPoint
from evcharge.energy.paths import Paths, Site, paths_of
from evcharge.energy.tree import Tree

# A share that lacks less than this is met.
MET_WH = 10
# Comes after everybody who still waits for their share: later than any departure that is planned for.
LAST_MS = 7 * 86_400_000


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
    paths = with_targets(site, eased, targets, now_ms, whole=whole)
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
    if policy is not Policy.PLAN or made is None or not made.holds(now_ms):
        return list(sessions)
    return [_less(session, short) if (short := made.short_wh.get(session.id, 0)) else session for session in sessions]


def _less(session: Session, short_wh: int) -> Session:
    need_wh = max(session.delivered_wh, session.need_wh - short_wh)
    if need_wh - session.delivered_wh > MET_WH or session.departure_ms is None:
        return msgspec.structs.replace(session, need_wh=need_wh)
    # It has its share: the nearer its departure, the more laxity alone would give it of what is others'.
    return msgspec.structs.replace(session, need_wh=need_wh, departure_ms=session.departure_ms + LAST_MS)


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
    if made is not None and not made.holds(now_ms):
        made = None
    if policy is Policy.RULES:
        return {}, ceilings_w(now_ms, sessions, None if made is None else made.ruling)
    if policy is not Policy.PLAN or made is None:
        return {}, {}
    found = {session.node: made.target_at(session.node, now_ms) for session in sessions}
    return {node: target for node, target in found.items() if target is not None}, {}
