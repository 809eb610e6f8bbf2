"""A look at every session and charge point, for /metrics: in pieces, between which Central goes on.

A look at ten thousand takes tens of milliseconds, and a heartbeat must not wait that long. So what one survey says was
true within those milliseconds, not at one instant.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from evcharge.central.telemetry import Telemetry
from evcharge.domain.feeds import above, feeds_of
from evcharge.domain.state import Session, State, shown_state
from evcharge.domain.words import RUNNING, LinkState, Shown
from evcharge.ids import NodeId

# Sessions or charge points of one piece, at 2 to 4 µs each.
PIECE = 256

T = TypeVar("T")


class Flow(msgspec.Struct):
    """What flows at a node and below it, W."""

    load_w: int = 0
    """What the sessions draw by their newest readings."""
    offered_w: int = 0
    """What their newest set-points allow."""
    fallback_w: int = 0
    """What those fall back to when Central is silent for longer than they hold."""
    worst_w: int = 0
    """What could flow if all messages were lost now."""
    sessions: int = 0

    def add(self, other: Flow) -> None:
        """Both together."""
        self.load_w += other.load_w
        self.offered_w += other.offered_w
        self.fallback_w += other.fallback_w
        self.worst_w += other.worst_w
        self.sessions += other.sessions


class Survey(msgspec.Struct, frozen=True):
    """What was found."""

    flows: Mapping[NodeId, Flow] = {}
    """By node, with all below it."""
    shown: Mapping[Shown, int] = {}
    """Charge points by the state that people see; every state is there."""
    running: int = 0
    """Sessions whose contactor is closed, or may be."""
    lost_engines: int = 0
    lost_monitors: int = 0
    """Charge points whose engine, or monitor, was connected before and is not now."""


async def survey(state: State, telemetry: Telemetry, clock_ms: int) -> Survey:
    """Look at all that ``state`` has; ``clock_ms`` is the channel clock."""
    # Nodes come and go with a start only.
    own: dict[NodeId, Flow] = {node_id: Flow() for node_id in state.nodes}
    # Those that count at two feeds are added where they count, the others from their own node upwards.
    elsewhere: list[tuple[Sequence[NodeId], Flow]] = []
    running = 0
    drawing = [(node_id, session_id) for node_id, node in state.nodes.items() for session_id in node.sessions]
    for piece in _pieces(drawing):
        for node_id, session_id in piece:
            session = state.sessions.get(session_id)
            if session is None:
                # Its ticket came meanwhile.
                continue
            running += session.status in RUNNING
            live = telemetry.live_of(session_id)
            flow = own[node_id]
            flow.load_w += 0 if live is None else live.power_w
            flow.sessions += 1
            if session.cp_id in state.away:
                elsewhere.append((feeds_of(state, session.cp_id), _allowed(Flow(), session, clock_ms)))
            else:
                _allowed(flow, session, clock_ms)
        await asyncio.sleep(0)
    flows: dict[NodeId, Flow] = {node_id: Flow() for node_id in own}
    for node_id, flow in own.items():
        for each in above(state, node_id):
            flows[each].add(flow)
    for feeds, flow in elsewhere:
        for each in feeds:
            flows[each].add(flow)
    shown: Counter[Shown] = Counter(dict.fromkeys(Shown, 0))
    lost_engines = lost_monitors = 0
    for charge_points in _pieces(list(state.charge_points.values())):
        for charge_point in charge_points:
            shown[shown_state(state, charge_point)] += 1
            lost_engines += charge_point.engine.state is LinkState.LOST
            lost_monitors += charge_point.monitor.state is LinkState.LOST
        await asyncio.sleep(0)
    return Survey(flows, shown, running, lost_engines, lost_monitors)


def _allowed(flow: Flow, session: Session, clock_ms: int) -> Flow:
    """Add what set-points allow a session."""
    newest = session.lease.newest
    if newest is not None:
        flow.offered_w += newest.limit_w if newest.live(clock_ms) else newest.fallback_w
        flow.fallback_w += newest.fallback_w
        flow.worst_w += session.lease.worst_w(clock_ms)
    return flow


def _pieces(rows: Iterable[T]) -> Iterator[list[T]]:
    left = iter(rows)
    while piece := list(islice(left, PIECE)):
        yield piece
