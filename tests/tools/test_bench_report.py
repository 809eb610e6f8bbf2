"""The bench's arithmetic: medians, ratios, goals."""

from __future__ import annotations

from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tools.bench.report import GOALS, Row, Server, figures_of, find, goal_table, ratio, ratios_of, report_of, row_table


def row(name: str, server: Server, *values: float, connections: int = 1_000, p99_ms: float | None = None) -> Row:
    return Row(row=name, server=server, connections=connections, unit="x", values=list(values), p99_ms=p99_ms)


def whole() -> list[Row]:
    return [
        row("telemetry", "central", 50, 70, 60),
        row("telemetry", "floor", 100),
        row("telemetry", "peer", 4),
        row("telemetry", "central", 1, connections=5_000),
        row("telemetry", "floor", 1, connections=5_000),
        row("session", "central", 30, connections=200),
        row("session", "floor", 100, connections=200),
        row("log", "central", 55, connections=100),
        row("log", "floor", 100, connections=100),
        row("idle", "central", 12),
        row("handshakes", "central", 900, connections=48),
        row("ten_thousand", "central", 1, connections=10_000, p99_ms=50),
    ]


def test_the_median_of_the_repetitions_counts_not_their_mean_or_best() -> None:
    assert row("telemetry", "central", 1, 100, 3).median == 3
    assert row("telemetry", "central", 1, 3).median == 2


def test_ratios_of_telemetry_are_taken_at_a_thousand_connections() -> None:
    assert ratios_of(whole()) == {
        "telemetry_of_floor": 0.6,
        "session_of_floor": 0.3,
        "telemetry_over_peer": 15,
        "log_of_floor": 0.55,
    }


def test_what_was_not_measured_has_no_figure() -> None:
    only_floor = [row("telemetry", "floor", 100), row("session", "central", 1), row("log", "floor", 0)]
    assert ratios_of(only_floor) == {}
    assert figures_of(only_floor) == {}
    assert ratio([row("log", "central", 1), row("log", "floor", 0)], "log", ("central", "floor")) is None


def test_a_row_without_its_number_of_connections_is_the_largest() -> None:
    found = find(whole(), "telemetry", "central")
    assert found is not None
    assert found.connections == 5_000
    assert find(whole(), "telemetry", "central", 7) is None


def test_figures() -> None:
    assert figures_of(whole()) == {"kib_per_idle_connection": 12, "handshakes_per_cpu_s": 900, "p99_ms_10k": 50}


@pytest.mark.parametrize(
    ("name", "kept", "broken"),
    [
        ("telemetry_of_floor", 0.6, 0.599),
        ("session_of_floor", 0.35, 0.349),
        ("telemetry_over_peer", 10, 9.99),
        ("log_of_floor", 0.5, 0.499),
        ("kib_per_idle_connection", 12, 12.01),
        ("handshakes_per_cpu_s", 900, 899.9),
        ("p99_ms_10k", 49.99, 50),
    ],
)
def test_a_goal_is_reached_exactly_at_its_bound(name: str, kept: float, broken: float) -> None:
    goal = next(goal for goal in GOALS if goal.name == name)
    assert goal.met(kept)
    assert not goal.met(broken)


@pytest.mark.parametrize("wrong", [{"notes": ["9,900 connections ended."]}, {"per_s": 9_000.0}])
def test_a_load_that_was_not_there_reaches_no_goal(wrong: dict[str, Any]) -> None:
    good = {"p99_ms": 9.0, "per_s": 9_999.0, "connections": 10_000}
    rows = [msgspec.structs.replace(row, **good) if row.row == "ten_thousand" else row for row in whole()]
    assert report_of(rows, quick=False, seconds=1, machine={}).kept["p99_ms_10k"]
    rows = [msgspec.structs.replace(row, **wrong) if row.row == "ten_thousand" else row for row in rows]
    assert not report_of(rows, quick=False, seconds=1, machine={}).kept["p99_ms_10k"]


def test_the_report_has_ratios_and_figures_at_its_top_and_a_verdict_for_each() -> None:
    report = report_of(whole(), quick=False, seconds=1.26, machine={"cpu": "a", "cores": 2})
    top = msgspec.json.decode(msgspec.json.encode(report))
    assert list(top)[:2] == ["ratios", "figures"]
    assert set(top["goals"]) == {goal.name for goal in GOALS}
    assert set(top["kept"]) == set(top["ratios"]) | set(top["figures"])
    assert top["kept"]["telemetry_of_floor"]
    assert not top["kept"]["session_of_floor"]
    assert not top["kept"]["p99_ms_10k"]
    assert top["rows"][0]["median"] == 60


def test_the_tables_show_goal_figure_and_verdict() -> None:
    report = report_of(whole(), quick=True, seconds=1, machine={})
    console = Console(width=200, record=True, file=StringIO())
    console.print(goal_table(report))
    console.print(row_table(report))
    lines = console.export_text().splitlines()
    sessions = next(line for line in lines if "whole session" in line)
    assert ">= 0.35" in sessions
    assert "0.3 " in sessions
    assert "not reached" in sessions
    memory = next(line for line in lines if "idle encrypted" in line)
    assert "ok" in memory
    assert "12 KiB" in memory
