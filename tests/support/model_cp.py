"""A model charge point: honest, with a disk, a meter and a channel clock that may be behind."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain.decide import AnyCommand, OutboxCommand
from evcharge.domain.words import StopCause
from evcharge.ids import ChargePointId, CommandId, ConnectorNo, Fence, SessionId
from evcharge.units import MS_PER_HOUR, Millis, WattHours, Watts


@dataclass
class Charge:
    """One closing of a contactor, by the charge point's own books."""

    session_id: SessionId
    start_wh: int
    end_wh: int | None = None
    lost: bool = False
    """Its report went down with a disk."""


@dataclass
class ModelConnector:
    """An outlet with its meter. ``deadline_ms`` is a true time; ``expires_ms`` one of the channel clock."""

    no: ConnectorNo
    min_w: int
    max_w: int
    appetite_w: int
    plugged: bool = False
    register_wms: int = 0
    """Watt-milliseconds, so that no energy is rounded away."""
    authorized: fx.Authorize | None = None
    running: Charge | None = None
    target_wh: int | None = None
    limit_w: int = 0
    fallback_w: int = 0
    expires_ms: int = 0
    deadline_ms: int = 0
    paused: bool = False

    @property
    def register_wh(self) -> int:
        """What a person reads."""
        return self.register_wms // MS_PER_HOUR

    def draw_w(self, clock_ms: int) -> int:
        """What flows at this moment."""
        if self.running is None or not self.plugged:
            return 0
        limit_w = self.limit_w if clock_ms < self.deadline_ms else self.fallback_w
        watts = min(limit_w, self.appetite_w, self.max_w)
        return watts if watts >= self.min_w else 0

    def advance(self, since_ms: int, now_ms: int) -> None:
        """Let it flow."""
        turn_ms = min(max(since_ms, self.deadline_ms), now_ms)
        self.register_wms += self.draw_w(since_ms) * (turn_ms - since_ms) + self.draw_w(turn_ms) * (now_ms - turn_ms)


@dataclass
class Wire:
    """One channel of an engine: a queue each way, in order."""

    fence: Fence
    up: deque[AnyCommand] = field(default_factory=deque)
    down: deque[fx.ToEngine] = field(default_factory=deque)
    cut: bool = False


