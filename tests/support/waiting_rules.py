"""What must hold for those who wait and for reservations, worked out apart from the domain's own way."""

from __future__ import annotations

from collections.abc import Iterator

from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.feeds import above
from evcharge.domain.line import PATIENCE_MS
from evcharge.domain.openings import TYPICAL_STAY_MS
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import ChargePoint, Connector, Reservation, Session, State, Waiting, shown_state
from evcharge.domain.words import Health, Hold, LeftCause, LinkState, ReservationState, SessionStatus, Shown
from evcharge.ids import ANYWHERE, ConnectorNo, DriverId, NodeId, SessionId

Rank = tuple[bool, int]


def ranks(state: State, now_ms: int) -> dict[SessionId, Rank]:
    """Who comes before whom, of those without an offer: the lower one first."""
    found: dict[SessionId, Rank] = {}
    idle = [one for one in state.waiting.values() if one.offer is None]
    for one in idle:
        driver = state.drivers[one.driver_id]
        earlier = any(other.driver_id == one.driver_id and other.turn < one.turn for other in idle)
        fresh = now_ms - one.since_ms < PATIENCE_MS
        found[one.waiting_id] = (fresh and (earlier or bool(driver.open_sessions)), one.turn)
    return found


def check_served(state: State, now_ms: int) -> None:
    """Nobody waits where a fitting connector is free and there is power for everybody; nothing due is forgotten."""
    for one in state.waiting.values():
        if one.offer is None and _plainly_open(state, one):
            raise AssertionError(f"{one.waiting_id} waits at {one.cp_id}, where a connector and power are")
    for reservation in state.reservations.values():
        due = reservation.from_ms <= now_ms
        assert not (due and reservation.status is ReservationState.PLANNED), f"{reservation} was forgotten"
        assert due or reservation.status is ReservationState.PLANNED, f"{reservation} came too early"


def _plainly_open(state: State, one: Waiting) -> bool:
    if one.cp_id != ANYWHERE:
        return _open_at(state, one, state.charge_points[one.cp_id])
    within = [k for k in state.charge_points.values() if one.node_id is None or one.node_id in above(state, k.node_id)]
    return any(_open_at(state, one, charge_point) for charge_point in within)


def _open_at(state: State, one: Waiting, charge_point: ChargePoint) -> bool:
    if not _well(state, charge_point) or not _everybody_fits(state, charge_point):
        return False
    cp_id = charge_point.cp_id
    booked = {reservation.connector for reservation in state.reservations.values() if reservation.cp_id == cp_id}
    return any(no not in booked for no, _ in _fitting(charge_point, one))


def _well(state: State, charge_point: ChargePoint) -> bool:
    fed = all(state.nodes[node_id].health is Health.UP for node_id in _feeds(state, charge_point))
    return fed and _in_order(state, charge_point)


def _in_order(state: State, charge_point: ChargePoint) -> bool:
    up = charge_point.engine.state is LinkState.UP and shown_state(state, charge_point) is not Shown.DISCONNECTED
    return up and not charge_point.holds


def _can_charge(state: State, charge_point: ChargePoint) -> bool:
    """In order and fed, if only from a backup or from a node on trial."""
    feeds = [node_id for node_id in (charge_point.node_id, charge_point.leaving_id) if node_id is not None]
    alive = all(state.nodes[each].health is not Health.LOST for node_id in feeds for each in above(state, node_id))
    return alive and _in_order(state, charge_point)


def _feeds(state: State, charge_point: ChargePoint) -> set[NodeId]:
    """All nodes that may feed it: its own, the one that stands in, and what is above them."""
    home = state.site.assignments.get(charge_point.cp_id, state.site.default_node)
    at = [charge_point.node_id, charge_point.leaving_id, home]
    return {node_id for each in at if each in state.nodes for node_id in above(state, each)}


def _fitting(charge_point: ChargePoint, one: Waiting) -> Iterator[tuple[ConnectorNo, Connector]]:
    for no, connector in charge_point.connectors.items():
        free = connector.session_id is None and connector.error is None and not _limited(charge_point, connector)
        if free and one.connector in (0, no) and _may_have(charge_point, one, no):
            yield no, connector


def _limited(charge_point: ChargePoint, connector: Connector) -> bool:
    """Whether an operator allows it less than its smallest current."""
    return charge_point.limit_w is not None and charge_point.limit_w < connector.min_w


def _may_have(charge_point: ChargePoint, one: Waiting, no: ConnectorNo) -> bool:
    """Whether the vehicle that stands there, if there is one, may be his."""
    connector = charge_point.connectors[no]
    if not connector.occupied:
        return True
    if one.cp_id == ANYWHERE:
        # Who is sent somewhere finds no other vehicle there.
        return False
    fitting = [each for other, each in charge_point.connectors.items() if one.connector in (0, other)]
    if any(each.left_by == one.driver_id for each in fitting):
        return connector.left_by == one.driver_id
    return connector.left_by is None


