"""What those who wait hear while nothing is decided: their place and their time, when these have changed noticeably.

Nothing of it is a record: each is worked out anew from what is in the log.
"""

from __future__ import annotations

from collections.abc import Callable

from evcharge.central.engine import Engine
from evcharge.domain.state import State
from evcharge.domain.waiting_views import WaitingView, all_waiting
from evcharge.domain.words import Stamp

# Shortest time between two such messages to one who waits, seconds: a telephone shows a time, it does not count down.
TELL_S = 10.0
# A time that moved by less than this, ms, or by a tenth of what is left, is the same to a person.
NOTICED_MS = 60_000
NOTICED_PART = 10


class WaitingNews:
    """``look`` is called with every look at the site; ``tell`` sends one message to the driver, if it is there."""

    def __init__(self, engine: Engine, tell: Callable[[WaitingView], None], monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._tell = tell
        self._monotonic = monotonic
        self._told: dict[str, tuple[float, WaitingView]] = {}
        self._looked_s = float("-inf")

    def look(self) -> None:
        """Tell what is worth telling, all that it shows being durable."""
        now_s = self._monotonic()
        if not self._engine.state.waiting:
            self._told.clear()
        elif now_s - self._looked_s >= 1.0:
            # Many looks a second, each over everybody who waits, would tell nobody anything.
            self._looked_s = now_s
            self._engine.ask(_views, self._compare)

    def _compare(self, found: tuple[int, list[WaitingView]]) -> None:
        now_ms, views = found
        now_s = self._monotonic()
        told: dict[str, tuple[float, WaitingView]] = {}
        for view in views:
            before = self._told.get(view.waiting_id)
            if before is None:
                # It has just heard its place as the answer to its request, or at its connection.
                told[view.waiting_id] = (now_s, view)
            elif now_s - before[0] >= TELL_S and noticed(before[1], view, now_ms):
                told[view.waiting_id] = (now_s, view)
                self._tell(view)
            else:
                told[view.waiting_id] = before
        self._told = told


def noticed(before: WaitingView, now: WaitingView, now_ms: int) -> bool:
    """Whether a person would call it news. An offer and an end are told when they happen."""
    if now.state != "WAITING":
        return False
    if (before.place, before.reason) != (now.place, now.reason):
        return True
    if before.eta_ms is None or now.eta_ms is None:
        return before.eta_ms != now.eta_ms
    left_ms = max(0, now.eta_ms - now_ms)
    return abs(now.eta_ms - before.eta_ms) >= max(NOTICED_MS, left_ms // NOTICED_PART)


def _views(state: State, stamp: Stamp) -> tuple[int, list[WaitingView]]:
    return stamp.at_ms, all_waiting(state, stamp.at_ms)
