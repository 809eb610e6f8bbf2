"""The database below all parts: transactions, layouts of older versions, and what it says when it cannot be used."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from evcharge.sidecar import bootstrap
from evcharge.sidecar import database as module
from evcharge.sidecar.bootstrap import BootstrapError, initialise, open_registry
from evcharge.sidecar.database import Conflict, Database, StoreError, meta_table, private_url
from evcharge.sidecar.layout import LAYOUT, STEPS, TABLES
from tests.sidecar.conftest import HandClock, SeededEntropy

ROW = {"name": "x", "value": b"1"}


@pytest.fixture
async def database(tmp_path: Path, database_url: str | None) -> AsyncIterator[Database]:
    made = Database.file(tmp_path / "x.sqlite") if database_url is None else Database.open(database_url)
    await made.create(LAYOUT)
    yield made
    await made.close()


async def names(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set((await connection.execute(select(meta_table.c.name))).scalars())


async def test_a_transaction_is_whole_or_nothing(database: Database) -> None:
    with pytest.raises(Conflict):
        async with database.writing() as connection:
            await connection.execute(insert(meta_table), [ROW])
            await connection.execute(insert(meta_table), [ROW])
    with pytest.raises(ZeroDivisionError):
        async with database.writing() as connection:
            await connection.execute(insert(meta_table), [ROW])
            raise ZeroDivisionError
    assert await names(database) == {"schema"}
    async with database.writing() as connection:
        await connection.execute(insert(meta_table), [ROW])
    assert await names(database) == {"schema", "x"}


async def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    async with database.reading() as connection:
        before = (await connection.execute(select(meta_table.c.name))).scalars().all()
        async with database.writing() as writer:
            await writer.execute(insert(meta_table), [ROW])
        assert (await connection.execute(select(meta_table.c.name))).scalars().all() == before
    assert await names(database) == {"schema", "x"}


async def test_an_existing_registry_is_not_made_again(database: Database) -> None:
    with pytest.raises(StoreError, match="holds a registry already"):
        await database.create(LAYOUT)
    assert await names(database) == {"schema"}


async def test_only_known_layouts_are_opened(database: Database) -> None:
    await database.upgrade(STEPS, LAYOUT)
    for other in (b"5", b"x"):
        with pytest.raises(StoreError, match="another version"):
            await database.upgrade({}, other)


async def test_one_process_serves_a_database(database: Database) -> None:
    async with database.held():
        if database.sqlite:
            return
        other = Database.open(database.engine.url)
        with pytest.raises(StoreError, match="another evcharge-sidecar"):
            async with other.held():
                pytest.fail("held twice")
        await other.close()
    async with database.held():
        pass
    # Given back with its connection, which stays in the pool.
    other = Database.open(database.engine.url)
    async with other.held():
        pass
    await other.close()


async def test_only_tables_of_this_name_are_undone(database: Database) -> None:
    assert not await database.undo("whose", b"mine")
    async with database.writing() as connection:
        await connection.execute(insert(meta_table), [{"name": "whose", "value": b"theirs"}])
    assert not await database.undo("whose", b"mine")
    assert await names(database) == {"schema", "whose"}
    assert await database.undo("whose", b"theirs")
    assert not await database.undo("whose", b"theirs")
    await database.create(LAYOUT, {"whose": b"mine"})
    assert await names(database) == {"schema", "whose"}


async def test_a_registry_that_could_not_be_finished_leaves_nothing_in_its_database(
    database_url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bootstrap.write_private

    def full(path: Path, content: bytes) -> None:
        if path.name == "central.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    clock, url = HandClock(), "http://127.0.0.1:8080"
    with monkeypatch.context() as patch, pytest.raises(BootstrapError, match="No space left"):
        patch.setattr(bootstrap, "write_private", full)
        await initialise(tmp_path / "r", url, clock=clock, entropy=os.urandom, database_url=database_url)
    assert not list((tmp_path / "r").iterdir())
    await initialise(tmp_path / "r", url, clock=clock, entropy=os.urandom, database_url=database_url)


async def test_a_lock_that_was_lost_is_taken_again_or_ends_the_process(database: Database) -> None:
    if database.sqlite:
        async with database.held():
            await database.keep_held()
        return
    url = database.engine.url
    looked: asyncio.Queue[float] = asyncio.Queue()
    go: asyncio.Queue[None] = asyncio.Queue()

    async def pause(seconds: float) -> None:
        looked.put_nowait(seconds)
        await go.get()

    async def cut() -> None:
        """As a restart of the server does."""
        async with other.writing() as connection:
            mine = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            # With a limit it waits until they have ended: until then they have their locks.
            ended = await connection.execute(text(f"SELECT pg_terminate_backend(pid, 10000) FROM ({mine}) AS holders"))
            assert ended.scalars().all() == [True]

    other = Database.open(url)
    async with database.held():
        keeping = asyncio.create_task(database.keep_held(pause))
        await looked.get()
        await cut()
        go.put_nowait(None)
        await looked.get()
        with pytest.raises(StoreError, match="another evcharge-sidecar"):
            async with other.held():
                pytest.fail("it was not taken again")
        await cut()
        async with other.held():
            go.put_nowait(None)
            with pytest.raises(StoreError, match="another evcharge-sidecar"):
                await keeping
    await other.close()


def test_urls_that_are_none() -> None:
    for url in ("nonsense", "mysql+nothing://x", "postgresql+nothing://x"):
        with pytest.raises(StoreError, match="database URL"):
            Database.open(url)
    assert "secret" not in private_url("postgresql+asyncpg://u:secret@h/d")


async def test_a_registry_of_the_first_layout_is_brought_up_to_date(tmp_path: Path) -> None:
    clock = HandClock()
    await initialise(tmp_path / "r", "http://127.0.0.1:8080", clock=clock, entropy=SeededEntropy())
    file = tmp_path / "r" / "registry.sqlite"
    with closing(sqlite3.connect(file)) as old:
        for name in ("oauth_secrets", "oauth_clients", "own_credentials", "gateway_keys"):
            old.execute(f"DROP TABLE {name}")
        old.execute("ALTER TABLE keys DROP COLUMN until_ms")
        old.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (b"1",))
        old.execute("DELETE FROM meta WHERE name = 'url'")
        old.commit()
    opened = await open_registry(tmp_path / "r", clock=clock, entropy=SeededEntropy())
    assert opened.url == "http://127.0.0.1:8080"
    async with opened.store.database.reading() as connection:
        for table in TABLES:
            await connection.execute(select(table))
    assert [row.username for row in (await opened.registry.page("", 9, None))[0]] == ["central", "sidecar"]
    await opened.store.close()


async def test_a_step_that_fails_leaves_the_old_layout(database: Database) -> None:
    async def broken(connection: object) -> None:
        await connection.execute(text("CREATE TABLE halfway (x INTEGER)"))  # type: ignore[attr-defined]
        raise OperationalError("no", {}, Exception("disk full"))

    with pytest.raises(StoreError, match="disk full"):
        await database.upgrade({LAYOUT: (b"9", broken)}, b"9")
    with pytest.raises(OperationalError if database.sqlite else Exception, match="halfway"):
        async with database.reading() as connection:
            await connection.execute(text("SELECT * FROM halfway"))
    await database.upgrade({}, LAYOUT)


async def test_a_database_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="cannot be used"):
        await initialise(
            tmp_path / "r",
            "http://127.0.0.1:8080",
            clock=HandClock(),
            entropy=SeededEntropy(),
            database_url="postgresql+asyncpg://nobody@127.0.0.1:1/none",
        )
    assert not list((tmp_path / "r").iterdir()), "nothing is left behind"


async def test_who_waits_too_long_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 0.05)
    async with database.writing():
        with pytest.raises(SQLAlchemyError):
            async with database.writing():
                pytest.fail("two at once")
    async with database.writing() as connection:
        await connection.execute(insert(meta_table), [ROW])


async def test_a_locked_table_is_an_error_and_not_a_wait(
    database_url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    file = tmp_path / "y.sqlite"
    made, other = (Database.file(file) if database_url is None else Database.open(database_url) for _ in range(2))
    await made.create(LAYOUT)
    async with other.writing() as connection:
        if not other.sqlite:
            await connection.execute(text("LOCK TABLE meta IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(SQLAlchemyError):
            async with made.writing() as writer:
                await writer.execute(insert(meta_table), [ROW])
    await made.ping()
    await made.close()
    await other.close()


async def test_writers_wait_for_each_other(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.writing() as connection:
            rows = (await connection.execute(select(meta_table.c.name))).scalars().all()
            await asyncio.sleep(0)
            await connection.execute(insert(meta_table), [{"name": f"n{len(rows)}", "value": b""}])

    await asyncio.gather(*(write(number) for number in range(8)))
    assert len(await names(database)) == 9
