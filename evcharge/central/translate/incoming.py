"""From the wire to the domain: messages become commands. Which role may send what was checked before (SPEC §7.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from evcharge.domain import commands as c
from evcharge.domain.decide import AnyCommand
from evcharge.domain.words import Role, StopCause, WeatherKind
from evcharge.ids import ChargePointId, CommandId, ConnectorNo, DriverId, NodeId, SessionId, TicketId
from evcharge.units import Millis, WattHours, Watts
from protocol import messages as m
from protocol.credentials import Role as WireRole

ROLES = {
    WireRole.CP: Role.ENGINE,
    WireRole.MONITOR: Role.MONITOR,
    WireRole.DRIVER: Role.DRIVER,
    WireRole.GATEWAY: Role.OPERATOR,
    WireRole.DEBUG: Role.CONSOLE,
}
"""Who a wire role is to the domain; Central itself never connects to Central."""


def command_of(
    message: m.Message, role: Role, entity: str, new_session_id: Callable[[], SessionId]
) -> AnyCommand | None:
    """A peer's message as a command; None for what never reaches the domain. ``entity`` is the channel's."""
    match role:
        case Role.ENGINE:
            return command_from_engine(cast(m.FromEngine, message), ChargePointId(entity))
        case Role.MONITOR:
            return command_from_monitor(cast(m.FromMonitor, message), ChargePointId(entity))
        case Role.DRIVER:
            return command_from_driver(cast(m.FromDriver, message), DriverId(entity), new_session_id)
        case Role.OPERATOR:
            return command_from_operator(cast(m.FromOperator, message))
        case Role.CONSOLE:
            return None


def meter_of(message: m.SupplyUpdate, cp_id: ChargePointId) -> c.ReportMeter:
    """Telemetry that is worth a record."""
    return c.ReportMeter(
        cp_id=cp_id,
        session_id=SessionId(message.session_id),
        meter_wh=WattHours(message.meter_wh),
        power_w=Watts(message.power_w),
    )


def command_from_engine(message: m.FromEngine, cp_id: ChargePointId) -> AnyCommand | None:
    """An engine's message as a command; None for what never reaches the domain (heartbeat, telemetry)."""
    match message:
        case m.Boot():
            return c.BootChargePoint(
                cp_id=cp_id,
                connectors=tuple(
                    c.ConnectorRating(ConnectorNo(info.connector), Watts(info.min_w), Watts(info.max_w))
                    for info in message.connectors
                ),
                model=message.model,
                firmware=message.firmware,
            )
        case m.Plugged() | m.Unplugged():
            plugged = isinstance(message, m.Plugged)
            return c.ReportPlug(cp_id=cp_id, connector=ConnectorNo(message.connector), plugged=plugged)
        case m.Result():
            return c.ReportResult(
                cp_id=cp_id,
                command_id=CommandId(message.command_id),
                outcome=message.outcome,
                detail=message.detail,
            )
        case m.Outbox():
            return _report(message.payload, cp_id, message.n)
        case m.Heartbeat() | m.SupplyUpdate():
            return None
        case _:
            return _report(message, cp_id, None)


def _report(payload: m.OutboxPayload, cp_id: ChargePointId, n: int | None) -> AnyCommand:
    match payload:
        case m.Status():
            return c.ReportStatus(
                cp_id=cp_id,
                connector=ConnectorNo(payload.connector),
                occupied=payload.occupied,
                error=payload.error,
                n=n,
            )
        case m.SupplyStarted():
            return c.ReportStarted(
                cp_id=cp_id,
                session_id=SessionId(payload.session_id),
                meter_wh=WattHours(payload.meter_wh),
                at_ms=_millis(payload.at_ms),
                n=n,
            )
        case m.SupplyPaused() | m.SupplyResumed():
            return c.ReportPaused(
                cp_id=cp_id,
                session_id=SessionId(payload.session_id),
                paused=isinstance(payload, m.SupplyPaused),
                meter_wh=None if payload.meter_wh is None else WattHours(payload.meter_wh),
                at_ms=_millis(payload.at_ms),
                n=n,
            )
        case m.SupplyEnded():
            return c.ReportEnded(
                cp_id=cp_id,
                session_id=SessionId(payload.session_id),
                meter_wh=WattHours(payload.meter_wh),
                reason=_cause(payload.reason),
                at_ms=_millis(payload.at_ms),
                n=n,
            )


