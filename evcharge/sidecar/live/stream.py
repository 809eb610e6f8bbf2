"""One stream: what one page is told, in order, and nothing twice.

Records are pulled from where the page stands; everything else waits in a bounded queue of bytes that all streams share.
A stream that cannot keep up ends: its page comes back with the number of its last record.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import msgspec
import structlog

from evcharge.net.tail import BrokenTail
from evcharge.sidecar.live.log_tail import TAIL, LogTail
from evcharge.sidecar.live.records import Entry
from evcharge.sidecar.live.ring import piece_of
from evcharge.sidecar.live.sse import COMMENT, RETRY, Audience, event

log = structlog.get_logger()

# A stream that has nothing to say says so, in seconds: below the 30 s at which common proxies cut an idle answer.
KEEP_ALIVE_S = 10.0
# What may wait for one stream: twenty seconds of three events each, and the rows of a very large site that changes.
QUEUE_ITEMS = 64
QUEUE_BYTES = 8 << 20
# Records of one piece.
PIECE = 500
# Records that are fetched from Central for a page that was away: two minutes of a very busy site. A page that was away
# for longer reads its tables anew sooner than all of that.
BACKLOG = 20_000


class Hub(Protocol):
    """What a stream needs of the hub."""

    @property
    def log(self) -> LogTail: ...

    def hello(self, *, resumed: bool) -> bytes: ...

    def picture(self, audience: Audience) -> bytes | None:
        """None: nothing was heard of the site yet."""
        ...

    def leave(self, stream: Stream, *, slow: bool) -> None: ...

    def note_gap(self) -> None: ...


class Stream:
    """A ``web.route.Stream``; the hub pushes, ``__anext__`` pulls."""

    def __init__(self, hub: Hub, audience: Audience, after_seq: int | None, client: str) -> None:
        """``after_seq``: the page has the records up to there; None: it has none."""
        self.audience = audience
        self.client = client
        self._hub = hub
        self._log = hub.log
        self._at = after_seq
        self._resumes = after_seq is not None
        self._greeted = False
        self._link: bytes | None = None
        self._wants_picture = True
        # It has had every record once: from then on it has to keep up.
        self._level = False
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._older: asyncio.Task[list[Entry]] | None = None
        self._asks: asyncio.Task[bool | None] | None = None
        self._reached: bool | None = None
        self._stir = asyncio.Event()
        self._over = False

    # --- the hub's side -----------------------------------------------------------------------------------------------

    def push(self, written: bytes) -> None:
        """One more event."""
        if self._wants_picture:
            # The picture will have it.
            return
        self._queue.append(written)
        self._size += len(written)
        if len(self._queue) > QUEUE_ITEMS or self._size > QUEUE_BYTES:
            self.end(slow=True)
        self._stir.set()

    def note_link(self, written: bytes) -> None:
        """The link to Central changed; only the newest counts, and no picture takes its place."""
        self._link = written
        self._stir.set()

    def renew(self) -> None:
        """The picture is another one: what waits says nothing any more."""
        self._clear()
        self._wants_picture = True
        self._stir.set()

    def stir(self) -> None:
        """There are records."""
        self._stir.set()

    def end(self, *, slow: bool = False) -> None:
        """No more pieces follow. ``slow``: because of who reads them."""
        if self._over:
            return
        self._over = True
        self._clear()
        self._stir.set()
        self._hub.leave(self, slow=slow)

    def _clear(self) -> None:
        self._queue.clear()
        self._size = 0

    # --- the page's side ----------------------------------------------------------------------------------------------

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        """The next piece: whole events."""
        # Not from the last stir on: each look at the site stirs all streams, news or none.
        silent_until_s = asyncio.get_running_loop().time() + KEEP_ALIVE_S
        while not self._over:
            self._stir.clear()
            piece = self._next()
            if piece:
                return piece
            try:
                async with asyncio.timeout_at(silent_until_s):
                    await self._stir.wait()
            except TimeoutError:
                return COMMENT
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Whoever read has gone."""
        self.end()
        tasks = [task for task in (self._older, self._asks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _next(self) -> bytes | None:
        if not self._greeted:
            self._greeted = True
            # It has the link too.
            hello, self._link = self._hub.hello(resumed=self._resumes and not self._too_far()), None
            return RETRY + hello
        if self._link is not None:
            written, self._link = self._link, None
            return written
        if self._wants_picture and (picture := self._hub.picture(self.audience)) is not None:
            self._wants_picture = False
            return picture
        if self._queue:
            written = self._queue.popleft()
            self._size -= len(written)
            return written
        return self._records() if self._log.started else None

    # --- records ------------------------------------------------------------------------------------------------------

    def _records(self) -> bytes | None:
        ring = self._log.ring
        if self._at is None:
            self._at = max(ring.last - TAIL, ring.first - 1)
        if self._at > self._log.newest_seq and not self._reaches():
            return self._gap(1) if self._reached is False else None
        if self._at + 1 < ring.first:
            return self._behind()
        self._drop_older()
        if self._at >= ring.last:
            self._level = True
            return None
        piece, self._at = piece_of(ring.behind(self._at, PIECE), self.audience)
        return piece

    def _reaches(self) -> bool:
        """Whether the log has what the page has, which is more than was followed yet; ``_reached`` None: is asked."""
        assert self._at is not None
        if self._reached is None and self._asks is None:
            self._asks = asyncio.create_task(self._log.reaches(self._at), name="a stream's log")
            self._asks.add_done_callback(self._heard)
        if self._asks is not None and self._asks.done():
            # False: the page was told of records of another log.
            task, self._asks = self._asks, None
            self._reached = task.result()
        return self._reached is True

    def _behind(self) -> bytes | None:
        """It stands before what the ring has."""
        assert self._at is not None
        if self._level:
            self.end(slow=True)
            return None
        if self._too_far():
            return self._gap(self._at + 1)
        if self._older is None:
            self._older = asyncio.create_task(self._log.older(self._at), name="records for a stream")
            self._older.add_done_callback(self._fetched)
        if not self._older.done():
            return None
        task, self._older = self._older, None
        try:
            entries = task.result()
        except BrokenTail as error:
            log.error("live.broken_tail", why=str(error))  # noqa: TRY400  # it is Central's
            self.end()
            return None
        entries = [entry for entry in entries if entry.seq > self._at]
        if not entries:
            return None
        if entries[0].seq != self._at + 1:
            # What lies between was archived since.
            return self._gap(self._at + 1)
        self._at = entries[-1].seq
        return b"".join(entry.written[self.audience] for entry in entries)

    def _heard(self, task: asyncio.Task[bool | None]) -> None:
        # Without an answer it is asked again with whatever happens next, not at once.
        if not task.cancelled() and task.result() is not None:
            self._stir.set()

    def _fetched(self, task: asyncio.Task[list[Entry]]) -> None:
        if not task.cancelled():
            # Told to whoever still wants it.
            task.exception()
        self._stir.set()

    def _too_far(self) -> bool:
        tail = self._log
        if self._at is None or not tail.started:
            return False
        return self._at + 1 < max(tail.first_seq, tail.ring.first - BACKLOG)

    def _gap(self, from_seq: int) -> bytes:
        """Say that records are left out, and go on with the newest."""
        ring = self._log.ring
        self._at = max(ring.last - TAIL, ring.first - 1)
        self._drop_older()
        self._hub.note_gap()
        return event("gap", msgspec.json.encode({"from_seq": from_seq, "to_seq": self._at}), self._at)

    def _drop_older(self) -> None:
        if self._older is not None:
            self._older.cancel()
            self._older = None
