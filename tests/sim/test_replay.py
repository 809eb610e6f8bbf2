"""Replayed files: units, clocks and gaps on small files, and known figures of the real ones where they are at hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import pytest

from evcharge.sim.replay import ReplayError, building_year, carbon, prices, solar_year, uk_carbon, weather_year
from evcharge.sim.series import Series, Unit, Yearly
from tests.support.shared import real

MOER = "carbon/moer_caiso_sce_2019-05_2019-12_5min.csv"
UK = "carbon/uk_carbon_intensity_fw48h_2023-03-15T0101Z.csv"
ERCOT = "prices/ercot_dam_2021_hourly.csv"
SOLAR = "solar/pv_jpl_220kwdc_30min.csv"
OFFICE = "load/office_medium_los_angeles_hourly.csv"
WEATHER = "weather/san_diego_brown_field_tmy3_hourly.csv"
WEATHER_HEAD = "month_day,hour_ending,dry_bulb_c,ghi_wh_m2,total_sky_cover_tenths\n"
MINUTE = 60_000
HOUR = 60 * MINUTE


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "series.csv"
    path.write_text(text, encoding="utf-8")
    return path


# --- units, clocks, gaps --------------------------------------------------------------------------


def test_carbon_is_a_line_between_points(tmp_path: Path) -> None:
    series = carbon(write(tmp_path, "time,moer\n2019-05-01 00:00:00+00:00,0.2\n2019-05-01 02:05:00+02:00,0.4\n"))
    assert series.unit is Unit.KG_PER_KWH
    assert series.at(ms("2019-05-01T00:02:30+00:00")) == pytest.approx(0.3)
    assert series.at(ms("2019-05-01T00:05:01+00:00")) is None


def test_a_hole_in_the_file_stays_a_hole(tmp_path: Path) -> None:
    rows = "".join(f"2019-05-01 00:{minute:02}:00+00:00,{minute}\n" for minute in (0, 5, 15, 30, 35))
    series = carbon(write(tmp_path, f"time,moer\n{rows}"))
    # One missing point is bridged, two are not.
    assert series.at(ms("2019-05-01T00:10:00+00:00")) == 10
    assert series.at(ms("2019-05-01T00:20:00+00:00")) is None
    assert series.at(ms("2019-05-01T00:32:30+00:00")) == 32.5


def test_an_empty_cell_is_a_gap_and_grams_become_kilograms(tmp_path: Path) -> None:
    path = write(
        tmp_path, "from,intensity.forecast,intensity.actual\n2023-03-15T01:00Z,178,180\n2023-03-15T01:30Z,182,\n"
    )
    actual, forecast = uk_carbon(path), uk_carbon(path, "intensity.forecast")
    assert actual.at(ms("2023-03-15T01:29:59+00:00")) == pytest.approx(0.180)
    assert actual.at(ms("2023-03-15T01:30:00+00:00")) is None
    assert forecast.at(ms("2023-03-15T01:59:59+00:00")) == pytest.approx(0.182)
    assert forecast.at(ms("2023-03-15T02:00:00+00:00")) is None


def test_prices_follow_the_wall_clock_through_the_change_of_time(tmp_path: Path) -> None:
    rows = "".join(
        f"2021-11-07 {hour}:00:00,{again},1,{price}\n"
        for hour, again, price in [("00", "N", 10), ("01", "N", 20), ("01", "Y", -30), ("02", "N", 40)]
    )
    head = "hour_start_us_central,repeated_hour,hb_hubavg_usd_per_mwh,lz_houston_usd_per_mwh\n"
    series = prices(write(tmp_path, head + rows))
    hours = [series.at(ms(f"2021-11-07T0{hour}:30:00+00:00")) for hour in range(4, 10)]
    assert hours == pytest.approx([None, 0.010, 0.020, -0.030, 0.040, None])
    missing = write(tmp_path, f"{head}2021-03-14 02:00:00,N,1,1\n")
    with pytest.raises(ReplayError, match=r":2: .*does not exist in America/Chicago"):
        prices(missing)


def test_solar_is_stamped_in_standard_time_without_a_year(tmp_path: Path) -> None:
    head = '"Time stamp","Array DC power | (kW)"\n'
    path = write(
        tmp_path, f'{head}"Jul 1, 12:00 am",0\n"Jul 1, 12:30 am",1\n"Jul 1, 12:00 pm",100\n"Jul 1, 12:30 pm",50.5\n'
    )
    year = solar_year(path)
    # Noon of standard time is 13:00 of the daylight time on the clocks.
    assert year.at(ms("2026-07-01T13:00:00-07:00")) == 100_000
    assert year.at(ms("2031-07-01T13:15:00-07:00")) == pytest.approx(75_250)
    assert year.at(ms("2026-07-01T01:30:00-07:00")) == 1_000
    assert year.at(ms("2026-07-01T09:00:00-07:00")) is None


def test_a_building_is_stamped_at_the_end_of_its_hour(tmp_path: Path) -> None:
    head = "Date/Time,Electricity:Facility [kW](Hourly),Gas [kW](Monthly)\n"
    path = write(tmp_path, f"{head} 01/01  01:00:00,10\n 01/01  24:00:00,20,7\n 01/02  01:00:00,30\n")
    year = building_year(path)
    hours = ["2020-01-01T00:00", "2020-01-01T00:59", "2020-01-01T01:00", "2020-01-01T23:30", "2020-01-02T00:30"]
    assert [year.at(ms(f"{hour}:00-08:00")) for hour in hours] == [10_000, 10_000, None, 20_000, 30_000]


def test_weather_is_stamped_at_the_end_of_its_hour(tmp_path: Path) -> None:
    path = write(tmp_path, f"{WEATHER_HEAD}06-01,12,20.5,800.0,3.0\n06-01,13,21.5,900.0,10.0\n06-01,24,15,0,0\n")
    year = weather_year(path)
    hours = [ms(f"2031-06-01T{clock}:00-08:00") for clock in ("10:59", "11:00", "11:59", "12:00", "13:00", "23:30")]
    assert [year.sun.at(at_ms) for at_ms in hours] == [None, 800.0, 800.0, 900.0, None, 0.0]
    assert year.warmth.at(hours[1]) == 20.5
    assert [year.cover.at(at_ms) for at_ms in hours[1:4]] == pytest.approx([0.3, 0.3, 1.0])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("06-01,0,20,1,1", ":2: hour_ending is '0'"),
        ("06-01,25,20,1,1", ":2: hour_ending is '25'"),
        ("02-30,1,20,1,1", ":2: "),
        ("06-01,1,20,1401,1", ":2: 1401 W/m² is above 1400"),
        ("06-01,1,273,1,1", ":2: 273 °C is above 60"),
        ("06-01,1,20,1,11", ":2: 1.1 share is above 1"),
    ],
)
def test_weather_that_cannot_be_is_refused(tmp_path: Path, row: str, says: str) -> None:
    with pytest.raises(ReplayError) as caught:
        weather_year(write(tmp_path, f"{WEATHER_HEAD}{row}\n"))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: the column moer is missing"),
        ("time,other\n", ":1: the column moer is missing"),
        ("time,moer\n", "has no values"),
        ("time,moer\n2019-05-01 00:00:00+00:00,\n", "has no values"),
        ("time,moer\n2019-05-01 00:00:00,1\n", ":2: 2019-05-01 00:00:00 has no offset"),
        ("time,moer\nyesterday,1\n", ":2: "),
        ("time,moer\n2019-05-01 00:00:00+00:00,much\n", ":2: could not convert"),
        ("time,moer\n2019-05-01 00:00:00+00:00,nan\n", ":2: nan is no finite number"),
        ("time,moer\n2019-05-01 00:00:00+00:00,-0.1\n", ":2: -0.1 kg/kWh is below 0"),
        ("time,moer\n2019-05-01 00:00:00+00:00\n", ":2: the row has not the columns"),
        ("time,moer\n2019-05-01 00:00:00+00:00,1,2\n", ":2: the row has not the columns"),
        (
            "time,moer\n2019-05-01 00:05:00+00:00,1\n2019-05-01 00:05:00+00:00,1\n",
            ":3: its time is not after that of the row before",
        ),
        ('time,moer\n"2019', "is not CSV"),
    ],
)
def test_a_file_with_a_bad_row_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ReplayError) as caught:
        carbon(write(tmp_path, text))
    assert says in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="cannot read .*absent.csv: No such file"):  # noqa: RUF043
        carbon(tmp_path / "absent.csv")
    latin = tmp_path / "latin.csv"
    latin.write_bytes(b"time,moer\n\xff")
    with pytest.raises(ReplayError, match="not UTF-8"):
        carbon(latin)
    with pytest.raises(ReplayError, match="has no hour"):
        building_year(write(tmp_path, "Date/Time,Electricity:Facility [kW](Hourly)\n 01/01  00:00:00,1\n"))


# --- the real files -------------------------------------------------------------------------------


def known(series: Series | Yearly, start: str, hours: int, step_ms: int) -> list[float]:
    start_ms = ms(start)
    values = [series.at(start_ms + at_ms) for at_ms in range(0, hours * HOUR, step_ms)]
    assert None not in values
    return [value for value in values if value is not None]


def test_real_carbon() -> None:
    series = carbon(real(MOER))
    assert len(series) == 71_136
    september = known(series, "2019-09-01T00:00:00-07:00", 30 * 24, 5 * MINUTE)
    assert 0.2 < fmean(september) < 0.5
    assert min(september) >= 0
    assert series.at(ms("2019-04-30T00:00:00+00:00")) == 0.2277
    assert series.at(ms("2020-01-01T23:55:00+00:00")) == 0.1353
    assert series.at(ms("2020-01-02T00:00:00+00:00")) is None


def test_real_british_carbon() -> None:
    path = real(UK)
    assert uk_carbon(path, "intensity.forecast").at(ms("2023-03-15T01:40:00+00:00")) == pytest.approx(0.182)


def test_real_prices_with_the_storm_and_both_changes_of_time() -> None:
    series = prices(real(ERCOT), "hb_hubavg_usd_per_mwh")
    year = known(series, "2021-01-01T00:00:00-06:00", 8_760, HOUR)
    assert len(series) == 8_760
    assert (min(year), max(year)) == (pytest.approx(-0.00025), pytest.approx(8.99526))
    assert series.at(ms("2021-11-07T07:30:00+00:00")) == pytest.approx(0.027)
    dear = [hour for hour, price in enumerate(year) if price > 5]
    # All in the week of the storm.
    first = datetime.fromtimestamp(ms("2021-01-01T00:00:00-06:00") / 1000 + dear[0] * 3600, UTC)
    assert (first.month, 12 <= first.day <= 20, dear[-1] - dear[0] < 8 * 24) == (2, True, True)


def test_real_sun() -> None:
    year = solar_year(real(SOLAR))
    assert len(year.series) == 17_520
    powers = known(year, "2019-01-01T00:00:00-08:00", 8_760, 30 * MINUTE)
    assert max(powers) <= 220_000
    # 1,300 to 1,900 kWh per kW and year is what Southern California gives.
    assert 1_300 < sum(powers) / 2 / 1000 / 220 < 1_900
    nights = [year.at(ms(f"2026-{month:02}-15T01:00:00-08:00")) for month in range(1, 13)]
    assert nights == [0] * 12


def test_real_building() -> None:
    year = building_year(real(OFFICE))
    powers = known(year, "2019-01-01T00:00:00-08:00", 8_760, HOUR)
    assert year.at(ms("2019-01-01T13:30:00-08:00")) == pytest.approx(23_119.1392091)
    assert min(powers) > 0


def test_real_weather() -> None:
    year = weather_year(real(WEATHER))
    start = "2019-01-01T00:00:00-08:00"
    sun, warmth = known(year.sun, start, 8_760, HOUR), known(year.warmth, start, 8_760, HOUR)
    # San Diego: 5.2 kWh on a horizontal square metre on a mean day, mild all year.
    assert sum(sun) / 365 / 1000 == pytest.approx(5.2, abs=0.4)
    assert 14 < fmean(warmth) < 20
    assert set(known(year.cover, start, 8_760, HOUR)) <= {tenth * 0.1 for tenth in range(11)}
    assert [year.sun.at(ms(f"2026-{month:02}-15T01:00:00-08:00")) for month in range(1, 13)] == [0] * 12
