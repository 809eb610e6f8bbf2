"""Every application message of the wire as a typed, range-checked struct (SPEC §7).

A message is a msgpack map with ``type`` and snake_case fields; the class name in snake case is the type. Units stand
in the names: ``_w`` watts, ``_wh`` watt-hours, ``_ms`` UTC milliseconds, ``_s`` seconds, ``_minor`` minor units of the
currency. Ranges here keep nonsense out of the process; whether a *sensible* value may be acted on is the domain's
question, so a charge request for minus five watt-hours is legal on the wire and is refused with a reason.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

# Longest identifier on the wire. A UUID with a prefix is 40 characters; the registry allows 64. SPEC §7.1
MAX_ID = 64
# Longest sentence for a person. SPEC §7.1
MAX_TEXT = 512
# Largest power anyone may state: 10 MW, a truck depot. SPEC §7.1
MAX_W = 10_000_000
# Largest register: 2^53 − 1, the largest integer that JSON readers keep exact. SPEC §7.1
MAX_COUNT = 2**53 - 1
# Connectors of one charge point. OCPP devices in the field have 1 to 4. SPEC §7.1
MAX_CONNECTORS = 32
# Longest wait that Central may ask for with `drain`, in seconds: a week. SPEC §7.3
MAX_RETRY_S = 604_800
# Steps of a forecast: a minute to a day, and so many that a week of quarters fits. SPEC §7.1
MIN_STEP_MS, MAX_STEP_MS = 60_000, 86_400_000
MAX_VALUES = 672
# Rows in one reply; a longer answer is paged with `after`. SPEC §7.1
MAX_ROWS = 100
# Largest battery of a vehicle, Wh: 1 MWh, the most that one session may ask for. SPEC §7.1
MAX_BATTERY_WH = 1_000_000
# Charge points that a recommendation ranks for a driver. SPEC §7.3
MAX_RESULTS = 3

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Watts = Annotated[int, Meta(ge=0, le=MAX_W)]
WattHours = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Millis = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
ConnectorNo = Annotated[int, Meta(ge=0, le=MAX_CONNECTORS)]
"""1 and up; 0 means the whole charge point, as in OCPP."""
RequestId = Annotated[int, Meta(ge=0, le=MAX_COUNT)] | Id
Asked = Annotated[int, Meta(ge=-MAX_COUNT, le=MAX_COUNT)]
"""A quantity that a person asks for: any integer that JSON keeps exact; the domain judges it."""
Percent = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Message(msgspec.Struct, tag_field="type", kw_only=True, frozen=True, omit_defaults=True, gc=False):
    """Base of all messages; unknown fields are ignored (SPEC §7.1)."""


class Part(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, gc=False):
    """Base of the maps inside messages."""


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


class ChargeRequest(Message, tag="charge_request", frozen=True):
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


class LeaveQueue(Message, tag="leave_queue", frozen=True):
    """I do not wait any longer."""

    id: RequestId
    waiting_id: Id


class Queue(Message, tag="queue", frozen=True):
    """Where do I wait, at which place, for how long?"""

    id: RequestId


class Reserve(Message, tag="reserve", frozen=True):
    """Keep a connector and power for me. Answered by ``reply`` with the reservation or ``refused`` (SPEC §7.9)."""

    id: RequestId
    cp_id: Id
    from_ms: Asked
    until_ms: Asked
    connector: ConnectorNo = 0
    """0: any that is there then."""
    energy_wh: Asked | None = None


class CancelReservation(Message, tag="cancel_reservation", frozen=True):
    """I do not need it any longer."""

    id: RequestId
    reservation_id: Id


class Reservations(Message, tag="reservations", frozen=True):
    """Which reservations do I have?"""

    id: RequestId


class EndCharge(Message, tag="end_charge", frozen=True):
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


class Weights(Part, frozen=True):
    """What counts in a recommendation, and how much: shares of 1. In a reply what each added to a score."""

    cost: Share = 0.0
    time: Share = 0.0
    carbon: Share = 0.0
    queue: Share = 0.0


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
    """Why does my session get what it gets? Answered by ``reply`` with why, or ``refused``."""

    id: RequestId
    session_id: Id | None = None
    """None: the newest of one's own open sessions."""


# --- gateway, operator → Central ----------------------------------------------------------------------------------


class Stop(Message, tag="stop", frozen=True):
    """Take a charge point (None: all) out of service; running sessions end INTERRUPTED."""

    id: RequestId
    cp_id: Id | None = None


