"""What the demo's site pays for power and what else draws and feeds there: the site file, and its sensors.

Prices come from a utility's tariff; its demand charge is for a month and left out of a day. The surroundings are
simulated, and reported to Central like those of any site: by a gateway, as ``sensor_reading``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone

import msgspec

from evcharge.energy.tariff import DAYS, TimeOfUse
from evcharge.sim.around import Around
from evcharge.sim.grid import LoadSpec, Outage, Substation, SubstationSpec
from evcharge.sim.solar import SolarSite
from evcharge.sim.storage import StorageSpec
from evcharge.sim.tariffs import Tariff
from protocol.messages import SensorReading, SubstationHealth

_HOUR_S = 3_600
# The node of the site's connection (``central.site_file.SITE``).
TOP = "site"
# How long the first of several substations is out: a fuse that somebody has to come for.
OUTAGE_MS = 3_600_000
# Sizes beside the site's capacity: a building that leaves most of it to the cars, a roof that gives on a clear noon
# about twice what the building draws, and a battery that holds half an hour of the capacity.
BUILDING, ROOF, BATTERY_H, BATTERY_POWER = 0.15, 0.30, 0.5, 0.2
# Where noon is follows from the offset of local time; how high the sun gets there, from a latitude in between.
LATITUDE, DEGREES_PER_HOUR = 35.0, 15.0


class PowerError(ValueError):
    """The site cannot be made; the sentence says why."""


class Substations(msgspec.Struct, frozen=True, kw_only=True):
    """The site's substations, alike, each the backup of the one before it. The first fails for an hour at noon."""

    count: int
    capacity_kw: float
    """Of all together."""

    def names(self) -> tuple[str, ...]:
        """``sub-1`` and so on."""
        return tuple(f"sub-{number}" for number in range(1, self.count + 1))

    def start(self, day: date, utc_offset_s: int) -> list[Substation]:
        """As a gateway sees them on that day; what else draws there is told to Central as ``base_w``."""
        noon = datetime.combine(day, time(12), tzinfo=timezone(timedelta(seconds=utc_offset_s)))
        noon_ms = round(noon.timestamp() * 1000)
        capacity_w = round(self.capacity_kw * 1000 / self.count)
        quiet = LoadSpec(peak_share=0.0, noise_share=0.0)
        return [
            Substation(
                0,
                SubstationSpec(
                    substation_id=name,
                    capacity_w=capacity_w,
                    base=quiet,
                    scripted=(Outage(noon_ms, noon_ms + OUTAGE_MS),) if name == self.names()[0] else (),
                ),
                start_ms=noon_ms,
            )
            for name in self.names()
        ]


