"""A clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable

from evcharge.net.timers import TimerWheel

START_MS = 1_763_683_200_000


class ManualClock:
    """Implements ``evcharge.net.clock.Clock``. Whatever is ``watch``ed runs its due timers when time moves."""

    def __init__(self, monotonic_s: float = 1000.0, utc_ms: int = START_MS, speed: float = 1.0) -> None:
        self.speed = speed
        self._now_s = self._start_s = monotonic_s
        self._utc_ms = utc_ms
        self._site_ms = float(utc_ms)
        self._watched: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        return self._now_s

    def steady_ms(self) -> int:
        return self._utc_ms + round((self._now_s - self._start_s) * 1000)

    def site_ms(self) -> int:
        return int(self._site_ms)

    def watch(self, timers: TimerWheel) -> TimerWheel:
        """Run the timers of this wheel whenever time is moved."""
        self._watched.append(timers.run_due)
        return timers

    def advance(self, seconds: float) -> None:
        """Move all clocks; site time moves ``speed`` times as far. Due timers run before this returns."""
        self._now_s += seconds
        self._site_ms += seconds * 1000 * self.speed
        for run_due in self._watched:
            run_due()

    def advance_site(self, seconds: float) -> None:
        """Move site time alone."""
        self._site_ms += seconds * 1000
