"""Random trees of limits for the charge points of a model site."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from evcharge.domain.headroom import check_tree
from evcharge.domain.state import NodeConfig, SiteConfig
from evcharge.energy.model import Policy
from evcharge.ids import ChargePointId, NodeId
from evcharge.units import Watts


def _above(nodes: dict[NodeId, NodeConfig], name: NodeId) -> list[NodeId]:
    parent = nodes[name].parent
    return [name] if parent is None else [name, *_above(nodes, parent)]


SETTLE_MS = 86_400_000
# From less than one smallest current to more than all connectors together.
CAPACITIES = (1_000, 2_000, 4_000, 6_000, 9_000, 16_000, 40_000, 100_000)


@st.composite
def any_site(draw: st.DrawFn, charge_points: int = 3) -> SiteConfig:
    """Up to six nodes, each below an earlier one or the top of a tree of its own; charge points at any of them."""
    count = draw(st.integers(1, 6))
    names = [NodeId(f"n{i}") for i in range(count)]
    capacities: dict[NodeId, Watts] = {}
    nodes: dict[NodeId, NodeConfig] = {}
    for place, name in enumerate(names):
        capacities[name] = Watts(draw(st.sampled_from(CAPACITIES)))
        limits = st.sampled_from([capacities[name] // 3, capacities[name] // 2, 3_000]).map(Watts)
        nodes[name] = NodeConfig(
            parent=draw(st.sampled_from([None, *names[:place]])),
            base_w=Watts(draw(st.sampled_from([0, 0, 500]))),
            phase_w=draw(st.none() | st.tuples(limits, limits, limits)),
        )
    for name in names:
        others = [each for each in names if not {name, each} & {*_above(nodes, name)} & {*_above(nodes, each)}]
        backups = draw(st.lists(st.sampled_from(others), unique=True, max_size=2)) if others else []
        nodes[name] = msgspec.structs.replace(nodes[name], backups=tuple(backups))
    cps = [ChargePointId(f"cp-{i}") for i in range(charge_points)]
    wires = st.sampled_from([(), (), (0,), (1,), (0, 1, 2)])
    site = SiteConfig(
        capacities=capacities,
        nodes=nodes,
        assignments={cp_id: draw(st.sampled_from(names)) for cp_id in cps},
        phases={cp_id: on for cp_id in cps if (on := draw(wires))},
        policy=draw(st.sampled_from(Policy)),
        settle_ms=SETTLE_MS,
    )
    check_tree(site)
    return site
