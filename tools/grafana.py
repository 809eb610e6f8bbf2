"""Grafana's pages and pictures as tables, and the JSON that Grafana reads: for ``tools.dashboards``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

# Grafana's grid is so many columns wide.
WIDTH = 24
# The format of dashboards that Grafana 11 writes; older ones down to 9 read it.
SCHEMA = 39
_SOURCE = {"type": "prometheus", "uid": "${source}"}


class Query(msgspec.Struct, frozen=True):
    """An expression, and what its lines are called."""

    expr: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One picture. ``unit`` is one of Grafana's; ``text`` says what a high or low value means."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    text: str = ""
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False
    most: float | None = None
    """Upper end of the axis."""


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """A page."""

    uid: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]


def line(title: str, expr: str, legend: str = "", **more: Any) -> Panel:
    """A picture of one expression over time."""
    return Panel(title=title, queries=[Query(expr, legend)], **more)


def tile(title: str, expr: str, unit: str = "short", **more: Any) -> Panel:
    """One number."""
    return Panel(title=title, queries=[Query(expr)], unit=unit, kind="stat", width=4, height=4, **more)


def quantiles(title: str, histogram: str, by: str = "", **more: Any) -> Panel:
    """Median and 99th percentile of a histogram of seconds."""
    groups, name = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    asked = f"sum by ({groups}) (rate({histogram}_bucket[$__rate_interval]))"
    return Panel(
        title=title,
        queries=[Query(f"histogram_quantile({share}, {asked})", f"{text}{name}") for share, text in _QUANTILES],
        unit="s",
        **more,
    )


def rate(title: str, metric: str, by: str, unit: str = "ops", **more: Any) -> Panel:
    """How fast a counter rises, by a label."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return line(title, f"sum by ({by}) (rate({metric}[$__rate_interval]))", legend, unit=unit, **more)


_QUANTILES = ((0.5, "median"), (0.99, "99 %"))


def rendered(dashboard: Dashboard) -> bytes:
    """Its JSON, as it stands in the file."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in dashboard.rows:
        panels.append({"type": "row", "title": title, "gridPos": _place(0, top, WIDTH, 1), "panels": []})
        top += 1
        left = height = 0
        for panel in row:
            if left + panel.width > WIDTH:
                left, top, height = 0, top + height, 0
            panels.append(_panel(panel, left, top))
            left, height = left + panel.width, max(height, panel.height)
        top += height
    page = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["evcharge"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _variables(dashboard)},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, start=1)],
    }
    return msgspec.json.format(msgspec.json.encode(page), indent=2) + b"\n"


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    asked = [query.expr for _, row in dashboard.rows for panel in row for query in panel.queries]
    if not any("$substation" in expr for expr in asked):
        return [source]
    substation = {
        "name": "substation",
        "label": "Substation",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(total_capacity, substation_id)", "refId": "substations"},
        "refresh": 2,
        "sort": 1,
    }
    return [source, substation]


def _panel(panel: Panel, left: int, top: int) -> dict[str, Any]:
    custom = {"fillOpacity": 15, "showPoints": "never", "stacking": {"mode": "normal" if panel.stacked else "none"}}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.most is not None:
        defaults["max"] = panel.most
    options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"}
    if panel.kind == "timeseries":
        defaults["custom"] = custom
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": _place(left, top, panel.width, panel.height),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend}
            for number, query in enumerate(panel.queries)
        ],
    }


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}
