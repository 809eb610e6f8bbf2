"""Energy over quarters of an hour and busy time over days: whole numbers whose sums are exact."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# The step of the energy's tables, ms: what grids bill and plans are made of.
QUARTER_MS = 900_000
# Longest time over which one amount of energy is spread, ms: a register that was not heard for a week says nothing of
# the hours in between; what came before goes to the first quarter. It bounds what one wrong instant can cost.
SPREAD_MS = 7 * 86_400_000
# Longest busy time of one session, ms: a year and a day, for the same reason.
BUSY_MS = 366 * 86_400_000
# The instants that a calendar knows, ms: 1970 to 9998. Others count as its first or last one.
LAST_MS = 253_370_764_800_000
# Quarters whose day is remembered: a bit more than a month.
REMEMBERED = 4_000


def quarter_of(at_ms: int) -> int:
    """The beginning of the quarter of an hour of an instant."""
    return at_ms - at_ms % QUARTER_MS


def spread(energy_wh: int, since_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
    """(quarter, Wh) of an amount that flowed evenly between two instants; the sum is ``energy_wh``, none is 0.

    Of the quarter at each end it gets its part by time; fractions of a Wh go on to the next quarter.
    """
    since_ms = max(since_ms, until_ms - SPREAD_MS)
    if until_ms <= since_ms:
        if energy_wh:
            yield quarter_of(until_ms), energy_wh
        return
    whole, given, at = until_ms - since_ms, 0, quarter_of(since_ms)
    while at < until_ms:
        behind = min(at + QUARTER_MS, until_ms)
        due = energy_wh * (behind - since_ms) // whole
        if due > given:
            yield at, due - given
        given, at = due, at + QUARTER_MS


class Calendar:
    """Days of the site's time zone, as ``YYYY-MM-DD``."""

    def __init__(self, time_zone: str) -> None:
        """Raises ValueError for a zone that this machine does not know."""
        self.time_zone = time_zone
        try:
            self._zone = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"time_zone {time_zone!r} is not known here; name one like Europe/Berlin") from None
        self._days: dict[int, str] = {}

    def day(self, at_ms: int) -> str:
        """The day of an instant. All zones that are in use change their day at the beginning of a quarter of UTC."""
        quarter = quarter_of(min(max(at_ms, 0), LAST_MS))
        found = self._days.get(quarter)
        if found is None:
            if len(self._days) >= REMEMBERED:
                self._days.clear()
            found = self._days[quarter] = f"{datetime.fromtimestamp(quarter // 1000, self._zone):%Y-%m-%d}"
        return found

    def begin(self, day: date) -> int:
        """The instant at which a day begins."""
        return int(datetime(day.year, day.month, day.day, tzinfo=self._zone).astimezone(UTC).timestamp()) * 1000

    def length(self, day: date) -> int:
        """How long it is, ms: 23, 24 or 25 hours."""
        return self.begin(day + timedelta(days=1)) - self.begin(day)

    def busy(self, since_ms: int, until_ms: int) -> Iterator[tuple[str, int]]:
        """(day, ms) of the time between two instants."""
        at, until_ms = max(since_ms, until_ms - BUSY_MS, 0), min(until_ms, LAST_MS)
        while at < until_ms:
            day = self.day(at)
            behind = min(self.begin(date.fromisoformat(day) + timedelta(days=1)), until_ms)
            if behind <= at:
                # Where a clock is set back at midnight, that midnight comes twice.
                behind = min(at + QUARTER_MS, until_ms)
            yield day, behind - at
            at = behind
