"""``evcharge-sidecar history``: what the sidecar read of Central's log, and can read again at any time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from evcharge.cli.commands import Group
from evcharge.cli.common import CONTEXT, Failed, configure_logging
from evcharge.cli.sidecar_options import data_dir_option, database_option
from evcharge.sidecar.bootstrap import BootstrapError, check_database, locked
from evcharge.sidecar.database import Database, StoreError, first_line, url_from_environment
from evcharge.sidecar.history.settings import DATABASE
from evcharge.sidecar.history.store import Store, remove_file


@click.group(cls=Group, context_settings=CONTEXT)
def history() -> None:
    """The history: sessions, tickets, decisions and energy, made from Central's log."""
    configure_logging("warning")


@history.command()
@data_dir_option
@database_option
def rebuild(data_dir: Path, database: str | None) -> None:
    """Drop the history; the next run makes it anew from the first record that Central has.

    Only while the sidecar is stopped. Nothing else is touched: no credential, no token, no setting.
    """
    try:
        asyncio.run(_drop(data_dir, url_from_environment(database)))
    except (BootstrapError, StoreError) as error:
        raise Failed(str(error)) from error
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise Failed(f"The history cannot be dropped: {first_line(error)}.") from error
    click.echo("The history is dropped; evcharge-sidecar run makes it anew from Central's log.", err=True)


async def _drop(data_dir: Path, url: str | None) -> None:
    check_database(data_dir, url)
    with locked(data_dir):
        database = None if url is None else Database.open(url)
        if database is None or database.sqlite:
            remove_file(data_dir / DATABASE)
            return
        try:
            async with database.held():
                await Store(database, time_zone="UTC").drop()
        finally:
            await database.close()
