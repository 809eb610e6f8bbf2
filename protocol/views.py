"""The maps in which Central shows its state to drivers and operators, inside ``reply`` or as news (SPEC §7.3)."""

from __future__ import annotations

from protocol.fields import Part, Share


class Weights(Part, frozen=True):
    """What counts in a recommendation, and how much: shares of 1. In a reply what each added to a score."""

    cost: Share = 0.0
    time: Share = 0.0
    carbon: Share = 0.0
    queue: Share = 0.0


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
    why: str | None = None
    """The sentence of ``why``; in ``changes`` only."""
    decided_ms: int | None = None
    """When that was decided, site time."""
    inputs_ms: int | None = None
    """When the oldest reading was made that went into it, site time."""


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
    limit_w: int | None = None
    """What an operator allows each of its connectors; None: what it is rated for."""


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
    limit_w: int | None = None
    """What the heat leaves of ``capacity_w``; None: all of it."""
    measured_w: int | None = None
    """What flows through it by its own report."""
    measured_age_ms: int | None = None
    offered_w: int = 0
    """What the newest set-points of its sessions allow together."""
    fallback_w: int = 0
    """What they fall back to, together, when Central is silent for longer than a set-point holds."""


class PlanView(Part, frozen=True):
    """What the newest plan gives one node over time."""

    substation_id: str
    made_ms: int
    """Site time."""
    until_ms: int
    """It holds until then at most."""
    starts_ms: list[int]
    """``target_w[k]`` holds from ``starts_ms[k]`` on."""
    target_w: list[int]
    limit_w: int
    """What the node carries now."""


class AlertView(Part, frozen=True):
    """A weather alert that is on."""

    alert_id: str
    kind: str
    since_ms: int
    cp_id: str | None = None
    substation_id: str | None = None
    temperature_c: float | None = None
    detail: str = ""
    simulated: bool = False


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
    in_force: bool = True
    """Whether this limits anybody; otherwise ``reason`` says what shares the power."""


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
    node_rated_w: int = 0
    """What the node carries where it is not too hot; 0: ``node_limit_w``."""
    others_w: int = 0
    """What other sessions have of it, at worst; base load is in the sentence."""
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


class RecordView(Part, frozen=True):
    """A record of the log."""

    seq: int
    kind: str
    leaf_hash: str
    """Its leaf in the tree, hexadecimal: what its proof begins with."""
    body_bytes: int
    version: int = 1
    at_ms: int | None = None
    """Site time; None for records of the log's own."""
    clock_ms: int | None = None
    actor: str = ""
    source: str = ""
    """The address that it came from."""
    by: str | None = None
    """Whom the actor says it acted for: the client of a gateway."""
    trace: str | None = None
    """The request's id, by the actor's word: the gateway's own log has it too."""
    details: str | None = None
    """The event as JSON; None: too long, its proof has it."""


class AuditView(Part, frozen=True):
    """Records of the log in the order that was asked for."""

    rows: list[RecordView] = []
    next_seq: int | None = None
    """Pass as ``after_seq``, or with ``tail`` as ``before_seq``; None: that was all. No rows do not mean that."""
    first_seq: int = 0
    """The first record that is here; those before it were archived."""
    newest_seq: int = 0
    """The newest durable one."""


class ProofView(Part, frozen=True):
    """A record, its way to the root of the tree and the checkpoint that signs it. Bytes are base64."""

    type: str
    seq: int
    durable: int
    body: str
    proof: list[str]
    checkpoint: str
    next_from: int | None = None
    """Pass as ``body_from``: the body goes on there."""


class CheckpointView(Part, frozen=True):
    """A signed checkpoint of the log."""

    size: int
    """It covers records 1 to this one."""
    root: str
    """Hexadecimal."""
    note: str
    """As it was signed."""
    key: str
    """The verifier key."""
    key_id: str


class AuditStateView(Part, frozen=True):
    """How far the log is durable, signed and checked."""

    newest_seq: int
    first_seq: int
    verified_from: int
    """Central's start has checked chain and checkpoints from here …"""
    verified_to: int
    """… to here; before it stood a signed snapshot."""
    suspect: bool = False
    """A witness remembers more than the log has, or something else."""
    checkpoint: CheckpointView | None = None
    """The newest; None: none was signed yet."""


class AlternativeView(Part, frozen=True):
    """A node that was not chosen."""

    substation_id: str
    reason: str
    cp_id: str | None = None
    connector: int | None = None
    utilisation: int | None = None


class AssignmentView(Part, frozen=True):
    """Where somebody would be sent now, and why there."""

    substation_id: str
    cp_id: str
    connector: int
    utilisation: int
    """What would be reserved with this one, in percent of what can be, at the fullest node that feeds it."""
    headroom_w: int
    """What can be reserved there yet, before this one."""
    power_w: int
    """What it would get now."""
    reason: str
    alternatives: list[AlternativeView] = []
    """The best first, at most 8."""


class StoredView(Part, frozen=True):
    """A record as it is stored: its leaf is SHA-256(0x00 ‖ be64 seq ‖ be64 durable ‖ body)."""

    seq: int
    durable: int
    body: bytes
    next_from: int | None = None
    """Pass as ``body_from`` with the same ``after_seq``: the body goes on there, and this row stands alone."""


class TailView(Part, frozen=True):
    """Records in their order, none left out, but for those before ``first_seq``, which were archived."""

    rows: list[StoredView] = []
    first_seq: int = 0
    newest_seq: int = 0
    """The newest durable one: how far behind this answer is."""


class MeterView(Part, frozen=True, array_like=True):
    """The newest reading of a session, as an array: there are thousands a second."""

    cp_id: str
    connector: int
    power_w: int
    energy_wh: int


class ChangesView(Part, frozen=True):
    """Each charge point that changed, once, as it is now; of those where nothing but the meter went on that alone."""

    run: str
    """Of this start of Central; ``upto`` counts within it."""
    upto: int
    rows: list[ChargePointView] = []
    meters: list[MeterView] = []
    """At most 1,000."""
    more: bool = False
    """There are more: ask again at once, with ``upto``."""
