"""What is open to whom: a connector that nobody else has, or will have, and power for its smallest current."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from evcharge.domain.feeds import above, feeds_of
from evcharge.domain.headroom import Row, part_of, reserved_w, room_w, shares_of
from evcharge.domain.health import closed_on
from evcharge.domain.limits import too_low
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import ChargePoint, Reservation, Session, State, shown_state
from evcharge.domain.words import Hold, ReservationState, Shown
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, NodeId, SessionId

# How long somebody stays who has not said it, ms: a typical charge of 12 kWh takes two hours at the 6 kW that a
# connector gets where power is shared. For so long before a reservation its connector goes to nobody who has not said
# that he will be gone: longer, and connectors stand idle; shorter, and whoever has reserved finds them taken.
TYPICAL_STAY_MS = 7_200_000

# A connector and its charge point.
Place = tuple[ChargePointId, ConnectorNo]

_SHOWN_REFUSALS = {
    Shown.DISCONNECTED: RefusalReason.DISCONNECTED,
    Shown.OUT_OF_ORDER: RefusalReason.OUT_OF_ORDER,
    Shown.STOPPED: RefusalReason.STOPPED,
}


# Holds that keep a charge point out of order in fine weather too.
_BROKEN = frozenset({Hold.FAULT, Hold.REVOKED})


class Wish(NamedTuple):
    """Who wants to charge, at which connector (0: any), and until when as far as that was said."""

    driver_id: DriverId
    connector: ConnectorNo
    depart_by_ms: int | None


class Seeker(NamedTuple):
    """Who looks for any charge point."""

    wish: Wish
    node_id: NodeId | None
    """At this node or below it only."""
    power_w: int | None
    """A connector that can do this is preferred."""


class Stay(NamedTuple):
    """So many watts from one instant until another; None: nobody knows until when."""

    from_ms: int
    until_ms: int | None
    watts: int


def unable(state: State, charge_point: ChargePoint) -> RefusalReason | None:
    """Why nothing can begin at a charge point now, whoever asks."""
    if Hold.DUPLICATE_ID in charge_point.holds:
        return RefusalReason.DUPLICATE_ID
    shown = shown_state(state, charge_point)
    weather = Hold.WEATHER in charge_point.holds and charge_point.holds.isdisjoint(_BROKEN)
    if weather and shown in (Shown.OUT_OF_ORDER, Shown.SUPPLYING):
        return RefusalReason.WEATHER
    if shown in _SHOWN_REFUSALS:
        return _SHOWN_REFUSALS[shown]
    if charge_point.holds:
        return RefusalReason.OUT_OF_ORDER
    lost = closed_on(state, feeds_of(state, charge_point.cp_id))
    return None if lost is None else RefusalReason.SUBSTATION_LOST


def declared_end_ms(session: Session, now_ms: int) -> int | None:
    """When a session ends by what its driver said; who has stayed beyond that has said nothing that counts."""
    depart_by_ms = session.depart_by_ms
    return depart_by_ms if depart_by_ms is not None and depart_by_ms > now_ms else None


def minimum_w(state: State, one: Reservation) -> int:
    """What a reservation needs: what was promised, or more where its connector needs more by now."""
    connector = state.charge_points[one.cp_id].connectors.get(one.connector)
    return one.min_w if connector is None else max(one.min_w, connector.min_w)


class Bookings:
    """All reservations, by connector and by node; made once for each look at the site."""

    def __init__(self, state: State, now_ms: int) -> None:
        self._state, self._now_ms = state, now_ms
        self._at: dict[Place, list[Reservation]] = {}
        self.due: list[Reservation] = []
        """Those whose time has come and that have no connector yet; who waited longest comes first."""
        self._planned: list[Reservation] = []
        self._sum_w: dict[Row, int] = {}
        self._stays: dict[Row, list[Stay]] = {}
        for one in state.reservations.values():
            if one.status is ReservationState.OPEN:
                continue
            self._at.setdefault((one.cp_id, one.connector), []).append(one)
            if one.from_ms <= now_ms:
                self.due.append(one)
                continue
            self._planned.append(one)
            for row, part in shares_of(state, one.cp_id):
                self._sum_w[row] = self._sum_w.get(row, 0) + part_of(minimum_w(state, one), part)
        self.due.sort(key=lambda one: one.from_ms)

    def at(self, place: Place) -> list[Reservation]:
        """The reservations of a connector that have no session yet."""
        return self._at.get(place, [])

    def against(self, place: Place, wish: Wish) -> Reservation | None:
        """Somebody else's reservation that this wish would collide with."""
        for one in self.at(place):
            if one.driver_id == wish.driver_id:
                continue
            if wish.depart_by_ms is None:
                collides = one.from_ms - self._now_ms < TYPICAL_STAY_MS
            else:
                collides = wish.depart_by_ms > one.from_ms
            if collides and one.until_ms > self._now_ms:
                return one
        return None

    def short_of(
        self, cp_id: ChargePointId, min_w: int, until_ms: int | None, claimed_w: Mapping[Row, int]
    ) -> Row | None:
        """The first row above a charge point that cannot hold ``min_w`` from now on beside the smallest currents
        of those who are there, of those who come before (``claimed_w``) and of the reservations until then.
        """
        for row, part in shares_of(self._state, cp_id):
            more_w, limit_w = part_of(min_w, part) + claimed_w.get(row, 0), room_w(self._state, row)
            there_w = reserved_w(self._state, row)
            if there_w + more_w > limit_w:
                return row
            if there_w + more_w + self._sum_w.get(row, 0) <= limit_w:
                continue
            if self._peak_w(row, self._now_ms, until_ms) + more_w > limit_w:
                return row
        return None

    def short_later(
        self, charge_point: ChargePoint, min_w: int, from_ms: int, until_ms: int, claimed_w: Mapping[Row, int]
    ) -> Objection | None:
        """The same for a time to come, as an objection. Who has not said when he leaves is still there."""
        state = self._state
        due = [one for one in self.due if one.until_ms > from_ms]
        for row, part in shares_of(state, charge_point.cp_id, above(state, charge_point.node_id)):
            due_w = sum(
                part_of(minimum_w(state, one), its)
                for one in due
                for at, its in shares_of(state, one.cp_id)
                if at == row
            )
            needed_w = self._peak_w(row, from_ms, until_ms) + due_w + claimed_w.get(row, 0) + part_of(min_w, part)
            limit_w = room_w(state, row)
            if needed_w > limit_w:
                return Objection(Obstacle.POWER, str(row), value=needed_w, limit=max(0, limit_w))
        return None

    def _peak_w(self, row: Row, from_ms: int, until_ms: int | None) -> int:
        """The most that smallest currents come to in a row at one time, of sessions and planned reservations."""
        stays = self._stays.get(row)
        if stays is None:
            stays = self._stays[row] = list(self._stays_in(row))
        # The sum rises only where somebody comes, so only these instants have to be looked at.
        turns: list[tuple[int, int]] = []
        for stay in stays:
            if stay.until_ms is not None and stay.until_ms <= from_ms:
                continue
            if until_ms is not None and stay.from_ms >= until_ms:
                continue
            turns.append((max(stay.from_ms, from_ms), stay.watts))
            if stay.until_ms is not None:
                turns.append((stay.until_ms, -stay.watts))
        peak_w = now_w = 0
        # Who leaves at an instant makes room for who comes then: a fall sorts before a rise.
        for _, change_w in sorted(turns):
            now_w += change_w
            peak_w = max(peak_w, now_w)
        return peak_w

    def _stays_in(self, row: Row) -> Iterator[Stay]:
        state = self._state
        for node in state.nodes.values():
            for session_id in node.sessions:
                session = state.sessions[session_id]
                for at, part in shares_of(state, session.cp_id):
                    if at == row:
                        yield Stay(0, declared_end_ms(session, self._now_ms), part_of(session.min_w, part))
        for one in self._planned:
            for at, part in shares_of(state, one.cp_id):
                if at == row:
                    yield Stay(one.from_ms, one.until_ms, part_of(minimum_w(state, one), part))


