"""The month's highest power of each tree, for the demand charge: looked at every few seconds, remembered by the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from evcharge.central.sensors import SOLAR, Sensors, rounded_up
from evcharge.central.site_entries import EnergyEntry
from evcharge.central.telemetry import Telemetry
from evcharge.domain import commands as c
from evcharge.domain.decide import AnyCommand
from evcharge.domain.demand import root_of, roots
from evcharge.domain.peaks import known_base_w
from evcharge.domain.state import State
from evcharge.energy.peaks import Metered, Peaks, month_of
from evcharge.ids import NodeId
from evcharge.net.clock import Clock

# How often it is looked, s of site time: what is charged between the last look of a quarter and the first of the next
# is lost, half a per cent. The least between two, s of wall time, where site time runs fast.
EVERY_S = 5.0
LEAST_S = 0.2
# What the sun makes counts as its newest reading for so long, ms of site time: the planner's shortest period.
SUN_MS = 300_000


class Billed(NamedTuple):
    """What the demand charge of the running month is paid for already."""

    watts: int
    at_ms: int
    """When that was measured."""


class PeakWatch:
    """Gathers what the meters say while there is a demand charge."""

    def __init__(
        self,
        state: Callable[[], State],
        sensors: Sensors,
        telemetry: Telemetry,
        energy: EnergyEntry,
        clock: Clock,
        execute: Callable[[AnyCommand], None],
        sun_is_told: Callable[[], bool],
    ) -> None:
        self._state, self._sensors, self._telemetry, self._energy = state, sensors, telemetry, energy
        self._clock, self._execute, self._sun_is_told = clock, execute, sun_is_told
        self._peaks: dict[NodeId, Peaks] = {}
        # A site that had a sensor of the sun before a restart still has the sun while that is silent.
        self._sunny = any(one.name == SOLAR for plan in state().plans.values() for one in plan.inputs)

    async def run(self) -> None:
        """For ever; the owner cancels it."""
        if not self._energy.demand_charge_per_kw:
            return
        while True:
            self.look()
            await asyncio.sleep(max(LEAST_S, EVERY_S / self._clock.speed))

    def look(self) -> None:
        """Take what is known now; a peak that rose noticeably is remembered."""
        state, now_ms = self._state(), self._clock.site_ms()
        metered, measured_w, made_w = self._metered(now_ms), self._sensors.measured_w(), self._made_w(now_ms)
        for root in roots(state):
            if root not in self._peaks:
                self._peaks[root] = Peaks(self._energy.offset)
            around_w = None if made_w is None else known_base_w(state, root, measured_w) - made_w
            self._peaks[root].look(now_ms, metered.get(root, {}), around_w)
            peak = self._peaks[root].peak(now_ms)
            if peak is not None and peak.watts > self._remembered_w(root, peak.month):
                self._execute(c.NotePeak(node_id=root, month=peak.month, peak_w=peak.watts))

    def billed(self, root: NodeId, now_ms: int) -> Billed | None:
        """Of the month that runs now; None: nothing is known of it, or there is no demand charge."""
        if not self._energy.demand_charge_per_kw:
            return None
        node, month = self._state().nodes[root], month_of(now_ms, self._energy.offset)
        peaks = self._peaks.get(root)
        peak = None if peaks is None else peaks.peak(now_ms)
        kept_w = self._remembered_w(root, month)
        if peak is not None and peak.watts >= kept_w:
            return Billed(peak.watts, peak.at_ms)
        return Billed(kept_w, node.peak_ms or now_ms) if kept_w else None

    def _remembered_w(self, root: NodeId, month: str) -> int:
        node = self._state().nodes[root]
        return node.peak_w if node.peak_month == month else 0

    def _metered(self, now_ms: int) -> dict[NodeId, dict[str, Metered]]:
        """The newest reading of each session, with when it was heard, by tree."""
        state, now_s = self._state(), self._clock.monotonic()
        found: dict[NodeId, dict[str, Metered]] = {}
        for node_id, node in state.nodes.items():
            if node.sessions:
                here = found.setdefault(root_of(state, node_id), {})
                for session_id in node.sessions:
                    live = self._telemetry.live_of(session_id)
                    if live is not None:
                        ago_ms = int((now_s - live.heard_s) * 1000 * self._clock.speed)
                        here[session_id] = Metered(now_ms - max(0, ago_ms), live.energy_wh)
        return found

    def _made_w(self, now_ms: int) -> int | None:
        """What sun and battery give at most, as far as is known; None: there is a sun, and nobody knows how much."""
        battery = self._energy.battery
        # Nobody measures what it gives: it may be all it can.
        stored_w = 0 if battery is None else rounded_up(battery.discharge_kw * 1000)
        sun = self._sensors.readings().solar_w
        if sun is not None and sun.value is not None:
            self._sunny = True
            return stored_w + rounded_up(sun.value) if now_ms - sun.at_ms <= SUN_MS else None
        return None if self._sunny or self._sun_is_told() else stored_w
