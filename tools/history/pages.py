"""Every query of the pages, timed on a large history; and a history made larger than any log that is at hand."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Table, func, insert, select, text

from evcharge.net.clock import SystemClock
from evcharge.sidecar.history import schemas as s
from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.concern import History
from evcharge.sidecar.history.follower import Follower
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import Store
from evcharge.sidecar.web.route import Answer, Call, Principal
from evcharge.sidecar.web.scopes import Scope

# Each query this often. The median counts, and the worst is shown: on a shared machine it is often the doing of others.
TRIES = 9
DAY_MS = 86_400_000
ANYBODY = Principal(name="tool", scopes=frozenset(Scope))


class Timed(NamedTuple):
    """One query."""

    name: str
    usual_ms: float
    """Median."""
    worst_ms: float
    rows: int


class _Opened(Follower):
    """A history that nobody fills."""

    def __init__(self, store: Store, calendar: Calendar) -> None:
        super().__init__(lambda: store.database, None, calendar=calendar, clock=SystemClock())
        self.store = store


async def time_queries(store: Store, calendar: Calendar) -> list[Timed]:
    """What the pages ask, each with the range that makes it slowest."""
    history = History(_Opened(store, calendar), calendar=calendar, clock=SystemClock())
    async with store.database.reading() as connection:
        table = t.sessions_table
        newest_ms = (await connection.execute(select(func.max(table.c.authorized_ms)))).scalar_one()
        oldest_ms = (await connection.execute(select(func.min(table.c.authorized_ms)))).scalar_one()
        middle_ms = (newest_ms + oldest_ms) // 2
        picked = select(table).where(table.c.authorized_ms >= middle_ms).order_by(table.c.authorized_ms).limit(1)
        one = (await connection.execute(picked)).one()
        longest = select(t.decisions_table.c.session_id).where(t.decisions_table.c.kind == "set_point_issued").limit(1)
        decided = (await connection.execute(longest)).scalar_one()
    last = calendar.day(newest_ms)
    month, year = {"from_ms": newest_ms - 30 * DAY_MS, "until_ms": newest_ms}, {"from_ms": newest_ms - 400 * DAY_MS}
    year["until_ms"] = newest_ms
    asked: list[tuple[str, Callable[[Call], Awaitable[Answer]], Any, dict[str, str]]] = [
        ("days, 400", history.days, _days(last), {}),
        ("today", history.today, None, {}),
        ("energy of the site, 30 days", history.energy, s.EnergyQuery(**month), {}),
        ("energy of the site, 400 days", history.energy, s.EnergyQuery(**year), {}),
        ("energy of a node, 30 days", history.energy, s.EnergyQuery(**month, substation_id="north"), {}),
        ("sessions, newest", history.sessions, s.SessionsQuery(), {}),
        ("sessions, a page in the middle", history.sessions, s.SessionsQuery(after=f"{middle_ms}.1"), {}),
        ("sessions of a charge point", history.sessions, s.SessionsQuery(cp_id=one.cp_id), {}),
        ("sessions of a driver", history.sessions, s.SessionsQuery(driver_id=one.driver_id), {}),
        ("sessions that expired", history.sessions, s.SessionsQuery(status="EXPIRED"), {}),
        ("sessions that are open", history.sessions, s.SessionsQuery(status="SUPPLYING"), {}),
        ("a session with its timeline", history.session, s.TimelineQuery(), {"id": decided}),
        ("a charge point, 30 days", history.charge_point, s.RangeQuery(**month), {"id": one.cp_id}),
        ("a charge point, 400 days", history.charge_point, s.RangeQuery(**year), {"id": one.cp_id}),
        ("changes of a charge point", history.changes, s.ChangesQuery(cp_id=one.cp_id), {}),
        ("changes of the site", history.changes, s.ChangesQuery(), {}),
    ]
    return [await _time(*each) for each in asked]


def _days(last: str) -> s.DaysQuery:
    until = date.fromisoformat(last)
    return s.DaysQuery(first=until - timedelta(days=399), last=until)


async def _time(name: str, handler: Callable[[Call], Awaitable[Answer]], query: Any, path: dict[str, str]) -> Timed:
    took, rows = list[float](), 0
    for _ in range(TRIES):
        began = time.perf_counter()
        answer = await handler(Call(principal=ANYBODY, source="tool", path=path, query=query))
        data = msgspec.json.encode(answer.body)
        took.append((time.perf_counter() - began) * 1000)
        said = msgspec.json.decode(data)
        rows = sum(len(value) for value in said.values() if isinstance(value, list))
    return Timed(name, median(took), max(took), rows)


async def grow(store: Store, sessions: int) -> int:
    """Copies of sessions, tickets and sums into the time before, until there are so many sessions. Returns how many.

    Only what is asked about by time: decisions are looked up by a session, a charge point or a record.
    """
    async with store.database.reading() as connection:
        table = t.sessions_table
        there = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        first = (await connection.execute(select(func.min(table.c.authorized_ms)))).scalar_one()
        last = (await connection.execute(select(func.max(table.c.authorized_ms)))).scalar_one()
    span_ms = -(-(last - first + 1) // DAY_MS) * DAY_MS
    copies = -(-sessions // there) - 1
    for number in range(1, copies + 1):
        back_ms = number * span_ms
        for copied in (t.sessions_table, t.tickets_table, t.nodes_table):
            await _copy(store, copied, number, back_ms)
        if back_ms <= s.MOST_RANGE_MS:
            # Nobody can ask for more of a charge point.
            await _copy(store, t.points_table, number, back_ms)
    async with store.database.writing() as connection:
        await connection.execute(text("ANALYZE"))
    return int(there * (copies + 1))


# Columns that a copy has moved, and those that its own name stands in.
_INSTANTS = frozenset({"authorized_ms", "start_ms", "end_ms", "at_ms", "quarter_ms"})
_NAMES = frozenset({"session_id", "ticket_id"})


async def _copy(store: Store, table: Table, number: int, back_ms: int) -> None:
    """One more copy of what the log made, so much earlier."""
    columns = []
    for column in table.columns:
        if column.name in _INSTANTS:
            columns.append(column - back_ms)
        elif column.name in _NAMES:
            columns.append(column + f".{number}")
        else:
            columns.append(column)
    picked = select(*columns)
    if "session_id" in table.columns:
        picked = picked.where(table.c.session_id.not_like("%.%"))
    else:
        async with store.database.reading() as connection:
            latest = (await connection.execute(select(func.max(table.c.quarter_ms)))).scalar_one()
        picked = picked.where(table.c.quarter_ms > latest - back_ms // number)
    async with store.database.writing() as connection:
        await connection.execute(insert(table).from_select([column.name for column in table.columns], picked))


def size_of(file: Path | None) -> str:
    """Of a history that is a file."""
    return "" if file is None else f"{file.stat().st_size / 1e6:,.0f} MB"
