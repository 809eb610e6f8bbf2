"""The thermometer beside the loop: looks at it each second, and where the site asks for that, tells the engine what the
heat leaves of the nodes' limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from evcharge.central.sensors import STALE_S, TEMPERATURE, Sensors
from evcharge.domain import commands as c
from evcharge.domain.decide import AnyCommand
from evcharge.domain.state import Derated, State
from evcharge.energy.derating import Derating, settled, share_of
from evcharge.energy.rules import Fault
from evcharge.net.clock import Clock, human_ms
from evcharge.units import Millis

log = structlog.get_logger()

# How often it is looked at, s: as often as the rules look.
EVERY_S = 1.0
# A temperature holds for so long, s: three polls of a weather service that is asked every ten minutes. In half an hour
# the air warms by a degree or two, and what the limits protect by less.
STALE_TEMPERATURE_S = 1_800.0
# The log has a reading that is at most so old, s, though the share be the same: after a restart it holds until a source
# is back, and the log is all that is known then.
RENEW_S = 900.0
# After a start the reading of before holds for so long whatever its age, s: sources come back by then.
GRACE_S = 15.0


class HeatWatch:
    """Follows the temperature for one Central; where ``line`` is None nobody asked for it."""

    def __init__(
        self,
        state: Callable[[], State],
        sensors: Sensors,
        clock: Clock,
        execute: Callable[[AnyCommand], None],
        line: Derating | None,
    ) -> None:
        self._state, self._sensors, self._clock, self._execute, self._line = state, sensors, clock, execute, line
        self._began_s = clock.monotonic()
        self._missed = False

    async def run(self) -> None:
        """For ever, or at once not at all; the owner cancels it."""
        while self._line is not None:
            self.look()
            await asyncio.sleep(EVERY_S)

    def look(self) -> None:
        """Compare what the thermometer says now with what the log has."""
        known, line = self._state().derated, self._line
        if known is None or line is None:
            return
        found = self._found(known, line)
        if found is None:
            return
        if self._missed != (found.fault is not None):
            self._missed = not self._missed
            self._tell(found)
        same = found.share == known.share and found.fault == known.fault
        if same and not self._is_old(known, found):
            return
        self._execute(c.Derate(derated=found))

    def _found(self, known: Derated, line: Derating) -> Derated | None:
        """What holds by the newest reading; None: that of before the start holds on."""
        newest = self._sensors.reading(TEMPERATURE)
        # What is told late is as old as it says; and a fast site clock makes nothing stale before it can be told again.
        patience_s = max(STALE_TEMPERATURE_S / self._clock.speed, STALE_S)
        if newest is not None and newest.value is not None and self._sensors.age_s(TEMPERATURE) <= patience_s:
            # Towards the heat, so that the limit is never above what the reading says.
            milli_c = -int(-newest.value * 1000 // 1)
            share = settled(known.share, share_of(milli_c, line), line.least)
            return Derated(share=share, milli_c=milli_c, at_ms=Millis(newest.at_ms))
        if newest is None and known.at_ms is not None and self._holds(known.at_ms):
            return None
        share = settled(known.share, share_of(None, line), line.least)
        return Derated(share=share, fault=Fault.MISSING if newest is None else Fault.STALE)

    def _holds(self, at_ms: int) -> bool:
        """Whether a reading of before the start still says something."""
        if self._clock.monotonic() - self._began_s <= GRACE_S:
            return True
        return 0 <= self._clock.site_ms() - at_ms <= human_ms(STALE_TEMPERATURE_S, self._clock.speed)

    def _is_old(self, known: Derated, found: Derated) -> bool:
        if known.at_ms is None or found.at_ms is None:
            return False
        return found.at_ms - known.at_ms >= human_ms(RENEW_S, self._clock.speed)

    def _tell(self, found: Derated) -> None:
        if found.fault is None:
            log.info("temperature.known", sentence="it is known again how hot it is.")
            return
        percent = found.share / 10
        sentence = f"nobody says how hot it is: the limits count as in the heat that is assumed, at {percent:g} %."
        log.warning("temperature.unknown", fault=found.fault.value, sentence=sentence)
