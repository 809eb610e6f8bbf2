"""The list of who may charge where: pairs of station and token, each until it is removed or has expired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from sqlalchemy import ColumnElement, RowMapping, delete, func, insert, select, update

from evcharge.sidecar.authority.rules import station_key
from evcharge.sidecar.authority.tables import Reason, acl_table
from evcharge.sidecar.database import Database


class AclFull(Exception):
    """There are as many entries as there may be."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One pair as it is kept."""

    number: int
    entry_id: str
    station_id: str
    token_hash: bytes
    client: str
    """Who put it there, or changed it last."""
    created_ms: int
    updated_ms: int
    expires_ms: int | None


class Asked(msgspec.Struct, frozen=True):
    """May this token charge at this station?"""

    station_id: str
    token_hash: bytes


class Authority(Protocol):
    """Who decides; ``Acl`` does by its list."""

    async def check(self, asked: Sequence[Asked], now_ms: int) -> Sequence[Reason]:
        """For each, in their order: LISTED, NOT_LISTED or EXPIRED."""
        ...


class Acl:
    """The list in the database."""

    def __init__(self, database: Database, *, most: int) -> None:
        self._database = database
        self._most = most

    async def check(self, asked: Sequence[Asked], now_ms: int) -> Sequence[Reason]:
        """All of them by one view of the list."""
        found: list[Reason] = []
        async with self._database.reading() as connection:
            for one in asked:
                row = (await connection.execute(select(acl_table.c.expires_ms).where(_pair(one)))).first()
                found.append(_reason(row is not None, None if row is None else row.expires_ms, now_ms))
        return found

    async def put(
        self, asked: Asked, entry_id: str, client: str, now_ms: int, expires_ms: int | None
    ) -> tuple[Entry, bool]:
        """Add a pair, or give the one that is there this expiry; the entry, and whether it is new.

        Raises:
            AclFull: there is no room for another.
        """
        pair = _pair(asked)
        async with self._database.writing() as connection:
            changed = await connection.execute(
                update(acl_table).where(pair).values(expires_ms=expires_ms, updated_ms=now_ms, client=client)
            )
            new = changed.rowcount == 0
            if new:
                if (await connection.scalar(select(func.count()).select_from(acl_table)) or 0) >= self._most:
                    raise AclFull
                row = {
                    "entry_id": entry_id,
                    "station_id": asked.station_id,
                    "station_key": station_key(asked.station_id),
                    "token_hash": asked.token_hash,
                    "client": client,
                    "created_ms": now_ms,
                    "updated_ms": now_ms,
                    "expires_ms": expires_ms,
                }
                await connection.execute(insert(acl_table), [row])
            rows = await connection.execute(select(acl_table).where(pair))
            return _entry(rows.mappings().one()), new

    async def page(self, after: int, limit: int, station_id: str | None = None) -> list[Entry]:
        """Entries whose number is above ``after``, by number."""
        query = select(acl_table).where(acl_table.c.number > after).order_by(acl_table.c.number).limit(limit)
        if station_id is not None:
            query = query.where(acl_table.c.station_key == station_key(station_id))
        async with self._database.reading() as connection:
            return [_entry(row) for row in (await connection.execute(query)).mappings()]

    async def remove(self, entry_id: str) -> bool:
        """Take it away; False: there is none."""
        async with self._database.writing() as connection:
            gone = await connection.execute(delete(acl_table).where(acl_table.c.entry_id == entry_id))
        return gone.rowcount > 0


def _pair(asked: Asked) -> ColumnElement[bool]:
    same_station = acl_table.c.station_key == station_key(asked.station_id)
    return same_station & (acl_table.c.token_hash == asked.token_hash)


def _reason(there: bool, expires_ms: int | None, now_ms: int) -> Reason:
    if not there:
        return Reason.NOT_LISTED
    return Reason.LISTED if expires_ms is None or now_ms < expires_ms else Reason.EXPIRED


def _entry(row: RowMapping) -> Entry:
    names = Entry.__struct_fields__
    return Entry(**{name: row[name] for name in names})
