"""Every application message of the wire as a typed, range-checked struct (SPEC §7).

A message is a msgpack map with ``type`` and snake_case fields; the class name in snake case is the type. Units stand
in the names: ``_w`` watts, ``_wh`` watt-hours, ``_ms`` UTC milliseconds, ``_s`` seconds, ``_minor`` minor units of the
currency. Ranges here keep nonsense out of the process; whether a *sensible* value may be acted on is the domain's
question, so a charge request for minus five watt-hours is legal on the wire and is refused with a reason.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from protocol.asking import Assign, AuditPage, AuditProof, AuditState
from protocol.fields import (
    MAX_BATTERY_WH,
    MAX_CONNECTORS,
    MAX_COUNT,
    MAX_ID,
    MAX_RESULTS,
    MAX_RETRY_S,
    MAX_ROWS,
    MAX_STEP_MS,
    MAX_TEXT,
    MAX_VALUES,
    MAX_W,
    MIN_STEP_MS,
    Asked,
    Celsius,
    ConnectorNo,
    Count,
    Id,
    Message,
    Millis,
    Order,
    Part,
    Percent,
    RequestId,
    Share,
    Text,
    WattHours,
    Watts,
)
from protocol.following import MAX_WAIT_MS, Changes, Follow
from protocol.views import (
    AlertView,
    AlternativeView,
    AssignmentView,
    AuditStateView,
    AuditView,
    ChangesView,
    ChargePointView,
    CheckpointView,
    ConnectorView,
    InputView,
    LegacyView,
    MeterView,
    OptimizationView,
    PlanView,
    ProofView,
    RecommendationView,
    RecordView,
    RejectedView,
    ReservationView,
    SessionView,
    StationView,
    StoredView,
    SubstationView,
    TailView,
    TicketView,
    TotalsView,
    VehicleView,
    WaitingView,
    Weights,
    WhyView,
)

# --- engine → Central ---------------------------------------------------------------------------------------------


class ConnectorInfo(Part, frozen=True):
    """One connector: below ``min_w`` it pauses (6 A in IEC 61851), ``max_w`` is its rating."""

    connector: Annotated[int, Meta(ge=1, le=MAX_CONNECTORS)]
    min_w: Watts
    max_w: Watts


class Boot(Message, tag="boot", frozen=True):
    """First message of an engine on a channel. Answered by ``ack``."""

    connectors: Annotated[list[ConnectorInfo], Meta(min_length=1, max_length=MAX_CONNECTORS)]
    model: Text = ""
    firmware: Text = ""
    id: RequestId | None = None


class Heartbeat(Message, tag="heartbeat", frozen=True):
    """Once a second from engine and monitor. Answered by ``ack`` with Central's time."""

    id: RequestId | None = None


class Status(Message, tag="status", frozen=True):
    """A connector's condition. ``error`` is a code for people, None when well."""

    connector: ConnectorNo
    occupied: bool = False
    error: Text | None = None


class Plugged(Message, tag="plugged", frozen=True):
    """A vehicle was plugged in."""

    connector: ConnectorNo


class Unplugged(Message, tag="unplugged", frozen=True):
    """The vehicle has gone."""

    connector: ConnectorNo


class SupplyStarted(Message, tag="supply_started", frozen=True):
    """The contactor closed. ``meter_wh`` is the connector's cumulative register at that moment."""

    session_id: Id
    meter_wh: WattHours
    connector: ConnectorNo = 1
    at_ms: Millis | None = None
    """When it happened, in site time; None: now."""


class SupplyUpdate(Message, tag="supply_update", frozen=True):
    """Telemetry once a second while supplying; never answered. The newest per connector wins."""

    session_id: Id
    meter_wh: WattHours
    power_w: Watts
    soc: Annotated[int, Meta(ge=0, le=100)] | None = None
    """State of charge in percent, where the vehicle tells."""


class SupplyPaused(Message, tag="supply_paused", frozen=True):
    """The vehicle or a 0 W limit suspended the supply; the session goes on."""

    session_id: Id
    meter_wh: WattHours | None = None
    at_ms: Millis | None = None


class SupplyResumed(Message, tag="supply_resumed", frozen=True):
    """Supply flows again."""

    session_id: Id
    meter_wh: WattHours | None = None
    at_ms: Millis | None = None


class SupplyEnded(Message, tag="supply_ended", frozen=True):
    """The contactor opened for good. ``meter_wh`` is the final register, ``reason`` one of SPEC §7.4."""

    session_id: Id
    meter_wh: WattHours
    reason: Text
    at_ms: Millis | None = None


OutboxPayload = SupplyStarted | SupplyPaused | SupplyResumed | SupplyEnded | Status


