"""The site file: TOML that says what hangs on what, what it may carry, and what power costs.

[site]                                 # the connection to the grid; left out where it does not bind
capacity_kw = 250
base_kw = 30                           # the most that everything else draws there

[substations.north]
capacity_kw = 100
backup = ["south"]                     # what feeds its charge points while it is lost, the first that is well
charge_points = ["CP-1", "CP-2"]       # those that are not named anywhere stand at the first of the lowest nodes

[substations.north.feeders.row-a]
capacity_kw = 40
phase_a = [63, 63, 63]                 # fuses, at ``volts`` (230) between phase and neutral
charge_points = ["CP-3"]

[charge_points.CP-3]
phases = [2]                           # the conductor that carries its current; unknown: each has to hold it
latitude = 48.137                      # where it is and what plug it has, for recommendations only
longitude = 11.575
plug = "type2"

[tariff]
price_per_kwh = 0.30

    [energy]                               # what power costs the site: the planner saves it
    time_zone = "Europe/Berlin"
    price_per_kwh = 0.14
    demand_charge_per_kw = 12.0
    periods = [{ days = ["mon", "tue", "wed", "thu", "fri"], from = "16:00", until = "21:00", price_per_kwh = 0.31 }]
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from evcharge.domain.headroom import BadTree, check_tree
from evcharge.domain.site import NodeConfig, SiteConfig, Tariff
from evcharge.domain.stations import ANY_PLUG, Place
from evcharge.energy.tariff import Period, TimeOfUse, days_of, minute_of
from evcharge.ids import ChargePointId, NodeId
from evcharge.units import PriceE4, Watts, watts_of_kw
from protocol.messages import MAX_ID

# Largest capacity of a node in a site file or flag, kW: 1 GW. More is a slip of the keyboard.
MAX_CAPACITY_KW = 1_000_000
# Largest price per kWh: dearer than any real one, and its amounts fit in a record.
MAX_PRICE = 100
# Carbon of electricity, g/kWh: twice what the worst lignite plant emits.
MAX_CO2_G = 5_000
# Largest voltage and fuse that are believed: low voltage ends at 1,000 V, and no fuse of it carries more than 10 kA.
MAX_VOLTS = 1_000.0
MAX_FUSE_A = 10_000.0
# Largest demand charge per kW and largest price of a tonne of carbon: ten times the dearest in force.
MAX_DEMAND_CHARGE = 1_000
MAX_CO2_PRICE = 10_000
# The node of ``[site]``.
SITE = "site"


class BadSite(ValueError):
    """The site file cannot be used: one sentence that says what to mend."""


class NodeEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A substation, or a feeder below one."""

    capacity_kw: float
    base_kw: float = 0.0
    phase_a: tuple[float, float, float] | None = None
    volts: float = 230.0
    backup: list[str] = []
    charge_points: list[str] = []
    feeders: dict[str, NodeEntry] = {}


class SiteEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What is above all substations."""

    capacity_kw: float
    base_kw: float = 0.0
    phase_a: tuple[float, float, float] | None = None
    volts: float = 230.0


class TariffEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What drivers pay."""

    price_per_kwh: float = 0.30
    currency: str = "EUR"
    co2_g_per_kwh: int = 300

    def tariff(self, where: str) -> Tariff:
        """As the domain has it; ``where`` begins the sentence of a BadSite."""
        if not 0 <= self.price_per_kwh <= MAX_PRICE:
            raise BadSite(f"{where}the price per kWh has to be from 0 to {MAX_PRICE}.")
        if not (len(self.currency) == 3 and self.currency.isascii() and self.currency.isupper()):
            raise BadSite(f"{where}the currency has to be three capital letters, like EUR.")
        if not 0 <= self.co2_g_per_kwh <= MAX_CO2_G:
            raise BadSite(f"{where}the carbon of a kWh has to be from 0 to {MAX_CO2_G} g.")
        return Tariff(
            price_e4=PriceE4(round(self.price_per_kwh * 10_000)),
            currency=self.currency,
            co2_g_per_kwh=self.co2_g_per_kwh,
        )


class PeriodEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A price at some hours of some days."""

    begin: str = msgspec.field(name="from")
    until: str
    price_per_kwh: float
    days: list[str] = []


class BatteryEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A battery of the site; its level comes as ``sensor_reading battery_percent``."""

    capacity_kwh: float
    charge_kw: float
    discharge_kw: float
    least_percent: float = 10.0


class EnergyEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What power costs the site, and what its planner may use."""

    time_zone: str = "UTC"
    price_per_kwh: float = 0.20
    periods: list[PeriodEntry] = []
    export_per_kwh: float = 0.0
    demand_charge_per_kw: float = 0.0
    co2_per_tonne: float = 50.0
    rules: bool = False
    """Whether the rule table limits charging (features.md, "Energy rules"); policy ``rules`` always has it."""
    battery: BatteryEntry | None = None

    def check(self, name: str) -> None:
        """Raises BadSite; ``name`` begins its sentence."""
        figures = (self.price_per_kwh, self.export_per_kwh, *(period.price_per_kwh for period in self.periods))
        if not all(-MAX_PRICE <= price <= MAX_PRICE for price in figures):
            raise BadSite(f"{name}: energy: a price per kWh has to be from -{MAX_PRICE} to {MAX_PRICE}.")
        if not 0 <= self.demand_charge_per_kw <= MAX_DEMAND_CHARGE or not 0 <= self.co2_per_tonne <= MAX_CO2_PRICE:
            raise BadSite(
                f"{name}: energy: demand_charge_per_kw has to be from 0 to {MAX_DEMAND_CHARGE:,} and co2_per_tonne "
                f"from 0 to {MAX_CO2_PRICE:,}."
            )
        battery = self.battery
        if battery is not None and not (
            0 < battery.capacity_kwh <= MAX_CAPACITY_KW
            and 0 <= battery.charge_kw <= MAX_CAPACITY_KW
            and 0 <= battery.discharge_kw <= MAX_CAPACITY_KW
            and 0 <= battery.least_percent <= 100
        ):
            raise BadSite(f"{name}: energy: battery: a capacity above 0, powers of 0 or more, 0 to 100 per cent.")
        try:
            self.prices()
            ZoneInfo(self.time_zone)
        except (ValueError, ZoneInfoNotFoundError, OSError) as error:
            raise BadSite(f"{name}: energy: {error}.") from error

    def prices(self) -> TimeOfUse:
        """The price at every hour. Raises ValueError."""
        return TimeOfUse(
            self.price_per_kwh,
            tuple(
                Period(days_of(each.days), minute_of(each.begin), minute_of(each.until), each.price_per_kwh)
                for each in self.periods
            ),
        )

    def offset(self, at_ms: int) -> int:
        """How far local time is ahead of UTC, ms."""
        local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(self.time_zone))
        ahead = local.utcoffset()
        return 0 if ahead is None else int(ahead.total_seconds() * 1000)


class ChargePointEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What a charge point cannot say of itself."""

    phases: list[int] = []
    latitude: float | None = None
    longitude: float | None = None
    plug: str = ANY_PLUG


