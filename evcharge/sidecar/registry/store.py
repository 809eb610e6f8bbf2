"""The registry's tables: public keys and hashes, never a secret.

``credentials`` has one row per username with the newest revision of it; ``keys`` has every public key that was ever
handed out, retired ones too, so that no key comes back under another name. What the whole registry needs once (token
hashes, pinned key of Central) stands in ``meta``. Who steals this database can impersonate nobody: the key that signs
records lives in a file of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    RowMapping,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.sidecar.database import Database, StoreError, first_line, meta_table, metadata
from protocol.credentials import Role
from protocol.records import RegistryRecord

# Most records of one entity that are looked at: five roles, and the revoked ones that other usernames left
# behind.
ENTITY_ROWS = 200
# Keys that one look at what is due takes.
DUE_ROWS = 100

credentials_table = Table(
    "credentials",
    metadata,
    Column("username", String(64), primary_key=True),
    Column("role", Integer, nullable=False),
    Column("entity", String(64), nullable=False, index=True),
    Column("status", String(16), nullable=False),
    Column("station_id", String(36)),
    Column("not_after_ms", BigInteger),
    Column("rev", BigInteger, nullable=False, unique=True),
)

# One live credential per (role, entity); revoked ones may pile up beside it.
Index(
    "one_active_credential",
    credentials_table.c.role,
    credentials_table.c.entity,
    unique=True,
    sqlite_where=text("status = 'active'"),
    postgresql_where=text("status = 'active'"),
)

keys_table = Table(
    "keys",
    metadata,
    Column("public_key", LargeBinary(32), primary_key=True),
    Column("username", ForeignKey("credentials.username"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("retired", Boolean, nullable=False),
    # A key that was rotated away is good until then, UTC milliseconds; null: until something retires it.
    Column("until_ms", BigInteger),
    UniqueConstraint("username", "epoch"),
)


# Credentials that this sidecar made for itself, to speak for a driver; marked in the transaction that makes them.
own_table = Table("own_credentials", metadata, Column("username", String(64), primary_key=True))


class Reader:
    """Read access within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def meta(self) -> dict[str, bytes]:
        """All of the registry's own settings."""
        rows = await self._connection.execute(select(meta_table.c.name, meta_table.c.value))
        return {row.name: row.value for row in rows}

    async def rev(self) -> int:
        """Newest revision; 0 in an empty registry."""
        return int((await self._connection.execute(select(func.max(credentials_table.c.rev)))).scalar() or 0)

    async def find(self, username: str) -> RegistryRecord | None:
        """The record of ``username``, revoked or not."""
        rows = await self._records(credentials_table.c.username == username, limit=1)
        return rows[0] if rows else None

    async def find_entity(self, entity: str) -> list[RegistryRecord]:
        """Every record of an entity, all roles, revoked ones too; ordered by username."""
        return await self._records(credentials_table.c.entity == entity)

    async def page(self, after: str, limit: int, role: Role | None) -> list[RegistryRecord]:
        """Records whose username comes after ``after``, by username, all roles or one."""
        condition = credentials_table.c.username > after
        if role is not None:
            condition &= credentials_table.c.role == int(role)
        return await self._records(condition, limit=limit)

    async def changes(self, after: int, limit: int) -> list[RegistryRecord]:
        """Records whose newest revision is above ``after``, by revision."""
        return await self._records(credentials_table.c.rev > after, limit=limit, by_rev=True)

    async def owns_key(self, username: str, public_key: bytes) -> bool:
        """Whether this key is or was one of ``username``'s."""
        query = select(keys_table.c.epoch).where(
            keys_table.c.username == username, keys_table.c.public_key == public_key
        )
        return (await self._connection.execute(query)).first() is not None

    async def is_own(self, username: str) -> bool:
        """Whether the sidecar made this credential for itself."""
        found = await self._connection.execute(select(own_table).where(own_table.c.username == username))
        return found.first() is not None

    async def next_epoch(self, username: str) -> int:
        """The epoch of ``username``'s next key: one above all that it ever had, 1 for a new name."""
        query = select(func.max(keys_table.c.epoch)).where(keys_table.c.username == username)
        return int((await self._connection.execute(query)).scalar() or 0) + 1

    async def due(self) -> list[tuple[int, str, int]]:
        """Keys that will be retired, the next first: (UTC ms, username, epoch)."""
        live = keys_table.c.retired.is_(False) & keys_table.c.until_ms.is_not(None)
        query = (
            select(keys_table.c.until_ms, keys_table.c.username, keys_table.c.epoch)
            .where(live)
            .order_by(keys_table.c.until_ms)
            .limit(DUE_ROWS)
        )
        return [(row.until_ms, row.username, row.epoch) for row in await self._connection.execute(query)]

    async def _records(
        self, condition: ColumnElement[bool], *, limit: int = ENTITY_ROWS, by_rev: bool = False
    ) -> list[RegistryRecord]:
        order = "rev" if by_rev else "username"
        chosen = select(credentials_table).where(condition).order_by(credentials_table.c[order]).limit(limit)
        base = chosen.subquery()
        live = (keys_table.c.username == base.c.username) & keys_table.c.retired.is_(False)
        # One statement, so that a record and its keys are always of one revision.
        query = (
            select(base, keys_table.c.epoch, keys_table.c.public_key)
            .outerjoin(keys_table, live)
            .order_by(base.c[order], keys_table.c.epoch)
        )
        records: dict[str, RegistryRecord] = {}
        for row in (await self._connection.execute(query)).mappings():
            record = records.setdefault(row["username"], _record(row))
            if row["epoch"] is not None:
                record.keys[row["epoch"]] = row["public_key"]
        return list(records.values())


