"""Which addresses are public: the forms that attackers try, and the standard library as a second opinion."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.outgoing.addresses import inner_v4, why_not

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
# The whole space is nearly all reserved, so half of the examples come from where addresses are assigned.
V6 = st.one_of(
    st.integers(0, 2**128 - 1), st.integers(0b001 << 125, (0b010 << 125) - 1), st.integers(0x2001 << 112, 0x2003 << 112)
).map(IPv6Address)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("0.0.0.0", "an unspecified address"),
        ("0.1.2.3", "an unspecified address"),
        ("10.255.255.255", "a private address"),
        ("100.63.255.255", None),
        ("100.64.0.0", "a carrier's private address"),
        ("100.127.255.255", "a carrier's private address"),
        ("100.128.0.0", None),
        ("127.0.0.1", "a loopback address"),
        ("127.255.255.254", "a loopback address"),
        ("168.63.129.16", "a cloud's metadata address"),
        ("168.63.129.17", None),
        ("169.254.169.254", "a link-local address"),
        ("172.15.255.255", None),
        ("172.16.0.1", "a private address"),
        ("172.31.255.255", "a private address"),
        ("172.32.0.0", None),
        ("192.0.0.192", "a reserved address"),
        ("192.168.1.1", "a private address"),
        ("198.19.255.255", "a reserved address"),
        ("203.0.113.7", "a reserved address"),
        ("223.255.255.255", None),
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.255", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.255", "a reserved address"),
        ("8.8.8.8", None),
        ("::", "an unspecified address"),
        ("::1", "a loopback address"),
        ("::127.0.0.1", "a reserved address"),
        ("::8.8.8.8", "a reserved address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("::ffff:10.0.0.1", "a private address"),
        ("::ffff:8.8.8.8", None),
        ("::ffff:0:127.0.0.1", "a reserved address"),
        ("64:ff9b::7f00:1", "a loopback address"),
        ("64:ff9b::169.254.169.254", "a link-local address"),
        ("64:ff9b::8.8.8.8", None),
        ("64:ff9b:1::8.8.8.8", "a reserved address"),
        ("100::1", "a reserved address"),
        ("2001:0:7f00:1::", "a reserved address"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "a reserved address"),
        ("2001:200::1", None),
        ("2001:db8::1", "a reserved address"),
        ("2002:7f00:1::1", "a reserved address"),
        ("2002:808:808::1", "a reserved address"),
        ("2606:4700::1111", None),
        ("2606:4700::5efe:10.0.0.1", "a private address"),
        ("2606:4700::200:5efe:127.0.0.1", "a loopback address"),
        ("2606:4700::5efe:8.8.8.8", None),
        ("3fff::1", "a reserved address"),
        ("4000::1", "a reserved address"),
        ("5f00::1", "a reserved address"),
        ("fc00::1", "a private address"),
        ("fd00:ec2::254", "a private address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("2606:4700::1111%1", "a link-local address"),
        ("fec0::1", "a private address"),
        ("ff02::1", "a multicast address"),
    ],
)
def test_each_form(text: str, what: str | None) -> None:
    assert why_not(ip_address(text)) == what


@given(address=st.one_of(V4, V6))
def test_what_passes_is_public_to_the_standard_library_too(address: IPv4Address | IPv6Address) -> None:
    if why_not(address) is not None:
        return
    inner = None if isinstance(address, IPv4Address) else inner_v4(address)
    for one in (address, inner):
        if one is None or (isinstance(one, IPv6Address) and inner is not None):
            continue
        assert not one.is_private and not one.is_loopback and not one.is_link_local
        assert not one.is_multicast and not one.is_reserved and not one.is_unspecified


@given(inner=V4, prefix=st.integers(0, 2**64 - 1))
def test_a_disguise_changes_nothing(inner: IPv4Address, prefix: int) -> None:
    low, judged = int(inner), why_not(inner)
    assert why_not(IPv6Address((0xFFFF << 32) | low)) == judged, "mapped"
    assert why_not(IPv6Address((0x0064_FF9B << 96) | low)) == judged, "NAT64"
    tunnels = [(0x2002 << 112) | (low << 80) | prefix, (0x2001 << 112) | (low << 64) | prefix]
    assert all(why_not(IPv6Address(tunnel)) is not None for tunnel in tunnels), "6to4 and Teredo"
    if judged is not None:
        assert why_not(IPv6Address((prefix << 64) | (0x5EFE << 32) | low)) is not None, "ISATAP"
        assert why_not(IPv6Address(low)) is not None, "IPv4-compatible"
