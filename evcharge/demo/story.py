"""What the demo learns from Central's log while it is written: the plan, the reasons, who waited, whom to ask about.

Anybody who may read the log can: these are the records that ``evcharge-audit why`` tells from, in its own sentences.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from evcharge.audit.event_codec import decode
from evcharge.audit.files import ReadOnly
from evcharge.audit.follow import Follower
from evcharge.domain import events as e
from evcharge.domain.reasons import Basis, Constraint, sentence
from evcharge.domain.words import LeftCause
from evcharge.energy.model import Plan

# What holds a vehicle back although it could take more; the others say that it needs no more, or cannot have more.
HELD_BACK = frozenset({Constraint.CAPACITY, Constraint.PLAN, Constraint.RULE, Constraint.WORST_CASE, Constraint.MINIMA})
# A session whose story has about so many set-points is a good example: something happened, and it fits on a screen.
GOOD_STORY = 6


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The newest set-point of a session."""

    limit_w: int
    basis: Basis | None

    @property
    def sentence(self) -> str:
        """What binds, in words; without the ages of readings and what was rejected, which the log has."""
        if self.basis is None:
            return ""
        return sentence(msgspec.structs.replace(self.basis, inputs=(), rejected=()))


class Story:
    """Follows a log from its beginning; ``look`` reads what is new."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan: Plan | None = None
        self.plans = 0
        self.failed_plans = 0
        self.told: dict[str, Told] = {}
        """By session, as long as it is open."""
        self.queued: set[str] = set()
        self.left: Counter[LeftCause] = Counter()
        self.refused: dict[str, int] = {}
        """Driver → how often."""
        self._held: Counter[str] = Counter()
        """Session → set-points that held it back."""
        self._steps: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._short: dict[str, bool] = {}
        """Driver that was refused → whether for want of power."""
        self._follower = Follower(folder, ReadOnly())

    @property
    def waited(self) -> int:
        """How many stood in line."""
        return len(self.queued)

    @property
    def served(self) -> int:
        """How many of them charged."""
        return self.left[LeftCause.SERVED]

    def look(self) -> None:
        """Read what is new. Raises OSError."""
        for record in self._follower.records():
            logged = decode(record.body)
            if logged is not None:
                self._take(logged.event)

    def limited_session(self) -> str | None:
        """The id of a session with a ticket that was held back, the one that is best to read; None: there was none."""
        found = [(abs(self._steps[each] - GOOD_STORY), each) for each in self._held if each in self._ended]
        return min(found)[1] if found else None

    def refused_driver(self) -> str | None:
        """A driver who was refused: for want of power if there is one, and not a hundred times if there is another."""
        found = [(not self._short[each], times, each) for each, times in self.refused.items()]
        return min(found)[2] if found else None

    def commands(self) -> tuple[str, ...]:
        """What explains both, to be typed into a shell."""
        about = [each for each in (self.limited_session(), self.refused_driver()) if each is not None]
        return tuple(f"evcharge-audit why {self.folder} {each}" for each in about)

    def _take(self, event: e.Event) -> None:
        match event:
            case e.PlanAdopted():
                self.plan = event.plan
                self.plans += 1
            case e.PlanFailed():
                self.failed_plans += 1
            case e.SetPointIssued():
                session_id = event.session_id
                self.told[session_id] = Told(limit_w=event.grant.limit_w, basis=event.basis)
                self._steps[session_id] += 1
                if event.basis is not None and event.basis.bound.constraint in HELD_BACK:
                    self._held[session_id] += 1
            case e.TicketIssued():
                self.told.pop(event.ticket.session_id, None)
                self._ended.add(event.ticket.session_id)
            case e.ChargeQueued():
                self.queued.add(event.waiting_id)
            case e.QueueLeft():
                self.left[event.cause] += 1
            case e.ChargeRefused():
                self.refused[event.driver_id] = self.refused.get(event.driver_id, 0) + 1
                self._short[event.driver_id] = self._short.get(event.driver_id, False) or event.basis is not None
            case _:
                pass
