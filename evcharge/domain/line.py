"""Who is next: the fair order of those who wait, what each of them waits for, and for how long that may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple

from evcharge.domain.feeds import above
from evcharge.domain.headroom import part_of, shares_of
from evcharge.domain.limits import most_w, too_low
from evcharge.domain.openings import (
    TYPICAL_STAY_MS,
    Bookings,
    Claims,
    Place,
    Seeker,
    Wish,
    choose_connector,
    minimum_w,
    unable,
)
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.routing import Nowhere, Routed, route
from evcharge.domain.state import ChargePoint, Reservation, Session, State, Waiting
from evcharge.energy.queueing import Turns
from evcharge.ids import ANYWHERE, ChargePointId, ConnectorNo, DriverId, NodeId, SessionId
from evcharge.units import MS_PER_HOUR

# After so long everybody has the same right, however many sessions his account has, ms: a fleet waits for its second
# vehicle behind those who have none, but not for ever.
PATIENCE_MS = 3_600_000
# How long a vehicle stays whose session is over, ms: the walk back to it. Nobody knows better.
LINGERING_MS = 900_000


class Blocked(NamedTuple):
    """What one waits for."""

    reason: RefusalReason
    node_id: NodeId | None = None
    """Where power is missing."""


class Ready(NamedTuple):
    """One whose turn it is, and the connector that it gets."""

    who: Waiting | Reservation
    cp_id: ChargePointId
    connector: ConnectorNo


class Eta(NamedTuple):
    """How many come before, when it is one's turn (site time) and how old the oldest meter value behind that is."""

    place: int
    at_ms: int | None
    age_ms: int | None


def in_order(state: State, now_ms: int) -> list[Waiting]:
    """Those who wait and have no offer: first come, first served; who charges already, or waits at another place as
    well, comes behind those who do not.
    """
    order: list[tuple[bool, int, Waiting]] = []
    seen = set()
    for one in sorted(state.waiting.values(), key=lambda each: each.turn):
        if one.offer is None:
            driver = state.drivers.get(one.driver_id)
            has_more = one.driver_id in seen or (driver is not None and bool(driver.open_sessions))
            order.append((has_more and now_ms - one.since_ms < PATIENCE_MS, one.turn, one))
            seen.add(one.driver_id)
    return [one for _, _, one in sorted(order, key=lambda each: each[:2])]


