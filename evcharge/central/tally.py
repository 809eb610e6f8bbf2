"""What is counted of commands, events and knocks at the door since the start, for /metrics; it decides nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.decide import AnyCommand
from evcharge.domain.state import State
from evcharge.ids import ANYWHERE, NodeId
from evcharge.tally import Bounded
from protocol.errors import AuthenticationFailed, RemoteProtocolError, TimedOut

# Codes of incidents and anomalies that are told apart; the domain has a dozen.
CODES: Final = 32


class Tally:
    """Counts what the engine did. ``note`` costs a look into a table for each event, and an addition for a few."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        """Charge requests by what became of them at once: authorized, queued, refused, repeated, turned_down."""
        self.refusals: Counter[str] = Counter()
        """Refused charge requests by reason; the reasons are an enumeration."""
        self.routed: Counter[tuple[str, str]] = Counter()
        """Choices of a charge point by outcome and the substation where it was found (empty: none was)."""
        self.moved: Counter[NodeId] = Counter()
        """Charge points that were given another feed, by the substation that lost them."""
        self.lost: Counter[NodeId] = Counter()
        """How often a substation was lost."""
        self.incidents = Bounded(CODES)
        self.anomalies = Bounded(CODES)
        self._of: dict[type[e.Event], Callable[[Any, State], None]] = {
            e.ChargeOffered: self._offered,
            e.ChargePointMoved: self._moved,
            e.NodeLost: self._lost,
            e.IncidentRaised: self._incident,
            e.AnomalySeen: self._anomaly,
        }

    def note(self, command: AnyCommand, events: Sequence[e.Event], state: State) -> None:
        """A command was carried out: its events are applied to ``state`` already."""
        for event in events:
            count = self._of.get(type(event))
            if count is not None:
                count(event, state)
        if isinstance(command, c.RequestCharge):
            self._requested(command, events)

    def turned_down(self, command: AnyCommand) -> None:
        """It was not even looked at: a drain, a full disk, too much to do."""
        if isinstance(command, c.RequestCharge):
            self.requests["turned_down"] += 1

    def _requested(self, command: c.RequestCharge, events: Sequence[e.Event]) -> None:
        outcome, found = "repeated", ""
        for event in events:
            if isinstance(event, e.ChargeAuthorized):
                outcome, found = "authorized", event.substation_id
            elif isinstance(event, e.ChargeQueued):
                outcome = "queued"
            elif isinstance(event, e.ChargeRefused):
                outcome = "refused"
                self.refusals[event.reason.value] += 1
        self.requests[outcome] += 1
        if command.cp_id == ANYWHERE and outcome != "repeated":
            self.routed["found" if outcome == "authorized" else outcome, found] += 1

    def _offered(self, event: e.ChargeOffered, state: State) -> None:
        waiting, session = state.waiting.get(event.waiting_id), state.sessions.get(event.session_id)
        if waiting is not None and session is not None and waiting.cp_id == ANYWHERE:
            self.routed["found", session.node_id] += 1

    def _moved(self, event: e.ChargePointMoved, _state: State) -> None:
        self.moved[event.from_id] += 1

    def _lost(self, event: e.NodeLost, _state: State) -> None:
        self.lost[event.node_id] += 1

    def _incident(self, event: e.IncidentRaised, _state: State) -> None:
        self.incidents.note(event.code)

    def _anomaly(self, event: e.AnomalySeen, _state: State) -> None:
        self.anomalies.note(event.code)


class DoorTally:
    """Counts who came to the door and what the peers did wrong."""

    def __init__(self) -> None:
        self.decisions: Counter[str] = Counter()
        """Decisions about peers: ``granted``, ``wrong_key``, or why not, as in SPEC §5.5."""
        self.failed = 0
        """Handshakes that ended without a decision."""
        self.frame_errors: Counter[str] = Counter()
        """Connections that ended because of what the peer sent, by the class of the error."""

    def ended(self, error: RemoteProtocolError) -> None:
        """A connection ended for this; silence and a wrong key are counted elsewhere."""
        if not isinstance(error, TimedOut | AuthenticationFailed):
            self.frame_errors[error_code(error)] += 1


def error_code(error: RemoteProtocolError) -> str:
    """An error as a code for logs and metrics: ``frame_too_large``, ``timed_out`` …"""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
