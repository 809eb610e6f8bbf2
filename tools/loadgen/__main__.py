"""``python -m tools.loadgen``: one load after the other, each with its verdict."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import uvloop

from evcharge.cli.common import CONTEXT
from tools.daemon import DaemonFailed, raise_file_limit
from tools.drill.crash_report import BROKEN, KEPT, Outcome
from tools.fleet import FleetFailed
from tools.loadgen.judge import verdict
from tools.loadgen.pictures import latency_chart, load_chart
from tools.loadgen.record import Record
from tools.loadgen.run import run
from tools.loadgen.scenarios import SCENARIOS, Scenario


@click.command(context_settings=CONTEXT)
@click.argument("names", metavar="[list | all | SCENARIO ...]", nargs=-1)
@click.option("--time-scale", type=click.FloatRange(0.01, 100), default=1.0, help="0.1: a tenth of the time.")
@click.option("--seed", type=int, default=1, help="Of who asks where and stays how long.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write verdicts and records."
)
@click.option("--svg", "svg_folder", type=click.Path(path_type=Path, file_okay=False), help="Write charts there.")
def cli(names: Sequence[str], time_scale: float, seed: int, json_file: Path | None, svg_folder: Path | None) -> None:
    """Put load on a Central of its own and check what it must never do.

    \b
    python -m tools.loadgen list                       the scenarios
    python -m tools.loadgen normal burst
    python -m tools.loadgen all --svg charts/ --json verdicts.json
    python -m tools.loadgen high --time-scale 0.2      a short edition, the same pace

    Each run starts a registry and a Central in a new folder, with three substations, simulated charge points that
    draw what they are told, and drivers that ask for 7, 11, 22 or 50 kW. Five times a second it compares what Central
    says of each substation with what truly flows. Checked: every request has exactly one answer and every granted one
    its outcome; neither worst case nor measured nor true load is ever above capacity; a ticket for each session, equal
    to its meter; a reason with each refusal; the 99th percentile of decisions; fairness over the substations.

    Latencies mean something on an idle machine only. Exit code 0 when all promises were kept, 1 when one was not,
    2 for misuse.
    """
    if "list" in names or not names:
        for scenario in SCENARIOS.values():
            click.echo(_line(scenario))
        return
    chosen = list(SCENARIOS) if "all" in names else list(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in SCENARIOS]
    if unknown:
        raise click.UsageError(f"there is no scenario {unknown[0]}; `list` shows those there are.")
    if svg_folder is not None and not svg_folder.is_dir():
        raise click.UsageError(f"there is no folder {svg_folder}.")
    raise_file_limit()
    outcomes, records = {}, {}
    for name in chosen:
        scenario = SCENARIOS[name].scaled(time_scale)
        record = _run(scenario, seed)
        outcomes[name], records[name] = verdict(scenario, record), record
        outcomes[name].show(as_json=False)
        if svg_folder is not None:
            _draw(svg_folder, scenario, record)
    if json_file is not None:
        json_file.write_bytes(_json(outcomes, records))
    sys.exit(KEPT if all(outcome.kept for outcome in outcomes.values()) else BROKEN)


def _run(scenario: Scenario, seed: int) -> Record:
    try:
        with tempfile.TemporaryDirectory(prefix="evcharge-load-") as folder:
            return uvloop.run(run(scenario, Path(folder) / "site", seed))
    except (DaemonFailed, FleetFailed) as error:
        raise click.ClickException(str(error)) from error


def _draw(folder: Path, scenario: Scenario, record: Record) -> None:
    """Nothing measured, nothing drawn: the verdict says so already."""
    if record.samples:
        (folder / f"{scenario.name}-load.svg").write_text(load_chart(scenario, record), encoding="utf-8")
    if record.latencies_s():
        (folder / f"{scenario.name}-latency.svg").write_text(latency_chart(scenario, record), encoding="utf-8")


def _json(outcomes: dict[str, Outcome], records: dict[str, Record]) -> bytes:
    kept = all(outcome.kept for outcome in outcomes.values())
    return msgspec.json.encode({"kept": kept, "verdicts": outcomes, "records": records}) + b"\n"


def _line(scenario: Scenario) -> str:
    spread = "at once" if not scenario.seconds else f"in {scenario.seconds:g} s"
    load = f"{scenario.requests} requests, {scenario.users} users, {spread}"
    return f"{scenario.name:<16} {load:<38} {scenario.what}"


if __name__ == "__main__":
    cli(prog_name="python -m tools.loadgen")
