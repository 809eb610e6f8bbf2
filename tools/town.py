"""``python -m tools.town``: a simulated town for a day: what its stations say, who asks where to charge, the advice.

Stations, sun, prices and carbon are simulated from a seed, or replayed from real files where those are given; vehicles
live, drive and charge at home by themselves. Each asks once wherever it stands with a low battery, and the recommender
of ``evcharge.energy.recommend`` answers from what the stations say, beside the older formula.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
import msgspec

from evcharge.cli.common import CONTEXT
from evcharge.energy.legacy import legacy
from evcharge.energy.recommend import Recommendation, Vehicle, Weights, recommend
from evcharge.sim.fleet import Commuter, CommuterSpec
from evcharge.sim.noise import dice
from evcharge.sim.places import Site, Sites, open_charge_map, shenzhen
from evcharge.sim.replay import ReplayError, carbon, weather_year
from evcharge.sim.solar import SolarSite
from evcharge.sim.station import Known, Station, StationReading, StationSpec, UnknownFigure
from evcharge.sim.tariffs import PriceOverTime, read_tariff
from evcharge.sim.vehicle import Place, Telemetry, VehicleSpec

HOUR_MS = 3_600_000
# The simulated town lies around this place, where the real series that are at hand come from: Los Angeles.
CENTRE = Place(34.05, -118.25)
# Half the width of the town, degrees: 11 km to the north.
REACH = 0.1
# A vehicle asks below this charge, and wants the usual 80 %.
ASKS_BELOW, WANTED = 60.0, 80.0
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class Row(NamedTuple):
    """One question and its answer."""

    at_ms: int
    vehicle: str
    telemetry: Telemetry
    advice: Recommendation
    before: str | None
    """What the older formula would say."""


class Hour(NamedTuple):
    """What all stations say at an hour, by name."""

    at_ms: int
    readings: dict[str, StationReading]


def simulated(seed: int, count: int) -> list[StationSpec]:
    """Stations spread over the town; every other one has a roof of modules."""
    found = []
    for number in range(1, count + 1):
        luck = dice(seed, f"station/{number}")
        place = _somewhere(luck.uniform(-1, 1), luck.uniform(-1, 1))
        power_w = luck.choice((11_000, 22_000, 50_000))
        found.append(
            StationSpec(
                station_id=f"ST-{number:02}",
                place=place,
                connectors=luck.choice((2, 4, 6)),
                connector_w=power_w,
                grid_w=2 * power_w + luck.randrange(20_000, 120_000),
                solar=_roof(place, luck.randrange(10, 80) * 1_000) if number % 2 else None,
                per_hour=luck.uniform(1, 5),
            )
        )
    return found


def of_sites(sites: Sequence[Site], count: int) -> list[StationSpec]:
    """Real stations as simulated ones; who comes and what else draws there is not known, and stays simulated."""
    return [
        StationSpec(
            station_id=site.station_id,
            place=site.place,
            connectors=site.connectors,
            connector_w=site.connector_w,
            # Enough for all connectors and the building, as a connection is ordered.
            grid_w=2 * site.connectors * site.connector_w,
            # Three cars an hour at four connectors is what the simulator is meant for.
            per_hour=0.75 * site.connectors,
        )
        for site in sites[:count]
    ]


class Town:
    """Stations and vehicles; time only goes forward."""

    def __init__(self, seed: int, stations: Sequence[Station], vehicles: int, middle: Place, *, start_ms: int) -> None:
        self.stations = stations
        offset_ms = stations[0].spec.utc_offset_ms
        self._start_ms = start_ms
        self._vehicles: list[Commuter] = []
        for number in range(1, vehicles + 1):
            luck = dice(seed, f"vehicle/{number}")
            home, work = (_somewhere(luck.uniform(-2, 2), luck.uniform(-2, 2), middle) for _ in range(2))
            # Two of three have no outlet at home: those who have one hardly ever ask.
            spec = CommuterSpec(
                home=home,
                work=work,
                home_w=3_700 if number % 3 == 0 else 0,
                utc_offset_ms=offset_ms,
                vehicle=VehicleSpec(capacity_wh=luck.choice((40_000, 60_000, 77_000))),
            )
            self._vehicles.append(Commuter(seed, f"EV-{number:02}", spec, at_ms=start_ms))

    def day(self, weights: Weights) -> Iterator[Hour | Row]:
        """What stations say and vehicles are told, hour by hour. Raises UnknownFigure."""
        asked_at: dict[str, Place] = {}
        for hour in range(24):
            at_ms = self._start_ms + hour * HOUR_MS
            yield Hour(at_ms, {each.spec.station_id: each.read(at_ms) for each in self.stations})
            for vehicle in self._vehicles:
                told = vehicle.read(at_ms)
                low = told.battery_percent < ASKS_BELOW and not told.driving and not told.charging_w
                if low and asked_at.get(vehicle.name) != told.place:
                    asked_at[vehicle.name] = told.place
                    yield self._advise(at_ms, vehicle, told, weights)

    def _advise(self, at_ms: int, asks: Commuter, told: Telemetry, weights: Weights) -> Row:
        car = asks.spec.vehicle
        wanted = Vehicle(
            need_wh=max(1, round((WANTED - told.battery_percent) / 100 * car.capacity_wh)),
            range_km=told.range_km,
            max_w=car.max_w,
            plugs=frozenset({""}),
        )
        advice = recommend(wanted, [station.ahead(at_ms, told.place) for station in self.stations], weights)
        before = legacy(told.battery_percent, [station.as_before(at_ms) for station in self.stations])
        return Row(at_ms, asks.name, told, advice, before.recommended_station)


def hour_text(hour: Hour, zone: ZoneInfo) -> str:
    """One line on the stations: means, and the longest queue."""
    told = list(hour.readings.values())
    price = [one.price_per_kwh for one in told]
    carbon_kg = [one.carbon_kg_per_kwh for one in told]
    queue = max(hour.readings, key=lambda name: (hour.readings[name].queue, name))
    waits = f"longest queue {hour.readings[queue].queue} at {queue}" if hour.readings[queue].queue else "no queue"
    return (
        f"{_clock(hour.at_ms, zone)}  stations: {sum(one.busy for one in told)} connectors taken, {waits}, "
        f"{sum(price) / len(price):.3f} per kWh, {sum(carbon_kg) / len(carbon_kg):.3f} kg CO2 per kWh, "
        f"grid {sum(one.grid_w for one in told) / 1000:.0f} kW, sun {sum(one.solar_w for one in told) / 1000:.0f} kW"
    )


def row_text(row: Row, zone: ZoneInfo) -> str:
    """One line on a question and its answer."""
    who = f"{_clock(row.at_ms, zone)}    {row.vehicle} {row.telemetry.battery_percent:3.0f} %, "
    who += f"{row.telemetry.range_km:.0f} km left"
    if not row.advice.top:
        reasons = sorted({one.reason.value.replace("_", " ") for one in row.advice.excluded})
        return f"{who}: no station ({', '.join(reasons)})"
    best = row.advice.top[0]
    older = "the older formula too" if row.before == best.station_id else f"the older formula: {row.before or 'none'}"
    wait = f"wait {best.queue_s / 60:.0f} min" if best.queue_s else "free"
    return (
        f"{who}: {best.station_id}, {wait}, {best.time_s / 60:.0f} min in all, {best.cost:.2f}, "
        f"{best.carbon_kg:.1f} kg CO2 ({older})"
    )


@click.command(context_settings=CONTEXT)
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), default="2019-09-05", show_default=True, help="Local day.")
@click.option("--zone", default="America/Los_Angeles", show_default=True, help="Time zone of the town.")
@click.option("--seed", type=int, default=4, show_default=True, help="Another town.")
@click.option("--stations", type=click.IntRange(1, 500), default=8, show_default=True, help="How many.")
@click.option("--vehicles", type=click.IntRange(1, 500), default=9, show_default=True, help="How many.")
@click.option("--ocm", type=FILE, help="Real stations: JSON of Open Charge Map.")
@click.option("--shenzhen", "shenzhen_file", type=FILE, help="Real stations: CSV of the Shenzhen study.")
@click.option("--tariff", type=FILE, help="Real prices: JSON of a tariff as acnportal has them.")
@click.option("--carbon", "carbon_file", type=FILE, help="Real carbon: CSV with time and moer, kg per kWh.")
@click.option("--weather", type=FILE, help="Real sun: CSV of a typical meteorological year.")
@click.option("--weights", default=None, metavar="COST,TIME,CARBON,QUEUE", help="What drivers care about.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line instead of text.")
def cli(
    day: datetime,
    zone: str,
    seed: int,
    stations: int,
    vehicles: int,
    ocm: Path | None,
    shenzhen_file: Path | None,
    tariff: Path | None,
    carbon_file: Path | None,
    weather: Path | None,
    weights: str | None,
    as_json: bool,
) -> None:
    """A day in a simulated town: what the stations say, and where the vehicles are advised to charge."""
    if ocm is not None and shenzhen_file is not None:
        raise click.UsageError("--ocm and --shenzhen are two lists of stations; give one.")
    try:
        place = ZoneInfo(zone)
        start = day.replace(tzinfo=place)
        specs = (
            simulated(seed, stations)
            if ocm is None and shenzhen_file is None
            else _listed(open_charge_map(ocm) if ocm is not None else shenzhen(shenzhen_file or Path()), stations)
        )
        offset_ms = round((start.utcoffset() or day - day).total_seconds() * 1000)
        prices: Known | None = None if tariff is None else PriceOverTime(read_tariff(tariff), place)
        emitted: Known | None = None if carbon_file is None else carbon(carbon_file)
        sun: Known | None = None if weather is None else weather_year(weather).sun
        built = [
            Station(seed, msgspec.structs.replace(spec, utc_offset_ms=offset_ms), carbon=emitted, price=prices, sun=sun)
            for spec in specs
        ]
        town = Town(seed, built, vehicles, specs[0].place if ocm or shenzhen_file else CENTRE, start_ms=_ms(start))
        for each in town.day(_weights(weights)):
            if as_json:
                click.echo(msgspec.json.encode({"what": type(each).__name__.lower(), **each._asdict()}))
            else:
                click.echo(hour_text(each, place) if isinstance(each, Hour) else row_text(each, place))
    except ZoneInfoNotFoundError as error:
        raise click.UsageError(f"there is no time zone {zone}.") from error
    except (ReplayError, UnknownFigure) as error:
        raise click.ClickException(str(error)) from error


def _listed(sites: Sites, count: int) -> list[StationSpec]:
    """The first stations of a list. Raises ReplayError when none can be used."""
    click.echo(f"{len(sites.left_out)} stations of the list were left out.", err=True)
    if not sites.sites:
        raise ReplayError("no station of the list can be used.")
    return of_sites(sites.sites, count)


def _weights(text: str | None) -> Weights:
    if text is None:
        return Weights()
    try:
        cost, time, carbon_share, queue = map(float, text.split(","))
        weights = Weights(cost=cost, time=time, carbon=carbon_share, queue=queue)
        weights.normalised()
    except ValueError as error:
        raise click.UsageError("--weights takes four numbers from 0 up, like .4,.3,.2,.1, not all 0.") from error
    return weights


def _somewhere(north: float, east: float, middle: Place = CENTRE) -> Place:
    return Place(middle.latitude + REACH * north, middle.longitude + REACH * east)


def _roof(place: Place, peak_w: int) -> SolarSite:
    return SolarSite(latitude=place.latitude, longitude=place.longitude, peak_w=peak_w)


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def _clock(at_ms: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone):%H:%M}"


if __name__ == "__main__":
    cli()