class Writer(Reader):
    """Write access within one transaction; there is one writer at a time."""

    async def mark_own(self, username: str, *, own: bool) -> None:
        """Say whose credential it is: the sidecar's own, or somebody's."""
        await self._connection.execute(delete(own_table).where(own_table.c.username == username))
        if own:
            await self._connection.execute(insert(own_table), [{"username": username}])

    async def add(self, record: RegistryRecord) -> RegistryRecord:
        """Store a new username with its first key, under the next revision."""
        record = await self._stamp(record)
        await self._connection.execute(insert(credentials_table), [_row(record)])
        await self._add_keys(record)
        return record

    async def replace(self, record: RegistryRecord, *, new_keys: bool = False) -> RegistryRecord:
        """Store a changed record under the next revision; with ``new_keys`` all earlier keys of it are
        retired.
        """
        record = await self._stamp(record)
        row = _row(record)
        condition = credentials_table.c.username == row.pop("username")
        await self._connection.execute(update(credentials_table).where(condition).values(row))
        if new_keys:
            owned = keys_table.c.username == record.username
            await self._connection.execute(update(keys_table).where(owned).values(retired=True))
            await self._add_keys(record)
        return record

    async def _stamp(self, record: RegistryRecord) -> RegistryRecord:
        """The record under the next revision: revisions rise by one with each change and never come back."""
        return replace(record, rev=await self.rev() + 1)

    async def rotate(self, record: RegistryRecord, fresh: bytes, until_ms: int) -> RegistryRecord:
        """Add ``fresh`` as the next epoch's key; of the ones before, the newest stays good until ``until_ms``."""
        epoch = await self.next_epoch(record.username)
        newest = max(record.keys)
        mine = keys_table.c.username == record.username
        older = mine & (keys_table.c.epoch < newest)
        await self._connection.execute(update(keys_table).where(older).values(retired=True))
        await self._connection.execute(
            update(keys_table).where(mine & (keys_table.c.epoch == newest)).values(until_ms=until_ms)
        )
        record = await self.replace(replace(record, keys={newest: record.keys[newest], epoch: fresh}))
        await self._add_keys(replace(record, keys={epoch: fresh}))
        return record

    async def retire(self, username: str, epoch: int) -> RegistryRecord | None:
        """Retire one key whose time is over; the record under its next revision (None: nobody has it)."""
        mine = (keys_table.c.username == username) & (keys_table.c.epoch == epoch)
        await self._connection.execute(update(keys_table).where(mine).values(retired=True))
        record = await self.find(username)
        return None if record is None else await self.replace(record)

    async def _add_keys(self, record: RegistryRecord) -> None:
        rows = [
            {"public_key": key, "username": record.username, "epoch": epoch, "retired": False}
            for epoch, key in record.keys.items()
        ]
        await self._connection.execute(insert(keys_table), rows)


class Store:
    """The registry's part of the database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def check(self) -> dict[str, bytes]:
        """The registry's settings.

        Raises:
            StoreError: the database is no registry, or cannot be read.
        """
        try:
            async with self.reading() as reader:
                meta = await reader.meta()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise StoreError(f"the database cannot be read: {first_line(error)}") from error
        if "central_public_key" not in meta:
            raise StoreError("the database holds no registry.")
        return meta

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """One consistent view."""
        async with self.database.reading() as connection:
            yield Reader(connection)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        """One transaction: durable when the block ends, undone when it raises.

        Raises:
            Conflict: a unique rule said no: username, live (role, entity), public key or revision.
        """
        async with self.database.writing() as connection:
            yield Writer(connection)

    async def close(self) -> None:
        """Give the database back."""
        await self.database.close()


def _record(row: RowMapping) -> RegistryRecord:
    """A record without its keys."""
    return RegistryRecord(
        username=row["username"],
        role=Role(row["role"]),
        entity=row["entity"],
        keys={},
        status=row["status"],
        not_after_ms=row["not_after_ms"],
        rev=row["rev"],
        station_id=row["station_id"],
    )


def _row(record: RegistryRecord) -> dict[str, Any]:
    return {
        "username": record.username,
        "role": int(record.role),
        "entity": record.entity,
        "status": record.status,
        "station_id": record.station_id,
        "not_after_ms": record.not_after_ms,
        "rev": record.rev,
    }
