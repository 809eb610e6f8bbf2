"""Randomness that is a function of a key: the same instant gives the same value, however often and in what order asked.

A value is drawn from (seed, name, number) alone; nothing remembers what was drawn before.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

# Older shocks than this many correlation times are left out: together they carry less than 1e-4 of the variance.
_REACH = 5
# Knots per correlation time: what is drawn as straight lines differs from the process by less than it moves by itself.
_KNOTS = 6
# Shocks that are kept, a few days of a few sources; only time is saved by it.
_KEPT = 8_192


@lru_cache(maxsize=_KEPT)
def gauss(seed: int, name: str, number: int) -> float:
    """The standard normal variate of this key."""
    return random.Random(f"{seed}/{name}/{number}").gauss(0.0, 1.0)  # noqa: S311 - a simulation, not a secret


def dice(seed: int, name: str) -> random.Random:
    """A generator of its own for this key, for sequences that are always drawn from their beginning."""
    return random.Random(f"{seed}/{name}")  # noqa: S311 - a simulation, not a secret


class Noise:
    """A stationary AR(1) process, mean 0 and variance 1 at its knots, joined by straight lines, so continuous.

    Its autocorrelation falls to 1/e in ``correlation_ms``.
    """

    def __init__(self, seed: int, name: str, correlation_ms: int) -> None:
        """Raises ValueError when the correlation is shorter than its knots can show, that is 6 ms."""
        if correlation_ms < _KNOTS:
            raise ValueError(f"correlation_ms is {correlation_ms}; it is {_KNOTS} or more.")
        self._seed = seed
        self._name = name
        self._step_ms = correlation_ms // _KNOTS
        keep = math.exp(-1 / _KNOTS)
        weights = [keep**age for age in range(_REACH * _KNOTS)]
        norm = math.sqrt(sum(weight * weight for weight in weights))
        self._weights = [weight / norm for weight in weights]

    def at(self, at_ms: int) -> float:
        """The value at an instant, before 1970 too."""
        knot, past_ms = divmod(at_ms, self._step_ms)
        share = past_ms / self._step_ms
        return (1 - share) * self._knot(knot) + share * self._knot(knot + 1)

    def _knot(self, knot: int) -> float:
        return sum(w * gauss(self._seed, self._name, knot - age) for age, w in enumerate(self._weights))


def share(z: float) -> float:
    """The standard normal distribution: turns a variate into one that is even between 0 and 1."""
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))
