"""Site files: what they mean, and one sentence with file, line, table and field for each mistake."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.central.settings import derating_of, energy_of, site_of
from evcharge.central.site_file import read_site_file
from evcharge.central.site_mistakes import BadSite, Source, TomlPath
from evcharge.domain.site import NodeConfig
from evcharge.energy.derating import Derating
from evcharge.ids import NodeId
from evcharge.units import Watts
from tests.support.settings import sentence, settings, site_file


def test_a_site_file_names_substations_charge_points_and_the_tariff(tmp_path: Path) -> None:
    site = site_of(
        site_file(
            tmp_path,
            '[substations.north]\ncapacity_kw = 100\ncharge_points = ["A", "B"]\n'
            "[substations.south]\ncapacity_kw = 50.5\n"
            '[tariff]\nprice_per_kwh = 0.5\ncurrency = "GBP"\nco2_g_per_kwh = 0\n',
        ),
        1.0,
    )
    assert site.capacities == {"north": 100_000, "south": 50_500}
    assert site.assignments == {"A": "north", "B": "north"}
    assert (site.tariff.price_e4, site.tariff.currency, site.tariff.co2_g_per_kwh) == (5_000, "GBP", 0)


def test_a_site_file_names_backups(tmp_path: Path) -> None:
    text = '[substations.north]\ncapacity_kw = 100\nbackup = ["south"]\n[substations.south]\ncapacity_kw = 50\n'
    site = site_of(site_file(tmp_path, text), 1.0)
    assert {node_id: placed.backups for node_id, placed in site.nodes.items()} == {"north": ("south",)}


def test_a_site_file_without_a_tariff_keeps_the_flags(tmp_path: Path) -> None:
    values = site_file(tmp_path, "[substations.a]\ncapacity_kw = 1\n")
    site = site_of(msgspec.structs.replace(values, price_per_kwh=0.1), 1.0)
    assert site.tariff.price_e4 == 1_000


def test_a_site_file_says_what_weather_does(tmp_path: Path) -> None:
    plain = site_of(site_file(tmp_path, "[substations.a]\ncapacity_kw = 1\n"), 1.0)
    assert (plain.weather_stops, plain.assumed_share) == (False, None)
    assert derating_of(site_file(tmp_path, "[substations.a]\ncapacity_kw = 1\n")) is None
    assert derating_of(settings(tmp_path)) is None
    text = "[substations.a]\ncapacity_kw = 1\n[weather]\nstop_now = true\n[derating]\n"
    usual = site_file(tmp_path, text)
    assert derating_of(usual) == Derating()
    assert (site_of(usual, 1.0).weather_stops, site_of(usual, 1.0).assumed_share) == (True, 500)
    own = site_file(tmp_path, text + "from_c = 30.5\nto_c = 50.5\nleast = 0.2\nassumed_c = 40.5\n")
    assert derating_of(own) == Derating(30_500, 50_500, 200, 40_500)
    assert site_of(own, 1.0).assumed_share == 600
    as_to = site_file(tmp_path, text + "to_c = 45\n")
    assert derating_of(as_to) == Derating(40_000, 45_000, 500, 45_000), "the worst, unless somebody says it"


SUB = "[substations.a]\ncapacity_kw = 10\n"
# What is wrong → the file, where it says that it is, and the rest of the sentence.
BAD_FILES = {
    "unknown field": (
        "[substations.north]\ncapacity_kW = 1\n",
        "line 2: [substations.north] has no field `capacity_kW`; did you mean `capacity_kw`?",
    ),
    "unknown table": (SUB + "[tarif]\n", "line 3: there is no table `tarif`; did you mean `tariff`?"),
    "unknown, like nothing": (SUB + "\n\nxyz = 1\n", "line 5: [substations.a] has no field `xyz`."),
    "no parent": (SUB + 'parent = "b"\n', "line 3: [substations.a] has no field `parent`."),
    "missing": ("[substations.a]\nbase_kw = 1\n", "line 1: [substations.a] needs capacity_kw."),
    "missing in a feeder": (
        SUB + '[substations.a.feeders."row 1"]\nbase_kw = 1\n',
        'line 3: [substations.a.feeders."row 1"] needs capacity_kw.',
    ),
    "text": (
        '[substations.a]\ncapacity_kw = "many"\n',
        'line 2: [substations.a] capacity_kw has to be a number, not "many".',
    ),
    "no list": (SUB + 'backup = "b"\n', 'line 3: [substations.a] backup has to be a list, not "b".'),
    "no text in a list": (
        SUB + 'charge_points = [\n  "A",\n  7,\n]\nvolts = 230\n',
        "line 3: [substations.a] charge_points, number 2 has to be text, not 7.",
    ),
    "two fuses": (
        SUB + "phase_a = [16, 16]\n",
        "line 3: [substations.a] phase_a has to be a list of 3, not a list of 2.",
    ),
    "a fuse of text": (
        SUB + 'phase_a = [16, "x", 16]\n',
        'line 3: [substations.a] phase_a, number 2 has to be a number, not "x".',
    ),
    "no table": ("[substations]\na = 7\n", "line 2: [substations.a] has to be a table, not 7."),
    "no tables": ("substations = 7\n", "line 1: [substations] has to be a table, not 7."),
    "inline": ("substations = { a = { capacity_w = 1 } }\n", "line 1: [substations.a] has no field `capacity_w`"),
    "dotted": (
        "substations.a.capacity_kw = 1\nsubstations.a.backup = 2\n",
        "line 2: [substations.a] backup has to be a list",
    ),
    "no yes": (SUB + "[energy]\nrules = 1\n", "line 4: [energy] rules has to be true or false, not 1."),
    "no yes in the rain": (
        SUB + "[weather]\nstop_now = 1\n",
        "line 4: [weather] stop_now has to be true or false, not 1.",
    ),
    "a line that rises": (
        SUB + "[derating]\nto_c = 40\n",
        "line 4: [derating] to_c has to be above from_c: the limit falls between the two.",
    ),
    "more than all": (
        SUB + "[derating]\nleast = 1.1\n",
        "line 4: [derating] least has to be from 0 to 1: it is a share of the limit.",
    ),
    "no degrees": (
        SUB + "[derating]\nassumed_c = nan\n",
        "line 4: [derating] assumed_c has to be from -60 to 100, in degrees Celsius.",
    ),
    "no whole number": (
        SUB + "[tariff]\nco2_g_per_kwh = 1.5\n",
        "line 4: [tariff] co2_g_per_kwh has to be a whole number, not 1.5.",
    ),
    "a date": (SUB + "base_kw = 2026-01-01\n", "line 3: [substations.a] base_kw has to be a number, not 2026-01-01."),
    "long": (SUB + f'base_kw = "{"x" * 99}"\n', f'base_kw has to be a number, not "{"x" * 39}….'),
    "no colours": (SUB + '"\\u001b[31m" = 1\n', r"line 3: [substations.a] has no field `\x1b[31m`."),
    "period": (
        SUB + '[energy]\nperiods = [\n  { from = "07:00", until = "8", price_per_kwh = 1 },\n]\n',
        "line 4: [energy] periods, number 1, until has to be a time of day, written 07:30, not '8'.",
    ),
    "period, unknown": (
        SUB + '[energy]\nperiods = [{ begin = "07:00", until = "08:00", price_per_kwh = 1 }]\n',
        "line 4: [energy] periods, number 1 has no field `begin`.",
    ),
    "second period": (
        SUB + '[[energy.periods]]\nfrom = "07:00"\nuntil = "08:00"\nprice_per_kwh = 1\n'
        '[[energy.periods]]\nfrom = "08:00"\nuntil = "09:00"\nprice_per_kwh = 101\n',
        "line 10: [energy] periods, number 2, price_per_kwh has to be from -100 to 100.",
    ),
    "a slash": ('[substations."a/L1"]\ncapacity_kw = 1\n', 'line 1: [substations."a/L1"] may not hold a slash'),
    "a slash below": (
        SUB + '[substations.a.feeders."a/plan"]\ncapacity_kw = 1\n',
        'line 3: [substations.a.feeders."a/plan"] may not hold a slash',
    ),
    "zero": ("[substations.a]\ncapacity_kw = 0\n", "line 2: [substations.a] capacity_kw has to be above 0"),
    "not a number": ("[substations.a]\ncapacity_kw = nan\n", "line 2: [substations.a] capacity_kw has to be above 0"),
    "too much": ("[substations.a]\ncapacity_kw = 1e7\n", "capacity_kw has to be above 0 and at most 1,000,000."),
    "site": (SUB + "[site]\ncapacity_kw = 0\n", "line 4: [site] capacity_kw has to be above 0"),
    "base": (SUB + "base_kw = 11\n", "line 3: [substations.a] base_kw has to be from 0 to capacity_kw"),
    "fuse": (SUB + "phase_a = [16, 16, 0]\n", "line 3: [substations.a] phase_a has to be three currents above 0"),
    "volts": (SUB + "volts = 0\n", "line 3: [substations.a] volts has to be above 0"),
    "twice": (
        SUB + 'charge_points = ["X"]\n[substations.b]\ncapacity_kw = 1\ncharge_points = ["X"]\n',
        "line 6: [substations.b] charge_points names X, and so does another node",
    ),
    "same name": (
        SUB + "[substations.b]\ncapacity_kw = 1\n[substations.b.feeders.a]\ncapacity_kw = 1\n",
        "line 5: [substations.b.feeders.a] has the name of another node: two nodes are called a.",
    ),
    "no name": ('[substations.""]\ncapacity_kw = 1\n', 'line 1: [substations.""] needs a name of 1 to 64'),
    "long name": (f"[substations.{'x' * 65}]\ncapacity_kw = 1\n", "needs a name of 1 to 64 printable characters"),
    "odd id": (SUB + 'charge_points = ["a\\u001b"]\n', "line 3: [substations.a] charge_points needs names of 1 to 64"),
    "odd charge point": (SUB + '[charge_points."\\u001b"]\n', r'line 3: [charge_points."\u001b"] needs a name'),
    "no such backup": (
        SUB + 'backup = ["b"]\n',
        "line 1: [substations.a] cannot be: a has the backup b, which there is not.",
    ),
    "base below": (
        SUB + "base_kw = 9\n[site]\ncapacity_kw = 8\n",
        "line 4: [site] cannot be: site has a capacity of 8000 W, and what is below it a base load of 9000 W",
    ),
    "too deep": (
        SUB + "[substations.a.feeders.b]\ncapacity_kw = 1\n[substations.a.feeders.b.feeders.c]\ncapacity_kw = 1\n",
        "line 3: [substations.a.feeders.b] has feeders of its own: a feeder feeds connectors only.",
    ),
    "phases": (SUB + "[charge_points.X]\nphases = [1, 4]\n", "line 4: [charge_points.X] phases are 1, 2 and 3"),
    "phases twice": (SUB + "[charge_points.X]\nphases = [1, 1]\n", "each at most once"),
    "price": (SUB + "[tariff]\nprice_per_kwh = -1\n", "line 4: [tariff] price_per_kwh has to be from 0 to 100."),
    "price nan": (SUB + "[tariff]\nprice_per_kwh = nan\n", "[tariff] price_per_kwh has to be from 0 to 100."),
    "currency": (SUB + '[tariff]\ncurrency = "euro"\n', "line 4: [tariff] currency has to be three capital letters"),
    "carbon": (SUB + "[tariff]\nco2_g_per_kwh = -3\n", "line 4: [tariff] co2_g_per_kwh has to be from 0 to 5,000."),
    "zone": (
        SUB + '[energy]\ntime_zone = "Europe/Berln"\n',
        "[energy] time_zone has to be a zone like Europe/Berlin, not 'Europe/Berln'; did you mean `Europe/Berlin`?",
    ),
    "no zone": (SUB + '[energy]\ntime_zone = "Europe"\n', "line 4: [energy] time_zone has to be a zone like"),
    "price of power": (SUB + "[energy]\nprice_per_kwh = 101\n", "[energy] price_per_kwh has to be from -100 to 100."),
    "export": (SUB + "[energy]\nexport_per_kwh = 101\n", "[energy] export_per_kwh has to be from -100 to 100."),
    "demand": (
        SUB + "[energy]\ndemand_charge_per_kw = -1\n",
        "[energy] demand_charge_per_kw has to be from 0 to 1,000.",
    ),
    "carbon price": (SUB + "[energy]\nco2_per_tonne = -1\n", "[energy] co2_per_tonne has to be from 0 to 10,000."),
    "day": (
        SUB + '[energy]\nperiods = [{ from = "07:00", until = "08:00", price_per_kwh = 1, days = ["x"] }]\n',
        "[energy] periods, number 1, days has to be days of mon, tue, wed, thu, fri, sat, sun.",
    ),
    "battery": (
        SUB + "[energy.battery]\ncapacity_kwh = 0\ncharge_kw = 1\ndischarge_kw = 1\n",
        "line 4: [energy.battery] capacity_kwh has to be above 0 and at most 1,000,000.",
    ),
    "battery's power": (
        SUB + "[energy.battery]\ncapacity_kwh = 1\ncharge_kw = 1\ndischarge_kw = -1\n",
        "line 6: [energy.battery] discharge_kw has to be from 0 to 1,000,000.",
    ),
    "battery's least": (
        SUB + "[energy]\nbattery = { capacity_kwh = 1, charge_kw = 1, discharge_kw = 1, least_percent = 101 }\n",
        "line 4: [energy.battery] least_percent has to be from 0 to 100.",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_mistake_is_one_sentence_with_line_table_and_field(kind: str, tmp_path: Path) -> None:
    text, expected = BAD_FILES[kind]
    values = site_file(tmp_path, text)
    with pytest.raises(BadSite) as error:
        site_of(values, 1.0)
    said = sentence(error)
    assert said.startswith(f"the site file {values.site_file}, ") and expected in said


WHOLE_FILES = {
    "not TOML": ("[substations", "is not TOML: "),
    "no substation": ("[tariff]\n[substations]\n", "names no substation; add a table"),
    "empty": ("", "names no substation; add a table"),
}


@pytest.mark.parametrize("kind", WHOLE_FILES)
def test_a_mistake_of_the_whole_file_is_one_sentence(kind: str, tmp_path: Path) -> None:
    text, expected = WHOLE_FILES[kind]
    values = site_file(tmp_path, text)
    with pytest.raises(BadSite) as error:
        site_of(values, 1.0)
    assert sentence(error).startswith(f"the site file {values.site_file} {expected}")


def test_a_site_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"cannot read the site file .*No such file"):
        site_of(settings(tmp_path, site_file=tmp_path / "none.toml"), 1.0)
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSite, match="is not TOML"):
        site_of(settings(tmp_path, site_file=tmp_path / "site.toml"), 1.0)


@pytest.mark.parametrize("text", ["deep = " + "[" * 20_000, "[" + "a." * 2_000 + "a]", "a." * 2_000 + "a = 1"])
def test_a_site_file_that_is_nested_deep(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadSite) as error:
        site_of(site_file(tmp_path, text), 1.0)
    assert len(sentence(error)) < 200


# --- the tree ---------------------------------------------------------------------------------------------------------

TREE = """
[site]
capacity_kw = 250
base_kw = 30

