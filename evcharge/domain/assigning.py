"""Where somebody would be sent now who leaves the choice to Central, and what else there was: nothing of it is kept.

The choice is that of a charge request for any charge point, behind all who wait and beside what is reserved; what
speaks for it and against the other nodes is found by the same ranking.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from evcharge.domain import events as e
from evcharge.domain.commands import RequestCharge
from evcharge.domain.feeds import above, feeds_of
from evcharge.domain.headroom import Row, reserved_w, room_w, shares_of
from evcharge.domain.openings import Claims, Seeker, Wish
from evcharge.domain.prospects import Prospects
from evcharge.domain.routing import Ranking, Routed
from evcharge.domain.sessions import line_before, place
from evcharge.domain.state import State
from evcharge.domain.words import Stamp
from evcharge.ids import ANYWHERE, ConnectorNo, DriverId, NodeId, SessionId

# Nodes that are shown beside the chosen one: as many as a person reads.
MOST_ALTERNATIVES = 8


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was not chosen. With a connector it would have done; else it is lost, full, or none is free there."""

    node_id: NodeId
    routed: Routed | None = None
    utilisation: int | None = None
    """Percent, of the fullest node that feeds it, with one more."""
    lost: NodeId | None = None
    full: Row | None = None
    left_w: int = 0
    """What is left in ``full``."""


class Assigned(msgspec.Struct, frozen=True, kw_only=True):
    """A place, and the best of those that were not chosen, in their order."""

    node_id: NodeId
    routed: Routed
    utilisation: int
    """Percent, of the fullest node that feeds it, with this one."""
    headroom_w: int
    """What can be reserved at all that feeds it, before this one."""
    power_w: int
    """What it would get now."""
    alternatives: tuple[Alternative, ...]


def wish_of(energy_wh: int | None, power_w: int | None, node_id: NodeId | None) -> RequestCharge:
    """The charge request of nobody in particular, for any charge point."""
    return RequestCharge(
        session_id=SessionId(""),
        driver_id=DriverId(""),
        cp_id=ANYWHERE,
        connector=ConnectorNo(0),
        energy_wh=energy_wh,
        depart_by_ms=None,
        node_id=node_id,
        power_w=power_w,
    )


def assign(state: State, command: RequestCharge, stamp: Stamp) -> Assigned | e.ChargeRefused:
    """Where ``command``, a request for any charge point, would be served now, or why it would be refused."""
    line = line_before(state, command, stamp)
    placed = place(state, command, line, stamp)
    if isinstance(placed, e.ChargeRefused):
        return placed
    claims = line.claims
    charge_point = state.charge_points[placed.cp_id]
    connector = charge_point.connectors[placed.connector]
    left = (_left_w(state, row, claims) * part for row, part in shares_of(state, placed.cp_id))
    return Assigned(
        node_id=charge_point.node_id,
        routed=placed,
        utilisation=_percent(state, feeds_of(state, placed.cp_id), connector.min_w, claims),
        headroom_w=max(0, min(left)),
        power_w=Prospects(state, stamp).watts(charge_point, connector),
        alternatives=_others(state, command, charge_point.node_id, claims),
    )


def _others(state: State, command: RequestCharge, chosen: NodeId, claims: Claims) -> tuple[Alternative, ...]:
    """Those with a free connector, used least first, those that are lost, and those where none is free."""
    wish = Wish(command.driver_id, ConnectorNo(0), command.depart_by_ms)
    ranking = Ranking(state, Seeker(wish, command.node_id, command.power_w), claims)
    found: list[Alternative] = []
    for ranked in islice((one for one in ranking.nodes if one.node_id != chosen), MOST_ALTERNATIVES):
        routed = ranking.at(ranked)
        if isinstance(routed, Row):
            left_w = max(0, _left_w(state, routed, claims))
            found.append(Alternative(node_id=ranked.node_id, full=routed, left_w=left_w))
            continue
        min_w = state.charge_points[routed.cp_id].connectors[routed.connector].min_w
        used = _percent(state, feeds_of(state, routed.cp_id), min_w, claims)
        found.append(Alternative(node_id=ranked.node_id, routed=routed, utilisation=used))
    found += [Alternative(node_id=each, lost=lost) for each, lost in sorted(ranking.closed.items())]
    known = {chosen, *ranking.closed, *(one.node_id for one in ranking.nodes)}
    homes = {one.node_id for one in state.charge_points.values()} & state.nodes.keys()
    taken = sorted(each for each in homes - known if command.node_id is None or command.node_id in above(state, each))
    return tuple([*found, *(Alternative(node_id=each) for each in taken)][:MOST_ALTERNATIVES])


def _left_w(state: State, row: Row, claims: Claims) -> int:
    """What can be reserved in a row beside those who are there and those who come before."""
    return room_w(state, row) - reserved_w(state, row) - claims.claimed_w.get(row, 0)


def _percent(state: State, nodes: tuple[NodeId, ...], more_w: int, claims: Claims) -> int:
    """Of the fullest of ``nodes``, with ``more_w`` on top; rounded up. Where there is nothing all of it is reserved."""
    found = 0
    for node_id in nodes:
        row = Row(node_id)
        there_w = room_w(state, row)
        used_w = there_w - _left_w(state, row, claims) + more_w
        found = max(found, -(-100 * used_w // there_w) if there_w > 0 else 100)
    return found
