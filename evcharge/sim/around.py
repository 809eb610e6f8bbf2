"""What surrounds the chargers of a site: a building, a roof of modules, a battery, and the grid above them.

The battery keeps what the roof gives and the building does not need, and gives it back when the building draws more
than the roof: the control that home and office batteries come with. It knows nothing of the chargers.
"""

from __future__ import annotations

from typing import NamedTuple

from evcharge.sim.grid import GridLoad, LoadSpec
from evcharge.sim.solar import Solar, SolarSite
from evcharge.sim.storage import Storage, StorageSpec

# Between two orders to the battery, ms: the inverter follows the meter, and a minute is as fine as its level shows.
STEP_MS = 60_000
# Charge at the beginning, percent: half, so that the first hours show both ways.
START_PERCENT = 50.0


class AroundReading(NamedTuple):
    """What the site's sensors say, under the names of ``sensor_reading``."""

    base_w: int
    """What the building draws, rounded up: it is never understated, and no help of roof or battery is counted."""
    solar_w: int
    battery_percent: float
    grid_percent: float


class Around:
    """The surroundings of one site; time only goes forward."""

    def __init__(
        self, seed: int, *, at_ms: int, base_w: int, roof: SolarSite, battery: StorageSpec, utc_offset_ms: int
    ) -> None:
        """``base_w`` is the most that the building draws. Raises ValueError when that is below 0."""
        if base_w < 0:
            raise ValueError("base_w is 0 or more.")
        self._base_w = base_w
        self._building = GridLoad(seed, "building", LoadSpec(peak_share=0.85, utc_offset_ms=utc_offset_ms))
        self._grid = GridLoad(seed, "grid", LoadSpec(utc_offset_ms=utc_offset_ms))
        self._roof = Solar(seed, "roof", roof)
        self._battery = Storage(battery, percent=START_PERCENT, at_ms=at_ms)
        self._next_ms = at_ms

    def read(self, at_ms: int) -> AroundReading:
        """The sensors at an instant. Raises ValueError for one before the last."""
        while self._next_ms <= at_ms:
            self._battery.order(self._next_ms, self._roof.power_w(self._next_ms) - self._load_w(self._next_ms))
            self._next_ms += STEP_MS
        percent = self._battery.read(at_ms).percent
        return AroundReading(self._load_w(at_ms), self._roof.power_w(at_ms), percent, self._grid.percent(at_ms))

    def _load_w(self, at_ms: int) -> int:
        """Never more than the building's connection lets through."""
        return min(self._base_w, -int(-self._building.percent(at_ms) * self._base_w // 100))