[substations.north]
capacity_kw = 100
charge_points = ["CP-1"]

[substations.north.feeders.row-a]
capacity_kw = 40
phase_a = [63, 63, 32.5]
charge_points = ["CP-3"]

[substations.south]
capacity_kw = 150

[charge_points.CP-3]
phases = [2]

[energy]
time_zone = "Europe/Berlin"
price_per_kwh = 0.14
rules = true
periods = [{ days = ["mon"], from = "16:00", until = "21:00", price_per_kwh = 0.31 }]
"""


def test_a_site_file_with_a_tree(tmp_path: Path) -> None:
    values = site_file(tmp_path, TREE)
    site = site_of(values, 1.0)
    assert site.capacities == {"site": 250_000, "north": 100_000, "row-a": 40_000, "south": 150_000}
    assert site.nodes == {
        "site": NodeConfig(base_w=Watts(30_000)),
        "north": NodeConfig(parent=NodeId("site")),
        "row-a": NodeConfig(parent=NodeId("north"), phase_w=(Watts(14_490), Watts(14_490), Watts(7_475))),
        "south": NodeConfig(parent=NodeId("site")),
    }
    assert site.assignments == {"CP-1": "north", "CP-3": "row-a"}
    assert site.phases == {"CP-3": (1,)}
    assert site.default_node == "row-a", "the first that has none below it"
    assert (site.rules, site.policy) == (True, "plan")
    energy = energy_of(values)
    assert energy.offset(1_763_683_200_000) == 3_600_000
    monday_evening_ms = 1_763_992_800_000 + 3 * 3_600_000
    assert energy.prices().at(monday_evening_ms, energy.offset) == 0.31


# --- lines ------------------------------------------------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=6)


@given(
    tables=st.lists(names, min_size=1, max_size=5, unique=True),
    gaps=st.lists(st.integers(0, 3), min_size=5, max_size=5),
)
def test_any_table_is_found_on_its_line(tables: list[str], gaps: list[int]) -> None:
    lines: list[str] = []
    at: dict[TomlPath, int] = {}
    for number, name in enumerate(tables):
        lines += ["", "# [substations.north]"][: gaps[number] % 3]
        key = toml_text(name)
        at["substations", name] = len(lines) + 1
        lines += [f"[substations.{key}]", 'note = """', f"[substations.{key}]", '"""']
        at["substations", name, "capacity_kw"] = len(lines) + 1
        lines += ["capacity_kw = 1"] if gaps[number] < 2 else [f"{toml_text('capacity_kw')}=1 # = 2"]
    text = "\n".join(lines)
    source = Source("site.toml", text, tomllib.loads(text))
    assert {path: source.line_of(path) for path in at} == at
    assert source.line_of(("substations", tables[0], "base_kw")) is None


def toml_text(text: str) -> str:
    """A quoted key: all but letters as escapes."""
    return '"' + "".join(each if each.isascii() and each.isalnum() else f"\\U{ord(each):08x}" for each in text) + '"'


def test_a_line_is_not_looked_for_without_end() -> None:
    for text, path in (
        ("a = [\n" + "1,\n" * 200 + "]\nb = 1\n", "b"),
        ("a = 1\n" + "#" * 100_000 + "\nb = 1\n", "b"),
    ):
        source = Source("site.toml", text, tomllib.loads(text))
        assert source.line_of((path,)) is None
        assert source.sentence((path,), "is wrong") == f"the site file site.toml: {path} is wrong."


# --- what may be meant so ---------------------------------------------------------------------------------------------


def doubts(tmp_path: Path, text: str) -> list[str]:
    values = site_file(tmp_path, text)
    assert values.site_file is not None
    return [
        each.removeprefix(f"the site file {values.site_file}, ") for each in read_site_file(values.site_file).doubts()
    ]


def test_a_charge_point_that_stands_nowhere_is_no_mistake_where_none_is_named(tmp_path: Path) -> None:
    named = SUB + 'charge_points = ["CP-7"]\n'
    assert doubts(tmp_path, named + "[charge_points.CP-7]\nphases = [1]\n") == []
    assert doubts(tmp_path, SUB + "[charge_points.CP-77]\nphases = [1]\n") == []
    assert doubts(tmp_path, named + "[charge_points.CP-77]\nphases = [1]\n[charge_points.other]\n") == [
        "line 4: [charge_points.CP-77] is named by no charge_points, so it stands at the first of the lowest nodes; "
        "did you mean `CP-7`?",
        "line 6: [charge_points.other] is named by no charge_points, so it stands at the first of the lowest nodes.",
    ]


def test_of_hundreds_that_stand_nowhere_the_first_are_said(tmp_path: Path) -> None:
    tables = "".join(f"[charge_points.X-{number}]\n" for number in range(300))
    said = doubts(tmp_path, SUB + 'charge_points = ["CP-7"]\n' + tables)
    assert len(said) == 11
    assert said[9].startswith("line 13: [charge_points.X-9] is named by no charge_points")
    assert said[10].endswith("[charge_points] has 290 more that are named by no charge_points.")


@pytest.mark.parametrize("text", [f"{SUB}base_kw = {'9' * 5_000}\n", SUB + 'backup = ["\\u001b[2J"]\n'])
def test_what_no_number_and_no_name_can_be_is_one_sentence_without_escapes(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadSite) as caught:
        site_of(site_file(tmp_path, text), 1.0)
    assert str(caught.value).isprintable()
