"""Counting that costs an addition: plain integers, which somebody reads now and then (docs/metrics.md).

One thread writes to each of these; others may read meanwhile and see an addition a moment late, never half of one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

# Where what was too many different things to keep apart is counted.
OTHER = "other"
# Upper ends of the buckets of everything that takes time here, seconds: a sync of a fast disk takes 0.2 ms, and
# whoever waits for 10 s has given up.
LATENCY_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Buckets:
    """A histogram: how many values were at most each of ``bounds``, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_S) -> None:
        """``bounds`` rise; what is above the last one is counted too."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """All there were."""
        return sum(self.counts)


class Bounded(Counter[str]):
    """Counts by name, of at most ``most`` names: what further ones there are is counted as ``OTHER``."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def note(self, name: str, count: int = 1) -> None:
        """``count`` more of this name."""
        if name not in self and len(self) >= self._most:
            name = OTHER
        self[name] += count


class Rising:
    """The highest value seen: a sum that a correction may lower, as a counter that never falls.

    Prometheus takes a counter that falls for one that began anew, and would count all of it once more.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def at(self, value: float) -> float:
        """The highest so far, this one included."""
        self.value = max(self.value, value)
        return self.value
