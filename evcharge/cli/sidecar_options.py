"""Options of more than one verb of ``evcharge-sidecar``."""

from __future__ import annotations

from pathlib import Path

import click

# Where the registry listens unless told otherwise: this machine only.
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the sidecar's database, keys and tokens (0700).",
)
database_option = click.option(
    "--database",
    envvar="EVCHARGE_DATABASE_URL",
    default=None,
    metavar="URL",
    help="postgresql+asyncpg://USER@HOST/NAME in place of a file in the directory; "
    "with a password set EVCHARGE_DATABASE_URL instead.",
)
