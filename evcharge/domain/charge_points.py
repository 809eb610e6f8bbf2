"""Decisions about charge points: links, boot, status, holds, the outbox and results of commands."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.sessions import next_command, settle, stop_all_at, stop_session
from evcharge.domain.state import ChargePoint, Session, State
from evcharge.domain.words import RUNNING, Hold, LinkState, Role, SessionStatus, Stamp, StopCause
from evcharge.ids import ChargePointId, CommandId
from evcharge.units import Watts

# Failed authentications of one source within this time that raise an incident (features.md, "Audit record").
INCIDENT_FAILURES = 5
INCIDENT_WINDOW_MS = 600_000
# The smallest current of a connector that says it has none, W: 6 A of one phase (IEC 61851-1 knows no less). Where it
# counted as nothing, any number of sessions would fit anywhere.
MIN_W = Watts(1_380)


def peer_ready(state: State, command: c.PeerReady) -> list[e.Event]:
    """A peer proved itself: its link is up."""
    connected = e.PeerConnected(
        role=command.role,
        entity=command.entity,
        username=command.username,
        fence=command.fence,
        boot_id=command.boot_id,
        outbox_epoch=command.outbox_epoch,
        stale_record=command.stale_record,
    )
    charge_point = state.charge_points.get(ChargePointId(command.entity))
    if command.role is not Role.ENGINE or charge_point is None:
        return [connected]
    happened: list[e.Event] = []
    if outbox_was_lost(charge_point, command.outbox_epoch):
        # Before the connection, with which the old outbox is forgotten: after a crash in between the next one goes on.
        happened += _settle_what_cannot_be_reported(state, charge_point)
    happened.append(connected)
    if Hold.REVOKED in charge_point.holds:
        # Only a new credential gets this far: the registry refuses the revoked one.
        happened.append(e.HoldLifted(cp_id=charge_point.cp_id, hold=Hold.REVOKED))
    return happened


def outbox_was_lost(charge_point: ChargePoint, outbox_epoch: int | None) -> bool:
    """Whether a charge point comes with an outbox that is not the one Central knows."""
    known = charge_point.outbox_epoch
    return outbox_epoch is not None and known is not None and known != outbox_epoch


def _settle_what_cannot_be_reported(state: State, charge_point: ChargePoint) -> list[e.Event]:
    """Sessions whose report went down with the charge point's disk, and with them the process that ran them."""
    settled: list[e.Event] = []
    for session in state.sessions.values():
        if session.cp_id != charge_point.cp_id or session.status is SessionStatus.AUTHORIZED:
            continue
        if session.status in RUNNING:
            settled.append(settle(state, session, StopCause.OUTBOX_LOST, provisional=False))
        else:
            settled.append(e.SessionForgotten(session_id=session.session_id))
    return settled


def peer_gone(state: State, command: c.PeerGone) -> list[e.Event]:
    """A channel ended. Losing a monitor stops its charge point; losing an engine leaves it to its lease."""
    gone = e.PeerDisconnected(role=command.role, entity=command.entity, fence=command.fence, cause=command.cause)
    happened: list[e.Event] = [gone]
    charge_point = state.charge_points.get(ChargePointId(command.entity))
    if command.role is Role.MONITOR and charge_point is not None and charge_point.monitor.fence == command.fence:
        happened += stop_all_at(state, charge_point, StopCause.MONITOR_LOST)
    return happened


def monitor_missing(state: State, command: c.MonitorMissing) -> list[e.Event]:
    """After a restart of Central the monitor did not come back: as if it were lost now."""
    charge_point = state.charge_points.get(command.cp_id)
    if charge_point is None or charge_point.monitor.state is not LinkState.AWAITED:
        return []
    return [
        e.PeerDisconnected(
            role=Role.MONITOR,
            entity=command.cp_id,
            fence=charge_point.monitor.fence,
            cause="not back after a restart",
        ),
        *stop_all_at(state, charge_point, StopCause.MONITOR_LOST),
    ]


def peer_rejected(state: State, command: c.PeerRejected, stamp: Stamp) -> list[e.Event]:
    """Somebody was turned away; the fifth failed authentication of a source in ten minutes is an incident."""
    happened: list[e.Event] = [
        e.PeerRefused(
            code=command.code,
            username=command.username,
            authentication=command.authentication,
            count=command.count,
        )
    ]
    if command.authentication:
        earliest_ms = stamp.clock_ms - INCIDENT_WINDOW_MS
        before = sum(1 for at_ms in state.failures.get(stamp.source, ()) if at_ms > earliest_ms)
        if before < INCIDENT_FAILURES <= before + command.count:
            happened.append(
                e.IncidentRaised(
                    code="failed_authentications",
                    detail=f"{before + command.count} failed authentications from {stamp.source} in ten minutes",
                )
            )
    return happened


