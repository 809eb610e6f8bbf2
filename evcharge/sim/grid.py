"""Grid load and substations: a daily profile with noise, and failures that are repaired.

Each figure is a function of seed, name and instant; ``next_change_ms`` says when to look again.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import NamedTuple

import msgspec

from evcharge.sim.noise import Noise, dice

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
# 1970-01-01 was a Thursday; Monday is 0.
_FIRST_WEEKDAY = 3
# Loads of a neighbourhood wander within the hour.
LOAD_MS = 45 * 60_000
# Shape of a day, hour by hour, 1 at its peak: households and offices, a shoulder at noon and the peak at 19 h.
DAY_SHAPE = (
    0.55, 0.51, 0.48, 0.47, 0.48, 0.53, 0.63, 0.74, 0.79, 0.80, 0.80, 0.81,
    0.82, 0.80, 0.78, 0.78, 0.82, 0.91, 0.98, 1.00, 0.96, 0.87, 0.75, 0.63,
)  # fmt: skip
# Offices are closed on weekends.
WEEKEND_SHARE = 0.88


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A load's size; percent and shares are of the capacity."""

    peak_share: float = 0.8
    """Load at the peak of an average weekday."""
    noise_share: float = 0.05
    """One standard deviation around the profile."""
    utc_offset_ms: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.peak_share <= 2 and 0 <= self.noise_share <= 1):
            raise ValueError("peak_share is 0 to 2, noise_share 0 to 1.")


class GridLoad:
    """The load of a grid in percent of what it carries; above 100 it is overloaded."""

    def __init__(self, seed: int, name: str, spec: LoadSpec | None = None) -> None:
        self.spec = spec or LoadSpec()
        self._noise = Noise(seed, f"{name}/load", LOAD_MS)

    def percent(self, at_ms: int) -> float:
        """Load at an instant; 0 or more."""
        expected = self.spec.peak_share * profile(at_ms + self.spec.utc_offset_ms)
        return max(0.0, 100 * (expected + self.spec.noise_share * self._noise.at(at_ms)))


def profile(local_ms: int) -> float:
    """Expected load of an instant of local time, 1 at a weekday's peak; straight lines between the hours."""
    hour, past_ms = divmod(local_ms, _HOUR_MS)
    share = past_ms / _HOUR_MS
    return _hour_shape(hour) * (1 - share) + _hour_shape(hour + 1) * share


def _hour_shape(hour: int) -> float:
    day, of_day = divmod(hour, 24)
    weekend = (day + _FIRST_WEEKDAY) % 7 >= 5
    return DAY_SHAPE[of_day] * (WEEKEND_SHARE if weekend else 1.0)


class Outage(NamedTuple):
    """Down from ``start_ms`` until just before ``end_ms``."""

    start_ms: int
    end_ms: int


class Outages:
    """Failures that come by themselves: exponential times up and down, drawn in their order from the beginning."""

    def __init__(self, seed: int, name: str, *, start_ms: int, mean_up_ms: int, mean_down_ms: int) -> None:
        """Up at ``start_ms`` and before. Raises ValueError unless both means are above 0."""
        if mean_up_ms <= 0 or mean_down_ms <= 0:
            raise ValueError("mean times up and down are above 0.")
        self._dice = dice(seed, f"{name}/outages")
        self._mean_up_ms, self._mean_down_ms = mean_up_ms, mean_down_ms
        # Instants of change; those with an even index go down. Only ever extended, so a question changes nothing.
        self._changes = [self._after(start_ms, mean_up_ms)]

    def down(self, at_ms: int) -> bool:
        """Whether it is out at an instant."""
        return self._passed(at_ms) % 2 == 1

    def next_change_ms(self, at_ms: int) -> int:
        """When it next fails or recovers, after an instant."""
        return self._changes[self._passed(at_ms)]

    def _passed(self, at_ms: int) -> int:
        while self._changes[-1] <= at_ms:
            mean_ms = self._mean_down_ms if len(self._changes) % 2 else self._mean_up_ms
            self._changes.append(self._after(self._changes[-1], mean_ms))
        return bisect_right(self._changes, at_ms)

    def _after(self, at_ms: int, mean_ms: int) -> int:
        # At least a millisecond, so that every state is seen.
        return at_ms + max(1, round(self._dice.expovariate(1 / mean_ms)))


class SubstationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A substation with what else hangs on it."""

    substation_id: str
    capacity_w: int
    base: LoadSpec = msgspec.field(default_factory=lambda: LoadSpec(peak_share=0.4, noise_share=0.03))
    mean_up_ms: int | None = None
    """Mean time between failures; None: none come by themselves."""
    mean_down_ms: int = 30 * 60_000
    """Mean time to repair: switching over by hand."""
    scripted: tuple[Outage, ...] = ()
    """Outages of a drill, in their order."""


class SubstationReading(NamedTuple):
    """What a substation reports; one that is down reports nothing."""

    capacity_w: int
    base_w: int
    """Load that is not charging, rounded up: what is left is never overstated. It may exceed the capacity."""


class Substation:
    """One substation."""

    def __init__(self, seed: int, spec: SubstationSpec, *, start_ms: int) -> None:
        """Raises ValueError for scripted outages that are empty or out of order, or a capacity below 0."""
        if spec.capacity_w < 0:
            raise ValueError("capacity_w is 0 or more.")
        times = [at_ms for outage in spec.scripted for at_ms in outage]
        if any(a >= b for a, b in pairwise(times)):
            raise ValueError("scripted outages end after they start, and start after the one before them ended.")
        self.spec = spec
        self._load = GridLoad(seed, spec.substation_id, spec.base)
        self._scripted_ms = times
        self._outages: Outages | None = None
        if spec.mean_up_ms is not None:
            self._outages = Outages(
                seed,
                spec.substation_id,
                start_ms=start_ms,
                mean_up_ms=spec.mean_up_ms,
                mean_down_ms=spec.mean_down_ms,
            )

    def online(self, at_ms: int) -> bool:
        """Whether it is in service."""
        scripted = bisect_right(self._scripted_ms, at_ms) % 2 == 1
        return not scripted and (self._outages is None or not self._outages.down(at_ms))

    def read(self, at_ms: int) -> SubstationReading | None:
        """What it reports; None while it is down: there is nobody to answer."""
        if not self.online(at_ms):
            return None
        base_w = -int(-self._load.percent(at_ms) * self.spec.capacity_w // 100)
        return SubstationReading(self.spec.capacity_w, base_w)

    def next_change_ms(self, at_ms: int) -> int | None:
        """The first instant after this one at which it may go down or come back; None: it never does."""
        index = bisect_right(self._scripted_ms, at_ms)
        changes = self._scripted_ms[index : index + 1]
        if self._outages is not None:
            changes.append(self._outages.next_change_ms(at_ms))
        return min(changes, default=None)
