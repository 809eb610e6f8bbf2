"""Settings and central.json: what they mean, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from yarl import URL

from evcharge.central.registry import BadBootstrap, RegistryAccess, read_bootstrap
from evcharge.central.settings import site_of
from evcharge.central.site_mistakes import BadSite
from protocol.credentials import Role, b64url
from tests.support.settings import sentence, settings
from tests.support.wire import CENTRAL, credential


def test_flags_alone_make_a_site_of_one_substation(tmp_path: Path) -> None:
    site = site_of(settings(tmp_path, capacity_kw=22.5, price_per_kwh=0.315, currency="CHF", lease_s=12.5), 1.0)
    assert site.capacities == {"site": 22_500}
    assert (site.tariff.price_e4, site.tariff.currency, site.tariff.co2_g_per_kwh) == (3_150, "CHF", 300)
    assert (site.authorization_ms, site.settle_ms, site.lease_ms) == (60_000, 86_400_000, 12_500)


def test_a_fast_site_clock_lengthens_what_people_wait_for(tmp_path: Path) -> None:
    site = site_of(settings(tmp_path, authorization_s=60.0), 1_200.0)
    assert site.authorization_ms == 2_400_000, "2 s of wall time"
    assert site.lease_ms == 30_000, "leases run on the channel clock"


BAD_FLAGS: dict[str, tuple[dict[str, Any], str]] = {
    "capacity 0": ({"capacity_kw": 0.0}, "--capacity-kw has to be above 0 and at most 1,000,000."),
    "capacity none": ({"capacity_kw": None}, "--capacity-kw has to be above 0"),
    "capacity nan": ({"capacity_kw": float("nan")}, "--capacity-kw has to be a number, not nan."),
    "lease inf": ({"lease_s": float("inf")}, "--lease-s has to be a number, not inf."),
    "price": ({"price_per_kwh": 101.0}, "--price-per-kwh has to be from 0 to 100."),
    "currency": ({"currency": "€"}, "--currency has to be three capital letters, like EUR."),
    "carbon": ({"co2_g_per_kwh": 9_999}, "--co2-g-per-kwh has to be from 0 to 5,000."),
}


@pytest.mark.parametrize("kind", BAD_FLAGS)
def test_a_mistake_in_a_flag_is_one_sentence(kind: str, tmp_path: Path) -> None:
    values, expected = BAD_FLAGS[kind]
    with pytest.raises(BadSite) as error:
        site_of(settings(tmp_path, **values), 1.0)
    assert expected in sentence(error)


def test_the_policy_of_the_rules_has_the_rules(tmp_path: Path) -> None:
    assert site_of(settings(tmp_path, policy="rules"), 1.0).rules
    assert not site_of(settings(tmp_path, policy="sllf"), 1.0).rules
    with pytest.raises(BadSite, match=r"--policy has to be one of rules, equal, .* not magic\."):
        site_of(settings(tmp_path, policy="magic"), 1.0)


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
