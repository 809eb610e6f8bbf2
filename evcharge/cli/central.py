"""evcharge-central: the server of a charging site."""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path
from typing import NoReturn

import click
import structlog
import uvloop

from evcharge.audit.event_codec import UnknownKind
from evcharge.audit.journal import JournalFailed, describe
from evcharge.audit.keys import BadKeyFile
from evcharge.audit.recovery import CorruptLog, LogInUse
from evcharge.audit.room import BALLAST_BYTES
from evcharge.central.limits import BadLimits
from evcharge.central.recall import Diverged
from evcharge.central.records import BrokenRecords
from evcharge.central.registry import BadBootstrap, Bootstrap, read_bootstrap
from evcharge.central.service import Central
from evcharge.central.settings import Settings
from evcharge.central.site_mistakes import BadSite
from evcharge.cli.central_options import GroupedCommand, limit_options, site_options
from evcharge.cli.common import (
    CONTEXT,
    Failed,
    clock_option,
    config_option,
    levels_on_signals,
    log_options,
    make_clock,
    metrics_option,
    ready,
    run_command,
)
from evcharge.net.clock import SystemClock

log = structlog.get_logger()

# Central stopped itself: a supervisor restarts it into recovery (audit.md, "Writing"; EX_SOFTWARE of sysexits).
EXIT_STOPPED_ITSELF = 70


# New objects between two looks at the young, and how many of these before a look at the middle-aged, and at all.
COLLECT_EVERY = (10_000, 20, 50)


class StoppedItself(Failed):
    """Central stopped because of its log, or of a bug."""

    exit_code = EXIT_STOPPED_ITSELF


@click.command("evcharge-central", cls=GroupedCommand, context_settings=CONTEXT)
@config_option
@log_options
@clock_option
@click.option(
    "--credentials",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="central.json, made by `evcharge-sidecar init`.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("central-data"),
    help="Folder for the audit log and the kept registry records; made when it is missing.",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=7411, help="TCP port; 0 binds a free one.")
@click.option("--registry", "registry_url", default=None, help="Registry URL, when it is not the one in --credentials.")
@click.option("--allow-plain-registry", is_flag=True, help="Allow http:// to a registry beyond this machine.")
@click.option(
    "--accept-rollback",
    is_flag=True,
    help="Authorize although peers prove that the log lost its end: after a backup was put back on purpose.",
)
@click.option(
    "--ballast-mib",
    type=click.IntRange(0, 1 << 20),
    default=BALLAST_BYTES >> 20,
    help="Room kept taken in --data-dir: remove the file `ballast` when a full disk keeps Central from starting.",
)
@metrics_option("127.0.0.1:9410")
@site_options
@limit_options
def cli(
    credentials: Path, clock_file: Path | None, registry_url: str | None, allow_plain_registry: bool, **options: object
) -> None:
    """Run Central: the TCP server that authorizes charging, shares power and keeps the audit log.

    \b
    First time:
      evcharge-sidecar init --data-dir registry
      evcharge-sidecar run --data-dir registry --central 127.0.0.1:7411 &
      evcharge-central --credentials registry/central.json --capacity-kw 150

    It prints one line `ready` with its address, drains on SIGTERM, and exits with 0, with 1 when it could not start,
    2 when it was misused and 70 when its log failed or it found a bug of its own (then start it again: nothing
    acknowledged is lost).
    """
    try:
        bootstrap = read_bootstrap(credentials, registry_url, allow_plain=allow_plain_registry)
    except BadBootstrap as error:
        raise Failed(str(error)) from error
    settings = Settings(registry_url=str(bootstrap.registry.url), **options)  # type: ignore[arg-type]
    clock = make_clock(clock_file)
    try:
        uvloop.run(_serve(settings, bootstrap, clock))
    except BadLimits as error:
        raise click.UsageError(str(error)) from error
    except (BadSite, BrokenRecords, LogInUse, CorruptLog, BadKeyFile, Diverged, UnknownKind) as error:
        raise Failed(str(error)) from error
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        raise Failed(f"Central cannot start: {about}{error.strerror or error}.") from error


async def _serve(settings: Settings, bootstrap: Bootstrap, clock: SystemClock) -> None:
    central = Central(settings, bootstrap, clock)
    await central.start()
    _calm_collector()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    levels_on_signals()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = {} if central.metrics_address is None else {"metrics": central.metrics_address}
    ready("central", host=central.host, port=central.port, log=str(central.log_dir), **metrics)
    central.failure.add_done_callback(lambda _: stop.set())
    await stop.wait()
    await central.stop()
    if central.failure.done():
        raise StoppedItself(_why(central.failure.result(), settings.data_dir))


def _calm_collector() -> None:
    """Let Python's collector of cycles look seldom: a full look over 10,000 sessions takes a quarter second.

    What recovery has built stays for good, so it is never looked at again. Connections that ended, messages and events
    are freed without the collector (``Peer.part``); it remains for what a rare path leaves behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


def _why(error: BaseException, data_dir: Path) -> str:
    """One sentence for the operator; a bug leaves its trace in the logs, for those who mend it."""
    if isinstance(error, JournalFailed):
        sentence = describe(error.__cause__ or error, data_dir)
        log.critical("log.failed", sentence=sentence)
        return sentence
    log.critical("central.failed", exc_info=error)
    return (
        f"Central stopped itself because of a bug ({type(error).__name__}): start it again, nothing acknowledged is "
        "lost, and report the trace in its logs."
    )


def main() -> NoReturn:
    """Entry point."""
    run_command(cli, "EVCHARGE_CENTRAL")


if __name__ == "__main__":
    main()
