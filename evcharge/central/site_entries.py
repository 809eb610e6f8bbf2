"""What may stand in a site file: its tables with their fields, and which figures are believed.

Each ``check`` and what makes something of the fields raises BadSite, by way of ``bad`` (``site_mistakes.Bad``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec

from evcharge.central.site_mistakes import Bad
from evcharge.domain.site import NodeConfig, Tariff
from evcharge.domain.stations import ANY_PLUG
from evcharge.energy.derating import WHOLE, Derating
from evcharge.energy.tariff import DAYS, Period, TimeOfUse, days_of, minute_of
from evcharge.ids import NodeId
from evcharge.text import did_you_mean
from evcharge.units import PriceE4, Watts, watts_of_kw
from protocol.messages import MAX_ID

# Largest capacity of a node in a site file or flag, kW: 1 GW. More is a slip of the keyboard.
MAX_CAPACITY_KW: Final = 1_000_000
# Largest price per kWh: dearer than any real one, and its amounts fit in a record.
MAX_PRICE: Final = 100
# Carbon of electricity, g/kWh: twice what the worst lignite plant emits.
MAX_CO2_G: Final = 5_000
# Largest voltage and fuse that are believed: low voltage ends at 1,000 V, and no fuse of it carries more than 10 kA.
MAX_VOLTS: Final = 1_000.0
MAX_FUSE_A: Final = 10_000.0
# Largest demand charge per kW and largest price of a tonne of carbon: ten times the dearest in force.
MAX_DEMAND_CHARGE: Final = 1_000
MAX_CO2_PRICE: Final = 10_000
# Temperatures of the air that are believed, °C: what a sensor may say (``sensors``), and some for a line beyond it.
MIN_C: Final = -60
MAX_C: Final = 100
# The line where a file says no more than that there is one.
USUAL: Final = Derating()


class SiteEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What is above all substations."""

    capacity_kw: float
    base_kw: float = 0.0
    phase_a: tuple[float, float, float] | None = None
    volts: float = 230.0

    def limits(self, parent: NodeId | None, bad: Bad) -> tuple[Watts, NodeConfig]:
        """As the domain has it."""
        if not 0 < self.capacity_kw <= MAX_CAPACITY_KW:
            raise bad("capacity_kw", f"has to be above 0 and at most {MAX_CAPACITY_KW:,}")
        if not 0 <= self.base_kw <= self.capacity_kw:
            raise bad("base_kw", "has to be from 0 to capacity_kw: what is left is charged with")
        if not 0 < self.volts <= MAX_VOLTS:
            raise bad("volts", f"has to be above 0 and at most {MAX_VOLTS:g}")
        phase_w = None
        if self.phase_a is not None:
            if not all(0 < amperes <= MAX_FUSE_A for amperes in self.phase_a):
                raise bad("phase_a", f"has to be three currents above 0 and at most {MAX_FUSE_A:g} A")
            one, two, three = (Watts(math.floor(amperes * self.volts)) for amperes in self.phase_a)
            phase_w = (one, two, three)
        config = NodeConfig(parent=parent, base_w=watts_of_kw(self.base_kw), phase_w=phase_w)
        return watts_of_kw(self.capacity_kw), config


class NodeEntry(SiteEntry, forbid_unknown_fields=True):
    """A substation, or a feeder below one."""

    backup: list[str] = []
    charge_points: list[str] = []
    feeders: dict[str, NodeEntry] = {}

    def limits(self, parent: NodeId | None, bad: Bad) -> tuple[Watts, NodeConfig]:
        """As the domain has it."""
        capacity_w, config = super().limits(parent, bad)
        check_names(self.backup, "backup", bad)
        return capacity_w, msgspec.structs.replace(config, backups=tuple(map(NodeId, self.backup)))


class TariffEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What drivers pay."""

    price_per_kwh: float = 0.30
    currency: str = "EUR"
    co2_g_per_kwh: int = 300

    def tariff(self, bad: Bad) -> Tariff:
        """As the domain has it."""
        if not 0 <= self.price_per_kwh <= MAX_PRICE:
            raise bad("price_per_kwh", f"has to be from 0 to {MAX_PRICE}")
        if not (len(self.currency) == 3 and self.currency.isascii() and self.currency.isupper()):
            raise bad("currency", "has to be three capital letters, like EUR")
        if not 0 <= self.co2_g_per_kwh <= MAX_CO2_G:
            raise bad("co2_g_per_kwh", f"has to be from 0 to {MAX_CO2_G:,}")
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

    def check(self, bad: Bad) -> None:
        """Raises BadSite."""
        for field, text in (("from", self.begin), ("until", self.until)):
            try:
                minute_of(text)
            except ValueError:
                raise bad(field, f"has to be a time of day, written 07:30, not {text!r}") from None
        try:
            days_of(self.days)
        except ValueError:
            raise bad("days", f"has to be days of {', '.join(DAYS)}") from None
        if not -MAX_PRICE <= self.price_per_kwh <= MAX_PRICE:
            raise bad("price_per_kwh", f"has to be from -{MAX_PRICE} to {MAX_PRICE}")

    def period(self) -> Period:
        """As the planner has it. Raises ValueError."""
        return Period(days_of(self.days), minute_of(self.begin), minute_of(self.until), self.price_per_kwh)


class BatteryEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A battery of the site; its level comes as ``sensor_reading battery_percent``."""

    capacity_kwh: float
    charge_kw: float
    discharge_kw: float
    least_percent: float = 10.0

    def check(self, bad: Bad) -> None:
        """Raises BadSite."""
        if not 0 < self.capacity_kwh <= MAX_CAPACITY_KW:
            raise bad("capacity_kwh", f"has to be above 0 and at most {MAX_CAPACITY_KW:,}")
        for field, power_kw in (("charge_kw", self.charge_kw), ("discharge_kw", self.discharge_kw)):
            if not 0 <= power_kw <= MAX_CAPACITY_KW:
                raise bad(field, f"has to be from 0 to {MAX_CAPACITY_KW:,}")
        if not 0 <= self.least_percent <= 100:
            raise bad("least_percent", "has to be from 0 to 100")


class EnergyEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What power costs the site, and what its planner may use."""

    time_zone: str = "UTC"
    price_per_kwh: float = 0.20
    periods: list[PeriodEntry] = []
    export_per_kwh: float = 0.0
    demand_charge_per_kw: float = 0.0
    co2_per_tonne: float = 50.0
    rules: bool = False
    """Whether the rule table limits charging, whatever the policy; policy ``rules`` always has it."""
    battery: BatteryEntry | None = None

    def check(self, bad: Bad) -> None:
        """The figures of this table, not of those in it. Raises BadSite."""
        for field, price in (("price_per_kwh", self.price_per_kwh), ("export_per_kwh", self.export_per_kwh)):
            if not -MAX_PRICE <= price <= MAX_PRICE:
                raise bad(field, f"has to be from -{MAX_PRICE} to {MAX_PRICE}")
        if not 0 <= self.demand_charge_per_kw <= MAX_DEMAND_CHARGE:
            raise bad("demand_charge_per_kw", f"has to be from 0 to {MAX_DEMAND_CHARGE:,}")
        if not 0 <= self.co2_per_tonne <= MAX_CO2_PRICE:
            raise bad("co2_per_tonne", f"has to be from 0 to {MAX_CO2_PRICE:,}")
        try:
            ZoneInfo(self.time_zone)
        except (ValueError, ZoneInfoNotFoundError, OSError):
            near = did_you_mean(self.time_zone, available_timezones())
            raise bad("time_zone", f"has to be a zone like Europe/Berlin, not {self.time_zone!r}{near}") from None

    def prices(self) -> TimeOfUse:
        """The price at every hour. Raises ValueError."""
        return TimeOfUse(self.price_per_kwh, tuple(each.period() for each in self.periods))

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

    def on_phases(self, bad: Bad) -> tuple[int, ...]:
        """The phases that carry its current, from 0; none: not known."""
        if len(set(self.phases)) < len(self.phases) or not set(self.phases) <= {1, 2, 3}:
            raise bad("phases", "are 1, 2 and 3, each at most once")
        return tuple(sorted(phase - 1 for phase in self.phases))

    def position(self, bad: Bad) -> tuple[float, float] | None:
        """Latitude and longitude, where they are known."""
        if self.latitude is None and self.longitude is None:
            return None
        if self.latitude is None or self.longitude is None:
            raise bad("", f"needs {'latitude' if self.latitude is None else 'longitude'} too: they go together")
        if not -90 <= self.latitude <= 90:
            raise bad("latitude", "has to be from -90 to 90")
        if not -180 <= self.longitude <= 180:
            raise bad("longitude", "has to be from -180 to 180")
        return self.latitude, self.longitude


class WeatherEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What alerts of the weather do."""

    stop_now: bool = False
    """Sessions that run end at once; otherwise they go on to their end and none begins."""


class DeratingEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What the heat leaves of the nodes' limits: a line between two temperatures of the air."""

    from_c: float = USUAL.from_milli / 1000
    to_c: float = USUAL.to_milli / 1000
    least: float = USUAL.least / WHOLE
    assumed_c: float | None = None
    """While nobody says how hot it is; None: as ``to_c``, for that is safe."""

    def line(self, bad: Bad) -> Derating:
        """As it is reckoned with. Raises BadSite."""
        assumed_c = self.to_c if self.assumed_c is None else self.assumed_c
        for field, degrees in (("from_c", self.from_c), ("to_c", self.to_c), ("assumed_c", assumed_c)):
            if not MIN_C <= degrees <= MAX_C:
                raise bad(field, f"has to be from {MIN_C} to {MAX_C}, in degrees Celsius")
        if not self.from_c < self.to_c:
            raise bad("to_c", "has to be above from_c: the limit falls between the two")
        if not 0 <= self.least <= 1:
            raise bad("least", "has to be from 0 to 1: it is a share of the limit")
        return Derating(
            from_milli=math.floor(self.from_c * 1000),
            to_milli=math.floor(self.to_c * 1000),
            least=math.floor(self.least * WHOLE),
            assumed_milli=math.ceil(assumed_c * 1000),
        )


class Entries(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    substations: dict[str, NodeEntry] = {}
    site: SiteEntry | None = None
    charge_points: dict[str, ChargePointEntry] = {}
    tariff: TariffEntry | None = None
    energy: EnergyEntry = msgspec.field(default_factory=EnergyEntry)
    weather: WeatherEntry = msgspec.field(default_factory=WeatherEntry)
    derating: DeratingEntry | None = None


def check_names(names: Sequence[str], field: str, bad: Bad) -> None:
    """Names that fit into messages and records; ``field`` is where they stand ("": the table is called so)."""
    for name in names:
        if not 1 <= len(name) <= MAX_ID or not name.isprintable():
            raise bad(
                field, f"needs {'names' if field else 'a name'} of 1 to {MAX_ID} printable characters, not {name!r}"
            )
