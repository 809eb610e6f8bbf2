"""How long somebody stays who has not said it: S(t), the share of sessions that last longer than t.

Kaplan, Meier: Nonparametric Estimation from Incomplete Observations, 1958: who has not left yet counts for as long as
he stayed. Few sessions say little, so beside them count ``PRIOR_SESSIONS`` of a typical kind, of which as many leave in
each hour whenever they came. Without any history that is all there is: nobody is kept waiting as if he stayed for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from evcharge.energy.lp import Floats
from evcharge.units import MS_PER_HOUR

# Mean stay before anything is known: a typical charge of 12 kWh at the 6 kW that a shared connector gives.
PRIOR_STAY_MS = 2 * MS_PER_HOUR
# How many sessions that is worth: after a day or two of a small site its own sessions say more.
PRIOR_SESSIONS = 10
# Below this a share is rounding: a session of days.
_NOTHING = 1e-12


class Survival:
    """S(t) of these sessions."""

    def __init__(self, stays: Iterable[tuple[int, bool]]) -> None:
        """``stays``: each one's length, ms, and whether it has ended."""
        known = sorted((stay_ms, ended) for stay_ms, ended in stays if stay_ms > 0)
        lengths = np.array([stay_ms for stay_ms, _ in known], dtype=np.int64)
        ends = np.array([ended for _, ended in known], dtype=np.bool_)
        self._times_ms, ended_then = np.unique(lengths[ends], return_counts=True)
        at_risk = len(lengths) - np.searchsorted(lengths, self._times_ms, side="left")
        self._shares = np.concatenate(([1.0], np.cumprod(1.0 - ended_then / np.maximum(at_risk, 1))))
        self._prior = PRIOR_SESSIONS / (PRIOR_SESSIONS + len(lengths))

    def share(self, after_ms: Floats) -> Floats:
        """S(t), 1 at 0 and never rising."""
        seen = self._shares[np.searchsorted(self._times_ms, after_ms, side="right")]
        typical = np.exp(-np.maximum(0.0, after_ms) / PRIOR_STAY_MS)
        return np.asarray((1.0 - self._prior) * seen + self._prior * typical, dtype=np.float64)

    def still(self, age_ms: int, after_ms: Floats) -> Floats:
        """Chance that a session that has lasted ``age_ms`` lasts ``after_ms`` longer: S(age + after) / S(age).

        One that has outlasted the whole history is judged by the typical kind alone.
        """
        now = float(self.share(np.array([max(0, age_ms)], dtype=np.float64))[0])
        if now < _NOTHING:
            return np.asarray(np.exp(-np.maximum(0.0, after_ms) / PRIOR_STAY_MS), dtype=np.float64)
        return np.asarray(self.share(max(0, age_ms) + after_ms) / now, dtype=np.float64)
