"""Central's settings: each with its unit, its default and why it is that. Flags, variables and TOML fill them."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import msgspec

from evcharge.audit.room import BALLAST_BYTES
from evcharge.central.limits import LimitSettings
from evcharge.domain.state import SiteConfig, Tariff
from evcharge.ids import ChargePointId, SubstationId
from evcharge.net.clock import human_ms
from evcharge.units import PriceE4, watts_of_kw
from protocol.messages import MAX_ID

# Largest capacity of a substation in a site file or flag, kW: 1 GW. More is a slip of the keyboard.
MAX_CAPACITY_KW = 1_000_000
# Largest price per kWh: dearer than any real one, and its amounts fit in a record.
MAX_PRICE = 100
# Carbon of electricity, g/kWh: twice what the worst lignite plant emits.
MAX_CO2_G = 5_000


class BadSite(ValueError):
    """The site file cannot be used: one sentence that says what to mend."""


class Settings(LimitSettings, frozen=True, kw_only=True):
    """How this Central runs, beside what limits its peers."""

    host: str = "127.0.0.1"
    """Address to listen on; anything beyond loopback has to be asked for."""
    port: int = 7411
    """TCP port; 0 binds a free one."""
    data_dir: Path
    """Holds the log, the kept registry records."""
    registry_url: str
    capacity_kw: float | None = 100.0
    """Capacity of the one substation when there is no site file."""
    site_file: Path | None = None
    """TOML with substations, charge points and the tariff."""
    price_per_kwh: float = 0.30
    currency: str = "EUR"
    co2_g_per_kwh: int = 300
    authorization_s: float = 60.0
    """How long an authorization waits for a vehicle (features.md)."""
    settle_s: float = 86_400.0
    """How long a final meter is awaited before the last known one settles a session (features.md)."""
    lease_s: float = 30.0
    """How long a set-point holds without renewal. Short enough that a lost charge point's share is free again soon,
    long enough that a restart of Central (a few seconds) leaves every car at its share."""
    silence_s: float = 5.0
    """An engine or monitor that says nothing for this long is lost (SPEC §7.6)."""
    monitor_return_s: float = 20.0
    """How long after a restart of Central a monitor may take to come back before its charge point is stopped. Longer
    than the first steps of the clients' back-off."""
    records_s: float = 86_400.0
    """How long kept registry records admit peers while the registry is away (SPEC §2)."""
    accept_rollback: bool = False
    """Go on although a witness proves that the log lost its end: after a backup was put back on purpose."""
    ballast_mib: int = BALLAST_BYTES >> 20
    """Room on the disk that Central keeps taken, for the operator to give back when a full disk keeps it from
    starting; 0: none."""
    drain_s: float = 2.0
    """How long peers get to hear of a drain."""


class _SubstationEntry(msgspec.Struct, forbid_unknown_fields=True):
    capacity_kw: float
    charge_points: list[str] = []


class _TariffEntry(msgspec.Struct, forbid_unknown_fields=True):
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


class _SiteFile(msgspec.Struct, forbid_unknown_fields=True):
    substations: dict[str, _SubstationEntry]
    tariff: _TariffEntry | None = None


def site_of(settings: Settings, speed: float) -> SiteConfig:
    """The site's configuration from the site file, or from the flags when there is none.

    Raises BadSite with one sentence.
    """
    _check_numbers(settings)
    tariff = _TariffEntry(settings.price_per_kwh, settings.currency, settings.co2_g_per_kwh).tariff("")
    if settings.site_file is None:
        if settings.capacity_kw is None or not 0 < settings.capacity_kw <= MAX_CAPACITY_KW:
            raise BadSite(f"--capacity-kw has to be above 0 and at most {MAX_CAPACITY_KW:,}.")
        capacities = {SubstationId("site"): watts_of_kw(settings.capacity_kw)}
        assignments: dict[ChargePointId, SubstationId] = {}
    else:
        site = _read(settings.site_file)
        if site.tariff is not None:
            tariff = site.tariff.tariff(f"{settings.site_file}: tariff: ")
        capacities = {}
        assignments = {}
        for name, entry in site.substations.items():
            _check_name(name, f"{settings.site_file}: the name of a substation")
            if not 0 < entry.capacity_kw <= MAX_CAPACITY_KW:
                raise BadSite(
                    f"{settings.site_file}: substation {name}: capacity_kw has to be above 0 and at most "
                    f"{MAX_CAPACITY_KW:,}."
                )
            capacities[SubstationId(name)] = watts_of_kw(entry.capacity_kw)
            for cp_id in entry.charge_points:
                _check_name(cp_id, f"{settings.site_file}: substation {name}: the id of a charge point")
                if ChargePointId(cp_id) in assignments:
                    raise BadSite(f"{settings.site_file}: charge point {cp_id} stands at two substations.")
                assignments[ChargePointId(cp_id)] = SubstationId(name)
    return SiteConfig(
        capacities=capacities,
        assignments=assignments,
        tariff=tariff,
        authorization_ms=human_ms(settings.authorization_s, speed),
        settle_ms=human_ms(settings.settle_s, speed),
        lease_ms=int(settings.lease_s * 1000),
    )


def _check_numbers(settings: Settings) -> None:
    for name, value in msgspec.structs.asdict(settings).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadSite(f"--{name.replace('_', '-')} has to be a number, not {value}.")


def _check_name(name: str, what: str) -> None:
    if not 1 <= len(name) <= MAX_ID or not name.isprintable():
        raise BadSite(f"{what} needs 1 to {MAX_ID} printable characters, not {name!r}.")


def _read(path: Path) -> _SiteFile:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        site = msgspec.convert(table, _SiteFile)
    except OSError as error:
        raise BadSite(f"cannot read the site file {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSite(f"the site file {path} is not TOML: {error}.") from error
    except msgspec.ValidationError as error:
        raise BadSite(f"the site file {path}: {error}.") from error
    if not site.substations:
        raise BadSite(f"the site file {path} names no substation; add a table [substations.NAME] with capacity_kw.")
    return site
