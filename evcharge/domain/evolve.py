"""How an event changes what is true. No questions asked, no clock, no randomness: a replay gives the same state.

``State`` is changed in place: Central owns one, and copies of ten thousand charge points per event would be its floor.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import msgspec

from evcharge.domain import events as e
from evcharge.domain.charge_points import INCIDENT_WINDOW_MS, outbox_was_lost
from evcharge.domain.feeds import above, home_of
from evcharge.domain.headroom import part_of, shares_of
from evcharge.domain.health import remember
from evcharge.domain.routing import outdate
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import (
    ChargePoint,
    Connector,
    Driver,
    Link,
    Node,
    Reservation,
    Session,
    State,
    Ticket,
    Visit,
    Waiting,
)
from evcharge.domain.words import RUNNING, Health, Hold, LinkState, ReservationState, Role, SessionStatus, Stamp
from evcharge.energy.leases import Lease
from evcharge.ids import ChargePointId, CommandId, DriverId, Fence, NodeId, SessionId
from evcharge.units import Millis, MinorUnits, WattHours, Watts

# Tickets of one driver that `tickets` can show from memory; older ones are in the log. 100 pages of paper are enough.
TICKETS_KEPT = 100
# Tickets of one driver that wait for being confirmed; one that never confirms gets the older ones by asking.
UNDELIVERED_KEPT = 100
# Sessions from which arrivals are expected: two months of a large workplace.
VISITS_KEPT = 3_000
# Sources whose failed authentications are remembered at once; beyond it the one seen first is dropped.
SOURCES_KEPT = 1_024
# A channel hears its fence before the disk does: what was told when Central died is passed over at the next start. More
# than can wait for the disk at once (``central.engine.FULL_MARK``).
FENCE_GAP = 100_000
# Failures remembered of one source: enough to see the fifth in ten minutes.
FAILURES_KEPT = 8


_RULES: dict[type[e.Event], Callable[[Any, State, Stamp], None]] = {}


def evolve(state: State, event: e.Event, stamp: Stamp) -> None:
    """Apply one event."""
    if isinstance(event, e.CentralStarted):
        if state.last_clock_ms:
            # Not at the very first start: nobody was told anything before.
            state.last_fence = Fence(state.last_fence + FENCE_GAP)
        _carry_leases_over(state, stamp.clock_ms - state.last_clock_ms)
    state.last_clock_ms = max(state.last_clock_ms, stamp.clock_ms)
    if state.spots is not None:
        outdate(event, state)
    kind = type(event)
    rule = _RULES.get(kind)
    if rule is None:
        # ``singledispatch`` looks through weak references each time; a start asks it a million times.
        rule = _RULES[kind] = apply.dispatch(kind)
    rule(event, state, stamp)


@singledispatch
def apply(event: e.Event, _state: State, _stamp: Stamp) -> None:
    """One function per kind; tests check that none of ``EVENTS`` lands here."""
    raise AssertionError(f"no rule for {type(event).__name__}")


# --- Central, links -----------------------------------------------------------------------------------------------


@apply.register
def _central_started(event: e.CentralStarted, state: State, stamp: Stamp) -> None:
    _configure(state, event.site)
    for charge_point in state.charge_points.values():
        if charge_point.engine.state is LinkState.UP:
            _turn(charge_point.engine, LinkState.LOST, stamp)
        if charge_point.monitor.state is LinkState.UP:
            _turn(charge_point.monitor, LinkState.AWAITED, stamp)
    for session in state.sessions.values():
        _go_offline(session)


def _carry_leases_over(state: State, down_ms: int) -> None:
    """What could still rule when Central went down can rule for as long again when it is back.

    How long Central was away is not known: its wall clock may have been set meanwhile, and charge points count their
    leases by their own monotonic clocks.
    """
    for session in state.sessions.values():
        session.lease = session.lease.later(state.last_clock_ms, max(0, down_ms))


def _configure(state: State, site: SiteConfig) -> None:
    """A capacity that an operator changed at run time holds until the configured one changes."""
    before = state.site.capacities
    for node_id, capacity_w in site.capacities.items():
        node = state.nodes.get(node_id)
        if node is None:
            node = state.nodes[node_id] = Node(capacity_w=capacity_w)
        elif before.get(node_id) != capacity_w:
            node.capacity_w = capacity_w
        placed = site.nodes.get(node_id, NodeConfig())
        node.parent, node.base_w, node.phase_w = placed.parent, placed.base_w, placed.phase_w
    for node_id in site.assignments.values():
        state.nodes.setdefault(node_id, Node(capacity_w=Watts(0)))
    for node_id, node in state.nodes.items():
        if node_id not in site.capacities:
            # Not there (any more), but sessions may still run there. Nothing new fits into 0 W.
            node.capacity_w, node.parent = Watts(0), None
        node.reserved_w = node.wanted_w = Watts(0)
        node.reserved_phase_w = (Watts(0), Watts(0), Watts(0))
    state.site = site
    state.plans = {root_id: plan for root_id, plan in state.plans.items() if root_id in state.nodes}
    if not site.rules:
        state.ruling = None
    state.away = {cp_id: None for cp_id in state.away if _is_away(state, cp_id)}
    for node in list(state.nodes.values()):
        for session_id in node.sessions:
            session = state.sessions[session_id]
            _reserve(state, session, 1)
    for charge_point in state.charge_points.values():
        busy = any(connector.session_id for connector in charge_point.connectors.values())
        if not busy and charge_point.cp_id not in state.away:
            charge_point.node_id = home_of(site, charge_point.cp_id)
    state.spots = None


def _is_away(state: State, cp_id: ChargePointId) -> bool:
    charge_point = state.charge_points[cp_id]
    return charge_point.node_id != home_of(state.site, cp_id) or charge_point.leaving_id is not None


@apply.register
def _central_stopped(_event: e.CentralStopped, _state: State, _stamp: Stamp) -> None:
    """Only said."""


@apply.register
def _peer_connected(event: e.PeerConnected, state: State, stamp: Stamp) -> None:
    state.last_fence = Fence(max(state.last_fence, event.fence))
    if event.role is Role.DRIVER:
        state.drivers.setdefault(DriverId(event.entity), Driver())
    if event.role not in (Role.ENGINE, Role.MONITOR):
        return
    charge_point = _charge_point(state, ChargePointId(event.entity))
    link = Link(state=LinkState.UP, fence=event.fence, boot_id=event.boot_id, since_ms=stamp.at_ms)
    if event.role is Role.MONITOR:
        charge_point.monitor = link
        return
    charge_point.engine = link
    charge_point.booted = False
    if outbox_was_lost(charge_point, event.outbox_epoch):
        charge_point.next_n = 0
    if event.outbox_epoch is not None:
        charge_point.outbox_epoch = event.outbox_epoch


def _charge_point(state: State, cp_id: ChargePointId) -> ChargePoint:
    charge_point = state.charge_points.get(cp_id)
    if charge_point is None:
        charge_point = ChargePoint(cp_id=cp_id, node_id=home_of(state.site, cp_id))
        state.charge_points[cp_id] = charge_point
        insort(state.cp_order, cp_id)
    return charge_point


@apply.register
def _peer_disconnected(event: e.PeerDisconnected, state: State, stamp: Stamp) -> None:
    charge_point = state.charge_points.get(ChargePointId(event.entity))
    if charge_point is None or event.role not in (Role.ENGINE, Role.MONITOR):
        return
    link = charge_point.engine if event.role is Role.ENGINE else charge_point.monitor
    if link.fence != event.fence:
        return
    _turn(link, LinkState.LOST, stamp)
    if event.role is Role.ENGINE:
        for connector in charge_point.connectors.values():
            if connector.session_id is not None:
                _go_offline(state.sessions[connector.session_id])


def _turn(link: Link, now: LinkState, stamp: Stamp) -> None:
    link.state, link.since_ms = now, stamp.at_ms


def _go_offline(session: Session) -> None:
    if session.status in RUNNING:
        session.status = SessionStatus.OFFLINE


@apply.register
def _peer_refused(event: e.PeerRefused, state: State, stamp: Stamp) -> None:
    if not event.authentication:
        return
    recent = [at for at in state.failures.get(stamp.source, ()) if at > stamp.clock_ms - INCIDENT_WINDOW_MS]
    recent += [stamp.clock_ms] * min(event.count, FAILURES_KEPT)
    if stamp.source not in state.failures and len(state.failures) >= SOURCES_KEPT:
        del state.failures[next(iter(state.failures))]
    state.failures[stamp.source] = recent[-FAILURES_KEPT:]


@apply.register
def _stray_supply_stopped(event: e.StraySupplyStopped, state: State, _stamp: Stamp) -> None:
    state.last_command = CommandId(max(state.last_command, event.command_id))


@apply.register(e.IncidentRaised)
@apply.register(e.AnomalySeen)
@apply.register(e.PeerRevoked)
@apply.register(e.RequestRefused)
@apply.register(e.PlanFailed)
def _only_said(_event: e.Event, _state: State, _stamp: Stamp) -> None:
    """Kept for people; changes nothing."""


# --- charge point -------------------------------------------------------------------------------------------------


@apply.register
def _charge_point_booted(event: e.ChargePointBooted, state: State, _stamp: Stamp) -> None:
    charge_point = _charge_point(state, event.cp_id)
    charge_point.model, charge_point.firmware = event.model, event.firmware
    charge_point.booted = True
    described = {rating.connector: rating for rating in event.connectors}
    for no, connector in list(charge_point.connectors.items()):
        if no not in described and connector.session_id is None:
            del charge_point.connectors[no]
    for no, rating in sorted(described.items()):
        known = charge_point.connectors.get(no)
        if known is None:
            charge_point.connectors[no] = Connector(min_w=rating.min_w, max_w=rating.max_w)
        else:
            known.min_w, known.max_w = rating.min_w, rating.max_w


@apply.register
def _connector_changed(event: e.ConnectorChanged, state: State, stamp: Stamp) -> None:
    connector = state.charge_points[event.cp_id].connectors[event.connector]
    connector.occupied, connector.error, connector.since_ms = event.occupied, event.error, stamp.at_ms
    connector.left_behind = connector.left_behind and event.occupied


@apply.register
def _hold_placed(event: e.HoldPlaced, state: State, _stamp: Stamp) -> None:
    state.charge_points[event.cp_id].holds.add(event.hold)


@apply.register
def _hold_lifted(event: e.HoldLifted, state: State, _stamp: Stamp) -> None:
    state.charge_points[event.cp_id].holds.discard(Hold(event.hold))


@apply.register
def _outbox_applied(event: e.OutboxApplied, state: State, _stamp: Stamp) -> None:
    state.charge_points[event.cp_id].next_n = event.n + 1


# --- session ------------------------------------------------------------------------------------------------------


@apply.register
def _charge_authorized(event: e.ChargeAuthorized, state: State, stamp: Stamp) -> None:
    state.last_command = CommandId(max(state.last_command, event.command_id))
    session = Session(
        session_id=event.session_id,
        cp_id=event.cp_id,
        connector=event.connector,
        driver_id=event.driver_id,
        node_id=event.substation_id,
        status=SessionStatus.AUTHORIZED,
        min_w=event.min_w,
        max_w=event.max_w,
        requested_wh=event.energy_wh,
        depart_by_ms=event.depart_by_ms,
        authorized_ms=Millis(stamp.at_ms),
        expires_ms=event.expires_ms,
        authorize_command=event.command_id,
        meter_ms=Millis(stamp.at_ms),
    )
    state.sessions[session.session_id] = session
    _attach(state, session)
    state.totals.authorized += 1


@apply.register
def _charge_refused(_event: e.ChargeRefused, state: State, _stamp: Stamp) -> None:
    state.totals.refused += 1


@apply.register
def _charge_queued(event: e.ChargeQueued, state: State, stamp: Stamp) -> None:
    state.last_turn += 1
    state.drivers.setdefault(event.driver_id, Driver())
    state.waiting[event.waiting_id] = Waiting(
        waiting_id=event.waiting_id,
        driver_id=event.driver_id,
        cp_id=event.cp_id,
        connector=event.connector,
        requested_wh=event.energy_wh,
        depart_by_ms=event.depart_by_ms,
        since_ms=Millis(stamp.at_ms),
        turn=state.last_turn,
        node_id=event.node_id,
        power_w=event.power_w,
    )


@apply.register
def _charge_offered(event: e.ChargeOffered, state: State, _stamp: Stamp) -> None:
    waiting = state.waiting[event.waiting_id]
    waiting.offer = event.session_id
    waiting.offers += 1


@apply.register
def _offer_ended(event: e.OfferEnded, state: State, _stamp: Stamp) -> None:
    waiting = state.waiting[event.waiting_id]
    waiting.offer, waiting.missed = None, event.missed
    if event.behind is not None:
        other = state.waiting[event.behind]
        waiting.turn, other.turn = other.turn, waiting.turn


@apply.register
def _queue_left(event: e.QueueLeft, state: State, _stamp: Stamp) -> None:
    del state.waiting[event.waiting_id]


@apply.register
def _reservation_made(event: e.ReservationMade, state: State, _stamp: Stamp) -> None:
    state.drivers.setdefault(event.driver_id, Driver())
    state.reservations[event.reservation_id] = Reservation(
        reservation_id=event.reservation_id,
        driver_id=event.driver_id,
        cp_id=event.cp_id,
        connector=event.connector,
        from_ms=event.from_ms,
        until_ms=event.until_ms,
        requested_wh=event.energy_wh,
        min_w=event.min_w,
    )


@apply.register
def _reservation_opened(event: e.ReservationOpened, state: State, _stamp: Stamp) -> None:
    state.reservations[event.reservation_id].status = ReservationState.OPEN


@apply.register
def _reservation_delayed(event: e.ReservationDelayed, state: State, _stamp: Stamp) -> None:
    state.reservations[event.reservation_id].status = ReservationState.LATE


@apply.register
def _reservation_ended(event: e.ReservationEnded, state: State, _stamp: Stamp) -> None:
    del state.reservations[event.reservation_id]


@apply.register
def _authorization_acknowledged(event: e.AuthorizationAcknowledged, state: State, _stamp: Stamp) -> None:
    state.sessions[event.session_id].authorize_acknowledged = True


@apply.register
def _authorization_expired(event: e.AuthorizationExpired, state: State, stamp: Stamp) -> None:
    remember(event, state, stamp)
    state.last_command = CommandId(max(state.last_command, event.command_id))
    state.totals.expired += 1
    session = state.sessions[event.session_id]
    state.drivers[session.driver_id].open_sessions.pop(session.session_id, None)
    if not event.start_pending:
        _forget(state, session)
        return
    session.status = SessionStatus.EXPIRED
    session.stop, session.stop_command = event.cause, event.command_id


@apply.register
def _session_forgotten(event: e.SessionForgotten, state: State, _stamp: Stamp) -> None:
    session = state.sessions.get(event.session_id)
    if session is not None:
        _forget(state, session)
    state.provisional.pop(event.session_id, None)


@apply.register
def _set_point_issued(event: e.SetPointIssued, state: State, stamp: Stamp) -> None:
    state.last_command = CommandId(max(state.last_command, event.grant.command_id))
    session = state.sessions[event.session_id]
    before_w = 0 if session.lease.newest is None else session.lease.newest.limit_w
    session.lease = session.lease.issue(event.grant, stamp.clock_ms)
    if session.limit_ms is None or event.grant.limit_w != before_w:
        session.limit_ms = Millis(stamp.at_ms)
    if (event.grant.limit_w > 0) != (before_w > 0):
        session.turned_ms = Millis(stamp.at_ms)
    session.limit_reason = event.reason
    if event.start_valid_ms is not None:
        session.start_valid_ms = event.start_valid_ms


@apply.register
def _set_point_acknowledged(event: e.SetPointAcknowledged, state: State, _stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.lease = session.lease.acknowledge(event.command_id)


@apply.register
def _set_point_rejected(event: e.SetPointRejected, state: State, stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.lease = session.lease.reject(event.command_id, stamp.clock_ms)
    if session.status is SessionStatus.AUTHORIZED and not session.lease.grants:
        session.start_valid_ms = None


@apply.register
def _supply_started(event: e.SupplyStarted, state: State, _stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    if session.status is SessionStatus.EXPIRED:
        # It had lapsed here while it began there: it is a session after all, with its end already ordered.
        state.totals.expired -= 1
    session.status = SessionStatus.SUPPLYING
    session.start_ms = event.at_ms
    session.boot_id = state.charge_points[session.cp_id].engine.boot_id
    session.start_meter_wh = session.meter_wh = event.meter_wh
    session.meter_ms = event.at_ms
    state.drivers[session.driver_id].open_sessions[session.session_id] = None
    state.totals.started += 1


@apply.register
def _meter_sampled(event: e.MeterSampled, state: State, stamp: Stamp) -> None:
    remember(event, state, stamp)
    _read_meter(state.sessions[event.session_id], event.meter_wh, stamp)


@apply.register
def _supply_paused(event: e.SupplyPaused, state: State, stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.status = SessionStatus.PAUSED
    _read_meter(session, event.meter_wh, stamp)


@apply.register
def _supply_resumed(event: e.SupplyResumed, state: State, stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.status = SessionStatus.SUPPLYING
    _read_meter(session, event.meter_wh, stamp)


def _read_meter(session: Session, meter_wh: WattHours | None, stamp: Stamp) -> None:
    if meter_wh is not None:
        session.meter_wh = meter_wh
        session.meter_ms = Millis(stamp.at_ms)


@apply.register
def _session_online(event: e.SessionOnline, state: State, _stamp: Stamp) -> None:
    state.sessions[event.session_id].status = SessionStatus.SUPPLYING


@apply.register
def _stop_ordered(event: e.StopOrdered, state: State, _stamp: Stamp) -> None:
    state.last_command = CommandId(max(state.last_command, event.command_id))
    session = state.sessions[event.session_id]
    session.stop, session.stop_command = event.cause, event.command_id


@apply.register
def _stop_confirmed(event: e.StopConfirmed, state: State, stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.lease = Lease()
    session.stopped_ms = Millis(stamp.at_ms)
    if session.status not in RUNNING:
        # Its connector is free again; the session is kept for a report that may still come (``wake_ms``).
        _detach(state, session)


@apply.register
def _supply_ended(event: e.SupplyEnded, state: State, _stamp: Stamp) -> None:
    session = state.sessions[event.session_id]
    session.lease = Lease()
    session.stop = event.cause
    session.meter_wh, session.meter_ms = event.meter_wh, event.at_ms


@apply.register
def _ticket_issued(event: e.TicketIssued, state: State, stamp: Stamp) -> None:
    remember(event, state, stamp)
    ticket = event.ticket
    session = state.sessions[ticket.session_id]
    driver = state.drivers.setdefault(ticket.driver_id, Driver())
    driver.open_sessions.pop(ticket.session_id, None)
    driver.tickets.append(ticket)
    del driver.tickets[:-TICKETS_KEPT]
    _await_delivery(driver, ticket)
    totals = state.totals
    totals.tickets += 1
    totals.energy_wh = WattHours(totals.energy_wh + ticket.energy_wh)
    totals.amount_minor = MinorUnits(totals.amount_minor + ticket.amount_minor)
    state.visits.append(Visit(ticket.start_ms, ticket.end_ms - ticket.start_ms, ticket.energy_wh, session.max_w))
    del state.visits[:-VISITS_KEPT]
    if not ticket.provisional:
        _forget(state, session)
        return
    session.status = SessionStatus.INTERRUPTED
    state.provisional[ticket.session_id] = ticket
    if session.stopped_ms is not None:
        _detach(state, session)


def _await_delivery(driver: Driver, ticket: Ticket) -> None:
    driver.undelivered.pop(ticket.ticket_id, None)
    driver.undelivered[ticket.ticket_id] = ticket
    if len(driver.undelivered) > UNDELIVERED_KEPT:
        del driver.undelivered[next(iter(driver.undelivered))]


@apply.register
def _ticket_adjusted(event: e.TicketAdjusted, state: State, _stamp: Stamp) -> None:
    ticket = state.provisional.pop(event.session_id)
    adjusted = msgspec.structs.replace(ticket, adjustments=[*ticket.adjustments, event.energy_wh], provisional=False)
    driver = state.drivers[event.driver_id]
    driver.tickets = [adjusted if old.ticket_id == ticket.ticket_id else old for old in driver.tickets]
    _await_delivery(driver, adjusted)
    state.totals.energy_wh = WattHours(state.totals.energy_wh + event.energy_wh)
    state.totals.amount_minor = MinorUnits(state.totals.amount_minor + event.amount_minor)
    _forget(state, state.sessions[event.session_id])


@apply.register
def _ticket_delivered(event: e.TicketDelivered, state: State, _stamp: Stamp) -> None:
    state.drivers[event.driver_id].undelivered.pop(event.ticket_id, None)


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
        if known_w and sum(known_w) >= node.capacity_w - node.base_w:
            # Made to fit the smaller limit; until there is a new one the allocator shares what there is.
            del state.plans[root_id]
    node.capacity_w = event.capacity_w


# --- health of nodes ----------------------------------------------------------------------------------------------


@apply.register
def _node_watched(event: e.NodeWatched, state: State, _stamp: Stamp) -> None:
    state.nodes[event.node_id].watched = True


@apply.register
def _node_lost(event: e.NodeLost, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    if node.health is not Health.LOST:
        node.health, node.since_ms = Health.LOST, Millis(stamp.at_ms)
    node.until_ms, node.failures = event.until_ms, []
    node.ejections = event.ejections or node.ejections


@apply.register
def _node_probing(event: e.NodeProbing, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    node.health, node.since_ms, node.until_ms, node.failures = Health.PROBING, Millis(stamp.at_ms), None, []


@apply.register
def _node_recovered(event: e.NodeRecovered, state: State, stamp: Stamp) -> None:
    node = state.nodes[event.node_id]
    node.health, node.since_ms = Health.UP, Millis(stamp.at_ms)


@apply.register
def _charge_point_moved(event: e.ChargePointMoved, state: State, stamp: Stamp) -> None:
    charge_point = state.charge_points[event.cp_id]
    sessions = _let_go(state, charge_point)
    charge_point.node_id, charge_point.leaving_id = event.to_id, event.from_id
    charge_point.moved_ms, charge_point.moved_command = Millis(stamp.at_ms), state.last_command
    state.away[event.cp_id] = None
    for session in sessions:
        session.node_id = event.to_id
        state.nodes[event.to_id].sessions[session.session_id] = None
        _reserve(state, session, 1)


@apply.register
def _move_completed(event: e.MoveCompleted, state: State, _stamp: Stamp) -> None:
    charge_point = state.charge_points[event.cp_id]
    sessions = _let_go(state, charge_point)
    charge_point.leaving_id = None
    if not _is_away(state, event.cp_id):
        state.away.pop(event.cp_id, None)
    for session in sessions:
        state.nodes[session.node_id].sessions[session.session_id] = None
        _reserve(state, session, 1)


def _let_go(state: State, charge_point: ChargePoint) -> list[Session]:
    """The charge point's sessions, with their shares given back."""
    ids = (connector.session_id for connector in charge_point.connectors.values())
    sessions = [state.sessions[session_id] for session_id in ids if session_id is not None]
    for session in sessions:
        state.nodes[session.node_id].sessions.pop(session.session_id, None)
        _reserve(state, session, -1)
    return sessions


