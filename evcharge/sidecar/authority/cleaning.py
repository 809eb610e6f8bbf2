"""What is old goes, a few rows at a time: log entries, dead callbacks with their tokens, expired ACL entries."""

from __future__ import annotations

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.tables import CallbackState, acl_table, callbacks_table, requests_table
from evcharge.sidecar.authority.wake import Wake
from evcharge.sidecar.database import Database

log = structlog.get_logger()

_DAY_MS = 86_400_000


class Cleaner:
    """Keeps every table within its bounds."""

    def __init__(self, database: Database, clock: Clock, settings: AuthoritySettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._wake = Wake()

    def ring(self) -> None:
        """Look now."""
        self._wake.ring()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                more = await self.step()
            except (SQLAlchemyError, OSError) as error:
                log.error("authority.database_failed", at="cleaning", kind=type(error).__name__)  # noqa: TRY400
                more = False
            if not more:
                await self._wake.wait(self._settings.clean_s)

    async def step(self) -> bool:
        """Delete a few of each kind; whether there may be more."""
        now_ms = self._clock.steady_ms()
        kept_ms = now_ms - self._settings.kept_days * _DAY_MS
        counts = (
            await self._requests(kept_ms),
            await self._letters(now_ms - self._settings.dead_days * _DAY_MS),
            await self._entries(kept_ms),
        )
        if any(counts):
            log.info("authority.cleaned", requests=counts[0], dead_letters=counts[1], acl=counts[2])
        return max(counts) >= self._settings.clean_rows

    async def _requests(self, before_ms: int) -> int:
        """Those that are over, and too old or too many; a dead callback goes with its request."""
        over = requests_table.c.decision.is_not(None) & (requests_table.c.callback != CallbackState.PENDING.value)
        async with self._database.writing() as connection:
            newest = await connection.scalar(select(func.max(requests_table.c.number))) or 0
            # Numbers rise by one, so this many of the newest stay.
            too_many = requests_table.c.number <= newest - self._settings.log_rows
            old = over & ((requests_table.c.received_ms < before_ms) | too_many)
            query = select(requests_table.c.request_id).where(old).order_by(requests_table.c.number)
            names = (await connection.execute(query.limit(self._settings.clean_rows))).scalars().all()
            if names:
                await connection.execute(delete(callbacks_table).where(callbacks_table.c.request_id.in_(names)))
                await connection.execute(delete(requests_table).where(requests_table.c.request_id.in_(names)))
        return len(names)

    async def _letters(self, before_ms: int) -> int:
        """Dead callbacks, and with them the last copies of their tokens."""
        dead = callbacks_table.c.state == CallbackState.DEAD.value
        async with self._database.writing() as connection:
            count = await connection.scalar(select(func.count()).select_from(callbacks_table).where(dead)) or 0
            old = await connection.scalar(
                select(func.count())
                .select_from(callbacks_table)
                .where(dead & (callbacks_table.c.next_try_ms < before_ms))
            )
            most = min(max(old or 0, count - self._settings.dead_letters), self._settings.clean_rows)
            if most <= 0:
                return 0
            query = select(callbacks_table.c.request_id).where(dead).order_by(callbacks_table.c.next_try_ms)
            names = (await connection.execute(query.limit(most))).scalars().all()
            await connection.execute(delete(callbacks_table).where(callbacks_table.c.request_id.in_(names)))
        return len(names)

    async def _entries(self, before_ms: int) -> int:
        """Entries of the list that expired long ago: until then the list tells why somebody is not allowed."""
        async with self._database.writing() as connection:
            query = select(acl_table.c.number).where(acl_table.c.expires_ms < before_ms)
            numbers = (await connection.execute(query.limit(self._settings.clean_rows))).scalars().all()
            if numbers:
                await connection.execute(delete(acl_table).where(acl_table.c.number.in_(numbers)))
        return len(numbers)