class Line:
    """One look at all who wait. Who comes first takes its connector and its power, or keeps them free for itself while
    only the other one is missing: nobody overtakes.
    """

    def __init__(self, state: State, now_ms: int, without: Collection[SessionId] = ()) -> None:
        self._state, self._now_ms = state, now_ms
        self.claims = Claims(Bookings(state, now_ms), set(), {})
        self.order = [one for one in in_order(state, now_ms) if one.waiting_id not in without]
        self.ready: list[Ready] = []
        self.blocked: dict[SessionId, Blocked] = {}
        self._nowhere: dict[Seeker, Nowhere] = {}
        self._have_reserved = {one.driver_id for one in state.reservations.values()}
        for reservation in self.claims.bookings.due:
            if reservation.reservation_id not in without:
                self._place_reservation(reservation)
        for waiting in self.order:
            self._place(waiting)

    def place_last(self, one: Waiting) -> Blocked | None:
        """A newcomer behind all others, and what it waits for."""
        self.order.append(one)
        self._place(one)
        return self.blocked.get(one.waiting_id)

    def _place_reservation(self, one: Reservation) -> None:
        charge_point = self._state.charge_points[one.cp_id]
        connector = charge_point.connectors.get(one.connector)
        reason = unable(self._state, charge_point)
        if reason is None and connector is None:
            reason = RefusalReason.UNKNOWN_CONNECTOR
        elif reason is None and connector is not None:
            place = (one.cp_id, one.connector)
            # Whose vehicle stands there is known of one that was left behind; of another one its driver asks to charge.
            strange = connector.occupied and connector.left_by != one.driver_id
            if connector.session_id is not None or strange or place in self.claims.taken:
                reason = RefusalReason.BUSY
            elif connector.error is not None:
                reason = RefusalReason.OUT_OF_ORDER
            elif too_low(charge_point, connector):
                reason = RefusalReason.LIMITED
            if connector.session_id is None:
                self.claims.taken.add(place)
        if reason is not None:
            self.blocked[one.reservation_id] = Blocked(reason)
            if reason is not RefusalReason.BUSY:
                return
        self._claim(one, charge_point, one.connector, minimum_w(self._state, one), one.until_ms)

    def _place(self, one: Waiting) -> None:
        if one.cp_id == ANYWHERE:
            self._place_anywhere(one)
            return
        charge_point = self._state.charge_points[one.cp_id]
        reason = unable(self._state, charge_point)
        if reason is not None:
            self.blocked[one.waiting_id] = Blocked(reason)
            return
        choice = choose_connector(charge_point, _wish(one), self.claims.bookings, self.claims.taken)
        if isinstance(choice, RefusalReason):
            self.blocked[one.waiting_id] = Blocked(choice)
            return
        self.claims.taken.add((one.cp_id, choice))
        self._claim(one, charge_point, choice, charge_point.connectors[choice].min_w, one.depart_by_ms)

    def _place_anywhere(self, one: Waiting) -> None:
        # Reservations alone make a difference between those who look for the same: else one search does for all.
        own = one.driver_id if one.driver_id in self._have_reserved else DriverId("")
        until_ms = one.depart_by_ms if self._state.reservations else None
        seeker = Seeker(Wish(own, ConnectorNo(0), until_ms), one.node_id, one.power_w)
        # Later in one look there is only less: where there was no room there is none.
        found = self._nowhere.get(seeker) or route(self._state, seeker, self.claims)
        if isinstance(found, Routed):
            charge_point = self._state.charge_points[found.cp_id]
            self.claims.taken.add((found.cp_id, found.connector))
            min_w = charge_point.connectors[found.connector].min_w
            self._claim(one, charge_point, found.connector, min_w, one.depart_by_ms)
            return
        self._nowhere[seeker] = found
        self.blocked[one.waiting_id] = Blocked(found.reason, None if found.full is None else found.full.node_id)
        if found.spot is not None:
            # Any connector will do, so none is kept; the power of one is.
            self._keep(found.spot.cp_id, found.spot.min_w)

    def _claim(
        self,
        who: Waiting | Reservation,
        charge_point: ChargePoint,
        connector: ConnectorNo,
        min_w: int,
        until: int | None,
    ) -> None:
        """Give it the power, or keep for it what there is."""
        who_id = who.waiting_id if isinstance(who, Waiting) else who.reservation_id
        short = self.claims.bookings.short_of(charge_point.cp_id, min_w, until, self.claims.claimed_w)
        self._keep(charge_point.cp_id, min_w)
        if who_id in self.blocked:
            return
        if short is not None:
            self.blocked[who_id] = Blocked(RefusalReason.NO_CAPACITY, short.node_id)
        else:
            self.ready.append(Ready(who, charge_point.cp_id, connector))

    def _keep(self, cp_id: ChargePointId, watts: int) -> None:
        claimed_w = self.claims.claimed_w
        for row, part in shares_of(self._state, cp_id):
            claimed_w[row] = claimed_w.get(row, 0) + part_of(watts, part)


def _wish(one: Waiting) -> Wish:
    return Wish(one.driver_id, one.connector, one.depart_by_ms)


# --- how long it may take ---------------------------------------------------------------------------------------------