def command_from_monitor(message: m.FromMonitor, cp_id: ChargePointId) -> AnyCommand | None:
    """A monitor's message as a command; None for heartbeat and health."""
    match message:
        case m.Fault():
            return c.ReportFault(cp_id=cp_id, code=message.code, detail=message.detail)
        case m.Recovery():
            return c.ReportRecovery(cp_id=cp_id)
        case _:
            return None


def command_from_driver(
    message: m.FromDriver, driver_id: DriverId, new_session_id: Callable[[], SessionId]
) -> AnyCommand | None:
    """A driver's message as a command; None for questions."""
    match message:
        case m.ChargeRequest():
            return c.RequestCharge(
                session_id=new_session_id(),
                driver_id=driver_id,
                cp_id=ChargePointId(message.cp_id),
                connector=ConnectorNo(message.connector),
                energy_wh=message.energy_wh,
                depart_by_ms=message.depart_by_ms,
                node_id=None if message.substation_id is None else NodeId(message.substation_id),
                power_w=message.power_w,
                wait=message.wait,
                on_the_way=message.on_the_way,
            )
        case m.LeaveQueue():
            return c.LeaveQueue(driver_id=driver_id, waiting_id=SessionId(message.waiting_id))
        case m.Reserve():
            return c.Reserve(
                reservation_id=new_session_id(),
                driver_id=driver_id,
                cp_id=ChargePointId(message.cp_id),
                connector=ConnectorNo(message.connector),
                from_ms=message.from_ms,
                until_ms=message.until_ms,
                energy_wh=message.energy_wh,
            )
        case m.CancelReservation():
            return c.CancelReservation(driver_id=driver_id, reservation_id=SessionId(message.reservation_id))
        case m.EndCharge():
            return c.EndCharge(driver_id=driver_id, session_id=SessionId(message.session_id))
        case m.TicketReceived():
            return c.ConfirmTicket(driver_id=driver_id, ticket_id=TicketId(message.ticket_id))
        case _:
            return None


def command_from_operator(message: m.FromOperator) -> AnyCommand | None:
    """An operator's message as a command; None for questions."""
    match message:
        case m.Stop():
            return c.StopChargePoints(cp_id=None if message.cp_id is None else ChargePointId(message.cp_id))
        case m.Resume():
            return c.ResumeChargePoints(cp_id=None if message.cp_id is None else ChargePointId(message.cp_id))
        case m.SetCapacity():
            return c.SetCapacity(node_id=NodeId(message.substation_id), capacity_w=message.capacity_w)
        case m.LimitChargePoint():
            return c.LimitChargePoint(cp_id=ChargePointId(message.cp_id), limit_w=message.limit_w)
        case m.WeatherAlert():
            return c.ReportWeather(
                kind=WeatherKind(message.kind),
                active=message.active,
                cp_id=None if message.cp_id is None else ChargePointId(message.cp_id),
                node_id=None if message.substation_id is None else NodeId(message.substation_id),
                milli_c=None if message.temperature_c is None else round(message.temperature_c * 1000),
                detail=message.detail,
                simulated=message.simulated,
            )
        case m.SubstationHealth():
            return c.ReportNode(node_id=NodeId(message.substation_id), ok=message.ok, cause=message.detail)
        case m.Unwatch():
            node_id = NodeId(message.substation_id)
            return c.UnwatchNode(node_id=node_id) if message.what == "health" else c.ForgetBaseLoad(node_id=node_id)
        case _:
            return None


def _cause(reason: str) -> StopCause:
    """A reason that this Central does not know is kept as OTHER: a newer charge point may have new ones."""
    try:
        return StopCause(reason)
    except ValueError:
        return StopCause.OTHER


def _millis(at_ms: int | None) -> Millis | None:
    return None if at_ms is None else Millis(at_ms)
