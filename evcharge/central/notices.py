"""What an operator should know of the site at a start, and when a limit is cut: lines of the log, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import structlog

from evcharge.domain.headroom import base_w, measured_all_over
from evcharge.domain.reasons import kw
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import State
from evcharge.energy.model import Policy
from evcharge.ids import NodeId

log = structlog.get_logger()


def at_start(state: State, site: SiteConfig) -> None:
    """Say what is not as the configuration reads. ``state`` is that of before it takes effect."""
    for sentence in kept_limits(state, site):
        log.warning("capacity.kept", sentence=sentence)
    if site.rules and site.policy is not Policy.RULES:
        log.info(
            "rules.limit",
            sentence=f"The rule table limits every vehicle, as [energy] rules = true says; what it leaves is shared by "
            f"--policy {site.policy}.",
        )


def kept_limits(state: State, site: SiteConfig) -> Iterator[str]:
    """A limit that was set at run time holds until the configured one changes: one sentence for each that does."""
    for node_id, configured_w in site.capacities.items():
        node = state.nodes.get(node_id)
        unchanged = state.site.capacities.get(node_id) == configured_w
        if node is not None and unchanged and node.capacity_w != configured_w:
            yield (
                f"{node_id} has {kw(node.capacity_w)}, as set_capacity said, and not the {kw(configured_w)} that are "
                "configured; another set_capacity changes it, or another configured capacity."
            )


def limit_cut(state: State, measured_w: Mapping[NodeId, int], node_id: NodeId, capacity_w: int) -> None:
    """Say that a limit that is being set leaves nothing to charge with.

    A configuration like that is refused, because it is a slip and nobody charges yet. At run time it is taken: the one
    who says it may have no choice, and the limit of before would be wrong by more.
    """
    node = state.nodes.get(node_id)
    if node is None or capacity_w < 0:
        return
    base = measured_all_over(state, measured_w).get(node_id, base_w(node, None))
    if capacity_w < base:
        log.warning(
            "capacity.below_base_load",
            sentence=f"{node_id} is given {kw(capacity_w)}, and what else draws there may take {kw(base)}: no vehicle "
            "charges there, and that alone may be too much.",
        )
