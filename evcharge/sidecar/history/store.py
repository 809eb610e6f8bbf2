"""The history in its database: what was taken, written in one transaction with its position, and read back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Table, bindparam, case, delete, func, insert, inspect, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.net.tail import Record
from evcharge.sidecar.database import Database
from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.changes import Changes, Row
from evcharge.sidecar.history.fold import Misplaced
from evcharge.sidecar.history.memory import Memory, Open, Site

# Rows of one statement: the loop does other things between two.
ROWS = 400
# A file's pragmas: what is lost with the power is taken from Central's log again.
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536", "mmap_size=268435456", "temp_store=MEMORY")
# Only row of ``position_table``.
ONE = 1

_MEMORY = msgspec.msgpack.Decoder(Open)
_SITE = msgspec.msgpack.Decoder(Site)


class Illegible(Exception):
    """What the fold goes on with cannot be read; the text is one sentence."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Until where the history goes."""

    seq: int = 0
    first_seq: int = 0
    """0: nothing was taken yet."""
    last_hash: bytes = b""
    missing: int = 0
    """Records that were archived before they were taken, behind the first one that was."""
    chain: bytes = b""
    """``Chain.state``."""


def record_hash(record: Record) -> bytes:
    """Tells a record from every other one."""
    return sha256(record.seq.to_bytes(8, "big") + record.durable.to_bytes(8, "big") + record.body).digest()


class Store:
    """The tables of one database."""

    def __init__(self, database: Database, *, time_zone: str) -> None:
        self.database = database
        self._time_zone = time_zone

    async def prepare(self) -> str | None:
        """Have tables of this layout, for these days; what is of another is dropped. Says so.

        Raises:
            SQLAlchemyError, OSError
        """
        async with self.database.reading() as connection:
            why = await self._unfit(connection)
        if why is None:
            return None
        await self.drop()
        async with self.database.writing() as connection:
            await connection.run_sync(t.metadata.create_all)
            row = {"id": ONE, "schema": t.SCHEMA, "time_zone": self._time_zone, "site": msgspec.msgpack.encode(Site())}
            await connection.execute(insert(t.position_table).values(**row, **msgspec.structs.asdict(Position())))
        return why

    async def _unfit(self, connection: AsyncConnection) -> str | None:
        """Why the tables that are there cannot be used."""
        if not await connection.run_sync(lambda sync: inspect(sync).has_table(t.position_table.name)):
            return "there is none yet"
        table = t.position_table
        found = (await connection.execute(select(table.c.schema, table.c.time_zone).where(table.c.id == ONE))).first()
        if found is None or found.schema != t.SCHEMA:
            return "it has the layout of another version"
        if found.time_zone != self._time_zone:
            return f"its days are those of {found.time_zone}"
        return None

    async def drop(self) -> None:
        """Take away all tables of a history, of whatever layout."""
        async with self.database.writing() as connection:
            names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            quote = connection.dialect.identifier_preparer.quote
            for name in names:
                if name.startswith(t.PREFIX):
                    await connection.execute(text(f"DROP TABLE {quote(name)}"))

    async def position(self) -> Position:
        """Until where the history goes."""
        async with self.database.reading() as connection:
            return await _position(connection)

    async def load(self) -> tuple[Position, Memory]:
        """What the fold goes on with, as of one moment.

        Raises:
            Illegible
            SQLAlchemyError, OSError
        """
        async with self.database.reading() as connection:
            position = await _position(connection)
            site = (await connection.execute(select(t.position_table.c.site))).scalar_one()
            states = (await connection.execute(select(t.open_table.c.state))).scalars().all()
        try:
            sessions = {one.session_id: one for one in map(_MEMORY.decode, states)}
            return position, Memory(seq=position.seq, site=_SITE.decode(site), sessions=sessions)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Illegible("what it remembers of open sessions cannot be read") from None

    async def apply(self, changes: Changes, position: Position, site: Site) -> None:
        """Write a run of records with the position behind it: all of it or nothing.

        Raises:
            Misplaced: the history does not end where this run begins, so nothing was changed.
        """
        async with self.database.writing() as connection:
            table = t.position_table
            values: Row = msgspec.structs.asdict(position)
            if changes.site:
                values["site"] = msgspec.msgpack.encode(site)
            here = (table.c.id == ONE) & (table.c.seq == changes.after_seq)
            moved = await connection.execute(update(table).where(here).values(**values))
            if moved.rowcount != 1:
                raise Misplaced(f"the history does not end with record {changes.after_seq}")
            await _write(connection, changes)


