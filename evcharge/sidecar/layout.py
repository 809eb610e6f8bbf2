"""The layout of the sidecar's tables, and the steps that lead from one version's to the next one's.

A step runs once, in a transaction of its own, when a newer version starts; tables that are only new are made by it
from their declarations.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import inspect, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.sidecar.authority import tables as _authority
from evcharge.sidecar.authority.queue import read_waiting
from evcharge.sidecar.database import Step, metadata
from evcharge.sidecar.gateway import repeats as _repeats
from evcharge.sidecar.login import ended as _ended
from evcharge.sidecar.oauth import clients as _clients
from evcharge.sidecar.registry import store as _store

LAYOUT = b"4"

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


async def _named_rows(connection: AsyncConnection) -> None:
    """From 3: what waits for a decision names its request, and says when a broker had it."""
    queue = _authority.queue_table
    there = await connection.run_sync(lambda sync: {each["name"] for each in inspect(sync).get_columns(queue.name)})
    # A layout of before that table has it made whole by an earlier step.
    if "request_id" in there:
        return
    await connection.execute(text("ALTER TABLE authority_queue ADD COLUMN request_id VARCHAR(36)"))
    await connection.execute(text("ALTER TABLE authority_queue ADD COLUMN relayed_ms BIGINT"))
    await connection.execute(text("CREATE INDEX ix_authority_queue_request_id ON authority_queue (request_id)"))
    for number, data in (await connection.execute(select(queue.c.number, queue.c.data))).all():
        waiting = read_waiting(data)
        if waiting is not None:
            named = update(queue).where(queue.c.number == number).values(request_id=waiting.request_id)
            await connection.execute(named)


STEPS: Mapping[bytes, tuple[bytes, Step]] = {
    b"1": (b"2", _rotation_and_services),
    b"2": (b"3", _new_tables),
    b"3": (b"4", _named_rows),
}