class SiteFile(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    substations: dict[str, NodeEntry]
    site: SiteEntry | None = None
    charge_points: dict[str, ChargePointEntry] = {}
    tariff: TariffEntry | None = None
    energy: EnergyEntry = msgspec.field(default_factory=EnergyEntry)

    def site_config(self, name: str, tariff: Tariff) -> SiteConfig:
        """As the domain has it; ``tariff`` is what holds where the file has none. Raises BadSite; ``name`` begins its
        sentence.
        """
        capacities: dict[NodeId, Watts] = {}
        nodes: dict[NodeId, NodeConfig] = {}
        assignments: dict[ChargePointId, NodeId] = {}
        for node_id, parent, entry in self._nodes(name):
            if node_id in capacities:
                raise BadSite(f"{name}: two nodes are called {node_id}.")
            where = f"{name}: {'substation' if parent in (None, SITE) and node_id != SITE else 'node'} {node_id}"
            capacities[node_id], nodes[node_id] = _limits(entry, parent, where)
            for cp_id in entry.charge_points if isinstance(entry, NodeEntry) else ():
                _check_name(cp_id, f"{where}: the id of a charge point")
                if ChargePointId(cp_id) in assignments:
                    raise BadSite(f"{name}: charge point {cp_id} stands at two substations.")
                assignments[ChargePointId(cp_id)] = node_id
        site = SiteConfig(
            capacities=capacities,
            assignments=assignments,
            nodes={node_id: placed for node_id, placed in nodes.items() if placed != NodeConfig()},
            phases=dict(_phases(name, self.charge_points)),
            rules=self.energy.rules,
            tariff=tariff if self.tariff is None else self.tariff.tariff(f"{name}: tariff: "),
        )
        self.energy.check(name)
        try:
            check_tree(site)
        except BadTree as error:
            raise BadSite(f"{name}: {error}.") from error
        return site

    def places(self, name: str) -> dict[ChargePointId, Place]:
        """Where charge points are, and their plugs, as far as the file says. Raises BadSite."""
        found = {}
        for cp_id, entry in self.charge_points.items():
            at = _position(name, cp_id, entry)
            if entry.plug != ANY_PLUG:
                _check_name(entry.plug, f"{name}: charge point {cp_id}: the plug")
            if at is not None or entry.plug != ANY_PLUG:
                found[ChargePointId(cp_id)] = Place(at, entry.plug)
        return found

    def _nodes(self, name: str) -> Iterator[tuple[NodeId, NodeId | None, NodeEntry | SiteEntry]]:
        """Each node with its parent and what is said of it, from the top."""
        top = None
        if self.site is not None:
            top = NodeId(SITE)
            yield top, None, self.site
        for substation_id, entry in self.substations.items():
            _check_node(substation_id, f"{name}: the name of a substation")
            yield NodeId(substation_id), top, entry
            for feeder_id, feeder in entry.feeders.items():
                _check_node(feeder_id, f"{name}: the name of a feeder")
                if feeder.feeders:
                    raise BadSite(f"{name}: feeder {feeder_id} has feeders of its own: a feeder feeds connectors only.")
                yield NodeId(feeder_id), NodeId(substation_id), feeder


def read_site_file(path: Path) -> SiteFile:
    """The file as it is written. Raises BadSite."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        site = msgspec.convert(table, SiteFile)
    except OSError as error:
        raise BadSite(f"cannot read the site file {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSite(f"the site file {path} is not TOML: {error}.") from error
    except RecursionError as error:
        raise BadSite(f"the site file {path} is nested too deep to be one.") from error
    except msgspec.ValidationError as error:
        raise BadSite(f"the site file {path}: {error}.") from error
    if not site.substations:
        raise BadSite(f"the site file {path} names no substation; add a table [substations.NAME] with capacity_kw.")
    return site


def _limits(entry: NodeEntry | SiteEntry, parent: NodeId | None, where: str) -> tuple[Watts, NodeConfig]:
    if not 0 < entry.capacity_kw <= MAX_CAPACITY_KW:
        raise BadSite(f"{where}: capacity_kw has to be above 0 and at most {MAX_CAPACITY_KW:,}.")
    if not 0 <= entry.base_kw <= entry.capacity_kw:
        raise BadSite(f"{where}: base_kw has to be from 0 to capacity_kw: what is left is charged with.")
    if not 0 < entry.volts <= MAX_VOLTS:
        raise BadSite(f"{where}: volts has to be above 0 and at most {MAX_VOLTS:g}.")
    phase_w = None
    if entry.phase_a is not None:
        if not all(0 < amperes <= MAX_FUSE_A for amperes in entry.phase_a):
            raise BadSite(f"{where}: phase_a has to be three currents above 0 and at most {MAX_FUSE_A:g} A.")
        one, two, three = (Watts(math.floor(amperes * entry.volts)) for amperes in entry.phase_a)
        phase_w = (one, two, three)
    backups = tuple(NodeId(name) for name in entry.backup) if isinstance(entry, NodeEntry) else ()
    return watts_of_kw(entry.capacity_kw), NodeConfig(
        parent=parent, base_w=watts_of_kw(entry.base_kw), phase_w=phase_w, backups=backups
    )


def _phases(name: str, entries: Mapping[str, ChargePointEntry]) -> Iterator[tuple[ChargePointId, tuple[int, ...]]]:
    for cp_id, entry in entries.items():
        _check_name(cp_id, f"{name}: the id of a charge point")
        if len(set(entry.phases)) < len(entry.phases) or not set(entry.phases) <= {1, 2, 3}:
            raise BadSite(f"{name}: charge point {cp_id}: phases are 1, 2 and 3, each at most once.")
        if entry.phases:
            yield ChargePointId(cp_id), tuple(sorted(phase - 1 for phase in entry.phases))


def _position(name: str, cp_id: str, entry: ChargePointEntry) -> tuple[float, float] | None:
    if entry.latitude is None and entry.longitude is None:
        return None
    if entry.latitude is None or entry.longitude is None:
        raise BadSite(f"{name}: charge point {cp_id}: latitude and longitude go together.")
    if not (-90 <= entry.latitude <= 90 and -180 <= entry.longitude <= 180):
        raise BadSite(f"{name}: charge point {cp_id}: a latitude is from -90 to 90, a longitude from -180 to 180.")
    return entry.latitude, entry.longitude


def _check_node(name: str, what: str) -> None:
    _check_name(name, what)
    if "/" in name:
        raise BadSite(f"{what} may not hold a slash, which sets a node apart from its phase, not {name!r}.")


def _check_name(name: str, what: str) -> None:
    if not 1 <= len(name) <= MAX_ID or not name.isprintable():
        raise BadSite(f"{what} needs 1 to {MAX_ID} printable characters, not {name!r}.")
