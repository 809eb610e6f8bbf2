"""Where accepted requests wait for their decision, behind five methods.

What is put within the transaction that accepts a request is there exactly when that transaction is. What is taken comes
again until it is acknowledged, also after a ``kill -9``: at least once, never exactly once, so a decision has to be
idempotent (``Log.decide``). Every implementation has a row in the table for each request that is not decided, so that
one finds what another has left: the one on Kafka (``kafka.queue``) writes it too, relays it to a topic and takes from
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.sidecar.authority.tables import queue_table
from evcharge.sidecar.authority.wake import Wake
from evcharge.sidecar.database import Database


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request, with all that a worker anywhere needs."""

    request_id: str
    client: str
    station_id: str
    received_ms: int
    sealed: bytes
    """``Secrets``."""


class Taken(msgspec.Struct, frozen=True):
    """One of the queue's messages, whatever is in it."""

    place: int
    data: bytes
    request_id: str | None = None
    """Whose it is, where that is known without reading it."""


class QueueFull(Exception):
    """It takes no more now."""


class RequestQueue(Protocol):
    """A durable queue of accepted requests with one reader."""

    async def put(self, connection: AsyncConnection, waiting: Waiting) -> None:
        """Add it with the transaction of ``connection``.

        Raises:
            QueueFull: try later; the transaction has to be given up.
        """
        ...

    def committed(self) -> None:
        """The transaction is through: what was put can be taken."""
        ...

    async def take(self, most: int) -> Sequence[Taken]:
        """The oldest ones that are not acknowledged, 1 to ``most``; waits until there is one."""
        ...

    async def ack(self, taken: Sequence[Taken]) -> None:
        """They are decided, durably: they need not come again."""
        ...

    async def run(self) -> None:
        """What it has to do beside, until it is cancelled."""
        ...


def read_waiting(data: bytes) -> Waiting | None:
    """What is in a message; None: it is none."""
    try:
        return msgspec.msgpack.decode(data, type=Waiting)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Bytes of others must not end who reads: the message is still there at the next start.
        return None


class OutboxQueue:
    """The queue as a table of the sidecar's own database."""

    def __init__(self, database: Database, *, most: int, most_of_client: int) -> None:
        self._database = database
        self._most = most
        self._most_of_client = most_of_client
        self._wake = Wake()

    async def put(self, connection: AsyncConnection, waiting: Waiting) -> None:
        """Add it with the transaction of ``connection``.

        Raises:
            QueueFull: all clients together, or this one, have as many there as may be.
        """
        rows = select(func.count()).select_from(queue_table)
        mine = rows.where(queue_table.c.client == waiting.client)
        counts = select(rows.scalar_subquery(), mine.scalar_subquery())
        everybodys, own = (await connection.execute(counts)).one()
        if everybodys >= self._most or own >= self._most_of_client:
            raise QueueFull
        data = msgspec.msgpack.encode(waiting)
        row = {"client": waiting.client, "data": data, "request_id": waiting.request_id}
        await connection.execute(insert(queue_table), [row])

    def committed(self) -> None:
        """Look now."""
        self._wake.ring()

    async def take(self, most: int) -> Sequence[Taken]:
        """The oldest ones that are not acknowledged, 1 to ``most``; waits until there is one."""
        columns = (queue_table.c.number, queue_table.c.data, queue_table.c.request_id)
        query = select(*columns).order_by(queue_table.c.number).limit(most)
        while True:
            async with self._database.reading() as connection:
                rows = (await connection.execute(query)).all()
            if rows:
                return [Taken(*row) for row in rows]
            await self._wake.wait()

    async def ack(self, taken: Sequence[Taken]) -> None:
        """Delete them."""
        places = [one.place for one in taken]
        async with self._database.writing() as connection:
            await connection.execute(delete(queue_table).where(queue_table.c.number.in_(places)))

    async def run(self) -> None:
        """Nothing."""
