"""Replaying the events of a log beside its verification: does every hash of the state in it come out again?"""

from __future__ import annotations

import msgspec

from evcharge.audit.control import state_said
from evcharge.audit.event_codec import LoggedEvent, decode
from evcharge.audit.record import Record
from evcharge.audit.verify import Damage
from evcharge.domain.digest import RULES, Digest
from evcharge.domain.evolve import evolve
from evcharge.domain.state import State


class Folding:
    """The state that a log tells, compared with what Central said of it while it wrote."""

    def __init__(self, state: State | None = None) -> None:
        """``state`` to begin with: of a snapshot."""
        self.state = State() if state is None else state
        self.digest = Digest(self.state)
        self.records = 0
        self.compared = 0
        """Hashes that agreed."""
        self.diverged: Damage | None = None
        """The first one that did not."""

    def take(self, record: Record) -> LoggedEvent | None:
        """One good record; its event, if it is one. Raises UnknownKind."""
        self.records += 1
        if self.diverged is not None:
            return None
        try:
            logged = decode(record.body)
            said = state_said(record.body) if logged is None else None
        except msgspec.DecodeError as error:
            self.diverged = Damage("", 0, record.seq, f"the record is no event: {error}")
            return None
        if logged is not None:
            self.digest.touch(logged.event)
            evolve(self.state, logged.event, logged.stamp)
        elif said is not None and said.rules == RULES:
            if said.hash == self.digest.value():
                self.compared += 1
            else:
                self.diverged = Damage("", 0, record.seq, "a replay gives another state than Central had")
        return logged
