"""The site's energy rules: one ceiling for every charging vehicle from grid load, solar power and battery level.

The table, first match wins, all comparisons strict: grid > 85 % pauses; solar > 60 kW with battery > 70 % gives 22 kW;
solar > 30 kW gives 11 kW; everything else 5 kW.

A reading that is missing, stale or absurd is *unknown*, never 0. An unknown reading counts as whichever value would
give the least: an unknown grid pauses, an unknown sun gives 5 kW, an unknown battery never gives 22 kW. ``table`` is
the table alone; ``follow`` adds what keeps sessions from flapping: a pause ends only below 80 %, raises wait for a
dwell and are ramped, decreases are immediate.
"""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

GRID_PAUSE_PERCENT = 85
# A pause ends below this: 5 points are more than the sessions of one site move a grid that is read every second.
GRID_RESUME_PERCENT = 80
SOLAR_HIGH_W = 60_000
SOLAR_MEDIUM_W = 30_000
BATTERY_HIGH_PERCENT = 70

# Largest readings that are believed. A grid above twice its rating has tripped; the largest roof in service has 30 MW.
MAX_GRID_PERCENT = 200
MAX_SOLAR_W = 100_000_000
MAX_BATTERY_PERCENT = 100
# How far a reading's instant may lie ahead: two clocks that are kept by NTP are this close.
MAX_AHEAD_MS = 2_000


class ChargingMode(StrEnum):
    """What the table says, as it is spelt in answers."""

    PAUSE = "PAUSE_CHARGING"
    SLOW = "SLOW_CHARGING"
    NORMAL = "NORMAL_CHARGING"
    FAST = "FAST_CHARGING"


CEILING_W = {
    ChargingMode.PAUSE: 0,
    ChargingMode.SLOW: 5_000,
    ChargingMode.NORMAL: 11_000,
    ChargingMode.FAST: 22_000,
}


class Rule(StrEnum):
    """Which line of the table ruled."""

    GRID_HIGH = "grid_high"
    GRID_RECOVERING = "grid_recovering"
    """The grid was above 85 % and is not yet below 80 %."""
    GRID_UNKNOWN = "grid_unknown"
    SOLAR_HIGH_BATTERY_HIGH = "solar_high_battery_high"
    SOLAR_MEDIUM = "solar_medium"
    BATTERY_UNKNOWN = "battery_unknown"
    """There is sun for 22 kW, but nobody knows whether the battery carries it."""
    SOLAR_LOW = "solar_low"
    SOLAR_UNKNOWN = "solar_unknown"


class Fault(StrEnum):
    """Why a reading is not used."""

    MISSING = "missing"
    STALE = "stale"
    AHEAD = "ahead"
    """Its instant lies in the future: one of two clocks is wrong, and so is its age."""
    ABSURD = "absurd"


class Reading(msgspec.Struct, frozen=True):
    """A figure as it came in; ``value`` None: the source answered without one. ``at_ms`` is when it was measured."""

    value: float | None
    at_ms: int


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the site now; None: never heard of."""

    solar_w: Reading | None
    battery_percent: Reading | None
    grid_percent: Reading | None


UNREAD = Readings(solar_w=None, battery_percent=None, grid_percent=None)
"""Nothing was ever heard."""


class Checked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reading after the check: exactly one of ``value`` and ``fault`` is there."""

    name: str
    value: float | None = None
    age_ms: int | None = None
    fault: Fault | None = None


class RuleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a site may set."""

    stale_grid_ms: int = 10_000
    """The age at which a meter is stale for the balancer as well: a fuse has to be guarded."""
    stale_solar_ms: int = 60_000
    """Inverters are commonly read once in 10 to 30 s."""
    stale_battery_ms: int = 60_000
    """A battery does not move one percent in a minute."""
    dwell_ms: int = 60_000
    """Shortest time in a mode before a higher one: frequent raises wear out charge points' flash."""
    ramp_w_per_s: int = 500
    """How fast the ceiling rises: 0 to 22 kW in 44 s, which a transformer's regulator can follow."""


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules allow each charging vehicle, and why."""

    mode: ChargingMode
    ceiling_w: int
    rule: Rule
    inputs: tuple[Checked, Checked, Checked]
    """Solar, battery, grid."""
    wanted_w: int
    """What the table alone gives; ``ceiling_w`` is below it while a dwell or the ramp holds it back."""


class RuleState(msgspec.Struct, frozen=True, kw_only=True):
    """What ``follow`` has to remember from one ruling to the next."""

    at_ms: int
    mode: ChargingMode
    since_ms: int
    """When this mode began."""
    ceiling_w: int
    paused: bool
    """The grid was above 85 % and has not been seen below 80 % since."""


def check(readings: Readings, now_ms: int, settings: RuleSettings) -> tuple[Checked, Checked, Checked]:
    """Solar, battery, grid, each with its age and, if it cannot be used, the fault."""
    return (
        _check("solar_w", readings.solar_w, now_ms, settings.stale_solar_ms, MAX_SOLAR_W),
        _check("battery_percent", readings.battery_percent, now_ms, settings.stale_battery_ms, MAX_BATTERY_PERCENT),
        _check("grid_percent", readings.grid_percent, now_ms, settings.stale_grid_ms, MAX_GRID_PERCENT),
    )


def table(
    solar_w: float | None, battery_percent: float | None, grid_percent: float | None
) -> tuple[ChargingMode, Rule]:
    """The table on checked figures; None is unknown, and gives the least that any value could give."""
    if grid_percent is None:
        return ChargingMode.PAUSE, Rule.GRID_UNKNOWN
    if grid_percent > GRID_PAUSE_PERCENT:
        return ChargingMode.PAUSE, Rule.GRID_HIGH
    if solar_w is None:
        return ChargingMode.SLOW, Rule.SOLAR_UNKNOWN
    if solar_w > SOLAR_HIGH_W:
        if battery_percent is None:
            return ChargingMode.NORMAL, Rule.BATTERY_UNKNOWN
        if battery_percent > BATTERY_HIGH_PERCENT:
            return ChargingMode.FAST, Rule.SOLAR_HIGH_BATTERY_HIGH
    if solar_w > SOLAR_MEDIUM_W:
        return ChargingMode.NORMAL, Rule.SOLAR_MEDIUM
    return ChargingMode.SLOW, Rule.SOLAR_LOW


def follow(
    state: RuleState | None, readings: Readings, now_ms: int, settings: RuleSettings | None = None
) -> tuple[RuleState, Ruling]:
    """One step of the rules. With no state the table's answer holds at once; a pause is remembered from then on."""
    settings = settings or RuleSettings()
    inputs = check(readings, now_ms, settings)
    solar, battery, grid = inputs
    mode, rule = table(solar.value, battery.value, grid.value)
    paused = state is not None and state.paused
    if grid.value is not None:
        paused = grid.value > GRID_PAUSE_PERCENT or (paused and grid.value >= GRID_RESUME_PERCENT)
        if paused and mode is not ChargingMode.PAUSE:
            mode, rule = ChargingMode.PAUSE, Rule.GRID_RECOVERING
    wanted_w = CEILING_W[mode]
    if state is None:
        since_ms, ceiling_w = now_ms, wanted_w
    else:
        # After a step back of the clock nobody knows how long the mode has lasted: it starts anew, here and now.
        since_ms = min(state.since_ms, now_ms) if now_ms >= state.at_ms else now_ms
        elapsed_ms = max(0, now_ms - state.at_ms)
        if CEILING_W[mode] > CEILING_W[state.mode] and now_ms - since_ms < settings.dwell_ms:
            mode = state.mode
        elif mode is not state.mode:
            since_ms = now_ms
        ramped_w = state.ceiling_w + settings.ramp_w_per_s * elapsed_ms // 1000
        ceiling_w = min(CEILING_W[mode], ramped_w)
    after = RuleState(at_ms=now_ms, mode=mode, since_ms=since_ms, ceiling_w=ceiling_w, paused=paused)
    return after, Ruling(mode=mode, ceiling_w=ceiling_w, rule=rule, inputs=inputs, wanted_w=wanted_w)