@apply.register
def _ruling_changed(event: e.RulingChanged, state: State, _stamp: Stamp) -> None:
    state.ruling = event.ruling


@apply.register
def _plan_adopted(event: e.PlanAdopted, state: State, _stamp: Stamp) -> None:
    state.plans[event.root_id] = event.plan


# --- binding a session to its connector, node and driver ------------------------------------------------------


def _attach(state: State, session: Session) -> None:
    """Bind a new session to its connector, its share of power and its driver."""
    connector = state.charge_points[session.cp_id].connectors[session.connector]
    connector.session_id, connector.left_behind = session.session_id, False
    state.nodes[session.node_id].sessions[session.session_id] = None
    _reserve(state, session, 1)
    state.drivers.setdefault(session.driver_id, Driver()).open_sessions[session.session_id] = None


def _detach(state: State, session: Session) -> None:
    """Free its connector and its share; harmless when they are free already, or another's."""
    connector = state.charge_points[session.cp_id].connectors.get(session.connector)
    if connector is not None and connector.session_id == session.session_id:
        connector.session_id = None
        connector.left_behind = connector.occupied and session.start_ms is not None
    node = state.nodes[session.node_id]
    if session.session_id in node.sessions:
        del node.sessions[session.session_id]
        _reserve(state, session, -1)


def _reserve(state: State, session: Session, sign: int) -> None:
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


def _forget(state: State, session: Session) -> None:
    _detach(state, session)
    state.drivers[session.driver_id].open_sessions.pop(session.session_id, None)
    state.sessions.pop(SessionId(session.session_id), None)
