"""Who asks, where a proxy stands before the sidecar: ``X-Forwarded-For``, believed of proxies that the settings name.

Without it every stranger behind the proxy is one source: six wrong secrets of one of them would shut the log-in for
all. Believed of everybody it would be worse, because each request could then be a source of its own. So only an address
in a trusted network is believed, and of what the header says only what trusted ones have said: it is read from its end,
where the nearest proxy wrote, and whatever a client put in front counts for nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from evcharge.sidecar.auth import source_of

HEADER = "X-Forwarded-For"
# Most networks of a site's proxies: one or two, of each kind of address.
NETWORKS = 32
# Proxies in a row that are believed: one, or a balancer before it; a longer row is a header that somebody made up.
HOPS = 8

# Shortest prefix of a trusted network, bits, by the kind of address: 10.0.0.0/8 and fc00::/7 are the widest that can be
# somebody's own; among addresses of the whole world those of the largest content networks are /13 and /29.
SHORTEST_OWN = {4: 8, 6: 7}
SHORTEST_PUBLIC = {4: 12, 6: 28}
# Bits before the IPv4 address in an IPv6 one that carries it.
MAPPED_BITS = 96

# With a port, as some balancers write it. Two or more colons without brackets are IPv6 alone.
_WITH_PORT = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<four>[0-9.]*))(?::[0-9]{1,5})?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Proxies before the sidecar (``[proxy]`` of the settings file)."""

    trusted: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=NETWORKS)] = []
    """Networks, or single addresses, whose word about their clients is taken. Nobody else may be in them."""

    def __post_init__(self) -> None:
        """Judged here, so that the file is refused as a whole."""
        _networks(self.trusted)


class Proxies:
    """The trusted ones."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """Raises ValueError: one is no network, or is everybody."""
        self._networks = _networks(trusted)

    def source(self, remote: str | None, said: Sequence[str]) -> str:
        """The source that a throttle counts: ``remote``, the other end, or whoever a trusted one speaks for.

        ``said``: every ``X-Forwarded-For`` of the request, in order.
        """
        here = _address(remote or "")
        if here is None or not self._trusts(here):
            return source_of(remote)
        hops = [hop.strip() for line in said for hop in line.split(",")]
        for hop in reversed(hops[-HOPS:]):
            found = _address(hop)
            if found is None:
                break
            here = found
            if not self._trusts(here):
                break
        return source_of(str(here))

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _networks(texts: Iterable[str]) -> list[Network]:
    found: list[Network] = []
    for text in texts:
        try:
            network = _unmapped(ipaddress.ip_network(text))
        except ValueError:
            raise ValueError(f"trusted: {text!r} is no network like 10.0.0.0/28, and no address") from None
        shortest = SHORTEST_OWN if not network.is_global else SHORTEST_PUBLIC
        if network.prefixlen < shortest[network.version]:
            raise ValueError(f"trusted: {text} is nearly everybody; name the network that your proxy alone is in")
        found.append(network)
    return found


def _unmapped(network: Network) -> Network:
    """A network of IPv4 in IPv6 clothes as one of IPv4: addresses are compared as such."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - MAPPED_BITS))


def _address(text: str) -> Address | None:
    """An address as sockets and proxies write it, its port taken off; IPv4 in IPv6 clothes is IPv4."""
    parts = _WITH_PORT.fullmatch(text)
    if parts is not None:
        text = parts["four"] if parts["six"] is None else parts["six"]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
