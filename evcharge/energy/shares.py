"""Equal share of one limit among connectors: pure numbers.

x_i = clip(λ, min_i, max_i) with the largest whole λ whose sum fits. With equal minima this is max-min fairness
(Bertsekas & Gallager, Data Networks, ch. 6.5.2); the minima are IEC 61851's 6 A, below which a vehicle does not charge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Demand(NamedTuple):
    """What one connector can use: below ``min_w`` nothing, above ``max_w`` no more."""

    min_w: int
    max_w: int


def equal_share(capacity_w: int, demands: Sequence[Demand]) -> list[int]:
    """Watts for each demand, in order; the sum never exceeds ``capacity_w``.

    When the minima do not fit (a limit that was cut), the first demands keep theirs and the rest get 0.
    """
    granted = _those_whose_minima_fit(capacity_w, demands)
    if not granted:
        return [0] * len(demands)
    level = _level(capacity_w, [demands[i] for i in granted])
    shares = [0] * len(demands)
    for i in granted:
        shares[i] = _clip(level, demands[i])
    return shares


def _those_whose_minima_fit(capacity_w: int, demands: Sequence[Demand]) -> list[int]:
    granted = []
    left_w = capacity_w
    for i, demand in enumerate(demands):
        if demand.max_w > 0 and demand.min_w <= left_w:
            granted.append(i)
            left_w -= demand.min_w
    return granted


def _level(capacity_w: int, demands: Sequence[Demand]) -> int:
    """The largest λ whose sum fits, at most the largest maximum: fill up from the minima, one bend after the other.

    Between two bends each connector that has reached its minimum, and not its maximum, takes one watt per watt of λ.
    """
    bends = [(demand.min_w, 1) for demand in demands]
    bends += [(max(demand.min_w, demand.max_w), -1) for demand in demands]
    bends.sort()
    level, slope = 0, 0
    left_w = capacity_w - sum(demand.min_w for demand in demands)
    for bend, turn in bends:
        if slope * (bend - level) > left_w:
            return level + left_w // slope
        left_w -= slope * (bend - level)
        level = bend
        slope += turn
    return level


def _clip(level: int, demand: Demand) -> int:
    return min(max(level, demand.min_w), max(demand.min_w, demand.max_w))
