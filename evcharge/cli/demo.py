"""``evcharge-demo``: the whole system on this machine, with a simulated day or a real one."""

from __future__ import annotations

import asyncio
import math
import signal
import tempfile
from contextlib import ExitStack
from datetime import date, datetime
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from rich.console import Console
from rich.text import Text

from evcharge.cli.commands import Command
from evcharge.cli.common import CONTEXT, Failed, config_option, configure_logging, print_json, run_command
from evcharge.demo.day import Plan, Result, play
from evcharge.demo.live import Screen
from evcharge.demo.power import PowerError, Substations, Surroundings, site_toml, surroundings_of
from evcharge.demo.processes import ChildFailed
from evcharge.demo.scenario import charge_point_ids
from evcharge.demo.sessions import Day, SessionsError, read_day, synthetic_day
from evcharge.demo.site import Options, SiteFailed
from evcharge.demo.tally import TallyError
from evcharge.energy.model import Policy
from evcharge.sim.replay import ReplayError
from evcharge.sim.tariffs import read_tariff
from evcharge.units import MS_PER_HOUR, kw, kwh, money

# Site seconds per wall second unless told otherwise: the synthetic day of 17 hours lasts two and a half minutes.
SPEED = 400.0
# Fastest site clock: beyond it a session of half an hour is shorter than the second between two reports.
MAX_SPEED = 3600.0
# Capacity unless told otherwise: enough for the synthetic day's energy, not for all of its cars at full power.
CAPACITY_KW = 80.0


@click.command(name="evcharge-demo", cls=Command, context_settings=CONTEXT)
@config_option
@click.option(
    "--sessions",
    "sessions_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    help="CSV of real sessions: arrival, departure, delivered_kwh, station_id. Default: a synthetic day.",
)
@click.option(
    "--date", "day", type=click.DateTime(["%Y-%m-%d"]), default=None, help="Day of the file; default: its first."
)
@click.option(
    "--capacity-kw",
    type=click.FloatRange(min=0, min_open=True, max=1_000_000),
    default=CAPACITY_KW,
    help="What the site may draw.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=1, max=MAX_SPEED),
    default=SPEED,
    help="Site seconds per second of real time.",
)
@click.option(
    "--tariff",
    "tariff_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    help="What power costs the site, which the planner saves: JSON of a tariff as acnportal has them.",
)
@click.option(
    "--policy",
    type=click.Choice([each.value for each in Policy]),
    default=Policy.PLAN.value,
    help="How power is shared.",
)
@click.option("--queue", is_flag=True, help="Three of four drivers stand in line for a connector or for power.")
@click.option(
    "--substations",
    type=click.IntRange(1, 16),
    default=1,
    help="Of the site, each the backup of the others; of several the first fails for an hour at noon.",
)
@click.option(
    "--surroundings", is_flag=True, help="With a simulated building, roof and battery, reported by a gateway."
)
@click.option("--exit", "leave", is_flag=True, help="End when the day is over; default: stay up until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line on stdout; the rest on stderr.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="New or empty directory that keeps everything; default: a temporary one.",
)
@click.option("--charge-points", type=click.IntRange(1, 1000), default=24, help="Of the synthetic day.")
@click.option("--count", type=click.IntRange(1, 2000), default=60, help="Sessions of the synthetic day.")
@click.option("--seed", type=int, default=4, help="Of the synthetic day.")
@click.option("--processes", type=click.IntRange(1, 32), default=2, help="Of charge points, monitors and drivers each.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Central's port; 0: any free one.")
@click.option("--sidecar-port", type=click.IntRange(0, 65535), default=0, help="The registry's port; 0: any free one.")
def cli(
    sessions_file: Path | None,
    day: datetime | None,
    capacity_kw: float,
    speed: float,
    tariff_file: Path | None,
    policy: str,
    queue: bool,
    substations: int,
    surroundings: bool,
    leave: bool,
    as_json: bool,
    data_dir: Path | None,
    charge_points: int,
    count: int,
    seed: int,
    processes: int,
    port: int,
    sidecar_port: int,
) -> None:
    """Central, registry, charge points with monitors, and drivers as separate processes on this machine.

    They talk over the encrypted protocol on loopback while site time runs fast. The exit code is 0 only when every
    session that started has its ticket, tickets and meters agree to the watt-hour, and the site's power never
    exceeded its capacity.
    """
    # The children log to files; what this process itself has to say are sentences.
    configure_logging("error")
    # A range lets "nan" through: it is neither below nor above.
    if not math.isfinite(capacity_kw) or not math.isfinite(speed):
        raise click.UsageError("--capacity-kw and --speed have to be numbers.")
    wanted = _day(sessions_file, None if day is None else day.date(), charge_points, count, seed)
    around = surroundings_of(capacity_kw, wanted.utc_offset_s, seed) if surroundings else None
    options = Options(
        capacity_kw=capacity_kw,
        port=port,
        sidecar_port=sidecar_port,
        processes=processes,
        policy=policy,
        time_zone=_zone(wanted.utc_offset_s),
    )
    several = Substations(count=substations, capacity_kw=capacity_kw) if substations > 1 else None
    options = _with_power(options, wanted, tariff_file, around, several)
    console = Console(stderr=as_json, highlight=False)
    with ExitStack() as stack:
        directory = _directory(data_dir, stack)
        plan = Plan(day=wanted, directory=directory, speed=speed, exit=leave, options=options)
        plan = msgspec.structs.replace(plan, queue=queue, around=around, substations=several)
        try:
            result = asyncio.run(_play(plan, console))
        except (ChildFailed, SiteFailed, TallyError) as error:
            raise Failed(_sentence(error, kept=data_dir is not None)) from error
    if as_json:
        # A log that is gone explains nothing.
        print_json(result.outcome if data_dir is not None else msgspec.structs.replace(result.outcome, why=()))
    else:
        _show(console, result, options.currency, kept=data_dir is not None)
    problems = result.outcome.problems()
    if leave and not result.finished:
        problems.insert(0, "stopped before the day was over.")
    if problems:
        raise Failed(" ".join(f"{sentence[0].upper()}{sentence[1:]}" for sentence in problems))


