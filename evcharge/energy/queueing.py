"""How long one waits for a connector: from the real queue where it is known, from rates where it is not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace

# Most cars ahead in one queue that are counted out one by one: ten times the largest charging park in service.
MAX_QUEUE = 10_000


def wait_in_queue(remaining_s: Sequence[float], ahead: int, mean_stay_s: float | None) -> float | None:
    """Seconds until the connector is free for whoever comes after ``ahead`` others; no connector is free now.

    The k-th smallest expected remaining time with k = ``ahead`` + 1. A connector is free again ``mean_stay_s`` after
    the next one took it; without that figure each gets free once, and None says that there are too few of them.
    """
    if ahead < 0 or ahead > MAX_QUEUE:
        return None
    if mean_stay_s is None:
        return sorted(remaining_s)[ahead] if ahead < len(remaining_s) else None
    return Turns(remaining_s, mean_stay_s).wait_s(ahead)


class Turns:
    """``wait_in_queue`` for many who wait for the same connectors: each turn is worked out once."""

    def __init__(self, remaining_s: Sequence[float], mean_stay_s: float) -> None:
        self._free_s = list(remaining_s)
        heapify(self._free_s)
        self._mean_stay_s = mean_stay_s
        self._turns_s: list[float] = []

    def wait_s(self, ahead: int) -> float | None:
        """Seconds until the turn of whoever comes after ``ahead`` others; None: nobody can tell."""
        if ahead < 0 or ahead > MAX_QUEUE or not self._free_s:
            return None
        while len(self._turns_s) <= ahead:
            next_s = self._free_s[0]
            self._turns_s.append(next_s)
            heapreplace(self._free_s, next_s + self._mean_stay_s)
        return self._turns_s[ahead]


def erlang_c_wait(arrivals_per_h: float, mean_stay_s: float, connectors: int) -> float | None:
    """Expected wait in seconds of an M/M/c queue whose state is not known; None when it grows without bound.

    Erlang's delay formula by the recursion of the loss formula, which neither overflows nor cancels: Cooper,
    Introduction to Queueing Theory, ch. 3.
    """
    if connectors < 1:
        return None
    offered = arrivals_per_h * mean_stay_s / 3_600
    if offered >= connectors:
        return None
    loss = 1.0
    for k in range(1, connectors + 1):
        loss = offered * loss / (k + offered * loss)
    delayed = connectors * loss / (connectors - offered * (1 - loss))
    return delayed * mean_stay_s / (connectors - offered)