def revoke_peer(state: State, command: c.RevokePeer) -> list[e.Event]:
    """A credential died: its charge point is held, what runs there is stopped."""
    happened: list[e.Event] = []
    charge_point = state.charge_points.get(ChargePointId(command.entity))
    if command.role is Role.ENGINE and charge_point is not None:
        happened += _place_hold(state, charge_point, Hold.REVOKED, StopCause.REVOKED, command.username)
    # Last, for it closes the channel: a stop that came after it would never arrive, and the vehicle would go on.
    happened.append(e.PeerRevoked(role=command.role, entity=command.entity, username=command.username))
    return happened


def raise_duplicate(state: State, command: c.RaiseDuplicate) -> list[e.Event]:
    """Nothing begins at this charge point any more; what runs there stays with its owner (SPEC §6.1)."""
    detail = f"two processes use the credential of {command.role.value} {command.entity}"
    happened: list[e.Event] = [e.IncidentRaised(code="duplicate_id", detail=detail)]
    charge_point = state.charge_points.get(ChargePointId(command.entity))
    if charge_point is None or not _speaks_for_charge_point(command.role) or Hold.DUPLICATE_ID in charge_point.holds:
        return happened
    happened.append(e.HoldPlaced(cp_id=charge_point.cp_id, hold=Hold.DUPLICATE_ID, detail=detail))
    command_id = next_command(state)
    for session in open_sessions_at(state, charge_point.cp_id):
        if session.status is SessionStatus.AUTHORIZED:
            happened += stop_session(session, StopCause.DUPLICATE_ID, command_id)
            command_id = CommandId(command_id + 1)
    return happened


def clear_duplicate(state: State, command: c.ClearDuplicate) -> list[e.Event]:
    """The quarrel is over; other holds stay."""
    charge_point = state.charge_points.get(ChargePointId(command.entity))
    ours = charge_point is not None and _speaks_for_charge_point(command.role)
    if charge_point is None or not ours or Hold.DUPLICATE_ID not in charge_point.holds:
        return []
    return [e.HoldLifted(cp_id=charge_point.cp_id, hold=Hold.DUPLICATE_ID)]


def _speaks_for_charge_point(role: Role) -> bool:
    return role in (Role.ENGINE, Role.MONITOR)


def owner_of_session(state: State, cp_id: ChargePointId) -> bytes | None:
    """The boot_id of the process that runs a session at this charge point; None when nothing runs there."""
    running = (session for session in open_sessions_at(state, cp_id) if session.status in RUNNING)
    return next((session.boot_id for session in running), None)


def boot(state: State, command: c.BootChargePoint) -> list[e.Event]:
    """The engine described itself: running sessions are online again, those that were settled have to stop."""
    if command.cp_id not in state.charge_points:
        return []
    told = (msgspec.structs.replace(one, min_w=one.min_w or MIN_W) for one in command.connectors)
    ratings = tuple(rating for rating in told if rating.max_w > 0 and rating.min_w <= rating.max_w)
    happened: list[e.Event] = []
    if len(ratings) < len(command.connectors):
        happened.append(
            e.AnomalySeen(code="rating_absurd", cp_id=command.cp_id, detail="a connector's minimum exceeds its rating")
        )
    happened.append(
        e.ChargePointBooted(cp_id=command.cp_id, connectors=ratings, model=command.model, firmware=command.firmware)
    )
    for session in open_sessions_at(state, command.cp_id):
        if session.status is SessionStatus.OFFLINE:
            happened.append(e.SessionOnline(session_id=session.session_id))
    command_id = next_command(state)
    for session in open_sessions_at(state, command.cp_id):
        if session.status is SessionStatus.INTERRUPTED:
            ordered = stop_session(session, StopCause.SILENT, command_id)
            happened += ordered
            command_id = CommandId(command_id + len(ordered))
    return happened


def report_status(state: State, command: c.ReportStatus) -> list[e.Event]:
    """A connector's condition, when it changed. Connector 0 speaks for all of them."""
    charge_point = state.charge_points.get(command.cp_id)
    if charge_point is None:
        return []
    numbers = sorted(charge_point.connectors) if command.connector == 0 else [command.connector]
    changed: list[e.Event] = []
    for no in numbers:
        connector = charge_point.connectors.get(no)
        if connector is None:
            continue
        # Connector 0 tells of the whole charge point's error, not of vehicles.
        occupied = connector.occupied if command.connector == 0 else command.occupied
        if (connector.occupied, connector.error) != (occupied, command.error):
            changed.append(
                e.ConnectorChanged(cp_id=command.cp_id, connector=no, occupied=occupied, error=command.error)
            )
    return changed


def report_plug(state: State, command: c.ReportPlug) -> list[e.Event]:
    """A vehicle came or went."""
    charge_point = state.charge_points.get(command.cp_id)
    connector = None if charge_point is None else charge_point.connectors.get(command.connector)
    if connector is None or connector.occupied == command.plugged:
        return []
    return [
        e.ConnectorChanged(
            cp_id=command.cp_id, connector=command.connector, occupied=command.plugged, error=connector.error
        )
    ]


