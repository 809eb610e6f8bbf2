"""The tree of limits: checked once, then a list of rows, each a sum over leaves that a number bounds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from evcharge.energy.model import Node, Session

PHASES = (0, 1, 2)
# No charging site draws or makes more, W: a reading above it is a fault of a meter, or of who converts its units.
MOST_READ_W = 10**9
# Who has no limit may say so with a large one; sums of floats have to hold it.
MOST_CAP_W = 2**63


class BadTree(ValueError):
    """The nodes are no tree of limits; the text says which one is wrong and why."""


class Row(NamedTuple):
    """Σ shares[k] · x[leaves[k]] ≤ cap_w. A phase's row has shares below 1 for those that use three phases."""

    name: str
    """Node id, with ``/L1`` to ``/L3`` for a phase, ``/plan`` for a plan's target."""
    cap_w: float
    leaves: tuple[int, ...]
    shares: tuple[float, ...]


class Tree:
    """Nodes with one site above all. Raises BadTree."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes: dict[str, Node] = {}
        for node in nodes:
            if node.id in self.nodes:
                raise BadTree(f"node {node.id} is there twice")
            _check(node)
            self.nodes[node.id] = node
        roots = [node.id for node in self.nodes.values() if node.parent is None]
        if len(roots) > 1:
            raise BadTree(f"{roots[0]} and {roots[1]} both have no parent: one site only")
        self._above: dict[str, tuple[str, ...]] = {}
        for node_id in self.nodes:
            self._above[node_id] = self._walk(node_id)
        if not roots:
            raise BadTree("there are no nodes")
        self.root = roots[0]

    def _walk(self, node_id: str) -> tuple[str, ...]:
        path = [node_id]
        while (parent := self.nodes[path[-1]].parent) is not None:
            if parent not in self.nodes:
                raise BadTree(f"node {path[-1]} is below {parent}, which there is not")
            if parent in path:
                raise BadTree(f"node {parent} is below itself: {' < '.join([*path, parent])}")
            path.append(parent)
        return tuple(path)

    def above(self, node_id: str) -> tuple[str, ...]:
        """The node itself and all above it, lowest first. Raises BadTree for an unknown one."""
        try:
            return self._above[node_id]
        except KeyError:
            raise BadTree(f"there is no node {node_id}") from None

    def online(self, node_id: str) -> bool:
        """Whether set-points reach what is below this node."""
        return all(self.nodes[each].online for each in self.above(node_id))

    def fits(self, minima_w: Mapping[str, int]) -> str | None:
        """The first node whose limit is below the sum of ``minima_w`` (per node) under it; None when all fit."""
        sums = dict.fromkeys(self.nodes, 0)
        for node_id, watts in minima_w.items():
            for each in self.above(node_id):
                sums[each] += watts
        return next((each for each, total in sums.items() if total > self.nodes[each].cap_w), None)

    def rows(self, sessions: Sequence[Session]) -> list[Row]:
        """One row for each node with sessions below it, and three where it limits phases; leaves are indices."""
        below: dict[str, list[int]] = {}
        for index, session in enumerate(sessions):
            for node_id in self.above(session.node):
                below.setdefault(node_id, []).append(index)
        rows = []
        for node_id, leaves in below.items():
            node = self.nodes[node_id]
            rows.append(Row(node_id, headroom_w(node), tuple(leaves), (1.0,) * len(leaves)))
            if node.phase_cap_w is not None:
                rows += _phase_rows(node, leaves, sessions)
        return rows


def headroom_w(node: Node) -> int:
    """What sessions below may draw now. A reading below zero counts as none: it is no reason to allow more; nor is
    solar that no site has. Base load that is no number leaves nothing."""
    pv_w = node.pv_w if 0 < node.pv_w <= MOST_READ_W else 0
    return max(0, node.cap_w - _base_w(node) + pv_w)


def phase_headroom_w(node: Node, phase: int) -> int:
    """Of one phase. Readings are of the node as a whole: all of the base may be on each phase, no solar."""
    assert node.phase_cap_w is not None
    return max(0, node.phase_cap_w[phase] - _base_w(node))


def phases_of(session: Session) -> tuple[Collection[int], float]:
    """The phases that it may load, and which part of its power is on each of them."""
    if session.on and all(phase in PHASES for phase in session.on):
        return session.on, 1.0 / len(set(session.on))
    return PHASES, 1.0 / min(max(1, session.phases), len(PHASES))


def _base_w(node: Node) -> int:
    # What is no number compares with nothing.
    return max(0, node.base_w) if node.base_w <= MOST_READ_W else node.cap_w + MOST_READ_W


def _check(node: Node) -> None:
    if not 0 <= node.cap_w <= MOST_CAP_W:
        raise BadTree(f"node {node.id} has a limit of {node.cap_w} W: it has to be 0 or more")
    for cap_w in node.phase_cap_w or ():
        if not 0 <= cap_w <= MOST_CAP_W:
            raise BadTree(f"node {node.id} has a phase with a limit of {cap_w} W: it has to be 0 or more")


def _phase_rows(node: Node, leaves: Sequence[int], sessions: Sequence[Session]) -> list[Row]:
    rows = []
    for phase in PHASES:
        members = [i for i in leaves if phase in phases_of(sessions[i])[0]]
        if members:
            shares = tuple(phases_of(sessions[i])[1] for i in members)
            rows.append(Row(f"{node.id}/L{phase + 1}", phase_headroom_w(node, phase), tuple(members), shares))
    return rows
