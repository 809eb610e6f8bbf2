"""The log of requests: what was asked, what was decided and whether it was told; and the outbox of what is to be told.

Everything that has to be true together is one transaction: a request with its place in the queue, a decision with its
callback, the end of a callback with what the log says of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, RowMapping, ScalarSelect, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.sidecar.authority.queue import QueueFull, RequestQueue, Waiting
from evcharge.sidecar.authority.rules import station_key
from evcharge.sidecar.authority.tables import (
    CallbackState,
    CallbackWord,
    Decision,
    DecisionWord,
    Reason,
    ReasonWord,
    callbacks_table,
    queue_table,
    requests_table,
)
from evcharge.sidecar.database import Database


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the log has it."""

    number: int
    request_id: str
    client: str
    station_id: str
    token_hash: bytes
    callback_host: str
    received_ms: int
    decision: DecisionWord | None
    reason: ReasonWord | None
    decided_ms: int | None
    callback: CallbackWord
    attempts: int
    callback_said: str | None
    finished_ms: int | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that is to be stored."""

    request_id: str
    decision: Decision
    reason: Reason
    sealed: bytes | None
    """What its callback needs; None: nobody can be told."""


class Full(NamedTuple):
    """Who has as many callbacks in flight as may be."""

    hosts: Collection[str]
    clients: Collection[str]


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that is to be sent."""

    request_id: str
    station_id: str
    client: str
    host: str
    sealed: bytes
    decision: str
    reason: str
    decided_ms: int
    tries: int


class Backlog(NamedTuple):
    """What waits."""

    undecided: int
    """Requests."""
    unrelayed: int
    """Of these, those that were never given to a broker: all of them where there is none."""
    untold: int
    """Callbacks that are due now or later."""
    dead: int
    """Callbacks that failed for good and are still kept."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that failed for good."""

    entry: Entry
    since_ms: int


