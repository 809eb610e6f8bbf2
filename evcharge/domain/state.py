"""What is true: charge points, sessions, drivers, nodes. Changed by ``evolve`` alone.

Live telemetry is not here: it is neither hashed nor replayed (audit.md, "Writing").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from evcharge.domain.site import SiteConfig
from evcharge.domain.words import (
    RUNNING,
    Health,
    Hold,
    LimitReason,
    LinkState,
    ReservationState,
    SessionStatus,
    Shown,
    StopCause,
    WeatherKind,
)
from evcharge.energy.leases import Lease
from evcharge.energy.model import Plan
from evcharge.energy.rules import ChargingMode, Fault, Rule
from evcharge.ids import ChargePointId, CommandId, ConnectorNo, DriverId, Fence, NodeId, SessionId, TicketId
from evcharge.units import Grams, Millis, MinorUnits, PriceE4, WattHours, Watts


class Link(msgspec.Struct):
    """The domain's view of one peer process."""

    state: LinkState = LinkState.NEVER
    fence: Fence = Fence(0)
    boot_id: bytes = b""
    since_ms: int | None = None
    """Site time of the last change of ``state``; None: before any."""


class Connector(msgspec.Struct):
    """One outlet."""

    min_w: Watts
    max_w: Watts
    occupied: bool = False
    error: str | None = None
    session_id: SessionId | None = None
    since_ms: int | None = None
    """Site time at which ``occupied`` or ``error`` changed last; None: before any report."""
    left_by: DriverId | None = None
    """Whose vehicle stands there though his session is over: until it has gone, it is nobody else's turn."""


class ChargePoint(msgspec.Struct):
    """A charge point with its two processes and its outbox position."""

    cp_id: ChargePointId
    node_id: NodeId
    """The lowest node that it draws from."""
    connectors: dict[ConnectorNo, Connector] = {}
    holds: set[Hold] = set()
    engine: Link = msgspec.field(default_factory=Link)
    monitor: Link = msgspec.field(default_factory=Link)
    model: str = ""
    firmware: str = ""
    booted: bool = False
    """The engine described itself on its present channel; before that it is told nothing that it could not place."""
    outbox_epoch: int | None = None
    next_n: int = 0
    leaving_id: NodeId | None = None
    """The node that fed it before, as long as its switch or a set-point of then may rule: it counts there too. Where it
    never moved, the one that it stands at by a newer configuration, as long as something is open at it.
    """
    moved_ms: Millis | None = None
    """When a transfer switch was told to move it last, site time."""
    moved_clock_ms: int = 0
    """The same moment, channel clock."""
    moved_command: CommandId = CommandId(0)
    """The newest command number of then."""
    limit_w: Watts | None = None
    """What an operator allows each connector, see ``limits``; None: its rating."""


class Session(msgspec.Struct, kw_only=True):
    """One charge, from its authorization until its ticket."""

    session_id: SessionId
    cp_id: ChargePointId
    connector: ConnectorNo
    driver_id: DriverId
    node_id: NodeId
    status: SessionStatus
    min_w: Watts
    max_w: Watts
    requested_wh: WattHours | None
    depart_by_ms: Millis | None
    authorized_ms: Millis
    expires_ms: Millis
    authorize_command: CommandId
    authorize_acknowledged: bool = False
    on_the_way: bool = False
    """Its connector was kept free for somebody who still had to come."""
    start_ms: Millis | None = None
    boot_id: bytes = b""
    """The engine's process that began it, its owner when two fight for one credential."""
    start_meter_wh: WattHours = WattHours(0)
    meter_wh: WattHours = WattHours(0)
    meter_ms: Millis = Millis(0)
    lease: Lease = Lease()
    limit_ms: Millis | None = None
    """When its limit changed last, site time; None: it never had one."""
    turned_ms: Millis | None = None
    """When it last began or ceased to be allowed power, site time."""
    start_valid_ms: int | None = None
    """Until when the newest start is valid, channel clock; None: no start was sent."""
    limit_reason: LimitReason | None = None
    stop: StopCause | None = None
    """Central ordered the stop for this cause."""
    stop_command: CommandId | None = None
    stopped_ms: Millis | None = None
    """When the charge point said that its contactor is open (site time); its report may still be on its way."""

    @property
    def energy_wh(self) -> WattHours:
        """Delivered so far, as far as the meter is known."""
        return WattHours(max(0, self.meter_wh - self.start_meter_wh))


class Waiting(msgspec.Struct, kw_only=True):
    """One who waits for a connector, or for power at it."""

    waiting_id: SessionId
    """The id of the session that it will become; of a second offer with a number behind it."""
    driver_id: DriverId
    cp_id: ChargePointId
    """``ANYWHERE``: the first that is free."""
    connector: ConnectorNo
    """0: any of the charge point."""
    requested_wh: WattHours | None
    depart_by_ms: Millis | None
    since_ms: Millis
    turn: int
    """Who came first has the lower one."""
    node_id: NodeId | None = None
    """With ``ANYWHERE``: only at this node or below it."""
    power_w: int | None = None
    """With ``ANYWHERE``: a connector that can do this is preferred."""
    offers: int = 0
    missed: int = 0
    """Offers that were not taken."""
    offer: SessionId | None = None
    """The session that holds the connector for it now."""


