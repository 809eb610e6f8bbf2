"""Hosts with a cable of its own between each two that talk, for the tests in network namespaces.

Every cable is a veth pair (a /30 of 10.211.0.0/16, which exists inside the namespaces only), so that cutting one
leaves all others alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from tools.netns import Hosts, NetworkFailed, ip, missing

__all__ = ["Network", "NetworkFailed", "missing"]

# First two bytes of every address; private (RFC 1918), and seen by nobody outside the namespaces.
PREFIX = "10.211"


class Network(Hosts):
    """Hosts and the cables between them. Use as a context manager: nothing is left behind."""

    def __init__(self, hosts: Iterable[str], cables: Iterable[tuple[str, str]]) -> None:
        super().__init__(list(hosts))
        self._cables = {frozenset(cable): number for number, cable in enumerate(cables)}
        self._order = [tuple(sorted(cable)) for cable in self._cables]

    def join(self) -> None:
        """Lay the cables. Raises NetworkFailed."""
        for one, other in self._order:
            first, second = self.name(one), self.name(other)
            # Both ends are born where they belong, so no name can clash with one of the machine's own.
            ip("link", "add", f"to-{other}", "netns", first, "type", "veth", "peer", f"to-{one}", "netns", second)
            for here, there in ((one, other), (other, one)):
                name, device = self.name(here), f"to-{there}"
                ip("-n", name, "address", "add", f"{self.address(here, there)}/30", "dev", device)
                ip("-n", name, "link", "set", device, "up")

    def address(self, host: str, seen_from: str) -> str:
        """The address of ``host`` on its cable to ``seen_from``. KeyError: there is none."""
        if host == seen_from:
            return "127.0.0.1"
        number = self._cables[frozenset((host, seen_from))]
        return f"{PREFIX}.{number}.{1 if host < seen_from else 2}"

    def cut(self, one: str, other: str) -> None:
        """Pull the cable: whatever is sent from now on is lost, both ways, and nobody is told."""
        self._set(one, other, "down")

    def mend(self, one: str, other: str) -> None:
        """Plug it in again."""
        self._set(one, other, "up")

    def _set(self, one: str, other: str, state: str) -> None:
        first, second = sorted((one, other))
        self._cables[frozenset((one, other))]
        ip("-n", self.name(first), "link", "set", f"to-{second}", state)
