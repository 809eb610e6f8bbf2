"""The highest mean power of a quarter of an hour in a month: what a demand charge is paid for.

What was measured, and never more: a peak that is put too high makes a real bill higher, one that is put too low only
makes vehicles wait. So energy counts from one meter reading to the next within a quarter, and what nobody measured
counts as none. Pure: time comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from evcharge.energy.arrivals import Offset
from evcharge.energy.planner import COARSE_MS as QUARTER_MS
from evcharge.units import MS_PER_HOUR

# Longer between two looks, ms, and nobody knows what else drew or what the sun made: a fifteenth of a quarter.
LONGEST_GAP_MS = 60_000
# Of a quarter at least so much was looked at, ms: half. Of less the mean says little, and the next quarter comes soon.
LEAST_KNOWN_MS = QUARTER_MS // 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def month_of(at_ms: int, offset: Offset) -> str:
    """``2026-11``: the month of an instant, in local time."""
    local = _EPOCH + timedelta(milliseconds=at_ms + offset(at_ms))
    return f"{local.year:04}-{local.month:02}"


class Metered(NamedTuple):
    """A meter reading of a session."""

    at_ms: int
    energy_wh: int


class Peak(NamedTuple):
    """The highest mean power so far."""

    month: str
    watts: int
    """Rounded down."""
    at_ms: int
    """When its quarter ended."""


class _Quarter(msgspec.Struct):
    energy_wms: int = 0
    """Watt-milliseconds: whole numbers add up without an error."""
    known_ms: int = 0
    usable: bool = True


class Peaks:
    """Of one site. ``look`` comes every few seconds; a quarter counts when the next one has begun."""

    def __init__(self, offset: Offset) -> None:
        self._offset = offset
        self._metered: dict[str, Metered] = {}
        self._quarters: dict[int, _Quarter] = {}
        """The running one, and while ``look`` works those that ended since the last."""
        self._since_ms = 0
        """The first look."""
        self._seen_ms: int | None = None
        self._around_w: int | None = None
        self._peak: Peak | None = None

    def look(self, now_ms: int, metered: Mapping[str, Metered], around_w: int | None) -> None:
        """``metered``: the newest reading of each session, none from after now; ``around_w``: what all else draws, less
        what is made there, from now until the next look. None: not known, and no quarter that has some of it counts.
        """
        if self._seen_ms is not None and now_ms < self._seen_ms:
            # The clock was set back: nothing of before can be told from what comes now.
            self._quarters, self._metered, self._seen_ms = {}, {}, None
        if self._seen_ms is None:
            self._since_ms = now_ms
        else:
            self._surround(self._seen_ms, now_ms)
        self._charge(metered)
        self._seen_ms, self._around_w = now_ms, around_w
        for number in sorted(self._quarters):
            if number < now_ms // QUARTER_MS:
                self._close(number, self._quarters.pop(number))

    def peak(self, now_ms: int) -> Peak | None:
        """Of the month that runs at ``now_ms``; None: no quarter of it was measured."""
        found = self._peak
        return found if found is not None and found.month == month_of(now_ms, self._offset) else None

    def _quarter(self, number: int) -> _Quarter:
        return self._quarters.setdefault(number, _Quarter())

    def _surround(self, since_ms: int, now_ms: int) -> None:
        """What else drew between two looks."""
        if since_ms == now_ms:
            return
        if self._around_w is None or now_ms - since_ms > LONGEST_GAP_MS:
            for at_ms in (since_ms, now_ms - 1):
                self._quarter(at_ms // QUARTER_MS).usable = False
            return
        while since_ms < now_ms:
            number = since_ms // QUARTER_MS
            until_ms = min(now_ms, (number + 1) * QUARTER_MS)
            quarter = self._quarter(number)
            quarter.energy_wms += self._around_w * (until_ms - since_ms)
            quarter.known_ms += until_ms - since_ms
            since_ms = until_ms

    def _charge(self, metered: Mapping[str, Metered]) -> None:
        """What was charged since the readings of before; over the end of a quarter nobody knows in which of the two."""
        # A quarter that was closed stays so, and what was charged before the first look has no surroundings.
        since_ms = max(self._since_ms, (self._seen_ms or 0) // QUARTER_MS * QUARTER_MS)
        kept = {}
        for session_id, newest in metered.items():
            before = self._metered.get(session_id)
            if before is not None and newest.at_ms < before.at_ms:
                newest = before
            elif before is not None:
                number = newest.at_ms // QUARTER_MS
                # A meter that fell and comes back has not measured the same energy twice.
                newest = Metered(newest.at_ms, max(newest.energy_wh, before.energy_wh))
                if number == before.at_ms // QUARTER_MS and before.at_ms >= since_ms:
                    self._quarter(number).energy_wms += (newest.energy_wh - before.energy_wh) * MS_PER_HOUR
            kept[session_id] = newest
        self._metered = kept

    def _close(self, number: int, quarter: _Quarter) -> None:
        if not quarter.usable or quarter.known_ms < LEAST_KNOWN_MS:
            return
        watts = quarter.energy_wms // QUARTER_MS
        month = month_of(number * QUARTER_MS, self._offset)
        if self._peak is None or self._peak.month != month or watts > self._peak.watts:
            self._peak = Peak(month, watts, (number + 1) * QUARTER_MS)
