"""What a gateway asks about the log: answered from its files in a worker thread, never by the engine.

One question is worked at after the other, in bounded steps, and only what is durable is looked at. Whatever the disk
does to a reader here is a refusal to whoever asked: it is the writer who notices that the log has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple, get_args

import msgspec
import structlog

from evcharge.audit.attest import Attestor
from evcharge.audit.control import KINDS
from evcharge.audit.event_codec import kind_of
from evcharge.audit.files import Files
from evcharge.audit.journal import Journal
from evcharge.audit.lines import Filter
from evcharge.audit.merkle import BadProof
from evcharge.audit.note import BadNote, Checkpoint, Note
from evcharge.audit.pages import Found, Pages, Unreadable
from evcharge.audit.proof import include
from evcharge.audit.tree import TreeDamaged
from evcharge.central.peers import Peer
from evcharge.central.tasks import Tasks
from evcharge.central.translate.tables import ROOM
from evcharge.domain.events import EVENTS
from evcharge.domain.refusals import RefusalReason, sentence
from protocol import messages as m

# Questions that wait for the worker; one more is refused with `overloaded`. At a twentieth of a second each the last
# one waits for less than two seconds.
MOST_WAITING = 32
# Longest details of a record in a page, bytes: a page has room for three such rows, and nearly every event has 500.
MOST_DETAILS = 16 << 10
# Characters of a body in one answer: with 64 hashes, a checkpoint of 4 KiB and the names it fits in a frame.
BODY_PIECE = 40_000
# When a record that is not signed yet will be, seconds (audit.checkpoints.EVERY_S).
SIGNED_AFTER_S = 1
_KINDS = frozenset({kind_of(event) for event in EVENTS} | KINDS)

Question = m.AuditPage | m.AuditProof | m.AuditState

log = structlog.get_logger()


class Verified(NamedTuple):
    """The records whose chain and checkpoints the start has checked."""

    first: int
    last: int


class Audit:
    """Answers ``audit_page``, ``audit_proof`` and ``audit_state``."""

    KINDS: ClassVar[tuple[type[m.Message], ...]] = get_args(Question)

    def __init__(
        self,
        directory: Path,
        files: Files,
        journal: Journal,
        attestor: Attestor,
        tasks: Tasks,
        *,
        verified: Verified,
        suspect: Callable[[], bool],
    ) -> None:
        """``suspect``: whether witnesses remember another log."""
        self._journal = journal
        self._attestor = attestor
        self._tasks = tasks
        self._verified = verified
        self._suspect = suspect
        self._pages = Pages(directory, files, self._leaf)
        self._waiting = 0
        self._one_at_a_time = asyncio.Lock()

    def answer(self, peer: Peer, message: Question) -> None:
        """Have it answered; nothing here waits."""
        if self._waiting >= MOST_WAITING:
            peer.send(_refused(message.id, RefusalReason.OVERLOADED, retry_after_s=1))
            return
        self._waiting += 1
        self._tasks.start(self._answer(peer, message))

    async def _answer(self, peer: Peer, message: Question) -> None:
        try:
            async with self._one_at_a_time:
                found = await asyncio.to_thread(self.found, message)
        finally:
            self._waiting -= 1
        peer.send(found)

    def found(self, message: Question) -> m.Reply | m.Refused:
        """The answer; on any thread, one at a time."""
        try:
            match message:
                case m.AuditPage():
                    return self._page(message)
                case m.AuditProof():
                    return self._proof(message)
                case m.AuditState():
                    return self._state(message)
        except Unreadable as error:
            why, subject = str(error), f"record {error.seq}"
        except (BadProof, TreeDamaged) as error:
            why, subject = str(error), "its tree"
        except BadNote as error:
            why, subject = str(error), "its newest checkpoint"
        except OSError as error:
            why, subject = str(error), "its files"
        log.error("audit.unreadable", why=why)
        return _refused(message.id, RefusalReason.LOG_UNREADABLE, subject)

    def _page(self, asked: m.AuditPage) -> m.Reply | m.Refused:
        if asked.kind is not None and asked.kind not in _KINDS:
            return _refused(asked.id, RefusalReason.UNKNOWN_KIND, asked.kind)
        wanted = Filter(
            cp=asked.cp_id or "",
            session=asked.session_id or "",
            by=asked.by or "",
            trace=asked.trace or "",
            kinds=frozenset() if asked.kind is None else frozenset({asked.kind}),
        )
        durable = self._journal.durable
        before = durable + 1 if asked.before_seq is None else min(asked.before_seq, durable + 1)
        page = self._pages.page(asked.after_seq, before, asked.limit, wanted, newest_first=asked.tail)
        rows, left = [], ROOM
        for found in page.rows:
            row = _row(found)
            left -= len(msgspec.msgpack.encode(row))
            if left < 0:
                break
            rows.append(row)
        cut = len(rows) < len(page.rows)
        return m.Reply(
            re=asked.id,
            audit=m.AuditView(
                rows=rows,
                next_seq=rows[-1].seq if cut else page.next_seq,
                first_seq=self._pages.first(),
                newest_seq=durable,
            ),
        )

    def _proof(self, asked: m.AuditProof) -> m.Reply | m.Refused:
        durable, note = self._journal.durable, self._attestor.checkpoints.newest
        if not self._pages.first() <= asked.seq <= durable:
            return _refused(asked.id, RefusalReason.UNKNOWN_RECORD, str(asked.seq))
        if not note or _checkpoint(note).size < asked.seq:
            return _refused(asked.id, RefusalReason.NOT_SIGNED, str(asked.seq), retry_after_s=SIGNED_AFTER_S)
        proof = include(self._pages.record(asked.seq), note, self._attestor.tree.inclusion)
        whole = proof.body
        end = asked.body_from + BODY_PIECE
        return m.Reply(
            re=asked.id,
            proof=m.ProofView(
                type=str(proof.__struct_config__.tag),
                seq=proof.seq,
                durable=proof.durable,
                body=whole[asked.body_from : end],
                proof=proof.proof,
                checkpoint=proof.checkpoint,
                next_from=end if end < len(whole) else None,
            ),
        )

    def _state(self, asked: m.AuditState) -> m.Reply:
        note = self._attestor.checkpoints.newest
        return m.Reply(
            re=asked.id,
            audit_state=m.AuditStateView(
                newest_seq=self._journal.durable,
                first_seq=self._pages.first(),
                verified_from=self._verified.first,
                verified_to=self._verified.last,
                suspect=self._suspect(),
                checkpoint=self._signed(note) if note else None,
            ),
        )

    def _signed(self, note: bytes) -> m.CheckpointView:
        # After a change of the key the newest one may be of the key before.
        checkpoint, key = _checkpoint(note), Note.parse(note).verified(self._attestor.keys)[0]
        return m.CheckpointView(
            size=checkpoint.size,
            root=checkpoint.root.hex(),
            note=note.decode(),
            key=str(key),
            key_id=key.key_id.hex(),
        )

    def _leaf(self, seq: int) -> bytes | None:
        try:
            return self._attestor.tree.leaf(seq)
        except (TreeDamaged, ValueError, OSError):
            # Not in the tree yet, or its file cannot be read: a page says less then, a proof is refused.
            return None


def _checkpoint(note: bytes) -> Checkpoint:
    return Checkpoint.parse(Note.parse(note).text)


def _row(found: Found) -> m.RecordView:
    line = found.line
    try:
        details = msgspec.json.encode(line.data).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        details = ""
    return m.RecordView(
        seq=line.seq,
        # Nothing that stands in a log may make an answer that fits in no frame.
        kind=line.kind[: m.MAX_ID],
        version=line.version,
        leaf_hash=found.leaf.hex(),
        body_bytes=len(found.record.body),
        at_ms=line.at_ms,
        clock_ms=line.clock_ms,
        actor=line.actor[: 2 * m.MAX_ID],
        source=line.source[: 2 * m.MAX_ID],
        by=None if line.by is None else line.by[: m.MAX_ID],
        trace=None if line.trace is None else line.trace[: m.MAX_ID],
        details=details if 0 < len(details.encode()) <= MOST_DETAILS else None,
    )


def _refused(re: m.RequestId, reason: RefusalReason, subject: str = "", retry_after_s: int | None = None) -> m.Refused:
    said = sentence(reason, subject, retry_after_s)
    return m.Refused(re=re, reason=reason.value, sentence=said[: m.MAX_TEXT], retry_after_s=retry_after_s)
