"""What is configured: the tree of limits, who stands where, how power is shared, and the times that hold."""

from __future__ import annotations

import msgspec

from evcharge.energy.model import Policy
from evcharge.ids import ChargePointId, NodeId
from evcharge.units import PriceE4, Watts


class Tariff(msgspec.Struct, frozen=True):
    """One price for the site and the carbon of its electricity."""

    price_e4: PriceE4 = PriceE4(3000)
    currency: str = "EUR"
    co2_g_per_kwh: int = 300


class NodeConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What there is to say of a node beside its capacity; see ``Node``."""

    parent: NodeId | None = None
    base_w: Watts = Watts(0)
    phase_w: tuple[Watts, Watts, Watts] | None = None
    backups: tuple[NodeId, ...] = ()
    """What feeds the charge points at it and below it while it is lost: the first that is well."""


class SiteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decided; in the log, so that a replay needs no settings file."""

    capacities: dict[NodeId, Watts]
    """Of every node: site, substations, feeders."""
    assignments: dict[ChargePointId, NodeId] = {}
    """Charge points that are not named stand at ``default_node``."""
    nodes: dict[NodeId, NodeConfig] = {}
    """Nodes of which more is to say than their capacity."""
    phases: dict[ChargePointId, tuple[int, ...]] = {}
    """The phases (0, 1, 2) that carry a charge point's current; where that is not known, each has to hold all of it."""
    tariff: Tariff = Tariff()
    authorization_ms: int = 60_000
    """How long an authorization waits for a vehicle, site time."""
    settle_ms: int = 86_400_000
    """How long a final meter is awaited before the last known one settles the session, site time."""
    lease_ms: int = 30_000
    """How long a set-point holds without renewal, channel clock."""
    start_ms: int = 10_000
    """How long a start is valid, channel clock (SPEC §6)."""
    handover_ms: int = 300_000
    """How long a connector is held for whoever waited for it, site time."""
    policy: Policy = Policy.PLAN
    """How power is shared."""
    rules: bool = False
    """Whether the rule table limits every session."""
    weather_stops: bool = False
    """Whether an alert ends running sessions at once; otherwise they go on to their end."""
    assumed_share: int | None = None
    """What nodes carry of their limits while nobody knows how hot it is, thousandths; None: heat does not matter."""

    @property
    def default_node(self) -> NodeId:
        """Where charge points stand that are not named: the first node that has none below it."""
        parents = {placed.parent for placed in self.nodes.values()}
        return next(node_id for node_id in self.capacities if node_id not in parents)
