"""The log's end in memory: followed while somebody looks, begun anew where too much was missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import structlog

from evcharge.net.answers import RequestFailed, RequestRefused
from evcharge.net.tail import Batch, BrokenTail, Record, follow
from evcharge.sidecar.live import asking
from evcharge.sidecar.live.asking import Link
from evcharge.sidecar.live.records import Entry, entry_of
from evcharge.sidecar.live.ring import Ring

log = structlog.get_logger()

# Records that are there at once: what a page's list shows.
TAIL = 200
# A ring that is so many records behind is begun anew: reading them takes longer than anybody looks at them.
BEHIND = 2_000
# Pages that were away for long and are told old records at once: each asks Central page by page.
CATCH_UPS = 4
# When to try again, seconds: while Central is away, and after an answer that cannot be.
AWAY_S = 1.0
BROKEN_S = 5.0


class LogTail:
    """A ring of the newest records, and the way to those before it."""

    def __init__(self, link: Link | None, taken: Callable[[list[Record]], None]) -> None:
        """``taken`` hears the records that were added, or none when the ring is another one."""
        self._link = link
        self._taken = taken
        self._catching_up = asyncio.Semaphore(CATCH_UPS)
        self.ring = Ring()
        # What is in the ring belongs to the log that Central has.
        self._sound = False
        self.started = False
        """The log is followed, so its end is known."""
        self.newest_seq = 0
        """Central's newest durable record."""
        self.first_seq = 0
        """The oldest that Central has; those before it were archived."""
        self.asked = 0
        """Questions to Central."""

    @property
    def lag(self) -> int:
        """Durable records that were not read yet."""
        return max(0, self.newest_seq - self.ring.last) if self.started else 0

    async def follow(self, wanted: Callable[[], bool]) -> None:
        """Read on for as long as it is ``wanted``; Central's absence is waited out."""
        assert self._link is not None
        try:
            await self._begin(self._link)
            async with aclosing(follow(self._link, self.ring.last, "live")) as batches:
                async for batch in batches:
                    self._take(batch)
                    if not wanted():
                        return
        except (RequestRefused, RequestFailed):
            await asyncio.sleep(AWAY_S)
        except BrokenTail as error:
            log.error("live.broken_tail", why=str(error))  # noqa: TRY400  # it is Central's
            self._sound = self.started = False
            await asyncio.sleep(BROKEN_S)
        finally:
            self.started = False

    async def reaches(self, seq: int) -> bool | None:
        """Whether the log has this record, by a fresh answer; None: there is no answer."""
        assert self._link is not None
        self.asked += 1
        try:
            state = await asking.state(self._link)
        except (RequestRefused, RequestFailed):
            return None
        return seq <= state.newest_seq

    async def older(self, after_seq: int) -> list[Entry]:
        """Records that the ring has no more, some of those behind ``after_seq``. Raises BrokenTail."""
        assert self._link is not None
        async with self._catching_up, aclosing(follow(self._link, after_seq, "live-older")) as batches:
            async for batch in batches:
                self.asked += 1
                if batch.records:
                    return [entry_of(record) for record in batch.records]
        return []

    async def _begin(self, link: Link) -> None:
        """Go on where the ring ends, or from the log's end where that is too far away. Raises as ``ask``."""
        self.asked += 1
        state = await asking.state(link)
        begins = max(state.newest_seq - TAIL, state.first_seq - 1, 0)
        if not self._sound or not begins - BEHIND <= self.ring.last <= state.newest_seq:
            self.ring = Ring(begins)
        self.newest_seq, self.first_seq = state.newest_seq, state.first_seq
        self._sound = self.started = True
        self._taken([])

    def _take(self, batch: Batch) -> None:
        """Raises BrokenTail: the log lost records that were durable."""
        self.asked += 1
        if batch.newest_seq < self.ring.last:
            raise BrokenTail(f"Central's log ends with record {batch.newest_seq} and had {self.ring.last} before")
        self.newest_seq, self.first_seq = batch.newest_seq, batch.first_seq
        if not batch.records:
            return
        if batch.records[0].seq != self.ring.last + 1:
            # What lies between was archived.
            self.ring = Ring(batch.records[0].seq - 1)
        self.ring.add([entry_of(record) for record in batch.records])
        self._taken(batch.records)
