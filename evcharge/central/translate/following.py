"""What a gateway follows: the log's records from its files as they become durable (SPEC §7.12).

A follower asks for what comes behind the record that it has. Where there is nothing yet its question waits, on the
loop, which costs nothing; the files are read by a worker thread. Nothing is kept for a follower that is slow or gone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import structlog

from evcharge.audit.files import Files
from evcharge.audit.journal import Journal
from evcharge.audit.pages import Pages, Unreadable
from evcharge.audit.record import Record
from evcharge.audit.runs import AROUND, Runs
from evcharge.central.peers import Peer
from evcharge.central.tasks import Tasks
from evcharge.central.translate.tables import ROOM
from evcharge.domain.refusals import RefusalReason, sentence
from protocol import messages as m

# Questions that wait for a record, or for the worker; one more is refused with `overloaded`. A site has a page, a
# history and a publisher that follow.
MOST_FOLLOWING = 64
# Of one gateway: half of the places, so that one that asks and asks leaves some to the others.
MOST_OF_ONE = 32
# Longest piece of a body that no frame holds, bytes.
PIECE = ROOM - AROUND

log = structlog.get_logger()


class Following:
    """Answers ``follow``."""

    KINDS: ClassVar[tuple[type[m.Message], ...]] = (m.Follow,)

    def __init__(
        self, directory: Path, files: Files, journal: Journal, tasks: Tasks, note: Callable[[str, int], None]
    ) -> None:
        """``note``: a follower has everything up to a record."""
        self._journal = journal
        self._tasks = tasks
        self._note = note
        self._pages = Pages(directory, files, lambda _seq: None)
        self._runs = Runs(directory, files, self._pages)
        self._asked = 0
        self._of: Counter[str] = Counter()
        self._grown = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def became_durable(self) -> None:
        """The log has grown: whoever waits for that looks again."""
        if self._asked:
            self._grown.set()
            self._grown = asyncio.Event()

    def answer(self, peer: Peer, asked: m.Follow) -> None:
        """Have it answered; nothing here waits."""
        if self._asked >= MOST_FOLLOWING or self._of[peer.entity] >= MOST_OF_ONE:
            peer.send(_refused(asked.id, RefusalReason.OVERLOADED, retry_after_s=1))
            return
        self._note(peer.entity if asked.name is None else f"{peer.entity}/{asked.name}", asked.after_seq)
        self._asked += 1
        self._of[peer.entity] += 1
        self._tasks.start(self._answer(peer, asked))

    async def _answer(self, peer: Peer, asked: m.Follow) -> None:
        try:
            if asked.wait_ms:
                await self._wait(asked.after_seq, asked.wait_ms / 1000)
            async with self._one_at_a_time:
                found = await asyncio.to_thread(self.found, asked)
        finally:
            self._asked -= 1
            self._of -= Counter({peer.entity: 1})
        peer.send(found)

    async def _wait(self, after_seq: int, seconds: float) -> None:
        """Until there is a record behind ``after_seq``, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while self._journal.durable <= after_seq:
                    await self._grown.wait()
        except TimeoutError:
            pass

    def found(self, asked: m.Follow) -> m.Reply | m.Refused:
        """The answer; on any thread, one at a time."""
        try:
            durable, first = self._journal.durable, self._pages.first()
            begin = max(asked.after_seq + 1, first)
            rows = self._rows(begin, durable + 1, asked.body_from)
        except Unreadable as error:
            why, subject = str(error), f"record {error.seq}"
        except OSError as error:
            why, subject = str(error), "its files"
        else:
            return m.Reply(re=asked.id, tail=m.TailView(rows=rows, first_seq=first, newest_seq=durable))
        log.error("audit.unreadable", why=why)
        return _refused(asked.id, RefusalReason.LOG_UNREADABLE, subject)

    def _rows(self, begin: int, end: int, body_from: int) -> list[m.StoredView]:
        # What stands around a body in a row is less than what stands around it in a file.
        records = self._runs.run(begin, end, ROOM)
        if not records:
            return []
        if body_from or len(records[0].body) > PIECE:
            return [_piece(records[0], body_from)]
        return [m.StoredView(seq=record.seq, durable=record.durable, body=record.body) for record in records]


def _piece(record: Record, begin: int) -> m.StoredView:
    """A part of a body that no frame holds."""
    end = begin + PIECE
    return m.StoredView(
        seq=record.seq,
        durable=record.durable,
        body=record.body[begin:end],
        next_from=end if end < len(record.body) else None,
    )


def _refused(re: m.RequestId, reason: RefusalReason, subject: str = "", retry_after_s: int | None = None) -> m.Refused:
    said = sentence(reason, subject, retry_after_s)
    return m.Refused(re=re, reason=reason.value, sentence=said[: m.MAX_TEXT], retry_after_s=retry_after_s)
