"""Random trees of limits for the charge points of a model site."""

from __future__ import annotations

from random import Random

import msgspec
from hypothesis import strategies as st

from evcharge.domain.headroom import BadTree, check_tree
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.energy.model import Policy
from evcharge.ids import ChargePointId, NodeId
from evcharge.units import Watts

SETTLE_MS = 86_400_000
# From less than one smallest current to more than all connectors together.
CAPACITIES = (1_000, 2_000, 4_000, 6_000, 9_000, 16_000, 40_000, 100_000)
# Conductors of a charge point; (): nobody knows.
WIRES: tuple[tuple[int, ...], ...] = ((), (), (0,), (1,), (0, 1, 2))


@st.composite
def any_site(draw: st.DrawFn, charge_points: int = 3) -> SiteConfig:
    """What ``random_site`` makes, for a property."""
    return random_site(draw(st.randoms(use_true_random=False)), charge_points)


def random_site(rng: Random, charge_points: int = 3) -> SiteConfig:
    """Up to six nodes, each below an earlier one or the top of a tree of its own; charge points at any of them."""
    names = [NodeId(f"n{i}") for i in range(rng.randint(1, 6))]
    capacities = {name: Watts(rng.choice(CAPACITIES)) for name in names}
    nodes: dict[NodeId, NodeConfig] = {}
    for place, name in enumerate(names):
        limits = [capacities[name] // 3, capacities[name] // 2, 3_000]
        one, two, three = (Watts(rng.choice(limits)) for _ in range(3))
        nodes[name] = NodeConfig(
            parent=rng.choice([None, *names[:place]]),
            base_w=Watts(rng.choice([0, 0, 500])),
            phase_w=rng.choice([None, (one, two, three)]),
        )
    for name in names:
        others = [each for each in names if not {name, each} & {*_above(nodes, name)} & {*_above(nodes, each)}]
        backups = rng.sample(others, min(len(others), rng.randint(0, 2)))
        nodes[name] = msgspec.structs.replace(nodes[name], backups=tuple(backups))
    cps = [ChargePointId(f"cp-{i}") for i in range(charge_points)]
    site = SiteConfig(
        capacities=capacities,
        nodes=nodes,
        assignments={cp_id: rng.choice(names) for cp_id in cps},
        phases={cp_id: on for cp_id in cps if (on := rng.choice(WIRES))},
        policy=rng.choice([*Policy]),
        settle_ms=SETTLE_MS,
        weather_stops=rng.random() < 0.3,
        assumed_share=rng.choice([None, None, 1_000, 500]),
    )
    try:
        check_tree(site)
    except BadTree:
        # More base load below a node than it can carry.
        nodes = {name: msgspec.structs.replace(placed, base_w=Watts(0)) for name, placed in nodes.items()}
        site = msgspec.structs.replace(site, nodes=nodes)
        check_tree(site)
    return site


def with_less(site: SiteConfig, how: int) -> SiteConfig:
    """The same site after somebody changed its file: a node is gone, what it fed is fed from above it, and charge
    points are named elsewhere.
    """
    rng = Random(how)
    gone = rng.choice([*site.capacities]) if len(site.capacities) > 1 else None
    left = [node_id for node_id in site.capacities if node_id != gone]
    nodes = {}
    for node_id in left:
        placed = site.nodes.get(node_id, NodeConfig())
        parent = site.nodes.get(gone, NodeConfig()).parent if gone and placed.parent == gone else placed.parent
        backups = tuple(each for each in placed.backups if each != gone)
        nodes[node_id] = msgspec.structs.replace(placed, parent=parent, backups=backups)
    stands = {cp_id: node_id if node_id in left else rng.choice(left) for cp_id, node_id in site.assignments.items()}
    for cp_id in rng.sample(sorted(stands), len(stands) // 2):
        stands[cp_id] = rng.choice(left)
    capacities = {node_id: site.capacities[node_id] for node_id in left}
    changed = msgspec.structs.replace(site, capacities=capacities, nodes=nodes, assignments=stands)
    try:
        check_tree(changed)
    except BadTree:
        # What remains of the gone node's children may stand in for each other in ways that are none.
        return site
    return changed


def _above(nodes: dict[NodeId, NodeConfig], name: NodeId) -> list[NodeId]:
    parent = nodes[name].parent
    return [name] if parent is None else [name, *_above(nodes, parent)]
