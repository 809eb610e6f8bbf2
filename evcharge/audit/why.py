"""Why a session got what it got: the decisions about it, oldest first, told from the log alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

import msgspec

from evcharge.audit.event_codec import LoggedEvent
from evcharge.audit.lines import asker, when
from evcharge.domain import events as e
from evcharge.domain.alerts import scope, told
from evcharge.domain.reasons import age_text, kw, objection_sentence
from evcharge.domain.reasons import sentence as basis_sentence
from evcharge.domain.refusals import sentence as refusal_sentence
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import Derated, Ticket
from evcharge.domain.words import LeftCause, ReservationEnd, Role, StopCause
from evcharge.ids import NodeId

_STOPPED = {
    StopCause.TARGET_REACHED: "the energy that was asked for is in the vehicle",
    StopCause.VEHICLE_FULL: "the vehicle takes no more",
    StopCause.UNPLUGGED: "the vehicle was unplugged",
    StopCause.DRIVER_ENDED: "the driver ended it",
    StopCause.STOPPED: "an operator stopped the charge point",
    StopCause.FAULT: "the charge point reported a fault",
    StopCause.WEATHER: "the weather closed the charge point",
    StopCause.MONITOR_LOST: "the monitor of the charge point was lost",
    StopCause.REVOKED: "the charge point's credential was revoked",
    StopCause.EXPIRED: "no vehicle was plugged in in time",
    StopCause.REJECTED: "the charge point rejected it",
    StopCause.DUPLICATE_ID: "two programs used the charge point's credential",
    StopCause.ENGINE_RESTART: "the charge point restarted",
    StopCause.ENGINE_SHUTDOWN: "the charge point was shut down",
    StopCause.OUTBOX_LOST: "the charge point lost its memory",
    StopCause.SILENT: "the charge point was not heard of for too long",
    StopCause.OTHER: "the charge point gave no reason",
}


# The kind of a step that may come many times in a row, and how many of these are told.
_REFUSED, _TOLD = e.ChargeRefused.__name__, 2
_LEFT = {
    LeftCause.SERVED: "it charges",
    LeftCause.LEFT: "its driver left",
    LeftCause.NO_SHOW: "nobody plugged in, twice",
    LeftCause.REJECTED: "the charge point did not take the session, twice",
    LeftCause.HELD: "the charge point may not charge any more",
    LeftCause.REVOKED: "the driver's credential was revoked",
    LeftCause.DEPARTED: "the departure that was declared has come",
    LeftCause.TOO_LONG: "it has waited for a day",
}
_ENDED = {
    ReservationEnd.KEPT: "its driver charges there",
    ReservationEnd.CANCELLED: "its driver cancelled it",
    ReservationEnd.NO_SHOW: "nobody plugged in in time",
    ReservationEnd.PASSED: "its time is over, and the connector or the power was never there",
    ReservationEnd.UNAVAILABLE: "the charge point was lost or held, or did not take the session",
    ReservationEnd.REVOKED: "a credential was revoked",
}


class Step(msgspec.Struct, frozen=True):
    """One decision or fact."""

    seq: int
    at_ms: int
    kind: str
    told: str
    """The sentence."""
    limit_w: int | None = None
    """The set-point that rules from here on."""
    actor: str = ""
    """Who did it."""
    by: str | None = None
    """Whom the actor says it acted for."""
    trace: str | None = None
    """The request's id, by the actor's word."""

    @property
    def line(self) -> str:
        """For people."""
        said = asker(self.by, self.trace)
        who = f" ({self.actor}, {said})" if said else ""
        return f"{self.seq:>8}  {when(self.at_ms)}  {self.told}{who}"


class Inquiry:
    """Collects what is about one session, one charge point, one driver, or one node of the site."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._at: set[str] = set()
        self._asked_at = ""
        self._site: SiteConfig | None = None
        self.named = False
        """Whether the log names a node like this: then there may be nothing to tell, and it is no slip."""
        self._least_w: dict[str, int] = {}
        """Smallest currents by session, W."""
        self._nodes: set[NodeId] = set()
        """What feeds the charge point, or did during this session."""

    def _above(self, node_id: NodeId | None) -> set[NodeId]:
        """A node and all that it is fed from."""
        found: set[NodeId] = set()
        while node_id is not None:
            found.add(node_id)
            placed = None if self._site is None else self._site.nodes.get(node_id)
            node_id = None if placed is None else placed.parent
        return found

    def take(self, seq: int, logged: LoggedEvent) -> Iterator[Step]:
        """One event of the log, in order."""
        event, at_ms = logged.event, logged.stamp.at_ms
        if isinstance(event, e.CentralStarted):
            self._site = event.site
            self.named = self.named or self.subject in event.site.capacities
        if isinstance(event, e.ChargeAuthorized):
            self._least_w[event.session_id] = event.min_w
        if isinstance(event, e.ChargeAuthorized) and self.subject in (
            *(event.session_id, event.cp_id, event.driver_id),
            _place(event),
        ):
            self._at.add(event.session_id)
            self._asked_at = event.cp_id
            self._nodes = self._above(event.substation_id)
        elif isinstance(event, e.ChargePointMoved) and event.cp_id == self._asked_at:
            self._nodes = self._above(event.to_id) | self._nodes
        if isinstance(event, e.ChargeQueued) and self.subject in (event.waiting_id, event.cp_id, event.driver_id):
            self._at.add(event.waiting_id)
        if isinstance(event, e.ReservationMade) and self.subject in (
            event.reservation_id,
            event.cp_id,
            event.driver_id,
        ):
            self._at.add(event.reservation_id)
        told = self._told(event)
        if _is_over(event, self.subject, self._at):
            # What happens at the charge point later is the next session's.
            self._asked_at = ""
        if told:
            limit = event.grant.limit_w if isinstance(event, e.SetPointIssued) else None
            stamp = logged.stamp
            yield Step(seq, at_ms, type(event).__name__, told, limit, stamp.actor, stamp.by, stamp.trace)

    def _concerns(self, event: e.Event) -> bool:
        if isinstance(event, e.RequestRefused):
            return event.subject == self.subject
        if isinstance(event, e.NodeLost | e.NodeProbing | e.NodeRecovered):
            return event.node_id in (self.subject, *(self._nodes if self._asked_at else ()))
        if isinstance(event, e.NodeWatched | e.NodeUnwatched | e.BaseLoadRose | e.BaseLoadForgotten | e.PeakRose):
            return event.node_id == self.subject
        if isinstance(event, e.CapacityChanged):
            return event.substation_id in (self.subject, *(self._nodes if self._asked_at else ()))
        if isinstance(event, e.DeratingChanged):
            return bool(self._asked_at) or self._is_node()
        if isinstance(event, e.WeatherAlerted | e.WeatherCleared) and event.cp_id is None:
            return self._is_node(event.node_id) or (bool(self._asked_at) and event.node_id in (None, *self._nodes))
        about = event.ticket if isinstance(event, e.TicketIssued) else event
        session_id = (
            getattr(about, "session_id", None)
            or getattr(about, "waiting_id", None)
            or getattr(about, "reservation_id", None)
        )
        if session_id is not None:
            return session_id in self._at
        if isinstance(event, e.ChargeRefused) and event.driver_id == self.subject:
            return True
        cp_id = getattr(about, "cp_id", None)
        if cp_id is None and isinstance(event, e.PeerConnected | e.PeerDisconnected) and event.role is Role.ENGINE:
            cp_id = event.entity
        return cp_id is not None and cp_id in (self.subject, self._asked_at if self._at else None)

    def _is_node(self, node_id: NodeId | None = None) -> bool:
        """Whether the subject is a node: at ``node_id`` or below it, where that is given."""
        if self._site is None or self.subject not in self._site.capacities:
            return False
        return node_id is None or node_id in self._above(NodeId(self.subject))

    def _told(self, event: e.Event) -> str:
        if not self._concerns(event):
            return ""
        match event:
            case e.ChargeRefused():
                why = refusal_sentence(event.reason, event.cp_id)
                said = [objection_sentence(one) for one in event.against]
                if event.basis is not None:
                    said.append(basis_sentence(event.basis))
                figures = f" ({'; '.join(said)})" if said else ""
                return f"{event.driver_id} was refused: {why}{figures}"
            case e.ChargeQueued():
                return f"{event.driver_id} waits at {_at(event)}, {_turn(event)}: {_missing(event)}"
            case e.ChargeOffered():
                return f"it was its turn: the connector is held until {when(event.until_ms)}"
            case e.OfferEnded():
                moved = f", and lets {event.behind} pass first" if event.behind is not None else ""
                return f"the offer ended: {_STOPPED[event.cause]}; it waits on{moved}"
            case e.QueueLeft():
                return f"{event.driver_id} no longer waits at {_at(event)}: {_LEFT[event.cause]}"
            case e.ReservationMade():
                span = f"from {when(event.from_ms)} until {when(event.until_ms)}"
                return f"{event.driver_id} reserved {_at(event)} {span}, {kw(event.min_w)} kept for it"
            case e.ReservationOpened():
                return "the time of the reservation has come: the connector is held for it"
            case e.ReservationDelayed():
                why = refusal_sentence(event.reason).partition(";")[0].rstrip(".")
                return f"the time of the reservation has come, and it has to wait: {why}"
            case e.ReservationEnded():
                return f"the reservation of {event.driver_id} at {_at(event)} ended: {_ENDED[event.cause]}"
            case e.RequestRefused():
                said = [objection_sentence(one) for one in event.against]
                why = "; ".join(said) or refusal_sentence(event.reason, event.subject)
                return f"{event.request} was refused: {why}"
            case e.ChargeAuthorized():
                wanted = "as much as it takes" if event.energy_wh is None else f"{event.energy_wh / 1000:g} kWh"
                return f"{event.driver_id} was authorized at {event.cp_id}/{event.connector} for {wanted}"
            case e.SetPointIssued():
                least_w = self._least_w.get(event.session_id, 0)
                why = event.reason.value if event.basis is None else basis_sentence(event.basis, least_w)
                return f"set-point {kw(event.grant.limit_w)} ({kw(event.grant.fallback_w)} if Central is lost): {why}"
            case e.SetPointRejected():
                return f"the charge point did not apply a set-point: {event.outcome} {event.detail}".rstrip()
            case e.AuthorizationExpired():
                return f"it lapsed: {_STOPPED[event.cause]}"
            case e.SupplyStarted():
                return "the supply began"
            case e.SupplyPaused():
                return "the supply paused"
            case e.SupplyResumed():
                return "the supply went on"
            case e.StopOrdered():
                return f"Central ordered the end: {_STOPPED[event.cause]}"
            case e.SupplyEnded():
                return f"the supply ended: {_STOPPED[event.cause]}"
            case e.TicketIssued():
                return _ticket(event.ticket)
            case e.TicketAdjusted():
                return f"the ticket was adjusted by {event.energy_wh} Wh, from the meter that came late"
            case e.NodeLost():
                until = (
                    "until it is reported well" if event.until_ms is None else f"tried again at {when(event.until_ms)}"
                )
                if event.silent:
                    until += ", or an operator says that it reports no more (unwatch)"
                return f"{event.node_id} was lost ({event.cause}), {until}"
            case e.CapacityChanged():
                return f"{event.substation_id} was given {kw(event.capacity_w)}"
            case e.ChargePointLimited():
                if event.limit_w is None:
                    return f"the operator's limit of {event.cp_id} was lifted"
                return f"an operator limited {event.cp_id} to {kw(event.limit_w)}"
            case e.NodeWatched():
                return f"{event.node_id} reports its health: silence is a loss from now on"
            case e.NodeUnwatched():
                return f"{event.node_id} reports its health no more: silence is no loss"
            case e.BaseLoadRose():
                return f"the base load of {event.node_id} counts as {kw(event.most_w)} while its meter is silent"
            case e.BaseLoadForgotten():
                return f"what the meter of {event.node_id} showed of its base load counts no longer"
            case e.PeakRose():
                return f"{event.node_id} drew {kw(event.peak_w)} over a quarter of an hour, the most of {event.month}"
            case e.NodeProbing():
                return f"{event.node_id} is on trial: one session at a time may show that it is well"
            case e.NodeRecovered():
                return f"{event.node_id} is well again: a session is supplied there"
            case e.ChargePointMoved():
                return f"{event.cp_id} is fed from {event.to_id} instead of {event.from_id}: {event.cause}"
            case e.MoveCompleted():
                return f"nothing from before its move rules at {event.cp_id} any more"
            case e.WeatherAlerted():
                weather = told(event.kind, event.milli_c, event.detail, simulated=event.simulated)
                return f"the weather closed {scope(event.cp_id, event.node_id)}: {weather}"
            case e.WeatherCleared():
                return f"the weather alert of {scope(event.cp_id, event.node_id)} is over: {event.kind.value}"
            case e.DeratingChanged():
                return f"the limits of all nodes are {event.derated.share / 10:g} % of theirs, {_hot(event.derated)}"
            case e.HoldPlaced():
                return f"{event.cp_id} may not charge: {event.hold.value} {event.detail}".rstrip()
            case e.HoldLifted():
                return f"{event.cp_id} is free of {event.hold.value}"
            case e.PeerDisconnected():
                return f"the link to {event.entity} was lost: {event.cause}"
            case e.PeerConnected():
                return f"{event.entity} connected"
        return ""