class Optimization(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``GET /optimize-charging``. A figure that is not known is null, with its fault beside it."""

    solar_output_kw: float | None = msgspec.field(name="solar_output_kW")
    battery_level_percent: float | None
    grid_load_percent: float | None
    charging_mode: ChargingMode
    charging_power_kw: float = msgspec.field(name="charging_power_kW")
    rule: Rule
    reason: str
    input_age_ms: dict[str, int | None]
    input_fault: dict[str, Fault]
    """Only those that could not be used."""


def optimization(ruling: Ruling) -> Optimization:
    """The ruling as clients get it, in kW and percent."""
    solar, battery, grid = ruling.inputs
    return Optimization(
        solar_output_kw=None if solar.value is None else solar.value / 1000,
        battery_level_percent=battery.value,
        grid_load_percent=grid.value,
        charging_mode=ruling.mode,
        charging_power_kw=ruling.ceiling_w / 1000,
        rule=ruling.rule,
        reason=sentence(ruling),
        input_age_ms={"solar": solar.age_ms, "battery": battery.age_ms, "grid": grid.age_ms},
        input_fault={
            name: one.fault
            for name, one in (("solar", solar), ("battery", battery), ("grid", grid))
            if one.fault is not None
        },
    )


def sentence(ruling: Ruling) -> str:
    """One sentence for people."""
    solar, battery, grid = ruling.inputs
    match ruling.rule:
        case Rule.GRID_HIGH:
            said = f"the grid is at {grid.value:g} %, above {GRID_PAUSE_PERCENT} %: charging pauses"
        case Rule.GRID_RECOVERING:
            said = f"the grid is at {grid.value:g} % after an overload: the pause ends below {GRID_RESUME_PERCENT} %"
        case Rule.GRID_UNKNOWN:
            said = f"the grid load is not known ({_fault(grid)}): charging pauses"
        case Rule.SOLAR_HIGH_BATTERY_HIGH:
            said = f"{_kw(solar)} of sun and the battery at {battery.value:g} %"
        case Rule.SOLAR_MEDIUM:
            said = f"{_kw(solar)} of sun"
        case Rule.BATTERY_UNKNOWN:
            said = f"{_kw(solar)} of sun, but the battery level is not known ({_fault(battery)})"
        case Rule.SOLAR_LOW:
            said = f"only {_kw(solar)} of sun"
        case Rule.SOLAR_UNKNOWN:
            said = f"the solar power is not known ({_fault(solar)})"
    if ruling.ceiling_w < ruling.wanted_w:
        said += f"; on the way up to {ruling.wanted_w / 1000:g} kW"
    return said


def _check(name: str, reading: Reading | None, now_ms: int, stale_ms: int, most: float) -> Checked:
    if reading is None:
        return Checked(name, fault=Fault.MISSING)
    age_ms = now_ms - reading.at_ms
    value = reading.value
    if value is None:
        fault = Fault.MISSING
    elif not math.isfinite(value) or not 0 <= value <= most:
        fault = Fault.ABSURD
    elif age_ms < -MAX_AHEAD_MS:
        fault = Fault.AHEAD
    elif age_ms > stale_ms:
        fault = Fault.STALE
    else:
        return Checked(name, value, max(0, age_ms))
    return Checked(name, age_ms=max(0, age_ms), fault=fault)


def _fault(one: Checked) -> str:
    assert one.fault is not None
    return f"{one.fault}, {one.age_ms / 1000:.0f} s old" if one.fault is Fault.STALE and one.age_ms else str(one.fault)


def _kw(one: Checked) -> str:
    assert one.value is not None
    return f"{one.value / 1000:g} kW"
