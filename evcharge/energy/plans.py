"""Looking ahead: a plan for the policies that have one. It may take a while, and imports a solver; see ``policies``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evcharge.energy import rules
from evcharge.energy.model import Node, Plan, Policy, Session, Signals
from evcharge.energy.planner import BUDGET_S, inputs_of, make_plan
from evcharge.energy.tree import Tree


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
