"""The files of ``deploy/`` and docs/metrics.md: sound, complete, and of the metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from evcharge.central import metric_table
from evcharge.events import metrics as events_metrics
from evcharge.net.metrics import COMMON, Kind, Metric
from evcharge.sidecar import metrics as sidecar_metrics
from tests.metrics.support import PROMETHEUS, ROOT, promtool
from tools import dashboards, grafana

RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
TABLES = {
    "Central": metric_table.TABLE,
    "The sidecar": sidecar_metrics.TABLE,
    "The publisher of events": events_metrics.TABLE,
    "All": COMMON,
}
# What PromQL itself has to say, beside names of metrics.
WORDS = {
    "absent",
    "and",
    "by",
    "changes",
    "histogram_quantile",
    "increase",
    "le",
    "max",
    "on",
    "or",
    "rate",
    "sum",
    "up",
}


def alerts(path: Path) -> list[dict[str, Any]]:
    """The rules of a file."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


ALERTS = [pytest.param(rule, id=rule["alert"]) for path in RULES for rule in alerts(path)]


def series_of(table: tuple[Metric, ...]) -> dict[str, set[str]]:
    """Names that an expression may ask for, with their labels."""
    found: dict[str, set[str]] = {}
    for metric in table:
        names = [metric.name]
        if metric.kind is Kind.HISTOGRAM:
            names = [metric.name + end for end in ("_bucket", "_sum", "_count")]
        for name in names:
            labels = set(metric.labels) | ({"le"} if name.endswith("_bucket") else set())
            found[name] = found.get(name, set()) | labels
    return found


KNOWN = series_of((*metric_table.TABLE, *sidecar_metrics.TABLE, *events_metrics.TABLE, *COMMON))


def unknown_names(expr: str) -> set[str]:
    """What an expression names and nobody tells: a metric, or a label of none."""
    bare = re.sub(r'"[^"]*"', "", expr)
    labels = set().union(*KNOWN.values()) | {"job", "instance"}
    names = set(re.findall(r"[a-zA-Z_][a-zA-Z0-9_]*", re.sub(r"\[[^\]]*\]", "", bare)))
    return names - WORDS - labels - KNOWN.keys()


# --- Prometheus -------------------------------------------------------------------------------------------------------


def test_the_configuration_and_its_rules_are_sound() -> None:
    said = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert said.count("rules found") == len(RULES)


def test_every_rule_fires_when_it_has_to_and_not_otherwise() -> None:
    promtool("test", "rules", *TESTS)


def test_every_rule_has_a_test_of_each_kind() -> None:
    assert [path.name for path in RULES] == [path.name for path in TESTS]
    for rules, tests in zip(RULES, TESTS, strict=True):
        asked = yaml.safe_load(tests.read_text(encoding="utf-8"))["tests"]
        checks = [check for test in asked for check in test["alert_rule_test"]]
        for rule in alerts(rules):
            expected = [bool(check["exp_alerts"]) for check in checks if check["alertname"] == rule["alert"]]
            assert True in expected and False in expected, rule["alert"]


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert len(rule["annotations"]["summary"]) > 10
    assert len(rule["annotations"]["description"].split()) > 12
    assert unknown_names(rule["expr"]) == set()


def test_the_names_that_others_rely_on() -> None:
    promised = {
        "current_load": ("substation_id",),
        "total_capacity": ("substation_id",),
        "active_chargers": (),
        "charging_requests_total": ("outcome",),
        "auth_decisions_total": ("status",),
        "cp_state": ("state",),
        "sessions_active": (),
        "energy_kwh_total": (),
        "revenue_total": ("currency",),
        "throttled_total": (),
        "frame_errors_total": ("error",),
    }
    labels = {metric.name: metric.labels for metric in metric_table.TABLE}
    assert {name: labels.get(name) for name in promised} == promised
    assert {"routing_decisions_total", "failover_total"} <= labels.keys()


# --- Grafana ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(dashboards.DASHBOARDS))
def test_a_dashboard_is_the_one_that_the_tables_make(name: str) -> None:
    made = grafana.rendered(dashboards.DASHBOARDS[name])
    assert (dashboards.FOLDER / name).read_bytes() == made, "run `python -m tools.dashboards`"


@pytest.mark.parametrize("name", sorted(dashboards.DASHBOARDS))
def test_a_dashboard_fits_and_asks_for_what_there_is(name: str) -> None:
    page = json.loads((dashboards.FOLDER / name).read_bytes())
    taken: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= grafana.WIDTH and not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert unknown_names(target["expr"]) == set(), panel["title"]
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                told = set().union(*(KNOWN[each] for each in KNOWN.keys() & set(re.findall(r"\w+", target["expr"]))))
                assert label in told | {"job", "instance"}, panel["title"]
    ids = [panel["id"] for panel in page["panels"]]
    assert len(set(ids)) == len(ids)


def test_provisioning_names_what_there_is() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    providers = yaml.safe_load((folder / "dashboards" / "evcharge.yaml").read_text(encoding="utf-8"))
    assert [provider["type"] for provider in providers["providers"]] == ["file"]


# --- the page for people ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", TABLES)
def test_the_documentation_lists_exactly_what_is_told(title: str) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{each.name}` | {each.kind.value} | {each.unit} | {', '.join(f'`{label}`' for label in each.labels)} "
        f"| {each.help} |"
        for each in TABLES[title]
    ]


def test_two_daemons_agree_on_what_a_shared_name_is() -> None:
    ours = {metric.name: metric for metric in metric_table.TABLE}
    for metric in sidecar_metrics.TABLE:
        if metric.name in ours:
            assert (metric.kind, metric.labels) == (ours[metric.name].kind, ours[metric.name].labels)
