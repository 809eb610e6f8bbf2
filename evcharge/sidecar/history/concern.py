"""The history as a part of the sidecar: it follows Central by itself, and answers what was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.net.clock import Clock
from evcharge.sidecar.gateway.site import naming
from evcharge.sidecar.history import queries as q
from evcharge.sidecar.history import schemas as s
from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.exports import Exports
from evcharge.sidecar.history.follower import RETRY_S, Follower
from evcharge.sidecar.history.memory import SITE
from evcharge.sidecar.history.spread import QUARTER_MS, Calendar, quarter_of
from evcharge.sidecar.history.timeline import Entry, tell
from evcharge.sidecar.live.chain import Verdict
from evcharge.sidecar.web.problem import bad_fields, forbidden, not_found, unavailable
from evcharge.sidecar.web.route import Answer, Call, Handler
from evcharge.sidecar.web.scopes import Scope

OFF = "The history is switched off: set enabled in the table [history] of the settings."
# When to ask again, seconds.
RETRY = int(RETRY_S)
_EMPTY = s.Today(day="", energy_wh=0, amount_minor=0, currency=None, sessions=0, co2_g=0, co2_avoided_g=0, upto_seq=0)


class History:
    """A ``Concern``."""

    def __init__(self, follower: Follower | None, *, calendar: Calendar, clock: Clock) -> None:
        """``follower`` None: it is switched off."""
        self._follower = follower
        self._calendar = calendar
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        """By the routes' names."""
        exports = Exports(self._reading, self._calendar, self._days_asked)
        return {
            "history_state": self.state,
            "history_sessions": self.sessions,
            "history_session": self.session,
            "history_charge_point": self.charge_point,
            "history_energy": self.energy,
            "history_days": self.days,
            "history_today": self.today,
            "history_changes": self.changes,
            "history_sessions_csv": exports.sessions,
            "history_energy_csv": exports.energy,
            "history_days_csv": exports.days,
        }

    async def run(self) -> None:
        """Follow until cancelled."""
        if self._follower is not None:
            await self._follower.run()

    @property
    def place(self) -> tuple[int | None, int | None]:
        """The newest record that is in the tables, and Central's newest, as far as they are known."""
        follower = self._follower
        return (None, None) if follower is None else (follower.position.seq, follower.newest_seq)

    def verdict(self) -> Verdict:
        """Whether what was read of Central's log is what Central signed."""
        return Verdict(None, 0, OFF) if self._follower is None else self._follower.verdict()

    # --- what there is ------------------------------------------------------------------------------------------------

    async def state(self, _call: Call) -> Answer:
        """GET /api/history/state."""
        follower, verdict = self._follower, self.verdict()
        position = None if follower is None else follower.position
        return Answer(
            body=s.HistoryState(
                available=follower is not None and follower.store is not None,
                sentence=OFF if follower is None else follower.problem,
                seq=0 if position is None else position.seq,
                newest_seq=None if follower is None else follower.newest_seq,
                first_seq=0 if position is None else position.first_seq,
                missing=0 if position is None else position.missing,
                schema=t.SCHEMA,
                time_zone=self._calendar.time_zone,
                chain=s.ChainState(ok=verdict.ok, seq=verdict.seq, sentence=verdict.sentence),
            )
        )

    async def sessions(self, call: Call) -> Answer:
        """GET /api/history/sessions."""
        asked: s.SessionsQuery = call.query
        check_driver(call, asked.driver_id)
        filters = s.SessionsFilter(
            from_ms=asked.from_ms,
            until_ms=asked.until_ms,
            cp_id=asked.cp_id,
            driver_id=asked.driver_id,
            status=asked.status,
        )
        after = None
        if asked.after is not None:
            authorized_ms, _, seq = asked.after.partition(".")
            after = (int(authorized_ms), int(seq))
        async with self._reading() as (connection, _):
            rows = (await connection.execute(q.sessions(filters, after, asked.limit + 1))).all()
        shown, name = rows[: asked.limit], naming(call)
        following = f"{shown[-1].authorized_ms}.{shown[-1].seq}" if len(rows) > asked.limit else None
        return Answer(body=s.Sessions(sessions=[session_row(row, name) for row in shown], next=following))

    async def session(self, call: Call) -> Answer:
        """GET /api/history/sessions/{id}."""
        name, after_seq = naming(call), call.query.after_seq
        async with self._reading() as (connection, upto_seq):
            one = (await connection.execute(q.session(call.path["id"]))).first()
            if one is None:
                raise not_found("There is no such session in the history.")
            ticket = await _ticket(connection, one)
            parts = q.timeline(one, after_seq, s.TIMELINE_ROWS + 1)
            rows = await q.merged(connection, parts, s.TIMELINE_ROWS + 1)
        shown = rows[: s.TIMELINE_ROWS]
        return Answer(
            body=s.SessionFound(
                session=session_row(one, name),
                ticket=ticket,
                timeline=[entry(row, name, one.min_w) for row in shown],
                more=len(rows) > len(shown),
                upto_seq=upto_seq,
            )
        )

    async def charge_point(self, call: Call) -> Answer:
        """GET /api/history/charge-points/{id}."""
        cp_id, name = call.path["id"], naming(call)
        from_ms, until_ms, step = self._range(call.query)
        filters = s.SessionsFilter(from_ms=from_ms, until_ms=until_ms, cp_id=cp_id)
        async with self._reading() as (connection, upto_seq):
            energy = await connection.execute(q.point_energy(cp_id, from_ms, until_ms, step))
            rows = [_quarter(row) for row in energy]
            sessions = (await connection.execute(q.sessions(filters, None, s.PAGE_ROWS))).all()
            states = (await connection.execute(q.newest_states(cp_id, from_ms, until_ms, s.PAGE_ROWS))).all()
        return Answer(
            body=s.PointFound(
                cp_id=cp_id,
                from_ms=from_ms,
                until_ms=until_ms,
                step_ms=step,
                energy=rows,
                sessions=[session_row(row, name) for row in sessions],
                changes=[entry(row, name) for row in sorted(states, key=lambda row: row.seq)],
                upto_seq=upto_seq,
            )
        )

    async def energy(self, call: Call) -> Answer:
        """GET /api/history/energy."""
        asked: s.EnergyQuery = call.query
        from_ms, until_ms, step = self._range(asked)
        node = SITE if asked.substation_id is None else asked.substation_id
        async with self._reading() as (connection, upto_seq):
            rows = [_quarter(row) for row in await connection.execute(q.node_energy(node, from_ms, until_ms, step))]
        return Answer(body=s.Energy(from_ms=from_ms, until_ms=until_ms, step_ms=step, rows=rows, upto_seq=upto_seq))

    async def days(self, call: Call) -> Answer:
        """GET /api/history/days."""
        first, last = self._days_asked(call.query)
        async with self._reading() as (connection, upto_seq):
            rows = (await connection.execute(q.days(str(first), str(last)))).all()
        found = [day_row(row, self._calendar) for row in rows]
        return Answer(body=s.Days(time_zone=self._calendar.time_zone, days=found, upto_seq=upto_seq))

    async def today(self, _call: Call) -> Answer:
        """GET /api/history/today."""
        day = self._calendar.day(self._clock.site_ms())
        async with self._reading() as (connection, upto_seq):
            row = (await connection.execute(q.days(day, day))).first()
        if row is None:
            return Answer(body=msgspec.structs.replace(_EMPTY, day=day, upto_seq=upto_seq))
        shown = day_row(row, self._calendar)
        return Answer(
            body=s.Today(
                day=day,
                energy_wh=shown.energy_wh,
                amount_minor=shown.amount_minor,
                currency=shown.currency,
                sessions=shown.sessions,
                co2_g=shown.co2_g,
                co2_avoided_g=shown.co2_avoided_g,
                upto_seq=upto_seq,
            )
        )

    async def changes(self, call: Call) -> Answer:
        """GET /api/history/changes."""
        asked: s.ChangesQuery = call.query
        name = naming(call)
        async with self._reading() as (connection, upto_seq):
            parts = q.changes(asked.cp_id, asked.session_id, asked.after_seq, asked.limit + 1)
            rows = await q.merged(connection, parts, asked.limit + 1)
        shown = rows[: asked.limit]
        following = shown[-1].seq if len(rows) > len(shown) else None
        found = [entry(row, name) for row in shown]
        return Answer(body=s.ChangesPage(changes=found, next_seq=following, upto_seq=upto_seq))

    # --- how it is asked ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[tuple[AsyncConnection, int]]:
        """The tables as of one moment, and the record that this moment is behind.

        Raises:
            Problem: 503, the history is not there.
        """
        follower = self._follower
        if follower is None:
            raise unavailable("history", OFF, RETRY)
        store = follower.store
        if store is None:
            raise unavailable("history", follower.problem or "The history is being opened.", RETRY)
        try:
            async with store.database.reading() as connection:
                upto_seq = (await connection.execute(q.upto_seq())).scalar_one()
                yield connection, upto_seq
        except (SQLAlchemyError, OSError, TimeoutError):
            raise unavailable(
                "history", "The history's database does not answer; ask again in a moment.", RETRY
            ) from None

    def _range(self, asked: s.RangeQuery | s.EnergyQuery) -> tuple[int, int, int]:
        """From, until and step; raises Problem for one that is none, or too long."""
        until_ms = self._clock.site_ms() if asked.until_ms is None else asked.until_ms
        from_ms = max(0, until_ms - s.USUAL_RANGE_MS) if asked.from_ms is None else asked.from_ms
        if not from_ms < until_ms <= from_ms + s.MOST_RANGE_MS:
            raise bad_fields({"until_ms": f"is behind from_ms, by {s.MOST_DAYS} days at most."})
        step = q.step_ms(from_ms, until_ms)
        return quarter_of(from_ms), -(-until_ms // QUARTER_MS) * QUARTER_MS, step

    def _days_asked(self, asked: s.DaysQuery) -> tuple[date, date]:
        """First and last; raises Problem."""
        last = date.fromisoformat(self._calendar.day(self._clock.site_ms())) if asked.last is None else asked.last
        try:
            first = last - timedelta(days=s.USUAL_DAYS - 1) if asked.first is None else asked.first
        except OverflowError:
            first = date.min
        if not 0 <= (last - first).days < s.MOST_DAYS:
            raise bad_fields({"until": f"is not before from, and less than {s.MOST_DAYS} days behind it."})
        return first, last


def check_driver(call: Call, driver_id: str | None) -> None:
    """Who may not see drivers may not find one by its name either. Raises Problem."""
    if driver_id is not None and (call.principal is None or Scope.SITE_CONTROL not in call.principal.scopes):
        raise forbidden(Scope.SITE_CONTROL.value)


def session_row(row: Row[Any], name: Callable[[str], str]) -> s.SessionRow:
    """A session as it is shown."""
    fields = {field: getattr(row, field) for field in s.SessionRow.__struct_fields__}
    return s.SessionRow(**(fields | {"driver_id": name(row.driver_id)}))


def entry(row: Row[Any], name: Callable[[str], str], least_w: int = 0) -> s.Entry:
    """A record as it is shown."""
    told = tell(Entry(row.kind, row.data), name, whole=name is str, least_w=least_w)
    return s.Entry(
        seq=row.seq,
        kind=row.kind,
        at_ms=row.at_ms,
        text=told.text,
        cp_id=row.cp_id,
        connector=row.connector,
        session_id=row.session_id,
        node_id=row.node_id,
        limit_w=row.limit_w,
        reason=row.reason,
        why=told.why,
    )


def day_row(row: Row[Any], calendar: Calendar) -> s.DayRow:
    """A day as it is shown."""
    whole_ms = calendar.length(date.fromisoformat(row.day)) * row.connectors
    return s.DayRow(
        day=row.day,
        sessions=row.sessions,
        energy_wh=row.energy_wh,
        amount_minor=row.amount_minor,
        currency=row.currency,
        co2_g=row.co2_g,
        co2_avoided_g=row.avoided_g,
        busy_s=row.busy_ms // 1000,
        utilisation_percent=round(100 * row.busy_ms / whole_ms, 1) if whole_ms else 0.0,
        refused=row.refused,
    )


def _quarter(row: Row[Any]) -> s.Quarter:
    # PostgreSQL's sum of whole numbers is a decimal one.
    return s.Quarter(int(row.start_ms), int(row.energy_wh), int(row.peak_w))


async def _ticket(connection: AsyncConnection, one: Row[Any]) -> s.Ticket | None:
    row = (await connection.execute(q.ticket(one.session_id))).first()
    if row is None:
        return None
    later = (await connection.execute(q.adjustments(row.ticket_id))).all()
    adjustments = [
        s.Adjustment(**{field: getattr(each, field) for field in s.Adjustment.__struct_fields__}) for each in later
    ]
    fields = {field: getattr(row, field) for field in s.Ticket.__struct_fields__ if field != "adjustments"}
    return s.Ticket(adjustments=adjustments, **fields)
