"""What feeds what: the nodes above a node, and those whose limits a charge point counts in."""

from __future__ import annotations

from collections.abc import Iterator

from evcharge.domain.site import SiteConfig
from evcharge.domain.state import ChargePoint, State
from evcharge.ids import ChargePointId, NodeId


def above(state: State, node_id: NodeId) -> Iterator[NodeId]:
    """The node and all that it is fed from, lowest first. The tree was checked when it was configured."""
    at: NodeId | None = node_id
    while at is not None:
        yield at
        at = state.nodes[at].parent


def home_of(site: SiteConfig, cp_id: ChargePointId) -> NodeId:
    """The node that a charge point stands at."""
    return site.assignments.get(cp_id) or site.default_node


def feeds_of(state: State, cp_id: ChargePointId) -> tuple[NodeId, ...]:
    """All nodes that a charge point's power counts at, lowest first, each once: those of its feed and, until nothing
    from before a move rules any more, those of its former one.
    """
    charge_point = state.charge_points[cp_id]
    if cp_id not in state.away:
        return tuple(above(state, charge_point.node_id))
    found = dict.fromkeys(path_of(state, cp_id, charge_point.node_id))
    if charge_point.leaving_id is not None:
        found.update(dict.fromkeys(path_of(state, cp_id, charge_point.leaving_id)))
    return tuple(found)


def path_of(state: State, cp_id: ChargePointId, node_id: NodeId) -> Iterator[NodeId]:
    """The nodes that carry a charge point's power when ``node_id`` feeds it. Where that is a backup, the charge point's
    own feeders below the node that it stands in for are among them.
    """
    yield from above(state, node_id)
    own: list[NodeId] = []
    for each in above(state, home_of(state.site, cp_id)):
        placed = state.site.nodes.get(each)
        if each == node_id:
            return
        if placed is not None and node_id in placed.backups:
            yield from own
            return
        own.append(each)


def is_away(state: State, cp_id: ChargePointId) -> bool:
    """Whether a charge point is fed from elsewhere than where it stands, or its switch is on the way."""
    charge_point = state.charge_points[cp_id]
    return charge_point.node_id != home_of(state.site, cp_id) or charge_point.leaving_id is not None


def awaits_place(charge_point: ChargePoint) -> bool:
    """Whether it stands elsewhere by a newer configuration, and gets there when nothing is open at it any more."""
    return charge_point.leaving_id is not None and charge_point.moved_ms is None
