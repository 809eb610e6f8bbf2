"""Records on their way into the history: the fold, the chain of hashes, and the position that goes with both. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from evcharge.net.tail import Batch, Record
from evcharge.sidecar.history.changes import Changes
from evcharge.sidecar.history.fold import Fold
from evcharge.sidecar.history.memory import Memory, Site
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import Position, record_hash
from evcharge.sidecar.live.chain import BadState, Chain, Verdict


class OtherLog(Exception):
    """Central's log is not the one that the history was made of; the text is one sentence."""


_ADVICE = "stop the sidecar and run 'evcharge-sidecar history rebuild' to begin anew with the log that is there"


class Course:
    """From where the history ends; what ``drain`` gives is to be written in one transaction."""

    def __init__(self, position: Position, memory: Memory, calendar: Calendar) -> None:
        self.chain = _chain(position)
        """None: records are missing, so nothing can be compared."""
        self._fold = Fold(memory, calendar)
        self._position = position
        self._stored = position
        self._checked = position.seq == 0
        self._last: Record | None = None

    @property
    def seq(self) -> int:
        """Of the last record that was taken."""
        return self._fold.seq

    @property
    def waiting(self) -> int:
        """How many records are taken and not yet drained."""
        return self._fold.waiting

    @property
    def verdict(self) -> Verdict:
        """Whether what was taken is what Central signed."""
        if self.chain is not None:
            return self.chain.verdict
        sentence = "Records were archived before they were read here: the rest cannot be compared with what was signed."
        return Verdict(None, 0, sentence)

    def take(self, batch: Batch) -> int:
        """The next records; those that were taken before are passed over. Returns how many are missing before them.

        The first batch has to begin with the last record that was taken, where that is still there.

        Raises:
            OtherLog, Misplaced
        """
        self._check(batch)
        missing = self._leap(batch.records)
        for record in batch.records:
            if record.seq <= self._fold.seq:
                continue
            self._fold.take(record)
            self._last = record
            if self.chain is not None:
                self.chain.add(record)
        return missing

    def drain(self) -> tuple[Changes, Position, Site]:
        """What has changed, the position behind it, and the site as it is remembered."""
        last, position = self._last, self._position
        if last is not None:
            chain = b"" if self.chain is None else self.chain.state()
            first_seq = position.first_seq or 1
            position = msgspec.structs.replace(
                position, seq=last.seq, first_seq=first_seq, last_hash=record_hash(last), chain=chain
            )
        self._position, self._last = position, None
        return self._fold.drain(), position, self._fold.memory.site

    def _check(self, batch: Batch) -> None:
        """Raises OtherLog."""
        seq = self._fold.seq
        if batch.newest_seq < seq:
            raise OtherLog(
                f"Central's log ends with record {batch.newest_seq}, and the history with {seq}: it lost its end or is "
                f"another one; {_ADVICE}."
            )
        if self._checked or not batch.records:
            return
        self._checked = True
        first = batch.records[0]
        if first.seq == seq and record_hash(first) != self._stored.last_hash:
            raise OtherLog(f"Record {seq} of Central's log is not the one that the history ends with; {_ADVICE}.")

    def _leap(self, records: Sequence[Record]) -> int:
        """Records that were archived before they came here are left out."""
        missing = records[0].seq - self._fold.seq - 1 if records else 0
        if missing <= 0:
            return 0
        if self._position.first_seq == 0:
            self._position = msgspec.structs.replace(self._position, first_seq=records[0].seq)
        else:
            self._position = msgspec.structs.replace(self._position, missing=self._position.missing + missing)
        self._fold.skip_to(records[0].seq)
        self.chain = None
        return missing


def _chain(position: Position) -> Chain | None:
    if position.first_seq > 1 or position.missing:
        return None
    if not position.chain:
        return Chain() if position.seq == 0 else None
    try:
        return Chain.restore(position.chain)
    except BadState:
        return None