class Resume(Message, tag="resume", frozen=True):
    """Lift the operator's own hold, and no other."""

    id: RequestId
    cp_id: Id | None = None


class SetCapacity(Message, tag="set_capacity", frozen=True):
    """New capacity of a substation, from now on."""

    id: RequestId
    substation_id: Id
    capacity_w: Asked


class SensorReading(Message, tag="sensor_reading", frozen=True):
    """A measured value. With ``id`` answered by ``reply`` or ``refused``; without, not at all."""

    name: Literal["base_w", "solar_w", "grid_percent", "battery_percent"]
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


class SubstationHealth(Message, tag="substation_health", frozen=True):
    """How a substation is. Once it has reported, silence counts as lost (SPEC §7.6)."""

    id: RequestId
    substation_id: Id
    ok: bool
    detail: Text = ""
    """What is wrong, for people."""
    load_w: Watts | None = None
    """What flows through it, by its own meter."""


class Query(Message, tag="query", frozen=True):
    """Read a table, 100 rows a reply, then ``reply.next``."""

    id: RequestId
    what: Literal[
        "charge_points", "sessions", "tickets", "substations", "totals", "optimization", "waiting", "reservations"
    ]
    after: Text | None = None


# --- Central → anyone ---------------------------------------------------------------------------------------------


class ConnectorView(Part, frozen=True):
    """A connector as Central shows it."""

    connector: int
    state: str
    occupied: bool = False
    session_id: str | None = None
    driver: str | None = None
    """Masked for drivers, whole for operators."""
    min_w: int = 0
    max_w: int = 0
    limit_w: int | None = None
    power_w: int = 0
    energy_wh: int = 0
    reason: str | None = None


class ChargePointView(Part, frozen=True):
    """A charge point as Central shows it; ``state`` is derived (features.md): ACTIVATED, SUPPLYING …"""

    cp_id: str
    state: str
    substation_id: str = ""
    holds: list[str] = []
    engine: str = ""
    monitor: str = ""
    last_seen_ms: int | None = None
    connectors: list[ConnectorView] = []
    waiting: int = 0
    """How many wait for one of them."""


class WaitingView(Part, frozen=True):
    """A place in the line as Central shows it to its driver or an operator."""

    waiting_id: str
    state: str
    """WAITING, OFFERED or LEFT."""
    cp_id: str
    connector: int = 0
    driver_id: str = ""
    place: int = 0
    """1: next; 0: has an offer, or is no longer there."""
    eta_ms: int | None = None
    """When its turn is expected, site time; None: nobody can tell."""
    inputs_age_ms: int | None = None
    """How old the oldest meter value is that this rests on."""
    since_ms: int | None = None
    session_id: str | None = None
    offered_until_ms: int | None = None
    """Plug in by then, site time."""
    reason: str | None = None
    """What it waits for, as a code of ``refused``; or why it left (SPEC §7.8)."""


class ReservationView(Part, frozen=True):
    """A reservation as Central shows it to its driver or an operator."""

    reservation_id: str
    state: str
    """PLANNED, OPEN, LATE or ENDED."""
    cp_id: str
    connector: int
    from_ms: int
    until_ms: int
    driver_id: str = ""
    requested_wh: int | None = None
    session_id: str | None = None
    reason: str | None = None
    """Why it is late, as a code of ``refused``; or why it ended (SPEC §7.9)."""


class SessionView(Part, frozen=True):
    """A session as Central shows it to its driver or an operator."""

    session_id: str
    state: str
    cp_id: str
    connector: int = 1
    driver_id: str = ""
    requested_wh: int | None = None
    depart_by_ms: int | None = None
    expires_ms: int | None = None
    energy_wh: int = 0
    power_w: int = 0
    limit_w: int | None = None
    reason: str | None = None
    amount_minor: int = 0
    currency: str = ""


class TicketView(Part, frozen=True):
    """A ticket: exactly one per session that started."""

    ticket_id: str
    session_id: str
    cp_id: str
    driver_id: str
    substation_id: str
    start_ms: int
    end_ms: int
    duration_s: int
    energy_wh: int
    price_e4: int
    """Price per kWh in ten-thousandths of the currency."""
    amount_minor: int
    currency: str
    status: str
    """COMPLETED or INTERRUPTED."""
    reason: str
    average_w: int
    co2_g: int
    adjustments: list[int] = []
    """Watt-hours of linked adjustments, in order."""


