"""Keeps the history up with Central's log, for ever: whatever fails, it says so once and tries again by itself.

It begins with the last record that it took, to see that Central's log is still the one that the history was made of;
with another one it stops, because two logs in one history could never be told apart again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from evcharge.net.answers import RequestFailed, RequestRefused
from evcharge.net.clock import Clock
from evcharge.net.tail import BrokenTail, follow
from evcharge.sidecar.database import Conflict, Database, first_line
from evcharge.sidecar.history.course import Course, OtherLog
from evcharge.sidecar.history.fold import Misplaced
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import Illegible, Position, Store
from evcharge.sidecar.live.chain import Verdict
from protocol import messages as m

log = structlog.get_logger()

# Records of one transaction while it catches up: some 10 ms of writing, far below a second of work to do again.
FLUSH_RECORDS = 4_000
# How often the log says how far it is while it catches up, in seconds.
TELL_S = 5.0
# When to try again after the database or Central's answer was no good, in seconds.
RETRY_S = 5.0
# How often Central is asked what it signed, while records come, in seconds.
JUDGE_S = 3.0
# Further behind than this, it is catching up, records.
BEHIND = 1_000
# What stands behind the name of a file that could not be read.
BROKEN = ".broken"
NOTHING = Verdict(None, 0, "No record was read yet.")


class Link(Protocol):
    """What it needs of the link to Central."""

    async def ask(self, message: m.Message, timeout_s: float = ...) -> m.Reply: ...

    def on_up(self, tell: Callable[[], None]) -> None: ...


class Follower:
    """The history's way from Central's log into its database."""

    def __init__(
        self,
        open_database: Callable[[], Database],
        link: Link | None,
        *,
        calendar: Calendar,
        clock: Clock,
        file: Path | None = None,
        flush_records: int = FLUSH_RECORDS,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``file``: where the database is one; it is looked after, and one that cannot be read is put aside."""
        self._open_database = open_database
        self._link = link
        self._calendar = calendar
        self._clock = clock
        self._file = file
        self._flush_records = flush_records
        self._pause = pause
        self.store: Store | None = None
        """None: there is no database at the moment."""
        self.position = Position()
        self.newest_seq: int | None = None
        """The newest that Central told of; None: nothing yet."""
        self.problem: str | None = "The history is being opened."
        """Why it does not grow or cannot be asked, for people; None: it is well."""
        self._course: Course | None = None
        self._other: Verdict | None = None
        """Central has another log than the one that was taken, whatever that one was signed with."""
        self._anew = asyncio.Event()
        self._inode: int | None = None
        self._told_s = 0.0
        self._told_seq = 0
        self._grown = asyncio.Event()
        if link is not None:
            link.on_up(self._anew.set)

    def verdict(self) -> Verdict:
        """Whether what was taken is what Central signed."""
        if self._other is not None:
            return self._other
        return NOTHING if self._course is None else self._course.verdict

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_going(), name="history: follow")
                tasks.create_task(self._keep_judging(), name="history: judge")
        finally:
            await self._close()

    async def _keep_going(self) -> None:
        while True:
            try:
                await self._open()
                if self._link is None:
                    self.problem = "This sidecar has no Central to follow."
                    await asyncio.Event().wait()
                    return
                await self._keep_up(self._link)
            except OtherLog as error:
                self.problem = str(error)
                self._other = Verdict(False, self.position.seq, self.problem)
                log.error("history.other_log", sentence=self.problem)  # noqa: TRY400  # the sentence says it all
                # Only a new channel can lead to another log.
                await self._anew.wait()
            except (BrokenTail, Misplaced) as error:
                log.warning("history.answer_unusable", why=str(error))
                await self._pause(RETRY_S)
            except (SQLAlchemyError, Conflict, Illegible, OSError, TimeoutError) as error:
                await self._failed(error)
                await self._pause(RETRY_S)

    # --- the database -------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        if self.store is not None:
            return
        if self._file is not None:
            # SQLite keeps the mode of a file that exists and gives it to the journal beside it.
            with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)) as handle:
                os.fchmod(handle.fileno(), 0o600)
                self._inode = os.fstat(handle.fileno()).st_ino
        database = self._open_database()
        try:
            store = Store(database, time_zone=self._calendar.time_zone)
            why = await store.prepare()
            if why is not None:
                log.info("history.rebuild", why=why, sentence="The history is made anew from Central's log.")
            self.position = await store.position()
        except BaseException:
            await database.close()
            raise
        self.store, self.problem = store, None

    async def _close(self) -> None:
        store, self.store = self.store, None
        if store is not None:
            with suppress(SQLAlchemyError, OSError, TimeoutError):
                await store.database.close()

    async def _failed(self, error: Exception) -> None:
        await self._close()
        # Without the file's path: the sentence is told to everybody who may ask the history.
        said = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        sentence = f"The history's database cannot be used ({said}); it is tried again by itself."
        if self.problem != sentence:
            log.error("history.database_failed", why=said)
        self.problem = sentence
        if self._file is not None and _unreadable(error):
            aside = self._file.with_name(self._file.name + BROKEN)
            with suppress(OSError):
                self._file.replace(aside)
                for end in ("-wal", "-shm"):
                    self._file.with_name(self._file.name + end).unlink(missing_ok=True)
                log.error("history.put_aside", file=str(aside), sentence="It is made anew from Central's log.")

    def _check_file(self) -> None:
        """Raises OSError when the file is not there any more: what is written would be nowhere."""
        if self._file is not None and self._file.stat().st_ino != self._inode:
            raise OSError("another file took its place")

    # --- following ----------------------------------------------------------------------------------------------------

    async def _keep_up(self, link: Link) -> None:
        """Take records until there is a new channel, behind which there may be another log."""
        store = self.store
        assert store is not None
        self._anew.clear()
        self.position, memory = await store.load()
        course = self._course = Course(self.position, memory, self._calendar)
        self._told_s, self._told_seq = self._clock.monotonic(), self.position.seq
        after_seq = max(0, self.position.seq - 1)
        async with aclosing(follow(link, after_seq, "history", away=self._wait, pause=self._pause)) as batches:
            async for batch in batches:
                if self._anew.is_set():
                    return
                missing = course.take(batch)
                self.problem = self._other = None
                if missing:
                    log.warning("history.archived", records=missing, sentence="They are not in the history.")
                self.newest_seq = batch.newest_seq
                if course.waiting >= self._flush_records or (course.waiting and course.seq >= batch.newest_seq):
                    await self._flush(store, course)

    def _wait(self, why: str) -> None:
        """Central does not answer, or cannot: its log may be damaged where the history goes on."""
        sentence = f"The history does not grow ({why}); it is tried again by itself."
        if self.problem != sentence:
            log.warning("history.unanswered", why=why)
        self.problem = sentence

    async def _flush(self, store: Store, course: Course) -> None:
        self._check_file()
        changes, position, site = course.drain()
        await store.apply(changes, position, site)
        self.position = position
        self._grown.set()
        self._tell()

    def _tell(self) -> None:
        now_s = self._clock.monotonic()
        newest = self.newest_seq or 0
        passed_s = now_s - self._told_s
        if passed_s < TELL_S:
            return
        if newest - self.position.seq > BEHIND:
            log.info(
                "history.catching_up",
                percent=round(100 * self.position.seq / newest, 1),
                seq=self.position.seq,
                newest_seq=newest,
                per_s=round((self.position.seq - self._told_seq) / passed_s),
            )
        self._told_s, self._told_seq = now_s, self.position.seq

    # --- the chain ----------------------------------------------------------------------------------------------------

    async def _keep_judging(self) -> None:
        """Compare what Central signs with what was read, as long as something comes."""
        while self._link is not None:
            await self._grown.wait()
            # What came last is signed a second later.
            await self._pause(JUDGE_S)
            self._grown.clear()
            await self.judge()
            course = self._course
            unsigned = course is not None and course.chain is not None and course.verdict.ok is not False
            if unsigned and self.verdict().seq < self.position.seq:
                self._grown.set()

    async def judge(self) -> None:
        """Compare with Central's newest checkpoint."""
        course = self._course
        chain = None if course is None else course.chain
        if chain is None or self._link is None:
            return
        asked_at = chain.size
        with suppress(RequestRefused, RequestFailed):
            told = (await self._link.ask(m.AuditState(id=0))).audit_state
            if told is None or course is not self._course:
                return
            before = chain.verdict.ok
            after = chain.judge(told.checkpoint, newest_seq=told.newest_seq, asked_at=asked_at)
            if after.ok is False and before is not False:
                log.error("history.chain_broken", sentence=after.sentence)


def _unreadable(error: Exception) -> bool:
    """Whether the file is no database any more, or no history, for good."""
    if isinstance(error, Illegible):
        return True
    if not isinstance(error, DatabaseError):
        return False
    said = str(error.orig)
    return "not a database" in said or "malformed" in said
