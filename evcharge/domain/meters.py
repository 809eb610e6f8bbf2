"""Meters of the base load: what of them is believed and remembered, and how old what counts is.

A reading holds for some seconds and is no history. What counts when a meter says nothing is: ``Node.metered_w``
outlives a restart, so that one at the wrong moment does not give away what the building draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evcharge.domain import events as e
from evcharge.domain.commands import ForgetBaseLoad, NoteBaseLoad, Reallocate
from evcharge.domain.feeds import above
from evcharge.domain.grid import MAX_CAPACITY_W
from evcharge.domain.headroom import own_base_w
from evcharge.domain.health import unknown
from evcharge.domain.state import State
from evcharge.energy.model import Input
from evcharge.ids import NodeId
from evcharge.units import Watts

# More than so many times what a node can carry is no reading of it. What protects a node opens for certain at 1.45
# times its rating (breakers, IEC 60898-1) or 1.6 times (fuses, IEC 60269-1), and a limit may be below that rating.
# Readings between one and two times the limit are believed: then nobody may charge there, as it should be.
ABSURD = 2
# What is remembered is above the reading by a part of it and by so many watts at least (one ampere, as set-points
# change by no less): each record raises it by as much, so that all readings of a meter between 0 and 1 GW, however they
# creep up, make less than 300 records. Never below: what was shown can come again.
MARGIN_PARTS = 20
LEAST_MARGIN_W = 230


def most_believed_w(state: State, node_id: NodeId) -> int:
    """The largest base load that a meter at a node may show. Of a limit that was cut at run time the configured one
    counts: what else draws there knows nothing of it. Where no limit is known, that of the node above.
    """
    for each in above(state, node_id):
        capacity_w = max(state.nodes[each].capacity_w, state.site.capacities.get(each, 0))
        if capacity_w:
            return min(MAX_CAPACITY_W, ABSURD * capacity_w)
    return MAX_CAPACITY_W


def note(state: State, command: NoteBaseLoad) -> list[e.Event]:
    """Remember a reading that is above what is remembered; one that is absurd never is."""
    node, base_w = state.nodes.get(command.node_id), command.base_w
    if node is None or not node.metered_w < base_w <= most_believed_w(state, command.node_id):
        return []
    return [e.BaseLoadRose(node_id=command.node_id, most_w=_remembered_w(base_w))]


def forget(state: State, command: ForgetBaseLoad) -> list[e.Event]:
    """The way down, and the only one: that a meter showed less for a week does not tell what draws there when it is
    silent, and that a meter is gone or was wrong, only a person knows.
    """
    node = state.nodes.get(command.node_id)
    if node is None:
        return [unknown("unwatch", command.node_id)]
    most_w = Watts(0) if command.fresh_w is None else _remembered_w(command.fresh_w)
    # One record, so that no crash leaves a meter forgotten that speaks.
    return [e.BaseLoadForgotten(node_id=command.node_id, most_w=most_w)] if node.metered_w != most_w else []


def _remembered_w(base_w: int) -> Watts:
    """What is remembered of a reading."""
    return Watts(base_w + max(LEAST_MARGIN_W, -(-base_w // MARGIN_PARTS)) if base_w > 0 else 0)


class Meters:
    """How old the base loads are that count at one look."""

    def __init__(self, state: State, command: Reallocate, counted_w: Mapping[NodeId, int], at_ms: int) -> None:
        """``counted_w``: of ``headroom.measured_all_over``."""
        self._state, self._command, self._counted_w, self._at_ms = state, command, counted_w, at_ms
        self._below: dict[NodeId, list[NodeId]] | None = None
        self._known: dict[tuple[NodeId, ...], tuple[Input, ...]] = {}

    def inputs(self, path: Sequence[NodeId]) -> tuple[Input, ...]:
        """Of the nodes on a path. Where those below a node make more than it has itself, the oldest of theirs stands
        for all: a site may have a hundred, and each set-point is a record.
        """
        key = tuple(path)
        if key not in self._known:
            self._known[key] = tuple(one for node_id in key for one in self._at(node_id, key))
        return self._known[key]

    def _at(self, node_id: NodeId, path: Sequence[NodeId]) -> list[Input]:
        found = []
        if self._metered(node_id):
            found.append(self._input(f"base load of {node_id}", [node_id]))
        own_w = own_base_w(self._state.nodes[node_id], self._command.measured_w.get(node_id))
        if self._counted_w.get(node_id, 0) > own_w:
            others = [each for each in self._metered_below(node_id) if each not in path and self._counted_w[each] > 0]
            if others:
                found.append(self._input(f"base load below {node_id}", others))
        return found

    def _metered(self, node_id: NodeId) -> bool:
        known = node_id in self._command.measured_w or node_id in self._command.ages_ms
        return known or self._state.nodes[node_id].metered_w > 0

    def _metered_below(self, node_id: NodeId) -> Sequence[NodeId]:
        if self._below is None:
            self._below = {}
            for each in filter(self._metered, self._state.nodes):
                for higher in above(self._state, each):
                    if higher != each:
                        self._below.setdefault(higher, []).append(each)
        return self._below.get(node_id, ())

    def _input(self, name: str, nodes: Sequence[NodeId]) -> Input:
        silent = any(each not in self._command.measured_w for each in nodes)
        return Input(f"silent {name}" if silent else name, max(map(self._age_ms, nodes)))

    def _age_ms(self, node_id: NodeId) -> int:
        """Since the newest reading; where none came since the start, since the one that is remembered."""
        age_ms = self._command.ages_ms.get(node_id)
        if age_ms is None:
            age_ms = max(0, self._at_ms - (self._state.nodes[node_id].metered_ms or self._at_ms))
        return age_ms
