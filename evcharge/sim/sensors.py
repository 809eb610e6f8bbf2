"""The sensors of a simulated site, asked by the names of ``sensor_reading``: for who knows no simulator but a function.

The day begins with the battery half full, so who starts at noon and who has run since morning see the same.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from evcharge.sim.around import Around, AroundReading
from evcharge.sim.solar import SolarSite
from evcharge.sim.storage import StorageSpec

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS

Power = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class SimulatedSite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is simulated around the chargers: by default a small company with a roof of modules and a battery."""

    seed: int = 1
    base_w: Power = 30_000
    """The most that the building draws."""
    solar_w: Power = 60_000
    """Rated power of the roof."""
    latitude: Annotated[float, Meta(ge=-90, le=90)] = 50.0
    longitude: Annotated[float, Meta(ge=-180, le=180)] = 10.0
    battery_wh: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 80_000
    battery_w: Power = 40_000
    utc_offset_h: Annotated[float, Meta(ge=-12, le=14)] = 1.0


class SimulatedSensors:
    """Calling it gives a sensor's value at an instant of site time; None for one that is not simulated."""

    def __init__(self, site: SimulatedSite) -> None:
        self._site = site
        self._offset_ms = int(site.utc_offset_h * _HOUR_MS)
        self._around: Around | None = None
        self._at_ms = 0
        self._told: AroundReading | None = None

    def __call__(self, name: str, site_ms: int) -> float | None:
        if name not in AroundReading._fields:
            return None
        return float(getattr(self._read(site_ms), name))

    def _read(self, site_ms: int) -> AroundReading:
        if self._around is None or site_ms > self._at_ms + _DAY_MS:
            # A clock that jumped: the days between are not lived through, the new one begins as every day does.
            self._around = self._start(site_ms - (site_ms + self._offset_ms) % _DAY_MS)
        elif self._told is not None and site_ms <= self._at_ms:
            # Time of a simulation only goes forward; a clock that was set back sees what was last.
            return self._told
        self._at_ms = site_ms
        self._told = self._around.read(site_ms)
        return self._told

    def _start(self, at_ms: int) -> Around:
        site = self._site
        return Around(
            site.seed,
            at_ms=at_ms,
            base_w=site.base_w,
            roof=SolarSite(latitude=site.latitude, longitude=site.longitude, peak_w=site.solar_w),
            battery=StorageSpec(capacity_wh=site.battery_wh, charge_w=site.battery_w, discharge_w=site.battery_w),
            utc_offset_ms=self._offset_ms,
        )
