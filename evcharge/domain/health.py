"""Nodes that are lost and come back: from their own reports, and from sessions that fail one after the other.

LOST → PROBING when it is reported well, or when its ejection is over → UP when a session is supplied there or nothing
failed for ``QUIET_MS``, or LOST again when one fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evcharge.domain import events as e
from evcharge.domain.commands import ReportNode, UnwatchNode
from evcharge.domain.feeds import above
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import Failure, Node, State
from evcharge.domain.words import Health, SessionStatus, Stamp, StopCause
from evcharge.ids import ChargePointId, NodeId
from evcharge.units import Millis

# So many sessions in a row that fail at a node are the node's fault and not theirs …
FAILURES = 3
# … when they stood at so many charge points: one that is broken may fail at all its connectors.
FAILED_AT = 2
# … and failed within this time, ms: charge points break now and then, nodes break at once.
FAILED_WITHIN_MS = 600_000
# How long a node is given up after that, ms; twice as long each time, up to the second figure. The usual ones for
# servers behind a load balancer (Envoy: 30 s and 300 s), with more patience, because a try costs a driver's session.
EJECTED_MS = 30_000
MOST_EJECTED_MS = 600_000
# A trial at which nothing failed for so long is over, ms: nobody may be there who could show anything, and a node is
# not closed for ever because a car is full.
QUIET_MS = FAILED_WITHIN_MS

_SHOWING = frozenset({SessionStatus.AUTHORIZED, SessionStatus.SUPPLYING})
_FAULTS = frozenset({StopCause.FAULT, StopCause.REJECTED})


def report_node(state: State, command: ReportNode, stamp: Stamp) -> list[e.Event]:
    """What a node says of itself, when that is news."""
    node = state.nodes.get(command.node_id)
    if node is None:
        return [unknown("substation_health", command.node_id)]
    # What is lost is not lost again for its silence: a loss where sessions failed has an end of its own.
    if command.silent and (not node.watched or node.health is Health.LOST):
        return []
    happened: list[e.Event] = [] if node.watched else [e.NodeWatched(node_id=command.node_id)]
    if not command.ok:
        # What is said to be bad is no longer merely silent.
        said = node.silent
        if node.health is not Health.LOST or node.until_ms is not None or said:
            cause = command.cause or "reported"
            happened.append(e.NodeLost(node_id=command.node_id, cause=cause, silent=command.silent))
    elif node.health is Health.LOST and (node.until_ms is None or stamp.at_ms >= node.until_ms):
        happened.append(e.NodeProbing(node_id=command.node_id))
    return happened


def unwatch(state: State, command: UnwatchNode) -> list[e.Event]:
    """Its health is awaited no more. Lost for want of a report, it comes back on trial; what was reported bad, or
    failed, stays lost.
    """
    node = state.nodes.get(command.node_id)
    if node is None:
        return [unknown("unwatch", command.node_id)]
    # In this order: after a crash in between it is watched still, and whoever asked asks again.
    back: list[e.Event] = []
    if node.health is Health.LOST and node.silent:
        back.append(e.NodeProbing(node_id=command.node_id))
    return [*back, e.NodeUnwatched(node_id=command.node_id)] if node.watched else back


def unknown(request: str, node_id: NodeId) -> e.RequestRefused:
    """There is no such node."""
    against = Objection(Obstacle.UNKNOWN, f"substation {node_id}")
    reason = RefusalReason.UNKNOWN_SUBSTATION
    return e.RequestRefused(request=request, subject=node_id, reason=reason, against=(against,))


def tried_again(state: State, nodes: Iterable[NodeId], stamp: Stamp) -> list[e.Event]:
    """Those whose ejection is over, and those whose trial is."""
    happened: list[e.Event] = []
    for node_id in nodes:
        node = state.nodes[node_id]
        if node.until_ms is not None and stamp.at_ms >= node.until_ms:
            happened.append(e.NodeProbing(node_id=node_id))
        elif node.health is Health.PROBING and stamp.at_ms - (node.since_ms or 0) >= QUIET_MS:
            happened.append(e.NodeRecovered(node_id=node_id))
    return happened


def verdicts(state: State, events: Sequence[e.Event], stamp: Stamp) -> list[e.Event]:
    """What the fates of sessions say about the nodes that they stand at; asked before ``events`` are applied."""
    found: dict[NodeId, e.Event] = {}
    failing: dict[NodeId, list[Failure]] = {}
    for event in events:
        if isinstance(event, e.MeterSampled):
            if event.power_w > 0:
                for node_id in _probing(state, state.sessions[event.session_id].node_id):
                    found[node_id] = e.NodeRecovered(node_id=node_id)
            continue
        failed = failed_at(event)
        if failed is None:
            continue
        node_id, cp_id = failed
        for probed in _probing(state, node_id):
            found[probed] = _ejected(state.nodes[probed], probed, "a session failed that was to show it", stamp)
        if state.nodes[node_id].health is Health.UP:
            so_far = failing.setdefault(node_id, list(state.nodes[node_id].failures))
            so_far.append(Failure(Millis(stamp.at_ms), cp_id))
            recent = [each for each in so_far if each.at_ms > stamp.at_ms - FAILED_WITHIN_MS][-FAILURES:]
            if len(recent) == FAILURES and len({each.cp_id for each in recent}) >= FAILED_AT:
                cause = f"{FAILURES} sessions in a row failed"
                found[node_id] = _ejected(state.nodes[node_id], node_id, cause, stamp)
    return list(found.values())


def _probing(state: State, node_id: NodeId) -> list[NodeId]:
    return [each for each in above(state, node_id) if state.nodes[each].health is Health.PROBING]


def _ejected(node: Node, node_id: NodeId, cause: str, stamp: Stamp) -> e.NodeLost:
    """One that was well for long begins anew."""
    well = node.health is Health.UP and (node.since_ms is None or stamp.at_ms - node.since_ms >= FAILED_WITHIN_MS)
    ejections = 1 if well else node.ejections + 1
    # The shift is bounded: what is cut off at the top anyway needs no large number.
    away_ms = min(MOST_EJECTED_MS, EJECTED_MS << min(ejections - 1, 16))
    return e.NodeLost(node_id=node_id, cause=cause, until_ms=Millis(stamp.at_ms + away_ms), ejections=ejections)


def failed_at(event: e.Event) -> tuple[NodeId, ChargePointId] | None:
    """Node and charge point of a session that failed with this event; None: none did.

    It ended in a fault, its charge point refused it, or a start was sent and no answer came.
    """
    if isinstance(event, e.TicketIssued):
        ticket = event.ticket
        return (ticket.substation_id, ticket.cp_id) if ticket.reason in _FAULTS else None
    if isinstance(event, e.AuthorizationExpired):
        unanswered = event.cause is StopCause.EXPIRED and event.start_pending
        return (event.substation_id, event.cp_id) if unanswered or event.cause in _FAULTS else None
    return None


def remember(event: e.Event, state: State, stamp: Stamp) -> None:
    """Count a session that failed at its node, or forget them all because one is supplied; part of ``evolve``."""
    if isinstance(event, e.MeterSampled):
        if event.power_w > 0:
            node = state.nodes[state.sessions[event.session_id].node_id]
            if node.failures:
                node.failures = []
        return
    failed = failed_at(event)
    if failed is not None:
        node_id, cp_id = failed
        node = state.nodes[node_id]
        node.failures = [*node.failures, Failure(Millis(stamp.at_ms), cp_id)][-FAILURES:]


def lost_on(state: State, nodes: Iterable[NodeId]) -> NodeId | None:
    """The first of these that is lost."""
    return next((node_id for node_id in nodes if state.nodes[node_id].health is Health.LOST), None)


def closed_on(state: State, nodes: Sequence[NodeId]) -> NodeId | None:
    """The first of these that admits nothing new: it is lost, or on trial with a session there that may show it."""
    counts = None
    for node_id in nodes:
        health = state.nodes[node_id].health
        if health is Health.PROBING:
            counts = _may_show(state) if counts is None else counts
            if node_id in counts:
                return node_id
        elif health is Health.LOST:
            return node_id
    return None


def _may_show(state: State) -> set[NodeId]:
    """The nodes with a session at them or below that may draw. One that is full, or of which nothing is heard, shows
    nothing, however long one waits.
    """
    found: set[NodeId] = set()
    for node_id, node in state.nodes.items():
        sessions = (state.sessions[session_id] for session_id in node.sessions)
        if any(session.status in _SHOWING and session.stop is None for session in sessions):
            found.update(above(state, node_id))
    return found


def all_up(state: State, nodes: Iterable[NodeId]) -> bool:
    """Whether each of these is well, and not merely on trial."""
    return all(state.nodes[node_id].health is Health.UP for node_id in nodes)
