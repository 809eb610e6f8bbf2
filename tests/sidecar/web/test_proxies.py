"""Who asks, behind a proxy: believed of trusted ones, of what they themselves wrote, and of nobody else."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.assembly import assemble
from evcharge.sidecar.bootstrap import initialise, open_registry
from evcharge.sidecar.services import BadServices, Services, load_services
from evcharge.sidecar.web.proxies import HOPS, Proxies, ProxySettings
from tests.sidecar.conftest import HandClock

PROXY = "10.213.41.2"
proxies = Proxies(["10.213.41.0/28", "fd00::/64", "192.0.2.7"])
addresses = st.ip_addresses().map(str)
junk = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60)


@pytest.mark.parametrize(
    ("remote", "said", "source"),
    [
        (PROXY, ["203.0.113.5"], "203.0.113.5"),
        ("192.0.2.7", ["203.0.113.5"], "203.0.113.5"),
        # What the client wrote in front counts for nothing.
        (PROXY, ["1.2.3.4, 203.0.113.5"], "203.0.113.5"),
        (PROXY, ["1.2.3.4", "203.0.113.5"], "203.0.113.5"),
        # A balancer before the proxy.
        (PROXY, ["1.2.3.4, 203.0.113.5, 192.0.2.7"], "203.0.113.5"),
        (PROXY, ["2001:db8:0:1:2:3:4:5"], "2001:db8:0:1::/64"),
        (PROXY, ["[2001:db8::1]"], "2001:db8::/64"),
        ("::ffff:10.213.41.2", ["::ffff:203.0.113.5"], "203.0.113.5"),
        ("fd00::2%eth0", ["203.0.113.5"], "203.0.113.5"),
        # A proxy that asks for itself, and one that says nothing of use.
        (PROXY, [], PROXY),
        (PROXY, [""], PROXY),
        (PROXY, ["unknown"], PROXY),
        (PROXY, ["203.0.113.5, unknown"], PROXY),
        # With ports, as some balancers write them.
        (PROXY, ["203.0.113.5:4711"], "203.0.113.5"),
        (PROXY, ["1.2.3.4:1, 203.0.113.5:4711, 192.0.2.7:443"], "203.0.113.5"),
        (PROXY, ["[2001:db8::1]:443"], "2001:db8::/64"),
        (PROXY, ["[::ffff:203.0.113.5]:443"], "203.0.113.5"),
        (PROXY, ["[fe80::1%eth0]:443"], "fe80::/64"),
        (PROXY, ["203.0.113.5:"], PROXY),
        (PROXY, ["203.0.113.5:x"], PROXY),
        (PROXY, ["[203.0.113.5"], PROXY),
        (PROXY, [":443"], PROXY),
        # Nobody else is believed.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.213.41.16", ["198.51.100.1"], "10.213.41.16"),
        (None, ["198.51.100.1"], "unknown"),
    ],
)
def test_whose_word_counts(remote: str | None, said: list[str], source: str) -> None:
    assert proxies.source(remote, said) == source


def test_a_network_of_ipv4_in_ipv6_clothes_is_one_of_ipv4() -> None:
    mapped = Proxies(["::ffff:10.213.41.0/124"])
    for remote in (PROXY, f"::ffff:{PROXY}"):
        assert mapped.source(remote, ["203.0.113.5"]) == "203.0.113.5"
    assert mapped.source("10.213.41.16", ["203.0.113.5"]) == "10.213.41.16"
    assert Proxies(["10.0.0.0/8", "fc00::/7"]).source("fd12::1", ["203.0.113.5"]) == "203.0.113.5"


def test_a_row_of_proxies_is_bounded() -> None:
    assert proxies.source(PROXY, [", ".join(["203.0.113.5", *[PROXY] * (HOPS - 1)])]) == "203.0.113.5"
    assert proxies.source(PROXY, [", ".join(["203.0.113.5", *[PROXY] * HOPS])]) == PROXY


@given(addresses, st.lists(junk, max_size=4))
def test_without_settings_the_header_never_counts(remote: str, said: list[str]) -> None:
    assert Proxies().source(remote, said) == Proxies().source(remote, [])


@given(st.lists(junk, max_size=4), st.ip_addresses(v=4).filter(lambda one: not _trusted(one)))
def test_a_client_never_changes_its_source(forged: list[str], client: ipaddress.IPv4Address) -> None:
    # As the proxy of compose.yaml passes it on, and as one that adds to what came.
    assert proxies.source(PROXY, [str(client)]) == str(client)
    assert proxies.source(PROXY, [*forged, str(client)]) == str(client)
    assert proxies.source(PROXY, [", ".join([*forged, str(client)])]) == str(client)
    assert proxies.source(PROXY, [", ".join([*forged, f"{client}:4711"])]) == str(client)


def _trusted(address: ipaddress.IPv4Address) -> bool:
    return address in ipaddress.ip_network("10.213.41.0/28") or str(address) == "192.0.2.7"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('["0.0.0.0/0"]', "everybody"),
        ('["::/0"]', "everybody"),
        ('["0.0.0.0/1"]', "everybody"),
        ('["2000::/3"]', "everybody"),
        ('["2000::/7"]', "everybody"),
        ('["8.0.0.0/8"]', "everybody"),
        ('["0.0.0.0/4"]', "everybody"),
        ('["::/7"]', "everybody"),
        ('["::ffff:0.0.0.0/96"]', "everybody"),
        ('["10.213.41.5/28"]', "no network"),
        ('["proxy"]', "no network"),
        ("[1]", "str"),
    ],
)
def test_bad_networks_are_refused_with_the_file(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "services.toml"
    file.write_text(f"[proxy]\ntrusted = {text}\n")
    with pytest.raises(BadServices, match=why):
        load_services(file)


def test_by_default_nobody_is_trusted() -> None:
    assert Services().proxy == ProxySettings() == msgspec.convert({}, ProxySettings)
    assert ProxySettings().trusted == []


@pytest.mark.parametrize(("trusted", "shut"), [(["127.0.0.1"], False), ([], True)])
async def test_one_stranger_behind_the_proxy_shuts_the_door_for_himself_alone(
    tmp_path: Path, trusted: list[str], shut: bool
) -> None:
    clock = HandClock()
    await initialise(tmp_path / "r", "http://127.0.0.1:8080", clock=clock, entropy=os.urandom)
    opened = await open_registry(tmp_path / "r", clock=clock, entropy=os.urandom)
    services = Services(proxy=ProxySettings(trusted=trusted))
    app = assemble(tmp_path / "r", opened, clock=clock, entropy=os.urandom, services=services).application

    async def log_in(client: TestClient[Any, Any], source: str) -> int:
        body = {"client_id": "anna", "client_secret": "wrong"}
        headers = {"X-Forwarded-For": source}
        async with client.post("/ui/login", json=body, headers=headers) as answer:
            return answer.status

    try:
        async with TestClient(TestServer(app)) as client:
            tries = [await log_in(client, "203.0.113.5") for _ in range(services.failed_authentications + 1)]
            assert tries[0] == 401 and tries[-1] == 429
            assert await log_in(client, "203.0.113.6") == (429 if shut else 401)
    finally:
        await opened.store.close()
