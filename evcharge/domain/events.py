"""What happened: facts in the past tense, each one a record of the log. ``evolve`` applies them.

The kind of a record is the class name in snake case; ``VERSION`` rises with each change of its fields, and the audit
package then carries an upcaster for the old one.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from evcharge.domain.commands import ConnectorRating
from evcharge.domain.reasons import Basis, Objection
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import Derated, Ruled, Ticket
from evcharge.domain.words import Hold, LeftCause, LimitReason, ReservationEnd, Role, StopCause, WeatherKind
from evcharge.energy.leases import Grant
from evcharge.energy.model import Plan
from evcharge.ids import (
    ChargePointId,
    CommandId,
    ConnectorNo,
    DriverId,
    Fence,
    NodeId,
    SessionId,
    TicketId,
)
from evcharge.units import Millis, WattHours, Watts


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of all events."""

    VERSION: ClassVar[int] = 1
    SINCE: ClassVar[int] = 1
    """The oldest version that is read as it is: whatever was added since has a default."""


# --- Central, links -----------------------------------------------------------------------------------------------


class CentralStarted(Event, frozen=True):
    """Central serves; whoever was connected before is no longer."""

    VERSION: ClassVar[int] = 3

    site: SiteConfig


class CentralStopped(Event, frozen=True):
    """Central goes down on purpose."""


class PeerConnected(Event, frozen=True):
    """A peer proved itself."""

    role: Role
    entity: str
    username: str
    fence: Fence
    boot_id: bytes
    outbox_epoch: int | None = None
    stale_record: bool = False


class PeerDisconnected(Event, frozen=True):
    """A peer's channel ended, or the peer fell silent."""

    role: Role
    entity: str
    fence: Fence
    cause: str


class PeerRefused(Event, frozen=True):
    """Somebody was turned away: wrong credentials, garbage, silence …"""

    code: str
    username: str | None = None
    authentication: bool = False
    count: int = 1


class IncidentRaised(Event, frozen=True):
    """Something an operator has to look at."""

    code: str
    detail: str


class AnomalySeen(Event, frozen=True):
    """A report that does not fit what Central knows; kept, and acted on only where it is safe."""

    code: str
    cp_id: ChargePointId
    detail: str


class StraySupplyStopped(Event, frozen=True):
    """A charge point supplies for a session that is not open here: it is told to stop."""

    cp_id: ChargePointId
    session_id: SessionId
    command_id: CommandId


class PeerRevoked(Event, frozen=True):
    """The registry revoked a credential."""

    role: Role
    entity: str
    username: str


# --- charge point -------------------------------------------------------------------------------------------------


class ChargePointBooted(Event, frozen=True):
    """The engine described itself."""

    cp_id: ChargePointId
    connectors: tuple[ConnectorRating, ...]
    model: str = ""
    firmware: str = ""


class ConnectorChanged(Event, frozen=True):
    """A connector's condition changed."""

    cp_id: ChargePointId
    connector: ConnectorNo
    occupied: bool
    error: str | None = None


class HoldPlaced(Event, frozen=True):
    """A charge point may not charge."""

    cp_id: ChargePointId
    hold: Hold
    detail: str = ""


class HoldLifted(Event, frozen=True):
    """That reason is gone."""

    cp_id: ChargePointId
    hold: Hold


class ChargePointLimited(Event, frozen=True):
    """An operator says what each connector of a charge point may draw at most."""

    cp_id: ChargePointId
    limit_w: Watts | None = None
    """None: what it is rated for, again."""


class WeatherAlerted(Event, frozen=True):
    """Weather closes a charge point, those at a node and below it, or (neither) all of the site: they are held."""

    kind: WeatherKind
    cp_id: ChargePointId | None = None
    node_id: NodeId | None = None
    milli_c: int | None = None
    """Thousandths of a degree Celsius."""
    detail: str = ""
    """The place, for people."""
    simulated: bool = False


class WeatherCleared(Event, frozen=True):
    """That alert is over; whoever no other one covers is held no longer."""

    kind: WeatherKind
    cp_id: ChargePointId | None = None
    node_id: NodeId | None = None


class OutboxApplied(Event, frozen=True):
    """Everything up to item ``n`` of the charge point's outbox is in the log."""

    cp_id: ChargePointId
    n: int


# --- session ------------------------------------------------------------------------------------------------------


class ChargeAuthorized(Event, frozen=True):
    """A session exists and power is reserved for it."""

    VERSION: ClassVar[int] = 2

    session_id: SessionId
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    substation_id: NodeId
    min_w: Watts
    max_w: Watts
    energy_wh: WattHours | None
    depart_by_ms: Millis | None
    expires_ms: Millis
    command_id: CommandId
    on_the_way: bool = False
    """Connector and power are kept for somebody who still has to come."""


class ChargeRefused(Event, frozen=True):
    """No, and why; the figures behind it."""

    VERSION: ClassVar[int] = 4

    driver_id: DriverId
    cp_id: ChargePointId
    reason: RefusalReason
    connector: ConnectorNo = ConnectorNo(0)
    energy_wh: int | None = None
    depart_by_ms: int | None = None
    capacity_w: int | None = None
    reserved_w: int | None = None
    basis: Basis | None = None
    """What was short, when it was power."""
    against: tuple[Objection, ...] = ()
    """What spoke against it, when it was something else."""