def lines_of(steps: Sequence[Step]) -> Iterator[str]:
    """The steps for people. Of refusals that follow each other the first and the last are told, and how many there were
    between: who is refused asks again.
    """
    for _, group in groupby(
        steps, key=lambda step: step.told.partition(" (")[0] if step.kind == _REFUSED else step.seq
    ):
        told = list(group)
        if len(told) <= _TOLD:
            yield from (step.line for step in told)
        else:
            yield told[0].line
            yield f"{'':8}  … and {len(told) - _TOLD} times more the same, until"
            yield told[-1].line


def _place(event: e.ChargeAuthorized) -> str:
    """The place in the line that an offered session has its id from."""
    return event.session_id.partition(".")[0]


def _at(event: e.ChargeQueued | e.QueueLeft | e.ReservationMade | e.ReservationEnded) -> str:
    return f"{event.cp_id}/{event.connector}" if event.connector else event.cp_id


def _turn(event: e.ChargeQueued) -> str:
    if event.eta_ms is None:
        return f"place {event.place}, nobody could tell for how long"
    age = "" if event.inputs_age_ms is None else f" from readings up to {age_text(event.inputs_age_ms)} old"
    return f"place {event.place}, expected {when(event.eta_ms)}{age}"


def _missing(event: e.ChargeQueued) -> str:
    said = [objection_sentence(one) for one in event.against]
    if event.basis is not None:
        said.append(basis_sentence(event.basis))
    return "; ".join(said) or refusal_sentence(event.reason, event.cp_id)


def _hot(derated: Derated) -> str:
    if derated.milli_c is None:
        why = "" if derated.fault is None else f" ({derated.fault.value})"
        return f"because nobody says how hot it is{why}"
    return f"at {derated.milli_c / 1_000:g} °C"


def _is_over(event: e.Event, subject: str, sessions: Collection[str]) -> bool:
    """Whether what is told has ended with this: a ticket, or a session of that name that lapsed. Who waits and lets an
    offer lapse waits on.
    """
    if isinstance(event, e.TicketIssued):
        return event.ticket.session_id in sessions
    return isinstance(event, e.AuthorizationExpired) and event.session_id == subject


def _ticket(ticket: Ticket) -> str:
    amount = f"{ticket.amount_minor / 100:.2f} {ticket.currency}"
    provisional = ", provisional: the final meter is still awaited" if ticket.provisional else ""
    return f"ticket {ticket.ticket_id}: {ticket.energy_wh / 1000:g} kWh, {amount}{provisional}"
