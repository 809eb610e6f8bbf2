"""The command ``python -m tools.bench energy``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console

from tools.bench.energy import (
    MAX_W,
    POLICIES,
    VOLTS,
    Case,
    Result,
    fixed_cases,
    goals,
    goals_table,
    month_before,
    result_table,
    run,
    speed,
)
from tools.bench.log import Figure

# Width of the tables where there is no terminal.
WIDTH = 130
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
DAY = click.DateTime(["%Y-%m-%d"])


def command(machine: Callable[[], dict[str, str | int]]) -> click.Command:
    """The command; ``machine`` tells what the figures belong to."""

    @click.command()
    @click.option("--sessions", type=FILE, help="CSV of sessions as ACN-Data has them.")
    @click.option("--history", type=FILE, help="CSV of earlier sessions; the month before --from is read.")
    @click.option("--from", "first", type=DAY, help="First day of arrivals.")
    @click.option("--to", "last", type=DAY, help="Last day of arrivals.")
    @click.option("--capacity-kw", type=click.FloatRange(0, min_open=True), help="Limit of the site.")
    @click.option("--tariff", type=FILE, help="JSON of a tariff as acnportal has them.")
    @click.option("--zone", default="America/Los_Angeles", show_default=True, help="Where days and prices begin.")
    @click.option("--solar", type=FILE, help="CSV of half-hours of an array.")
    @click.option("--solar-kw", type=click.FloatRange(0), default=100.0, show_default=True, help="Peak of the array.")
    @click.option("--co2", type=FILE, help="CSV of kg CO2 per kWh.")
    @click.option("--co2-price", type=float, default=0.05, show_default=True, help="Money per kg.")
    @click.option("--demand", is_flag=True, help="With the tariff's demand charge on the 15-minute peak.")
    @click.option("--declared", is_flag=True, help="Policies know what drivers declared, not what came true.")
    @click.option(
        "--connector-w", type=click.IntRange(1), default=MAX_W, show_default=True, help="Each connector's rating."
    )
    @click.option("--volts", type=click.IntRange(1), default=VOLTS, show_default=True)
    @click.option("--policies", default=",".join(POLICIES), show_default=True, metavar="A,B", help="Only these.")
    @click.option("--cases", default="", metavar="A,B", help="Of the fixed cases only these.")
    @click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        default=Path("../shared/data"),
        help="Folder of the fixed cases' files.  [default: ../shared/data]",
    )
    @click.option(
        "--jobs", type=click.IntRange(1), default=min(2, os.cpu_count() or 1), show_default=True, help="Processes."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
    @click.option("--check", is_flag=True, help="Exit with 1 when a goal is not reached.")
    def energy(
        *,
        sessions: Path | None,
        history: Path | None,
        first: datetime | None,
        last: datetime | None,
        capacity_kw: float | None,
        tariff: Path | None,
        zone: str,
        solar: Path | None,
        solar_kw: float,
        co2: Path | None,
        co2_price: float,
        demand: bool,
        declared: bool,
        connector_w: int,
        volts: int,
        policies: str,
        cases: str,
        data: Path,
        jobs: int,
        as_json: bool,
        check: bool,
    ) -> None:
        """How well power is shared: policies side by side on real sessions, beside the clairvoyant bound.

        \b
        With --sessions, --from, --to, --capacity-kw and --tariff one case; without, the fixed cases and their goals,
        which take some minutes. A policy decides in steps of 5 minutes and knows nothing of what comes.
        """
        wanted = tuple(name.strip() for name in policies.split(",") if name.strip())
        if unknown := sorted(set(wanted) - set(POLICIES)):
            raise click.BadParameter(f"unknown: {', '.join(unknown)}; there are {', '.join(POLICIES)}")
        errors = Console(stderr=True)
        try:
            if sessions is None:
                chosen = fixed_cases(data)
                names = [name.strip() for name in cases.split(",") if name.strip()]
                if unknown := sorted(set(names) - {case.name for case in chosen}):
                    there = ", ".join(case.name for case in chosen)
                    raise click.BadParameter(f"unknown cases: {', '.join(unknown)}; there are {there}")
                chosen = [case for case in chosen if not names or case.name in names]
            else:
                if first is None or last is None or capacity_kw is None or tariff is None:
                    raise click.UsageError("--sessions needs --from, --to, --capacity-kw and --tariff")
                before = month_before(first.date())
                chosen = [
                    Case(
                        name=sessions.stem,
                        sessions=sessions,
                        history=history or sessions,
                        first=first.date(),
                        last=last.date(),
                        history_first=before[0],
                        history_last=before[1],
                        capacity_kw=capacity_kw,
                        tariff=tariff,
                        zone=zone,
                        co2=co2,
                        co2_price=co2_price,
                        solar=solar,
                        solar_kw=solar_kw,
                        demand=demand,
                        declared=declared,
                        max_w=connector_w,
                        volts=volts,
                        policies=wanted,
                    )
                ]
            began = time.monotonic()
            results = run(chosen, lambda what: errors.print(f"{time.monotonic() - began:5.0f} s  {what}"), jobs=jobs)
            figures = goals(results) if sessions is None else []
            if sessions is None and not cases:
                figures += speed(chosen)
        except (OSError, KeyError, ValueError) as error:
            raise click.ClickException(f"cannot read that: {error}") from error
        _show(results, figures, machine(), as_json=as_json)
        if check and not all(figure.met for figure in figures):
            sys.exit(1)

    return energy


def _show(results: list[Result], figures: list[Figure], about: dict[str, str | int], *, as_json: bool) -> None:
    if as_json:
        said = {each.name: {"value": each.value, "goal": each.goal, "kept": each.met} for each in figures}
        whole = {"cases": results, "goals": said, "machine": about}
        click.echo(msgspec.json.format(msgspec.json.encode(whole)).decode())
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for result in results:
        console.print(result_table(result))
    if figures:
        console.print(goals_table(figures))