class Outbox(Message, tag="outbox", frozen=True):
    """Item ``n`` of the charge point's durable outbox (SPEC §6.3). Answered by ``ack(n)`` when durable."""

    n: Count
    payload: OutboxPayload


class Result(Message, tag="result", frozen=True):
    """What became of a command. ``outcome``: done, rejected, expired or failed."""

    command_id: Count
    outcome: Literal["done", "rejected", "expired", "failed"]
    fence: Count | None = None
    detail: Text = ""


# --- monitor → Central --------------------------------------------------------------------------------------------


class Health(Message, tag="health", frozen=True):
    """One check of the engine; never answered."""

    engine_ok: bool
    latency_ms: Count = 0


class Fault(Message, tag="fault", frozen=True):
    """The engine failed three checks, or says itself that it is broken. Stops charging at once."""

    code: Text
    detail: Text = ""


class Recovery(Message, tag="recovery", frozen=True):
    """The engine is well again."""


# --- driver → Central ---------------------------------------------------------------------------------------------


class List(Message, tag="list", frozen=True):
    """Which charge points are there? At most 100 rows a reply, then ``reply.next``."""

    id: RequestId
    after: Text | None = None


class ChargeRequest(Order, tag="charge_request", frozen=True):
    """May I charge at ``cp_id``, or with "*" anywhere? Answered by ``reply`` with the session or ``refused``."""

    id: RequestId
    cp_id: Id
    connector: ConnectorNo = 0
    """0: any free one."""
    energy_wh: Asked | None = None
    """None: until the vehicle is full or unplugged."""
    depart_by_ms: Asked | None = None
    """In site time; None: not declared."""
    substation_id: Id | None = None
    """With ``cp_id`` "*": there or below it."""
    power_w: Asked | None = None
    """With ``cp_id`` "*": a connector that can do this is preferred."""
    wait: bool = False
    """Where only a connector or power is missing: wait for it (SPEC §7.8)."""
    on_the_way: bool = False
    """The driver still has to come: connector and power are kept for 15 minutes."""


class LeaveQueue(Order, tag="leave_queue", frozen=True):
    """I do not wait any longer."""

    id: RequestId
    waiting_id: Id


class Queue(Message, tag="queue", frozen=True):
    """Where do I wait, at which place, for how long?"""

    id: RequestId


class Reserve(Order, tag="reserve", frozen=True):
    """Keep a connector and power for me. Answered by ``reply`` with the reservation or ``refused`` (SPEC §7.9)."""

    id: RequestId
    cp_id: Id
    from_ms: Asked
    until_ms: Asked
    connector: ConnectorNo = 0
    """0: any that is there then."""
    energy_wh: Asked | None = None


class CancelReservation(Order, tag="cancel_reservation", frozen=True):
    """I do not need it any longer."""

    id: RequestId
    reservation_id: Id


class Reservations(Message, tag="reservations", frozen=True):
    """Which reservations do I have?"""

    id: RequestId


class EndCharge(Order, tag="end_charge", frozen=True):
    """End my session. The ticket follows when the final meter is known."""

    id: RequestId
    session_id: Id


class Tickets(Message, tag="tickets", frozen=True):
    """My tickets, newest first."""

    id: RequestId
    after: Text | None = None


class TicketReceived(Message, tag="ticket_received", frozen=True):
    """The driver has this ticket; it is not sent again."""

    ticket_id: Id


class Recommend(Message, tag="recommend", frozen=True):
    """Where to charge this vehicle? Answered by ``reply`` with a recommendation; nothing is reserved."""

    id: RequestId
    battery_percent: Percent
    mode: Literal["pareto", "legacy"] = "pareto"
    """``legacy``: an older formula, to the digit, for clients that still ask for it."""
    capacity_wh: Annotated[int, Meta(ge=1, le=MAX_BATTERY_WH)] = 60_000
    target_percent: Percent = 80.0
    max_w: Annotated[int, Meta(ge=1, le=MAX_W)] = 11_000
    """The most that the vehicle takes: three phases of 16 A where nobody says."""
    plug: Id | None = None
    """None: it takes any."""
    consumption_wh_per_km: Annotated[int, Meta(ge=1, le=10_000)] = 180
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    """Where the vehicle is, in degrees; both or neither. None: at the site."""
    weights: Weights | None = None
    """None: Central's own."""
    max_results: Annotated[int, Meta(ge=1, le=MAX_RESULTS)] = MAX_RESULTS

    def __post_init__(self) -> None:
        """Half a position is none."""
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude go together")


class Why(Message, tag="why", frozen=True):
    """Why does a session get what it gets? A driver asks about its own, a gateway about any. Answered by ``reply``
    with why, or ``refused``.
    """

    id: RequestId
    session_id: Id | None = None
    """None: the newest of one's own open sessions; a gateway has none."""


# --- gateway, operator → Central ----------------------------------------------------------------------------------


