"""Who of the substations reports its health, and who has fallen silent: that counts as lost (SPEC §7.6).

Like ``liveness``: one entry in the timer wheel per substation and no work per report beside noting the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from evcharge.domain.commands import ReportNode
from evcharge.ids import NodeId
from evcharge.net.clock import Clock
from evcharge.net.timers import Timer, TimerWheel


class Heard(NamedTuple):
    """The newest report."""

    at_s: float
    """Monotonic seconds."""
    load_w: int | None
    """What it says that flows through it."""


class Substations:
    """Watches those that have reported since the start, until an operator says that they do not any more; ``report``
    hears of one silent for ``silence_s`` seconds.

    What reported before a restart is not awaited: the gateway may have been taken away meanwhile, and what was lost is
    so still.
    """

    def __init__(
        self, timers: TimerWheel, clock: Clock, silence_s: float, report: Callable[[ReportNode], None]
    ) -> None:
        self._timers = timers
        self._clock = clock
        self._silence_s = silence_s
        self._report = report
        self._heard: dict[NodeId, Heard] = {}
        self._watched: dict[NodeId, Timer] = {}

    def heard(self, node_id: NodeId, load_w: int | None) -> None:
        """It reported just now."""
        now_s = self._clock.monotonic()
        self._heard[node_id] = Heard(now_s, load_w)
        if node_id not in self._watched:
            self._set(node_id, now_s + self._silence_s)

    def forget(self, node_id: NodeId) -> None:
        """It is not awaited any more, until it reports again."""
        timer = self._watched.pop(node_id, None)
        if timer is not None:
            self._timers.cancel(timer)
        self._heard.pop(node_id, None)

    def reading_of(self, node_id: NodeId) -> tuple[int, int] | None:
        """The load of its newest report, W, and how old that is, ms; None: it tells none."""
        heard = self._heard.get(node_id)
        if heard is None or heard.load_w is None:
            return None
        return heard.load_w, int((self._clock.monotonic() - heard.at_s) * 1000)

    def _set(self, node_id: NodeId, deadline_s: float) -> None:
        self._watched[node_id] = self._timers.schedule(deadline_s, lambda: self._look(node_id))

    def _look(self, node_id: NodeId) -> None:
        silent_s = self._clock.monotonic() - self._heard[node_id].at_s
        if silent_s < self._silence_s:
            self._set(node_id, self._heard[node_id].at_s + self._silence_s)
            return
        # The next report begins anew.
        del self._watched[node_id]
        self._report(ReportNode(node_id=node_id, ok=False, cause=f"silent for {silent_s:.1f} s", silent=True))
