"""From the table to the topic: what is committed there is written here, at least once, until it is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.authority.kafka.cluster import Cluster
from evcharge.sidecar.authority.kafka.fate import Message
from evcharge.sidecar.authority.kafka.outbox import Outbox, Row
from evcharge.sidecar.authority.kafka.settings import QueueKafka
from evcharge.sidecar.authority.kafka.troubles import Trouble, Troubles
from evcharge.sidecar.authority.wake import Wake

log = structlog.get_logger()

# Rows relayed at once: a few tenths of a megabyte.
BATCH = 100


class Relay:
    """Looks when it is rung, and by itself every ``look_s``: nobody rings for rows of the sidecar that was here before,
    nor for those that are due again.
    """

    def __init__(
        self, outbox: Outbox, cluster: Cluster, *, clock: Clock, settings: QueueKafka, troubles: Troubles
    ) -> None:
        self._outbox = outbox
        self._cluster = cluster
        self._clock = clock
        self._settings = settings
        self._troubles = troubles
        self._wake = Wake()
        self._looked_s: float | None = None
        self._anew = False
        """The topic is a new one, and the table does not know that yet."""
        self._too_large: set[int] = set()
        """Rows that the topic does not take as it is."""
        self._since_ms = clock.steady_ms()
        self._overdue = 0
        """The newest row that was relayed here once more, while it or an older one is still there."""

    def ring(self) -> None:
        """There may be something to relay."""
        self._wake.ring()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                more = await self.step()
            except Trouble as trouble:
                self._looked_s = None
                self._troubles.say("relay", str(trouble))
                await asyncio.sleep(self._settings.retry_s)
                continue
            except (SQLAlchemyError, OSError) as error:
                log.error("authority.database_failed", at="relay", kind=type(error).__name__)  # noqa: TRY400
                await asyncio.sleep(self._settings.retry_s)
                continue
            if not more:
                await self._wake.wait(self._settings.look_s)

    async def step(self) -> bool:
        """Relay some of what is due; whether there may be more.

        Raises:
            Trouble: what is not relayed stays due.
        """
        await self._look()
        now_ms = self._clock.steady_ms()
        rows = await self._outbox.due(now_ms - self._settings.again_s * 1000, BATCH)
        await self._note_overdue(rows)
        if rows:
            # By their request all copies come to one reader, in order, and requests spread evenly; a key of the
            # station's would put a busy one's into one line for nothing, because no decision hangs on another.
            messages = [Message(key=(row.request_id or "").encode(), value=row.data) for row in rows]
            sent = await self._cluster.send(self._settings.topic, messages)
            tried = {rows[place].number for place in (*sent.done, *sent.too_large)}
            if tried:
                # One that is too large counts as tried too, or it would stand before all others for ever.
                await self._outbox.relayed(tried, now_ms)
            self._note_sizes(tried, {rows[place].number for place in sent.too_large})
            if sent.trouble is not None:
                raise Trouble(sent.trouble)
        self._troubles.well("relay")
        return len(rows) == BATCH

    async def _look(self) -> None:
        """Whether the topics are there; a new one of the requests has none of what was relayed."""
        now_s = asyncio.get_running_loop().time()
        if self._looked_s is not None and now_s - self._looked_s < self._settings.look_s:
            return
        self._anew = await self._cluster.look() or self._anew
        if self._anew:
            await self._outbox.forget()
            self._anew = False
        self._looked_s = now_s

    async def _note_overdue(self, rows: Sequence[Row]) -> None:
        """A client that reads nothing need not say so: where a partition's or the group's leader is away it waits."""
        # Those relayed by who was here before say nothing of now.
        again = {row.number for row in rows if row.relayed_ms is not None and row.relayed_ms >= self._since_ms}
        self._overdue = max({self._overdue} | (again - self._too_large))
        if not self._overdue:
            return
        if await self._outbox.waits(self._overdue, self._too_large):
            topic, again_s = self._settings.topic, self._settings.again_s
            said = f"Requests that went to the topic {topic} {again_s} s ago are not decided; look whether all its "
            self._troubles.say("undecided", f"{said}partitions and those of __consumer_offsets have a leader.")
        else:
            self._overdue = 0
            self._troubles.well("undecided")

    def _note_sizes(self, tried: set[int], too_large: set[int]) -> None:
        self._too_large = (self._too_large - tried) | too_large
        if self._too_large:
            topic = self._settings.topic
            said = f"Requests are larger than the topic {topic} takes; raise its max.message.bytes to 16384 or more."
            self._troubles.say("size", said)
        else:
            self._troubles.well("size")