def health_of(substation: Substation, at_ms: int, load_w: int) -> SubstationHealth:
    """What is reported of a substation at an instant of site time; ``load_w`` is what charges there."""
    told = substation.read(at_ms)
    name = substation.spec.substation_id
    if told is None:
        return SubstationHealth(id=0, substation_id=name, ok=False, detail="the transformer tripped")
    return SubstationHealth(id=0, substation_id=name, ok=True, load_w=load_w + told.base_w)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of what surrounds the chargers."""

    seed: int
    base_w: int
    roof: SolarSite
    battery: StorageSpec

    def start(self, at_ms: int, utc_offset_s: int) -> Around:
        """As they are at the beginning of the day."""
        return Around(
            self.seed,
            at_ms=at_ms,
            base_w=self.base_w,
            roof=self.roof,
            battery=self.battery,
            utc_offset_ms=utc_offset_s * 1000,
        )


def surroundings_of(capacity_kw: float, utc_offset_s: int, seed: int) -> Surroundings:
    """What suits a site of this capacity."""
    watts = capacity_kw * 1000
    # East of the date line the offsets go on beyond half a turn.
    longitude = (utc_offset_s / _HOUR_S * DEGREES_PER_HOUR + 180) % 360 - 180
    roof = SolarSite(latitude=LATITUDE, longitude=longitude, peak_w=max(1, round(ROOF * watts)))
    power_w = max(1, round(BATTERY_POWER * watts))
    battery = StorageSpec(capacity_wh=max(1, round(BATTERY_H * watts)), charge_w=power_w, discharge_w=power_w)
    return Surroundings(seed=seed, base_w=round(BUILDING * watts), roof=roof, battery=battery)


def readings(around: Around, at_ms: int) -> Iterator[SensorReading]:
    """What the sensors say at an instant of site time, for Central."""
    told = around.read(at_ms)
    yield SensorReading(name="base_w", value=told.base_w, at_ms=at_ms, substation_id=TOP)
    yield SensorReading(name="solar_w", value=told.solar_w, at_ms=at_ms)
    yield SensorReading(name="battery_percent", value=told.battery_percent, at_ms=at_ms)
    yield SensorReading(name="grid_percent", value=told.grid_percent, at_ms=at_ms)


def site_toml(
    *,
    capacity_kw: float,
    price_per_kwh: float,
    currency: str,
    day: date,
    utc_offset_s: int,
    tariff: Tariff | None,
    around: Surroundings | None,
    substations: Substations | None = None,
    charge_points: Sequence[str] = (),
) -> str:
    """The site file of a day. Raises PowerError for a tariff without prices then, or an offset of no whole hours."""
    # The top of the tree has the same name in both cases: it is what the sensors report on.
    lines = [f"[substations.{TOP}]" if substations is None else f"[{TOP}]", f"capacity_kw = {capacity_kw:g}"]
    if around is not None:
        lines.append(f"base_kw = {around.base_w / 1000:g}")
    if substations is not None:
        lines += ["", *_substations(substations, charge_points)]
    lines += ["", "[tariff]", f"price_per_kwh = {price_per_kwh:g}", f"currency = {json.dumps(currency)}"]
    lines += ["", "[energy]"]
    if tariff is not None:
        if utc_offset_s % _HOUR_S:
            raise PowerError("a tariff needs a day whose offset from UTC is whole hours.")
        try:
            prices = tariff.time_of_use(day)
        except ValueError as error:
            raise PowerError(f"{error}.") from error
        # By POSIX, zones behind UTC have a plus.
        lines.append(f'time_zone = "Etc/GMT{-utc_offset_s // _HOUR_S:+d}"')
        lines.append(f"price_per_kwh = {prices.base:g}")
        lines += ["periods = [", *_periods(prices), "]"]
    if around is not None:
        battery = around.battery
        lines += ["", "[energy.battery]", f"capacity_kwh = {battery.capacity_wh / 1000:g}"]
        lines += [f"charge_kw = {battery.charge_w / 1000:g}", f"discharge_kw = {battery.discharge_w / 1000:g}"]
        lines.append(f"least_percent = {battery.least * 100:g}")
    return "\n".join(lines) + "\n"


def _substations(substations: Substations, charge_points: Sequence[str]) -> Iterator[str]:
    """Charge points are dealt out in turn."""
    names = substations.names()
    for place, name in enumerate(names):
        yield f"[substations.{name}]"
        yield f"capacity_kw = {substations.capacity_kw / substations.count:g}"
        if len(names) > 1:
            yield f"backup = {json.dumps([*names[place + 1 :], *names[:place]])}"
        yield f"charge_points = {json.dumps(list(charge_points[place :: len(names)]))}"
        yield ""


def _periods(prices: TimeOfUse) -> Iterator[str]:
    """One line for all days that have the same price at the same time."""
    days: dict[tuple[int, int, float], list[str]] = {}
    for period in prices.periods:
        names = days.setdefault((period.begin_min, period.until_min, period.price), [])
        names += [DAYS[weekday] for weekday in sorted(period.days)]
    for (begin_min, until_min, price), names in days.items():
        span = f"from = {_clock(begin_min)}, until = {_clock(until_min)}"
        yield f"    {{ days = {json.dumps(names)}, {span}, price_per_kwh = {price:g} }},"


def _clock(minute: int) -> str:
    return f'"{minute // 60:02d}:{minute % 60:02d}"'
