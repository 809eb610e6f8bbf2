"""A log on the disk, and Central's own answers from it in this process: what a follower sees, without the cipher."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from evcharge.audit.files import OsFiles
from evcharge.audit.journal import Journal
from evcharge.audit.note import Checkpoint, Note
from evcharge.central.recall import Recalled, recall
from evcharge.central.tasks import Tasks
from evcharge.central.translate.following import Following
from protocol import messages as m
from protocol.codec import FROM_SERVER, encode
from protocol.credentials import Role
from protocol.views import AuditStateView, CheckpointView

# Records that may wait for the writer thread while a log is made.
AHEAD = 50_000
# Where an answer's records end while a log "grows" in pieces.
ALL = 1 << 62


class Durable:
    """The journal as ``Following`` sees it: durable up to where the tool lets it be."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.upto = ALL

    @property
    def durable(self) -> int:
        """Highest sequence number that may be read."""
        return min(self.upto, self._journal.durable)


class Served:
    """Answers as Central does."""

    def __init__(self, data: Path, recalled: Recalled) -> None:
        self.journal = Durable(recalled.journal)
        self._attestor = recalled.attestor
        tasks = Tasks(_raise)
        self._following = Following(data / "log", OsFiles(), self.journal, tasks, _ignore)  # type: ignore[arg-type]

    def on_up(self, tell: Callable[[], None]) -> None:
        """There is one channel, and it is up."""
        tell()

    async def ask(self, message: m.Message, timeout_s: float = 5.0) -> m.Reply:
        """An answer that went through the wire's codec."""
        del timeout_s
        if isinstance(message, m.AuditState):
            return m.Reply(re=0, audit_state=self._state())
        assert isinstance(message, m.Follow)
        sent = encode(await asyncio.to_thread(self._following.found, message))
        said = FROM_SERVER[Role.GATEWAY](sent)
        assert isinstance(said, m.Reply), said
        if said.tail is not None and not said.tail.rows:
            await asyncio.sleep(0.01)
        return said

    def _state(self) -> AuditStateView:
        durable = self.journal.durable
        note = self._attestor.checkpoints.newest if self._attestor is not None else None
        checkpoint = None if note is None or self.journal.upto != ALL else self._signed(note)
        return AuditStateView(
            newest_seq=durable, first_seq=1, verified_from=1, verified_to=durable, checkpoint=checkpoint
        )

    def _signed(self, note: bytes) -> CheckpointView:
        assert self._attestor is not None
        text, key = Note.parse(note).text, Note.parse(note).verified(self._attestor.keys)[0]
        said = Checkpoint.parse(text)
        return CheckpointView(
            size=said.size, root=said.root.hex(), note=note.decode(), key=str(key), key_id=key.key_id.hex()
        )


def _raise(error: BaseException) -> None:
    raise error


def make(data: Path, bodies: Iterable[bytes], tell: Callable[[str], None]) -> Recalled:
    """Write a log of these records. Raises OSError."""
    recalled = recall(data, OsFiles(), origin="evcharge/history", entropy=os.urandom)
    journal, failures = recalled.journal, list[BaseException]()
    journal.start(lambda _seq: None, failures.append)
    for number, body in enumerate(bodies):
        journal.append(body)
        if number % 50_000 == 0:
            tell(f"making a log: {number:,} records")
            while journal.last - journal.durable > AHEAD:
                time.sleep(0.01)
    journal.close()
    if failures:
        raise failures[0]
    return recalled


def _ignore(_name: str, _seq: int) -> None:
    """Nobody asks for metrics here."""