async def _play(plan: Plan, console: Console) -> Result:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    title = f"evcharge · {plan.day.source} · {plan.day.date} · {plan.speed:g} × real time"
    with Screen(console, title=title, utc_offset_s=plan.day.utc_offset_s) as screen:
        return await play(plan, screen, stop)


def _day(file: Path | None, wanted: date | None, charge_points: int, count: int, seed: int) -> Day:
    if file is None:
        if wanted is not None:
            raise click.UsageError("--date picks a day of a file; give --sessions FILE too.")
        return synthetic_day(seed=seed, charge_points=charge_points, sessions=count)
    try:
        return read_day(file, wanted)
    except SessionsError as error:
        raise click.UsageError(str(error)) from error


def _zone(utc_offset_s: int) -> str:
    """The time zone in which the day's hours are what the file says; those of whole hours have names."""
    hours, rest = divmod(utc_offset_s, MS_PER_HOUR // 1_000)
    # POSIX counts these the other way round: https://data.iana.org/time-zones/tzdb/etcetera
    return "UTC" if rest or not hours else f"Etc/GMT{-hours:+d}"


def _with_power(
    options: Options, day: Day, tariff: Path | None, around: Surroundings | None, substations: Substations | None
) -> Options:
    """With a site file where prices, surroundings or several substations are given."""
    if tariff is None and around is None and substations is None:
        return options
    names = charge_point_ids(day.stations)
    try:
        toml = site_toml(
            capacity_kw=options.capacity_kw,
            price_per_kwh=options.price_per_kwh,
            currency=options.currency,
            day=date.fromisoformat(day.date),
            utc_offset_s=day.utc_offset_s,
            tariff=None if tariff is None else read_tariff(tariff),
            around=around,
            substations=substations,
            charge_points=[names[station] for station in day.stations],
        )
    except (ReplayError, PowerError) as error:
        raise click.UsageError(str(error)) from error
    return msgspec.structs.replace(options, site_toml=toml)


def _directory(wanted: Path | None, stack: ExitStack) -> Path:
    """The directory of this run; a temporary one goes with the stack."""
    if wanted is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="evcharge-demo-")))
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupied = next(wanted.iterdir(), None) is not None
    except OSError as error:
        raise click.UsageError(f"cannot use {wanted}: {error.strerror}.") from error
    if occupied:
        raise click.UsageError(f"{wanted} is not empty; give --data-dir a new directory.")
    return wanted.resolve()


def _sentence(error: Exception, *, kept: bool) -> str:
    """What went wrong; the log that it may name is gone when the directory was temporary."""
    return str(error) if kept else f"{error}\n(--data-dir DIR keeps all logs.)"


def _show(console: Console, result: Result, currency: str, *, kept: bool) -> None:
    outcome = result.outcome
    console.print(
        f"{outcome.sessions} sessions: {outcome.authorized} authorized, {outcome.refused} refused, "
        f"{outcome.started} started, {outcome.expired} expired.\n"
        f"{outcome.tickets} tickets over {kwh(outcome.energy_wh_tickets)} and "
        f"{money(outcome.amount_minor, currency)}; the meters say {kwh(outcome.energy_wh_meters)}.\n"
        f"Peak {kw(outcome.peak_w)} of {kw(outcome.capacity_w)}. {outcome.wall_s:.0f} s of real time."
    )
    if outcome.plans:
        console.print(f"{outcome.plans} plans were made.")
    if outcome.waited:
        console.print(f"{outcome.waited} waited in line, {outcome.served} of them charged.")
    if outcome.why:
        console.print("Why was power limited, and why was somebody refused? The log tells:")
        for command in outcome.why:
            console.print(Text(f"  {command}"), soft_wrap=True)
        if not kept:
            console.print("(It was temporary; --data-dir DIR keeps it.)")


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_DEMO")


if __name__ == "__main__":
    main()
