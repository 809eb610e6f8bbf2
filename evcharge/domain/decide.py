"""The one question that the domain answers: given what is true, what happens because of this command?

``decide`` reads and changes nothing; a no is an event too. The rules stand in the modules that it names.
"""

from __future__ import annotations

from typing import assert_never

from evcharge.domain import charge_points, grid, health, limits, meters, peaks, reservations, sessions, waiting, weather
from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.allocation import reallocate
from evcharge.domain.followed import followed
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.repairs import repairs, torn_off
from evcharge.domain.state import State
from evcharge.domain.words import Stamp

AnyCommand = (
    c.StartCentral
    | c.StopCentral
    | c.PassDeadline
    | c.Reallocate
    | c.ServeWaiting
    | c.AdoptPlan
    | c.FailPlan
    | c.Rule
    | c.Derate
    | c.PeerReady
    | c.PeerGone
    | c.PeerRejected
    | c.MonitorMissing
    | c.RaiseDuplicate
    | c.ClearDuplicate
    | c.RaiseIncident
    | c.RevokePeer
    | c.BootChargePoint
    | c.ReportStatus
    | c.ReportPlug
    | c.ReportStarted
    | c.ReportPaused
    | c.ReportEnded
    | c.ReportMeter
    | c.ReportResult
    | c.ReportFault
    | c.ReportRecovery
    | c.RequestCharge
    | c.LeaveQueue
    | c.Reserve
    | c.CancelReservation
    | c.EndCharge
    | c.ConfirmTicket
    | c.StopChargePoints
    | c.ResumeChargePoints
    | c.ReportWeather
    | c.SetCapacity
    | c.LimitChargePoint
    | c.ReportNode
    | c.UnwatchNode
    | c.NoteBaseLoad
    | c.NotePeak
    | c.ForgetBaseLoad
)
OutboxCommand = c.ReportStatus | c.ReportStarted | c.ReportPaused | c.ReportEnded


def decide(state: State, command: AnyCommand, stamp: Stamp) -> list[e.Event]:
    """The events that follow; an empty list: nothing changes (a repeat, or too late)."""
    if isinstance(command, c.StartCentral):
        # What follows from repairs is among them.
        return [e.CentralStarted(site=command.site), *repairs(state, command.site, stamp)]
    if isinstance(command, OutboxCommand) and command.n is not None:
        events = _from_outbox(state, command, command.n, stamp)
    else:
        events = _decide(state, command, stamp)
    events = [*events, *health.verdicts(state, events, stamp)]
    return [*events, *followed(state, events, stamp)]


def _from_outbox(state: State, command: OutboxCommand, n: int, stamp: Stamp) -> list[e.Event]:
    """Items are applied strictly in order, each once (SPEC §6.3)."""
    position = charge_points.outbox_position(state, command.cp_id, n)
    if position is False:
        return []
    if isinstance(position, RefusalReason):
        known = state.charge_points.get(command.cp_id)
        gap = Objection(Obstacle.RANGE, "n", value=n, limit=None if known is None else known.next_n)
        return [e.RequestRefused(request="outbox", subject=str(n), reason=position, against=(gap,))]
    return [*_decide(state, command, stamp), e.OutboxApplied(cp_id=command.cp_id, n=n)]


def _decide(state: State, command: AnyCommand, stamp: Stamp) -> list[e.Event]:
    match command:
        case c.StartCentral():
            raise AssertionError("a start is decided before")
        case c.StopCentral():
            return [e.CentralStopped()]
        case c.PassDeadline():
            return sessions.pass_deadline(state, command, stamp)
        case c.Reallocate():
            return reallocate(state, command, stamp)
        case c.ServeWaiting():
            return waiting.serve(state, stamp)
        case c.AdoptPlan():
            return grid.adopt_plan(state, command, stamp)
        case c.Rule():
            return [] if command.ruling == state.ruling else [e.RulingChanged(ruling=command.ruling)]
        case c.Derate():
            return weather.derate(state, command)
        case c.FailPlan():
            return [e.PlanFailed(cause=command.cause)]
        case c.PeerReady():
            return charge_points.peer_ready(state, command)
        case c.PeerGone():
            return charge_points.peer_gone(state, command)
        case c.PeerRejected():
            return charge_points.peer_rejected(state, command, stamp)
        case c.MonitorMissing():
            return charge_points.monitor_missing(state, command)
        case c.RaiseDuplicate():
            return charge_points.raise_duplicate(state, command)
        case c.ClearDuplicate():
            return charge_points.clear_duplicate(state, command)
        case c.RaiseIncident():
            return [e.IncidentRaised(code=command.code, detail=command.detail)]
        case c.RevokePeer():
            return charge_points.revoke_peer(state, command)
        case c.BootChargePoint():
            return charge_points.boot(state, command)
        case c.ReportStatus():
            return charge_points.report_status(state, command)
        case c.ReportPlug():
            return charge_points.report_plug(state, command)
        case c.ReportStarted():
            return sessions.report_started(state, command, stamp)
        case c.ReportPaused():
            return sessions.report_paused(state, command)
        case c.ReportEnded():
            return sessions.report_ended(state, command, stamp)
        case c.ReportMeter():
            return sessions.report_meter(state, command)
        case c.ReportResult():
            return charge_points.report_result(state, command)
        case c.ReportFault():
            return charge_points.report_fault(state, command)
        case c.ReportRecovery():
            return charge_points.report_recovery(state, command)
        case c.RequestCharge():
            return waiting.request(state, command, stamp)
        case c.LeaveQueue():
            return torn_off(state, command) or waiting.leave(state, command)
        case c.Reserve():
            return reservations.reserve(state, command, stamp)
        case c.CancelReservation():
            return torn_off(state, command) or reservations.cancel(state, command)
        case c.EndCharge():
            return sessions.end_charge(state, command)
        case c.ConfirmTicket():
            return sessions.confirm_ticket(state, command)
        case c.StopChargePoints():
            return charge_points.stop_charge_points(state, command)
        case c.ResumeChargePoints():
            return charge_points.resume_charge_points(state, command)
        case c.ReportWeather():
            return weather.report_weather(state, command)
        case c.SetCapacity():
            known = state.nodes.get(command.node_id)
            same = known is not None and known.capacity_w == command.capacity_w
            return [] if same else grid.set_capacity(state, command)
        case c.LimitChargePoint():
            return limits.limit_charge_point(state, command)
        case c.ReportNode():
            return health.report_node(state, command, stamp)
        case c.UnwatchNode():
            return health.unwatch(state, command)
        case c.NoteBaseLoad():
            return meters.note(state, command)
        case c.NotePeak():
            return peaks.note(state, command)
        case c.ForgetBaseLoad():
            return meters.forget(state, command)
        case _:
            assert_never(command)
