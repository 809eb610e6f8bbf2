"""What a gateway or an operator says of the site around the chargers: readings and forecasts.

Handled beside the engine, like telemetry: a reading a second is no history. What is decided on it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from evcharge.central import notices
from evcharge.central.engine import Engine
from evcharge.central.peers import Peer
from evcharge.central.planning import Planning
from evcharge.central.sensors import BASE, BATTERY, GRID, SOLAR, Sensors
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.energy.model import Series
from evcharge.energy.rules import MAX_BATTERY_PERCENT, MAX_GRID_PERCENT, MAX_SOLAR_W
from evcharge.ids import NodeId
from protocol import messages as m

# What the rules believe at most. More is refused, and heard all the same: a sensor that talks nonsense is at once as
# good as none, and the rules do not go on with what it said before.
_BELIEVED: Final = {GRID: MAX_GRID_PERCENT, SOLAR: MAX_SOLAR_W, BATTERY: MAX_BATTERY_PERCENT}


class Surroundings:
    """Takes ``sensor_reading`` and ``set_forecast``, and looks at each ``set_capacity``."""

    def __init__(self, engine: Engine, sensors: Sensors, planning: Planning, dirty: Callable[[NodeId], None]) -> None:
        self._engine, self._sensors, self._planning, self._dirty = engine, sensors, planning, dirty

    def reading(self, peer: Peer, message: m.SensorReading) -> None:
        """A sensor's newest value; a base load is acted on at once."""
        site = self._engine.state.site
        node_id = None
        if message.name == BASE:
            node_id = site.default_node if message.substation_id is None else NodeId(message.substation_id)
        if node_id is not None and node_id not in self._engine.state.nodes:
            self._answer(peer, message.id, RefusalReason.UNKNOWN_SUBSTATION, node_id)
        elif not self._hear(message, node_id):
            self._answer(peer, message.id, RefusalReason.READING_OUT_OF_RANGE, message.name)
        else:
            if node_id is not None:
                self._dirty(node_id)
            self._answer(peer, message.id, None)

    def limit(self, message: m.SetCapacity) -> None:
        """A new limit is on its way to the engine: one that the base load fills leaves a line."""
        node_id = NodeId(message.substation_id)
        notices.limit_cut(self._engine.state, self._sensors.measured_w(), node_id, message.capacity_w)

    def forecast(self, peer: Peer, message: m.SetForecast) -> None:
        """Replaces what Central would expect by itself."""
        self._planning.foretell(message.name, Series(message.start_ms, message.step_ms, tuple(message.values)))
        self._answer(peer, message.id, None)

    def _hear(self, message: m.SensorReading, node_id: NodeId | None) -> bool:
        """Whether it can be true."""
        heard = self._sensors.heard(message.name, node_id, message.value, message.at_ms)
        return heard and message.value <= _BELIEVED.get(message.name, math.inf)

    def _answer(self, peer: Peer, re: m.RequestId | None, reason: RefusalReason | None, subject: str = "") -> None:
        if re is None:
            return
        if reason is None:
            peer.send(m.Reply(re=re))
        else:
            peer.send(m.Refused(reason=reason.value, sentence=sentence(reason, subject), re=re))
