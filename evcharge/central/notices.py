"""What an operator should know of the site at a start, when a limit is cut, and when a substation is lost or back:
lines of the log, one sentence each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import structlog

from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.alerts import scope, told
from evcharge.domain.headroom import base_w, measured_all_over
from evcharge.domain.reasons import kw
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import State
from evcharge.domain.words import Health
from evcharge.energy.model import Policy
from evcharge.ids import NodeId

log = structlog.get_logger()

# Charge points that one line names: a screenful is read by nobody.
MOST_NAMED = 10


def at_start(state: State, site: SiteConfig) -> None:
    """Say what is not as the configuration reads. ``state`` is that of before it takes effect."""
    for sentence in kept_limits(state, site):
        log.warning("capacity.kept", sentence=sentence)
    for sentence in limited_charge_points(state):
        log.warning("limits.kept", sentence=sentence)
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


def limited_charge_points(state: State) -> Iterator[str]:
    """What an operator limited holds until another limit is set: one sentence for all of them."""
    limited = [f"{one.cp_id} ({kw(one.limit_w)})" for one in state.charge_points.values() if one.limit_w is not None]
    if limited:
        more = f" and {len(limited) - MOST_NAMED} more" if len(limited) > MOST_NAMED else ""
        yield (
            f"An operator limits the connectors of {', '.join(limited[:MOST_NAMED])}{more}; limit_charge_point without "
            "a limit lifts it."
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


def weather_changed(news: fx.WeatherNews) -> None:
    """Say that an alert is on, or over: once for each change."""
    event = news.event
    where = scope(event.cp_id, event.node_id)
    if isinstance(event, e.WeatherCleared):
        over = f"the weather alert of {where} is over: {event.kind.value}."
        log.info("weather.cleared", kind=event.kind.value, scope=where, sentence=over)
        return
    said = told(event.kind, event.milli_c, event.detail, simulated=event.simulated)
    log.warning("weather.alert", kind=event.kind.value, scope=where, sentence=f"the weather closes {where}: {said}.")


def node_changed(news: fx.NodeNews) -> None:
    """Say that a node was lost, is tried, is well, or is not watched any more: once for each change."""
    event, node_id = news.event, news.event.node_id
    match event:
        case e.NodeLost():
            back = "until it is reported well" if event.until_ms is None else "until it is tried again by itself"
            if event.silent:
                back += ", or an operator says that it reports no more (unwatch)"
            log.warning("substation.lost", node=node_id, sentence=f"{node_id} is lost ({event.cause}), {back}.")
        case e.NodeProbing():
            said = f"{node_id} is on trial: one session at a time may show that it is well."
            log.info("substation.on_trial", node=node_id, sentence=said)
        case e.NodeRecovered():
            log.info("substation.well", node=node_id, sentence=f"{node_id} is well again.")
        case e.NodeUnwatched():
            lost = "; it stays lost until it is reported well" if news.health is Health.LOST else ""
            said = f"{node_id} reports its health no more, and silence is no loss{lost}."
            log.info("substation.unwatched", node=node_id, sentence=said)
        case e.BaseLoadForgotten():
            said = f"what the meter of {node_id} showed of its base load counts no longer."
            log.info("base_load.forgotten", node=node_id, sentence=said)
