"""Readings of the site's sensors: newest values with their age, and what they were over the last days.

Live telemetry: not in the state and not in the log by itself. What is decided on it carries the ages.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from evcharge.energy.forecast import History
from evcharge.energy.rules import Reading, Readings
from evcharge.ids import NodeId
from evcharge.net.clock import Clock

# A base-load meter that says nothing for this long counts as what the log remembers of it, seconds (energy.md, L0).
STALE_S: Final = 10.0
# Slots of the history: quarters, as prices and bills have them, over eight days: a week, and the day before it.
STEP_MS: Final = 900_000
SLOTS: Final = 8 * 96
# Largest power that is believed, W: 1 GW, as for capacities.
MAX_READING_W: Final = 1e9

# A reading from further ahead than clocks differ is from now, ms: its clock is wrong, and the history would end there.
AHEAD_MS: Final = 60_000

BASE, SOLAR, GRID, BATTERY = "base_w", "solar_w", "grid_percent", "battery_percent"
TEMPERATURE = "temperature_c"
# The range of what each sensor may say.
RANGES: Final = {
    BASE: (0.0, MAX_READING_W),
    SOLAR: (0.0, MAX_READING_W),
    GRID: (0.0, 1_000.0),
    BATTERY: (0.0, 100.0),
    # Of the air: 57 °C is the most that was ever measured, and no charger stands where it was ever colder.
    TEMPERATURE: (-60.0, 70.0),
}


def rounded_up(value: float) -> int:
    """Whole watts, no less than ``value``."""
    return -int(-value // 1)


class _Newest(NamedTuple):
    value: float
    at_ms: int
    """Site time, as the sensor says."""
    heard_s: float
    """Monotonic."""
    believed: bool
    """Not believed: what counts of it while it is fresh, and never afterwards."""


class Sensors:
    """What was heard, by name and node. Bounded by the nodes that there are: the caller checks that it is one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._newest: dict[tuple[str, NodeId | None], _Newest] = {}
        self._histories: dict[tuple[str, NodeId | None], History] = {}

    def heard(
        self, name: str, node_id: NodeId | None, value: float, at_ms: int | None, most: float | None = None
    ) -> bool:
        """A reading; False: out of range, and nothing was changed. One above ``most`` counts as that while it is fresh,
        is not learnt from, and False too.
        """
        least, largest = RANGES[name]
        believed = most is None or value <= most
        value = value if most is None else min(value, most)
        if not least <= value <= largest:
            return False
        key = (name, node_id)
        now_ms = self._clock.site_ms()
        if at_ms is None or at_ms > now_ms + AHEAD_MS:
            at_ms = now_ms
        # What is told late is as old as it says.
        told_s = self._clock.monotonic() - max(0, now_ms - at_ms) / 1000 / self._clock.speed
        before = self._newest.get(key)
        # One that was held up on its way does not take the place of a newer one, but for a clock that was set back.
        if before is None or told_s >= before.heard_s or self._stale(before):
            self._newest[key] = _Newest(value, at_ms, told_s, believed)
        if believed:
            history = self._histories.setdefault(key, History(STEP_MS, SLOTS))
            history.observe(at_ms, value)
        return believed

    def measured_w(self) -> dict[NodeId, int]:
        """The base load by node, rounded up; none of a meter that went silent."""
        return {node_id: rounded_up(newest.value) for node_id, newest in self._of(BASE) if not self._stale(newest)}

    def believed_w(self, node_id: NodeId) -> int | None:
        """The base load that a meter shows now; None: it is silent, or shows what cannot be true."""
        newest = self._newest.get((BASE, node_id))
        return None if newest is None or self._stale(newest) or not newest.believed else rounded_up(newest.value)

    def base_ages_ms(self) -> dict[NodeId, int]:
        """How old the newest base load is, by node; of silent meters too."""
        return {node_id: self._age_ms(newest) for node_id, newest in self._of(BASE)}

    def forget(self, node_id: NodeId) -> None:
        """Nothing is known of a node's base load any more."""
        self._newest.pop((BASE, node_id), None)
        self._histories.pop((BASE, node_id), None)

    def readings(self) -> Readings:
        """What the rules look at."""
        return Readings(
            solar_w=self.reading(SOLAR), battery_percent=self.reading(BATTERY), grid_percent=self.reading(GRID)
        )

    def reading(self, name: str) -> Reading | None:
        """The newest reading of the site, however old; None: it was never heard."""
        newest = self._newest.get((name, None))
        return None if newest is None else Reading(newest.value, newest.at_ms)

    def age_s(self, name: str) -> float:
        """How old that is, wall seconds; endless where it was never heard."""
        newest = self._newest.get((name, None))
        return math.inf if newest is None else self._clock.monotonic() - newest.heard_s

    def history(self, name: str, node_id: NodeId | None, now_ms: int) -> list[float | None]:
        """Means of the last quarters, oldest first; empty: it was never heard."""
        history = self._histories.get((name, node_id))
        return [] if history is None else history.values(now_ms)

    def known(self, name: str, node_id: NodeId | None, now_ms: int) -> list[float | None]:
        """Means of the last quarters and, for the running one, the newest value; empty: it was never heard."""
        history = self.history(name, node_id, now_ms)
        return [*history, self.newest(name, node_id)] if history else []

    def newest(self, name: str, node_id: NodeId | None) -> float | None:
        """The newest value, however old."""
        found = self._newest.get((name, node_id))
        return None if found is None else found.value

    def ages(self) -> dict[str, int]:
        """How old each newest reading is, ms."""
        return {
            name if node_id is None else f"{name} of {node_id}": self._age_ms(newest)
            for (name, node_id), newest in self._newest.items()
        }

    def _of(self, name: str) -> Iterator[tuple[NodeId, _Newest]]:
        for (each, node_id), newest in self._newest.items():
            if each == name and node_id is not None:
                yield node_id, newest

    def _stale(self, newest: _Newest) -> bool:
        return self._clock.monotonic() - newest.heard_s > STALE_S

    def _age_ms(self, newest: _Newest) -> int:
        return int((self._clock.monotonic() - newest.heard_s) * 1000)