async def _position(connection: AsyncConnection) -> Position:
    row = (await connection.execute(select(t.position_table).where(t.position_table.c.id == ONE))).one()
    return Position(seq=row.seq, first_seq=row.first_seq, last_hash=row.last_hash, missing=row.missing, chain=row.chain)


async def _write(connection: AsyncConnection, changes: Changes) -> None:
    await _put(connection, t.sessions_table, changes.sessions.values())
    await _put(connection, t.tickets_table, changes.tickets.values())
    for ticket_id, (energy_wh, amount_minor, co2_g) in changes.adjusted.items():
        table = t.tickets_table
        added = {
            "adjusted_wh": table.c.adjusted_wh + energy_wh,
            "adjusted_minor": table.c.adjusted_minor + amount_minor,
            "adjusted_co2_g": table.c.adjusted_co2_g + co2_g,
            "provisional": False,
        }
        await connection.execute(update(table).where(table.c.ticket_id == ticket_id).values(**added))
    await _add(connection, t.adjustments_table, changes.adjustments)
    await _add(connection, t.decisions_table, changes.decisions)
    await _add(connection, t.states_table, changes.states)
    for table, key, sums in ((t.points_table, "cp_id", changes.points), (t.nodes_table, "node_id", changes.nodes)):
        rows = (
            {key: name, "quarter_ms": quarter, "energy_wh": energy_wh, "peak_w": peak_w}
            for (name, quarter), (energy_wh, peak_w) in sorted(sums.items())
        )
        await _sum(connection, table, rows, highest=("peak_w",))
    days = ({"day": name, **msgspec.structs.asdict(day)} for name, day in sorted(changes.days.items()))
    await _sum(connection, t.days_table, days, highest=("connectors",), last=("currency",))
    opened = ({"session_id": name, "state": msgspec.msgpack.encode(one)} for name, one in changes.opened.items())
    await _put(connection, t.open_table, opened)
    closed = [{"gone": session_id} for session_id in sorted(changes.closed)]
    if closed:
        await connection.execute(delete(t.open_table).where(t.open_table.c.session_id == bindparam("gone")), closed)


async def _add(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """New rows."""
    await _each(rows, lambda some: connection.execute(insert(table), some))


async def _put(connection: AsyncConnection, table: Table, rows: Iterable[Row]) -> None:
    """Whole rows by their key, new or not."""
    statement = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    new = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    put = statement.on_conflict_do_update(index_elements=keys, set_=new)
    await _each(rows, lambda some: connection.execute(put, some))


async def _sum(
    connection: AsyncConnection,
    table: Table,
    rows: Iterable[Row],
    *,
    highest: Sequence[str] = (),
    last: Sequence[str] = (),
) -> None:
    """Add to rows by their key; of columns in ``highest`` the larger value stays, of those in ``last`` the new one."""
    statement = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    new: dict[str, Any] = {}
    for column in table.columns:
        said = statement.excluded[column.name]
        if column.name in highest:
            new[column.name] = case((said > column, said), else_=column)
        elif column.name in last:
            new[column.name] = func.coalesce(said, column)
        elif column.name not in keys:
            new[column.name] = column + said
    add = statement.on_conflict_do_update(index_elements=keys, set_=new)
    await _each(rows, lambda some: connection.execute(add, some))


def _insert(connection: AsyncConnection, table: Table) -> Any:
    """An insertion that can meet a row that is there already; the two dialects say it alike."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


async def _each(rows: Iterable[Row], execute: Callable[[list[Row]], Awaitable[Any]]) -> None:
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == ROWS:
            await execute(some)
            some = []
    if some:
        await execute(some)


def remove_file(path: Path) -> bool:
    """Take a history's file away, with what SQLite keeps beside it. False: there was none. Raises OSError."""
    there = path.exists()
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)
    return there
