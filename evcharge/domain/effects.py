"""What has to be said to whom once an event is durable. The shell translates these to the wire."""

from __future__ import annotations

import msgspec

from evcharge.domain.events import (
    BaseLoadForgotten,
    NodeLost,
    NodeProbing,
    NodeRecovered,
    NodeUnwatched,
    WeatherAlerted,
    WeatherCleared,
)
from evcharge.domain.reasons import Basis, Objection
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import Ticket
from evcharge.domain.views import SessionView
from evcharge.domain.waiting_views import ReservationView, WaitingView
from evcharge.domain.words import Health, LimitReason, Role, StopCause
from evcharge.ids import ChargePointId, CommandId, ConnectorNo, Fence, NodeId, SessionId


class Effect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all effects."""


class ToEngine(Effect, frozen=True):
    """Base of what an engine is told. Dropped when its channel is no longer ``fence``: boot sends all anew."""

    cp_id: ChargePointId
    fence: Fence


class Authorize(ToEngine, frozen=True):
    """This session may start here."""

    command_id: CommandId
    session_id: SessionId
    connector: ConnectorNo
    energy_wh: int | None
    depart_by_ms: int | None
    expires_ms: int


class SetPoint(ToEngine, frozen=True):
    """A set-point; with ``start_valid_ms`` it starts the supply."""

    command_id: CommandId
    session_id: SessionId
    connector: ConnectorNo
    limit_w: int
    fallback_w: int
    expires_ms: int
    reason: LimitReason
    start_valid_ms: int | None
    decided_ms: int | None = None
    """When it was decided, site time; None: it is said once more."""
    basis: Basis | None = None
    """What it stands on."""


class StopSupply(ToEngine, frozen=True):
    """Open the contactor."""

    command_id: CommandId
    connector: ConnectorNo
    session_id: SessionId | None
    cause: StopCause


class OutboxAck(ToEngine, frozen=True):
    """Item ``n`` is durable."""

    n: int


class BootAck(ToEngine, frozen=True):
    """The boot is known."""


class SessionNews(Effect, frozen=True):
    """Something about a session that its driver wants to see."""

    session: SessionView


class TicketNews(Effect, frozen=True):
    """A ticket for its driver."""

    ticket: Ticket


class Granted(Effect, frozen=True):
    """The answer to the requester: the session as it was then."""

    session: SessionView


class Denied(Effect, frozen=True):
    """The answer to the requester: no."""

    reason: RefusalReason
    subject: str = ""
    retry_after_s: int | None = None
    """When it is worth asking again, where that can be said."""
    against: tuple[Objection, ...] = ()
    basis: Basis | None = None
    """Where power is missing, in figures."""
    """What the requester is told besides; none of it is about anybody else."""


class Queued(Effect, frozen=True):
    """The answer to the requester: not yet."""

    waiting: WaitingView


class Booked(Effect, frozen=True):
    """The answer to the requester: the reservation that was made."""

    reservation: ReservationView


class WaitingNews(Effect, frozen=True):
    """Something about a place in the line that its driver wants to know."""

    waiting: WaitingView


class ReservationNews(Effect, frozen=True):
    """Something about a reservation that its driver wants to know."""

    reservation: ReservationView


class Dirty(Effect, frozen=True):
    """What there is at this node has to be shared anew."""

    node_id: NodeId
    now: bool = False
    """At once: what is lost waits for nothing."""


class NodeNews(Effect, frozen=True):
    """Something about a node that the operator wants to know."""

    event: NodeLost | NodeProbing | NodeRecovered | NodeUnwatched | BaseLoadForgotten
    health: Health
    """As it is now."""


class WeatherNews(Effect, frozen=True):
    """An alert that is on, or over: the operator wants to know."""

    event: WeatherAlerted | WeatherCleared


class Wake(Effect, frozen=True):
    """Look at the session again at this site time."""

    session_id: SessionId
    at_ms: int


class CloseChannel(Effect, frozen=True):
    """End a peer's channel with REVOKED."""

    role: Role
    entity: str
    username: str