class Reservation(msgspec.Struct, kw_only=True):
    """A connector and the power for its smallest current, promised for a time to come."""

    reservation_id: SessionId
    """The id of the session that it will become."""
    driver_id: DriverId
    cp_id: ChargePointId
    connector: ConnectorNo
    from_ms: Millis
    until_ms: Millis
    requested_wh: WattHours | None
    min_w: Watts
    status: ReservationState = ReservationState.PLANNED


class Ticket(msgspec.Struct, kw_only=True):
    """The bill of one session; exactly one, from the meter. ``adjustments`` are linked later corrections in Wh."""

    ticket_id: TicketId
    session_id: SessionId
    cp_id: ChargePointId
    driver_id: DriverId
    substation_id: NodeId
    start_ms: Millis
    end_ms: Millis
    energy_wh: WattHours
    price_e4: PriceE4
    amount_minor: MinorUnits
    currency: str
    status: SessionStatus
    reason: StopCause
    average_w: Watts
    co2_g: Grams
    final_meter_wh: WattHours
    provisional: bool = False
    """Settled with the last known meter; the final one may still come."""
    adjustments: list[int] = []


class Driver(msgspec.Struct):
    """A driver's account."""

    open_sessions: dict[SessionId, None] = {}
    tickets: list[Ticket] = []
    """The newest ``TICKETS_KEPT``, oldest first."""
    undelivered: dict[TicketId, Ticket] = {}
    no_shows: int = 0
    """How often in a row nobody came for whom a connector was kept free, see ``no_shows``."""
    no_show_ms: Millis | None = None
    """The last time of these, site time."""


