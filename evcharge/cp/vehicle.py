"""A vehicle as the connector sees it: a battery that takes power, less and less of it near full.

All arithmetic is exact: energy is an integer of millijoules (one watt for one millisecond), so that cutting an interval
into any number of ticks gives the same energy to the last unit.

The model. Up to ``taper_from`` of its capacity the battery accepts ``max_w``; above that the accepted power falls
linearly to a floor at full, in ``TAPER_STEPS`` equal steps (constant power inside a step is what makes exact jumps
possible). A vehicle with a *need* stops by itself when that much has been delivered, as a car does whose owner has set
a charge limit; unless told otherwise its battery is large enough, and empty enough at arrival, that the need ends
where the taper begins. So a recorded session of so many kWh can be repeated at the power at which it was recorded.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.messages import MAX_W

# Millijoules (watt-milliseconds) in a watt-hour.
MJ_PER_WH = 3_600_000
# Steps of the taper between ``taper_from`` and full: one per percent of charge with the usual 80 %.
TAPER_STEPS = 20
# Accepted power at full, as a share of ``max_w``: 1/20, about C/50 for a home-charged car.
FLOOR_SHARE = 20
# Battery of a vehicle that says nothing about it, in Wh: a middle-class car of today.
DEFAULT_CAPACITY_WH = 60_000
# Charge at which the taper begins.
DEFAULT_TAPER_FROM = 0.8
# Lowest begin of the taper for which a battery is sized so that a need stays below it.
LEAST_TAPER_FROM = 0.5
# Largest battery that a script may state, in Wh: ten times the largest lorry's. Keeps registers far inside 2^53.
MAX_CAPACITY_WH = 10_000_000


class VehicleSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a script says about a vehicle; everything may be left out. Units stand in the names, ``soc`` is 0 to 1."""

    need_wh: Annotated[int, Meta(ge=1, le=MAX_CAPACITY_WH)] | None = None
    """Stops by itself when this much was delivered; None: charges until full."""
    capacity_wh: Annotated[int, Meta(ge=1000, le=MAX_CAPACITY_WH)] | None = None
    soc: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_w: Annotated[int, Meta(ge=1, le=MAX_W)] | None = None
    """None: whatever the connector gives."""
    taper_from: Annotated[float, Meta(ge=0, le=1)] = DEFAULT_TAPER_FROM


class Vehicle:
    """A battery with a charge and an appetite. Energies in Wh at the door, in millijoules inside."""

    def __init__(
        self,
        capacity_wh: int,
        energy_wh: int,
        max_w: int,
        *,
        need_wh: int | None = None,
        taper_from: float = DEFAULT_TAPER_FROM,
    ) -> None:
        """``energy_wh`` is in the battery already. Raises ValueError when the numbers contradict each other."""
        if capacity_wh <= 0 or max_w <= 0 or not 0 <= energy_wh <= capacity_wh or not 0 <= taper_from <= 1:
            raise ValueError("a vehicle needs capacity and power above 0, and 0 <= energy <= capacity")
        self.capacity_mj = capacity_wh * MJ_PER_WH
        self.energy_mj = energy_wh * MJ_PER_WH
        self.max_w = max_w
        # Where the vehicle stops by itself.
        self.stop_mj = self.capacity_mj
        if need_wh is not None:
            self.stop_mj = min(self.capacity_mj, self.energy_mj + need_wh * MJ_PER_WH)
        start_mj = int(self.capacity_mj * taper_from)
        span_mj = self.capacity_mj - start_mj
        floor_w = max(1, max_w // FLOOR_SHARE)
        # Step i lies below edge i and accepts powers[i]; step 0 is everything before the taper.
        self._edges_mj = [start_mj + span_mj * i // TAPER_STEPS for i in range(TAPER_STEPS + 1)]
        self._powers_w = [max_w] + [
            max_w - (max_w - floor_w) * (2 * i + 1) // (2 * TAPER_STEPS) for i in range(TAPER_STEPS)
        ]

    @classmethod
    def from_spec(cls, spec: VehicleSpec, connector_max_w: int) -> Vehicle:
        """Fill in what the spec leaves out, so that a need ends where the taper begins if that is possible."""
        need_wh = spec.need_wh or 0
        capacity_wh = spec.capacity_wh
        if capacity_wh is None:
            # A taper that begins almost at empty cannot be kept out of the way; no battery is made huge for it.
            below = max(spec.taper_from, LEAST_TAPER_FROM)
            capacity_wh = max(DEFAULT_CAPACITY_WH, -int(-need_wh // below))
        if spec.soc is not None:
            energy_wh = int(capacity_wh * spec.soc)
        else:
            energy_wh = max(0, int(capacity_wh * spec.taper_from) - (need_wh or capacity_wh // 2))
        return cls(
            capacity_wh,
            energy_wh,
            spec.max_w or connector_max_w,
            need_wh=spec.need_wh,
            taper_from=spec.taper_from,
        )

    @property
    def full(self) -> bool:
        """The vehicle takes nothing more."""
        return self.energy_mj >= self.stop_mj

    @property
    def soc_percent(self) -> int:
        """State of charge, 0 to 100, rounded down."""
        return self.energy_mj * 100 // self.capacity_mj

    def accepts_w(self) -> int:
        """The power that the battery would take now, in watts; 0 when full."""
        if self.full:
            return 0
        return self._powers_w[min(bisect_right(self._edges_mj, self.energy_mj), TAPER_STEPS)]

    def room_mj(self) -> int:
        """Millijoules until ``accepts_w`` changes; 0 when full."""
        if self.full:
            return 0
        step = bisect_right(self._edges_mj, self.energy_mj)
        edge_mj = self._edges_mj[step] if step < len(self._edges_mj) else self.stop_mj
        return min(edge_mj, self.stop_mj) - self.energy_mj

    def take(self, energy_mj: int) -> None:
        """Put energy into the battery; never more than ``room_mj``."""
        assert 0 <= energy_mj <= self.room_mj()
        self.energy_mj += energy_mj