class Claims(NamedTuple):
    """What those have who come before: it fills while a line is looked at."""

    bookings: Bookings
    taken: set[Place]
    claimed_w: dict[Row, int]


def choose_connector(
    charge_point: ChargePoint,
    wish: Wish,
    bookings: Bookings,
    taken: Collection[Place] = (),
) -> ConnectorNo | RefusalReason:
    """The connector that serves a wish, or why there is none. ``taken``: what those have who come before."""
    wanted = wish.connector
    if wanted != 0 and wanted not in charge_point.connectors:
        return RefusalReason.UNKNOWN_CONNECTOR
    candidates = [wanted] if wanted != 0 else sorted(charge_point.connectors)
    if not candidates:
        return RefusalReason.DISCONNECTED
    cp_id, connectors = charge_point.cp_id, charge_point.connectors
    free = [no for no in candidates if connectors[no].session_id is None and (cp_id, no) not in taken]
    # A vehicle that somebody has left behind is charged for nobody else: he would pay for what is not his.
    free = [no for no in free if connectors[no].left_by in (None, wish.driver_id)]
    own = [no for no in candidates if connectors[no].left_by == wish.driver_id]
    if own:
        # His vehicle stands there: one at another connector is somebody else's.
        free = [no for no in free if no in own or not connectors[no].occupied]
    if not free:
        return RefusalReason.BUSY
    well = [no for no in free if connectors[no].error is None]
    if not well:
        return RefusalReason.OUT_OF_ORDER
    able = [no for no in well if not too_low(charge_point, connectors[no])]
    if not able:
        return RefusalReason.LIMITED if len(free) == len(candidates) else RefusalReason.BUSY
    unreserved = [no for no in able if bookings.against((cp_id, no), wish) is None]
    if not unreserved:
        return RefusalReason.RESERVED if len(free) == len(candidates) else RefusalReason.BUSY
    # A connector with a vehicle at it is preferred: it is the one the driver stands at.
    return max(unreserved, key=lambda no: (connectors[no].occupied, -no))


def session_at(state: State, place: Place) -> Session | None:
    """The session that has a connector."""
    charge_point = state.charge_points.get(place[0])
    connector = None if charge_point is None else charge_point.connectors.get(place[1])
    session_id: SessionId | None = None if connector is None else connector.session_id
    return None if session_id is None else state.sessions[session_id]
