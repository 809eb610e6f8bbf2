"""What one more vehicle would get if it came now: a dry run of the sharing, without anybody being told anything.

Each node's limit, less its base load and what those keep who cannot be steered, is shared max-min fairly among all that
charge or may begin below it and the newcomer; what others cannot have at a lower node is not counted against it higher
up. That is what the allocator does for vehicles whose departure nobody knows, without its whole amperes and its turns;
a plan may leave less for now. It costs one look at every session for a whole question, however many charge points there
are in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from evcharge.domain.feeds import above
from evcharge.domain.headroom import PHASES, Row, base_w, limit_of, overfull, shares_of
from evcharge.domain.limits import most_at, most_w
from evcharge.domain.state import ChargePoint, Connector, Session, State
from evcharge.domain.words import LinkState, SessionStatus, Stamp
from evcharge.energy.ceilings import SOFT_CAP
from evcharge.energy.model import MIN_A
from evcharge.ids import NodeId, SessionId

STEERED = frozenset({SessionStatus.AUTHORIZED, SessionStatus.SUPPLYING, SessionStatus.PAUSED})


class _Level:
    """The fair level of one row for one more in it. Everybody rises alike until it has what it can take."""

    def __init__(self, cap_w: float, members: Iterable[tuple[float, int]]) -> None:
        """``members``: (the most that it takes, 1 of so many parts of it that count here)."""
        self._cap_w = max(0.0, cap_w)
        ordered = sorted(members)
        self._tops = [top for top, _ in ordered]
        # What those take that have enough, and how steep the sum of the others rises, before each of them has enough.
        self._taken = [0.0, *accumulate(top / part for top, part in ordered)]
        steep = list(accumulate(1 / part for _, part in reversed(ordered)))
        self._steep = [*reversed(steep), 0.0]

    def of(self, part: int = 0) -> float:
        """The level with a newcomer of whom 1 of ``part`` parts counts; 0: with none."""
        more = 1 / part if part else 0.0
        if not self._steep[0] + more:
            return float("inf")
        first, last = 0, len(self._tops)
        while first < last:
            middle = (first + last) // 2
            if self._taken[middle] + (self._steep[middle] + more) * self._tops[middle] < self._cap_w:
                first = middle + 1
            else:
                last = middle
        steep = self._steep[first] + more
        return (self._cap_w - self._taken[first]) / steep if steep > 1e-12 else float("inf")


class Prospects:
    """Made from the state of one moment, asked for as many connectors as a question has."""

    def __init__(self, state: State, stamp: Stamp) -> None:
        self._state = state
        self._most_w = _ruled_w(state)
        kept_w: dict[NodeId, int] = {}
        tops: dict[SessionId, float] = {}
        for session in state.sessions.values():
            if session.node_id not in state.nodes or session.session_id not in state.nodes[session.node_id].sessions:
                continue
            if _steered(state, session):
                tops[session.session_id] = float(min(most_w(state, session), self._most_w))
            else:
                worst_w = session.lease.worst_w(stamp.clock_ms)
                for node_id in above(state, session.node_id):
                    kept_w[node_id] = kept_w.get(node_id, 0) + worst_w
        self._levels: dict[Row, _Level] = {}
        below: dict[NodeId, list[SessionId]] = {}
        for node_id in _lowest_first(state):
            here = [each for each in state.nodes[node_id].sessions if each in tops] + below.pop(node_id, [])
            self._fill(node_id, kept_w.get(node_id, 0), here, tops)
            parent = state.nodes[node_id].parent
            if parent is not None:
                below.setdefault(parent, []).extend(here)

    def watts(self, charge_point: ChargePoint, connector: Connector) -> int:
        """What one more vehicle would get there: its rating, an operator's limit or whole amperes; 0 when no smallest
        current is left.
        """
        state = self._state
        # Where a node is not in the configuration any more, nothing new fits.
        top_w = float(min(most_at(charge_point, connector), self._most_w))
        if charge_point.node_id not in state.nodes or top_w < connector.min_w:
            return 0
        # Where a connector is taken, its next vehicle has the smallest current of the one that goes.
        goes = None if connector.session_id is None else state.sessions.get(connector.session_id)
        more_w = connector.min_w if goes is None else max(0, connector.min_w - goes.min_w)
        if overfull(state, shares_of(state, charge_point.cp_id), more_w) is not None:
            return 0
        on = state.site.phases.get(charge_point.cp_id, ())
        share_w = phase_w = top_w
        for node_id in above(state, charge_point.node_id):
            share_w = min(share_w, self._levels[Row(node_id)].of(1))
            if state.nodes[node_id].phase_w is not None:
                part = len(on) or 1
                phase_w = min([phase_w, *(self._levels[Row(node_id, phase)].of(part) for phase in on or PHASES)])
        if min(share_w, phase_w) >= top_w:
            # Whom nothing else holds back gets its rating or limit, whole amperes or not.
            return int(top_w)
        step_w = max(1, -(-connector.min_w // MIN_A))
        # The smallest currents of all fit: it gets its own whatever the others have now.
        return max(connector.min_w, int(min(share_w, phase_w) + 1e-6) // step_w * step_w)

    def _fill(self, node_id: NodeId, kept_w: int, here: Sequence[SessionId], tops: dict[SessionId, float]) -> None:
        """The levels of a node and its phases; what its sessions cannot have here is taken off ``tops``."""
        state = self._state
        node = state.nodes[node_id]
        parts = {each: len(state.site.phases.get(state.sessions[each].cp_id, ())) or 1 for each in here}
        taken_w = base_w(node, None) + kept_w
        soft = SOFT_CAP if state.site.rules and node.parent is None else 1.0
        whole = Row(node_id)
        self._levels[whole] = _Level(limit_of(state, whole) * soft - taken_w, [(tops[each], 1) for each in here])
        members = {whole: list(here)}
        for phase in PHASES if node.phase_w is not None else ():
            row = Row(node_id, phase)
            on = [each for each in here if phase in (state.site.phases.get(state.sessions[each].cp_id, ()) or PHASES)]
            self._levels[row] = _Level(limit_of(state, row) - taken_w, [(tops[each], parts[each]) for each in on])
            members[row] = on
        for row, those in members.items():
            level = self._levels[row].of()
            for each in those:
                tops[each] = min(tops[each], max(0.0, level))


def _steered(state: State, session: Session) -> bool:
    """Whether it shares with the others; the rest keeps what it was told."""
    engine = state.charge_points[session.cp_id].engine
    return engine.state is LinkState.UP and session.stop is None and session.status in STEERED


def _lowest_first(state: State) -> list[NodeId]:
    """Every node after all that are below it."""
    depth = {node_id: sum(1 for _ in above(state, node_id)) for node_id in state.nodes}
    return sorted(state.nodes, key=lambda node_id: -depth[node_id])


def _ruled_w(state: State) -> float:
    """What the rules of the site allow one vehicle, where they rule."""
    if not state.site.rules:
        return float("inf")
    return 0.0 if state.ruling is None else float(state.ruling.ceiling_w)