class Log:
    """The tables of requests and callbacks."""

    def __init__(self, database: Database, *, most: int, most_of_client: int) -> None:
        """``most``: callbacks that may wait, of all clients and of one."""
        self._database = database
        self._most = most
        self._most_of_client = most_of_client

    async def accept(self, queue: RequestQueue, waiting: Waiting, token_hash: bytes, host: str) -> None:
        """Store a request and queue it.

        Raises:
            QueueFull: nothing is stored.
        """
        row = {
            "request_id": waiting.request_id,
            "client": waiting.client,
            "station_id": waiting.station_id,
            "station_key": station_key(waiting.station_id),
            "token_hash": token_hash,
            "callback_host": host,
            "received_ms": waiting.received_ms,
            "callback": CallbackState.PENDING.value,
            "attempts": 0,
        }
        pending = callbacks_table.c.state == CallbackState.PENDING.value
        mine = pending & (callbacks_table.c.client == waiting.client)
        async with self._database.writing() as connection:
            # Written first: a transaction that only reads at its beginning may not get SQLite's lock any more.
            await connection.execute(insert(requests_table), [row])
            everybodys, own = (await connection.execute(select(_count(pending), _count(mine)))).one()
            if everybodys >= self._most or own >= self._most_of_client:
                raise QueueFull
            await queue.put(connection, waiting)
        queue.committed()

    async def decide(self, verdicts: Sequence[Verdict], now_ms: int) -> list[Verdict]:
        """Store those that are the first for their request, each with its callback; those it stored."""
        stored: list[Verdict] = []
        async with self._database.writing() as connection:
            for verdict in verdicts:
                undecided = (requests_table.c.request_id == verdict.request_id) & requests_table.c.decision.is_(None)
                values: dict[str, object] = {
                    "decision": verdict.decision.value,
                    "reason": verdict.reason.value,
                    "decided_ms": now_ms,
                }
                if verdict.sealed is None:
                    values |= {"callback": CallbackState.DEAD.value, "finished_ms": now_ms}
                first = await connection.execute(update(requests_table).where(undecided).values(values))
                if first.rowcount == 0:
                    continue
                stored.append(verdict)
                if verdict.sealed is not None:
                    await self._add_callback(connection, verdict, now_ms)
        return stored

    async def _add_callback(self, connection: AsyncConnection, verdict: Verdict, now_ms: int) -> None:
        asked = requests_table.c.request_id == verdict.request_id
        query = select(requests_table.c.client, requests_table.c.callback_host).where(asked)
        row = (await connection.execute(query)).one()
        callback = {
            "request_id": verdict.request_id,
            "client": row.client,
            "host": row.callback_host,
            "sealed": verdict.sealed,
            "state": CallbackState.PENDING.value,
            "tries": 0,
            "next_try_ms": now_ms,
        }
        await connection.execute(insert(callbacks_table), [callback])

    async def due(self, now_ms: int, most: int, busy: Collection[str], full: Full) -> list[Due]:
        """Callbacks whose time has come, the oldest first; none of ``busy`` requests, none of or to who is ``full``."""
        query = (
            select(callbacks_table, requests_table)
            .join(requests_table, requests_table.c.request_id == callbacks_table.c.request_id)
            .where(_open(busy, full) & (callbacks_table.c.next_try_ms <= now_ms))
            .order_by(callbacks_table.c.next_try_ms)
            .limit(most)
        )
        async with self._database.reading() as connection:
            return [
                Due(**{name: row[_COLUMNS[name]] for name in Due.__struct_fields__})
                for row in (await connection.execute(query)).mappings()
            ]

    async def next_due_ms(self, busy: Collection[str], full: Full) -> int | None:
        """When the next callback's time comes."""
        query = select(func.min(callbacks_table.c.next_try_ms)).where(_open(busy, full))
        async with self._database.reading() as connection:
            at_ms: int | None = await connection.scalar(query)
        return at_ms

    async def tried(
        self, request_id: str, said: str, now_ms: int, state: CallbackState, next_try_ms: int | None = None
    ) -> None:
        """A try is over: its callback is delivered (its token is deleted), dead, or tried again at ``next_try_ms``."""
        mine = callbacks_table.c.request_id == request_id
        values: dict[str, object] = {"callback": state.value, "callback_said": said}
        if state is not CallbackState.PENDING:
            values["finished_ms"] = now_ms
        async with self._database.writing() as connection:
            if state is CallbackState.DELIVERED:
                await connection.execute(delete(callbacks_table).where(mine))
            else:
                at_ms = now_ms if next_try_ms is None else next_try_ms
                change = {"state": state.value, "tries": callbacks_table.c.tries + 1, "next_try_ms": at_ms}
                await connection.execute(update(callbacks_table).where(mine).values(change))
            counted = {**values, "attempts": requests_table.c.attempts + 1}
            asked = requests_table.c.request_id == request_id
            await connection.execute(update(requests_table).where(asked).values(counted))

    async def backlog(self) -> Backlog:
        """How much waits; each table holds no more than its limit."""
        states = select(callbacks_table.c.state, func.count()).group_by(callbacks_table.c.state)
        async with self._database.reading() as connection:
            waiting = select(func.count(), func.count(queue_table.c.relayed_ms)).select_from(queue_table)
            undecided, relayed = (await connection.execute(waiting)).one()
            by_state = {row[0]: row[1] for row in (await connection.execute(states)).all()}
        pending, dead = CallbackState.PENDING.value, CallbackState.DEAD.value
        return Backlog(undecided, undecided - relayed, by_state.get(pending, 0), by_state.get(dead, 0))

    async def send_again(self, request_id: str, now_ms: int) -> bool:
        """A dead callback is due once more, with all its tries; False: there is none."""
        dead = (callbacks_table.c.request_id == request_id) & (callbacks_table.c.state == CallbackState.DEAD.value)
        again = {"state": CallbackState.PENDING.value, "tries": 0, "next_try_ms": now_ms}
        async with self._database.writing() as connection:
            changed = await connection.execute(update(callbacks_table).where(dead).values(again))
            if changed.rowcount == 0:
                return False
            waits = {"callback": CallbackState.PENDING.value, "finished_ms": None}
            asked = requests_table.c.request_id == request_id
            await connection.execute(update(requests_table).where(asked).values(waits))
        return True

    async def find(self, request_id: str) -> Entry | None:
        """The request of this id."""
        found = await self.page(None, 1, requests_table.c.request_id == request_id)
        return found[0] if found else None

    async def page(self, before: int | None, limit: int, condition: ColumnElement[bool] | None = None) -> list[Entry]:
        """Requests whose number is below ``before``, the newest first."""
        query = select(requests_table).order_by(requests_table.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(requests_table.c.number < before)
        if condition is not None:
            query = query.where(condition)
        async with self._database.reading() as connection:
            return [_entry(row) for row in (await connection.execute(query)).mappings()]

    async def dead(self, before: int | None, limit: int) -> list[Letter]:
        """Callbacks that can be sent again, the newest request first."""
        query = (
            select(requests_table, callbacks_table.c.next_try_ms)
            .join(callbacks_table, requests_table.c.request_id == callbacks_table.c.request_id)
            .where(callbacks_table.c.state == CallbackState.DEAD.value)
            .order_by(requests_table.c.number.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(requests_table.c.number < before)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings()
            return [Letter(entry=_entry(row), since_ms=row["next_try_ms"]) for row in rows]


# Of the two tables' columns, the one that a field of ``Due`` is.
_COLUMNS = {
    name: (callbacks_table if name in callbacks_table.c else requests_table).c[name] for name in Due.__struct_fields__
}


def wanted(request_id: str | None, station_id: str | None, status: str | None) -> ColumnElement[bool] | None:
    """The condition of a page of the log; "pending" are those that are not decided."""
    conditions: list[ColumnElement[bool]] = []
    if request_id is not None:
        conditions.append(requests_table.c.request_id == request_id)
    if station_id is not None:
        conditions.append(requests_table.c.station_key == station_key(station_id))
    if status == CallbackState.PENDING.value:
        conditions.append(requests_table.c.decision.is_(None))
    elif status is not None:
        conditions.append(requests_table.c.decision == status)
    whole: ColumnElement[bool] | None = None
    for condition in conditions:
        whole = condition if whole is None else whole & condition
    return whole


def _count(condition: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).select_from(callbacks_table).where(condition).scalar_subquery()


def _open(busy: Collection[str], full: Full) -> ColumnElement[bool]:
    pending = callbacks_table.c.state == CallbackState.PENDING.value
    free = callbacks_table.c.host.not_in(full.hosts) & callbacks_table.c.client.not_in(full.clients)
    return pending & callbacks_table.c.request_id.not_in(busy) & free


def _entry(row: RowMapping) -> Entry:
    return Entry(**{name: row[requests_table.c[name]] for name in Entry.__struct_fields__})
