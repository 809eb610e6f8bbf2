"""``evcharge-sidecar init``: a new registry."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from evcharge.cli.commands import Command
from evcharge.cli.common import Failed, make_clock, print_json
from evcharge.cli.sidecar_options import DEFAULT_HOST, DEFAULT_PORT, data_dir_option, database_option
from evcharge.sidecar.bootstrap import BootstrapError, Made, initialise


@click.command(cls=Command)
@data_dir_option
@click.option(
    "--url",
    default=f"http://{DEFAULT_HOST}:{DEFAULT_PORT}",
    help="URL at which Central will reach this registry: loopback, or https:// with a verified certificate.",
)
@database_option
def init(data_dir: Path, url: str, database: str | None) -> None:
    """Make a new registry: database, signing key, operator's token and Central's credential."""
    try:
        made = asyncio.run(initialise(data_dir, url, clock=make_clock(None), entropy=os.urandom, database_url=database))
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
