"""From Central's answers to messages: every record once and in order, and never one of another log."""

from __future__ import annotations

from collections.abc import Container
from hashlib import sha256

import msgspec

from evcharge.events.keys import Keys
from evcharge.events.message import Format, Message, message_of
from evcharge.events.position import Position
from evcharge.events.troubles import Kind, Trouble
from evcharge.net.tail import Batch, Record


class Taken(msgspec.Struct, frozen=True):
    """What one answer brought."""

    messages: list[Message]
    missed: int = 0
    """Records that were archived before they could be published."""
    verified: bool | None = None
    """Whether the record at the position is still the one that was published; None: that was known already.
    False: it is not there any more, or its hash is not known."""


class Course:
    """Where the reading of a log is. It begins at a position that was published, and goes on with what it took."""

    def __init__(self, position: Position, keys: Keys, log_name: str, form: Format, *, told: bool = False) -> None:
        """``told``: nobody has published up to ``position``; ``--after`` says so."""
        self.seq = position.seq
        """The last record that was taken."""
        self.verify_seq = position.seq
        """The record that was, or is to be, compared with the one that was published."""
        self._sha256 = position.sha256
        self._keys = keys
        self._log_name = log_name
        self._form = form
        self._told_seq = position.seq if told else None
        self._to_verify = self.seq > 0

    @property
    def after_seq(self) -> int:
        """Behind which record to ask: the last one that was taken comes once more, to be compared."""
        return max(0, self.seq - 1)

    def ask_again(self) -> None:
        """The next answer begins at ``after_seq`` again, perhaps of another log."""
        self._to_verify = self.seq > 0
        self.verify_seq = self.seq

    def comparable(self, first_seq: int, newest_seq: int) -> bool:
        """Whether there is a record to compare in a log that goes from ``first_seq`` to ``newest_seq``.

        Raises:
            Trouble: it ends before that record.
        """
        if newest_seq < self.seq:
            raise self._shorter(newest_seq)
        return first_seq <= self.seq

    def take(self, batch: Batch, cut: Container[int] = ()) -> Taken:
        """The messages of what is new in ``batch``; of the records in ``cut`` small ones that stand for them.

        Raises:
            Trouble: this is another log.
        """
        records, verified = batch.records, None
        if batch.newest_seq < self.seq:
            raise self._shorter(batch.newest_seq)
        if self._to_verify and records:
            self._to_verify = False
            verified = records[0].seq == self.seq and self._verify(records[0])
            records = [record for record in records if record.seq > self.seq]
        missed = max(0, records[0].seq - self.seq - 1) if records else 0
        messages = [
            message_of(record, self._keys, self._log_name, self._form, cut=record.seq in cut) for record in records
        ]
        if messages:
            self.seq, self._sha256 = messages[-1].seq, messages[-1].digest.hex()
        return Taken(messages, missed, verified)

    def _verify(self, record: Record) -> bool:
        found = sha256(record.body).hexdigest()
        if self._sha256 is not None and found != self._sha256:
            raise Trouble(
                Kind.OTHER_LOG,
                f"Central's log is another one than that published as {self._log_name!r}: its record {record.seq} "
                f"differs. {_WHAT_TO_DO}",
            )
        known = self._sha256 is not None
        self._sha256 = found
        return known

    def _shorter(self, newest_seq: int) -> Trouble:
        if self.seq == self._told_seq:
            return Trouble(
                Kind.AFTER_AHEAD,
                f"--after {self.seq} is behind the newest record of Central's log, {newest_seq}: nothing is published. "
                "Start with the number of a record that is there; without --after it begins at the first.",
            )
        return Trouble(
            Kind.OTHER_LOG,
            f"Central's log ends at record {newest_seq}, and record {self.seq} of the log {self._log_name!r} is "
            f"published: it lost its end, or is another one. {_WHAT_TO_DO}",
        )


_WHAT_TO_DO = (
    "Nothing of it is published. Point --central at the right one; or, when the log was replaced for good, give the "
    "new one a name of its own with --log NAME, and it is published from its beginning."
)
