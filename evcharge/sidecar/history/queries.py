"""What is asked of the history: each a statement that an index answers, of bounded size whatever there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.schemas import CURVE_POINTS, SessionsFilter
from evcharge.sidecar.history.spread import QUARTER_MS

# Steps of a curve, ms: the finest that gives no more points than are shown.
STEPS_MS = (QUARTER_MS, 3_600_000, 6 * 3_600_000, 86_400_000)

Place = tuple[int, int]
"""Where a page begins: (authorized_ms, seq) of the last session of the page before."""
Rows = Sequence[Row[Any]]


def sessions(asked: SessionsFilter, after: Place | None, limit: int) -> Select[Any]:
    """The newest sessions behind ``after``."""
    table = t.sessions_table
    place = tuple_(table.c.authorized_ms, table.c.seq)
    where: list[ColumnElement[bool]] = []
    if asked.from_ms is not None:
        where.append(table.c.authorized_ms >= asked.from_ms)
    if asked.until_ms is not None:
        where.append(table.c.authorized_ms < asked.until_ms)
    for name in ("cp_id", "driver_id", "status"):
        wanted = getattr(asked, name)
        if wanted is not None:
            where.append(table.c[name] == wanted)
    if after is not None:
        where.append(place < tuple_(*after))
    order = (table.c.authorized_ms.desc(), table.c.seq.desc())
    return select(table).where(*where).order_by(*order).limit(limit)


def upto_seq() -> Select[Any]:
    """The record that the tables are behind."""
    return select(t.position_table.c.seq)


def session(session_id: str) -> Select[Any]:
    """One session."""
    return select(t.sessions_table).where(t.sessions_table.c.session_id == session_id)


def ticket(session_id: str) -> Select[Any]:
    """The newest ticket of a session: there is one."""
    table = t.tickets_table
    return select(table).where(table.c.session_id == session_id).order_by(table.c.seq.desc()).limit(1)


def adjustments(ticket_id: str) -> Select[Any]:
    """Its corrections, in order; a ticket has one at most."""
    table = t.adjustments_table
    return select(table).where(table.c.ticket_id == ticket_id).order_by(table.c.seq).limit(100)


def timeline(one: Row[Any], after_seq: int, limit: int) -> list[Select[Any]]:
    """What was decided about a session, what happened to it, and what happened to its charge point and substation
    meanwhile; four statements whose rows belong together in the order of ``seq``.
    """
    parts = [_of(table, table.c.session_id == one.session_id) for table in (t.decisions_table, t.states_table)]
    table = t.states_table
    meanwhile = table.c.session_id.is_(None) & table.c.seq.between(one.seq, one.last_seq)
    connector = table.c.connector.is_(None) | table.c.connector.in_((0, one.connector))
    parts.append(_of(table, (table.c.cp_id == one.cp_id) & meanwhile & connector))
    parts.append(_of(table, (table.c.node_id == one.substation_id) & meanwhile & table.c.cp_id.is_(None)))
    return [part.where(part.selected_columns.seq > after_seq).order_by("seq").limit(limit) for part in parts]


def changes(cp_id: str | None, session_id: str | None, after_seq: int, limit: int) -> list[Select[Any]]:
    """Decisions and changes of state behind a record; two statements whose rows belong together."""
    found = []
    for table in (t.decisions_table, t.states_table):
        where = [table.c.seq > after_seq]
        if cp_id is not None:
            where.append(table.c.cp_id == cp_id)
        if session_id is not None:
            where.append(table.c.session_id == session_id)
        found.append(_of(table, *where).order_by(table.c.seq).limit(limit))
    return found


def newest_states(cp_id: str, from_ms: int, until_ms: int, limit: int) -> Select[Any]:
    """The newest changes of a charge point in some time."""
    table = t.states_table
    where = (table.c.cp_id == cp_id, table.c.at_ms >= from_ms, table.c.at_ms < until_ms)
    return _of(table, *where).order_by(table.c.at_ms.desc(), table.c.seq.desc()).limit(limit)


def step_ms(from_ms: int, until_ms: int) -> int:
    """The step in which so long a time is shown."""
    return next((step for step in STEPS_MS if (until_ms - from_ms) // step <= CURVE_POINTS), STEPS_MS[-1])


def energy(table: Table, key: ColumnElement[bool], from_ms: int, until_ms: int, step: int) -> Select[Any]:
    """Energy and highest power of each step; of a quarter that began before ``from_ms`` nothing."""
    quarter = table.c.quarter_ms
    start = (quarter - quarter % step).label("start_ms")
    sums = (func.sum(table.c.energy_wh).label("energy_wh"), func.max(table.c.peak_w).label("peak_w"))
    within = (key, quarter >= from_ms, quarter < until_ms)
    return select(start, *sums).where(*within).group_by(start).order_by(start)


def point_energy(cp_id: str, from_ms: int, until_ms: int, step: int) -> Select[Any]:
    """Of a charge point."""
    return energy(t.points_table, t.points_table.c.cp_id == cp_id, from_ms, until_ms, step)


def node_energy(node_id: str, from_ms: int, until_ms: int, step: int) -> Select[Any]:
    """Of what a node feeds, or of the whole site."""
    return energy(t.nodes_table, t.nodes_table.c.node_id == node_id, from_ms, until_ms, step)


def days(first: str, last: str) -> Select[Any]:
    """Days in order."""
    table = t.days_table
    return select(table).where(table.c.day >= first, table.c.day <= last).order_by(table.c.day)


async def merged(connection: AsyncConnection, parts: Sequence[Select[Any]], limit: int) -> list[Row[Any]]:
    """The first rows of several statements in the order of ``seq``, each once."""
    found: dict[int, Row[Any]] = {}
    for part in parts:
        found |= {row.seq: row for row in await connection.execute(part)}
    return [found[seq] for seq in sorted(found)[:limit]]


def _of(table: Table, *where: ColumnElement[bool]) -> Select[Any]:
    return select(table).where(*where)
