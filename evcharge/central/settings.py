"""Central's settings: each with its unit, its default and why it is that. Flags, variables and TOML fill them."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from evcharge.audit.room import BALLAST_BYTES
from evcharge.central.limits import LimitSettings
from evcharge.central.site_entries import MAX_CAPACITY_KW, EnergyEntry, TariffEntry
from evcharge.central.site_file import read_site_file
from evcharge.central.site_mistakes import BadSite
from evcharge.domain.site import SiteConfig
from evcharge.domain.stations import Place
from evcharge.energy.derating import Derating
from evcharge.energy.model import Policy
from evcharge.ids import ChargePointId, NodeId
from evcharge.net.clock import human_ms
from evcharge.net.exposition import Address
from evcharge.units import watts_of_kw


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
    handover_s: float = 300.0
    """How long a connector is held for whoever waited for it: the walk back from a shop, and not much more."""
    settle_s: float = 86_400.0
    """How long a final meter is awaited before the last known one settles a session (features.md)."""
    policy: str = Policy.PLAN.value
    """How power is shared: plan, sllf, llf, edf, equal or rules."""
    lease_s: float = 30.0
    """How long a set-point holds without renewal. Short enough that a lost charge point's share is free again soon,
    long enough that a restart of Central (a few seconds) leaves every car at its share."""
    silence_s: float = 5.0
    """An engine or monitor that says nothing for this long is lost (SPEC §7.6)."""
    substation_silence_s: float = 10.0
    """A substation that reported its health and then says nothing for this long is lost. Gateways report every few
    seconds, over links that are not Central's: twice the patience that a monitor gets."""
    monitor_return_s: float = 90.0
    """How long after a restart of Central a monitor may take to come back before its charge point is stopped. Longer
    than the longest pause of the clients' back-off (60 s): no charge ends because Central was away for a while."""
    records_s: float = 86_400.0
    """How long kept registry records admit peers while the registry is away (SPEC §2)."""
    accept_rollback: bool = False
    """Go on although a witness proves that the log lost its end: after a backup was put back on purpose."""
    ballast_mib: int = BALLAST_BYTES >> 20
    """Room on the disk that Central keeps taken, for the operator to give back when a full disk keeps it from
    starting; 0: none."""
    metrics: Address | None = None
    """Where /metrics is served; None: nowhere."""
    drain_s: float = 2.0
    """How long peers get to hear of a drain."""


def site_of(settings: Settings, speed: float) -> SiteConfig:
    """The site's configuration from the site file, or from the flags when there is none.

    Raises BadSite with one sentence.
    """
    _check_numbers(settings)
    tariff = TariffEntry(settings.price_per_kwh, settings.currency, settings.co2_g_per_kwh).tariff(_bad_flag)
    if settings.site_file is None:
        if settings.capacity_kw is None or not 0 < settings.capacity_kw <= MAX_CAPACITY_KW:
            raise _bad_flag("capacity_kw", f"has to be above 0 and at most {MAX_CAPACITY_KW:,}")
        site = SiteConfig(capacities={NodeId("site"): watts_of_kw(settings.capacity_kw)}, tariff=tariff)
    else:
        site = read_site_file(settings.site_file).site_config(tariff)
    return msgspec.structs.replace(
        site,
        policy=Policy(settings.policy),
        rules=site.rules or settings.policy == Policy.RULES,
        authorization_ms=human_ms(settings.authorization_s, speed),
        settle_ms=human_ms(settings.settle_s, speed),
        handover_ms=human_ms(settings.handover_s, speed),
        lease_ms=int(settings.lease_s * 1000),
    )


def doubts_of(settings: Settings) -> list[str]:
    """Sentences about what the site file may not mean; nothing without one. Raises BadSite."""
    return [] if settings.site_file is None else list(read_site_file(settings.site_file).doubts())


def energy_of(settings: Settings) -> EnergyEntry:
    """What the planner reckons with. Raises BadSite."""
    return EnergyEntry() if settings.site_file is None else read_site_file(settings.site_file).energy


def derating_of(settings: Settings) -> Derating | None:
    """What the heat leaves of the limits; None: it leaves all. Raises BadSite."""
    return None if settings.site_file is None else read_site_file(settings.site_file).derating


def places_of(settings: Settings) -> dict[ChargePointId, Place]:
    """Where charge points are, from the site file; nothing without one. Raises BadSite.

    It rules nothing, so it is not in the log: a recommendation is made from what the file says now.
    """
    if settings.site_file is None:
        return {}
    return read_site_file(settings.site_file).places()


def _check_numbers(settings: Settings) -> None:
    for name, value in msgspec.structs.asdict(settings).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _bad_flag(name, f"has to be a number, not {value}")
    if settings.policy not in set(Policy):
        raise _bad_flag("policy", f"has to be one of {', '.join(Policy)}, not {settings.policy}")


def _bad_flag(name: str, what: str) -> BadSite:
    return BadSite(f"--{name.replace('_', '-')} {what}.")
