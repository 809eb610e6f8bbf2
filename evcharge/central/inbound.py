"""What peers say: heartbeats and telemetry are handled here and never reach the log, the rest becomes commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import structlog

from evcharge.central import translate
from evcharge.central.engine import Engine
from evcharge.central.outbound import Outbound
from evcharge.central.peers import Directory, Peer
from evcharge.central.questions import Questions
from evcharge.central.telemetry import Telemetry
from evcharge.domain.commands import ReportMeter
from evcharge.domain.decide import AnyCommand
from evcharge.domain.state import Role
from evcharge.domain.views import view_session
from evcharge.ids import ChargePointId, DriverId, SessionId
from evcharge.net.clock import Clock
from evcharge.units import WattHours, Watts
from protocol import messages as m

log = structlog.get_logger()


class Inbound:
    """One entry, ``message``: called for every legal message of an authenticated peer."""

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        outbound: Outbound,
        questions: Questions,
        telemetry: Telemetry,
        clock: Clock,
        *,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._outbound = outbound
        self._questions = questions
        self._telemetry = telemetry
        self._clock = clock
        self._entropy = entropy

    def message(self, peer: Peer, message: m.Message) -> None:
        """Handle one message; nothing here waits."""
        if isinstance(message, m.Heartbeat):
            peer.send(m.Ack(re=message.id, time_ms=self._clock.site_ms(), clock_ms=self._engine.clock_ms()))
        elif isinstance(message, m.SupplyUpdate):
            self._update(peer, message)
        elif isinstance(message, m.List | m.Tickets | m.Query):
            self._questions.answer(peer, message)
        elif not isinstance(message, m.Health):
            command = self._command(peer, message)
            if command is not None:
                self._engine.execute(command, peer.asking(getattr(message, "id", None)))

    def _command(self, peer: Peer, message: m.Message) -> AnyCommand | None:
        # The legality table has checked that the role may send this type; the casts only say so again.
        match peer.role:
            case Role.ENGINE:
                return translate.command_from_engine(cast(m.FromEngine, message), ChargePointId(peer.entity))
            case Role.MONITOR:
                return translate.command_from_monitor(cast(m.FromMonitor, message), ChargePointId(peer.entity))
            case Role.DRIVER:
                driver_id = DriverId(peer.entity)
                return translate.command_from_driver(cast(m.FromDriver, message), driver_id, self._new_session)
            case Role.OPERATOR:
                return translate.command_from_operator(cast(m.FromOperator, message))
            case Role.CONSOLE:
                return None

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
            meter_wh, power_w = WattHours(message.meter_wh), Watts(message.power_w)
            self._engine.execute(
                ReportMeter(cp_id=cp_id, session_id=session_id, meter_wh=meter_wh, power_w=power_w), peer.origin
            )
        session = state.sessions[session_id]
        driver = self._directory.current(Role.DRIVER, session.driver_id)
        if driver is not None:
            # Not at once: the view may show what is not durable yet.
            self._engine.ask(lambda now, _: view_session(now, session), partial(self._outbound.tell_driver, driver))

    def _new_session(self) -> SessionId:
        """A fresh session id: 80 random bits, so that nobody guesses another's."""
        return SessionId(f"s-{self._entropy(10).hex()}")
