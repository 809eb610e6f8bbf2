"""Alerts of the weather: known by kind and scope, what each covers, and how it is told.

What an alert covers follows from the configuration, so a charge point that comes later is covered as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evcharge.domain.feeds import home_of
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import Alert, ChargePoint, State
from evcharge.domain.words import WeatherKind
from evcharge.ids import ChargePointId, NodeId


def key_of(kind: WeatherKind, cp_id: ChargePointId | None, node_id: NodeId | None) -> str:
    """Where an alert stands in ``State.alerts``."""
    if cp_id is not None:
        return f"{kind.value} at {cp_id}"
    return kind.value if node_id is None else f"{kind.value} below {node_id}"


def places_of(site: SiteConfig, cp_id: ChargePointId) -> Iterator[NodeId]:
    """The nodes that a charge point stands at and below, whatever feeds it: a transfer switch changes no weather."""
    at: NodeId | None = home_of(site, cp_id)
    while at is not None:
        yield at
        at = site.nodes.get(at, NodeConfig()).parent


def covering(alerts: Mapping[str, Alert], site: SiteConfig, cp_id: ChargePointId) -> Iterator[Alert]:
    """The alerts that close a charge point."""
    if not alerts:
        return
    scopes: list[tuple[ChargePointId | None, NodeId | None]] = [(cp_id, None), (None, None)]
    scopes += [(None, node_id) for node_id in places_of(site, cp_id)]
    for kind in WeatherKind:
        for one, node_id in scopes:
            alert = alerts.get(key_of(kind, one, node_id))
            if alert is not None:
                yield alert


def is_covered(alerts: Mapping[str, Alert], site: SiteConfig, cp_id: ChargePointId) -> bool:
    """Whether any alert closes it."""
    return next(covering(alerts, site, cp_id), None) is not None


def in_scope(state: State, cp_id: ChargePointId | None, node_id: NodeId | None) -> list[ChargePoint]:
    """The charge points that an alert covers."""
    if cp_id is not None:
        return [state.charge_points[cp_id]] if cp_id in state.charge_points else []
    everywhere = state.charge_points.values()
    if node_id is None:
        return list(everywhere)
    return [each for each in everywhere if node_id in places_of(state.site, each.cp_id)]


def told(kind: WeatherKind, milli_c: int | None, detail: str, *, simulated: bool) -> str:
    """An alert for people: ``cold, -3.2 °C, Munich (simulated)``."""
    said = [kind.value]
    if milli_c is not None:
        said.append(f"{milli_c / 1_000:.1f} °C")
    if detail:
        said.append(detail)
    return ", ".join(said) + (" (simulated)" if simulated else "")


def scope(cp_id: ChargePointId | None, node_id: NodeId | None) -> str:
    """What an alert covers, for people."""
    return cp_id or node_id or "the site"