class Stop(Order, tag="stop", frozen=True):
    """Take a charge point (None: all) out of service; running sessions end INTERRUPTED."""

    id: RequestId
    cp_id: Id | None = None


class Resume(Order, tag="resume", frozen=True):
    """Lift the operator's own hold, and no other."""

    id: RequestId
    cp_id: Id | None = None


class SetCapacity(Order, tag="set_capacity", frozen=True):
    """New capacity of a substation, from now on."""

    id: RequestId
    substation_id: Id
    capacity_w: Asked


class LimitChargePoint(Order, tag="limit_charge_point", frozen=True):
    """What each connector of a charge point may draw at most. Answered by ``reply`` or ``refused``."""

    id: RequestId
    cp_id: Id
    limit_w: Asked | None = None
    """None: what it is rated for again."""


class WeatherAlert(Order, tag="weather_alert", frozen=True):
    """The weather closes a charge point, what is fed from a substation, or (neither) the whole site; or no longer.

    An alert is known by its kind and its scope: said again it changes nothing, and one ends no other (SPEC §7.11).
    """

    id: RequestId
    kind: Literal["cold", "heat", "wind", "storm"]
    active: bool
    cp_id: Id | None = None
    substation_id: Id | None = None
    temperature_c: Celsius | None = None
    detail: Text = ""
    """The place, for people."""
    simulated: bool = False
    """No real weather: a demonstration, or a provider without a key."""

    def __post_init__(self) -> None:
        """Two scopes are none, and what is not a number lies within all bounds."""
        if self.cp_id is not None and self.substation_id is not None:
            raise ValueError("cp_id and substation_id do not go together")
        if self.temperature_c is not None and self.temperature_c != self.temperature_c:
            raise ValueError("temperature_c is not a number")


class SensorReading(Message, tag="sensor_reading", frozen=True):
    """A measured value. With ``id`` answered by ``reply`` or ``refused``; without, not at all."""

    name: Literal["base_w", "solar_w", "grid_percent", "battery_percent", "temperature_c"]
    value: float
    substation_id: Id | None = None
    """The node that a base load draws from; None: the site's first."""
    at_ms: Millis | None = None
    """When it was measured, site time; None: now."""
    id: RequestId | None = None

    def __post_init__(self) -> None:
        """What is not a number lies within all bounds."""
        if self.value != self.value:
            raise ValueError("value is not a number")


class SetForecast(Message, tag="set_forecast", frozen=True):
    """What will be: money or kg per kWh, or W, in steps from ``start_ms`` on; it replaces the one before."""

    id: RequestId
    name: Literal["price", "co2", "solar_w", "base_w"]
    start_ms: Millis
    step_ms: Annotated[int, Meta(ge=MIN_STEP_MS, le=MAX_STEP_MS)]
    values: Annotated[list[float], Meta(min_length=1, max_length=MAX_VALUES)]

    def __post_init__(self) -> None:
        """What is not a number lies within all bounds."""
        if any(value != value for value in self.values):
            raise ValueError("values has one that is not a number")


class SubstationHealth(Order, tag="substation_health", frozen=True):
    """How a substation is. Once it has reported, silence counts as lost (SPEC §7.6)."""

    id: RequestId
    substation_id: Id
    ok: bool
    detail: Text = ""
    """What is wrong, for people."""
    load_w: Watts | None = None
    """What flows through it, by its own meter."""


class Unwatch(Order, tag="unwatch", frozen=True):
    """What is not reported any more: it counts no longer (SPEC §7.6)."""

    id: RequestId
    substation_id: Id
    what: Literal["health", "base_w"]


class Query(Message, tag="query", frozen=True):
    """Read a table, 100 rows a reply, then ``reply.next``."""

    id: RequestId
    what: Literal[
        "charge_points",
        "sessions",
        "tickets",
        "substations",
        "totals",
        "optimization",
        "waiting",
        "reservations",
        "plan",
        "alerts",
    ]
    after: Text | None = None
    one: Id | None = None
    """Only the row of this id: a charge point's, an open session's, a ticket's, a substation's."""

    def __post_init__(self) -> None:
        """The other tables have no rows that are asked for by an id."""
        if self.one is not None and self.what not in ("charge_points", "sessions", "tickets", "substations"):
            raise ValueError("one goes with charge_points, sessions, tickets or substations")


# --- Central → anyone ---------------------------------------------------------------------------------------------


class Authorize(Message, tag="authorize", frozen=True):
    """This session may start here once a vehicle is plugged in."""

    command_id: int
    fence: int
    session_id: str
    connector: int
    energy_wh: int | None = None
    depart_by_ms: int | None = None
    expires_ms: int | None = None
    """Site time after which the reservation lapses."""


