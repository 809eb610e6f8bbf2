"""The demo's site file, and what its gateway reports."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evcharge.central.sensors import RANGES, TEMPERATURE
from evcharge.central.site_file import SiteFile, read_site_file
from evcharge.demo.power import TOP, PowerError, Substations, health_of, readings, site_toml, surroundings_of
from evcharge.domain.site import Tariff as DriverTariff
from evcharge.ids import NodeId
from evcharge.sim.tariffs import Season, Tariff, read_tariff
from tests.support.shared import real

HOUR_S = 3_600
THURSDAY = date(2019, 9, 5)
WORKDAY = Season((1, 1), (12, 31), frozenset(range(5)), (0.0, 8.5, 18.0), (0.1, 0.3, 0.2), 9.0)
WEEKEND = Season((1, 1), (12, 31), frozenset({5, 6}), (0.0,), (0.05,), 9.0)
TARIFF = Tariff((WORKDAY, WEEKEND))
SEVERAL = Substations(count=3, capacity_kw=90)


def made(
    tmp_path: Path, *, tariff: Tariff | None = TARIFF, offset_s: int = -7 * HOUR_S, around: bool = True
) -> SiteFile:
    toml = site_toml(
        capacity_kw=40,
        price_per_kwh=0.3,
        currency="EUR",
        day=THURSDAY,
        utc_offset_s=offset_s,
        tariff=tariff,
        around=surroundings_of(40, offset_s, 4) if around else None,
    )
    path = tmp_path / "site.toml"
    path.write_text(toml, encoding="utf-8")
    return read_site_file(path)


def test_central_reads_the_file_and_has_the_tariffs_prices_at_local_hours(tmp_path: Path) -> None:
    site = made(tmp_path)
    config = site.site_config(DriverTariff())
    assert config.capacities == {NodeId("site"): 40_000}
    assert config.nodes[NodeId("site")].base_w == 6_000
    assert config.tariff.price_e4 == 3_000
    zone = ZoneInfo("America/Los_Angeles")
    for hour, price in [(0, 0.1), (8, 0.1), (9, 0.3), (17, 0.3), (18, 0.2), (23, 0.2)]:
        at_ms = int(datetime(2019, 9, 5, hour, tzinfo=zone).timestamp()) * 1000
        assert site.energy.prices().at(at_ms, site.energy.offset) == price
    saturday_ms = int(datetime(2019, 9, 7, 12, tzinfo=zone).timestamp()) * 1000
    assert site.energy.prices().at(saturday_ms, site.energy.offset) == 0.05
    assert site.energy.battery is not None
    assert (site.energy.battery.capacity_kwh, site.energy.battery.least_percent) == (20, 10)


def test_each_part_may_be_missing(tmp_path: Path) -> None:
    assert made(tmp_path, around=False).energy.battery is None
    alone = made(tmp_path, tariff=None)
    assert alone.energy.periods == [] and alone.energy.battery is not None


def test_substations_back_each_other_and_share_the_charge_points(tmp_path: Path) -> None:
    toml = site_toml(
        capacity_kw=90,
        price_per_kwh=0.3,
        currency="EUR",
        day=THURSDAY,
        utc_offset_s=-7 * HOUR_S,
        tariff=TARIFF,
        around=surroundings_of(90, -7 * HOUR_S, 4),
        substations=SEVERAL,
        charge_points=[f"CP-{number}" for number in range(7)],
    )
    path = tmp_path / "site.toml"
    path.write_text(toml, encoding="utf-8")
    config = read_site_file(path).site_config(DriverTariff())
    assert dict(config.capacities) == {"site": 90_000, "sub-1": 30_000, "sub-2": 30_000, "sub-3": 30_000}
    assert config.nodes[NodeId("sub-2")].backups == ("sub-3", "sub-1")
    assert config.nodes[NodeId(TOP)].base_w == 13_500
    assert {config.nodes[NodeId(name)].parent for name in SEVERAL.names()} == {"site"}
    assert sorted(config.assignments.values()) == ["sub-1"] * 3 + ["sub-2"] * 2 + ["sub-3"] * 2


@example(minutes=719, load_w=1)
@example(minutes=720, load_w=1)
@example(minutes=779, load_w=1)
@example(minutes=780, load_w=1)
@given(minutes=st.integers(0, 24 * 60 - 1), load_w=st.integers(0, 90_000))
def test_the_first_substation_is_out_for_an_hour_at_noon_and_no_other(minutes: int, load_w: int) -> None:
    midnight_ms = int(datetime(2019, 9, 5, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()) * 1000
    at_ms = midnight_ms + minutes * 60_000
    first, *others = (health_of(each, at_ms, load_w) for each in SEVERAL.start(THURSDAY, -7 * HOUR_S))
    assert first.ok is not (12 * 60 <= minutes < 13 * 60)
    assert (first.load_w, bool(first.detail)) == ((load_w, False) if first.ok else (None, True))
    assert all(each.ok and each.load_w == load_w for each in others)


@pytest.mark.parametrize("offset_s", [14 * HOUR_S, 0, -12 * HOUR_S])
def test_any_whole_hour_ahead_or_behind(tmp_path: Path, offset_s: int) -> None:
    assert made(tmp_path, offset_s=offset_s).energy.offset(0) == offset_s * 1000


def test_what_cannot_be_said_in_a_site_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match="whole hours"):
        made(tmp_path, offset_s=19_800)
    with pytest.raises(PowerError, match="no prices for 2019-09-07"):
        made(tmp_path, tariff=Tariff((WORKDAY,)))


@given(
    capacity_kw=st.floats(0.001, 1_000_000),
    offset_s=st.integers(-12, 14).map(lambda hours: hours * HOUR_S),
    hours=st.lists(st.integers(0, 26), min_size=1, max_size=4).map(sorted),
    seed=st.integers(0, 3),
)
def test_central_believes_every_reading(capacity_kw: float, offset_s: int, hours: list[int], seed: int) -> None:
    start_ms = 1_559_545_200_000
    surroundings = surroundings_of(capacity_kw, offset_s, seed)
    around = surroundings.start(start_ms, offset_s)
    for hour in hours:
        said = list(readings(around, start_ms + hour * 3_600_000))
        # Nothing of a simulated day is derated, so nobody says how hot it is.
        assert {one.name for one in said} == set(RANGES) - {TEMPERATURE}
        for one in said:
            least, most = RANGES[one.name]
            assert least <= one.value <= most
        assert next(one.value for one in said if one.name == "base_w") <= surroundings.base_w
        assert surroundings.base_w <= capacity_kw * 1000


def test_the_sun_is_highest_at_local_noon() -> None:
    surroundings = surroundings_of(100, -7 * HOUR_S, 4)
    midnight_ms = 1_559_545_200_000
    around = surroundings.start(midnight_ms, -7 * HOUR_S)
    clear = {}
    for hour in range(24):
        said = {one.name: one.value for one in readings(around, midnight_ms + hour * 3_600_000)}
        clear[hour] = said["solar_w"]
    assert max(clear, key=lambda hour: clear[hour]) in range(9, 16)
    assert clear[0] == clear[23] == 0


def test_a_real_tariff_becomes_a_site_file(tmp_path: Path) -> None:
    site = made(tmp_path, tariff=read_tariff(real("tariffs/sce_tou_ev_4_march_2019.json")))
    noon_ms = int(datetime(2019, 9, 5, 13, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()) * 1000
    assert site.energy.prices().at(noon_ms, site.energy.offset) == 0.26668
