"""What became of the changes of one kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Outcome = Literal["found", "harmless", "witness", "uncovered", "silent"]
"""found: `verify` names damage. harmless: every reader gets what was written. witness: another past, and a peer that
has kept a checkpoint proves it. uncovered: only records that no checkpoint covers are others. silent: another past."""

# Silent changes that are kept to be reproduced; more of them tell nothing new.
SHOWN = 20


class Verdict(NamedTuple):
    """What became of one change."""

    outcome: Outcome
    why: str = ""
    exact: bool = False
    """Found, and at the very place that was changed."""
    concerned: int = 0
    """Records above every checkpoint that anybody has."""
    restarted: bool = False
    """A start of Central was tried on it."""
    refused: bool = False
    """It refused."""
    alarm: bool = False
    """Nothing is wrong with the log, and a witness's checkpoint was taken as proof that something is."""


@dataclass
class Row:
    """The changes of one kind, counted."""

    name: str
    what: str
    tried: int = 0
    found: int = 0
    exact: int = 0
    harmless: Counter[str] = field(default_factory=Counter)
    """By reason."""
    witness: int = 0
    uncovered: int = 0
    concerned: int = 0
    """Most records that were uncovered at a time."""
    restarts: int = 0
    refused: int = 0
    alarms: int = 0
    silent: int = 0
    reproduce: list[tuple[str, str]] = field(default_factory=list)
    """For `--only`, and what went wrong; the first ones."""

    def count(self, verdict: Verdict, only: str) -> None:
        """One more."""
        self.tried += 1
        self.found += verdict.outcome == "found"
        self.exact += verdict.exact
        if verdict.outcome == "harmless":
            self.harmless[verdict.why] += 1
        self.witness += verdict.outcome == "witness"
        self.uncovered += verdict.outcome == "uncovered"
        self.concerned = max(self.concerned, verdict.concerned)
        self.restarts += verdict.restarted
        self.refused += verdict.refused
        self.alarms += verdict.alarm
        if verdict.outcome == "silent":
            self.silent += 1
            self.reproduce = [*self.reproduce, (only, verdict.why)][:SHOWN]

    def add(self, other: Row) -> None:
        """The same kind, counted elsewhere."""
        for name in ("tried", "found", "exact", "witness", "uncovered", "restarts", "refused", "alarms", "silent"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.harmless += other.harmless
        self.concerned = max(self.concerned, other.concerned)
        self.reproduce = [*self.reproduce, *other.reproduce][:SHOWN]
