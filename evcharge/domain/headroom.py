"""What is left at each node of the tree when everybody draws the most that was ever allowed: the worst case.

The rule that no message, and no missing message, can break: at every node, the base load at its worst and the worst
case of all sessions below it (``energy.leases``) fit into the capacity, on each phase too where phases are limited.
There is no help from the sun or a battery in it, because nothing guarantees that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from evcharge.domain.feeds import above, feeds_of
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import Node, Session, State
from evcharge.energy.derating import derated_w
from evcharge.ids import ChargePointId, NodeId, SessionId

PHASES = (0, 1, 2)
# Nothing measured: what was configured counts.
NO_METERS: Mapping[NodeId, int] = MappingProxyType({})


class Row(NamedTuple):
    """One limit: a node's, or that of one of its phases."""

    node_id: NodeId
    phase: int | None = None

    def __str__(self) -> str:
        return self.node_id if self.phase is None else f"{self.node_id}/L{self.phase + 1}"


class Share(NamedTuple):
    """How much of a session's power counts in a row."""

    row: Row
    part: int
    """1 of so many parts: 3 where its current is spread over three phases."""


def shares_of(state: State, cp_id: ChargePointId, nodes: Iterable[NodeId] | None = None) -> Iterator[Share]:
    """The rows that sessions of a charge point count in; with ``nodes``, those that they would count in there."""
    on = state.site.phases.get(cp_id, ())
    for node_id in feeds_of(state, cp_id) if nodes is None else nodes:
        yield Share(Row(node_id), 1)
        if state.nodes[node_id].phase_w is not None:
            for phase in on or PHASES:
                yield Share(Row(node_id, phase), len(on) or 1)


def base_w(node: Node, measured_w: int | None) -> int:
    """What else may draw at a node: what was configured as the most, or more where a meter shows more."""
    return max(node.base_w, measured_w or 0)


def with_those_below(own_w: Mapping[NodeId, int], parents: Mapping[NodeId, NodeId | None]) -> dict[NodeId, int]:
    """Base load by node: its own, or what the nodes below it have together where that is more. A meter or a setting may
    be of what draws at this very node, or of all that is below it; nothing may count at one level only.
    """
    children: dict[NodeId, list[NodeId]] = {}
    top_first: list[NodeId] = []
    for node_id, parent in parents.items():
        (top_first if parent is None else children.setdefault(parent, [])).append(node_id)
    for node_id in top_first:
        top_first += children.get(node_id, ())
    found: dict[NodeId, int] = {}
    for node_id in reversed(top_first):
        found[node_id] = max(own_w.get(node_id, 0), sum(found[each] for each in children.get(node_id, ())))
    return found


def own_base_w(node: Node, measured_w: int | None) -> int:
    """The base load of a node by itself; its meter, when that shows nothing now, counts as what is remembered of it."""
    return base_w(node, node.metered_w if measured_w is None else measured_w)


def measured_all_over(state: State, measured_w: Mapping[NodeId, int]) -> Mapping[NodeId, int]:
    """What meters show of the base load, or showed when they are silent, counted at all nodes above them too; the same
    when asked again.
    """
    if not measured_w and not any(node.metered_w for node in state.nodes.values()):
        return NO_METERS
    own_w = {node_id: own_base_w(node, measured_w.get(node_id)) for node_id, node in state.nodes.items()}
    return with_those_below(own_w, {node_id: node.parent for node_id, node in state.nodes.items()})