class RequestRefused(Event, frozen=True):
    """Any other request that was refused."""

    VERSION: ClassVar[int] = 2

    request: str
    subject: str
    reason: RefusalReason
    against: tuple[Objection, ...] = ()


class ChargeQueued(Event, frozen=True):
    """A charge request waits for its turn; what kept it from being authorized at once."""

    VERSION: ClassVar[int] = 2

    waiting_id: SessionId
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    energy_wh: WattHours | None
    depart_by_ms: Millis | None
    reason: RefusalReason
    place: int
    eta_ms: Millis | None
    """When its turn was expected then, site time; None: nobody can tell."""
    inputs_age_ms: int | None
    """How old the oldest meter value was that went into that."""
    basis: Basis | None = None
    against: tuple[Objection, ...] = ()
    node_id: NodeId | None = None
    """Where it waits for any charge point (``cp_id`` "*"): at this node or below it only."""
    power_w: int | None = None
    """The power that it prefers a connector to be able to do, when it waits for any."""


class ChargeOffered(Event, frozen=True):
    """It is its turn: the session that was authorized just before holds the connector for it."""

    waiting_id: SessionId
    session_id: SessionId
    until_ms: Millis


class OfferEnded(Event, frozen=True):
    """The connector was not taken, or had to be taken back; it waits on."""

    waiting_id: SessionId
    cause: StopCause
    missed: int
    """Offers that it did not take, this one included when that was its fault."""
    behind: SessionId | None = None
    """With whom it changes its place; None: it keeps it."""


class QueueLeft(Event, frozen=True):
    """It waits no longer."""

    waiting_id: SessionId
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    cause: LeftCause


class ReservationMade(Event, frozen=True):
    """A connector and power for its smallest current are promised."""

    reservation_id: SessionId
    driver_id: DriverId
    cp_id: ChargePointId
    connector: ConnectorNo
    from_ms: Millis
    until_ms: Millis
    energy_wh: WattHours | None
    min_w: Watts


class ReservationOpened(Event, frozen=True):
    """Its time has come: the session that was authorized just before holds the connector for it."""

    reservation_id: SessionId


class ReservationDelayed(Event, frozen=True):
    """Its time has come, and the connector or the power is not there."""

    reservation_id: SessionId
    reason: RefusalReason


class ReservationEnded(Event, frozen=True):
    """It is no longer there."""

    reservation_id: SessionId
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    from_ms: Millis
    until_ms: Millis
    cause: ReservationEnd


class AuthorizationExpired(Event, frozen=True):
    """The session ends before it began. ``start_pending``: it may have begun unheard, or a start is on its way."""

    session_id: SessionId
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    substation_id: NodeId
    cause: StopCause
    command_id: CommandId
    start_pending: bool = False


class SessionForgotten(Event, frozen=True):
    """Nothing is awaited any more from a session that expired or was settled without its final meter."""

    session_id: SessionId


class AuthorizationAcknowledged(Event, frozen=True):
    """The charge point knows the authorization."""

    session_id: SessionId


class SetPointIssued(Event, frozen=True):
    """A set-point was sent; ``start_valid_ms`` (channel clock) when it starts the supply."""

    VERSION: ClassVar[int] = 4

    session_id: SessionId
    grant: Grant
    reason: LimitReason
    start_valid_ms: int | None = None
    basis: Basis | None = None
    """None in records of before there was a ledger."""


class SetPointAcknowledged(Event, frozen=True):
    """The charge point applied a set-point."""

    session_id: SessionId
    command_id: CommandId


class SetPointRejected(Event, frozen=True):
    """The charge point did not apply it."""

    session_id: SessionId
    command_id: CommandId
    outcome: str
    detail: str = ""


class SupplyStarted(Event, frozen=True):
    """The contactor closed at this register."""

    session_id: SessionId
    meter_wh: WattHours
    at_ms: Millis


class MeterSampled(Event, frozen=True):
    """A meter value on the way."""

    session_id: SessionId
    meter_wh: WattHours
    power_w: Watts


class SupplyPaused(Event, frozen=True):
    """Suspended; the session goes on."""

    session_id: SessionId
    meter_wh: WattHours | None = None


class SupplyResumed(Event, frozen=True):
    """Taken up again."""

    session_id: SessionId
    meter_wh: WattHours | None = None


class SessionOnline(Event, frozen=True):
    """The link to the charge point of a running session is back."""

    session_id: SessionId


class StopOrdered(Event, frozen=True):
    """Central ordered the end of a running session."""

    session_id: SessionId
    cause: StopCause
    command_id: CommandId


class StopConfirmed(Event, frozen=True):
    """The charge point says that the contactor is open; the final meter may still be on its way."""

    session_id: SessionId


class SupplyEnded(Event, frozen=True):
    """The contactor opened for good at this register."""

    session_id: SessionId
    meter_wh: WattHours
    cause: StopCause
    at_ms: Millis


