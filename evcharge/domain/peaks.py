"""The highest power of the month that a demand charge is paid for: what of it is remembered, and what counts as known.

It outlives a restart: a plan that takes it for 0 slows every vehicle to keep a peak away that is billed already.
"""

from __future__ import annotations

from collections.abc import Mapping

from evcharge.domain import events as e
from evcharge.domain.commands import NotePeak
from evcharge.domain.headroom import with_those_below
from evcharge.domain.meters import most_believed_w
from evcharge.domain.site import NodeConfig
from evcharge.domain.state import State
from evcharge.ids import NodeId
from evcharge.units import Watts

# A record raises what is remembered by a part of it and by so many watts at least (one ampere, as set-points change by
# no less). So a restart forgets no more than that, and peaks between 0 and 1 GW, however they creep up, make less than
# 700 records a month. What is remembered is what was measured, never above: what is put too high costs money.
RISE_PARTS = 50
LEAST_RISE_W = 230


def note(state: State, command: NotePeak) -> list[e.Event]:
    """Remember a peak of a whole tree that is well above what is remembered of its month; an absurd one never is."""
    node = state.nodes.get(command.node_id)
    if node is None or node.parent is not None:
        return []
    kept_w = node.peak_w if node.peak_month == command.month else 0
    least_w = kept_w + max(LEAST_RISE_W, -(-kept_w // RISE_PARTS))
    if not least_w <= command.peak_w <= most_believed_w(state, command.node_id):
        return []
    return [e.PeakRose(node_id=command.node_id, month=command.month, peak_w=Watts(command.peak_w))]


def known_base_w(state: State, root: NodeId, measured_w: Mapping[NodeId, int]) -> int:
    """The base load of a tree as far as it is known now: of the meter at its top alone where that speaks, as the
    planner learns it. Otherwise of the meters below; what was configured where there is no meter, as the planner has
    it; and nothing for a meter that is silent.
    """
    if root in measured_w:
        return measured_w[root]
    own_w = {
        node_id: measured_w.get(node_id, 0 if node.metered_w else state.site.nodes.get(node_id, NodeConfig()).base_w)
        for node_id, node in state.nodes.items()
    }
    return with_those_below(own_w, {node_id: node.parent for node_id, node in state.nodes.items()})[root]
