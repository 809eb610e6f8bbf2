"""What an operator and the planner say about the nodes: capacities and plans."""

from __future__ import annotations

from evcharge.domain import events as e
from evcharge.domain.commands import AdoptPlan, SetCapacity
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import State
from evcharge.domain.words import Stamp
from evcharge.units import Watts

# Largest capacity that can be set: 1 GW. More is a slip of the keyboard.
MAX_CAPACITY_W = 1_000_000_000


def set_capacity(state: State, command: SetCapacity) -> list[e.Event]:
    """A new limit, from now on."""
    if command.node_id not in state.nodes:
        reason = RefusalReason.UNKNOWN_SUBSTATION
        against = Objection(Obstacle.UNKNOWN, f"substation {command.node_id}")
    elif not 0 <= command.capacity_w <= MAX_CAPACITY_W:
        reason = RefusalReason.CAPACITY_OUT_OF_RANGE
        against = Objection(Obstacle.RANGE, "capacity_w", value=command.capacity_w, limit=MAX_CAPACITY_W)
    else:
        return [e.CapacityChanged(substation_id=command.node_id, capacity_w=Watts(command.capacity_w))]
    return [e.RequestRefused(request="set_capacity", subject=command.node_id, reason=reason, against=(against,))]


def adopt_plan(state: State, command: AdoptPlan, stamp: Stamp) -> list[e.Event]:
    """A newer plan; one that was overtaken while it was worked out says nothing. One that is of a time to come, because
    a clock was ahead once, overtakes none.
    """
    before = state.plans.get(command.root_id)
    if before is not None and command.plan.made_ms <= before.made_ms <= stamp.at_ms:
        return []
    return [e.PlanAdopted(root_id=command.root_id, plan=command.plan)]