class Forecast:
    """Places and times of all who wait, from one look at the line."""

    def __init__(self, state: State, line: Line, now_ms: int) -> None:
        self._state, self._line, self._now_ms = state, line, now_ms
        self._turns: dict[NodeId | Place | None, tuple[Turns, int | None]] = {}
        # Counts of those that ``etas`` has passed: a sum for each one would be a tenth of a second for a thousand.
        self._before_at: dict[ChargePointId, Counter[ConnectorNo]] = {}
        self._before_below: Counter[NodeId | None] = Counter()
        self._before_anywhere = 0
        self._before_short: Counter[NodeId] = Counter()

    def etas(self) -> Iterator[tuple[Waiting, Blocked | None, Eta]]:
        """Everybody in order."""
        for one in self._line.order:
            blocked = self._line.blocked.get(one.waiting_id)
            yield one, blocked, self.of(one, blocked)
            self._pass(one, blocked)

    def _pass(self, one: Waiting, blocked: Blocked | None) -> None:
        node_id = None
        if one.cp_id == ANYWHERE:
            self._before_anywhere += 1
        else:
            self._before_at.setdefault(one.cp_id, Counter())[one.connector] += 1
            node_id = self._state.charge_points[one.cp_id].node_id
            self._before_below.update((None, *above(self._state, node_id)))
        if blocked is not None and blocked.node_id is not None:
            self._before_short.update(above(self._state, node_id or blocked.node_id))

    def of(self, one: Waiting, blocked: Blocked | None) -> Eta:
        """When it is its turn, behind those that ``etas`` has passed."""
        before = self._before(one)
        if blocked is None:
            return Eta(before + 1, self._now_ms, None)
        if blocked.node_id is not None:
            before = max(before, self._before_short[blocked.node_id])
            turns, age_ms = self._under(blocked.node_id)
        elif blocked.reason is RefusalReason.BUSY:
            turns, age_ms = self._under(one.node_id) if one.cp_id == ANYWHERE else self._at(one)
        else:
            return Eta(before + 1, None, None)
        wait_s = turns.wait_s(before)
        at_ms = None if wait_s is None else self._now_ms + round(wait_s * 1000)
        return Eta(before + 1, at_ms, age_ms)

    def _before(self, one: Waiting) -> int:
        """How many have passed that want what it wants. Who waits for any charge point comes behind all who wait at one
        of them; one of those may be served by another one, so they do not count him.
        """
        if one.cp_id == ANYWHERE:
            return self._before_anywhere + self._before_below[one.node_id]
        at = self._before_at.get(one.cp_id, Counter())
        return at[ConnectorNo(0)] + at[one.connector] if one.connector else at.total()

    def _at(self, one: Waiting) -> tuple[Turns, int | None]:
        """What is left of those who have the connectors that it could get."""
        place = (one.cp_id, one.connector)
        if place not in self._turns:
            charge_point = self._state.charge_points[one.cp_id]
            found, sessions = [], []
            for no, connector in sorted(charge_point.connectors.items()):
                able = connector.error is None and not too_low(charge_point, connector)
                if one.connector not in (0, no) or not able:
                    continue
                if connector.session_id is not None:
                    sessions.append(self._state.sessions[connector.session_id])
                    found.append(remaining_s(self._state, sessions[-1], self._now_ms))
                else:
                    found.append(0.0 if connector.left_by is None else LINGERING_MS / 1000)
            self._turns[place] = Turns(found, TYPICAL_STAY_MS / 1000), self._age_ms(sessions)
        return self._turns[place]

    def _under(self, node_id: NodeId | None) -> tuple[Turns, int | None]:
        """What is left of those who charge below a node; None: anywhere."""
        if node_id not in self._turns:
            sessions = [
                self._state.sessions[session_id]
                for each, node in self._state.nodes.items()
                if node_id is None or node_id in above(self._state, each)
                for session_id in node.sessions
            ]
            found = [remaining_s(self._state, session, self._now_ms) for session in sessions]
            self._turns[node_id] = Turns(found, TYPICAL_STAY_MS / 1000), self._age_ms(sessions)
        return self._turns[node_id]

    def _age_ms(self, sessions: list[Session]) -> int | None:
        ages = [max(0, self._now_ms - session.meter_ms) for session in sessions if session.start_ms is not None]
        return max(ages, default=None)


def remaining_s(state: State, session: Session, now_ms: int) -> float:
    """For how long a session goes on, as far as anybody can tell: until the departure that was declared, or until the
    energy that was asked for is there at the present limit; else what is left of a typical stay, and never less than a
    quarter of one.
    """
    ends = []
    if session.depart_by_ms is not None and session.depart_by_ms > now_ms:
        ends.append((session.depart_by_ms - now_ms) / 1000)
    if session.requested_wh is not None:
        newest = session.lease.newest
        power_w = most_w(state, session) if newest is None else newest.limit_w
        if power_w > 0:
            missing_wh = max(0, session.requested_wh - session.energy_wh)
            ends.append(missing_wh * MS_PER_HOUR / power_w / 1000)
    if ends:
        return min(ends)
    been_ms = now_ms - (session.authorized_ms if session.start_ms is None else session.start_ms)
    return max(TYPICAL_STAY_MS - been_ms, TYPICAL_STAY_MS // 4) / 1000
