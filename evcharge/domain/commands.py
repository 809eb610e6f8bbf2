"""What somebody wants: orders to the domain. ``decide`` answers each with events."""

from __future__ import annotations

import msgspec

from evcharge.domain.site import SiteConfig
from evcharge.domain.state import Derated, Ruled
from evcharge.domain.words import Role, StopCause, WeatherKind
from evcharge.energy.model import Plan
from evcharge.ids import ANYWHERE as ANYWHERE
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


class Command(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all commands."""


# --- Central's own ------------------------------------------------------------------------------------------------


class StartCentral(Command, frozen=True):
    """Central starts serving with this configuration."""

    site: SiteConfig


class PassDeadline(Command, frozen=True):
    """Look at a session whose deadline has come."""

    session_id: SessionId


class Reallocate(Command, frozen=True):
    """Share anew what there is in the tree that ``node_id`` belongs to."""

    node_id: NodeId
    measured_w: dict[NodeId, int] = {}
    """What meters show of the base load now, by node. What is remembered of one that is silent is in the state."""
    ages_ms: dict[NodeId, int] = {}
    """How old the newest reading of each meter is that was heard since the start; of the silent ones too."""


class ServeWaiting(Command, frozen=True):
    """Offer what has become free to those who wait, and open the reservations whose time has come."""


class AdoptPlan(Command, frozen=True):
    """The planner has a new plan for the tree below ``root_id``."""

    root_id: NodeId
    plan: Plan


class Rule(Command, frozen=True):
    """The rule table has a new answer."""

    ruling: Ruled


class Derate(Command, frozen=True):
    """The heat leaves the nodes more or less of their limits than before, or another reading says the same."""

    derated: Derated


class FailPlan(Command, frozen=True):
    """The planner has none: it was too slow, or failed."""

    cause: str


class StopCentral(Command, frozen=True):
    """Central goes down on purpose."""


# --- links --------------------------------------------------------------------------------------------------------


class PeerReady(Command, frozen=True):
    """A peer has proved itself on a new channel."""

    role: Role
    entity: str
    username: str
    fence: Fence
    boot_id: bytes
    outbox_epoch: int | None = None
    stale_record: bool = False
    """The registry was away and a kept record admitted the peer."""


class PeerGone(Command, frozen=True):
    """A peer's channel ended or went silent."""

    role: Role
    entity: str
    fence: Fence
    cause: str


class PeerRejected(Command, frozen=True):
    """Somebody was turned away before becoming a peer, ``count`` times since the last such record."""

    code: str
    username: str | None = None
    authentication: bool = False
    """The credentials were wrong (as opposed to garbage or silence)."""
    count: int = 1


class MonitorMissing(Command, frozen=True):
    """After a restart the monitor did not come back in time."""

    cp_id: ChargePointId


class RaiseDuplicate(Command, frozen=True):
    """Two processes take the credential of ``entity`` from each other (SPEC §6.1)."""

    role: Role
    entity: str


class RaiseIncident(Command, frozen=True):
    """Something that an operator has to look at: a log that lost its end, a disk that is full …"""

    code: str
    detail: str


class ClearDuplicate(Command, frozen=True):
    """One process has had the credential of ``entity`` for itself long enough."""

    role: Role
    entity: str


class RevokePeer(Command, frozen=True):
    """The registry revoked a credential."""

    role: Role
    entity: str
    username: str


# --- charge point -------------------------------------------------------------------------------------------------


class ConnectorRating(msgspec.Struct, frozen=True):
    """A connector as its engine describes it."""

    connector: ConnectorNo
    min_w: Watts
    max_w: Watts


class BootChargePoint(Command, frozen=True):
    """The engine described itself; it now wants to know what is to be done."""

    cp_id: ChargePointId
    connectors: tuple[ConnectorRating, ...]
    model: str = ""
    firmware: str = ""


class ReportStatus(Command, frozen=True):
    """A connector's condition."""

    cp_id: ChargePointId
    connector: ConnectorNo
    occupied: bool
    error: str | None = None
    n: int | None = None


class ReportPlug(Command, frozen=True):
    """A vehicle came or went."""

    cp_id: ChargePointId
    connector: ConnectorNo
    plugged: bool


class ReportStarted(Command, frozen=True):
    """Supply began. ``n``: position in the outbox, None when sent directly."""

    cp_id: ChargePointId
    session_id: SessionId
    meter_wh: WattHours
    at_ms: Millis | None = None
    n: int | None = None


class ReportPaused(Command, frozen=True):
    """Supply was suspended or taken up again."""

    cp_id: ChargePointId
    session_id: SessionId
    paused: bool
    meter_wh: WattHours | None = None
    at_ms: Millis | None = None
    n: int | None = None


class ReportEnded(Command, frozen=True):
    """Supply ended for good."""

    cp_id: ChargePointId
    session_id: SessionId
    meter_wh: WattHours
    reason: StopCause
    at_ms: Millis | None = None
    n: int | None = None


class ReportMeter(Command, frozen=True):
    """A meter value worth keeping."""

    cp_id: ChargePointId
    session_id: SessionId
    meter_wh: WattHours
    power_w: Watts


class ReportResult(Command, frozen=True):
    """What became of a command."""

    cp_id: ChargePointId
    command_id: CommandId
    outcome: str
    """done, rejected, expired or failed."""
    detail: str = ""


class ReportFault(Command, frozen=True):
    """The monitor says that the engine is broken."""

    cp_id: ChargePointId
    code: str
    detail: str = ""


class ReportRecovery(Command, frozen=True):
    """The monitor says that the engine is well again."""

    cp_id: ChargePointId


# --- driver and operator ------------------------------------------------------------------------------------------


class RequestCharge(Command, frozen=True):
    """A driver wants to charge. ``session_id`` is fresh, drawn by the shell."""

    session_id: SessionId
    driver_id: DriverId
    cp_id: ChargePointId
    """``ANYWHERE``: wherever there is room."""
    connector: ConnectorNo
    energy_wh: int | None
    depart_by_ms: int | None
    node_id: NodeId | None = None
    """With ``ANYWHERE``: at this node or below it."""
    power_w: int | None = None
    """With ``ANYWHERE``: a connector that can do this is preferred."""
    wait: bool = False
    """Where only a connector or power is missing, wait for it."""
    on_the_way: bool = False
    """The driver still has to come: connector and power are kept for him for longer (``sessions.ON_THE_WAY_MS``)."""


class LeaveQueue(Command, frozen=True):
    """A driver waits no longer."""

    driver_id: DriverId
    waiting_id: SessionId


class Reserve(Command, frozen=True):
    """A driver wants a connector for a time to come. ``reservation_id`` is fresh, drawn by the shell."""

    reservation_id: SessionId
    driver_id: DriverId
    cp_id: ChargePointId
    connector: ConnectorNo
    from_ms: int
    until_ms: int
    energy_wh: int | None


class CancelReservation(Command, frozen=True):
    """A driver gives a reservation back."""

    driver_id: DriverId
    reservation_id: SessionId


class EndCharge(Command, frozen=True):
    """A driver ends a session."""

    driver_id: DriverId
    session_id: SessionId


class ConfirmTicket(Command, frozen=True):
    """A driver has a ticket."""

    driver_id: DriverId
    ticket_id: TicketId


class StopChargePoints(Command, frozen=True):
    """An operator takes one charge point, or all, out of service."""

    cp_id: ChargePointId | None


class ResumeChargePoints(Command, frozen=True):
    """An operator lifts that hold again."""

    cp_id: ChargePointId | None


class ReportWeather(Command, frozen=True):
    """A weather source says that an alert is on, or over."""

    kind: WeatherKind
    active: bool
    cp_id: ChargePointId | None = None
    """This one only."""
    node_id: NodeId | None = None
    """What stands at it or below it; neither: the whole site."""
    milli_c: int | None = None
    detail: str = ""
    simulated: bool = False


class SetCapacity(Command, frozen=True):
    """An operator changes a node's capacity."""

    node_id: NodeId
    capacity_w: int


class LimitChargePoint(Command, frozen=True):
    """An operator says what each connector of a charge point may draw at most."""

    cp_id: ChargePointId
    limit_w: int | None
    """None: what it is rated for."""


class ReportNode(Command, frozen=True):
    """How a node is: its own report, or Central's that it fell silent."""

    node_id: NodeId
    ok: bool
    cause: str = ""
    """What is wrong, for people."""
    silent: bool = False
    """Central says it: nothing was heard."""


class UnwatchNode(Command, frozen=True):
    """An operator says that a node's health is not reported any more."""

    node_id: NodeId


class NoteBaseLoad(Command, frozen=True):
    """A meter shows more base load than is remembered."""

    node_id: NodeId
    base_w: int


class NotePeak(Command, frozen=True):
    """The mean power of a tree over a quarter of an hour was higher than is remembered of that month."""

    node_id: NodeId
    month: str
    peak_w: int


class ForgetBaseLoad(Command, frozen=True):
    """An operator says that what a node's meter showed counts no longer."""

    node_id: NodeId
    fresh_w: int | None = None
    """What it shows now; None: nothing, or nothing that can be true."""