@dataclass
class ModelChargePoint:
    """Obeys orders, keeps an outbox and its meters on disk, opens its contactor when in doubt."""

    cp_id: ChargePointId
    connectors: dict[ConnectorNo, ModelConnector]
    epoch: int = 1
    next_n: int = 0
    items: list[tuple[int, OutboxCommand]] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    lag_ms: int = 0
    error: str | None = None
    wire: Wire | None = None
    answers: dict[CommandId, str] = field(default_factory=dict)
    """What was answered on this channel; a repeat gets the same (SPEC §6.4)."""

    # --- the channel ------------------------------------------------------------------------------------------------

    def channel_up(self, wire: Wire, next_n: int, lag_ms: int) -> None:
        """Introduce yourself, then send what Central does not have."""
        self.wire, self.lag_ms = wire, lag_ms
        self.answers.clear()
        for connector in self.connectors.values():
            connector.deadline_ms = min(connector.deadline_ms, connector.expires_ms + lag_ms)
        ratings = (c.ConnectorRating(k.no, Watts(k.min_w), Watts(k.max_w)) for k in self.connectors.values())
        wire.up.append(c.BootChargePoint(cp_id=self.cp_id, connectors=tuple(ratings)))
        self.say_status()
        self.items = [(n, item) for n, item in self.items if n >= next_n]
        wire.up.extend(msgspec.structs.replace(item, n=n) for n, item in self.items)

    def say(self, command: AnyCommand) -> None:
        """On the channel, if there is one."""
        if self.wire is not None:
            self.wire.up.append(command)

    def say_status(self) -> None:
        """The condition of each connector."""
        for k in self.connectors.values():
            self.say(c.ReportStatus(cp_id=self.cp_id, connector=k.no, occupied=k.plugged, error=self.error))

    def post(self, item: OutboxCommand) -> None:
        """Into the outbox, and out when there is a channel."""
        self.items.append((self.next_n, item))
        self.say(msgspec.structs.replace(item, n=self.next_n))
        self.next_n += 1

    def waits_to_be_heard(self, session_id: SessionId) -> bool:
        """Whether Central may not know yet that this session ran here: orders that start it are older than that."""
        return any(getattr(item, "session_id", None) == session_id for _, item in self.items)

    # --- orders -----------------------------------------------------------------------------------------------------

    def obey(self, order: fx.ToEngine, clock_ms: int, site_ms: int) -> None:
        """Carry out one order of Central."""
        match order:
            case fx.OutboxAck():
                self.items = [(n, item) for n, item in self.items if n > order.n]
            case fx.Authorize() | fx.SetPoint() | fx.StopSupply():
                if order.command_id not in self.answers:
                    self.answers[order.command_id] = self._carry_out(order, clock_ms, site_ms)
                outcome = self.answers[order.command_id]
                self.say(c.ReportResult(cp_id=self.cp_id, command_id=order.command_id, outcome=outcome))
            case _:
                assert isinstance(order, fx.BootAck)

    def _carry_out(self, order: fx.Authorize | fx.SetPoint | fx.StopSupply, clock_ms: int, site_ms: int) -> str:
        if isinstance(order, fx.Authorize):
            return self._authorize(order)
        if isinstance(order, fx.SetPoint):
            return self._set_point(order, clock_ms, site_ms)
        self._stop(order, site_ms)
        return "done"

    def _authorize(self, order: fx.Authorize) -> str:
        connector = self.connectors[order.connector]
        if connector.running is not None:
            return "done" if connector.running.session_id == order.session_id else "rejected"
        if self.error is not None or self.waits_to_be_heard(order.session_id):
            return "rejected"
        connector.authorized = order
        return "done"

    def _set_point(self, order: fx.SetPoint, clock_ms: int, site_ms: int) -> str:
        connector = self.connectors[order.connector]
        if connector.running is None or connector.running.session_id != order.session_id:
            refusal = self._may_start(connector, order, clock_ms - self.lag_ms)
            if refusal is not None:
                return refusal
            self._close(connector, site_ms)
        connector.limit_w, connector.fallback_w = order.limit_w, order.fallback_w
        connector.expires_ms, connector.deadline_ms = order.expires_ms, order.expires_ms + self.lag_ms
        self._note_pause(connector, clock_ms)
        return "done"

    def _may_start(self, connector: ModelConnector, order: fx.SetPoint, channel_ms: int) -> str | None:
        authorized = connector.authorized
        if order.start_valid_ms is None or connector.running is not None:
            return "rejected"
        if authorized is None or authorized.session_id != order.session_id:
            return "rejected"
        if channel_ms > order.start_valid_ms or channel_ms >= order.expires_ms:
            return "expired"
        return None if connector.plugged and self.error is None else "rejected"

    def _close(self, connector: ModelConnector, site_ms: int) -> None:
        assert connector.authorized is not None
        session_id = connector.authorized.session_id
        connector.running = Charge(session_id, connector.register_wh)
        connector.target_wh, connector.authorized, connector.paused = connector.authorized.energy_wh, None, False
        self.charges.append(connector.running)
        meter_wh = WattHours(connector.register_wh)
        self.post(c.ReportStarted(cp_id=self.cp_id, session_id=session_id, meter_wh=meter_wh, at_ms=Millis(site_ms)))

    def _stop(self, order: fx.StopSupply, site_ms: int) -> None:
        for connector in self.connectors.values():
            if order.connector not in (0, connector.no):
                continue
            if connector.running is not None and connector.running.session_id == order.session_id:
                self.end(connector, order.cause, site_ms)
            if connector.authorized is not None and connector.authorized.session_id == order.session_id:
                connector.authorized = None

    # --- what happens by itself -------------------------------------------------------------------------------------

    def _note_pause(self, connector: ModelConnector, clock_ms: int) -> None:
        paused = connector.draw_w(clock_ms) == 0
        if connector.running is not None and paused != connector.paused:
            connector.paused = paused
            session_id, meter_wh = connector.running.session_id, WattHours(connector.register_wh)
            self.post(c.ReportPaused(cp_id=self.cp_id, session_id=session_id, paused=paused, meter_wh=meter_wh))

    def end(self, connector: ModelConnector, cause: StopCause, site_ms: int) -> None:
        """The contactor opens for good."""
        assert connector.running is not None
        connector.running.end_wh = connector.register_wh
        self.post(
            c.ReportEnded(
                cp_id=self.cp_id,
                session_id=connector.running.session_id,
                meter_wh=WattHours(connector.register_wh),
                reason=cause,
                at_ms=Millis(site_ms),
            )
        )
        connector.running = None

    def end_all(self, cause: StopCause, site_ms: int) -> None:
        """Everything off."""
        for connector in self.connectors.values():
            if connector.running is not None:
                self.end(connector, cause, site_ms)

    def unplug(self, connector: ModelConnector, site_ms: int) -> None:
        """The vehicle leaves."""
        if connector.running is not None:
            self.end(connector, StopCause.UNPLUGGED, site_ms)
        connector.plugged = False
        self.say(c.ReportPlug(cp_id=self.cp_id, connector=connector.no, plugged=False))

    def advance(self, since_ms: int, now_ms: int, site_ms: int) -> None:
        """Let time pass: meters, targets, leases."""
        for connector in self.connectors.values():
            connector.advance(since_ms, now_ms)
            running, target_wh = connector.running, connector.target_wh
            if running is not None and target_wh is not None and connector.register_wh - running.start_wh >= target_wh:
                self.end(connector, StopCause.TARGET_REACHED, site_ms)
            self._note_pause(connector, now_ms)

    def lose_disk(self) -> None:
        """A new process with an empty disk: new outbox, registers at zero, nothing of the old sessions."""
        for charge in self.charges:
            if charge.end_wh is None or self.waits_to_be_heard(charge.session_id):
                charge.lost = True
        self.epoch, self.next_n, self.items = self.epoch + 1, 0, []
        for connector in self.connectors.values():
            connector.running = connector.authorized = None
            connector.register_wms = 0
