"""How an event changes what is true. No questions asked, no clock, no randomness: a replay gives the same state.

``State`` is changed in place: Central owns one, and copies of ten thousand charge points per event would be its floor.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Any

from evcharge.domain import events as e
from evcharge.domain import evolve_nodes, evolve_sessions, evolve_waiting, evolve_weather
from evcharge.domain.applying import apply
from evcharge.domain.binding import reserve
from evcharge.domain.charge_points import INCIDENT_WINDOW_MS, outbox_was_lost
from evcharge.domain.evolve_weather import follow_derating, follow_weather
from evcharge.domain.feeds import above, awaits_place, home_of, is_away
from evcharge.domain.headroom import with_those_below
from evcharge.domain.routing import outdate
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import (
    ChargePoint,
    Connector,
    Driver,
    Link,
    Node,
    Session,
    State,
)
from evcharge.domain.words import RUNNING, Hold, LinkState, Role, SessionStatus, Stamp
from evcharge.ids import ChargePointId, CommandId, DriverId, Fence
from evcharge.units import Watts

# Sources whose failed authentications are remembered at once; beyond it the one seen first is dropped.
SOURCES_KEPT = 1_024
# A channel hears its fence before the disk does: what was told when Central died is passed over at the next start. More
# than can wait for the disk at once (``central.engine.FULL_MARK``).
FENCE_GAP = 100_000
# Failures remembered of one source: enough to see the fifth in ten minutes.
FAILURES_KEPT = 8


# Each registers the rules of its kinds at ``apply``.
PARTS = (evolve_nodes, evolve_sessions, evolve_waiting, evolve_weather)

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
            # Not there (any more), but sessions may still draw from it: they count above it as before. Nothing new fits
            # into 0 W.
            node.capacity_w, node.base_w = Watts(0), Watts(0)
            node.metered_w, node.metered_ms = Watts(0), None
            node.peak_w, node.peak_month, node.peak_ms = Watts(0), "", None
        node.reserved_w = node.wanted_w = Watts(0)
        node.reserved_phase_w = (Watts(0), Watts(0), Watts(0))
    own_w = {node_id: node.base_w for node_id, node in state.nodes.items()}
    for node_id, watts in with_those_below(own_w, {each: node.parent for each, node in state.nodes.items()}).items():
        state.nodes[node_id].base_w = Watts(watts)
    state.site = site
    state.plans = {root_id: plan for root_id, plan in state.plans.items() if root_id in state.nodes}
    if not site.rules:
        state.ruling = None
    follow_derating(state)
    for charge_point in state.charge_points.values():
        _place(state, charge_point)
        follow_weather(state, charge_point)
    state.away = {cp_id: None for cp_id in (*state.away, *state.charge_points) if is_away(state, cp_id)}
    for node in list(state.nodes.values()):
        for session_id in node.sessions:
            session = state.sessions[session_id]
            reserve(state, session, 1)
    state.spots = None


def _place(state: State, charge_point: ChargePoint) -> None:
    """Where a charge point stands by a new configuration. What charges there may still draw from where it stood, and a
    transfer switch may not change that at once: it counts at both until nothing is open there (``binding.detach``).
    """
    if charge_point.cp_id in state.away and not awaits_place(charge_point):
        # A transfer switch has it; ``failover`` brings it home.
        return
    home = home_of(state.site, charge_point.cp_id)
    stood = next((each for each in above(state, charge_point.node_id) if each in state.site.capacities), home)
    busy = any(connector.session_id for connector in charge_point.connectors.values())
    charge_point.leaving_id = None
    here = stood if busy and stood not in above(state, home) else home
    for session_id in (connector.session_id for connector in charge_point.connectors.values()):
        if session_id is not None:
            state.nodes[charge_point.node_id].sessions.pop(session_id, None)
            state.nodes[here].sessions[session_id] = None
            state.sessions[session_id].node_id = here
    charge_point.node_id = here
    if here != home:
        charge_point.leaving_id, charge_point.moved_ms = home, None


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
        follow_weather(state, charge_point)
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
    if not event.occupied:
        connector.left_by = None


@apply.register
def _hold_placed(event: e.HoldPlaced, state: State, _stamp: Stamp) -> None:
    state.charge_points[event.cp_id].holds.add(event.hold)


@apply.register
def _hold_lifted(event: e.HoldLifted, state: State, _stamp: Stamp) -> None:
    state.charge_points[event.cp_id].holds.discard(Hold(event.hold))


@apply.register
def _charge_point_limited(event: e.ChargePointLimited, state: State, _stamp: Stamp) -> None:
    state.charge_points[event.cp_id].limit_w = event.limit_w


@apply.register
def _outbox_applied(event: e.OutboxApplied, state: State, _stamp: Stamp) -> None:
    state.charge_points[event.cp_id].next_n = event.n + 1
