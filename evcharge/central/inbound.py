"""What peers say: heartbeats and telemetry are handled here and never reach the log, the rest becomes commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import structlog

from evcharge.central.changes import Changes
from evcharge.central.engine import Engine
from evcharge.central.outbound import Outbound
from evcharge.central.peers import Peer
from evcharge.central.substations import Substations
from evcharge.central.surroundings import Surroundings
from evcharge.central.telemetry import Telemetry
from evcharge.central.translate import incoming
from evcharge.ids import ChargePointId, NodeId, SessionId
from evcharge.net.clock import Clock
from protocol import messages as m

log = structlog.get_logger()


class Answers(Protocol):
    """Who answers questions of some kinds; nothing of that waits."""

    KINDS: ClassVar[tuple[type[m.Message], ...]]

    def answer(self, peer: Peer, message: Any) -> None: ...


class Inbound:
    """One entry, ``message``: called for every legal message of an authenticated peer."""

    def __init__(
        self,
        engine: Engine,
        outbound: Outbound,
        telemetry: Telemetry,
        surroundings: Surroundings,
        substations: Substations,
        clock: Clock,
        changes: Changes,
        *answering: Answers,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._engine = engine
        self._outbound = outbound
        self._telemetry = telemetry
        self._surroundings = surroundings
        self._substations = substations
        self._clock = clock
        self._changes = changes
        self._answering = {kind: each for each in answering for kind in each.KINDS}
        self._entropy = entropy

    def message(self, peer: Peer, message: m.Message) -> None:
        """Handle one message; nothing here waits."""
        if isinstance(message, m.SupplyUpdate):
            self._update(peer, message)
        elif isinstance(message, m.Heartbeat):
            peer.send(m.Ack(re=message.id, time_ms=self._clock.site_ms(), clock_ms=self._engine.clock_ms()))
        elif isinstance(message, m.SensorReading):
            self._surroundings.reading(peer, message)
        elif isinstance(message, m.SetForecast):
            self._surroundings.forecast(peer, message)
        elif (asked := self._answering.get(type(message))) is not None:
            asked.answer(peer, message)
        elif not isinstance(message, m.Health):
            if isinstance(message, m.SubstationHealth) and NodeId(message.substation_id) in self._engine.state.nodes:
                self._substations.heard(NodeId(message.substation_id), message.load_w)
            if isinstance(message, m.SetCapacity):
                self._surroundings.limit(message)
            command = incoming.command_of(message, peer.role, peer.entity, self._new_session)
            if isinstance(message, m.Unwatch) and message.what == "base_w":
                command = self._surroundings.forgetting(NodeId(message.substation_id))
            if command is not None:
                self._engine.execute(command, peer.asking(message))
            if isinstance(message, m.Unwatch):
                self._unwatched(message)

    def _unwatched(self, message: m.Unwatch) -> None:
        node_id = NodeId(message.substation_id)
        node = self._engine.state.nodes.get(node_id)
        if node is not None and message.what == "base_w":
            self._surroundings.forget(node_id)
        elif node is not None and not node.watched:
            self._substations.forget(node_id)

    def _update(self, peer: Peer, message: m.SupplyUpdate) -> None:
        state = self._engine.state
        cp_id, session_id = ChargePointId(peer.entity), SessionId(message.session_id)
        worth_a_record = self._telemetry.update(
            state, cp_id, session_id, message.meter_wh, message.power_w, message.soc, self._clock.monotonic()
        )
        if worth_a_record is None:
            if not peer.warned:
                peer.warned = True
                log.warning("telemetry.unknown_session", peer=peer.origin.actor, session=message.session_id)
            return
        if worth_a_record:
            self._engine.execute(incoming.meter_of(message, cp_id), peer.origin)
        self._changes.metered(session_id)
        self._outbound.tell_progress(state.sessions[session_id])

    def _new_session(self) -> SessionId:
        """A fresh session id: 80 random bits, so that nobody guesses another's."""
        return SessionId(f"s-{self._entropy(10).hex()}")
