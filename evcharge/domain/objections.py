"""What speaks against a request, as data for the log: every thing that was looked at, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Iterable

from evcharge.domain.alerts import covering, told
from evcharge.domain.commands import RequestCharge
from evcharge.domain.feeds import feeds_of
from evcharge.domain.limits import against_limit, too_low
from evcharge.domain.no_shows import against_on_the_way
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import Alert, ChargePoint, Link, State
from evcharge.domain.words import Health, Hold, LinkState, ReservationState, Stamp
from evcharge.ids import ConnectorNo, DriverId, NodeId

# Characters of an alert's place that a refusal repeats: a name of a town, or an id.
MOST_PLACE = 64


def against_charge(
    state: State, command: RequestCharge, reason: RefusalReason, stamp: Stamp, *, most_wh: int, most_sessions: int
) -> tuple[Objection, ...]:
    """Why a charge request was refused with ``reason``; empty where its ``Basis`` says it in watts.

    ``most_wh``, ``most_sessions``: the limits of one request and of one account.
    """
    charge_point = state.charge_points.get(command.cp_id)
    match reason:
        case RefusalReason.UNKNOWN_CHARGE_POINT:
            return (Objection(Obstacle.UNKNOWN, command.cp_id),)
        case RefusalReason.ENERGY_OUT_OF_RANGE:
            return (Objection(Obstacle.RANGE, "energy_wh", value=command.energy_wh, limit=most_wh),)
        case RefusalReason.DEPARTURE_IN_PAST:
            return (Objection(Obstacle.RANGE, "depart_by_ms", value=command.depart_by_ms, limit=stamp.at_ms),)
        case RefusalReason.TOO_MANY_SESSIONS:
            held = len(state.drivers[command.driver_id].open_sessions)
            return (Objection(Obstacle.COUNT, f"driver {command.driver_id}", value=held, limit=most_sessions),)
        case RefusalReason.TOO_MANY_RESERVATIONS:
            kept = against_on_the_way(state, command.driver_id, stamp.at_ms)
            return () if kept is None else (kept,)
        case RefusalReason.NO_CAPACITY:
            return ()
    if charge_point is None:
        return ()
    if reason is RefusalReason.UNKNOWN_CONNECTOR:
        return (Objection(Obstacle.UNKNOWN, f"{command.cp_id}/{command.connector}"),)
    if reason is RefusalReason.SUBSTATION_LOST:
        return against_nodes(state, feeds_of(state, charge_point.cp_id), stamp)
    return (
        *against_charge_point(state, charge_point, stamp),
        *_connectors(state, charge_point, command.connector, stamp, command.driver_id),
        *_in_line(state, charge_point),
    )


def against_nodes(state: State, nodes: Iterable[NodeId], stamp: Stamp) -> tuple[Objection, ...]:
    """Those of ``nodes`` that are not well, and for how long."""
    found = ((node_id, state.nodes[node_id]) for node_id in nodes)
    return tuple(
        Objection(Obstacle.LOST, node_id, node.health.value, age_ms=_age(node.since_ms, stamp))
        for node_id, node in found
        if node.health is not Health.UP
    )


def against_charge_point(state: State, charge_point: ChargePoint, stamp: Stamp) -> tuple[Objection, ...]:
    """What speaks against a charge point as a whole: its links and holds, and which weather it is."""
    holds = [
        Objection(Obstacle.HOLD, charge_point.cp_id, hold.value)
        for hold in sorted(charge_point.holds)
        if hold is not Hold.WEATHER
    ]
    weather = [
        Objection(Obstacle.WEATHER, charge_point.cp_id, _weather(one), age_ms=_age(one.since_ms, stamp))
        for one in covering(state.alerts, state.site, charge_point.cp_id)
    ]
    return (*_links(charge_point, stamp), *holds, *weather)


def _weather(alert: Alert) -> str:
    """Each refusal has it, so of a long text no more than tells the place."""
    return told(alert.kind, alert.milli_c, alert.detail[:MOST_PLACE], simulated=alert.simulated)


def _links(charge_point: ChargePoint, stamp: Stamp) -> list[Objection]:
    """The links that are down. A monitor that never came is none: not every site has one."""
    down = []
    if charge_point.engine.state is not LinkState.UP:
        down.append(_link("engine", charge_point.engine, charge_point, stamp))
    if charge_point.monitor.state not in (LinkState.UP, LinkState.NEVER):
        down.append(_link("monitor", charge_point.monitor, charge_point, stamp))
    if not down and not charge_point.booted and not charge_point.connectors:
        down.append(_link("engine", charge_point.engine, charge_point, stamp))
    return down


def _link(name: str, link: Link, charge_point: ChargePoint, stamp: Stamp) -> Objection:
    return Objection(Obstacle.LINK, charge_point.cp_id, name, age_ms=_age(link.since_ms, stamp))


def _connectors(
    state: State, charge_point: ChargePoint, wanted: ConnectorNo, stamp: Stamp, driver_id: DriverId
) -> list[Objection]:
    """What each connector that could have served has against it."""
    found = []
    for no, connector in sorted(charge_point.connectors.items()):
        if wanted not in (0, no):
            continue
        at = f"{charge_point.cp_id}/{no}"
        if connector.session_id is not None:
            # Whose session it is, is nobody else's business: the log's own records say it to who may read them.
            session = state.sessions[connector.session_id]
            obstacle = Obstacle.OWN if session.driver_id == driver_id else Obstacle.IN_USE
            found.append(Objection(obstacle, at, age_ms=_age(session.authorized_ms, stamp)))
        elif connector.error is not None:
            found.append(Objection(Obstacle.ERROR, at, connector.error, age_ms=_age(connector.since_ms, stamp)))
        elif connector.left_by not in (None, driver_id):
            found.append(Objection(Obstacle.LEFT_BEHIND, at))
        elif too_low(charge_point, connector):
            found.append(against_limit(charge_point, at, connector))
        found += _booked(state, charge_point, no, driver_id)
    return found


def _booked(state: State, charge_point: ChargePoint, no: ConnectorNo, driver_id: DriverId) -> list[Objection]:
    """The reservations of others, in their order."""
    theirs = (one for one in state.reservations.values() if (one.cp_id, one.connector) == (charge_point.cp_id, no))
    return [
        Objection(Obstacle.BOOKED, f"{charge_point.cp_id}/{no}", value=one.from_ms, limit=one.until_ms)
        for one in sorted(theirs, key=lambda each: each.from_ms)
        if one.driver_id != driver_id and one.status is not ReservationState.OPEN
    ]


def _in_line(state: State, charge_point: ChargePoint) -> list[Objection]:
    """How many wait there and come before."""
    waiting = sum(1 for one in state.waiting.values() if one.cp_id == charge_point.cp_id and one.offer is None)
    return [Objection(Obstacle.LINE, charge_point.cp_id, value=waiting)] if waiting else []


def _age(since_ms: int | None, stamp: Stamp) -> int | None:
    return None if since_ms is None else max(0, stamp.at_ms - since_ms)
