"""The history as files, sent while it is read: a page at a time, so that neither memory nor a transaction grows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.sidecar.gateway.site import naming
from evcharge.sidecar.history import queries as q
from evcharge.sidecar.history import schemas as s
from evcharge.sidecar.history.memory import SITE
from evcharge.sidecar.history.sheets import Cell, instant, lines, money
from evcharge.sidecar.history.spread import LAST_MS, QUARTER_MS, Calendar
from evcharge.sidecar.web.problem import forbidden
from evcharge.sidecar.web.route import Answer, Call
from evcharge.sidecar.web.scopes import Scope

# Rows that are read and sent at once.
PART_ROWS = 1_000
# Rows of one file: what spreadsheets take at most, with the heading.
FILE_ROWS = 1_048_575
MEDIA_TYPE = "text/csv"

SESSIONS = (
    "session_id",
    "status",
    "charge_point",
    "connector",
    "driver",
    "substation",
    "authorized",
    "started",
    "ended",
    "end_reason",
    "energy_wh",
    "amount",
    "currency",
    "co2_g",
    "ticket",
    "provisional",
)
ENERGY = ("quarter", "energy_wh", "peak_w")
DAYS = (
    "day",
    "sessions",
    "energy_wh",
    "amount",
    "currency",
    "co2_g",
    "co2_avoided_g",
    "busy_s",
    "refused",
)

Reading = Callable[[], AbstractAsyncContextManager[tuple[AsyncConnection, int]]]


class Exports:
    """Handlers of the routes that end in ``.csv``."""

    def __init__(
        self, reading: Reading, calendar: Calendar, days_asked: Callable[[s.DaysQuery], tuple[date, date]]
    ) -> None:
        self._reading = reading
        self._calendar = calendar
        self._days_asked = days_asked

    async def sessions(self, call: Call) -> Answer:
        """GET /api/history/sessions.csv."""
        asked: s.SessionsFilter = call.query
        if asked.driver_id is not None and naming(call) is not str:
            raise forbidden(Scope.SITE_CONTROL.value)
        first = await self._sessions(asked, None)
        return _file("sessions", self._all_sessions(asked, first, naming(call)))

    async def _sessions(self, asked: s.SessionsFilter, after: q.Place | None) -> q.Rows:
        async with self._reading() as (connection, _):
            rows: q.Rows = (await connection.execute(q.sessions(asked, after, PART_ROWS))).all()
        return rows

    async def _all_sessions(
        self, asked: s.SessionsFilter, rows: q.Rows, name: Callable[[str], str]
    ) -> AsyncGenerator[bytes, None]:
        yield lines([SESSIONS])
        sent = 0
        while rows and sent < FILE_ROWS:
            yield lines([_session(row, name) for row in rows])
            sent += len(rows)
            if len(rows) < PART_ROWS:
                return
            rows = await self._sessions(asked, (rows[-1].authorized_ms, rows[-1].seq))

    async def energy(self, call: Call) -> Answer:
        """GET /api/history/energy.csv."""
        asked: s.EnergyQuery = call.query
        node = SITE if asked.substation_id is None else asked.substation_id
        from_ms, until_ms = asked.from_ms or 0, asked.until_ms or LAST_MS
        first = await self._energy(node, from_ms, until_ms)
        return _file("energy", self._all_energy(node, first, until_ms))

    async def _energy(self, node: str, from_ms: int, until_ms: int) -> q.Rows:
        async with self._reading() as (connection, _):
            asked = q.node_energy(node, from_ms, until_ms, QUARTER_MS).limit(PART_ROWS)
            rows: q.Rows = (await connection.execute(asked)).all()
        return rows

    async def _all_energy(self, node: str, rows: q.Rows, until_ms: int) -> AsyncGenerator[bytes, None]:
        yield lines([ENERGY])
        sent = 0
        while rows and sent < FILE_ROWS:
            yield lines([(instant(row.start_ms), int(row.energy_wh), int(row.peak_w)) for row in rows])
            sent += len(rows)
            if len(rows) < PART_ROWS:
                return
            rows = await self._energy(node, rows[-1].start_ms + QUARTER_MS, until_ms)

    async def days(self, call: Call) -> Answer:
        """GET /api/history/days.csv."""
        first, last = self._days_asked(call.query)
        async with self._reading() as (connection, _):
            rows = (await connection.execute(q.days(str(first), str(last)))).all()
        return _file("days", _once(lines([DAYS, *map(_day, rows)])))


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


def _file(name: str, body: AsyncGenerator[bytes, None]) -> Answer:
    return Answer(
        stream=body,
        media_type=MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="evcharge-{name}.csv"'},
    )


def _session(row: Row[Any], name: Callable[[str], str]) -> tuple[Cell, ...]:
    return (
        row.session_id,
        row.status,
        row.cp_id,
        row.connector,
        name(row.driver_id),
        row.substation_id,
        instant(row.authorized_ms),
        instant(row.start_ms),
        instant(row.end_ms),
        row.stop,
        row.energy_wh,
        money(row.amount_minor),
        row.currency,
        row.co2_g,
        row.ticket_id,
        "yes" if row.provisional else "no",
    )


def _day(row: Row[Any]) -> tuple[Cell, ...]:
    return (
        row.day,
        row.sessions,
        row.energy_wh,
        money(row.amount_minor),
        row.currency,
        row.co2_g,
        row.avoided_g,
        row.busy_ms // 1000,
        row.refused,
    )
