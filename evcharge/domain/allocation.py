"""Who gets how much now: shares from the allocator, lowered first, raised only into room that is really there.

Sessions that cannot be steered (offline, stopping, settled) keep what they may draw at worst; what is left is shared by
``energy.policies.dispatch``. A share that falls is sent at once; one that rises waits until the worst case of all
(``headroom``) leaves room for it, that is until the decreases were acknowledged or ran out. Fallbacks are the
connectors' minima, whose sum was checked at every node before each session was authorized.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from evcharge.domain import events as e
from evcharge.domain.commands import Reallocate
from evcharge.domain.demand import demand_of, node_of, plan_of, step_w, waits
from evcharge.domain.failover import PROBE_MS, Placing, linked
from evcharge.domain.feeds import above, feeds_of
from evcharge.domain.headroom import Headroom, Row, base_w, heat_takes, limit_of, tight_nodes
from evcharge.domain.health import tried_again
from evcharge.domain.limits import most_w
from evcharge.domain.meters import Meters
from evcharge.domain.reasons import Basis, Bound, Constraint, Rejected
from evcharge.domain.state import Session, State
from evcharge.domain.views import may_start
from evcharge.domain.words import Health, LimitReason, LinkState, SessionStatus, Stamp
from evcharge.energy import model as en
from evcharge.energy.allocate import CALM_MS
from evcharge.energy.ceilings import SOFT_CAP, ceilings_w
from evcharge.energy.leases import Grant
from evcharge.energy.model import Input, Policy
from evcharge.energy.policies import dispatch
from evcharge.ids import CommandId, NodeId, SessionId

# The next look at every node comes this soon at the latest, ms: renewals look every 3 s, and a need that is nearly met
# is spread over no more than that.
LOOK_MS = 3_000

_REASONS = {
    en.Limit.RATING: (LimitReason.RATING, Constraint.RATING),
    en.Limit.NEED: (LimitReason.NEED, Constraint.NEED),
    en.Limit.NODE: (LimitReason.SHARED, Constraint.CAPACITY),
    en.Limit.PLAN: (LimitReason.PLAN, Constraint.PLAN),
    en.Limit.RULE: (LimitReason.RULE, Constraint.RULE),
    en.Limit.MINIMA: (LimitReason.NO_CAPACITY, Constraint.MINIMA),
    en.Limit.WHOLE_AMPERES: (LimitReason.SHARED, Constraint.CAPACITY),
    en.Limit.STEADY: (LimitReason.STEADY, Constraint.STEADY),
    en.Limit.RAMP: (LimitReason.RAMP, Constraint.RAMP),
}


def reallocate(state: State, command: Reallocate, stamp: Stamp) -> list[e.Event]:
    """The set-points to send now in the tree that ``node_id`` belongs to."""
    if command.node_id not in state.nodes:
        return []
    trees = linked(state, command.node_id)
    nodes = [node_id for tree in trees for node_id in tree]
    tried = tried_again(state, nodes, stamp)
    if tried:
        return tried
    placing = Placing(state, nodes, stamp)
    free_of_plans = placing.calm and not _held_back(state, trees, stamp)
    tight = tight_nodes(state, command.measured_w) if free_of_plans else None
    members: list[Session] = []
    free: list[Session] = []
    for node_id in nodes:
        if sessions := state.nodes[node_id].sessions:
            bound = tight is None or not tight.isdisjoint(above(state, node_id))
            (members if bound else free).extend(state.sessions[session_id] for session_id in sessions)
    if not members and not free and placing.calm:
        return []
    return _Round(state, command, stamp, trees, members, placing).events(free)


def _held_back(state: State, trees: Sequence[Sequence[NodeId]], stamp: Stamp) -> bool:
    """Whether rules or a plan may keep power from sessions that no limit keeps it from."""
    if state.site.rules:
        return True
    plans = (plan_of(state, tree[0]) for tree in trees if state.site.policy is Policy.PLAN)
    return any(plan is not None and plan.holds(stamp.at_ms) for plan in plans)


class _Round:
    """One look at one tree, and at those that stand in for parts of it."""

    def __init__(
        self,
        state: State,
        command: Reallocate,
        stamp: Stamp,
        trees: Sequence[Sequence[NodeId]],
        members: Sequence[Session],
        placing: Placing,
    ) -> None:
        self._state, self._command, self._stamp = state, command, stamp
        self._trees, self._members, self._placing = trees, members, placing
        self._worst_w = {session.session_id: session.lease.worst_w(stamp.clock_ms) for session in members}
        self._ceiling_w: dict[str, int] = {}
        self._headroom = Headroom(state, members, self._worst_w, command.measured_w)
        self._meters = Meters(state, command, self._headroom.measured_w, stamp.at_ms)
        self._homeward = {} if placing.calm else placing.homeward(self._headroom)
        self._held: dict[SessionId, NodeId] = {}
        """Sessions that may have no more than their smallest current, or nothing, and the lost node that is why."""

    def events(self, free: Sequence[Session]) -> list[e.Event]:
        """The set-points of this look, then who moves. ``free`` are those whom no limit holds back."""
        issued = self._shared() if self._members else []
        for session in free:
            if _steerable(self._state, session) and (limit_w := self._unlimited(session)) is not None:
                # What is not raised to all that it may have was lowered a moment ago, and is raised when that is over.
                own_w = most_w(self._state, session)
                steady = en.SetPoint(limit_w, en.Limit.STEADY, wanted_w=own_w)
                point = steady if limit_w < own_w else en.SetPoint(limit_w, en.Limit.RATING)
                reason, basis = self._basis(session, limit_w, point)
                command_id = CommandId(self._state.last_command + 1 + len(issued))
                issued.append(self._issue(session, limit_w, command_id, reason, basis))
        if self._placing.calm:
            return [*issued]
        changing = {
            event.session_id: None
            for event in issued
            if event.grant.limit_w != self._current_w(self._state.sessions[event.session_id])
        }
        return [*issued, *self._placing.moves(self._headroom, self._homeward, changing)]

    def _unlimited(self, session: Session) -> int | None:
        """All that it takes and may have, unless it had less until a moment ago; None when nothing has to be sent."""
        own_w = most_w(self._state, session)
        newest, at_ms = session.lease.newest, self._stamp.at_ms
        current_w = 0 if newest is None else min(newest.limit_w, session.lease.worst_w(self._stamp.clock_ms))
        if own_w < current_w:
            return own_w
        if current_w < own_w and own_w >= session.min_w:
            # Who has nothing, from a plan that is no more perhaps, is not kept waiting for calm.
            at_once = not current_w or waits(session, current_w) or session.limit_ms is None
            since_ms = None if at_once or session.limit_ms is None else at_ms - session.limit_ms
            if since_ms is None or not 0 <= since_ms < CALM_MS:
                return own_w
        return current_w if self._needs_renewal(session) or self._begins_paused(session) else None

    def _shared(self) -> list[e.SetPointIssued]:
        """For those who share: decreases as they are, raises as far as there is room; what has little life left is
        renewed.
        """
        steered = [session for session in self._members if _steerable(self._state, session)]
        points = self._points(steered)
        lowering = any(self._worst_w[s.session_id] > points[s.session_id].watts for s in steered)
        # Who has nothing comes first into what room there is.
        steered.sort(key=lambda session: (self._current_w(session), session.session_id))
        happened: list[e.SetPointIssued] = []
        for session in steered:
            point = points[session.session_id]
            limit_w = self._next_limit(session, point, lowering=lowering)
            if limit_w is None:
                if not self._needs_renewal(session):
                    continue
                limit_w = self._current_w(session)
            raised_w = max(0, limit_w - self._worst_w[session.session_id])
            reason, basis = self._basis(session, limit_w, point)
            self._headroom.take(session, raised_w)
            command_id = CommandId(self._state.last_command + 1 + len(happened))
            happened.append(self._issue(session, limit_w, command_id, reason, basis))
        return happened

    # --- what the allocator says ----------------------------------------------------------------------------------

    def _points(self, steered: Sequence[Session]) -> dict[str, en.SetPoint]:
        """Its set-points by session, as if everybody stood where it is to be fed from: room is made there first."""
        state, now_ms = self._state, self._stamp.at_ms
        at = {session.session_id: node_id for session in steered if (node_id := self._place(session)) is not None}
        kept_w: dict[NodeId, int] = {}
        for session in self._members:
            shared = frozenset(above(state, at[session.session_id]) if session.session_id in at else ())
            for node_id in feeds_of(state, session.cp_id):
                if node_id not in shared:
                    kept_w[node_id] = kept_w.get(node_id, 0) + self._worst_w[session.session_id]
        policy = state.site.policy
        if policy is Policy.RULES:
            policy = Policy.SLLF
        points: dict[str, en.SetPoint] = {}
        for tree in self._trees:
            there, plan = frozenset(tree), plan_of(state, tree[0])
            sessions = [
                demand_of(state, session, at[session.session_id], now_ms, self._current_w(session), plan)
                for session in steered
                if at.get(session.session_id) in there
            ]
            nodes = [node_of(state, node_id, self._headroom.measured_w, kept_w.get(node_id, 0)) for node_id in tree]
            if state.site.rules:
                sessions, nodes = self._under_rules(sessions, nodes)
            known = plan if self._placing.knew(plan) else None
            points |= dispatch(policy, now_ms, sessions, nodes, known, look_ms=LOOK_MS)
        if not self._placing.calm:
            self._hold_back(steered, points)
        return points

    def _place(self, session: Session) -> NodeId | None:
        """The node that it is to be fed from soon; None: there is none."""
        goals, cp_id = self._placing.goals, session.cp_id
        if cp_id not in goals:
            return session.node_id
        if goals[cp_id] is None or self._lost(session) is not None or cp_id in self._homeward:
            return goals[cp_id]
        return session.node_id

    def _lost(self, session: Session) -> NodeId | None:
        return self._placing.lost_above(self._state.charge_points[session.cp_id])

    def _hold_back(self, steered: Sequence[Session], points: dict[str, en.SetPoint]) -> None:
        """Change ``points`` of those below a lost node, and of those that wait while others show it to be well."""
        for session in steered:
            lost = self._lost(session) if session.cp_id in self._placing.goals else None
            if lost is not None:
                share_w = points[session.session_id].watts if session.session_id in points else 0
                # Never up: more comes when it is fed from elsewhere. The smallest current makes the least to move.
                down_w = min(session.min_w if share_w >= session.min_w else 0, self._current_w(session))
                points[session.session_id] = en.SetPoint(down_w, en.Limit.NODE, lost)
                self._held[session.session_id] = lost
        for node_id in (each for tree in self._trees for each in tree):
            if self._state.nodes[node_id].health is Health.PROBING:
                below = [s for s in steered if node_id in above(self._state, s.node_id) and s.session_id in points]
                self._try_one(node_id, below, points)

    def _try_one(self, node_id: NodeId, below: Sequence[Session], points: dict[str, en.SetPoint]) -> None:
        """On trial: who has power keeps it; of the others one may begin, and the next when that showed nothing."""
        waiting = [s for s in below if self._current_w(s) == 0 and s.session_id not in self._held]
        since = [s.turned_ms for s in below if self._current_w(s) > 0 and s.turned_ms is not None]
        if not any(self._stamp.at_ms - turned_ms < PROBE_MS for turned_ms in since):
            able = [s for s in waiting if points[s.session_id].watts > 0]
            first = min(able, key=lambda s: (s.turned_ms or s.authorized_ms, s.session_id), default=None)
            waiting = [s for s in waiting if s is not first]
        for session in waiting:
            points[session.session_id] = en.SetPoint(0, en.Limit.NODE, node_id)
            self._held[session.session_id] = node_id

    def _under_rules(
        self, sessions: Sequence[en.Session], nodes: Sequence[en.Node]
    ) -> tuple[list[en.Session], list[en.Node]]:
        """Nobody above the rules' ceiling, and the site below the load at which charging itself would bring a pause."""
        tops_w = ceilings_w(self._stamp.at_ms, sessions, self._state.ruling)
        self._ceiling_w |= {each.id: int(tops_w[each.id]) for each in sessions if tops_w[each.id] < each.max_w}
        under = [msgspec.structs.replace(each, max_w=int(tops_w[each.id])) for each in sessions]
        soft = [
            each if each.parent else msgspec.structs.replace(each, cap_w=int(each.cap_w * SOFT_CAP)) for each in nodes
        ]
        return under, soft

    # --- what is really sent --------------------------------------------------------------------------------------

    def _current_w(self, session: Session) -> int:
        """What it may draw by its newest set-point; one that ran out is worth its fallback only."""
        newest = session.lease.newest
        return 0 if newest is None else min(newest.limit_w, self._worst_w[session.session_id])

    def _next_limit(self, session: Session, point: en.SetPoint, *, lowering: bool) -> int | None:
        """The limit to send, or None when nothing has to change (or cannot yet)."""
        current_w, worst_w = self._current_w(session), self._worst_w[session.session_id]
        share_w = self._share_w(session, point)
        if session.lease.newest is not None and share_w < current_w:
            return share_w
        possible_w = share_w if share_w <= worst_w else min(share_w, worst_w + self._headroom.of(session))
        if possible_w < share_w:
            if lowering and current_w > 0:
                # Others are on their way down: wait for them and raise once, not twice.
                return None
            possible_w = _whole_amperes(session, possible_w)
        if possible_w < session.min_w or possible_w <= current_w:
            return 0 if self._begins_paused(session) else None
        return possible_w

    def _begins_paused(self, session: Session) -> bool:
        """A vehicle that is there and gets nothing yet: half-way to the lapse of its authorization the session begins
        at 0 W. Who only waits until others have come down begins with what it gets, and is told once.
        """
        if session.status is not SessionStatus.AUTHORIZED or session.lease.newest is not None:
            return False
        return self._stamp.at_ms >= (session.authorized_ms + session.expires_ms) // 2

    def _share_w(self, session: Session, point: en.SetPoint) -> int:
        """The allocator's watts, to the connector's own smallest and largest power where these are no whole amperes."""
        if 0 < point.watts < session.min_w + en.MIN_A:
            return session.min_w
        top_w = self._ceiling_w.get(session.session_id, most_w(self._state, session))
        if point.limit is en.Limit.RATING and 0 < top_w - point.watts < step_w(session):
            return min(top_w, self._worst_w[session.session_id] + self._headroom.of(session))
        return point.watts

    def _needs_renewal(self, session: Session) -> bool:
        """Whether the newest set-point has less than half its life left, or a start was never answered."""
        newest, clock_ms = session.lease.newest, self._stamp.clock_ms
        if newest is None:
            return False
        if session.status is SessionStatus.AUTHORIZED:
            return session.start_valid_ms is None or clock_ms > session.start_valid_ms
        return clock_ms > newest.expires_ms - self._state.site.lease_ms // 2

    def _issue(
        self, session: Session, limit_w: int, command_id: CommandId, reason: LimitReason, basis: Basis
    ) -> e.SetPointIssued:
        clock_ms, site = self._stamp.clock_ms, self._state.site
        starting = session.status is SessionStatus.AUTHORIZED
        return e.SetPointIssued(
            session_id=session.session_id,
            grant=Grant(
                command_id=command_id,
                limit_w=limit_w,
                fallback_w=min(session.min_w, limit_w),
                expires_ms=clock_ms + site.lease_ms,
            ),
            reason=reason,
            start_valid_ms=clock_ms + site.start_ms if starting else None,
            basis=basis,
        )

    # --- why ------------------------------------------------------------------------------------------------------

    def _basis(self, session: Session, limit_w: int, point: en.SetPoint) -> tuple[LimitReason, Basis]:
        """Why this session gets ``limit_w``: what binds, how old the inputs were, what was wanted and not given."""
        if session.session_id in self._held:
            held = Bound(Constraint.NODE_LOST, self._held[session.session_id], limit_w)
            inputs = [] if session.start_ms is None else [Input("meter", self._age_ms(session.meter_ms))]
            return LimitReason.NODE_LOST, Basis(held, (*inputs, *self._base_loads(session)))
        limit = point.limit
        if limit is en.Limit.RATING and session.session_id in self._ceiling_w:
            limit = en.Limit.RULE
        own_w = most_w(self._state, session)
        own = _REASONS[en.Limit.RATING] if own_w >= session.max_w else (LimitReason.OPERATOR, Constraint.OPERATOR)
        reason, constraint = own if limit is en.Limit.RATING else _REASONS[limit]
        rejected = []
        if limit_w < point.watts and limit_w < own_w:
            reason, constraint = LimitReason.WAITING, Constraint.WORST_CASE
            rejected.append(Rejected(point.watts, Constraint.WORST_CASE))
        elif limit_w >= own_w:
            reason, constraint = own
        if point.watts < own_w and limit is not en.Limit.RATING:
            rejected.append(Rejected(own_w, _REASONS[limit][1]))
        inputs = [] if session.start_ms is None else [Input("meter", self._age_ms(session.meter_ms))]
        if constraint is Constraint.PLAN and (plan := plan_of(self._state, session.node_id)) is not None:
            inputs.append(Input("plan", self._age_ms(plan.made_ms)))
        if constraint is Constraint.RULE and self._state.ruling is not None:
            inputs += [Input(each.name, each.age_ms or 0) for each in self._state.ruling.inputs]
        inputs += self._base_loads(session)
        bound = self._bound(session, constraint, point)
        return reason, Basis(bound, (*inputs, *self._thermometer(bound.rated_w)), tuple(rejected))

    def _base_loads(self, session: Session) -> tuple[Input, ...]:
        return self._meters.inputs(feeds_of(self._state, session.cp_id))

    def _thermometer(self, rated_w: int) -> tuple[Input, ...]:
        """How old the temperature is, where the heat has a part in it and anybody knows how hot it is."""
        derated = self._state.derated
        if not rated_w or derated is None or derated.at_ms is None:
            return ()
        return (Input("temperature", self._age_ms(derated.at_ms)),)

    def _bound(self, session: Session, constraint: Constraint, point: en.SetPoint) -> Bound:
        if constraint is Constraint.RULE and self._state.ruling is not None:
            return Bound(constraint, self._state.ruling.rule.value, self._state.ruling.ceiling_w)
        if constraint is Constraint.OPERATOR:
            return Bound(constraint, session.cp_id, self._state.charge_points[session.cp_id].limit_w or 0)
        if constraint in (Constraint.RATING, Constraint.NEED, Constraint.STEADY, Constraint.RAMP):
            at = f"{session.cp_id}/{session.connector}"
            return Bound(constraint, at, session.max_w if constraint is Constraint.RATING else point.wanted_w)
        worst_w = self._worst_w[session.session_id]
        row = self._headroom.tightest(session) if constraint is Constraint.WORST_CASE else self._row(session, point.at)
        limit_w = limit_of(self._state, row)
        if constraint is Constraint.PLAN:
            plan = plan_of(self._state, session.node_id)
            planned_w = None if plan is None else plan.target_at(row.node_id, self._stamp.at_ms)
            limit_w = limit_w if planned_w is None else planned_w
        base = base_w(self._state.nodes[row.node_id], self._headroom.measured_w.get(row.node_id))
        others_w = max(0, limit_of(self._state, row) - base - self._headroom.left_w(row) - worst_w)
        # What a plan gives is without the base load.
        planned = constraint is Constraint.PLAN
        heat_w = 0 if planned else heat_takes(self._state, row)
        return Bound(
            constraint, str(row), limit_w, others_w, self._headroom.sharing(row), 0 if planned else base, heat_w
        )

    def _row(self, session: Session, at: str) -> Row:
        """The row that the allocator names; its own node where it names none."""
        if at in self._state.nodes:
            return Row(NodeId(at))
        node_id, _, phase = at.rpartition("/L")
        node = self._state.nodes.get(NodeId(node_id))
        if node is None or node.phase_w is None or phase not in ("1", "2", "3"):
            return Row(session.node_id)
        return Row(NodeId(node_id), int(phase) - 1)

    def _age_ms(self, at_ms: int) -> int:
        return max(0, self._stamp.at_ms - at_ms)


def _steerable(state: State, session: Session) -> bool:
    """Whether a set-point can be sent to this session now."""
    charge_point = state.charge_points[session.cp_id]
    if charge_point.engine.state is not LinkState.UP or not charge_point.booted or session.stop is not None:
        return False
    if session.status is SessionStatus.AUTHORIZED:
        connector = charge_point.connectors[session.connector]
        return session.start_valid_ms is not None or (connector.occupied and may_start(charge_point, connector))
    return session.status in (SessionStatus.SUPPLYING, SessionStatus.PAUSED)


def _whole_amperes(session: Session, watts: int) -> int:
    """At most ``watts``, in whole amperes."""
    ampere_w = step_w(session)
    return session.min_w if session.min_w <= watts < session.min_w + ampere_w else watts // ampere_w * ampere_w
