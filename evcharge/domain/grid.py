"""Who gets how much: capacity is shared equally, lowered first, raised only into room that is really there.

The rule for one substation. Sessions that cannot be steered now (offline, stopping, settled) keep what they may draw at
worst. What is left is shared equally among the others. A share that falls is sent at once; a share that rises waits
until the worst case of all (``energy.leases``) leaves room for it, that is until the decreases were acknowledged or ran
out. Fallbacks are the connectors' minima, whose sum was checked before each session was authorized.
"""

from __future__ import annotations

from evcharge.domain import events as e
from evcharge.domain.commands import Reallocate, SetCapacity
from evcharge.domain.reasons import Basis, Bound, Constraint, Input, Objection, Obstacle, Rejected
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import (
    LimitReason,
    LinkState,
    Session,
    SessionStatus,
    Stamp,
    State,
)
from evcharge.domain.views import may_start
from evcharge.energy.leases import Grant
from evcharge.energy.shares import Demand, equal_share
from evcharge.ids import CommandId
from evcharge.units import Watts

# Smallest raise worth a set-point: one ampere at 230 V. Frequent small writes wear out charge points' flash.
RAISE_STEP_W = 230
# Largest capacity that can be set: 1 GW. More is a slip of the keyboard.
MAX_CAPACITY_W = 1_000_000_000


def set_capacity(state: State, command: SetCapacity) -> list[e.Event]:
    """A new limit, from now on."""
    if command.substation_id not in state.substations:
        reason = RefusalReason.UNKNOWN_SUBSTATION
        against = Objection(Obstacle.UNKNOWN, f"substation {command.substation_id}")
    elif not 0 <= command.capacity_w <= MAX_CAPACITY_W:
        reason = RefusalReason.CAPACITY_OUT_OF_RANGE
        against = Objection(Obstacle.RANGE, "capacity_w", value=command.capacity_w, limit=MAX_CAPACITY_W)
    else:
        return [e.CapacityChanged(substation_id=command.substation_id, capacity_w=Watts(command.capacity_w))]
    return [e.RequestRefused(request="set_capacity", subject=command.substation_id, reason=reason, against=(against,))]


def reallocate(state: State, command: Reallocate, stamp: Stamp) -> list[e.Event]:
    """The set-points to send now for one substation."""
    substation = state.substations.get(command.substation_id)
    if substation is None or not substation.sessions:
        return []
    clock_ms = stamp.clock_ms
    members = [state.sessions[session_id] for session_id in substation.sessions]
    # Those that charge already come first where not all minima fit: nobody is paused so that another can start.
    steered = sorted((s for s in members if _steerable(state, s)), key=lambda s: s.lease.newest is None)
    worst_w = {session.session_id: session.lease.worst_w(clock_ms) for session in members}
    ids = {session.session_id for session in steered}
    fixed_w = sum(watts for session_id, watts in worst_w.items() if session_id not in ids)
    shares = equal_share(
        max(0, substation.capacity_w - fixed_w), [Demand(session.min_w, session.max_w) for session in steered]
    )
    all_w = sum(worst_w.values())
    room_w = substation.capacity_w - all_w
    lowering = any(session.lease.worst_w(clock_ms) > share for session, share in zip(steered, shares, strict=True))
    happened: list[e.Event] = []
    for session, share in zip(steered, shares, strict=True):
        limit_w = _next_limit(session, share, worst_w[session.session_id], room_w, lowering=lowering)
        if limit_w is None:
            if not _needs_renewal(state, session, clock_ms):
                continue
            newest = session.lease.newest
            limit_w = 0 if newest is None else min(newest.limit_w, worst_w[session.session_id])
        room_w -= max(0, limit_w - worst_w[session.session_id])
        command_id = CommandId(state.last_command + 1 + len(happened))
        basis = _basis(
            session,
            limit_w,
            share,
            stamp,
            Bound(Constraint.CAPACITY, command.substation_id, substation.capacity_w, fixed_w, len(steered)),
            others_w=all_w - worst_w[session.session_id],
        )
        happened.append(_issue(state, session, limit_w, command_id, clock_ms, basis))
    return happened


