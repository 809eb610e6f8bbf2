"""The rule table as ceilings of sessions.

A rule is a ceiling of what the allocator may give, never a permission: limits of nodes hold beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from evcharge.energy.allocate import URGENT_LAXITY, laxity
from evcharge.energy.cars import MOST_W
from evcharge.energy.model import Session
from evcharge.energy.rules import GRID_PAUSE_PERCENT, Rule

# Share of the site's limit that the rules leave to charging: their own pause begins above it, and a pause that
# charging itself brings about comes and goes for ever.
SOFT_CAP = GRID_PAUSE_PERCENT / 100

_PAUSES = (Rule.GRID_HIGH, Rule.GRID_RECOVERING)


class Ceiling(Protocol):
    """What there is to know of a ruling."""

    @property
    def rule(self) -> Rule: ...

    @property
    def ceiling_w(self) -> int: ...


def ceilings_w(now_ms: int, sessions: Sequence[Session], ruling: Ceiling | None) -> dict[str, float]:
    """Ceiling by session id; nothing for any where there is no ruling.

    Who cannot wait any longer has none but its rating; while the grid is loaded its smallest current, because anybody
    can say that he is in a hurry; and none at all while the grid is not seen: nothing says then that it can take more.
    """
    ceilings: dict[str, float] = {}
    for session in sessions:
        left = laxity(session, now_ms)
        if ruling is None:
            ceilings[session.id] = 0.0
        elif ruling.rule is not Rule.GRID_UNKNOWN and left is not None and left < URGENT_LAXITY:
            most_w = session.min_w if ruling.rule in _PAUSES else session.max_w
            ceilings[session.id] = float(min(session.max_w, max(most_w, ruling.ceiling_w), MOST_W))
        else:
            ceilings[session.id] = float(min(session.max_w, ruling.ceiling_w))
    return ceilings
