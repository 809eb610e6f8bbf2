"""What those who wait will need at a time to come, so that a reservation for then does not overtake them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from evcharge.domain.feeds import above
from evcharge.domain.headroom import Row, part_of, shares_of
from evcharge.domain.limits import too_low
from evcharge.domain.openings import Place, declared_end_ms, session_at, unable
from evcharge.domain.state import ChargePoint, State, Waiting
from evcharge.ids import ANYWHERE, ChargePointId, ConnectorNo, NodeId


class _Open(NamedTuple):
    """A connector that nobody who charges now has then."""

    min_w: int
    cp_id: ChargePointId
    connector: ConnectorNo


def waits_there(state: State, one: Waiting, charge_point: ChargePoint, no: ConnectorNo) -> bool:
    """Whether a connector would do for one who waits."""
    if one.cp_id != ANYWHERE:
        return one.cp_id == charge_point.cp_id and one.connector in (0, no)
    return one.node_id is None or one.node_id in above(state, charge_point.node_id)


def needed_w(state: State, place: Place, from_ms: int, now_ms: int) -> dict[Row, int]:
    """By row of the tree, the smallest currents of those who wait now and have not said that they are gone by
    ``from_ms``; they come beside the sessions that are still there then. Who waits for nothing but ``place``, which is
    asked for, or for a connector that will not be free, needs nothing. Who waits for any charge point counts where all
    of those hang that would do.
    """
    staying = [
        one
        for one in sorted(state.waiting.values(), key=lambda each: each.turn)
        if one.offer is None and (one.depart_by_ms is None or one.depart_by_ms > from_ms)
    ]
    if not staying:
        return {}
    # The largest first: which of those that would do it becomes, nobody knows.
    free = sorted(_open(state, place, from_ms, now_ms), reverse=True)
    at: dict[ChargePointId, list[_Open]] = {}
    for each in free:
        at.setdefault(each.cp_id, []).append(each)
    found: dict[Row, int] = {}
    gone: set[_Open] = set()

    def give(one: Waiting, those: Iterable[_Open], nodes: Collection[NodeId] | None) -> None:
        got = next((each for each in those if each not in gone and one.connector in (0, each.connector)), None)
        if got is None:
            return
        gone.add(got)
        for row, part in shares_of(state, got.cp_id):
            if nodes is None or row.node_id in nodes:
                found[row] = found.get(row, 0) + part_of(got.min_w, part)

    for one in staying:
        if one.cp_id != ANYWHERE:
            give(one, at.get(one.cp_id, ()), None)
    top = _top(state, state.charge_points[place[0]].node_id)
    anywhere = [one for one in staying if one.cp_id == ANYWHERE]
    for node_id in dict.fromkeys(one.node_id or top for one in anywhere):
        nodes = frozenset(above(state, node_id))
        # Read on where the one before stopped: a thousand who wait for a thousand connectors are no million steps.
        below = (each for each in free if node_id in above(state, state.charge_points[each.cp_id].node_id))
        for one in anywhere:
            if (one.node_id or top) == node_id:
                give(one, below, nodes)
    return found


def _open(state: State, but: Place, from_ms: int, now_ms: int) -> Iterator[_Open]:
    for cp_id, charge_point in state.charge_points.items():
        if unable(state, charge_point) is not None:
            continue
        for no, connector in charge_point.connectors.items():
            session = session_at(state, (cp_id, no))
            end_ms = None if session is None else declared_end_ms(session, now_ms)
            gone = session is None or (end_ms is not None and end_ms <= from_ms)
            able = connector.error is None and not too_low(charge_point, connector)
            if gone and able and (cp_id, no) != but:
                yield _Open(connector.min_w, cp_id, no)


def _top(state: State, node_id: NodeId) -> NodeId:
    """The root of the tree that a node is in."""
    *_, top = above(state, node_id)
    return top