def _basis(session: Session, limit_w: int, share_w: int, stamp: Stamp, shared: Bound, *, others_w: int) -> Basis:
    """Why this session gets ``limit_w``: what binds, how old the meter was, what was wanted and not given."""
    waits = limit_w < share_w and limit_w < session.max_w
    if limit_w >= session.max_w:
        bound = Bound(Constraint.RATING, f"{session.cp_id}/{session.connector}", session.max_w)
    elif waits:
        bound = Bound(Constraint.WORST_CASE, shared.node, shared.limit_w, others_w)
    elif limit_w < session.min_w:
        bound = Bound(Constraint.MINIMA, shared.node, shared.limit_w, others_w)
    else:
        bound = shared
    rejected = []
    if waits:
        rejected.append(Rejected(share_w, Constraint.WORST_CASE))
    if share_w < session.max_w:
        rejected.append(Rejected(session.max_w, Constraint.MINIMA if share_w < session.min_w else Constraint.CAPACITY))
    meter = Input("meter", max(0, stamp.at_ms - session.meter_ms))
    return Basis(bound, (meter,) if session.start_ms is not None else (), tuple(rejected))


def _steerable(state: State, session: Session) -> bool:
    """Whether a set-point can be sent to this session now."""
    charge_point = state.charge_points[session.cp_id]
    if charge_point.engine.state is not LinkState.UP or not charge_point.booted or session.stop is not None:
        return False
    if session.status is SessionStatus.AUTHORIZED:
        connector = charge_point.connectors[session.connector]
        return session.start_valid_ms is not None or (connector.occupied and may_start(charge_point, connector))
    return session.status in (SessionStatus.SUPPLYING, SessionStatus.PAUSED)


def _next_limit(session: Session, share_w: int, worst_w: int, room_w: int, *, lowering: bool) -> int | None:
    """The limit to send, or None when nothing has to change (or cannot yet)."""
    newest = session.lease.newest
    # A set-point that ran out is worth its fallback only, which is then the worst case as well.
    current_w = 0 if newest is None else min(newest.limit_w, worst_w)
    if newest is not None and share_w < current_w:
        return share_w
    possible_w = share_w if share_w <= worst_w else min(share_w, worst_w + max(0, room_w))
    if possible_w < share_w and lowering and current_w > 0:
        # Others are on their way down: wait for them and raise once, not twice.
        return None
    if possible_w < session.min_w or possible_w <= current_w:
        return None
    if current_w >= session.min_w and possible_w - current_w < RAISE_STEP_W:
        return None
    return possible_w


def _needs_renewal(state: State, session: Session, clock_ms: int) -> bool:
    """Whether the newest set-point has less than half its life left, or a start was never answered."""
    newest = session.lease.newest
    if newest is None:
        return False
    if session.status is SessionStatus.AUTHORIZED:
        return session.start_valid_ms is None or clock_ms > session.start_valid_ms
    return clock_ms > newest.expires_ms - state.site.lease_ms // 2


def _issue(
    state: State,
    session: Session,
    limit_w: int,
    command_id: CommandId,
    clock_ms: int,
    basis: Basis,
) -> e.SetPointIssued:
    reason = LimitReason.EQUAL_SHARE
    if limit_w < session.min_w:
        reason = LimitReason.NO_CAPACITY
    elif limit_w >= session.max_w:
        reason = LimitReason.RATING
    starting = session.status is SessionStatus.AUTHORIZED
    return e.SetPointIssued(
        session_id=session.session_id,
        grant=Grant(
            command_id=command_id,
            limit_w=limit_w,
            fallback_w=min(session.min_w, limit_w),
            expires_ms=clock_ms + state.site.lease_ms,
        ),
        reason=reason,
        start_valid_ms=clock_ms + state.site.start_ms if starting else None,
        basis=basis,
    )
