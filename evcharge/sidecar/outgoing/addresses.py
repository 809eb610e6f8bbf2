"""Which addresses a stranger's URL may lead to: those of the public internet, and no others.

The sidecar stands inside a site's network. Whoever names a URL for it to call must not reach what only the site can:
the machine itself, its neighbours, a cloud's metadata. So only global unicast addresses pass, less what IANA's
registries of special-purpose addresses (RFC 6890) set aside, and an IPv6 address that stands for an IPv4 one is judged
as that one.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

# IANA IPv4 Special-Purpose Address Registry, less what is globally reachable.
_V4: dict[IPv4Network, str] = {
    IPv4Network("0.0.0.0/8"): "an unspecified address",
    IPv4Network("10.0.0.0/8"): "a private address",
    IPv4Network("100.64.0.0/10"): "a carrier's private address",
    IPv4Network("127.0.0.0/8"): "a loopback address",
    IPv4Network("169.254.0.0/16"): "a link-local address",
    IPv4Network("172.16.0.0/12"): "a private address",
    IPv4Network("192.0.0.0/24"): "a reserved address",
    IPv4Network("192.0.2.0/24"): "a reserved address",
    IPv4Network("192.88.99.0/24"): "a reserved address",
    IPv4Network("192.168.0.0/16"): "a private address",
    IPv4Network("198.18.0.0/15"): "a reserved address",
    IPv4Network("198.51.100.0/24"): "a reserved address",
    IPv4Network("203.0.113.0/24"): "a reserved address",
    IPv4Network("224.0.0.0/4"): "a multicast address",
    IPv4Network("240.0.0.0/4"): "a reserved address",
    # Public by number, but inside Azure it is the host's own metadata and agent service.
    IPv4Network("168.63.129.16/32"): "a cloud's metadata address",
}
# All that is assigned to anybody on the internet (RFC 4291 §2.4, IANA IPv6 Global Unicast Address Space).
_GLOBAL = IPv6Network("2000::/3")
_V6: dict[IPv6Network, str] = {
    IPv6Network("::/128"): "an unspecified address",
    IPv6Network("::1/128"): "a loopback address",
    IPv6Network("fc00::/7"): "a private address",
    IPv6Network("fe80::/10"): "a link-local address",
    IPv6Network("fec0::/10"): "a private address",
    IPv6Network("ff00::/8"): "a multicast address",
    # Protocol assignments, Teredo (2001::/32) among them: a tunnel to whatever IPv4 address is written in it.
    IPv6Network("2001::/23"): "a reserved address",
    IPv6Network("2001:db8::/32"): "a reserved address",
    # 6to4 (RFC 7526 retired it): another tunnel to an IPv4 address.
    IPv6Network("2002::/16"): "a reserved address",
    IPv6Network("3fff::/20"): "a reserved address",
}
# Where an IPv6-only network writes the IPv4 internet (RFC 6052): a public address in it is a public address.
_NAT64 = IPv6Network("64:ff9b::/96")
# The middle of an ISATAP interface identifier (RFC 5214 §6.1), with and without its "universal" bit.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
_LOW_32 = 0xFFFF_FFFF

Address = IPv4Address | IPv6Address


def why_not(address: Address) -> str | None:
    """What this address is instead of a public one, as "a loopback address"; None: it is public."""
    if isinstance(address, IPv4Address):
        return next((what for network, what in _V4.items() if address in network), None)
    if address.scope_id is not None:
        return "a link-local address"
    inner = inner_v4(address)
    if address.ipv4_mapped is not None or address in _NAT64:
        return why_not(inner) if inner is not None else None
    for network, what in _V6.items():
        if address in network:
            return what
    if address not in _GLOBAL:
        return "a reserved address"
    return None if inner is None else why_not(inner)


def inner_v4(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one is meant for (mapped, NAT64, ISATAP), if there is one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or (int(address) >> 32) & _LOW_32 in _ISATAP:
        return IPv4Address(int(address) & _LOW_32)
    return None