def _everybody_fits(state: State, charge_point: ChargePoint) -> bool:
    """All who wait and all reservations of the site together: no order among them can matter."""
    wanted_w = 0
    for waiting in state.waiting.values():
        if waiting.offer is None:
            at = [state.charge_points[waiting.cp_id]] if waiting.cp_id != ANYWHERE else state.charge_points.values()
            wanted_w += max((k.min_w for each in at for k in each.connectors.values()), default=0)
    for reservation in state.reservations.values():
        wanted_w += reservation.min_w if reservation.status is not ReservationState.OPEN else 0
    for each in _feeds(state, charge_point):
        node = state.nodes[each]
        if node.reserved_w + wanted_w > _in_heat(state, node.capacity_w) - node.base_w:
            return False
        # On each phase too, if all of them used the same one.
        for limit_w, there_w in zip(node.phase_w or (), node.reserved_phase_w, strict=False):
            if there_w + wanted_w > _in_heat(state, limit_w) - node.base_w:
                return False
    return True


def _in_heat(state: State, limit_w: int) -> int:
    return limit_w if state.derated is None else limit_w * state.derated.share // 1_000


def check_one_each(state: State) -> None:
    """Never two sessions for one connector; an offer is a session of its driver, and waits for it."""
    bound: dict[tuple[str, int], SessionId] = {}
    for node in state.nodes.values():
        for session_id in node.sessions:
            session = state.sessions[session_id]
            place = (session.cp_id, session.connector)
            assert bound.setdefault(place, session_id) == session_id, f"two sessions at {place}"
    for one in state.waiting.values():
        if one.offer is not None:
            offered = state.sessions[one.offer]
            assert offered.driver_id == one.driver_id
            assert one.cp_id in (ANYWHERE, offered.cp_id)
            assert offered.start_ms is None


def check_order(before: dict[SessionId, Rank], state: State, events: list[e.Event]) -> None:
    """Who gets an offer was the first of those for whom the same connector would do."""
    offered = {event.waiting_id for event in events if isinstance(event, e.ChargeOffered)}
    for waiting_id in offered:
        one = state.waiting[waiting_id]
        assert one.offer is not None
        session = state.sessions[one.offer]
        charge_point = state.charge_points[session.cp_id]
        assert _can_charge(state, charge_point), f"{waiting_id} is offered what cannot charge"
        if one.node_id is not None:
            assert one.node_id in above(state, session.node_id), "sent to another part of the site"
        if any(reservation.cp_id == session.cp_id for reservation in state.reservations.values()):
            # Whose departure fits before a reservation may go first there.
            continue
        for other in state.waiting.values():
            rival = other.offer is None and _would_do(state, other, session)
            assert not rival or before[waiting_id] < before[other.waiting_id], f"{waiting_id} before {other}"


def _would_do(state: State, other: Waiting, session: Session) -> bool:
    """Whether somebody else waits for the connector that a session got."""
    charge_point = state.charge_points[session.cp_id]
    if other.cp_id != ANYWHERE:
        there = other.cp_id == session.cp_id and other.connector in (0, session.connector)
        return there and _may_have(charge_point, other, session.connector)
    connector = charge_point.connectors[session.connector]
    here = other.node_id is None or other.node_id in above(state, session.node_id)
    return here and not connector.occupied and not state.away


Place = tuple[str, ConnectorNo]


class Stood:
    """Whose vehicle stands at each connector since it charged there, as far as the events say it: between the supplies
    of two drivers the vehicle has gone.
    """

    def __init__(self) -> None:
        self._last: dict[Place, DriverId] = {}

    def see(self, event: e.Event, state: State) -> None:
        """After ``event``. Raises AssertionError."""
        match event:
            case e.ConnectorChanged(cp_id=cp_id, connector=no, occupied=False):
                self._last.pop((cp_id, no), None)
            case e.ChargePointBooted():
                there = state.charge_points[event.cp_id].connectors
                self._last = {at: who for at, who in self._last.items() if at[0] != event.cp_id or at[1] in there}
            case e.SupplyStarted():
                session = state.sessions[event.session_id]
                place, who = (session.cp_id, session.connector), session.driver_id
                connector = state.charge_points[session.cp_id].connectors.get(session.connector)
                if connector is None or connector.session_id != session.session_id:
                    # What began though it had ended here, and is told late: its vehicle may have gone since.
                    return
                assert self._last.get(place, who) == who, f"{event} at the vehicle of {self._last[place]}"
                if connector.occupied:
                    self._last[place] = who