class Headroom:
    """What is left in each row that one of ``sessions`` counts in. Watts; below 0 where a limit was cut."""

    def __init__(
        self,
        state: State,
        sessions: Iterable[Session],
        worst_w: Mapping[SessionId, int],
        measured_w: Mapping[NodeId, int],
    ) -> None:
        self._state = state
        self.measured_w = measured_all_over(state, measured_w)
        self._left: dict[Row, int] = {}
        self._shares: dict[SessionId, tuple[Share, ...]] = {}
        self._sharing: dict[Row, int] = {}
        for session in sessions:
            shares = self._shares[session.session_id] = tuple(shares_of(state, session.cp_id))
            for row, part in shares:
                self._open(row)
                self._left[row] -= part_of(worst_w[session.session_id], part)
                self._sharing[row] = self._sharing.get(row, 0) + 1

        self._worst_w = worst_w

    def _open(self, row: Row) -> None:
        if row not in self._left:
            self._left[row] = room_w(self._state, row, self.measured_w)

    def admit(self, sessions: Iterable[Session], nodes: Sequence[NodeId]) -> bool:
        """Count ``sessions`` at ``nodes`` as well, if their worst case fits into each row there."""
        more_w: dict[Row, int] = {}
        for session in sessions:
            for row, part in shares_of(self._state, session.cp_id, nodes):
                self._open(row)
                more_w[row] = more_w.get(row, 0) + part_of(self._worst_w[session.session_id], part)
        if any(watts > max(0, self._left[row]) for row, watts in more_w.items()):
            return False
        for row, watts in more_w.items():
            self._left[row] -= watts
        return True

    def of(self, session: Session) -> int:
        """The most that this session can have on top of its worst case; never negative."""
        return max(0, min(self._left[row] * part for row, part in self._shares[session.session_id]))

    def tightest(self, session: Session) -> Row:
        """The row that leaves it least."""
        return min(self._shares[session.session_id], key=lambda share: self._left[share.row] * share.part).row

    def take(self, session: Session, watts: int) -> None:
        """This session's worst case rises by ``watts``."""
        for row, part in self._shares[session.session_id]:
            self._left[row] -= part_of(watts, part)

    def left_w(self, row: Row) -> int:
        """What is left in a row; below 0 where more is out than there is. Nobody counts yet in a row of a node that
        somebody is to move to.
        """
        self._open(row)
        return self._left[row]

    def sharing(self, row: Row) -> int:
        """How many sessions count in a row."""
        return self._sharing.get(row, 0)


