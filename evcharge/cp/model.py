"""A connector: contactor, limit, meter and whatever is plugged in. Pure physics on site time; no clock, no I/O.

Power is an integer of watts and constant between changes, time an integer of milliseconds, so energy is exact in
millijoules. ``advance`` jumps from change to change (a taper step, the target, full) and finds each instant to the
millisecond, however long the interval is: at 1,200-fold site time a tick of 0.1 s is two minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from evcharge.cp.vehicle import MJ_PER_WH, Vehicle

PowerSink = Callable[[int, int, int], None]
"""Told about every change of power: (site_ms, connector, power_w)."""

# IEC 61851-1: a vehicle is never offered less than 6 A.
MIN_AMPS = 6


def rating_w(amps: float, volts: float, phases: int) -> int:
    """Watts of a current at phase-to-neutral voltage, rounded down."""
    return int(amps * volts * phases)


class Finished(NamedTuple):
    """The supply ended by itself at this instant of site time."""

    at_ms: int
    reason: str
    """``target_reached`` or ``vehicle_full``."""


class Connector:
    """One connector. Every method acts at ``at_ms``; call ``advance`` first, then change something."""

    def __init__(
        self,
        number: int,
        min_w: int,
        max_w: int,
        *,
        at_ms: int,
        register_mj: int = 0,
        sink: PowerSink | None = None,
    ) -> None:
        self.number = number
        self.min_w = min_w
        self.max_w = max_w
        self.at_ms = at_ms
        self.register_mj = register_mj
        self.vehicle: Vehicle | None = None
        self.closed = False
        self.limit_w = 0
        # Register at which the session has what it asked for; None: no target.
        self.target_mj: int | None = None
        self._sink = sink
        self._reported_w: int | None = None
        self._report()

    @property
    def register_wh(self) -> int:
        """The cumulative meter register in whole watt-hours; the remainder is kept, never rounded away."""
        return self.register_mj // MJ_PER_WH

    @property
    def power_w(self) -> int:
        """The power that flows now. A limit below ``min_w`` is a pause: less cannot be offered to a vehicle.

        The vehicle itself may draw less than ``min_w``, and does near full.
        """
        if not self.closed or self.vehicle is None:
            return 0
        offered_w = min(self.limit_w, self.max_w)
        return 0 if offered_w < self.min_w else min(offered_w, self.vehicle.accepts_w())

    def advance(self, to_ms: int) -> Finished | None:
        """Let site time pass; opens the contactor at the instant when the target is reached or the vehicle full.

        An instant before ``at_ms`` changes nothing: site time does not run backwards.
        """
        done = self._finish()
        while done is None and self.at_ms < to_ms and (power_w := self.power_w) > 0:
            room_mj = self._room_mj()
            elapsed_ms = min(-(-room_mj // power_w), to_ms - self.at_ms)
            # In the millisecond that ends a step only what is left of the step flows.
            energy_mj = min(power_w * elapsed_ms, room_mj)
            assert self.vehicle is not None
            self.vehicle.take(energy_mj)
            self.register_mj += energy_mj
            self.at_ms += elapsed_ms
            done = self._finish()
            self._report()
        self.at_ms = max(self.at_ms, to_ms)
        return done

    def plug(self, vehicle: Vehicle) -> None:
        """A vehicle arrives; the contactor stays as it is, which is open."""
        assert not self.closed
        self.vehicle = vehicle

    def unplug(self) -> None:
        """The vehicle leaves; the contactor opens first."""
        self.open()
        self.vehicle = None

    def close(self, limit_w: int, energy_wh: int | None) -> None:
        """Close the contactor under a limit; ``energy_wh`` is the session's target, None: no target."""
        self.closed = True
        self.limit_w = limit_w
        self.target_mj = None if energy_wh is None else self.register_mj + energy_wh * MJ_PER_WH
        self._report()

    def open(self) -> None:
        """Open the contactor; safe at any time."""
        self.closed = False
        self.limit_w = 0
        self.target_mj = None
        self._report()

    def set_limit(self, limit_w: int) -> None:
        """A new limit in watts, from ``at_ms`` on."""
        self.limit_w = limit_w
        self._report()

    def _room_mj(self) -> int:
        """Millijoules until power changes by itself."""
        assert self.vehicle is not None
        room_mj = self.vehicle.room_mj()
        return room_mj if self.target_mj is None else min(room_mj, self.target_mj - self.register_mj)

    def _finish(self) -> Finished | None:
        """Open the contactor if there is nothing left to deliver."""
        if not self.closed or self.vehicle is None:
            return None
        if self.target_mj is not None and self.register_mj >= self.target_mj:
            reason = "target_reached"
        elif self.vehicle.full:
            reason = "vehicle_full"
        else:
            return None
        self.open()
        return Finished(self.at_ms, reason)

    def _report(self) -> None:
        power_w = self.power_w
        if power_w != self._reported_w:
            self._reported_w = power_w
            if self._sink is not None:
                self._sink(self.at_ms, self.number, power_w)