def check_kept(state: State, events: list[e.Event]) -> None:
    """One account never keeps a third connector empty for the way there; only people end a line."""
    for event in events:
        if isinstance(event, e.QueueLeft):
            # Placed just now, or before a crash that came before this.
            placed = () if event.cp_id == ANYWHERE else state.charge_points[event.cp_id].holds
            held = any(hold in placed for hold in (Hold.ADMIN, Hold.REVOKED))
            assert held or event.cause is not LeftCause.HELD, f"{event} without a person"
        if isinstance(event, e.ChargeAuthorized) and event.on_the_way:
            own = [state.sessions[each] for each in state.drivers[event.driver_id].open_sessions]
            empty = [
                one
                for one in own
                if one.on_the_way
                and one.status is SessionStatus.AUTHORIZED
                and one.session_id != event.session_id
                and not state.charge_points[one.cp_id].connectors[one.connector].occupied
            ]
            assert len(empty) < 2, f"{event.driver_id} keeps {len(empty) + 1} connectors empty"


def check_reserved(state: State, now_ms: int, events: list[e.Event]) -> None:
    """What is promised is not what somebody waits for already."""
    for event in events:
        if not isinstance(event, e.ReservationMade):
            continue
        charge_point = state.charge_points[event.cp_id]
        line = [one for one in state.waiting.values() if one.offer is None]
        if event.from_ms - now_ms < TYPICAL_STAY_MS:
            for one in line:
                here = one.cp_id == event.cp_id and one.connector in (0, event.connector)
                around = one.cp_id == ANYWHERE and one.node_id in (None, *above(state, charge_point.node_id))
                assert not (here or around), f"{event} overtakes {one}"
        for node_id in above(state, charge_point.node_id):
            node = state.nodes[node_id]
            needed_w = event.min_w + sum(_still_there_w(state, node_id, event)) + sum(_waiting_w(state, node_id, event))
            room_w = _in_heat(state, node.capacity_w) - node.base_w
            assert needed_w <= room_w, f"{event} takes the power of those who wait"


def _still_there_w(state: State, node_id: NodeId, event: e.ReservationMade) -> Iterator[int]:
    for each, node in state.nodes.items():
        if node_id in above(state, each):
            yield from (state.sessions[one].min_w for one in node.sessions if state.sessions[one].depart_by_ms is None)


def _waiting_w(state: State, node_id: NodeId, event: e.ReservationMade) -> Iterator[int]:
    """For each charge point at which somebody waits for power alone what one connector needs there at least."""
    for charge_point in state.charge_points.values():
        if node_id not in above(state, charge_point.node_id) or not _can_charge(state, charge_point):
            continue
        for one in state.waiting.values():
            stays = one.depart_by_ms is None and one.offer is None and one.cp_id == charge_point.cp_id
            free_w = [
                connector.min_w
                for no, connector in charge_point.connectors.items()
                if connector.session_id is None
                and connector.error is None
                and not _limited(charge_point, connector)
                and one.connector in (0, no)
                and (charge_point.cp_id, no) != (event.cp_id, event.connector)
            ]
            if stays and free_w:
                yield min(free_w)
                break


def check_promises(state: State, now_ms: int, events: list[e.Event], effects: list[fx.Effect], *, cut: bool) -> None:
    """A reservation gets its connector at its time, unless something broke or somebody overstayed; then it is told.

    ``cut``: a capacity was changed since it was made.
    """
    told = {news.reservation.reservation_id for news in effects if isinstance(news, fx.ReservationNews)}
    for event in events:
        if isinstance(event, e.ReservationDelayed):
            assert event.reservation_id in told
            late = state.reservations[event.reservation_id]
            assert _excused(state, late, event.reason, now_ms, cut=cut), f"{late} is late: {event.reason}"
        elif isinstance(event, e.ReservationEnded | e.ReservationOpened):
            assert event.reservation_id in told


def _excused(state: State, late: Reservation, reason: RefusalReason, now_ms: int, *, cut: bool) -> bool:
    charge_point = state.charge_points[late.cp_id]
    if reason is RefusalReason.NO_CAPACITY:
        return cut or any(_overstays(session, late, now_ms) for session in state.sessions.values())
    if reason is RefusalReason.LIMITED:
        return _limited(charge_point, charge_point.connectors[late.connector])
    if reason is not RefusalReason.BUSY:
        return not _well(state, charge_point) or any(k.error for k in charge_point.connectors.values())
    connector = charge_point.connectors[late.connector]
    if connector.session_id is None:
        return connector.occupied
    return _overstays(state.sessions[connector.session_id], late, now_ms)


def _overstays(session: Session, late: Reservation, now_ms: int) -> bool:
    if session.depart_by_ms is not None:
        return session.depart_by_ms <= now_ms
    return session.authorized_ms <= late.from_ms - TYPICAL_STAY_MS
