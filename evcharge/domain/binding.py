"""A session bound to its connector, its nodes and its driver, and freed of them again; part of ``evolve``."""

from __future__ import annotations

from evcharge.domain.feeds import awaits_place, home_of
from evcharge.domain.headroom import part_of, shares_of
from evcharge.domain.state import (
    Driver,
    Session,
    State,
)
from evcharge.ids import SessionId
from evcharge.units import Watts


def attach(state: State, session: Session) -> None:
    """Bind a new session to its connector, its share of power and its driver."""
    connector = state.charge_points[session.cp_id].connectors[session.connector]
    connector.session_id = session.session_id
    state.nodes[session.node_id].sessions[session.session_id] = None
    reserve(state, session, 1)
    state.drivers.setdefault(session.driver_id, Driver()).open_sessions[session.session_id] = None


def detach(state: State, session: Session) -> None:
    """Free its connector and its share; harmless when they are free already, or another's."""
    charge_point = state.charge_points[session.cp_id]
    connector = charge_point.connectors.get(session.connector)
    if connector is not None and connector.session_id == session.session_id:
        connector.session_id = None
        if connector.occupied and session.start_ms is not None:
            # One that never began says nothing of whose vehicle stands there.
            connector.left_by = session.driver_id
    node = state.nodes[session.node_id]
    if session.session_id in node.sessions:
        del node.sessions[session.session_id]
        reserve(state, session, -1)
    if awaits_place(charge_point) and not any(each.session_id for each in charge_point.connectors.values()):
        charge_point.node_id, charge_point.leaving_id = home_of(state.site, charge_point.cp_id), None
        state.away.pop(charge_point.cp_id, None)


def reserve(state: State, session: Session, sign: int) -> None:
    """Count a session at every node that feeds it, or no longer."""
    for row, part in shares_of(state, session.cp_id):
        node = state.nodes[row.node_id]
        if row.phase is None:
            node.reserved_w = Watts(node.reserved_w + sign * session.min_w)
            node.wanted_w = Watts(node.wanted_w + sign * session.max_w)
        else:
            more_w = sign * part_of(session.min_w, part)
            one, two, three = (
                Watts(watts + more_w * (phase == row.phase)) for phase, watts in enumerate(node.reserved_phase_w)
            )
            node.reserved_phase_w = (one, two, three)


def forget(state: State, session: Session) -> None:
    detach(state, session)
    state.drivers[session.driver_id].open_sessions.pop(session.session_id, None)
    state.sessions.pop(SessionId(session.session_id), None)
