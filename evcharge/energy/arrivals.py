"""Who will come and how long they stay, from sessions that are over. Pure: local time comes in as a function.

The prior is a rate for each hour of the week with the mean energy and stay of those who came then. Survival is the
share of sessions that are still plugged in after a time: Kaplan & Meier's estimate (JASA 53, 1958), so that sessions
that have not ended yet count for as long as they have lasted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

HOURS = 168
_HOUR_MS = 3_600_000
# 1970-01-01 was a Thursday; hour 0 is Monday, 0:00.
_FIRST_HOUR = 3 * 24
# Fewer sessions than this in an hour of the week make no mean of their own.
LEAST_SESSIONS = 5

Offset = Callable[[int], int]
"""UTC milliseconds → how far local time is ahead of UTC, in ms. Daylight saving is its business."""


class Past(NamedTuple):
    """A session of the history."""

    arrival_ms: int
    stay_ms: int
    energy_wh: int
    ended: bool = True
    """False: still plugged in after ``stay_ms``."""


class Expected(NamedTuple):
    """What an hour brings."""

    per_hour: float
    energy_wh: float
    """Mean of one session; 0 when there is no history at all."""
    stay_ms: float


class ArrivalsPrior:
    """Expected arrivals by hour of the week, learnt from what came in [since_ms, until_ms)."""

    def __init__(self, sessions: Sequence[Past], since_ms: int, until_ms: int, offset: Offset) -> None:
        """Sessions outside the span are left out. Raises ValueError for a span that is empty."""
        if since_ms >= until_ms:
            raise ValueError("a history spans some time.")
        self._offset = offset
        exposure_h = [0.0] * HOURS
        at_ms = since_ms
        while at_ms < until_ms:
            # A local hour begins where the offset says; zones with half hours have theirs in between.
            end_ms = min(until_ms, at_ms + _HOUR_MS - (at_ms + offset(at_ms)) % _HOUR_MS)
            exposure_h[self.hour_of_week(at_ms)] += (end_ms - at_ms) / _HOUR_MS
            at_ms = end_ms
        by_hour: list[list[Past]] = [[] for _ in range(HOURS)]
        for session in sessions:
            if since_ms <= session.arrival_ms < until_ms and session.stay_ms > 0 and session.energy_wh >= 0:
                by_hour[self.hour_of_week(session.arrival_ms)].append(session)
        everyone = [session for those in by_hour for session in those]
        self._expected = []
        for hour, those in enumerate(by_hour):
            rate = len(those) / exposure_h[hour] if exposure_h[hour] > 0 else 0.0
            # Too few of that hour: those of the same hour of all days; too few again: all.
            same = [one for day in range(7) for one in by_hour[day * 24 + hour % 24]]
            told = next((group for group in (those, same) if len(group) >= LEAST_SESSIONS), everyone)
            # What is not over yet has neither its energy nor its stay.
            over = [one for one in told if one.ended]
            energy_wh = sum(one.energy_wh for one in over) / len(over) if over else 0.0
            stay_ms = sum(one.stay_ms for one in over) / len(over) if over else 0.0
            self._expected.append(Expected(rate, energy_wh, stay_ms))

    def hour_of_week(self, at_ms: int) -> int:
        """0 to 167 in local time; 0 is Monday, 0:00."""
        return ((at_ms + self._offset(at_ms)) // _HOUR_MS + _FIRST_HOUR) % HOURS

    def at(self, at_ms: int) -> Expected:
        """What the hour that contains an instant brings."""
        return self._expected[self.hour_of_week(at_ms)]

    def by_hour(self) -> tuple[Expected, ...]:
        """All hours of the week from Monday, 0:00."""
        return tuple(self._expected)


class Survival:
    """S(t): the share of sessions that last longer than t."""

    def __init__(self, sessions: Sequence[Past]) -> None:
        """Without sessions nothing is known, and S is 1: nobody is given up for want of a history."""
        stays = sorted((one.stay_ms, one.ended) for one in sessions if one.stay_ms > 0)
        lengths = [stay_ms for stay_ms, _ in stays]
        self._times_ms: list[int] = []
        self._shares: list[float] = []
        left = 1.0
        for stay_ms in sorted({stay_ms for stay_ms, ended in stays if ended}):
            first, last = bisect_left(lengths, stay_ms), bisect_right(lengths, stay_ms)
            # Of those that lasted at least this long, so many ended now.
            ended_now = sum(ended for _, ended in stays[first:last])
            left *= 1 - ended_now / (len(stays) - first)
            self._times_ms.append(stay_ms)
            self._shares.append(left)

    def share(self, after_ms: int) -> float:
        """S(t), 1 at 0 and never rising."""
        index = bisect_right(self._times_ms, after_ms)
        return self._shares[index - 1] if index else 1.0

    def still(self, age_ms: int, after_ms: int) -> float:
        """Chance that a session that has lasted ``age_ms`` lasts ``after_ms`` longer: S(age + after) / S(age).

        One that has outlasted the whole history is judged like one that has just come: nothing else is known of it.
        """
        now = self.share(age_ms)
        return self.share(age_ms + after_ms) / now if now > 0 else self.share(after_ms)
