"""The sidecar's database: SQLite in its own folder, or PostgreSQL by URL, through SQLAlchemy 2 async.

Each concern has its own tables and its own store over one ``Database``. The layout has a number; what a newer version
needs is added when it starts, in steps that are run once and in order (``STEPS``), each in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, LargeBinary, MetaData, String, Table, event, insert, inspect, select, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from evcharge.tally import Buckets

# How long a writer waits for another process's lock, in seconds: ``evcharge-sidecar client`` writes while one serves,
# and its transactions take milliseconds.
BUSY_S = 5.0
# How long a writer waits for its turn among those of this process, in seconds: each takes milliseconds, unless another
# process holds the lock, and then they must not wait one after the other.
TURN_S = 5.0
# Pragmas of every SQLite connection. FULL: what was answered survives a power cut.
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")
# Connections to PostgreSQL: the sidecar is one process, and its transactions are short.
POOL = 8
# How often it is looked whether the lock is still held, in seconds.
HELD_LOOK_S = 5.0
# How long one statement may take, in seconds: they take milliseconds, and who asked has given up by then.
COMMAND_S = 8.0
# How long a connection may take to be made, in seconds.
CONNECT_S = 10.0
# A sidecar that serves holds this lock of its PostgreSQL database ("evch" in ASCII), as the folder's for SQLite.
ADVISORY_LOCK = 0x65766368

metadata = MetaData()

meta_table = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


class StoreError(Exception):
    """The database cannot be served by this version; the text is one sentence for a person."""


class Served(StoreError):
    """Another process serves the database."""


class Waited(SQLAlchemyError):
    """It took too long; nothing was done."""


class Conflict(Exception):
    """A unique rule of the tables said no."""


Step = Callable[[AsyncConnection], Awaitable[None]]


class Database:
    """An engine with one writer at a time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(evcharge_writes=True)
        self._writing = asyncio.Lock()
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._holder: AsyncConnection | None = None
        self.took_s = {"read": Buckets(), "write": Buckets()}
        """From the wish for a view or a transaction to its end, waiting included."""

    @classmethod
    def open(cls, url: str | URL, pragmas: Sequence[str] = PRAGMAS) -> Database:
        """Nothing is read yet. ``pragmas``: of SQLite, for what needs others than the registry.

        Raises:
            StoreError: the URL is of no database that this installation can speak to.
        """
        try:
            parsed = make_url(url)
            return cls(_engine(parsed, pragmas))
        except (ArgumentError, NoSuchModuleError):
            raise StoreError(
                "the database URL is not one like postgresql+asyncpg://user@host/evcharge or sqlite+aiosqlite:///FILE."
            ) from None
        except ModuleNotFoundError as error:
            raise StoreError(
                f"the database needs the package {error.name}: pip install 'evcharge[postgres]'."
            ) from None

    @classmethod
    def file(cls, path: Path, pragmas: Sequence[str] = PRAGMAS) -> Database:
        """SQLite in a file that is there already, so that its mode is ours."""
        return cls.open(URL.create("sqlite+aiosqlite", database=str(path)), pragmas)

    @property
    def sqlite(self) -> bool:
        """Whether it is a file, whose writers wait for each other."""
        return self.engine.dialect.name == "sqlite"

    async def create(self, layout: bytes, about: Mapping[str, bytes] | None = None) -> None:
        """Make all tables in an empty database, in one transaction with what ``meta`` says ``about`` them.

        Raises:
            StoreError: it has tables already, or cannot be reached.
        """
        try:
            async with self.engine.begin() as connection:
                if await connection.run_sync(lambda sync: inspect(sync).has_table(meta_table.name)):
                    raise StoreError("the database holds a registry already; choose an empty one.")
                await connection.run_sync(metadata.create_all)
                rows = {"schema": layout, **(about or {})}
                await connection.execute(
                    insert(meta_table), [{"name": name, "value": value} for name, value in rows.items()]
                )
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise StoreError(f"the database cannot be used: {first_line(error)}") from error

    async def undo(self, name: str, value: bytes) -> bool:
        """Drop the tables that ``create`` made with this ``about``; those of anybody else stay. Whether there were any.

        Raises:
            StoreError: the database cannot be reached.
        """
        try:
            async with self.engine.begin() as connection:
                if not await connection.run_sync(lambda sync: inspect(sync).has_table(meta_table.name)):
                    return False
                found = await connection.execute(select(meta_table.c.value).where(meta_table.c.name == name))
                if found.scalar() != value:
                    return False
                await connection.run_sync(metadata.drop_all)
                return True
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise StoreError(f"the database cannot be used: {first_line(error)}") from error

    async def layout(self) -> bytes | None:
        """The layout's number; None: it says none.

        Raises:
            StoreError: the database cannot be read.
        """
        try:
            async with self.engine.connect() as connection:
                return await _layout(connection)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise StoreError(f"the database cannot be read: {first_line(error)}") from error

    async def upgrade(self, steps: Mapping[bytes, tuple[bytes, Step]], layout: bytes) -> None:
        """Bring an older layout to ``layout``: each step leads from one number to the next.

        Raises:
            StoreError: the layout is of another version, or the database cannot be read.
        """
        try:
            async with self.engine.connect() as connection:
                found = await _layout(connection)
            while found != layout:
                if found is None or found not in steps:
                    raise StoreError("the database belongs to another version of evcharge.")
                following, step = steps[found]
                async with self.engine.begin() as connection:
                    await step(connection)
                    condition = meta_table.c.name == "schema"
                    await connection.execute(update(meta_table).where(condition).values(value=following))
                found = following
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise StoreError(f"the database cannot be read: {first_line(error)}") from error

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent view."""
        began_s = asyncio.get_running_loop().time()
        try:
            async with self.engine.connect() as connection:
                if not self.sqlite:
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                yield connection
        except TimeoutError as error:
            raise Waited("no answer in time") from error
        finally:
            self._note("read", began_s)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: durable when the block ends, undone when it raises.

        Raises:
            Conflict: a unique rule said no; nothing was changed.
            SQLAlchemyError: it is away, locked or slow; nothing was changed.
        """
        began_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(TURN_S):
                await self._writing.acquire()
        except TimeoutError:
            raise Waited("other writers wait already") from None
        try:
            async with self._writer.begin() as connection:
                yield connection
        except IntegrityError as error:
            raise Conflict(str(error.orig)) from None
        except TimeoutError as error:
            raise Waited("no answer in time") from error
        finally:
            self._writing.release()
            self._note("write", began_s)

    def _note(self, what: str, began_s: float) -> None:
        self.took_s[what].observe(asyncio.get_running_loop().time() - began_s)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """This process is the one that serves the database: a second one would not hear of the first one's changes.

        SQLite's file is in a folder that is locked; PostgreSQL has a lock of its own, held by one connection, which
        ``keep_held`` looks after.

        Raises:
            Served: another process serves it.
        """
        if self.sqlite:
            yield
            return
        self._holder = await self._take()
        try:
            yield
        finally:
            # The connection goes back to the pool, and would keep the lock there.
            with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
                async with asyncio.timeout(HELD_LOOK_S):
                    await self._holder.execute(text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))
            await self._holder.close()
            self._holder = None

    async def keep_held(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Take the lock again when its connection was lost, until cancelled.

        Raises:
            Served: another process has taken it meanwhile.
        """
        while self._holder is not None:
            await pause(HELD_LOOK_S)
            try:
                await self._holder.execute(select(1))
            except (SQLAlchemyError, OSError, TimeoutError):
                with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
                    await self._holder.invalidate()
                    self._holder = await self._take()

    async def _take(self) -> AsyncConnection:
        # No transaction stands open for as long as the process lives.
        connection = await self._autocommit.connect()
        held = await connection.execute(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})"))
        if not held.scalar():
            await connection.close()
            raise Served("another evcharge-sidecar serves this database; stop it first.")
        return connection

    async def ping(self) -> None:
        """Ask it for something small. Raises SQLAlchemyError."""
        async with self.reading() as connection:
            await connection.execute(select(1))

    async def close(self) -> None:
        """Give it back."""
        await self.engine.dispose()


async def _layout(connection: AsyncConnection) -> bytes | None:
    rows = await connection.execute(select(meta_table.c.value).where(meta_table.c.name == "schema"))
    value: bytes | None = rows.scalar()
    return value


def _engine(url: URL, pragmas: Sequence[str]) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": BUSY_S})
        event.listen(engine.sync_engine, "connect", functools.partial(_set_pragmas, pragmas))
        event.listen(engine.sync_engine, "begin", _begin)
        return engine
    return create_async_engine(
        url,
        pool_size=POOL,
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=BUSY_S,
        connect_args={
            "timeout": CONNECT_S,
            # A server that is frozen is noticed here, one whose tables are locked says so itself.
            "command_timeout": COMMAND_S,
            "server_settings": {
                "lock_timeout": f"{BUSY_S * 1000:.0f}ms",
                "statement_timeout": f"{COMMAND_S * 1000:.0f}ms",
                "idle_in_transaction_session_timeout": f"{COMMAND_S * 1000:.0f}ms",
            },
        },
    )


def _set_pragmas(pragmas: Sequence[str], connection: Any, _record: object) -> None:
    """On each new connection of the pool; transactions are begun by ``_begin`` alone."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    """A writer takes the lock when it begins: one that read first would lose to another process that wrote meanwhile,
    at once and however long it may wait.
    """
    writes = connection.get_execution_options().get("evcharge_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def first_line(error: Exception) -> str:
    """What a database says is wrong: the statement with its values may stand below."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def private_url(url: str) -> str:
    """A database URL as a log may show it: without its password."""
    return make_url(url).render_as_string(hide_password=True)


def url_from_environment(given: str | None) -> str | None:
    """The URL that was given, or ``EVCHARGE_DATABASE_URL``: a password belongs into no command line."""
    return given or os.environ.get("EVCHARGE_DATABASE_URL")
