"""Sessions that were ended before their time: who logged out is out, also with a copy of the cookie.

A session's token would be good until its end whatever its owner does, so the ids of those that were ended are kept
until then: in memory, where each request looks, and in the database, for the next start.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table, delete, insert, select

from evcharge.sidecar.database import Conflict, Database, metadata

# Ended sessions that are remembered: each was a login with a good secret, of which a source has thirty a minute.
ENDED = 65_536

ended_table = Table(
    "page_sessions_ended",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("until_ms", BigInteger, nullable=False, index=True),
)


class EndedSessions:
    """The ids of ended sessions with the time when they would have ended by themselves, UTC ms."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._until: dict[str, int] | None = None

    async def has(self, session_id: str, now_ms: int) -> bool:
        """Whether it was ended; the first question reads those of before the start."""
        return session_id in await self._known(now_ms)

    async def add(self, session_id: str, until_ms: int, now_ms: int) -> None:
        """End it; what is over by itself is forgotten."""
        known = await self._known(now_ms)
        for over in [one for one, until in known.items() if until <= now_ms]:
            del known[over]
        known[session_id] = until_ms
        while len(known) > ENDED:
            del known[min(known, key=known.__getitem__)]
        try:
            async with self._database.writing() as connection:
                await connection.execute(delete(ended_table).where(ended_table.c.until_ms <= now_ms))
                await connection.execute(insert(ended_table), [{"id": session_id, "until_ms": until_ms}])
        except Conflict:
            # Two requests at once that end the same one.
            return

    async def _known(self, now_ms: int) -> dict[str, int]:
        if self._until is None:
            newest = select(ended_table).where(ended_table.c.until_ms > now_ms)
            async with self._database.reading() as connection:
                rows = await connection.execute(newest.order_by(ended_table.c.until_ms.desc()).limit(ENDED))
                found = {row["id"]: row["until_ms"] for row in rows.mappings()}
            # Another request may have read them meanwhile, and ended one.
            self._until = found | (self._until or {})
        return self._until