class StartSupply(Message, tag="start_supply", frozen=True):
    """Close the contactor, with the first set-point. Refuse it after ``valid_until_ms`` (channel clock)."""

    command_id: int
    fence: int
    session_id: str
    connector: int
    limit_w: int
    expires_ms: int
    fallback_w: int
    reason: str
    valid_until_ms: int


class StopSupply(Message, tag="stop_supply", frozen=True):
    """Open the contactor; valid always."""

    command_id: int
    fence: int
    connector: int
    reason: str
    session_id: str | None = None


class SetLimit(Message, tag="set_limit", frozen=True):
    """A set-point: ``limit_w`` until ``expires_ms`` (channel clock), then ``fallback_w``."""

    command_id: int
    fence: int
    connector: int
    limit_w: int
    expires_ms: int
    fallback_w: int
    reason: str
    session_id: str | None = None


class Ack(Message, tag="ack", frozen=True):
    """Short answer: ``re`` a request, or ``n`` of the outbox; with Central's site time."""

    re: RequestId | None = None
    n: int | None = None
    time_ms: int | None = None
    """Site time at Central."""
    clock_ms: int | None = None
    """Channel clock at Central."""


class Reply(Message, tag="reply", frozen=True):
    """The answer to a request; the field that fits the request is filled."""

    re: RequestId
    session_id: str | None = None
    session: SessionView | None = None
    sessions: list[SessionView] | None = None
    charge_points: list[ChargePointView] | None = None
    tickets: list[TicketView] | None = None
    substations: list[SubstationView] | None = None
    totals: TotalsView | None = None
    optimization: OptimizationView | None = None
    waiting: WaitingView | None = None
    queue: list[WaitingView] | None = None
    reservation: ReservationView | None = None
    reservations: list[ReservationView] | None = None
    recommendation: RecommendationView | None = None
    why: WhyView | None = None
    audit: AuditView | None = None
    proof: ProofView | None = None
    audit_state: AuditStateView | None = None
    assignment: AssignmentView | None = None
    tail: TailView | None = None
    changes: ChangesView | None = None
    plan: list[PlanView] | None = None
    alerts: list[AlertView] | None = None
    next: str | None = None
    """Pass as ``after`` to get the next page; None: that was all."""


class Refused(Message, tag="refused", frozen=True):
    """No, with a coded reason and one sentence that says what to do."""

    reason: str
    sentence: str
    re: RequestId | None = None
    retry_after_s: int | None = None
    """When it is worth asking again, where Central can tell."""


class Ticket(TicketView, Message, tag="ticket", frozen=True):
    """A ticket for its driver. Confirm with ``ticket_received``; else it comes again at the next connection."""


class Update(SessionView, Message, tag="update", frozen=True):
    """News about a session for its driver."""


class Waiting(WaitingView, Message, tag="waiting", frozen=True):
    """News about a place in the line for its driver."""


class Reservation(ReservationView, Message, tag="reservation", frozen=True):
    """News about a reservation for its driver."""


class Drain(Message, tag="drain", frozen=True):
    """Central is going down on purpose; come back after ``retry_after_s``, a week at most."""

    retry_after_s: Annotated[float, Meta(ge=0, le=MAX_RETRY_S)]

    def __post_init__(self) -> None:
        """What is not a number lies within all bounds."""
        if self.retry_after_s != self.retry_after_s:
            raise ValueError("retry_after_s is not a number")


class Error(Message, tag="error", frozen=True):
    """A mistake in the protocol. ``re`` when it answers a request."""

    code: str
    sentence: str
    re: RequestId | None = None


FromEngine = (
    Boot
    | Heartbeat
    | Status
    | Plugged
    | Unplugged
    | SupplyStarted
    | SupplyUpdate
    | SupplyPaused
    | SupplyResumed
    | SupplyEnded
    | Outbox
    | Result
)
FromMonitor = Heartbeat | Health | Fault | Recovery
FromDriver = (
    List
    | ChargeRequest
    | LeaveQueue
    | Queue
    | Reserve
    | CancelReservation
    | Reservations
    | EndCharge
    | Tickets
    | TicketReceived
    | Recommend
    | Why
)
FromOperator = (
    Stop
    | Resume
    | SetCapacity
    | SubstationHealth
    | Unwatch
    | WeatherAlert
    | SensorReading
    | SetForecast
    | Query
    | List
    | Recommend
    | Why
    | AuditPage
    | AuditProof
    | AuditState
    | Assign
    | Follow
    | Changes
    | LimitChargePoint
)
FromCentral = (
    Authorize
    | StartSupply
    | StopSupply
    | SetLimit
    | Ack
    | Reply
    | Refused
    | Ticket
    | Update
    | Waiting
    | Reservation
    | Drain
    | Error
)
FromPeer = FromEngine | FromMonitor | FromDriver | FromOperator
