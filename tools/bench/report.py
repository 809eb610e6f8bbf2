"""What was measured, as ratios beside goals: pure arithmetic, and the table for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal

import msgspec
from rich.table import Table

Server = Literal["central", "floor", "peer"]
# The number of connections at which the ratios of telemetry are taken.
RATIO_CONNECTIONS = 1_000


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One figure of one server: its repetitions, and their median."""

    row: str
    """telemetry, half_load, session, handshakes, idle, ten_thousand, log"""
    server: Server
    connections: int
    unit: str
    values: list[float]
    """One a repetition, in ``unit``."""
    median: float = 0.0
    per_s: float | None = None
    """What was done a second, median, however much CPU it took."""
    cpu_share: float | None = None
    """CPU that the server used, median: 1 is a whole core."""
    load_share: float | None = None
    """CPU that the load generator used, median. Near 1, latencies are its own."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    """Latencies of all repetitions together."""
    notes: list[str] = []

    def __post_init__(self) -> None:
        self.median = median(self.values)


class Goal(msgspec.Struct, frozen=True):
    """A promise: at least (or below, at most) this much."""

    name: str
    sense: Literal[">=", "<=", "<"]
    bound: float
    unit: str
    says: str

    def met(self, figure: float) -> bool:
        """Whether ``figure`` keeps it."""
        if self.sense == ">=":
            return figure >= self.bound
        return figure < self.bound if self.sense == "<" else figure <= self.bound


GOALS = (
    Goal("telemetry_of_floor", ">=", 0.6, "", "telemetry at 1,000 connections, of the floor"),
    Goal("session_of_floor", ">=", 0.35, "", "whole session cycles, of the floor"),
    Goal("telemetry_over_peer", ">=", 10, "x", "telemetry at 1,000 connections, over the peer"),
    Goal("log_of_floor", ">=", 0.5, "", "durable records at 100 writers, of a bare group commit"),
    Goal("kib_per_idle_connection", "<=", 12, "KiB", "memory of an idle encrypted connection"),
    Goal("handshakes_per_cpu_s", ">=", 900, "/CPU-s", "handshakes"),
    Goal("p99_ms_10k", "<", 50, "ms", "p99 of a heartbeat with 10,000 charge points at 1 Hz"),
)
# The row behind each goal.
ROW_OF = {
    "telemetry_of_floor": "telemetry",
    "session_of_floor": "session",
    "telemetry_over_peer": "telemetry",
    "log_of_floor": "log",
    "kib_per_idle_connection": "idle",
    "handshakes_per_cpu_s": "handshakes",
    "p99_ms_10k": "ten_thousand",
}
# Share of the updates asked for that have to have been made: latencies of a load that was not there say nothing.
LEAST_SHARE = 0.99
RATIOS = ("telemetry_of_floor", "session_of_floor", "telemetry_over_peer", "log_of_floor")


class Report(msgspec.Struct, kw_only=True):
    """The JSON of a run."""

    ratios: dict[str, float]
    figures: dict[str, float]
    goals: dict[str, str]
    kept: dict[str, bool]
    """Goal → whether it was reached; of what was measured."""
    quick: bool
    seconds: float
    machine: dict[str, str | int]
    rows: list[Row]


def find(rows: Iterable[Row], row: str, server: Server, connections: int | None = None) -> Row | None:
    """The row of that name; without ``connections`` the one with the most."""
    found = [each for each in rows if each.row == row and each.server == server]
    if connections is not None:
        found = [each for each in found if each.connections == connections]
    return max(found, key=lambda each: each.connections, default=None)


def ratio(
    rows: Iterable[Row], row: str, servers: tuple[Server, Server], connections: int | None = None
) -> float | None:
    """Median of the first server over that of the second; None when either was not measured."""
    rows = list(rows)
    above, below = (find(rows, row, server, connections) for server in servers)
    if above is None or below is None or below.median == 0:
        return None
    return above.median / below.median


def ratios_of(rows: Sequence[Row]) -> dict[str, float]:
    """The ratios for which there are rows."""
    found = {
        "telemetry_of_floor": ratio(rows, "telemetry", ("central", "floor"), RATIO_CONNECTIONS),
        "session_of_floor": ratio(rows, "session", ("central", "floor")),
        "telemetry_over_peer": ratio(rows, "telemetry", ("central", "peer"), RATIO_CONNECTIONS),
        "log_of_floor": ratio(rows, "log", ("central", "floor")),
    }
    return {name: round(value, 3) for name, value in found.items() if value is not None}


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    """The figures for which there are rows."""
    idle = find(rows, "idle", "central")
    handshakes = find(rows, "handshakes", "central")
    many = find(rows, "ten_thousand", "central")
    found = {
        "kib_per_idle_connection": None if idle is None else idle.median,
        "handshakes_per_cpu_s": None if handshakes is None else handshakes.median,
        "p99_ms_10k": None if many is None else many.p99_ms,
    }
    return {name: round(value, 2) for name, value in found.items() if value is not None}


def is_sound(rows: Iterable[Row], row: str) -> bool:
    """Whether Central's part of a row is what it says: nothing was lost, and the whole load was there."""
    for each in rows:
        if each.row != row or each.server != "central":
            continue
        if each.notes:
            return False
        if row == "ten_thousand" and (each.per_s or 0.0) < LEAST_SHARE * each.connections:
            return False
    return True


def report_of(rows: Sequence[Row], *, quick: bool, seconds: float, machine: dict[str, str | int]) -> Report:
    """Everything that a run says."""
    ratios, figures = ratios_of(rows), figures_of(rows)
    measured = ratios | figures
    return Report(
        ratios=ratios,
        figures=figures,
        goals={goal.name: f"{goal.sense} {goal.bound:g}" for goal in GOALS},
        kept={
            goal.name: goal.met(measured[goal.name]) and is_sound(rows, ROW_OF[goal.name])
            for goal in GOALS
            if goal.name in measured
        },
        quick=quick,
        seconds=round(seconds, 1),
        machine=machine,
        rows=list(rows),
    )


def goal_table(report: Report) -> Table:
    """Goal and figure, a line each."""
    table = Table(title="Goals", title_justify="left")
    for name, justify in (("what", "left"), ("goal", "right"), ("measured", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # literals, seen as str
    measured = report.ratios | report.figures
    for goal in GOALS:
        figure = measured.get(goal.name)
        if figure is None:
            continue
        unit = f" {goal.unit}" if goal.unit else ""
        verdict = "[green]ok[/green]" if report.kept[goal.name] else "[bold red]not reached[/bold red]"
        table.add_row(goal.says, f"{goal.sense} {goal.bound:g}{unit}", f"{figure:,.4g}{unit}", verdict)
    return table


def row_table(report: Report) -> Table:
    """Everything that was measured."""
    table = Table(title="Measured, medians", title_justify="left")
    columns = ("row", "connections", "server", "median", "unit", "per s", "CPU", "load", "p50 ms", "p99 ms", "max ms")
    for name in columns:
        table.add_column(name, justify="left" if name in ("row", "server", "unit") else "right")
    for row in report.rows:
        table.add_row(
            row.row,
            f"{row.connections:,}",
            row.server,
            f"{row.median:,.4g}" if row.median < 1000 else f"{row.median:,.0f}",
            row.unit,
            "" if row.per_s is None else f"{row.per_s:,.0f}",
            *("" if share is None else f"{share:.0%}" for share in (row.cpu_share, row.load_share)),
            *("" if value is None else f"{value:,.2f}" for value in (row.p50_ms, row.p99_ms, row.max_ms)),
        )
    return table
