"""The layout of the sidecar's tables, and the steps that lead from one version's to the next one's.

A step runs once, in a transaction of its own, when a newer version starts; tables that are only new are made by it
from their declarations.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.sidecar.authority import tables as _authority
from evcharge.sidecar.database import Step, metadata
from evcharge.sidecar.gateway import repeats as _repeats
from evcharge.sidecar.login import ended as _ended
from evcharge.sidecar.oauth import clients as _clients
from evcharge.sidecar.registry import store as _store

LAYOUT = b"3"

# Named here so that whoever has the layout has their declarations.
TABLES = (
    _store.credentials_table,
    _store.keys_table,
    _store.own_table,
    _clients.clients_table,
    _clients.secrets_table,
    _authority.requests_table,
    _authority.queue_table,
    _authority.callbacks_table,
    _authority.acl_table,
    _repeats.keys_table,
    _ended.ended_table,
)


async def _rotation_and_services(connection: AsyncConnection) -> None:
    """From 1: keys end by their time, and the HTTP side has tables."""
    await connection.execute(text("ALTER TABLE keys ADD COLUMN until_ms BIGINT"))
    await connection.run_sync(metadata.create_all)


async def _new_tables(connection: AsyncConnection) -> None:
    """From 2: sessions of the page that were ended by their owners."""
    await connection.run_sync(metadata.create_all)


STEPS: Mapping[bytes, tuple[bytes, Step]] = {
    b"1": (b"2", _rotation_and_services),
    b"2": (b"3", _new_tables),
}
