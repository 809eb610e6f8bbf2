"""Where a driver who does not care is sent: to the node that is used least, and there to a free connector.

Free connectors are kept by node and in order, so that a request costs the number of nodes, not that of charge points.
What happened to a charge point marks it stale; it is looked at again when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from evcharge.domain import events as e
from evcharge.domain.feeds import above, feeds_of
from evcharge.domain.headroom import Row, limit_of
from evcharge.domain.health import closed_on
from evcharge.domain.limits import most_at, too_low
from evcharge.domain.openings import Claims, Seeker
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import ChargePoint, Spot, Spots, State, shown_state
from evcharge.domain.words import Role, Shown
from evcharge.ids import ChargePointId, ConnectorNo, NodeId
from evcharge.units import Watts

_OPEN = frozenset({Shown.ACTIVATED, Shown.SUPPLYING})
# What anybody may cause as often as he likes without a change for those who wait: no look at the line is lost by it.
_ONLY_SAID = (e.ChargeRefused, e.RequestRefused, e.PeerRefused, e.IncidentRaised, e.PlanFailed, e.TicketDelivered)
# Peers whose coming and going changes nothing for those who wait, but for a revoked driver: what that ends is said too.
_ONLY_ASK = frozenset({Role.DRIVER, Role.OPERATOR, Role.CONSOLE})


class Routed(NamedTuple):
    """A connector that has room."""

    cp_id: ChargePointId
    connector: ConnectorNo


class Nowhere(NamedTuple):
    """There is none, and why."""

    reason: RefusalReason
    nodes: tuple[NodeId, ...] = ()
    """Those that are lost."""
    full: Row | None = None
    """What is full at the node that is used least …"""
    spot: Spot | None = None
    """… and a free connector there."""


def route(state: State, seeker: Seeker, before: Claims) -> Routed | Nowhere:
    """The connector for somebody who leaves the choice to Central, beside what those have who come ``before``. Ties go
    to the lower id.
    """
    if seeker.node_id is not None and seeker.node_id not in state.nodes:
        return Nowhere(RefusalReason.UNKNOWN_SUBSTATION)
    ranking = Ranking(state, seeker, before)
    full: Row | None = None
    for ranked in ranking.nodes:
        found = ranking.at(ranked)
        if isinstance(found, Routed):
            return found
        full = full or found
    if ranking.nodes:
        return Nowhere(RefusalReason.NO_CAPACITY, full=full, spot=ranking.nodes[0].spot)
    if ranking.closed:
        return Nowhere(RefusalReason.SUBSTATION_LOST, tuple(sorted(set(ranking.closed.values()))))
    return Nowhere(RefusalReason.BUSY)


class Ranked(NamedTuple):
    """A node with a free connector."""

    used: float
    """Of it, or of the fullest above it, with one more: 1 is all."""
    node_id: NodeId
    spot: Spot
    """The preferred one there."""


class Ranking:
    """The nodes that may serve somebody, the one that is used least first; ties go to the lower id."""

    def __init__(self, state: State, seeker: Seeker, before: Claims) -> None:
        self.closed: dict[NodeId, NodeId] = {}
        """Nodes with a free connector that are lost, and what above them is."""
        self.nodes: list[Ranked] = []
        self._state, self._seeker, self._before = state, seeker, before
        self._spots = spots_of(state)
        for node_id, free in self._spots.free.items():
            way = tuple(above(state, node_id))
            if seeker.node_id is not None and seeker.node_id not in way:
                continue
            shut = closed_on(state, way)
            if shut is not None:
                self.closed[node_id] = shut
                continue
            spot = next(filter(self._is_open, by_preference(free, seeker.power_w)), None)
            if spot is not None:
                claimed_w = before.claimed_w
                used = max(utilisation(state, each, spot.min_w + claimed_w.get(Row(each), 0)) for each in way)
                self.nodes.append(Ranked(used, node_id, spot))
        self.nodes.sort()

    def at(self, ranked: Ranked) -> Routed | Row:
        """The connector there that has room, or what has none for the preferred one."""
        before, full = self._before, None
        # Where the preferred one does not fit, the one that needs least may.
        frugal = filter(self._is_open, (each for _, each in self._spots.frugal[ranked.node_id]))
        for each in chain((ranked.spot,), _least_of_each(self._state, frugal)):
            until_ms = self._seeker.wish.depart_by_ms
            short = before.bookings.short_of(each.cp_id, each.min_w, until_ms, before.claimed_w)
            if short is None:
                return Routed(each.cp_id, each.connector)
            full = full or short
        assert full is not None, "the preferred one was looked at"
        return full

    def _is_open(self, spot: Spot) -> bool:
        place, before, state = (spot.cp_id, spot.connector), self._before, self._state
        if place in before.taken or before.bookings.against(place, self._seeker.wish) is not None:
            return False
        return spot.cp_id not in state.away or closed_on(state, feeds_of(state, spot.cp_id)) is None


def _least_of_each(state: State, spots: Iterator[Spot]) -> Iterator[Spot]:
    """The first; and while charge points are away the first of all that count at the same nodes."""
    tried: set[tuple[NodeId, ...] | None] = set()
    for spot in spots:
        feeds = feeds_of(state, spot.cp_id) if spot.cp_id in state.away else None
        if feeds not in tried:
            yield spot
            tried.add(feeds)
        if not state.away:
            return


def utilisation(state: State, node_id: NodeId, more_w: int) -> float:
    """How much of a node is reserved with ``more_w`` on top; those who did not plug in yet are counted like others."""
    node = state.nodes[node_id]
    there_w = limit_of(state, Row(node_id)) - node.base_w
    return (node.reserved_w + more_w) / there_w if there_w > 0 else float("inf")


def by_preference(free: Sequence[Spot], power_w: int | None) -> Iterator[Spot]:
    """A sorted list, best first: of those that can do ``power_w`` the weakest, then the others, the strongest first;
    of equals the first by id.
    """
    able = bisect_left(free, power_w, key=lambda spot: spot.max_w) if power_w is not None else len(free)
    yield from free[able:]
    until = able
    while until:
        first = bisect_left(free, free[until - 1].max_w, key=lambda spot: spot.max_w)
        yield from free[first:until]
        until = first


# --- what is free -------------------------------------------------------------------------------------------------


def spots_of(state: State) -> Spots:
    """The free connectors as they are now. They follow from the rest of the state, so a decision may note them."""
    spots = state.spots
    if spots is None:
        spots = state.spots = Spots()
        spots.stale = dict.fromkeys(state.charge_points)
    for cp_id in spots.stale:
        _renew(spots, state, cp_id)
    spots.stale.clear()
    return spots


def _renew(spots: Spots, state: State, cp_id: ChargePointId) -> None:
    node_id, had = spots.of.pop(cp_id, (None, ()))
    if node_id is not None:
        free, frugal = spots.free[node_id], spots.frugal[node_id]
        for spot in had:
            del free[bisect_left(free, spot)]
            del frugal[bisect_left(frugal, (spot.min_w, spot))]
        if not free:
            del spots.free[node_id], spots.frugal[node_id]
    charge_point = state.charge_points.get(cp_id)
    has = () if charge_point is None else _free_at(state, charge_point)
    if charge_point is None or not has:
        return
    spots.of[cp_id] = (charge_point.node_id, has)
    for spot in has:
        insort(spots.free.setdefault(charge_point.node_id, []), spot)
        insort(spots.frugal.setdefault(charge_point.node_id, []), (spot.min_w, spot))


def _free_at(state: State, charge_point: ChargePoint) -> tuple[Spot, ...]:
    """Connectors that may be promised to somebody who is on the way: nobody's, and nobody stands there."""
    if charge_point.holds or shown_state(state, charge_point) not in _OPEN:
        return ()
    return tuple(
        Spot(Watts(most_at(charge_point, connector)), charge_point.cp_id, no, connector.min_w)
        for no, connector in charge_point.connectors.items()
        if connector.session_id is None and connector.error is None and not connector.occupied
        if not too_low(charge_point, connector)
    )


def outdate(event: e.Event, state: State) -> None:
    """What ``event`` is about has to be looked at again; asked before it is applied, part of ``evolve``."""
    spots = state.spots
    if spots is None:
        return
    if not (isinstance(event, _ONLY_SAID) or getattr(event, "role", None) in _ONLY_ASK):
        spots.look = None
    about = event.ticket if isinstance(event, e.TicketIssued) else event
    cp_id = getattr(about, "cp_id", None)
    if cp_id is None and isinstance(event, e.PeerConnected | e.PeerDisconnected):
        cp_id = event.entity if event.role in (Role.ENGINE, Role.MONITOR) else None
    if cp_id is None:
        session = state.sessions.get(getattr(about, "session_id", ""))  # type: ignore[arg-type]
        cp_id = None if session is None else session.cp_id
    if cp_id is not None:
        spots.stale[cp_id] = None
