"""``evcharge-cp``: the engine of one or many charge points, and their registration."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

import click

from evcharge.cli.commands import Group
from evcharge.cli.common import (
    CONTEXT,
    Failed,
    clock_option,
    config_option,
    levels_on_signals,
    log_options,
    make_clock,
    parse_address,
    print_json,
    ready,
    run_command,
    write_secret,
)
from evcharge.cli.cp_live import LiveView
from evcharge.cli.peer import (
    CENTRAL_PORT,
    central_option,
    credentials_option,
    plain_http_option,
    read_credentials,
    read_token,
    stop_on_signals,
    token_option,
)
from evcharge.cli.probes import health_option, probed, while_connected
from evcharge.cp.console import on_terminal
from evcharge.cp.engine import EngineCore
from evcharge.cp.health import HealthServer
from evcharge.cp.journal import Journal
from evcharge.cp.model import MIN_AMPS, rating_w
from evcharge.cp.runner import MAX_FLUSHED, Fleet, Host, TraceFile, connectors
from evcharge.cp.script import Action, Schedule, ScriptError, read_script
from evcharge.cp.store import StoreError
from evcharge.net.client import Client, Refusal
from evcharge.net.clock import SystemClock
from evcharge.net.registry_client import RegistryCallFailed, register
from evcharge.net.timers import TimerWheel
from evcharge.net.witness import Witness
from protocol.credentials import Credential, Role
from protocol.messages import MAX_CONNECTORS, ConnectorInfo

if TYPE_CHECKING:
    from evcharge.net.exposition import Address

# Random bytes of a boot id. SPEC §4: AUTH field 4.
BOOT_ID_SIZE = 16


@click.group(name="evcharge-cp", cls=Group, context_settings=CONTEXT)
@config_option
def cli() -> None:
    """A charge point: meter, contactor and vehicles are simulated, everything else is real."""


@cli.command("register")
@click.option("--registry", required=True, metavar="URL", help="The registry, like http://127.0.0.1:8080.")
@token_option
@click.option("--id", "cp_id", required=True, help="Id of the charge point, like CP-1.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory for the two credential files (0600).",
)
@plain_http_option
def register_command(registry: str, token_file: Path, cp_id: str, out: Path, plain_http: bool) -> None:
    """Register a charge point: one credential for its engine, one for its monitor."""
    token = read_token(token_file)
    files = {role: out / f"{file_name(cp_id)}.{role.label}.json" for role in (Role.CP, Role.MONITOR)}
    for file in files.values():
        if file.exists():
            raise Failed(f"{file} exists already; move it away first, secrets are not overwritten.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"cannot make {out}: {error.strerror}") from error
    for role, file in files.items():
        try:
            answer = asyncio.run(register(registry, token, role.label, cp_id, plain_http=plain_http))
        except RegistryCallFailed as error:
            raise Failed(error.sentence) from error
        write_secret(file, answer)
    print_json({"cp_id": cp_id, "engine": str(files[Role.CP]), "monitor": str(files[Role.MONITOR])})


def file_name(cp_id: str) -> str:
    """An id as part of a file name."""
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in cp_id)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that ``run`` needs."""

    credentials: list[Credential]
    central: tuple[str, int]
    data_dir: Path
    ratings: list[ConnectorInfo]
    actions: list[Action]
    trace: Path | None
    health: tuple[str, int]
    """Where monitors ask, in their own words."""
    probes: Address | None
    """Where HTTP probes ask."""