class RuleInput(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reading that a rule looked at: thousandths of a watt or of a per cent, or why it could not be used."""

    name: str
    milli: int | None = None
    age_ms: int | None = None
    fault: Fault | None = None


class Ruled(msgspec.Struct, frozen=True):
    """What the rule table allows each vehicle, and on which readings."""

    mode: ChargingMode
    rule: Rule
    ceiling_w: int
    wanted_w: int
    """What the table alone gives; the ceiling is below it on the way up."""
    inputs: tuple[RuleInput, ...]


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Weather that closes charge points until its source says that it is over."""

    kind: WeatherKind
    cp_id: ChargePointId | None = None
    """Only this one."""
    node_id: NodeId | None = None
    """All that stand at this node or below it. Neither: all of the site."""
    since_ms: Millis
    milli_c: int | None = None
    """Thousandths of a degree Celsius."""
    detail: str = ""
    simulated: bool = False


class Derated(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of their limits the nodes carry in the heat, and on which reading."""

    share: int
    """Thousandths."""
    milli_c: int | None = None
    """Thousandths of a degree Celsius; None: nobody knows how hot it is, and ``fault`` says why."""
    at_ms: Millis | None = None
    """When it was measured, site time."""
    fault: Fault | None = None


class Visit(msgspec.Struct, frozen=True):
    """A session that is over: what lets one expect others."""

    arrival_ms: int
    stay_ms: int
    energy_wh: int
    max_w: int


class Failure(NamedTuple):
    """A session that failed at a node."""

    at_ms: Millis
    cp_id: ChargePointId


class Node(msgspec.Struct):
    """One limit of the tree: the site, a substation, a feeder. Sums are over all that is below it as well."""

    capacity_w: Watts
    parent: NodeId | None = None
    """The node that it is fed from; None: nothing above it is limited."""
    base_w: Watts = Watts(0)
    """The most that anything else draws there, or at all nodes below it together: kept free, whatever a meter says."""
    phase_w: tuple[Watts, Watts, Watts] | None = None
    """Limits of its three phases, where they are known."""
    sessions: dict[SessionId, None] = {}
    """Those that draw from this very node."""
    reserved_w: Watts = Watts(0)
    """Sum of the minima of the sessions at it and below it."""
    reserved_phase_w: tuple[Watts, Watts, Watts] = (Watts(0), Watts(0), Watts(0))
    """The same for each phase, where ``phase_w`` limits them."""
    wanted_w: Watts = Watts(0)
    """Sum of their ratings: where it fits, this node holds nobody back."""
    health: Health = Health.UP
    since_ms: Millis | None = None
    """Site time of the last change of ``health``; None: before any."""
    until_ms: Millis | None = None
    """Until when it is ejected, site time; None: it is lost until it is reported well."""
    watched: bool = False
    """It reports its health: silence counts as lost."""
    silent: bool = False
    """It is lost because of that, and nobody said that it is bad."""
    ejections: int = 0
    """How many in a row: each one is longer."""
    failures: list[Failure] = []
    """Sessions at this very node that failed one after the other, oldest first."""
    metered_w: Watts = Watts(0)
    """No reading of its base-load meter was above this; it counts while that is silent. 0: there is no meter."""
    metered_ms: Millis | None = None
    """Site time of the reading that made it so."""
    peak_w: Watts = Watts(0)
    """Of the top of a tree: its highest mean power over a quarter of an hour in ``peak_month``, or a little less."""
    peak_month: str = ""
    """``2026-11``; empty: none was measured."""
    peak_ms: Millis | None = None
    """Site time at which it was remembered."""


class Spot(NamedTuple):
    """A free connector, in the order in which connectors are given away."""

    max_w: Watts
    cp_id: ChargePointId
    connector: ConnectorNo
    min_w: Watts


class Spots(msgspec.Struct):
    """Free connectors by the node that feeds them; brought up to date when somebody asks."""

    free: dict[NodeId, list[Spot]] = {}
    """Each list is sorted and not empty."""
    frugal: dict[NodeId, list[tuple[Watts, Spot]]] = {}
    """The same, by what they need at least."""
    of: dict[ChargePointId, tuple[NodeId, tuple[Spot, ...]]] = {}
    """What each charge point has in ``free``."""
    stale: dict[ChargePointId, None] = {}
    """Charge points that something happened to since."""
    look: Any = None
    """The newest ``looks.Look`` at those who wait; None: something happened since."""


class Totals(msgspec.Struct):
    """Sums since the log began."""

    authorized: int = 0
    refused: int = 0
    started: int = 0
    expired: int = 0
    tickets: int = 0
    energy_wh: WattHours = WattHours(0)
    amount_minor: MinorUnits = MinorUnits(0)


class State(msgspec.Struct):
    """Everything Central knows."""

    site: SiteConfig = SiteConfig(capacities={NodeId("site"): Watts(0)})
    charge_points: dict[ChargePointId, ChargePoint] = {}
    cp_order: list[ChargePointId] = []
    """Sorted, for paging."""
    sessions: dict[SessionId, Session] = {}
    drivers: dict[DriverId, Driver] = {}
    nodes: dict[NodeId, Node] = {}
    provisional: dict[SessionId, Ticket] = {}
    """Tickets whose final meter is still awaited; their sessions keep their share of power until then."""
    ruling: Ruled | None = None
    """What the rule table allows now; None: nothing was heard yet, or it does not rule here."""
    alerts: dict[str, Alert] = {}
    """The weather that is on, see ``alerts``; of all that it covers ``Hold.WEATHER`` says so."""
    derated: Derated | None = None
    """None: heat limits nothing here."""
    visits: list[Visit] = []
    """The newest ``VISITS_KEPT``, oldest first."""
    away: dict[ChargePointId, None] = {}
    """Charge points that another node feeds than their own, and those that still count at a former one."""
    spots: Spots | None = None
    """Derived, and neither hashed nor written: see ``routing``."""
    waiting: dict[SessionId, Waiting] = {}
    reservations: dict[SessionId, Reservation] = {}
    last_turn: int = 0
    """The newest ``Waiting.turn``."""
    plans: dict[NodeId, Plan] = {}
    """By the top of each tree the newest that was adopted; how old it may be is the allocator's to judge."""
    last_fence: Fence = Fence(0)
    last_command: CommandId = CommandId(0)
    last_clock_ms: int = 0
    """Newest channel clock in the log; a restarted Central never starts its clock below it."""
    failures: dict[str, list[int]] = {}
    """Failed authentications per source, steady time; see ``evolve`` for its bounds."""
    totals: Totals = msgspec.field(default_factory=Totals)


def shown_state(state: State, charge_point: ChargePoint) -> Shown:
    """The derived state of a whole charge point: first that applies (features.md).

    A lost engine whose living monitor reports it dead is out of order, not merely disconnected.
    """
    if charge_point.monitor.state not in (LinkState.UP, LinkState.NEVER):
        return Shown.DISCONNECTED
    reported_dead = Hold.FAULT in charge_point.holds and charge_point.monitor.state is LinkState.UP
    if charge_point.engine.state is not LinkState.UP and not reported_dead:
        return Shown.DISCONNECTED
    if Hold.FAULT in charge_point.holds or Hold.REVOKED in charge_point.holds:
        return Shown.OUT_OF_ORDER
    supplying = any(
        connector.session_id is not None and state.sessions[connector.session_id].status in RUNNING
        for connector in charge_point.connectors.values()
    )
    if not supplying and (Hold.WEATHER in charge_point.holds or Hold.DUPLICATE_ID in charge_point.holds):
        return Shown.OUT_OF_ORDER
    if Hold.ADMIN in charge_point.holds:
        return Shown.STOPPED
    return Shown.SUPPLYING if supplying else Shown.ACTIVATED
