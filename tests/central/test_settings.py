"""Settings, site files and central.json: what they mean, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from yarl import URL

from evcharge.central.registry import BadBootstrap, RegistryAccess, read_bootstrap
from evcharge.central.settings import Settings, energy_of, site_of
from evcharge.central.site_file import BadSite
from evcharge.domain.site import NodeConfig
from evcharge.ids import NodeId
from evcharge.units import Watts
from protocol.credentials import Role, b64url
from tests.support.wire import CENTRAL, credential


def settings(tmp_path: Path, **values: Any) -> Settings:
    given: dict[str, Any] = {"data_dir": tmp_path, "registry_url": "http://127.0.0.1:1"}
    return Settings(**(given | values))


def site_file(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return settings(tmp_path, site_file=path)


def test_flags_alone_make_a_site_of_one_substation(tmp_path: Path) -> None:
    site = site_of(settings(tmp_path, capacity_kw=22.5, price_per_kwh=0.315, currency="CHF", lease_s=12.5), 1.0)
    assert site.capacities == {"site": 22_500}
    assert (site.tariff.price_e4, site.tariff.currency, site.tariff.co2_g_per_kwh) == (3_150, "CHF", 300)
    assert (site.authorization_ms, site.settle_ms, site.lease_ms) == (60_000, 86_400_000, 12_500)


def test_a_fast_site_clock_lengthens_what_people_wait_for(tmp_path: Path) -> None:
    site = site_of(settings(tmp_path, authorization_s=60.0), 1_200.0)
    assert site.authorization_ms == 2_400_000, "2 s of wall time"
    assert site.lease_ms == 30_000, "leases run on the channel clock"


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


BAD_FILES = {
    "not TOML": ("[substations", "is not TOML"),
    "a slash": ('[substations."a/L1"]\ncapacity_kw = 1\n', "the name of a substation may not hold a slash"),
    "a slash below": (
        '[substations.a]\ncapacity_kw = 1\n[substations.a.feeders."a/plan"]\ncapacity_kw = 1\n',
        "the name of a feeder may not hold a slash",
    ),
    "no substation": ("[tariff]\n[substations]\n", "names no substation; add a table"),
    "missing table": ("", "missing required field `substations`"),
    "misspelt": ("[substations.a]\ncapacity_w = 1\n", "unknown field `capacity_w`"),
    "no number": ('[substations.a]\ncapacity_kw = "many"\n', r"Expected `float`, got `str`"),
    "zero": ("[substations.a]\ncapacity_kw = 0\n", "substation a: capacity_kw has to be above 0"),
    "not a number": ("[substations.a]\ncapacity_kw = nan\n", "capacity_kw has to be above 0"),
    "too much": ("[substations.a]\ncapacity_kw = 1e7\n", "at most 1,000,000"),
    "twice": (
        '[substations.a]\ncapacity_kw = 1\ncharge_points = ["X"]\n'
        '[substations.b]\ncapacity_kw = 1\ncharge_points = ["X"]\n',
        "charge point X stands at two substations",
    ),
    "no name": ('[substations.""]\ncapacity_kw = 1\n', "the name of a substation needs 1 to 64"),
    "long name": (f"[substations.{'x' * 65}]\ncapacity_kw = 1\n", "needs 1 to 64 printable characters"),
    "odd id": (
        '[substations.a]\ncapacity_kw = 1\ncharge_points = ["a\\u001b"]\n',
        "substation a: the id of a charge point needs",
    ),
    "no such backup": (
        '[substations.a]\ncapacity_kw = 1\nbackup = ["b"]\n',
        "a has the backup b, which there is not",
    ),
    "price": ("[tariff]\nprice_per_kwh = -1\n[substations.a]\ncapacity_kw = 1\n", "tariff: the price per kWh"),
    "price nan": ("[tariff]\nprice_per_kwh = nan\n[substations.a]\ncapacity_kw = 1\n", "the price per kWh has to be"),
    "currency": ('[tariff]\ncurrency = "euro"\n[substations.a]\ncapacity_kw = 1\n', "three capital letters"),
    "carbon": ("[tariff]\nco2_g_per_kwh = -3\n[substations.a]\ncapacity_kw = 1\n", "the carbon of a kWh"),
}


def sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    """What the operator reads: one line that ends like a sentence and names no exception."""
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and not text.endswith("..")
    assert "Error" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_mistake_in_the_site_file_is_one_sentence(kind: str, tmp_path: Path) -> None:
    text, expected = BAD_FILES[kind]
    values = site_file(tmp_path, text)
    with pytest.raises(BadSite, match=expected) as error:
        site_of(values, 1.0)
    assert "site.toml" in sentence(error)


def test_a_site_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"cannot read the site file .*No such file"):
        site_of(settings(tmp_path, site_file=tmp_path / "none.toml"), 1.0)
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSite, match="is not TOML"):
        site_of(settings(tmp_path, site_file=tmp_path / "site.toml"), 1.0)
    (tmp_path / "site.toml").write_text("deep = " + "[" * 20_000)
    with pytest.raises(BadSite, match="nested too deep"):
        site_of(settings(tmp_path, site_file=tmp_path / "site.toml"), 1.0)


BAD_FLAGS: dict[str, tuple[dict[str, Any], str]] = {
    "capacity 0": ({"capacity_kw": 0.0}, "--capacity-kw has to be above 0 and at most 1,000,000."),
    "capacity none": ({"capacity_kw": None}, "--capacity-kw has to be above 0"),
    "capacity nan": ({"capacity_kw": float("nan")}, "--capacity-kw has to be a number, not nan."),
    "lease inf": ({"lease_s": float("inf")}, "--lease-s has to be a number, not inf."),
    "price": ({"price_per_kwh": 101.0}, "the price per kWh has to be from 0 to 100."),
    "currency": ({"currency": "€"}, "the currency has to be three capital letters, like EUR."),
    "carbon": ({"co2_g_per_kwh": 9_999}, "the carbon of a kWh has to be from 0 to 5000 g."),
}


@pytest.mark.parametrize("kind", BAD_FLAGS)
def test_a_mistake_in_a_flag_is_one_sentence(kind: str, tmp_path: Path) -> None:
    values, expected = BAD_FLAGS[kind]
    with pytest.raises(BadSite) as error:
        site_of(settings(tmp_path, **values), 1.0)
    assert expected in sentence(error)


# --- central.json -----------------------------------------------------------------------------------------------------

REGISTRY = {"url": "http://127.0.0.1:8080", "public_key": b64url(bytes(32)), "service_token": "evs_secret_token"}


def central_json(tmp_path: Path, **registry: object) -> Path:
    path = tmp_path / "central.json"
    own = msgspec.Raw(CENTRAL.to_json())
    path.write_bytes(msgspec.json.encode({"credential": own, "registry": {**REGISTRY, **registry}}))
    return path


def test_a_sound_file(tmp_path: Path) -> None:
    bootstrap = read_bootstrap(central_json(tmp_path), None, allow_plain=False)
    assert bootstrap.credential.role is Role.CENTRAL
    assert bootstrap.registry.service_token == "evs_secret_token"
    assert "secret" not in repr(bootstrap), "neither the password nor the token"
    assert "127.0.0.1:8080" in repr(bootstrap.registry)


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "http://[::1]:1", "https://registry.example", "http://127.9.9.9"]
)
def test_loopback_and_tls_need_no_permission(url: str, tmp_path: Path) -> None:
    bootstrap = read_bootstrap(central_json(tmp_path), url, allow_plain=False)
    assert str(bootstrap.registry.url).rstrip("/") == url


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "http://registry.example"])
def test_plain_http_to_another_machine_has_to_be_asked_for(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadBootstrap, match="without TLS beyond this machine; use https://, or --allow-plain-registry"):
        read_bootstrap(central_json(tmp_path), url, allow_plain=False)
    assert read_bootstrap(central_json(tmp_path), url, allow_plain=True).registry.url.scheme == "http"


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8080", "http://", "http://[::1", "http://h:99999999", "", "/x"])
def test_a_url_that_is_none(url: str, tmp_path: Path) -> None:
    path = central_json(tmp_path, url=url)
    with pytest.raises(BadBootstrap, match=r"has to be one like http://127\.0\.0\.1:8080"):
        read_bootstrap(path, None, allow_plain=False)


BAD_BOOTSTRAPS: dict[str, Any] = {
    "empty": b"",
    "no JSON": b"hello",
    "not text": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "half": msgspec.json.encode({"credential": {}}),
    "no credential": msgspec.json.encode({"credential": {}, "registry": REGISTRY}),
    "a driver's": msgspec.json.encode(
        {"credential": msgspec.Raw(credential(Role.DRIVER).to_json()), "registry": REGISTRY}
    ),
    "short key": {"public_key": b64url(bytes(31))},
    "no key": {"public_key": "!"},
    "strange key": {"public_key": "é"},
    "no token": {"service_token": ""},
    "a token of two lines": {"service_token": "a\nb"},
    "a token of two words": {"service_token": "a b"},
    "a strange token": {"service_token": "é"},
}


@pytest.mark.parametrize("kind", BAD_BOOTSTRAPS)
def test_a_damaged_central_json_is_one_sentence(kind: str, tmp_path: Path) -> None:
    content = BAD_BOOTSTRAPS[kind]
    if isinstance(content, bytes):
        path = tmp_path / "central.json"
        path.write_bytes(content)
    else:
        path = central_json(tmp_path, **content)
    with pytest.raises(BadBootstrap, match=r"central\.json .*evcharge-sidecar init") as error:
        read_bootstrap(path, None, allow_plain=False)
    assert "secret" not in sentence(error)


def test_a_central_json_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadBootstrap, match=r"cannot read .*No such file or directory; `.* init` makes it"):
        read_bootstrap(tmp_path / "central.json", None, allow_plain=False)


def test_the_token_is_not_in_a_repr() -> None:
    assert "evs" not in repr(RegistryAccess(URL("http://x"), b"", "evs"))


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


def test_the_policy_of_the_rules_has_the_rules(tmp_path: Path) -> None:
    assert site_of(settings(tmp_path, policy="rules"), 1.0).rules
    assert not site_of(settings(tmp_path, policy="sllf"), 1.0).rules
    with pytest.raises(BadSite, match=r"--policy has to be one of rules, equal, .* not magic\."):
        site_of(settings(tmp_path, policy="magic"), 1.0)


SUB = "[substations.a]\ncapacity_kw = 10\n"
BAD_TREES = {
    "same name": (
        SUB + "[substations.b]\ncapacity_kw = 1\n[substations.b.feeders.a]\ncapacity_kw = 1\n",
        "two nodes are called a",
    ),
    "too deep": (
        SUB + "[substations.a.feeders.b]\ncapacity_kw = 1\n[substations.a.feeders.b.feeders.c]\ncapacity_kw = 1\n",
        "feeds connectors only",
    ),
    "base": ("[substations.a]\ncapacity_kw = 10\nbase_kw = 11\n", "base_kw has to be from 0 to capacity_kw"),
    "fuse": ("[substations.a]\ncapacity_kw = 10\nphase_a = [16, 16, 0]\n", "three currents above 0"),
    "volts": ("[substations.a]\ncapacity_kw = 10\nvolts = 0\n", "volts has to be above 0"),
    "phases": (SUB + "[charge_points.X]\nphases = [1, 4]\n", "phases are 1, 2 and 3"),
    "phases twice": (SUB + "[charge_points.X]\nphases = [1, 1]\n", "each at most once"),
    "zone": (SUB + '[energy]\ntime_zone = "Europe/Atlantis"\n', "energy: .*Atlantis"),
    "price": (SUB + "[energy]\nprice_per_kwh = 101\n", "energy: a price per kWh has to be from -100 to 100"),
    "demand": (SUB + "[energy]\ndemand_charge_per_kw = -1\n", "demand_charge_per_kw has to be from 0"),
    "time": (
        SUB + '[energy]\nperiods = [{ from = "7", until = "08:00", price_per_kwh = 1 }]\n',
        "written 07:30, not 7",
    ),
    "day": (
        SUB + '[energy]\nperiods = [{ from = "07:00", until = "08:00", price_per_kwh = 1, days = ["x"] }]\n',
        "a day is one of",
    ),
    "battery": (
        SUB + "[energy.battery]\ncapacity_kwh = 0\ncharge_kw = 1\ndischarge_kw = 1\n",
        "battery: a capacity above 0",
    ),
}


@pytest.mark.parametrize("kind", BAD_TREES)
def test_a_mistake_in_the_tree_is_one_sentence(kind: str, tmp_path: Path) -> None:
    text, expected = BAD_TREES[kind]
    values = site_file(tmp_path, text)
    with pytest.raises(BadSite, match=expected) as error:
        site_of(values, 1.0)
    assert "site.toml" in sentence(error)