@cli.command("run")
@credentials_option
@central_option
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the journals: meters and undelivered results.",
)
@click.option("--connectors", "count", type=click.IntRange(1, MAX_CONNECTORS), default=1, help="Per charge point.")
@click.option("--amps", type=click.FloatRange(MIN_AMPS, 1000), default=32.0, help="Rating of a connector.")
@click.option("--volts", type=click.FloatRange(100, 1000), default=230.0, help="Phase to neutral.")
@click.option("--phases", type=click.IntRange(1, 3), default=1)
@click.option("--min-kw", type=click.FloatRange(0, 10_000), default=None, help="Instead of 6 A x volts x phases.")
@click.option("--max-kw", type=click.FloatRange(0.1, 10_000), default=None, help="Instead of amps x volts x phases.")
@click.option(
    "--script",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    help='JSON lines: {"at_ms"|"after_s", "cp_id", "connector", "do": plug|unplug|fail|recover, "vehicle": {...}}.',
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help='Write every change of power: {"t": site ms, "cp": id, "c": connector, "w": watts}.',
)
@click.option("--health-listen", default="127.0.0.1:0", metavar="HOST:PORT", help="Where monitors ask; port 0: any.")
@health_option
@clock_option
@log_options
def run_cp(
    credentials: Path,
    central: str,
    data_dir: Path,
    count: int,
    amps: float,
    volts: float,
    phases: int,
    min_kw: float | None,
    max_kw: float | None,
    script: Path | None,
    trace: Path | None,
    health_listen: str,
    health: Address | None,
    clock_file: Path | None,
) -> None:
    """Run charge points until SIGTERM (or q): running sessions then end with their final meters."""
    min_w = rating_w(MIN_AMPS, volts, phases) if min_kw is None else int(min_kw * 1000)
    max_w = rating_w(amps, volts, phases) if max_kw is None else int(max_kw * 1000)
    if min_w > max_w:
        raise click.UsageError(f"the smallest power, {min_w} W, is above the largest, {max_w} W.")
    address = parse_address(central, CENTRAL_PORT)
    monitors = parse_address(health_listen, 0)
    found = read_credentials(credentials, Role.CP)
    actions: list[Action] = []
    if script is not None:
        try:
            actions = read_script(script, Action, {credential.entity for credential in found}, count)
        except ScriptError as error:
            raise click.UsageError(str(error)) from error
    settings = Settings(
        credentials=found,
        central=address,
        data_dir=data_dir,
        ratings=connectors(count, min_w, max_w),
        actions=actions,
        trace=trace,
        health=monitors,
        probes=health,
    )
    try:
        meters = asyncio.run(serve(settings, make_clock(clock_file)))
    except StoreError as error:
        raise Failed(str(error)) from error
    except Refusal as error:
        raise Failed(f"Central refused this charge point: {error}") from error
    if not on_terminal():
        print_json({"meters": meters})


async def serve(settings: Settings, clock: SystemClock) -> dict[str, dict[str, int]]:
    """Run until told to stop; returns the final registers. Raises StoreError, Refusal, Failed."""
    levels_on_signals()
    stop = stop_on_signals()
    with ExitStack() as stack:
        trace = None
        if settings.trace is not None:
            try:
                trace = TraceFile(settings.trace)
            except OSError as error:
                raise Failed(f"cannot write {settings.trace}: {error.strerror}") from error
        hosts = []
        timers = TimerWheel(clock)
        for credential in settings.credentials:
            journal = Journal.open(
                settings.data_dir,
                credential.entity,
                os.urandom,
                meter_durable=len(settings.credentials) <= MAX_FLUSHED,
            )
            stack.callback(journal.close)
            hosts.append(make_host(credential, journal, settings, clock, timers, trace))
        fleet = Fleet(clock, hosts, Schedule(settings.actions, clock.site_ms()), trace)
        server = HealthServer(fleet.health)
        try:
            host, port = await server.start(*settings.health)
        except OSError as error:
            where = f"{settings.health[0]}:{settings.health[1]}"
            why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
            raise Failed(f"cannot listen for monitors on {where}: {why}; choose another --health-listen.") from error
        try:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            async with probed("cp", settings.probes, while_connected(hosts, stop)) as served:
                ready("cp", health=shown, charge_points=len(hosts), **served)
                if on_terminal():
                    async with LiveView(fleet, stop):
                        await fleet.run(stop)
                else:
                    await fleet.run(stop)
        finally:
            await server.close()
        return fleet.meters()


def make_host(
    credential: Credential,
    journal: Journal,
    settings: Settings,
    clock: SystemClock,
    timers: TimerWheel,
    trace: TraceFile | None,
) -> Host:
    """A charge point with its engine, journal and client."""
    sink = None if trace is None else trace.sink(credential.entity)
    before = Host.first_instant(clock)
    engine = EngineCore(
        settings.ratings,
        journal,
        before,
        sink=sink,
        firmware=version("evcharge"),
        fine_meter=len(settings.credentials) <= MAX_FLUSHED,
    )
    host = Host(credential.entity, engine, clock)
    host.channel = Client(
        credential,
        *settings.central,
        clock=clock,
        listener=host,
        boot_id=os.urandom(BOOT_ID_SIZE),
        outbox_epoch=engine.outbox_epoch,
        give_up=True,
        timers=timers,
        witness=Witness(settings.data_dir / f"{quote(credential.entity, safe='')}.witness"),
    )
    return host


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_CP")


if __name__ == "__main__":
    main()