class TicketIssued(Event, frozen=True):
    """The one ticket of a session."""

    ticket: Ticket


class TicketAdjusted(Event, frozen=True):
    """Late data for a ticket that was settled without the final meter."""

    ticket_id: TicketId
    session_id: SessionId
    driver_id: DriverId
    energy_wh: int
    amount_minor: int
    co2_g: int
    final_meter_wh: WattHours


class TicketDelivered(Event, frozen=True):
    """The driver has it."""

    driver_id: DriverId
    ticket_id: TicketId


class CapacityChanged(Event, frozen=True):
    """An operator changed a node's capacity."""

    substation_id: NodeId
    capacity_w: Watts


class NodeWatched(Event, frozen=True):
    """A node reports its health: from now on silence is a loss."""

    node_id: NodeId


class NodeUnwatched(Event, frozen=True):
    """An operator says that its health is not reported any more: silence is no loss."""

    node_id: NodeId


class NodeLost(Event, frozen=True):
    """A node cannot be drawn from."""

    VERSION: ClassVar[int] = 2

    node_id: NodeId
    cause: str
    until_ms: Millis | None = None
    """When it is tried again, site time; None: when it is reported well."""
    ejections: int = 0
    """How many in a row this makes, where Central itself gave it up."""
    silent: bool = False
    """Nobody said that it is bad: it reported before, and does not any more."""


class NodeProbing(Event, frozen=True):
    """It seems to be well again: one session at a time may show it."""

    node_id: NodeId


class NodeRecovered(Event, frozen=True):
    """A session is supplied there: all is as before."""

    node_id: NodeId


class BaseLoadRose(Event, frozen=True):
    """A meter showed more base load at a node than was remembered; what counts from now on while it is silent."""

    node_id: NodeId
    most_w: Watts
    """Above the reading, so that one that creeps up is not a record each time (``meters``)."""


class BaseLoadForgotten(Event, frozen=True):
    """An operator says that what a node's meter showed counts no longer: the meter is gone, or was wrong."""

    node_id: NodeId
    most_w: Watts = Watts(0)
    """What is remembered instead: above what the meter shows at this moment, where it speaks."""


class PeakRose(Event, frozen=True):
    """A tree drew more over a quarter of an hour than was remembered of the month: a demand charge is paid for it."""

    node_id: NodeId
    """The top of that tree."""
    month: str
    """``2026-11``, in the site's time zone."""
    peak_w: Watts
    """As measured, or less."""


class ChargePointMoved(Event, frozen=True):
    """Another node feeds a charge point from now on; its power counts at both until nothing from before rules."""

    cp_id: ChargePointId
    from_id: NodeId
    to_id: NodeId
    cause: str


class MoveCompleted(Event, frozen=True):
    """Nothing from before the move rules any more: the charge point counts at its feed alone."""

    cp_id: ChargePointId


class PlanAdopted(Event, frozen=True):
    """How much each node of one tree gets over the next hours, and from how old inputs that was worked out."""

    root_id: NodeId
    """The top of that tree."""
    plan: Plan


class RulingChanged(Event, frozen=True):
    """The rule table allows each vehicle more or less than before."""

    ruling: Ruled


class DeratingChanged(Event, frozen=True):
    """The heat leaves the nodes more or less of their limits than before, or another reading says the same."""

    derated: Derated


class PlanFailed(Event, frozen=True):
    """There is no new plan; the last one holds until it is too old, then the allocator works alone."""

    cause: str


EVENTS: tuple[type[Event], ...] = (
    CentralStarted,
    CentralStopped,
    PeerConnected,
    PeerDisconnected,
    PeerRefused,
    IncidentRaised,
    AnomalySeen,
    StraySupplyStopped,
    PeerRevoked,
    ChargePointBooted,
    ConnectorChanged,
    HoldPlaced,
    HoldLifted,
    ChargePointLimited,
    WeatherAlerted,
    WeatherCleared,
    OutboxApplied,
    ChargeAuthorized,
    ChargeRefused,
    ChargeQueued,
    ChargeOffered,
    OfferEnded,
    QueueLeft,
    ReservationMade,
    ReservationOpened,
    ReservationDelayed,
    ReservationEnded,
    RequestRefused,
    AuthorizationExpired,
    SessionForgotten,
    AuthorizationAcknowledged,
    SetPointIssued,
    SetPointAcknowledged,
    SetPointRejected,
    SupplyStarted,
    MeterSampled,
    SupplyPaused,
    SupplyResumed,
    SessionOnline,
    StopOrdered,
    StopConfirmed,
    SupplyEnded,
    TicketIssued,
    TicketAdjusted,
    TicketDelivered,
    CapacityChanged,
    NodeWatched,
    NodeUnwatched,
    NodeLost,
    NodeProbing,
    NodeRecovered,
    BaseLoadRose,
    BaseLoadForgotten,
    PeakRose,
    ChargePointMoved,
    MoveCompleted,
    PlanAdopted,
    PlanFailed,
    RulingChanged,
    DeratingChanged,
)
"""All kinds, for the codec of the log; ``evolve`` is proved total over them."""
