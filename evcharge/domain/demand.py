"""Sessions and nodes as the allocator and the planner see them: numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evcharge.domain.feeds import above
from evcharge.domain.headroom import PHASES, Row, base_w, limit_of, measured_all_over
from evcharge.domain.limits import most_w
from evcharge.domain.openings import declared_end_ms
from evcharge.domain.state import Session, State
from evcharge.domain.words import LimitReason
from evcharge.energy import model as en
from evcharge.ids import NodeId
from evcharge.units import Watts

# What is still missing in a vehicle that never said how much it needs, Wh: a typical charge (the mean of the sessions
# at two large sites in California is 9 and 13 kWh). Only a sense of urgency: it is not stopped after so much.
UNKNOWN_NEED_WH = 12_000


def demand_of(
    state: State, session: Session, node_id: NodeId, now_ms: int, current_w: int = 0, plan: en.Plan | None = None
) -> en.Session:
    """What a session wants at a node; ``current_w`` is what it may draw now, ``plan`` the newest one there.

    A departure that has passed says nothing: who stays longer than he said is not more urgent for it.
    """
    needed_wh, begun_ms = session.requested_wh, session.start_ms
    ampere_w = step_w(session)
    # Six whole amperes may be a few watts more than the smallest current, and than a rating or a limit that is no more
    # than that; what is sent is cut to both.
    six_w, own_w = en.MIN_A * ampere_w, most_w(state, session)
    # Who has nothing, from a plan that is no more perhaps, is not kept waiting for calm.
    unplanned = not current_w and (plan is None or not plan.holds(now_ms))
    return en.Session(
        id=session.session_id,
        connector=session.session_id,
        node=node_id,
        need_wh=session.energy_wh + UNKNOWN_NEED_WH if needed_wh is None else max(needed_wh, session.energy_wh + 1),
        delivered_wh=session.energy_wh,
        arrival_ms=session.authorized_ms,
        departure_ms=declared_end_ms(session, now_ms),
        max_w=max(own_w, six_w) if own_w >= session.min_w else own_w,
        volts=ampere_w,
        on=state.site.phases.get(session.cp_id, ()),
        last_w=six_w if session.min_w <= current_w < six_w else current_w,
        last_ms=None if unplanned or waits(session, current_w) else session.limit_ms,
        turned_ms=session.turned_ms,
        new=begun_ms is None or (plan is not None and begun_ms >= plan.made_ms),
    )


def step_w(session: Session) -> int:
    """Watts of one ampere, from the smallest current; rounded up, so that whole amperes never fall below it."""
    return max(1, -(-session.min_w // en.MIN_A))


def node_of(state: State, node_id: NodeId, measured_w: Mapping[NodeId, int], kept_w: int = 0) -> en.Node:
    """A node; ``kept_w`` of it is not to be shared. ``measured_w``: with what is measured below each node."""
    node = state.nodes[node_id]
    phase_w = None
    if node.phase_w is not None:
        one, two, three = (Watts(limit_of(state, Row(node_id, phase))) for phase in PHASES)
        phase_w = (one, two, three)
    return en.Node(
        id=node_id,
        parent=node.parent,
        cap_w=limit_of(state, Row(node_id)),
        phase_cap_w=phase_w,
        base_w=base_w(node, measured_w.get(node_id)) + kept_w,
    )


def tree_of(state: State, node_id: NodeId) -> list[NodeId]:
    """All nodes under the same root, in the order of the configuration."""
    root = root_of(state, node_id)
    return [each for each in state.nodes if root_of(state, each) == root]


def planned_nodes(state: State, root: NodeId, measured_w: Mapping[NodeId, int]) -> list[en.Node]:
    """The nodes of a tree for the planner."""
    all_over_w = measured_all_over(state, measured_w)
    return [node_of(state, node_id, all_over_w) for node_id in tree_of(state, root)]


def root_of(state: State, node_id: NodeId) -> NodeId:
    """The top of the tree that a node belongs to."""
    *_, root = above(state, node_id)
    return root


def plan_of(state: State, node_id: NodeId) -> en.Plan | None:
    """The newest plan of the tree that a node belongs to."""
    return state.plans.get(root_of(state, node_id))


def roots(state: State) -> Iterator[NodeId]:
    """The tops of all trees."""
    return (node_id for node_id, node in list(state.nodes.items()) if node.parent is None)


def waits(session: Session, current_w: int) -> bool:
    """Whether a raise is not to be put off: it waited for others or for an operator, or was told nothing that still
    holds.
    """
    newest = session.lease.newest
    held = session.limit_reason in (LimitReason.WAITING, LimitReason.NODE_LOST, LimitReason.OPERATOR)
    return held or newest is None or current_w < newest.limit_w
