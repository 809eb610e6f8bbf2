"""What a gateway or an operator says of the site around the chargers: readings and forecasts.

Handled beside the engine, like telemetry: a reading a second is no history. What is decided on it is, and what a base
load was at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import structlog

from evcharge.central import notices
from evcharge.central.engine import Engine
from evcharge.central.peers import Peer
from evcharge.central.planning import Planning
from evcharge.central.sensors import BASE, BATTERY, GRID, SOLAR, Sensors, rounded_up
from evcharge.domain import commands as c
from evcharge.domain.meters import most_believed_w
from evcharge.domain.reasons import kw
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.energy.model import Series
from evcharge.energy.rules import MAX_BATTERY_PERCENT, MAX_GRID_PERCENT, MAX_SOLAR_W
from evcharge.ids import NodeId
from protocol import messages as m

log = structlog.get_logger()

# What the rules believe at most. More is refused, and heard all the same: a sensor that talks nonsense is at once as
# good as none, and the rules do not go on with what it said before.
_BELIEVED: Final = {GRID: MAX_GRID_PERCENT, SOLAR: MAX_SOLAR_W, BATTERY: MAX_BATTERY_PERCENT}


class Surroundings:
    """Takes ``sensor_reading`` and ``set_forecast``, and looks at each ``set_capacity``."""

    def __init__(self, engine: Engine, sensors: Sensors, planning: Planning, dirty: Callable[[NodeId], None]) -> None:
        self._engine, self._sensors, self._planning, self._dirty = engine, sensors, planning, dirty
        self._absurd: set[NodeId] = set()
        """Nodes whose meter made no sense the last time."""

    def reading(self, peer: Peer, message: m.SensorReading) -> None:
        """A sensor's newest value; a base load is acted on at once."""
        site = self._engine.state.site
        node_id = None
        if message.name == BASE:
            node_id = site.default_node if message.substation_id is None else NodeId(message.substation_id)
        if node_id is not None and node_id not in self._engine.state.nodes:
            self._answer(peer, message.id, RefusalReason.UNKNOWN_SUBSTATION, node_id)
        elif node_id is not None:
            self._base_load(peer, message, node_id)
        elif not self._hear(message):
            self._answer(peer, message.id, RefusalReason.READING_OUT_OF_RANGE, message.name)
        else:
            self._answer(peer, message.id, None)

    def _base_load(self, peer: Peer, message: m.SensorReading, node_id: NodeId) -> None:
        most_w = most_believed_w(self._engine.state, node_id)
        if not self._sensors.heard(BASE, node_id, message.value, message.at_ms, most_w):
            if message.value > most_w and node_id not in self._absurd:
                # A meter need not ask for answers; its operator hears of it once, until it makes sense again.
                self._absurd.add(node_id)
                log.warning("reading.absurd", node=node_id, value_w=message.value, most_w=most_w)
            # The worse it is, the less may charge: what shows too much is not remembered, and counts while it says so.
            self._dirty(node_id)
            subject = f"{BASE} of {node_id}, where 0 to {kw(most_w)} are believed,"
            self._answer(peer, message.id, RefusalReason.READING_OUT_OF_RANGE, subject)
            return
        self._absurd.discard(node_id)
        self._note(node_id, rounded_up(message.value))
        self._dirty(node_id)
        self._answer(peer, message.id, None)

    def forget(self, node_id: NodeId) -> None:
        """An operator said that what a node's meter showed counts no longer; what it shows now does."""
        if self._sensors.believed_w(node_id) is None:
            self._sensors.forget(node_id)

    def forgetting(self, node_id: NodeId) -> c.ForgetBaseLoad:
        """The command for it."""
        return c.ForgetBaseLoad(node_id=node_id, fresh_w=self._sensors.believed_w(node_id))

    def _note(self, node_id: NodeId, base_w: int) -> None:
        """Before anything is decided on it: whatever rests on a lower reading stands behind it in the log."""
        if base_w > self._engine.state.nodes[node_id].metered_w:
            self._engine.execute(c.NoteBaseLoad(node_id=node_id, base_w=base_w))

    def limit(self, message: m.SetCapacity) -> None:
        """A new limit is on its way to the engine: one that the base load fills leaves a line."""
        node_id = NodeId(message.substation_id)
        notices.limit_cut(self._engine.state, self._sensors.measured_w(), node_id, message.capacity_w)

    def forecast(self, peer: Peer, message: m.SetForecast) -> None:
        """Replaces what Central would expect by itself."""
        self._planning.foretell(message.name, Series(message.start_ms, message.step_ms, tuple(message.values)))
        self._answer(peer, message.id, None)

    def _hear(self, message: m.SensorReading) -> bool:
        """Whether it can be true."""
        heard = self._sensors.heard(message.name, None, message.value, message.at_ms)
        return heard and message.value <= _BELIEVED.get(message.name, math.inf)

    def _answer(self, peer: Peer, re: m.RequestId | None, reason: RefusalReason | None, subject: str = "") -> None:
        if re is None:
            return
        if reason is None:
            peer.send(m.Reply(re=re))
        else:
            peer.send(m.Refused(reason=reason.value, sentence=sentence(reason, subject), re=re))
