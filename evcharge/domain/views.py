"""What may be shown: copies taken from the state at one moment, so that nothing later leaks into an earlier answer."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from heapq import nsmallest
from itertools import islice

import msgspec

from evcharge.domain.events import AuthorizationExpired
from evcharge.domain.feeds import above, home_of
from evcharge.domain.headroom import (
    NO_METERS,
    Row,
    base_w,
    limit_of,
    measured_all_over,
    offers_w,
    sessions_below,
    worst_case_w,
)
from evcharge.domain.state import ChargePoint, Connector, Session, State, Ticket, Totals, shown_state
from evcharge.domain.words import RUNNING, LinkState, SessionStatus, Shown
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, NodeId, SessionId, TicketId
from evcharge.units import PriceE4


class SessionView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A session at one moment."""

    session_id: SessionId
    status: str
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    requested_wh: int | None
    depart_by_ms: int | None
    expires_ms: int | None
    energy_wh: int
    limit_w: int | None
    reason: str | None
    price_e4: PriceE4
    currency: str


class ConnectorView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A connector at one moment."""

    connector: ConnectorNo
    state: str
    occupied: bool
    min_w: int
    max_w: int
    session: SessionView | None


class ChargePointView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A charge point at one moment."""

    cp_id: ChargePointId
    state: str
    substation_id: NodeId
    holds: tuple[str, ...]
    engine: str
    monitor: str
    connectors: tuple[ConnectorView, ...]
    limit_w: int | None


class SubstationView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node at one moment; ``worst_case_w`` is what could flow if all messages were lost now, ``home_sessions`` counts
    those whose charge points stand at it or below it, wherever they are fed from, ``utilisation`` is what is reserved
    in percent of what can be: smallest currents, so that it says who may still come, and is above 100 after a cut.
    ``limit_w`` is what the heat leaves of the capacity; ``offered_w`` and ``fallback_w`` are what the newest set-points
    allow together, and what they become when Central is silent for longer than they hold.
    """

    substation_id: NodeId
    parent: NodeId | None
    capacity_w: int
    base_w: int
    reserved_w: int
    worst_case_w: int
    sessions: int
    health: str
    since_ms: int | None
    home_sessions: int
    utilisation: int
    limit_w: int
    offered_w: int
    fallback_w: int


def view_session(state: State, session: Session) -> SessionView:
    """A copy for its driver, the operator or an answer."""
    tariff = state.site.tariff
    grant = session.lease.newest
    waiting = session.start_ms is None
    return SessionView(
        session_id=session.session_id,
        status=session.status.value,
        cp_id=session.cp_id,
        connector=session.connector,
        driver_id=session.driver_id,
        requested_wh=session.requested_wh,
        depart_by_ms=session.depart_by_ms,
        expires_ms=session.expires_ms if waiting else None,
        energy_wh=session.energy_wh,
        limit_w=None if grant is None else grant.limit_w,
        reason=_reason(session),
        price_e4=tariff.price_e4,
        currency=tariff.currency,
    )


def view_expired(state: State, event: AuthorizationExpired) -> SessionView:
    """A session that lapsed before it began."""
    return SessionView(
        session_id=event.session_id,
        status=SessionStatus.EXPIRED.value,
        cp_id=event.cp_id,
        connector=event.connector,
        driver_id=event.driver_id,
        requested_wh=None,
        depart_by_ms=None,
        expires_ms=None,
        energy_wh=0,
        limit_w=None,
        reason=event.cause.value,
        price_e4=state.site.tariff.price_e4,
        currency=state.site.tariff.currency,
    )


def _reason(session: Session) -> str | None:
    if session.stop is not None:
        return session.stop.value
    return None if session.limit_reason is None else session.limit_reason.value


def view_charge_point(state: State, charge_point: ChargePoint) -> ChargePointView:
    """A charge point with its connectors and their sessions."""
    shown = shown_state(state, charge_point)
    return ChargePointView(
        cp_id=charge_point.cp_id,
        state=shown.value,
        substation_id=charge_point.node_id,
        holds=tuple(sorted(hold.value for hold in charge_point.holds)),
        engine=charge_point.engine.state.value,
        monitor=charge_point.monitor.state.value,
        connectors=tuple(
            _view_connector(state, shown, no, connector, held=bool(charge_point.holds))
            for no, connector in sorted(charge_point.connectors.items())
        ),
        limit_w=charge_point.limit_w,
    )


def _view_connector(state: State, shown: Shown, no: ConnectorNo, connector: Connector, *, held: bool) -> ConnectorView:
    session = None if connector.session_id is None else state.sessions.get(connector.session_id)
    own = shown
    if shown in (Shown.SUPPLYING, Shown.ACTIVATED):
        running = session is not None and session.status in RUNNING
        own = Shown.SUPPLYING if running else Shown.ACTIVATED
        if connector.error is not None or (held and not running):
            # What runs beside it goes on; here nothing begins.
            own = Shown.OUT_OF_ORDER
    return ConnectorView(
        connector=no,
        state=own.value,
        occupied=connector.occupied,
        min_w=connector.min_w,
        max_w=connector.max_w,
        session=None if session is None else view_session(state, session),
    )


def page_of_charge_points(state: State, after: str, count: int) -> list[ChargePointView]:
    """Charge points in the order of their ids, beginning behind ``after``."""
    start = bisect_right(state.cp_order, after)
    return [view_charge_point(state, state.charge_points[cp_id]) for cp_id in state.cp_order[start : start + count]]


def page_of_sessions(state: State, after: str, count: int) -> list[SessionView]:
    """Open sessions in the order of their ids, beginning behind ``after``."""
    ids = sorted(session_id for session_id in state.sessions if session_id > after)
    return [view_session(state, state.sessions[session_id]) for session_id in ids[:count]]


def page_of_tickets(state: State, driver_id: DriverId, after: str, count: int) -> list[Ticket]:
    """A driver's tickets, newest first, beginning behind the ticket ``after``."""
    driver = state.drivers.get(driver_id)
    newest_first = [] if driver is None else driver.tickets[::-1]
    if after:
        ids = [ticket.ticket_id for ticket in newest_first]
        newest_first = newest_first[ids.index(TicketId(after)) + 1 :] if after in ids else []
    return newest_first[:count]


