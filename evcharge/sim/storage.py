"""A stationary battery: told a power, it gives what its charge and its losses allow, exact at any instant.

State changes only when something is ordered; a question is answered from the last order, so asking changes nothing.
Powers and energies are at the terminals of the site: charging stores ``efficiency`` of them, discharging takes 1 /
``efficiency`` out of the cells.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

_MS_PER_H = 3_600_000
# Less room than this is rounding: one watt moves 280 times as much in a millisecond.
_NOTHING_WH = 1e-9


class StorageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A battery's rating."""

    capacity_wh: int
    charge_w: int
    discharge_w: int
    efficiency: float = 0.95
    """Of one way; there and back is its square."""
    least: float = 0.1
    """Charge that is never gone below, 0 to 1."""
    most: float = 1.0

    def __post_init__(self) -> None:
        if self.capacity_wh <= 0 or self.charge_w < 0 or self.discharge_w < 0:
            raise ValueError("a battery has capacity above 0 and powers from 0 up.")
        if not 0 < self.efficiency <= 1 or not 0 <= self.least <= self.most <= 1:
            raise ValueError("efficiency is above 0 and at most 1, and 0 <= least <= most <= 1.")


class StorageReading(NamedTuple):
    """A battery at an instant."""

    percent: float
    """Charge, 0 to 100."""
    power_w: int
    """What flows now: positive in, negative out."""
    charged_wh: float
    """Register of everything that went in, at the terminals."""
    discharged_wh: float


class Storage:
    """One battery; orders come in the order of time."""

    def __init__(self, spec: StorageSpec, *, percent: float, at_ms: int) -> None:
        """Raises ValueError when ``percent`` is outside the battery's bounds."""
        if not spec.least * 100 <= percent <= spec.most * 100:
            raise ValueError(f"percent is {percent}; this battery keeps {spec.least:.0%} to {spec.most:.0%}.")
        self.spec = spec
        self._at_ms = at_ms
        self._stored_wh = spec.capacity_wh * percent / 100
        self._power_w = 0
        self._charged_wh = 0.0
        self._discharged_wh = 0.0

    def order(self, at_ms: int, power_w: int) -> int:
        """Charge (positive) or discharge from now on; the rated power caps it. Returns what flows.

        Raises ValueError for an instant before the last order.
        """
        if at_ms < self._at_ms:
            raise ValueError(f"an order for {at_ms} comes after one for {self._at_ms}.")
        stored_wh, charged_wh, discharged_wh, _ = self._state(at_ms)
        self._stored_wh, self._charged_wh, self._discharged_wh = stored_wh, charged_wh, discharged_wh
        self._at_ms = at_ms
        self._power_w = max(-self.spec.discharge_w, min(self.spec.charge_w, power_w))
        return self.read(at_ms).power_w

    def read(self, at_ms: int) -> StorageReading:
        """The battery at an instant since the last order. Raises ValueError for an earlier one."""
        stored_wh, charged_wh, discharged_wh, flows = self._state(at_ms)
        percent = min(self.spec.most * 100, max(self.spec.least * 100, stored_wh / self.spec.capacity_wh * 100))
        return StorageReading(percent, self._power_w if flows else 0, charged_wh, discharged_wh)

    def next_change_ms(self) -> int | None:
        """The first millisecond in which it is full or empty under the present order; None: it never is."""
        if self._power_w == 0:
            return None
        return self._at_ms + max(0, math.ceil((self._room_wh() - _NOTHING_WH) * _MS_PER_H / abs(self._power_w)))

    def _room_wh(self) -> float:
        """What can still flow under the present order, at the terminals."""
        spec = self.spec
        if self._power_w >= 0:
            return max(0.0, spec.most * spec.capacity_wh - self._stored_wh) / spec.efficiency
        return max(0.0, self._stored_wh - spec.least * spec.capacity_wh) * spec.efficiency

    def _state(self, at_ms: int) -> tuple[float, float, float, bool]:
        """(stored, charged, discharged, whether power flows) at an instant."""
        if at_ms < self._at_ms:
            raise ValueError(f"{at_ms} is before the last order, {self._at_ms}.")
        wished_wh = abs(self._power_w) * (at_ms - self._at_ms) / _MS_PER_H
        room_wh = self._room_wh()
        moved_wh = min(wished_wh, room_wh)
        flows = self._power_w != 0 and wished_wh + _NOTHING_WH < room_wh
        if self._power_w >= 0:
            stored_wh = self._stored_wh + moved_wh * self.spec.efficiency
            return stored_wh, self._charged_wh + moved_wh, self._discharged_wh, flows
        stored_wh = self._stored_wh - moved_wh / self.spec.efficiency
        return stored_wh, self._charged_wh, self._discharged_wh + moved_wh, flows
