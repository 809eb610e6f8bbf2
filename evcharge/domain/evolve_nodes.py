"""How events of nodes change what is true: limits, health, what is fed from where, plans and rules."""

from __future__ import annotations

from evcharge.domain import events as e
from evcharge.domain.applying import apply
from evcharge.domain.binding import reserve
from evcharge.domain.feeds import above, is_away
from evcharge.domain.headroom import Row, limit_of
from evcharge.domain.state import (
    ChargePoint,
    Session,
    State,
)
from evcharge.domain.words import Health, Stamp
from evcharge.ids import NodeId
from evcharge.units import Millis


@apply.register
def _capacity_changed(event: e.CapacityChanged, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.substation_id]
    *_, root_id = above(state, event.substation_id)
    plan = state.plans.get(root_id)
    if plan is not None and event.capacity_w > node.capacity_w:
        targets = (
            plan.target_at(node_id, stamp.at_ms)
            for node_id in plan.target_w
            if node_id in state.nodes and event.substation_id in above(state, NodeId(node_id))
        )
        known_w = [target_w for target_w in targets if target_w is not None]
        if known_w and sum(known_w) >= limit_of(state, Row(event.substation_id)) - node.base_w:
            # Made to fit the smaller limit; until there is a new one the allocator shares what there is.
            del state.plans[root_id]
    node.capacity_w = event.capacity_w


# --- health of nodes ----------------------------------------------------------------------------------------------


@apply.register
def _node_watched(event: e.NodeWatched, state: State, _stamp: Stamp) -> None:
    state.nodes[event.node_id].watched = True


@apply.register
def _node_unwatched(event: e.NodeUnwatched, state: State, _stamp: Stamp) -> None:
    state.nodes[event.node_id].watched = False


@apply.register
def _node_lost(event: e.NodeLost, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    if node.health is not Health.LOST:
        node.health, node.since_ms = Health.LOST, Millis(stamp.at_ms)
    node.until_ms, node.failures, node.silent = event.until_ms, [], event.silent
    node.ejections = event.ejections or node.ejections


@apply.register
def _node_probing(event: e.NodeProbing, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    node.health, node.since_ms, node.until_ms, node.failures = Health.PROBING, Millis(stamp.at_ms), None, []
    node.silent = False


@apply.register
def _node_recovered(event: e.NodeRecovered, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    node.health, node.since_ms = Health.UP, Millis(stamp.at_ms)


@apply.register
def _base_load_rose(event: e.BaseLoadRose, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    node.metered_w, node.metered_ms = event.most_w, Millis(stamp.at_ms)


@apply.register
def _base_load_forgotten(event: e.BaseLoadForgotten, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    node.metered_w, node.metered_ms = event.most_w, Millis(stamp.at_ms) if event.most_w else None


@apply.register
def _peak_rose(event: e.PeakRose, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    node.peak_w, node.peak_month, node.peak_ms = event.peak_w, event.month, Millis(stamp.at_ms)


@apply.register
def _charge_point_moved(event: e.ChargePointMoved, state: State, stamp: Stamp) -> None:
    charge_point = state.charge_points[event.cp_id]
    sessions = _let_go(state, charge_point)
    charge_point.node_id, charge_point.leaving_id = event.to_id, event.from_id
    charge_point.moved_ms, charge_point.moved_command = Millis(stamp.at_ms), state.last_command
    charge_point.moved_clock_ms = stamp.clock_ms
    state.away[event.cp_id] = None
    for session in sessions:
        session.node_id = event.to_id
        state.nodes[event.to_id].sessions[session.session_id] = None
        reserve(state, session, 1)


@apply.register
def _move_completed(event: e.MoveCompleted, state: State, _stamp: Stamp) -> None:
    charge_point = state.charge_points[event.cp_id]
    sessions = _let_go(state, charge_point)
    charge_point.leaving_id = None
    if not is_away(state, event.cp_id):
        state.away.pop(event.cp_id, None)
    for session in sessions:
        state.nodes[session.node_id].sessions[session.session_id] = None
        reserve(state, session, 1)


def _let_go(state: State, charge_point: ChargePoint) -> list[Session]:
    """The charge point's sessions, with their shares given back."""
    ids = (connector.session_id for connector in charge_point.connectors.values())
    sessions = [state.sessions[session_id] for session_id in ids if session_id is not None]
    for session in sessions:
        state.nodes[session.node_id].sessions.pop(session.session_id, None)
        reserve(state, session, -1)
    return sessions


@apply.register
def _ruling_changed(event: e.RulingChanged, state: State, _stamp: Stamp) -> None:
    state.ruling = event.ruling


@apply.register
def _plan_adopted(event: e.PlanAdopted, state: State, _stamp: Stamp) -> None:
    state.plans[event.root_id] = event.plan
