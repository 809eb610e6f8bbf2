"""The limits above each session as arrays: which rows it counts in, and with which share.

Row 0 is none: it has no limit and fills the tables where a path is shorter than others. Columns go from the plan's
target and the lowest node up to the site; phases come after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evcharge.energy.cars import Bools, Floats, Ints
from evcharge.energy.model import Session
from evcharge.energy.tree import PHASES, BadTree, Row, Tree, headroom_w, phase_headroom_w, phases_of

INFINITY = float("inf")


class Paths(NamedTuple):
    """``rows[k, i]`` is the k-th row that leaf i counts in, with ``shares[k, i]``; the first ``nested`` columns are a
    tree, with shares of 1."""

    names: list[str]
    caps: Floats
    rows: Ints
    shares: Floats
    nested: int

    def sums(self, watts: Floats) -> Floats:
        """What each row holds."""
        sums = np.bincount(self.rows.ravel(), (self.shares * watts).ravel(), minlength=len(self.caps))
        return sums.astype(np.float64, copy=False)

    def room(self, left: Floats) -> Floats:
        """The most that each leaf can have on top of what it has, by what is ``left`` in each row."""
        if not len(self.rows):
            return np.full(self.rows.shape[1], INFINITY)
        return np.asarray((left[self.rows] / self.shares).min(axis=0))

    def tightest(self, left: Floats, leaves: Ints) -> Ints:
        """The row that has least room for each of these leaves: the lowest of those."""
        if not len(self.rows):
            return np.zeros(len(leaves), dtype=np.intp)
        rows = self.rows[:, leaves]
        columns = (left[rows] / self.shares[:, leaves]).argmin(axis=0)
        found: Ints = rows[columns, np.arange(len(leaves))]
        return found

    def only(self, leaves: Bools) -> Paths:
        """Without the other leaves."""
        return self._replace(rows=self.rows[:, leaves], shares=self.shares[:, leaves])

    def lowered(self, taken: Floats) -> Paths:
        """With limits less what somebody else has; none below 0."""
        return self._replace(caps=np.maximum(self.caps - taken, 0.0))

    def binding(self, highs: Floats) -> Paths:
        """Without rows that never stop anybody, as they hold the highs of all."""
        held = self.sums(highs) <= self.caps
        rows = np.where(held[self.rows], 0, self.rows)
        used = np.array(rows.any(axis=1), dtype=np.bool_)
        return self._replace(rows=rows[used], shares=self.shares[used], nested=int(used[: self.nested].sum()))

    def targeted(self, bottoms: Ints, left_w: dict[int, float], names: dict[int, str], leaves: Bools) -> Paths:
        """With one row more for each node in ``left_w``, over those of ``leaves`` that draw from this very node."""
        numbers = np.zeros(len(self.caps), dtype=np.intp)
        for place, node in enumerate(left_w):
            numbers[node] = len(self.caps) + place
        return Paths(
            [*self.names, *[names[node] for node in left_w]],
            np.concatenate((self.caps, np.array(list(left_w.values()), dtype=np.float64))),
            np.vstack((np.where(leaves, numbers[bottoms], 0), self.rows)),
            np.vstack((np.ones(len(bottoms)), self.shares)),
            self.nested + 1,
        )

    def as_rows(self) -> tuple[list[Row], list[int]]:
        """For the general method: rows over indices of leaves, and their numbers here."""
        if not self.rows.size:
            return [], []
        # By row, and in each by leaf.
        order = np.argsort(self.rows.T.ravel(), kind="stable")
        entries = self.rows.T.ravel()[order]
        first = np.flatnonzero(np.concatenate(([True], entries[1:] != entries[:-1])))
        leaves, shares = (order // max(1, len(self.rows))).tolist(), self.shares.T.ravel()[order].tolist()
        found, numbers = [], []
        for begin, end in zip(first.tolist(), [*first[1:].tolist(), len(order)], strict=True):
            if number := int(entries[begin]):
                members, parts = tuple(leaves[begin:end]), tuple(shares[begin:end])
                found.append(Row(self.names[number], float(self.caps[number]), members, parts))
                numbers.append(number)
        return found, numbers


class Site(NamedTuple):
    """Paths of all sessions, the row of the node that each draws from, and whether set-points reach it."""

    paths: Paths
    bottoms: Ints
    online: Bools


def paths_of(tree: Tree, sessions: Sequence[Session]) -> Site:
    """Raises BadTree for a session below no node."""
    order = sorted(tree.nodes)
    number = {node_id: place for place, node_id in enumerate(order, 1)}
    try:
        bottoms = np.array([number[session.node] for session in sessions], dtype=np.intp)
    except KeyError as error:
        raise BadTree(f"there is no node {error.args[0]}") from None
    above = [tree.above(node_id) for node_id in order]
    deep = max(map(len, above))
    # Of each node: the rows of its path, lowest first, each in the column of its depth.
    table = np.zeros((deep, len(order) + 1), dtype=np.intp)
    for place, path in enumerate(above, 1):
        table[deep - len(path) :, place] = [number[node_id] for node_id in path]
    nodes = [tree.nodes[node_id] for node_id in order]
    names = ["", *order]
    caps = [INFINITY, *[float(headroom_w(node)) for node in nodes]]
    rows = table[:, bottoms]
    shares = np.ones(rows.shape)
    if any(node.phase_cap_w is not None for node in nodes):
        first = np.zeros(len(order) + 1, dtype=np.intp)
        for place, node in enumerate(nodes, 1):
            if node.phase_cap_w is not None:
                first[place] = len(caps)
                names += [f"{node.id}/L{phase + 1}" for phase in PHASES]
                caps += [float(phase_headroom_w(node, phase)) for phase in PHASES]
        on = [phases_of(session) for session in sessions]
        part = np.array([share for _, share in on], dtype=np.float64)
        for phase in PHASES:
            there = np.array([phase in which for which, _ in on], dtype=np.bool_)
            more = np.where(there & (first[table[:, bottoms]] > 0), first[table[:, bottoms]] + phase, 0)
            rows = np.vstack((rows, more[more.any(axis=1)]))
            shares = np.vstack((shares, np.where(more[more.any(axis=1)] > 0, part, 1.0)))
    online = np.array([False, *[all(tree.nodes[each].online for each in path) for path in above]])[bottoms]
    return Site(Paths(names, np.array(caps, dtype=np.float64), rows, shares, deep), bottoms, online)
