"""``evcharge-monitor``: watches engines from a process of its own and reports their faults."""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

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
    ready,
    run_command,
)
from evcharge.cli.peer import (
    CENTRAL_PORT,
    central_option,
    credentials_option,
    read_credentials,
    stop_on_signals,
)
from evcharge.cli.probes import health_option, probed, while_connected
from evcharge.cp.console import Keyboard, on_terminal, say
from evcharge.cp.health import Probe
from evcharge.cp.monitor import MonitorCore
from evcharge.cp.monitor_runner import MonitorHost, Watch
from evcharge.cp.script import MonitorAction, Schedule, ScriptError, read_script
from evcharge.net.client import Client, Refusal
from evcharge.net.clock import SystemClock
from evcharge.net.timers import TimerWheel
from protocol.credentials import Credential, Role

if TYPE_CHECKING:
    from evcharge.net.exposition import Address

# Random bytes of a boot id. SPEC §4: AUTH field 4.
BOOT_ID_SIZE = 16
HELP = "f simulate a fault   r recover   s state   q quit   ? help"


@click.group(name="evcharge-monitor", cls=Group, context_settings=CONTEXT)
@config_option
def cli() -> None:
    """The monitor of one or many charge points."""


@cli.command("run")
@credentials_option
@central_option
@click.option("--engine", required=True, metavar="HOST:PORT", help="The health address that evcharge-cp run printed.")
@click.option(
    "--script",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    help='JSON lines: {"at_ms"|"after_s", "cp_id", "do": fault|recover, "code"}.',
)
@click.option("--keys/--no-keys", default=None, help="Keys that simulate faults; default: on a terminal.")
@health_option
@clock_option
@log_options
def run_monitor(
    credentials: Path,
    central: str,
    engine: str,
    script: Path | None,
    keys: bool | None,
    health: Address | None,
    clock_file: Path | None,
) -> None:
    """Check the engine once a second until SIGTERM; three misses or its own word make a fault."""
    address = parse_address(central, CENTRAL_PORT)
    engine_address = parse_address(engine, 0)
    if engine_address[1] == 0:
        raise click.UsageError("--engine needs the port that evcharge-cp run printed.")
    found = read_credentials(credentials, Role.MONITOR)
    actions: list[MonitorAction] = []
    if script is not None:
        try:
            actions = read_script(script, MonitorAction, {credential.entity for credential in found})
        except ScriptError as error:
            raise click.UsageError(str(error)) from error
    if keys and not on_terminal():
        raise click.UsageError("--keys needs a terminal; use --script.")
    use_keys = on_terminal() if keys is None else keys
    try:
        asyncio.run(serve(found, address, engine_address, actions, use_keys, make_clock(clock_file), health))
    except Refusal as error:
        raise Failed(f"Central refused this monitor: {error}") from error


async def serve(
    credentials: list[Credential],
    central: tuple[str, int],
    engine: tuple[str, int],
    actions: list[MonitorAction],
    keys: bool,
    clock: SystemClock,
    probes: Address | None = None,
) -> None:
    """Watch until told to stop. Raises Refusal, Failed."""
    levels_on_signals()
    stop = stop_on_signals()
    hosts = []
    timers = TimerWheel(clock)
    for credential in credentials:
        host = MonitorHost(MonitorCore(credential.entity), Probe(*engine, clock.monotonic))
        host.channel = Client(
            credential,
            *central,
            clock=clock,
            listener=host,
            boot_id=os.urandom(BOOT_ID_SIZE),
            give_up=True,
            timers=timers,
        )
        hosts.append(host)
    watch = Watch(clock, hosts, Schedule(actions, clock.site_ms()))
    async with probed("monitor", probes, while_connected(hosts, stop)) as served:
        ready("monitor", monitors=len(hosts), **served)
        with Keyboard(lambda key: press(key, watch, stop)) if keys else nullcontext():
            if keys:
                say(HELP)
            await watch.run(stop)


def press(key: str, watch: Watch, stop: asyncio.Event) -> None:
    """One key; faults hit all monitors of the process."""
    cores = [host.core for host in watch.hosts.values()]
    match key.lower():
        case "f" | "r":
            for core in cores:
                core.simulate("simulated_fault" if key.lower() == "f" else None)
            say("Every engine is reported faulty from now on." if key.lower() == "f" else "Simulated faults are over.")
        case "s":
            for core in cores:
                words = {None: "not known yet", "": "well"}
                say(f"{core.cp_id}: {words.get(core.verdict, core.verdict)}")
        case "q":
            stop.set()
        case "?" | "h":
            say(HELP)


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_MONITOR")


if __name__ == "__main__":
    main()
