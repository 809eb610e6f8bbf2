"""``evcharge-sidecar``: the registry and, later, everything else that speaks HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import structlog

from evcharge.cli.common import (
    CONTEXT,
    Failed,
    config_option,
    log_options,
    make_clock,
    parse_address,
    print_json,
    ready,
    run_command,
)
from evcharge.cli.peer import CENTRAL_PORT, stop_on_signals
from evcharge.sidecar.bootstrap import BootstrapError, Made, initialise
from evcharge.sidecar.serve import CannotListen, serve

# Where the registry listens unless told otherwise: this machine only.
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080

log = structlog.get_logger()

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the registry's database, keys and tokens (0700).",
)


@click.group(name="evcharge-sidecar", context_settings=CONTEXT)
@config_option
def cli() -> None:
    """The registry of evcharge over HTTP: who may connect to Central."""


@cli.command()
@data_dir_option
@click.option(
    "--url",
    default=f"http://{DEFAULT_HOST}:{DEFAULT_PORT}",
    help="URL at which Central will reach this registry: loopback, or https:// with a verified certificate.",
)
def init(data_dir: Path, url: str) -> None:
    """Make a new registry: database, signing key, operator's token and Central's credential."""
    try:
        made = asyncio.run(initialise(data_dir, url, clock=make_clock(None), entropy=os.urandom))
    except BootstrapError as error:
        raise Failed(str(error)) from error
    _show(made)


def _show(made: Made) -> None:
    if not sys.stdout.isatty():
        print_json(made)
        return
    click.echo(f"Made a new registry in {made.data_dir}. Keep these files secret:")
    click.echo(f"  {made.operator_token}  lets its holder register and revoke")
    click.echo(f"  {made.central}  makes a program Central")
    click.echo("Next:")
    click.echo(f"  evcharge-sidecar run --data-dir {made.data_dir}")
    click.echo(f"  evcharge-central --credentials {made.central}")


@cli.command()
@data_dir_option
@click.option("--host", default=DEFAULT_HOST, help="Address to listen on; beyond loopback put TLS in front.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, help="Port; 0: any free one.")
@click.option("--central", default=None, metavar="HOST:PORT", help="Connect to Central as a gateway.")
@log_options
def run(data_dir: Path, host: str, port: int, central: str | None) -> None:
    """Serve the registry until SIGTERM."""
    address = None if central is None else parse_address(central, CENTRAL_PORT)
    if not is_loopback(host):
        log.warning(
            "sidecar.not_loopback",
            host=host,
            sentence="Passwords cross this address unencrypted; put a TLS proxy in front of it.",
        )
    try:
        asyncio.run(_run(data_dir, host, port, address))
    except (BootstrapError, CannotListen) as error:
        raise Failed(str(error)) from error


async def _run(data_dir: Path, host: str, port: int, central: tuple[str, int] | None) -> None:
    stop = stop_on_signals()
    await serve(
        data_dir,
        host,
        port,
        central=central,
        clock=make_clock(None),
        entropy=os.urandom,
        ready=lambda url: ready("sidecar", url=url),
        stop=stop,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_SIDECAR")


if __name__ == "__main__":
    main()
