"""``evcharge-sidecar history rebuild``, and the history as a part of the whole sidecar."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from evcharge.cli.sidecar import cli
from evcharge.net.clock import SystemClock
from evcharge.sidecar.bootstrap import initialise, locked
from evcharge.sidecar.database import Database
from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.settings import DATABASE
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import PRAGMAS, Store
from evcharge.sidecar.services import BadServices, load_services
from tests.sidecar.conftest import MakeSite
from tests.sidecar.history.support import KEY, contents, fill, records_of
from tests.support.generated_logs import lived


async def filled(directory: Path, database_url: str | None) -> Database:
    if database_url is None:
        (directory / DATABASE).touch(0o600)
    database = Database.file(directory / DATABASE, PRAGMAS) if database_url is None else Database.open(database_url)
    store = Store(database, time_zone="UTC")
    await store.prepare()
    await fill(store, Calendar("UTC"), records_of([KEY, *lived(3).log]), 500)
    return database


async def test_a_rebuild_drops_the_history_and_nothing_else(tmp_path: Path, database_url: str | None) -> None:
    directory = tmp_path / "r"
    await initialise(
        directory, "http://127.0.0.1:8080", clock=SystemClock(), entropy=os.urandom, database_url=database_url
    )
    database = await filled(directory, database_url)
    assert (await contents(database))["history_states"]
    await database.close()
    command = ["history", "rebuild", "--data-dir", str(directory)]
    command += [] if database_url is None else ["--database", database_url]
    with locked(directory):
        refused = await asyncio.to_thread(CliRunner().invoke, cli, command, catch_exceptions=True)
        assert refused.exit_code != 0 and "stop it first" in refused.output
    done = await asyncio.to_thread(CliRunner().invoke, cli, command)
    assert done.exit_code == 0, done.output
    assert not (directory / DATABASE).exists()
    assert sorted(path.name for path in directory.iterdir() if "history" in path.name) == []
    if database_url is not None:
        database = Database.open(database_url)
        async with database.reading() as connection:
            names = await connection.run_sync(lambda sync: database.engine.dialect.get_table_names(sync))
        await database.close()
        assert "credentials" in names and not [name for name in names if name.startswith(t.PREFIX)]


async def test_the_sidecar_has_the_routes_and_says_what_is_not_there_yet(make_site: MakeSite) -> None:
    site = await make_site()
    url = None if site.database.sqlite else site.database.engine.url.render_as_string(hide_password=False)
    database = await filled(site.directory, url)
    try:
        status, said, _ = await site.ask("GET", "/api/history/state", token=site.operator)
        assert (status, said["available"]) == (200, False), "nobody has opened it yet"
        status, said, _ = await site.ask("GET", "/api/history/today", token=site.operator)
        assert (status, said["code"]) == (503, "history")
    finally:
        await database.close()


def test_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "services.toml"
    file.write_text('[history]\ntime_zone = "Europe/Berlin"\n')
    assert load_services(file).history.time_zone == "Europe/Berlin"
    assert load_services(file).history.enabled
    file.write_text('[history]\ntime_zone = "Europe/Nowhere"\n')
    with pytest.raises(BadServices, match="Europe/Nowhere"):
        load_services(file)
