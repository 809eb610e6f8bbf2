"""The only place that reads a clock.

Two clocks rule evcharge. *Site time* is what the domain, the simulators and the log's instants use; tests drive it and
the demo makes it run fast. *Monotonic* and *steady* time rule the wire: liveness, leases, time-outs. Steady time is UTC
read once at start and carried on by the monotonic clock, so a step of the machine's clock cannot expire a lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

# Shortest wall time that a human-scale deadline may shrink to when site time runs fast, in seconds.
MIN_HUMAN_WALL_S = 2.0
# How often a frozen site clock looks whether it was started, in seconds.
_POLL_S = 0.05


class Clock(Protocol):
    """What the shells ask for; tests pass a clock that they advance by hand."""

    speed: float

    def monotonic(self) -> float:
        """Seconds that never step; for the wire."""
        ...

    def steady_ms(self) -> int:
        """UTC milliseconds that never step while the process lives; the channel clock's base."""
        ...

    def site_ms(self) -> int:
        """Site time, UTC milliseconds."""
        ...


class SiteClockFile(msgspec.Struct, frozen=True, kw_only=True):
    """A clock shared by the processes of one machine: frozen at ``site_ms`` until ``start_monotonic`` is known.

    ``CLOCK_MONOTONIC`` is one and the same in all processes of a machine, so they agree to the microsecond.
    """

    site_ms: int
    speed: float
    start_monotonic: float | None = None

    def write(self, path: Path) -> None:
        """Replace the file in one step, so that a reader sees the old clock or the new one."""
        draft = path.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.encode(self))
        draft.replace(path)


class SystemClock:
    """The real clocks; with a clock file, site time follows that file."""

    def __init__(self, site_file: Path | None = None) -> None:
        # The function itself: it is asked several times for every message.
        self.monotonic: Callable[[], float] = time.monotonic
        self._anchor_ms = time.time_ns() // 1_000_000
        self._anchor_s = time.monotonic()
        self._file = site_file
        self._site = None if site_file is None else _read(site_file)
        self._looked_s = self._anchor_s
        self.speed = 1.0 if self._site is None else self._site.speed

    def steady_ms(self) -> int:
        return self._anchor_ms + int((time.monotonic() - self._anchor_s) * 1000)

    def site_ms(self) -> int:
        if self._site is None:
            return self.steady_ms()
        now_s = time.monotonic()
        if self._site.start_monotonic is None and self._file is not None and now_s - self._looked_s > _POLL_S:
            self._looked_s = now_s
            self._site = _read(self._file)
        start_s = self._site.start_monotonic
        if start_s is None or now_s <= start_s:
            return self._site.site_ms
        return self._site.site_ms + int((now_s - start_s) * 1000 * self._site.speed)


def human_ms(seconds: float, speed: float) -> int:
    """Site milliseconds of a human-scale deadline, lengthened so that it lasts at least 2 s of wall time."""
    return int(max(seconds, MIN_HUMAN_WALL_S * speed if speed > 1 else 0.0) * 1000)


def site_instant(clock: Clock, utc_ms: int) -> int:
    """The site time of an instant of UTC; one that has not come yet is now."""
    return clock.site_ms() - int(max(0, clock.steady_ms() - utc_ms) * clock.speed)


def _read(path: Path) -> SiteClockFile:
    return msgspec.json.decode(path.read_bytes(), type=SiteClockFile)