def page_of_all_tickets(state: State, after: str, count: int) -> list[Ticket]:
    """Everybody's tickets in the order of their ids, beginning behind ``after``; per driver those still kept."""
    tickets = (ticket for driver in state.drivers.values() for ticket in driver.tickets if ticket.ticket_id > after)
    return nsmallest(count, tickets, key=lambda ticket: ticket.ticket_id)


def find_ticket(state: State, ticket_id: TicketId) -> Ticket | None:
    """The ticket of this id, if its driver's row of tickets still has it."""
    tickets = (ticket for driver in state.drivers.values() for ticket in driver.tickets)
    return next((ticket for ticket in tickets if ticket.ticket_id == ticket_id), None)


def view_substations(
    state: State, clock_ms: int, count: int, after: str = "", measured_w: Mapping[NodeId, int] = NO_METERS
) -> list[SubstationView]:
    """Nodes with their limit, the base load that counts now, their reservations and what could flow at worst, in the
    order of their ids, beginning behind ``after``.
    """
    shown_w = measured_all_over(state, measured_w)
    bases_w = {node_id: base_w(node, shown_w.get(node_id)) for node_id, node in state.nodes.items()}
    worst_w, counts = worst_case_w(state, clock_ms), sessions_below(state)
    offered_w, fallback_w = offers_w(state)
    homes = counts if not state.away else _home_sessions(state)
    return [
        SubstationView(
            substation_id=node_id,
            parent=node.parent,
            capacity_w=node.capacity_w,
            base_w=bases_w[node_id],
            reserved_w=node.reserved_w,
            worst_case_w=worst_w[node_id],
            sessions=counts[node_id],
            health=node.health.value,
            since_ms=node.since_ms,
            home_sessions=homes[node_id],
            utilisation=_percent(node.reserved_w, limit_of(state, Row(node_id)) - bases_w[node_id]),
            limit_w=limit_of(state, Row(node_id)),
            offered_w=offered_w[node_id],
            fallback_w=fallback_w[node_id],
        )
        for node_id, node in islice(sorted(item for item in state.nodes.items() if item[0] > after), count)
    ]


def _home_sessions(state: State) -> dict[NodeId, int]:
    found = dict.fromkeys(state.nodes, 0)
    for node in state.nodes.values():
        for session_id in node.sessions:
            for each in above(state, home_of(state.site, state.sessions[session_id].cp_id)):
                found[each] += 1
    return found


def _percent(reserved_w: int, there_w: int) -> int:
    """Rounded up; with nothing there all of it is reserved."""
    return -(-100 * reserved_w // there_w) if there_w > 0 else 100


def view_totals(state: State) -> Totals:
    """Sums since the log began."""
    return msgspec.structs.replace(state.totals)


def may_start(charge_point: ChargePoint, connector: Connector) -> bool:
    """Whether supply may begin here now: nothing holds it and both processes are there."""
    return (
        charge_point.engine.state is LinkState.UP
        and charge_point.monitor.state in (LinkState.UP, LinkState.NEVER)
        and not charge_point.holds
        and connector.error is None
    )
