"""What clients ask the gateway and what they get: recommendations, the energy rules, charges.

Names with ``_kW``, ``_kwh`` and ``_percent`` are those that clients of such gateways know; everything else has its unit
in its name as on the wire.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Percent = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
# Stands in logs, so nothing but what can be printed; Python's ``$`` alone lets a line's end pass.
VehicleId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[!-~]+$(?!\n)")]
Kw = Annotated[float, Meta(gt=0, le=10_000)]
Seconds = Annotated[int, Meta(ge=1, le=604_800)]


# Degrees north and east, as maps write them.
Position = Annotated[
    str,
    Meta(
        pattern=r"^-?(?:[0-8]?[0-9](?:\.[0-9]{1,9})?|90(?:\.0{1,9})?),"
        r"-?(?:(?:1[0-7][0-9]|[0-9]{1,2})(?:\.[0-9]{1,9})?|180(?:\.0{1,9})?)$",
        description='latitude and longitude in degrees, as "52.52,13.405"',
    ),
]


class RecommendQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The vehicle that looks for a place to charge."""

    battery_percent: Percent
    mode: Literal["pareto", "legacy"] = "pareto"
    """``legacy``: an older formula, to the digit."""
    capacity_kwh: Annotated[float, Meta(ge=0.001, le=1_000)] = 60.0
    target_percent: Percent = 80.0
    max_kw: Annotated[float, Meta(ge=0.001, le=10_000)] = 11.0
    plug: Name | None = None
    consumption_wh_per_km: Annotated[int, Meta(ge=1, le=10_000)] = 180
    position: Position | None = None
    """Where the vehicle is; without it distances do not count."""
    w_cost: Share | None = None
    """Of the weights only the proportions count; those that are left out are 0, and where all are 0, the site's own
    count."""
    w_time: Share | None = None
    w_carbon: Share | None = None
    w_queue: Share | None = None
    max_results: Annotated[int, Meta(ge=1, le=3)] = 3


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    """The vehicle as it was understood."""

    battery_percent: float
    capacity_kwh: float
    target_percent: float
    energy_needed_kwh: float
    max_kw: float
    range_km: float
    plug: str | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Cost, time, carbon and queue as shares."""

    cost: float
    time: float
    carbon: float
    queue: float


class StationRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One station's analysis. In mode ``legacy`` the first six fields alone, and the highest score is best; otherwise 0
    is best in everything.
    """

    station_id: str
    score: float | None
    """null: it cannot serve this vehicle."""
    energy_needed_kwh: float
    charging_time_hours: float | None
    carbon_emission_kg: float | None
    explanation: str
    rank: int | None = None
    connector: int | None = None
    """The free one, or the one that gets free first."""
    pareto_front: bool | None = None
    """Whether no other station is at least as good in everything and better in something."""
    contributions: Figures | None = None
    """What each adds to the score."""
    cost_minor: int | None = None
    """In hundredths of the currency."""
    drive_and_charge_s: int | None = None
    wait_s: int | None = None
    power_w: int | None = None
    """Mean power while charging, as it looks now."""
    distance_m: int | None = None
    excluded: str | None = None
    """Why it cannot serve, as a code."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Where to charge, and what spoke for it."""

    recommended_station: str
    metrics: StationRow | None
    """The row of the recommended station; null: the list was too long to have it."""
    all_station_analysis: list[StationRow]
    system_message: str
    mode: Literal["pareto", "legacy"]
    weights: Figures | None
    """null in mode ``legacy``."""
    located: bool
    """Whether distances were counted."""
    left_out: int
    """Stations farther away that were not considered, or not shown."""
    currency: str


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``GET /orchestrator/recommend``."""

    vehicle: Vehicle
    decision: Decision


ReadingStatus = Literal["ok", "missing", "stale", "ahead", "absurd"]


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A reading that the rules look at."""

    age_ms: int | None
    """null: it was never heard."""
    status: ReadingStatus
    """Anything but ``ok``: its value is not used, and the rules take the least that any value could give."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The three readings of the rules."""

    solar: Input
    battery: Input
    grid: Input