def report_fault(state: State, command: c.ReportFault) -> list[e.Event]:
    """Stop now, whatever runs."""
    charge_point = state.charge_points.get(command.cp_id)
    if charge_point is None:
        return []
    detail = f"{command.code}: {command.detail}" if command.detail else command.code
    return _place_hold(state, charge_point, Hold.FAULT, StopCause.FAULT, detail)


def report_recovery(state: State, command: c.ReportRecovery) -> list[e.Event]:
    """The fault is gone; other holds stay."""
    charge_point = state.charge_points.get(command.cp_id)
    if charge_point is None or Hold.FAULT not in charge_point.holds:
        return []
    return [e.HoldLifted(cp_id=command.cp_id, hold=Hold.FAULT)]


def stop_charge_points(state: State, command: c.StopChargePoints) -> list[e.Event]:
    """An operator's hold on one charge point or on all."""
    return _for_each(state, command.cp_id, "stop", lambda cp: _stop_by_operator(state, cp))


def resume_charge_points(state: State, command: c.ResumeChargePoints) -> list[e.Event]:
    """Lift the operator's hold, and no other."""
    return _for_each(
        state,
        command.cp_id,
        "resume",
        lambda cp: [e.HoldLifted(cp_id=cp.cp_id, hold=Hold.ADMIN)] if Hold.ADMIN in cp.holds else [],
    )


def report_result(state: State, command: c.ReportResult) -> list[e.Event]:
    """What became of a command; which one it was, its session knows."""
    done = command.outcome == "done"
    for session in open_sessions_at(state, command.cp_id):
        sid = session.session_id
        if command.command_id == session.stop_command:
            return [e.StopConfirmed(session_id=sid)] if done and session.stopped_ms is None else []
        if command.command_id == session.authorize_command:
            if session.status is not SessionStatus.AUTHORIZED:
                return []
            if done:
                return [] if session.authorize_acknowledged else [e.AuthorizationAcknowledged(session_id=sid)]
            return stop_session(session, StopCause.REJECTED, next_command(state))
        if any(grant.command_id == command.command_id for grant in session.lease.grants):
            return _set_point_result(state, session, command)
    return []


def _set_point_result(state: State, session: Session, command: c.ReportResult) -> list[e.Event]:
    sid = session.session_id
    if command.outcome == "done":
        if session.lease.grants[0].command_id == command.command_id and session.lease.acknowledged:
            return []
        return [e.SetPointAcknowledged(session_id=sid, command_id=command.command_id)]
    happened: list[e.Event] = [
        e.SetPointRejected(
            session_id=sid, command_id=command.command_id, outcome=command.outcome, detail=command.detail
        )
    ]
    if session.status is not SessionStatus.AUTHORIZED or command.outcome != "expired":
        # A start that was too late is sent again. Anything else means that the charge point does not supply, and will
        # not: the session ends, with its report if there is one to come.
        happened += stop_session(session, StopCause.REJECTED, next_command(state))
    return happened


def outbox_position(state: State, cp_id: ChargePointId, n: int) -> RefusalReason | bool:
    """True: item ``n`` is the next one. False: it was applied before. A gap is refused (SPEC §6.3)."""
    charge_point = state.charge_points.get(cp_id)
    if charge_point is None:
        return False
    return RefusalReason.OUTBOX_GAP if n > charge_point.next_n else n == charge_point.next_n


def open_sessions_at(state: State, cp_id: ChargePointId) -> list[Session]:
    """The sessions bound to a charge point's connectors."""
    charge_point = state.charge_points.get(cp_id)
    if charge_point is None:
        return []
    ids = (connector.session_id for connector in charge_point.connectors.values())
    return [state.sessions[session_id] for session_id in ids if session_id is not None]


def _place_hold(state: State, charge_point: ChargePoint, hold: Hold, cause: StopCause, detail: str) -> list[e.Event]:
    if hold in charge_point.holds:
        return []
    placed = e.HoldPlaced(cp_id=charge_point.cp_id, hold=hold, detail=detail)
    return [placed, *stop_all_at(state, charge_point, cause)]


def _stop_by_operator(state: State, charge_point: ChargePoint) -> list[e.Event]:
    return _place_hold(state, charge_point, Hold.ADMIN, StopCause.STOPPED, "")


def _for_each(
    state: State, cp_id: ChargePointId | None, request: str, each: Callable[[ChargePoint], list[e.Event]]
) -> list[e.Event]:
    """Apply to one charge point or to all; command numbers go on rising across all of them."""
    if cp_id is not None:
        charge_point = state.charge_points.get(cp_id)
        if charge_point is None:
            reason = RefusalReason.UNKNOWN_CHARGE_POINT
            unknown = Objection(Obstacle.UNKNOWN, cp_id)
            return [e.RequestRefused(request=request, subject=cp_id, reason=reason, against=(unknown,))]
        return each(charge_point)
    happened: list[e.Event] = []
    offset = 0
    for charge_point in state.charge_points.values():
        for event in each(charge_point):
            if isinstance(event, e.StopOrdered | e.AuthorizationExpired):
                event = msgspec.structs.replace(event, command_id=CommandId(state.last_command + 1 + offset))
                offset += 1
            happened.append(event)
    return happened
