"""``python -m tools.simulate``: the whole system, or the log on its disk, on virtual time, from seeds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from evcharge.cli.common import CONTEXT
from tools.simulate.disk_runs import DiskOutcome
from tools.simulate.seeds import quiet, run_disk, run_system, shared
from tools.simulate.sums import DiskSums, Sums, SystemSums
from tools.simulate.troubles import Troubles
from tools.simulate.world import Outcome, simulate

# Every so many seeds one is run twice: its trace has to be the same.
TWICE = 20

first = click.option("--first", type=click.IntRange(0), default=1, help="The first seed.")
processes = click.option("--processes", type=click.IntRange(1, 64), default=1, help="Processes that share the seeds.")
state = click.option(
    "--state", type=click.Path(path_type=Path, dir_okay=False), help="Keep the sums in this file, and go on there."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
twice = click.option(
    "--twice", type=click.IntRange(0), default=TWICE, help="Run every N-th seed twice and compare the traces; 0: none."
)


@click.group(context_settings=CONTEXT)
def cli() -> None:
    """Run evcharge on virtual time, with everything going wrong that can, and compare the books at the end.

    \b
    python -m tools.simulate system --seeds 50               Central, charge points, monitors, drivers
    python -m tools.simulate disk --seeds 2000               the log alone, on a disk that fails and forgets
    python -m tools.simulate system --first 17 --seeds 1 --trace trace.txt      one seed again

    The code is the one that runs on a site; only the event loop's time, the network, the disk and the threads are
    simulated. The same seed gives the same run, byte for byte. Exit code 0: every promise was kept; 1: one was broken,
    with its seed; 2: misuse.
    """
    quiet()


@cli.command()
@first
@click.option("--seeds", type=click.IntRange(1), default=50, help="How many.")
@click.option("--minutes", type=click.FloatRange(0.1, 10_000), default=5.0, help="Virtual time of trouble in each.")
@processes
@twice
@state
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write what happened, of one seed.")
@as_json
def system(
    first: int,
    seeds: int,
    minutes: float,
    processes: int,
    twice: int,
    state: Path | None,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Simulate whole sites: nothing lost, nothing doubled, nothing stuck, never above the capacity."""
    if trace is not None:
        if seeds != 1:
            raise click.UsageError("--trace is for one seed: give --seeds 1 too.")
        lines: list[str] = []
        outcome = simulate(first, minutes, troubles=Troubles, trace=lines)
        trace.write_text("\n".join(lines) + "\n", encoding="utf-8")
        outcomes: Iterator[Outcome] = iter([outcome])
        sums = SystemSums()
    else:
        sums = SystemSums.load(state)
        numbers = range(first + sums.seeds, first + seeds)
        outcomes = shared(partial(run_system, minutes=minutes, twice=twice), numbers, processes)
    again = f"python -m tools.simulate system --minutes {minutes:g} --seeds 1 --first"
    _gather(sums, outcomes, seeds, state, again, as_json=as_json)


@cli.command()
@first
@click.option("--seeds", type=click.IntRange(1), default=2_000, help="How many.")
@processes
@twice
@state
@as_json
def disk(first: int, seeds: int, processes: int, twice: int, state: Path | None, as_json: bool) -> None:
    """Simulate the log on its disk: power cuts, EIO, ENOSPC, kills, short writes, rotten bits, at any call."""
    sums = DiskSums.load(state)
    numbers = range(first + sums.seeds, first + seeds)
    outcomes = shared(partial(run_disk, twice=twice), numbers, processes)
    _gather(sums, outcomes, seeds, state, "python -m tools.simulate disk --seeds 1 --first", as_json=as_json)


def _gather(
    sums: Sums,
    outcomes: Iterator[Outcome] | Iterator[DiskOutcome],
    seeds: int,
    state: Path | None,
    again: str,
    *,
    as_json: bool,
) -> None:
    """Add up, keep, show; ends the program with 1 when a promise was broken."""
    live = sys.stderr.isatty()
    for outcome in outcomes:
        sums.add(outcome)
        try:
            sums.keep(state)
        except OSError as error:
            raise click.ClickException(f"cannot write {state}: {error.strerror}.") from error
        if outcome.wrong:
            click.echo(f"seed {outcome.seed}: {sums.first_of(outcome)}\n  again: {again} {outcome.seed}", err=True)
        if live:
            click.echo(f"\r{sums.seeds:,} of {seeds:,} seeds, {len(sums.failing)} broken ", nl=False, err=True)
    if live:
        click.echo("", err=True)
    sums.show(as_json=as_json)
    sys.exit(1 if sums.failing else 0)


if __name__ == "__main__":
    cli(prog_name="python -m tools.simulate")