class Optimization(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``GET /optimize-charging``; a reading that is not known is null, never 0."""

    solar_output_kw: float | None = msgspec.field(name="solar_output_kW")
    battery_level_percent: float | None
    grid_load_percent: float | None
    charging_mode: Literal["PAUSE_CHARGING", "SLOW_CHARGING", "NORMAL_CHARGING", "FAST_CHARGING"]
    charging_power_kw: float = msgspec.field(name="charging_power_kW")
    """What each vehicle may have."""
    rule: str
    reason: str
    in_force: bool
    """Whether this limits anybody at this site."""
    inputs: Inputs


class SolarStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``GET /solar-status``."""

    solar_output_kw: float | None = msgspec.field(name="solar_output_kW")
    age_ms: int | None
    status: ReadingStatus


class BatteryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``GET /battery-status``."""

    battery_level_percent: float | None
    age_ms: int | None
    status: ReadingStatus


class GridLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``GET /grid-load``."""

    grid_load_percent: float | None
    age_ms: int | None
    status: ReadingStatus


class AssignBody(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants who is to be sent somewhere; whatever is left out is open."""

    requested_kw: Kw | None = None
    duration_s: Seconds | None = None
    """With ``requested_kw``: the energy that it may take."""
    substation_id: Name | None = None
    """There or below it."""


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """A substation that was not chosen; without a charge point it has no room."""

    substation_id: str
    reason: str
    cp_id: str | None
    connector: int | None
    utilisation_percent: int | None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody would be sent now. Nothing is reserved: ``POST /charge`` does that, and may choose anew."""

    substation_id: str
    cp_id: str
    connector: int
    utilisation_percent: int
    """What would be reserved with this one, at the fullest node that feeds it."""
    headroom_w: int
    """What can be reserved there yet, before this one."""
    power_w: int
    """What it would get now."""
    reason: str
    alternatives: list[Alternative]
    """The best first."""


class ChargeBody(msgspec.Struct, frozen=True, kw_only=True):
    """A vehicle that is to be charged somewhere: ``requested_kw`` for ``duration_s`` is the energy that it may take."""

    vehicle_id: VehicleId
    requested_kw: Kw
    duration_s: Seconds
    cp_id: Name | None = None
    """This charge point, where the vehicle may stand already; null: wherever there is most room."""
    substation_id: Name | None = None
    """Without cp_id: there or below it."""


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """A session that may begin: plug in at the connector before ``expires_ms``."""

    session_id: str
    substation_id: str | None
    """null: not known at this moment; the session is good all the same."""
    status: str
    vehicle_id: str
    cp_id: str
    connector: int
    requested_wh: int | None
    expires_ms: int | None
    """UTC milliseconds of the site."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The end is ordered; the ticket follows when the final meter is known."""

    session_id: str
    status: Literal["ENDING"] = "ENDING"


class WhyInput(msgspec.Struct, frozen=True, kw_only=True):
    """A reading that went into a decision."""

    name: str
    age_ms: int


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A higher limit that was not given, and what spoke against it."""

    limit_w: int
    constraint: str


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why a session gets what it gets: the newest decision about it."""

    session_id: str
    cp_id: str
    connector: int
    state: str
    sentence: str
    at_ms: int | None
    """null: nothing was decided yet, or before Central's start."""
    limit_w: int | None
    reason: str | None
    constraint: str | None
    node: str | None
    """What binds: a node, its phase, or the connector."""
    node_limit_w: int
    node_rated_w: int
    """What the node carries where it is not too hot; 0: node_limit_w."""
    others_w: int
    """What other sessions have of it, at worst."""
    sharing: int
    inputs: list[WhyInput]
    rejected: list[Rejected]
