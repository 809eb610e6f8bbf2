"""The simulated town: what is printed, the same for the same seed, from simulated stations and from real ones."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.shared import real
from tools.town import cli


def lines(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_day_has_its_hours_and_each_question_an_answer() -> None:
    told = lines("--seed", "2", "--stations", "5", "--vehicles", "6")
    hours = [line for line in told if line["what"] == "hour"]
    rows = [line for line in told if line["what"] == "row"]
    assert len(hours) == 24
    assert all(len(hour["readings"]) == 5 for hour in hours)
    assert rows
    for row in rows:
        names = {one["station_id"] for one in row["advice"]["top"]} | {
            one["station_id"] for one in row["advice"]["excluded"]
        }
        assert names <= set(hours[0]["readings"])
        assert row["advice"]["top"] or row["advice"]["excluded"]
    # Once at each place: a vehicle that stands there does not ask every hour.
    for name in {row["vehicle"] for row in rows}:
        places = [row["telemetry"][3] for row in rows if row["vehicle"] == name]
        assert all(one != other for one, other in pairwise(places))
    assert lines("--seed", "2", "--stations", "5", "--vehicles", "6") == told
    assert lines("--seed", "3", "--stations", "5", "--vehicles", "6") != told


def test_weights_decide() -> None:
    def spent(weights: str) -> tuple[float, float]:
        tops = [line["advice"]["top"] for line in lines("--weights", weights) if line["what"] == "row"]
        return sum(top[0]["cost"] for top in tops if top), sum(top[0]["carbon_kg"] for top in tops if top)

    cheap, clean = spent("1,0,0,0"), spent("0,0,1,0")
    assert cheap[0] < clean[0]
    assert clean[1] < cheap[1]


def test_people_get_one_line_each() -> None:
    result = CliRunner().invoke(cli, ["--stations", "3", "--vehicles", "4"])
    assert result.exit_code == 0
    printed = result.stdout.splitlines()
    assert sum("stations: " in line for line in printed) == 24
    assert all("kg CO2" in line or "no station (" in line for line in printed)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--weights", "1,2"], "--weights takes four numbers"),
        (["--weights", "0,0,0,0"], "--weights takes four numbers"),
        (["--zone", "Mars/Base"], "there is no time zone Mars/Base"),
    ],
)
def test_misuse_is_told(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_day_outside_a_series_and_a_file_that_is_none_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "carbon.csv"
    path.write_text("time,moer\n2019-05-01 00:00:00+00:00,0.2\n")
    result = CliRunner().invoke(cli, ["--carbon", str(path)])
    assert result.exit_code == 1
    assert "the carbon at ST-01 is not known" in result.stderr
    path.write_text("[]")
    assert "no tariff" in CliRunner().invoke(cli, ["--tariff", str(path)]).stderr
    assert "no station of the list can be used" in CliRunner().invoke(cli, ["--ocm", str(path)]).stderr


def test_real_files_make_a_real_day() -> None:
    told = lines(
        *("--ocm", str(real("stations/ocm_los_angeles.json"))),
        *("--tariff", str(real("tariffs/sce_tou_ev_4_march_2019.json"))),
        *("--carbon", str(real("carbon/moer_caiso_sce_2019-05_2019-12_5min.csv"))),
        *("--weather", str(real("weather/san_diego_brown_field_tmy3_hourly.csv"))),
        *("--stations", "10"),
    )
    hours = [next(iter(line["readings"].values())) for line in told if line["what"] == "hour"]
    # price_per_kwh by the tariff of a Thursday in summer.
    assert [hours[hour][3] for hour in (0, 8, 12, 18, 23)] == [0.05623, 0.0925, 0.26668, 0.0925, 0.05623]
    assert any(line["advice"]["top"] for line in told if line["what"] == "row")
