"""Replaying the events of a log beside its verification: does every hash of the state in it come out again?"""

from __future__ import annotations

import msgspec

from evcharge.audit.control import state_said
from evcharge.audit.event_codec import decode
from evcharge.audit.record import Record
from evcharge.audit.verify import Damage
from evcharge.domain.digest import RULES, Digest
from evcharge.domain.evolve import evolve
from evcharge.domain.state import State


class Folding:
    """The state that a log tells, compared with what Central said of it while it wrote."""

    def __init__(self) -> None:
        self.state = State()
        self.compared = 0
        """Hashes that agreed."""
        self.diverged: Damage | None = None
        """The first one that did not."""
        self._digest = Digest(self.state)

    def take(self, record: Record) -> None:
        """One good record. Raises UnknownKind."""
        if self.diverged is not None:
            return
        try:
            logged = decode(record.body)
            said = state_said(record.body) if logged is None else None
        except msgspec.DecodeError as error:
            self.diverged = Damage("", 0, record.seq, f"the record is no event: {error}")
            return
        if logged is not None:
            self._digest.touch(logged.event)
            evolve(self.state, logged.event, logged.stamp)
        elif said is not None and said.rules == RULES:
            if said.hash == self._digest.value():
                self.compared += 1
            else:
                self.diverged = Damage("", 0, record.seq, "a replay gives another state than Central had")