class SubstationView(Part, frozen=True):
    """A node of the tree of limits: the site, a substation, a feeder. Sums are over all below it."""

    substation_id: str
    capacity_w: int
    worst_case_w: int
    """What the sessions could draw if all messages were lost now."""
    load_w: int
    """What they draw by their newest readings."""
    sessions: int
    parent: str | None = None
    base_w: int = 0
    """What is kept free for everything else that draws there."""
    health: str = "UP"
    """UP, LOST or PROBING."""
    since_ms: int | None = None
    """Site time of its last change."""
    home_sessions: int = 0
    """Those whose charge points stand there, wherever they are fed from."""
    utilisation: int = 0
    """What is reserved, in percent of what can be."""
    measured_w: int | None = None
    """What flows through it by its own report."""
    measured_age_ms: int | None = None


class OptimizationView(Part, frozen=True):
    """What the rule table says now. A figure that is not known is null, with its fault beside it."""

    mode: str
    """PAUSE_CHARGING, SLOW_CHARGING, NORMAL_CHARGING or FAST_CHARGING."""
    power_w: int
    """What each vehicle may have."""
    rule: str
    reason: str
    """One sentence."""
    solar_w: int | None = None
    battery_percent: float | None = None
    grid_percent: float | None = None
    age_ms: dict[str, int | None] = {}
    """Of solar, battery and grid."""
    fault: dict[str, str] = {}
    """missing, stale, ahead or absurd."""


class VehicleView(Part, frozen=True):
    """The vehicle that a recommendation is for."""

    battery_percent: float
    capacity_wh: int
    target_percent: float
    need_wh: int
    max_w: int
    range_m: int
    plug: str | None = None


class StationView(Part, frozen=True):
    """A charge point in a recommendation: with a score, or with the reason why it is left out."""

    cp_id: str
    rank: int | None = None
    """1 is best; None: not among those that were asked for, or left out."""
    connector: int | None = None
    """The free one, or the one that gets free first; None: not known."""
    score: float | None = None
    """0 is best in everything."""
    front: bool = False
    """None is at least as good in everything and better in something."""
    parts: Weights | None = None
    """What each adds to the score: the largest decides."""
    cost_minor: int = 0
    time_s: int = 0
    """Drive and charge, without the wait."""
    carbon_g: int = 0
    queue_s: int = 0
    power_w: int = 0
    """Mean power while charging, as it looks now."""
    distance_m: int = 0
    excluded: str | None = None


class LegacyView(Part, frozen=True):
    """A charge point's analysis by the older formula; its names are that formula's."""

    station_id: str
    energy_needed_kwh: float
    carbon_emission_kg: float
    explanation: str
    score: float | None = None
    charging_time_hours: float | None = None


class RecommendationView(Part, frozen=True):
    """Where to charge. One row per charge point that was considered, the best first."""

    mode: str
    vehicle: VehicleView
    sentence: str
    cp_id: str | None = None
    """The chosen one; None: none can serve this vehicle."""
    connector: int | None = None
    weights: Weights | None = None
    stations: list[StationView] = []
    legacy: list[LegacyView] = []
    """In place of ``stations`` in mode legacy."""
    left_out: int = 0
    """Charge points farther away that were not considered, or not shown."""
    located: bool = False
    """Whether distances were counted: the vehicle said where it is, and positions are known."""
    currency: str = ""


class InputView(Part, frozen=True):
    """A reading that went into a decision."""

    name: str
    age_ms: int


class RejectedView(Part, frozen=True):
    """A higher limit that was not given, and what spoke against it."""

    limit_w: int
    constraint: str


class WhyView(Part, frozen=True):
    """The newest decision about a session."""

    session_id: str
    cp_id: str
    connector: int
    state: str
    sentence: str
    at_ms: int | None = None
    """When it was decided, site time; None: not known any more, or nothing was decided yet."""
    limit_w: int | None = None
    reason: str | None = None
    constraint: str | None = None
    node: str | None = None
    """What binds: a node, its phase as ``node/L1``, or the connector as ``CP-1/1``."""
    node_limit_w: int = 0
    others_w: int = 0
    """What others have of it, at worst."""
    sharing: int = 0
    inputs: list[InputView] = []
    rejected: list[RejectedView] = []


class TotalsView(Part, frozen=True):
    """Sums since the log began."""

    sessions: int = 0
    authorized: int = 0
    refused: int = 0
    started: int = 0
    expired: int = 0
    tickets: int = 0
    energy_wh: int = 0
    amount_minor: int = 0


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
FromOperator = Stop | Resume | SetCapacity | SubstationHealth | SensorReading | SetForecast | Query | List | Recommend
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
