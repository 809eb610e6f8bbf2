"""What is true: charge points, sessions, drivers, nodes. Changed by ``evolve`` alone.

Live telemetry is not here: it is neither hashed nor replayed (audit.md, "Writing").
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

from evcharge.energy.leases import Lease
from evcharge.energy.model import Plan, Policy
from evcharge.energy.rules import ChargingMode, Fault, Rule
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
from evcharge.units import Grams, Millis, MinorUnits, PriceE4, WattHours, Watts


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """When, by whom and from where: the part that every audit record shares."""

    at_ms: int
    """Site time."""
    clock_ms: int
    """Steady UTC: the channel clock, on which leases run."""
    actor: str = "central"
    """Role and entity, as in ``driver:anna``; ``central`` for what Central does by itself."""
    source: str = ""
    """Network address of the actor."""


class Role(StrEnum):
    """Who a peer is to the domain."""

    ENGINE = "engine"
    MONITOR = "monitor"
    DRIVER = "driver"
    OPERATOR = "operator"
    CONSOLE = "console"
    """Looks at the protocol; changes nothing."""


class Hold(StrEnum):
    """An independent reason why a charge point may not charge; lifted by its own cause only."""

    FAULT = "FAULT"
    WEATHER = "WEATHER"
    ADMIN = "ADMIN"
    REVOKED = "REVOKED"
    DUPLICATE_ID = "DUPLICATE_ID"
    """Two processes take one credential from each other: nobody knows which of them has the vehicle."""


class Shown(StrEnum):
    """The state that people see; derived, never assigned."""

    DISCONNECTED = "DISCONNECTED"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    STOPPED = "STOPPED"
    SUPPLYING = "SUPPLYING"
    ACTIVATED = "ACTIVATED"


class LinkState(StrEnum):
    """One peer's link as the domain knows it."""

    NEVER = "never"
    UP = "up"
    LOST = "lost"
    AWAITED = "awaited"
    """Was up when Central went down; not yet lost, not yet back."""


class SessionStatus(StrEnum):
    """A session's life (features.md). REQUESTED and DENIED are instants: a refusal is an event, not a session."""

    AUTHORIZED = "AUTHORIZED"
    SUPPLYING = "SUPPLYING"
    PAUSED = "PAUSED"
    OFFLINE = "OFFLINE"
    EXPIRED = "EXPIRED"
    """Lapsed without plug-in; kept only while it may have started unheard."""
    COMPLETED = "COMPLETED"
    INTERRUPTED = "INTERRUPTED"
    """As the status of an open session: settled without its final meter; its contactor may still be closed."""


RUNNING = frozenset({SessionStatus.SUPPLYING, SessionStatus.PAUSED, SessionStatus.OFFLINE})
"""The contactor is closed, or may be."""


class Health(StrEnum):
    """Whether a node of the tree of limits can be drawn from."""

    UP = "UP"
    LOST = "LOST"
    """Nothing new is admitted at it and below it; its charge points are fed from a backup, or get nothing."""
    PROBING = "PROBING"
    """It seems to be well again: one session at a time may show it."""


class StopCause(StrEnum):
    """Why a session ends. The engine echoes Central's cause; SPEC §7.4."""

    TARGET_REACHED = "target_reached"
    VEHICLE_FULL = "vehicle_full"
    UNPLUGGED = "unplugged"
    DRIVER_ENDED = "driver_ended"
    STOPPED = "stopped"
    FAULT = "fault"
    MONITOR_LOST = "monitor_lost"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REJECTED = "rejected"
    DUPLICATE_ID = "duplicate_id"
    ENGINE_RESTART = "engine_restart"
    ENGINE_SHUTDOWN = "engine_shutdown"
    OUTBOX_LOST = "outbox_lost"
    SILENT = "silent"
    OTHER = "other"


COMPLETING = frozenset({StopCause.TARGET_REACHED, StopCause.VEHICLE_FULL, StopCause.UNPLUGGED, StopCause.DRIVER_ENDED})
"""Causes after which a ticket says COMPLETED; after any other, INTERRUPTED."""


class LimitReason(StrEnum):
    """What binds a set-point."""

    SHARED = "shared"
    """A node's capacity, shared among those who charge below it."""
    RATING = "connector_rating"
    """The connector's own rating; there is power to spare."""
    NO_CAPACITY = "no_capacity"
    """The smallest current does not fit: it waits for its turn."""
    WAITING = "waiting_for_others"
    """Others have to confirm less before there is more."""
    PLAN = "plan"
    """The plan leaves power for later, or for others."""
    RULE = "rule"
    """A rule of the site holds it down."""
    NEED = "need"
    """It needs no more to be full in time."""
    STEADY = "steady"
    """There is more, and it gets it soon: raises are not given too often."""
    RAMP = "ramp"
    """It is on its way up."""
    NODE_LOST = "substation_lost"
    """A node above it is lost: it waits for its backup, or for the node itself."""
    EQUAL_SHARE = "equal_share"
    """In logs of before there was an allocator: the capacity, shared equally."""


class Tariff(msgspec.Struct, frozen=True):
    """One price for the site and the carbon of its electricity."""

    price_e4: PriceE4 = PriceE4(3000)
    currency: str = "EUR"
    co2_g_per_kwh: int = 300


class NodeConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What there is to say of a node beside its capacity; see ``Node``."""

    parent: NodeId | None = None
    base_w: Watts = Watts(0)
    phase_w: tuple[Watts, Watts, Watts] | None = None
    backups: tuple[NodeId, ...] = ()
    """What feeds the charge points at it and below it while it is lost: the first that is well."""


class SiteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decided; in the log, so that a replay needs no settings file."""

    capacities: dict[NodeId, Watts]
    """Of every node: site, substations, feeders."""
    assignments: dict[ChargePointId, NodeId] = {}
    """Charge points that are not named stand at ``default_node``."""
    nodes: dict[NodeId, NodeConfig] = {}
    """Nodes of which more is to say than their capacity."""
    phases: dict[ChargePointId, tuple[int, ...]] = {}
    """The phases (0, 1, 2) that carry a charge point's current; where that is not known, each has to hold all of it."""
    tariff: Tariff = Tariff()
    authorization_ms: int = 60_000
    """How long an authorization waits for a vehicle, site time."""
    settle_ms: int = 86_400_000
    """How long a final meter is awaited before the last known one settles the session, site time."""
    lease_ms: int = 30_000
    """How long a set-point holds without renewal, channel clock."""
    start_ms: int = 10_000
    """How long a start is valid, channel clock (SPEC §6)."""
    handover_ms: int = 300_000
    """How long a connector is held for whoever waited for it, site time."""
    policy: Policy = Policy.PLAN
    """How power is shared."""
    rules: bool = False
    """Whether the rule table limits every session."""

    @property
    def default_node(self) -> NodeId:
        """Where charge points stand that are not named: the first node that has none below it."""
        parents = {placed.parent for placed in self.nodes.values()}
        return next(node_id for node_id in self.capacities if node_id not in parents)


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
    left_behind: bool = False
    """The vehicle at it is that of a session which is over: it is nobody's turn until that has gone."""


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
    """The node that fed it before, as long as a set-point of then may rule: it counts there too."""
    moved_ms: Millis | None = None
    """When it was moved last, site time."""
    moved_command: CommandId = CommandId(0)
    """The newest command number of then."""


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


class LeftCause(StrEnum):
    """Why somebody waits no longer."""

    SERVED = "served"
    LEFT = "left"
    NO_SHOW = "no_show"
    REJECTED = "rejected"
    """The charge point did not take the session, twice."""
    HELD = "held"
    """The charge point may not charge any more."""
    REVOKED = "revoked"
    """The driver's credential was revoked."""
    DEPARTED = "departed"
    """The departure that was declared has come."""
    TOO_LONG = "too_long"


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


class ReservationState(StrEnum):
    """A reservation's life; what has ended is no longer there."""

    PLANNED = "PLANNED"
    OPEN = "OPEN"
    """Its session holds the connector."""
    LATE = "LATE"
    """Its time has come and the connector or the power is not there; it is the next one to get it."""


class ReservationEnd(StrEnum):
    """Why a reservation is no longer there."""

    KEPT = "kept"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    PASSED = "passed"
    """Its time is over, and the connector or the power was never there."""
    UNAVAILABLE = "unavailable"
    """The charge point was lost, held or did not take the session."""
    REVOKED = "revoked"
    """The charge point's or the driver's credential was revoked."""


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
    """The most that anything else draws there: kept free, whatever a meter says."""
    phase_w: tuple[Watts, Watts, Watts] | None = None
    """Limits of its three phases, where they are known."""
    sessions: dict[SessionId, None] = {}
    """Those that draw from this very node."""
    reserved_w: Watts = Watts(0)
    """Sum of the minima of the sessions at it and below it."""
    reserved_phase_w: tuple[Watts, Watts, Watts] = (Watts(0), Watts(0), Watts(0))
    """The same for each phase, where ``phase_w`` limits them."""
    wanted_w: Watts = Watts(0)
    """Sum of their maxima: where it fits, this node holds nobody back."""
    health: Health = Health.UP
    since_ms: Millis | None = None
    """Site time of the last change of ``health``; None: before any."""
    until_ms: Millis | None = None
    """Until when it is ejected, site time; None: it is lost until it is reported well."""
    watched: bool = False
    """It reports its health: silence counts as lost."""
    ejections: int = 0
    """How many in a row: each one is longer."""
    failures: list[Failure] = []
    """Sessions at this very node that failed one after the other, oldest first."""


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


def above(state: State, node_id: NodeId) -> Iterator[NodeId]:
    """The node and all that it is fed from, lowest first. The tree was checked when it was configured."""
    at: NodeId | None = node_id
    while at is not None:
        yield at
        at = state.nodes[at].parent


def home_of(site: SiteConfig, cp_id: ChargePointId) -> NodeId:
    """The node that a charge point stands at."""
    return site.assignments.get(cp_id) or site.default_node


def feeds_of(state: State, cp_id: ChargePointId) -> tuple[NodeId, ...]:
    """All nodes that a charge point's power counts at, lowest first, each once: those of its feed and, until nothing
    from before a move rules any more, those of its former one.
    """
    charge_point = state.charge_points[cp_id]
    if cp_id not in state.away:
        return tuple(above(state, charge_point.node_id))
    found = dict.fromkeys(path_of(state, cp_id, charge_point.node_id))
    if charge_point.leaving_id is not None:
        found.update(dict.fromkeys(path_of(state, cp_id, charge_point.leaving_id)))
    return tuple(found)


def path_of(state: State, cp_id: ChargePointId, node_id: NodeId) -> Iterator[NodeId]:
    """The nodes that carry a charge point's power when ``node_id`` feeds it. Where that is a backup, the charge point's
    own feeders below the node that it stands in for are among them.
    """
    yield from above(state, node_id)
    own: list[NodeId] = []
    for each in above(state, home_of(state.site, cp_id)):
        placed = state.site.nodes.get(each)
        if each == node_id:
            return
        if placed is not None and node_id in placed.backups:
            yield from own
            return
        own.append(each)


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
