"""``python -m tools.bench``: measures and compares. Figures are of this machine and this run."""

from __future__ import annotations

import logging
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import click
import msgspec
import structlog
import uvloop
from rich.console import Console
from rich.table import Table

from tools.bench.energy_command import command as energy_command
from tools.bench.failover import command as failover_command
from tools.bench.http import command as http_command
from tools.bench.log import measure as measure_log
from tools.bench.page import command as page_command
from tools.bench.report import Report, goal_table, report_of, row_table
from tools.bench.servers import BenchFailed, place
from tools.bench.wire import FULL, PROFILER, QUICK, ROWS, measure
from tools.daemon import DaemonFailed, raise_file_limit

# Packages whose versions decide about the figures.
PACKAGES = ("cryptography", "highspy", "msgspec", "numpy", "uvloop", "ocpp", "websockets")
# Width of the tables where there is no terminal.
WIDTH = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """How fast this is, beside what it could be (the floor) and beside what else there is (the peer)."""


@cli.command()
@click.option("--quick", is_flag=True, help="No row above 1,000 connections, short repetitions; ends within 50 s.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--rows", default=",".join(ROWS), show_default=True, metavar="A,B", help="Only these rows.")
@click.option("--check", is_flag=True, help="Exit with 1 when a goal is not reached.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Where logs and registries lie for the time of the run; its disk is measured too.  [default: /tmp]",
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Folder: have py-spy, when it is installed, write what Central does in each load, as one stack a line.",
)
def wire(*, quick: bool, as_json: bool, rows: str, check: bool, folder: Path | None, profile: Path | None) -> None:
    """Central beside the floor and a CSMS of ocpp + websockets, per CPU second of the server.

    \b
    Rows: telemetry (pairs of supply_update and answered heartbeat, with memory of idle connections and latency at
    half load), session (whole sessions, from the request to the confirmed ticket), handshakes, log (durable records
    beside a bare group commit), ten-thousand (charge points at one update a second; not with --quick).

    \b
    On a terminal its progress tells Central's process id while it runs, for a profiler (see also --profile):
      py-spy record --pid PID --duration 10 --output central.svg

    Exit code 0 when it measured, 1 when it could not, or with --check when a goal was not reached.
    """
    wanted = [row.strip() for row in rows.split(",") if row.strip()]
    unknown = sorted(set(wanted) - set(ROWS))
    if unknown:
        raise click.BadParameter(
            f"unknown rows: {', '.join(unknown)}; there are {', '.join(ROWS)}", param_hint="--rows"
        )
    if profile is not None and shutil.which(PROFILER) is None:
        raise click.BadParameter(f"{PROFILER} is not installed: pip install {PROFILER}", param_hint="--profile")
    raise_file_limit()
    began, about = time.monotonic(), machine()
    errors = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="evcharge-bench-", dir=folder) as scratch, errors.status("") as status:
        where = place(Path(scratch))
        try:
            measured = uvloop.run(measure(where, QUICK if quick else FULL, wanted, status.update, profile))
        except (BenchFailed, DaemonFailed) as error:
            raise click.ClickException(str(error)) from error
    report = report_of(measured, quick=quick, seconds=time.monotonic() - began, machine=about)
    show(report, as_json=as_json)
    if check and not all(report.kept.values()):
        sys.exit(1)


@cli.command()
@click.option("--records", type=click.IntRange(1_000), default=1_000_000, show_default=True, help="Length of the log.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--check", is_flag=True, help="Exit with 1 when a goal is not reached.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Where the log lies for the time of the run.  [default: /tmp]",
)
def log(*, records: int, as_json: bool, check: bool, folder: Path | None) -> None:
    """What the length of the audit log costs: verification, starts with and without a snapshot, proofs.

    A million records take two minutes and 600 MB of disk. `wire --rows log` has the speed of writing.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    errors = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="evcharge-bench-", dir=folder) as scratch, errors.status("") as status:
        figures = measure_log(Path(scratch), records, status.update)
    if as_json:
        said = {each.name: {"value": each.value, "goal": each.goal, "kept": each.met} for each in figures}
        click.echo(msgspec.json.format(msgspec.json.encode({"figures": said, "machine": machine()})).decode())
    else:
        table = Table(title=f"A log of {records:,} records", title_justify="left")
        for name in ("what", "goal", "measured", ""):
            table.add_column(name)
        for each in figures:
            shown = f"{each.value:,.2f}" if each.value < 1_000 else f"{each.value:,.0f}"
            mark = "ok" if each.met else "not reached"
            table.add_row(each.what, f"{each.sense} {each.goal:,g} {each.unit}", f"{shown} {each.unit}", mark)
        Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    if check and not all(each.met for each in figures):
        sys.exit(1)


def show(report: Report, *, as_json: bool) -> None:
    """The report on stdout."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(row_table(report))
    console.print(goal_table(report))
    about = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    console.print(f"{about}; {report.seconds:.0f} s", highlight=False)


def machine() -> dict[str, str | int]:
    """What the figures belong to; ``load`` is the load average before the run: above 0.5 it disturbs."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    about: dict[str, str | int] = {
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    return about | {name: version(name) for name in PACKAGES}


cli.add_command(energy_command(machine))
cli.add_command(failover_command, "failover")
cli.add_command(http_command)
cli.add_command(page_command)

if __name__ == "__main__":
    cli(prog_name="python -m tools.bench")
