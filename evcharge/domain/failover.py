"""Where each charge point is to be fed from, and when it may move there.

A charge point moves when the worst case of its sessions fits at the new nodes beside all that is there. Until nothing
from before the move rules any more, and the time is over in which transfer switches follow, it counts at the old ones
too, so no limit is passed whichever feed its switch has at that instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from evcharge.domain import events as e
from evcharge.domain.feeds import above, awaits_place, feeds_of, home_of, path_of
from evcharge.domain.headroom import Headroom, overfull, shares_of
from evcharge.domain.health import all_up, lost_on
from evcharge.domain.site import NodeConfig
from evcharge.domain.state import ChargePoint, Session, State
from evcharge.domain.words import Health, SessionStatus, Stamp
from evcharge.energy.model import Plan
from evcharge.ids import ChargePointId, NodeId, SessionId

# A charge point does not move again sooner, and its own node has to be well for so long before it moves home, ms: a
# node that flaps must not make transfer switches flap.
STEADY_MS = 60_000
# How long a transfer switch may take to follow, ms, channel clock (SPEC §7.6): for a gateway that asks every few
# seconds, and asks again when an answer was lost.
SWITCH_MS = 60_000
# How long a session on trial has to show that it is supplied before the next one is tried beside it, ms: twice the
# longest time between two logged meter values.
PROBE_MS = 60_000

_NOTHING_SAID = NodeConfig()


def linked(state: State, node_id: NodeId) -> list[list[NodeId]]:
    """All trees that share charge points with the one of ``node_id``, its own among them; in configured order."""
    roots = {each: [*above(state, each)][-1] for each in state.nodes}
    near: dict[NodeId, set[NodeId]] = {}
    for one, other in _links(state):
        near.setdefault(roots[one], set()).add(roots[other])
        near.setdefault(roots[other], set()).add(roots[one])
    found, todo = {roots[node_id]}, [roots[node_id]]
    while todo:
        fresh = near.get(todo.pop(), set()) - found
        found |= fresh
        todo += fresh
    trees: dict[NodeId, list[NodeId]] = {}
    for each, root in roots.items():
        if root in found:
            trees.setdefault(root, []).append(each)
    return list(trees.values())


def _links(state: State) -> Iterator[tuple[NodeId, NodeId]]:
    for node_id, placed in state.site.nodes.items():
        for backup in placed.backups:
            yield node_id, backup
    for cp_id in state.away:
        charge_point = state.charge_points[cp_id]
        yield home_of(state.site, cp_id), charge_point.node_id
        if charge_point.leaving_id is not None:
            yield charge_point.leaving_id, charge_point.node_id


class Placing:
    """Which charge points of some trees should be fed from elsewhere."""

    def __init__(self, state: State, nodes: Sequence[NodeId], stamp: Stamp) -> None:
        self._state, self._stamp = state, stamp
        self._goals: dict[tuple[NodeId, NodeId], NodeId | None] = {}
        self._there = frozenset(nodes)
        self.calm = not state.away and all_up(state, nodes)
        """Whether everybody is where it belongs, and may stay."""
        self.goals: dict[ChargePointId, NodeId | None] = {}
        """Those that are not where they should be; None: nothing can feed them."""
        if not self.calm:
            for charge_point in state.charge_points.values():
                if charge_point.node_id in self._there:
                    goal = self._goal(charge_point)
                    if goal != charge_point.node_id:
                        self.goals[charge_point.cp_id] = goal

    def _goal(self, charge_point: ChargePoint) -> NodeId | None:
        here = charge_point.node_id
        key = (home_of(self._state.site, charge_point.cp_id), here)
        if key not in self._goals:
            self._goals[key] = self._goal_from(charge_point.cp_id, *key)
        return self._goals[key]

    def _goal_from(self, cp_id: ChargePointId, home: NodeId, here: NodeId) -> NodeId | None:
        state = self._state
        well = lost_on(state, path_of(state, cp_id, here)) is None
        if here == home:
            return here if well else self._backup(home, here)
        if all_up(state, above(state, home)) and (not well or self._steady(home)):
            return home
        return here if well else self._backup(home, here)

    def _steady(self, home: NodeId) -> bool:
        since = (self._state.nodes[each].since_ms for each in above(self._state, home))
        return all(since_ms is None or self._stamp.at_ms - since_ms >= STEADY_MS for since_ms in since)

    def _backup(self, home: NodeId, here: NodeId) -> NodeId | None:
        """The first that is well. What is above the lowest lost node cannot help: the lost one is in the way."""
        state = self._state
        for each in above(state, home):
            for backup in state.site.nodes.get(each, _NOTHING_SAID).backups:
                if backup != here and all_up(state, above(state, backup)):
                    return backup
            if state.nodes[each].health is Health.LOST:
                break
        return None

    def knew(self, plan: Plan | None) -> bool:
        """Whether a plan was made since the last change of what is fed from where; targets of before fit nobody now.

        What the rules allow is no target, and holds.
        """
        if plan is None or plan.ruling is not None:
            return True
        state = self._state
        changes = [state.nodes[node_id].since_ms for node_id in self._there]
        changes += [state.charge_points[cp_id].moved_ms for cp_id in state.away]
        return all(at_ms is None or at_ms <= plan.made_ms for at_ms in changes)

    def lost_above(self, charge_point: ChargePoint) -> NodeId | None:
        """The node that keeps it from being fed where it is now."""
        return lost_on(self._state, path_of(self._state, charge_point.cp_id, charge_point.node_id))

    # --- moving -------------------------------------------------------------------------------------------------------

    def homeward(self, headroom: Headroom) -> dict[ChargePointId, NodeId]:
        """The next that goes home, one for each node: those whose smallest currents fit there for good. And all that
        get another place when they are free: they count there already, so their shares are made to fit there.
        """
        found: dict[NodeId, ChargePointId] = {}
        placed: dict[ChargePointId, NodeId] = {}
        for cp_id, goal in self.goals.items():
            charge_point = self._state.charge_points[cp_id]
            if goal is None or self.lost_above(charge_point) is not None:
                continue
            if awaits_place(charge_point):
                placed[cp_id] = goal
            elif goal not in found and self._may_move(charge_point) and self._minima_fit(cp_id, goal, headroom):
                found[goal] = cp_id
        return placed | {cp_id: goal for goal, cp_id in found.items()}

    def _minima_fit(self, cp_id: ChargePointId, goal: NodeId, headroom: Headroom) -> bool:
        state = self._state
        min_w = sum(session.min_w for session in sessions_at(state, cp_id))
        new = self._new_nodes(cp_id, goal)
        return overfull(state, shares_of(state, cp_id, new), min_w, headroom.measured_w) is None

    def _new_nodes(self, cp_id: ChargePointId, goal: NodeId) -> list[NodeId]:
        """Where it does not count yet."""
        counted = feeds_of(self._state, cp_id)
        return [each for each in path_of(self._state, cp_id, goal) if each not in counted]

    def _may_move(self, charge_point: ChargePoint) -> bool:
        if charge_point.leaving_id is not None:
            return False
        return charge_point.moved_ms is None or self._stamp.at_ms - charge_point.moved_ms >= STEADY_MS

    def moves(
        self, headroom: Headroom, homeward: Mapping[ChargePointId, NodeId], changing: Mapping[SessionId, object]
    ) -> list[e.Event]:
        """Who moves now: it fits, and no session of it was just told something else (``changing``)."""
        happened: list[e.Event] = [
            e.MoveCompleted(cp_id=cp_id)
            for cp_id in self._state.away
            if self._state.charge_points[cp_id].node_id in self._there and self._completed(cp_id)
        ]
        for cp_id, goal in self.goals.items():
            charge_point = self._state.charge_points[cp_id]
            lost = self.lost_above(charge_point)
            if goal is None or (lost is None and cp_id not in homeward):
                continue
            cause = "home is well again" if lost is None else f"{lost} is lost"
            if self._may_move(charge_point) and self._fits(cp_id, goal, headroom, changing):
                happened.append(_moved(charge_point, goal, cause))
        return happened + self._on_trial(headroom, changing)

    def _completed(self, cp_id: ChargePointId) -> bool:
        charge_point = self._state.charge_points[cp_id]
        if charge_point.leaving_id is None or awaits_place(charge_point):
            return False
        if self._stamp.clock_ms - charge_point.moved_clock_ms < SWITCH_MS:
            return False
        return not any(
            grant.command_id <= charge_point.moved_command and grant.worst_w(self._stamp.clock_ms) > 0
            for session in sessions_at(self._state, cp_id)
            for grant in session.lease.grants
        )

    def _fits(
        self, cp_id: ChargePointId, goal: NodeId, headroom: Headroom, changing: Mapping[SessionId, object]
    ) -> bool:
        sessions = sessions_at(self._state, cp_id)
        if any(session.session_id in changing for session in sessions):
            return False
        return headroom.admit(sessions, self._new_nodes(cp_id, goal))

    def _on_trial(self, headroom: Headroom, changing: Mapping[SessionId, object]) -> list[e.Event]:
        """A node on trial that nobody stands at is tried with a charge point that is away and charges."""
        state = self._state
        for cp_id in state.away:
            charge_point = state.charge_points[cp_id]
            home = home_of(state.site, cp_id)
            way = tuple(above(state, home))
            if home not in self._there or charge_point.node_id == home or cp_id in self.goals:
                continue
            if lost_on(state, way) is not None or all_up(state, way) or not self._may_move(charge_point):
                continue
            trials = {each for each in way if state.nodes[each].health is Health.PROBING}
            occupied = any(state.nodes[each].sessions for each in self._there if trials & {*above(state, each)})
            charging = any(session.status is SessionStatus.SUPPLYING for session in sessions_at(state, cp_id))
            if charging and not occupied and self._fits(cp_id, home, headroom, changing):
                return [_moved(charge_point, home, "it shows whether its own node is well")]
        return []


def _moved(charge_point: ChargePoint, goal: NodeId, cause: str) -> e.ChargePointMoved:
    return e.ChargePointMoved(cp_id=charge_point.cp_id, from_id=charge_point.node_id, to_id=goal, cause=cause)


def sessions_at(state: State, cp_id: ChargePointId) -> list[Session]:
    """The sessions at a charge point's connectors."""
    ids = (connector.session_id for connector in state.charge_points[cp_id].connectors.values())
    return [state.sessions[session_id] for session_id in ids if session_id is not None]
