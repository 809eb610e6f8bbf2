"""The queue's table as the broker's outbox: a row is there until its request is decided, whatever the topic loses.

So there are two states, not relayed and relayed, and neither is a promise: a row that stays is relayed again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import delete, exists, or_, select, update

from evcharge.sidecar.authority.kafka.fate import Known
from evcharge.sidecar.authority.tables import queue_table, requests_table
from evcharge.sidecar.database import Database


class Row(NamedTuple):
    """What is to be relayed."""

    number: int
    request_id: str | None
    data: bytes
    relayed_ms: int | None = None
    """When it was relayed last; None: never."""


class Outbox:
    """What the relay and the reader ask of the tables. All raise SQLAlchemyError, OSError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, before_ms: int, most: int) -> Sequence[Row]:
        """Those never relayed, or last before ``before_ms``, the oldest first."""
        last = queue_table.c.relayed_ms
        query = (
            select(queue_table.c.number, queue_table.c.request_id, queue_table.c.data, last)
            .where(or_(last.is_(None), last < before_ms))
            .order_by(queue_table.c.number)
            .limit(most)
        )
        async with self._database.reading() as connection:
            return [Row(*row) for row in (await connection.execute(query)).all()]

    async def waits(self, up_to: int, without: Collection[int]) -> bool:
        """Whether a row up to the number ``up_to`` is there, other than ``without``."""
        mine = (queue_table.c.number <= up_to, queue_table.c.number.not_in(without))
        async with self._database.reading() as connection:
            return bool(await connection.scalar(select(exists().where(*mine))))

    async def relayed(self, numbers: Collection[int], now_ms: int) -> None:
        """They were given to the broker."""
        async with self._database.writing() as connection:
            mine = queue_table.c.number.in_(numbers)
            await connection.execute(update(queue_table).where(mine).values(relayed_ms=now_ms))

    async def forget(self) -> None:
        """The topic is a new one: nothing was relayed."""
        async with self._database.writing() as connection:
            await connection.execute(update(queue_table).values(relayed_ms=None))

    async def known(self, request_ids: Collection[str]) -> dict[str, Known]:
        """What there is of these requests, by their ids."""
        if not request_ids:
            return {}
        asked = (requests_table.c.request_id, requests_table.c.decision, requests_table.c.reason)
        query = (
            select(*asked, queue_table.c.number, queue_table.c.data)
            .join(queue_table, queue_table.c.request_id == requests_table.c.request_id, isouter=True)
            .where(requests_table.c.request_id.in_(request_ids))
        )
        async with self._database.reading() as connection:
            return {row[0]: Known(*row[1:]) for row in (await connection.execute(query)).all()}

    async def remove(self, numbers: Collection[int]) -> None:
        """Their requests are decided."""
        if not numbers:
            return
        async with self._database.writing() as connection:
            await connection.execute(delete(queue_table).where(queue_table.c.number.in_(numbers)))