def part_of(watts: int, part: int) -> int:
    """A share of ``watts``, rounded up: a sum of parts may not be less than the whole."""
    return -(-watts // part)


def rated_w(state: State, row: Row) -> int:
    """The capacity of a node, or of its phase, where it is not too hot."""
    node = state.nodes[row.node_id]
    if row.phase is None or node.phase_w is None:
        return node.capacity_w
    return node.phase_w[row.phase]


def limit_of(state: State, row: Row) -> int:
    """What of it the heat leaves now. A charge point looks after its own electronics; what feeds it, cables, switches
    and a transformer, has nobody else who does.
    """
    watts = rated_w(state, row)
    return watts if state.derated is None else derated_w(watts, state.derated.share)


def heat_takes(state: State, row: Row) -> int:
    """The capacity where the heat leaves less of it; 0 where it leaves all: as a ``Bound`` says it."""
    rated = rated_w(state, row)
    return rated if limit_of(state, row) < rated else 0


def room_w(state: State, row: Row, measured_w: Mapping[NodeId, int] = NO_METERS) -> int:
    """The limit, less the base load. How that is spread over phases is not known: each has to hold all of it."""
    return limit_of(state, row) - base_w(state.nodes[row.node_id], measured_w.get(row.node_id))


def reserved_w(state: State, row: Row) -> int:
    """The smallest currents of those who are there, together."""
    node = state.nodes[row.node_id]
    return node.reserved_w if row.phase is None else node.reserved_phase_w[row.phase]


def overfull(
    state: State, shares: Iterable[Share], more_w: int, measured_w: Mapping[NodeId, int] = NO_METERS
) -> Row | None:
    """The first row that cannot hold ``more_w`` beside the smallest currents of those who are there; None: all can."""
    for row, part in shares:
        if reserved_w(state, row) + part_of(more_w, part) > room_w(state, row, measured_w):
            return row
    return None


def worst_case_w(state: State, clock_ms: int) -> Mapping[NodeId, int]:
    """By node, what could flow at it and below it if all messages were lost now."""
    found = dict.fromkeys(state.nodes, 0)
    for node in state.nodes.values():
        for session_id in node.sessions:
            session = state.sessions[session_id]
            for each in feeds_of(state, session.cp_id):
                found[each] += session.lease.worst_w(clock_ms)
    return found


def offers_w(state: State) -> tuple[Mapping[NodeId, int], Mapping[NodeId, int]]:
    """By node, what the newest set-points of those it feeds allow together, and what they fall back to."""
    offered, fallback = dict.fromkeys(state.nodes, 0), dict.fromkeys(state.nodes, 0)
    for node_id, node in state.nodes.items():
        newest = [grant for each in node.sessions if (grant := state.sessions[each].lease.newest) is not None]
        offered_w, fallback_w = sum(grant.limit_w for grant in newest), sum(grant.fallback_w for grant in newest)
        for above_id in above(state, node_id):
            offered[above_id] += offered_w
            fallback[above_id] += fallback_w
    return offered, fallback


def sessions_below(state: State) -> Mapping[NodeId, int]:
    """By node, how many sessions draw from it and from what is below it."""
    found = dict.fromkeys(state.nodes, 0)
    for node_id, node in state.nodes.items():
        for each in above(state, node_id):
            found[each] += len(node.sessions)
    return found


def tight_nodes(state: State, measured_w: Mapping[NodeId, int]) -> set[NodeId]:
    """The nodes that hold somebody back: their limit does not take all maxima, on each phase too."""
    measured_w = measured_all_over(state, measured_w)
    return {
        node_id
        for node_id, node in state.nodes.items()
        if node.wanted_w + base_w(node, measured_w.get(node_id)) > _least_limit_w(state, node_id)
    }


def _least_limit_w(state: State, node_id: NodeId) -> int:
    rows = [Row(node_id)] if state.nodes[node_id].phase_w is None else [Row(node_id, each) for each in (None, *PHASES)]
    return min(limit_of(state, row) for row in rows)


class BadTree(ValueError):
    """The nodes of a configuration are no tree, or cannot hold what they must: one sentence."""


def check_tree(site: SiteConfig) -> None:
    """Raises BadTree: a name with a slash, a parent that there is not, a node below itself, a limit that its own base
    load fills.
    """
    for node_id in site.capacities:
        if "/" in node_id:
            raise BadTree(f"{node_id} holds a slash, which sets a node apart from its phase")
    for node_id, placed in site.nodes.items():
        if node_id not in site.capacities:
            raise BadTree(f"{node_id} has no capacity")
        path = [node_id]
        while (parent := site.nodes[path[-1]].parent if path[-1] in site.nodes else None) is not None:
            if parent not in site.capacities:
                raise BadTree(f"{path[-1]} is fed from {parent}, which there is not")
            if parent in path:
                raise BadTree(f"{parent} is fed from itself: {' < '.join([*path, parent])}")
            path.append(parent)
        if not 0 <= placed.base_w <= site.capacities[node_id]:
            raise BadTree(
                f"{node_id} has a base load of {placed.base_w} W and a capacity of {site.capacities[node_id]} W: "
                "nothing is left to charge with"
            )
        _check_backups(site, node_id, placed, path)
    own_w = {node_id: placed.base_w for node_id, placed in site.nodes.items()}
    parents = {each: site.nodes[each].parent if each in site.nodes else None for each in site.capacities}
    for node_id, watts in with_those_below(own_w, parents).items():
        if watts > site.capacities[node_id]:
            raise BadTree(
                f"{node_id} has a capacity of {site.capacities[node_id]} W, and what is below it a base load of "
                f"{watts} W: nothing is left to charge with"
            )
    for cp_id, node_id in site.assignments.items():
        if node_id not in site.capacities:
            raise BadTree(f"charge point {cp_id} stands at {node_id}, which there is not")


def _check_backups(site: SiteConfig, node_id: NodeId, placed: NodeConfig, path: Sequence[NodeId]) -> None:
    """A backup that fails with what it stands in for is none. ``path``: the node and all above it."""
    if len(set(placed.backups)) < len(placed.backups):
        raise BadTree(f"{node_id} names a backup twice")
    for backup in placed.backups:
        if backup not in site.capacities:
            raise BadTree(f"{node_id} has the backup {backup}, which there is not")
        if backup in path:
            raise BadTree(f"{node_id} has the backup {backup}, which feeds it anyway")
        at: NodeId | None = backup
        seen: set[NodeId] = set()
        while at is not None and at not in seen:
            if at == node_id:
                raise BadTree(f"{node_id} has the backup {backup}, which it feeds itself")
            seen.add(at)
            at = site.nodes[at].parent if at in site.nodes else None
