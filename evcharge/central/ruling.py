"""The rule table beside the loop: looks at the sensors each second, and where the site has it so, tells the engine when
the ceiling changes. The newest answer is there for whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from evcharge.central.sensors import Sensors
from evcharge.domain import commands as c
from evcharge.domain.decide import AnyCommand
from evcharge.domain.state import Ruled, RuleInput
from evcharge.energy.rules import Checked, Optimization, RuleSettings, RuleState, Ruling, follow, optimization
from evcharge.net.clock import Clock, human_ms

# How often the rules look, s: as often as a meter speaks.
EVERY_S = 1.0
# After a start the ruling of before holds until sensors had time to come back, s: longer than the first steps of their
# back-off. A pause of all vehicles after each restart would be worse than a ruling that is a few seconds old.
GRACE_S = 15.0
# A ceiling that rises by less is not worth a record: one ampere, as for set-points.
STEP_W = 230


class RuleWatch:
    """Follows the rules for one Central."""

    def __init__(
        self, sensors: Sensors, clock: Clock, execute: Callable[[AnyCommand], None], *, limiting: bool
    ) -> None:
        self._sensors, self._clock, self._execute, self._limiting = sensors, clock, execute, limiting
        self._settings = _settings(clock.speed)
        self._state: RuleState | None = None
        self._told: Ruling | None = None

    async def run(self) -> None:
        """For ever; the owner cancels it."""
        began_s = self._clock.monotonic()
        while True:
            readings = self._sensors.readings()
            if readings.grid_percent is not None or self._clock.monotonic() - began_s > GRACE_S:
                self._state, ruling = follow(self._state, readings, self._clock.site_ms(), self._settings)
                if self._limiting:
                    self._tell(ruling)
            await asyncio.sleep(EVERY_S)

    def answer(self) -> Optimization:
        """What the rules say now, on the readings as they are this moment."""
        _, ruling = follow(self._state, self._sensors.readings(), self._clock.site_ms(), self._settings)
        return optimization(ruling)

    def _tell(self, ruling: Ruling) -> None:
        told = self._told
        if told is not None and (told.mode, told.rule) == (ruling.mode, ruling.rule):
            on_the_way = ruling.ceiling_w < ruling.wanted_w
            if ruling.ceiling_w == told.ceiling_w or (on_the_way and 0 < ruling.ceiling_w - told.ceiling_w < STEP_W):
                return
        self._told = ruling
        self._execute(c.Rule(ruling=ruled(ruling)))


def ruled(ruling: Ruling) -> Ruled:
    """A ruling as the log has it: whole numbers."""
    return Ruled(
        mode=ruling.mode,
        rule=ruling.rule,
        ceiling_w=ruling.ceiling_w,
        wanted_w=ruling.wanted_w,
        inputs=tuple(map(_input, ruling.inputs)),
    )


def _input(checked: Checked) -> RuleInput:
    milli = None if checked.value is None else round(checked.value * 1000)
    return RuleInput(name=checked.name, milli=milli, age_ms=checked.age_ms, fault=checked.fault)


def _settings(speed: float) -> RuleSettings:
    """A fast site clock must not make every reading stale before it is heard."""
    usual = RuleSettings()
    return RuleSettings(
        stale_grid_ms=human_ms(usual.stale_grid_ms / 1000, speed),
        stale_solar_ms=human_ms(usual.stale_solar_ms / 1000, speed),
        stale_battery_ms=human_ms(usual.stale_battery_ms / 1000, speed),
    )
