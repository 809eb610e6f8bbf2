"""Where connections come from, and how many each source may open before it has proved itself (SPEC §5.2). Pure.

A source is one IPv4 address or one IPv6 /64, the smallest piece that one customer gets. A source from which a peer
got in lately is *known* and has no limit: a whole site behind one address must come back at once.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

import msgspec

# Sources remembered without an open connection. Unknown ones are worth remembering for the few seconds in which their
# bucket fills again; known ones are as many as a large site has charge points with addresses of their own. 300 bytes
# each; when there are more, the one that was here longest ago is forgotten.
MAX_UNKNOWN = 16_384
MAX_KNOWN = 65_536
# Bits of an IPv6 address that belong to the network: who has one address of a /64 has all.
_IPV6_PREFIX = 64
# In the log: knocks of more than one source.
SEVERAL = "*"


class SourceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one unknown source may do (SPEC §5.2)."""

    connections: int = 64
    """Unauthenticated connections at the same time."""
    per_s: float = 10.0
    """New connections a second."""
    burst: float = 30.0
    """New connections at once."""
    known_s: float = 86_400.0
    """How long a source stays known after a channel from it was opened or ended, in seconds."""


class _Source:
    """``level`` is the bucket of new connections as it was at ``at_s``; ``known_until_s`` in monotonic seconds."""

    __slots__ = ("at_s", "known_until_s", "level", "open")

    def __init__(self, level: float, now: float) -> None:
        self.open = 0
        self.level = level
        self.at_s = now
        self.known_until_s = float("-inf")


_DEFAULTS = SourceLimits()


def source_of(address: str) -> str:
    """The source of an IP address: IPv4 as it is, IPv6 as its /64; an IPv4-mapped IPv6 address is its IPv4."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    # A link-local address names its interface; the network is the same on each.
    network = int(ip) >> (128 - _IPV6_PREFIX) << (128 - _IPV6_PREFIX)
    return f"{ipaddress.IPv6Address(network)}/{_IPV6_PREFIX}"


class Sources:
    """Counts unauthenticated connections per source. Every call is O(1); ``now`` is monotonic seconds."""

    def __init__(self, limits: SourceLimits = _DEFAULTS) -> None:
        self._limits = limits
        # A source is in exactly one of these. Those with open connections are as many as the server lets in.
        self._busy: dict[str, _Source] = {}
        self._unknown: OrderedDict[str, _Source] = OrderedDict()
        self._known: OrderedDict[str, _Source] = OrderedDict()
        self.refused = 0
        """Connections that were turned away, in all."""
        self._refused = 0
        self._refused_source = ""

    def __len__(self) -> int:
        """Sources remembered."""
        return len(self._busy) + len(self._unknown) + len(self._known)

    def enter(self, source: str, now: float) -> bool:
        """A connection was made. False: this source has its share; do not keep it, and do not call ``leave``."""
        limits = self._limits
        entry = self._take(source, now)
        if entry.known_until_s <= now:
            level = min(limits.burst, entry.level + (now - entry.at_s) * limits.per_s)
            if entry.open >= limits.connections or level < 1.0:
                self._refused_source = source if self._refused_source in ("", source) else SEVERAL
                self._refused += 1
                self.refused += 1
                self._put(source, entry, now)
                return False
            entry.level, entry.at_s = level - 1.0, now
        entry.open += 1
        self._put(source, entry, now)
        return True

    def leave(self, source: str, now: float) -> None:
        """A connection that entered is authenticated now, or is over."""
        entry = self._take(source, now)
        entry.open -= 1
        self._put(source, entry, now)

    def succeed(self, source: str, at_s: float, now: float) -> None:
        """A channel from this source was opened or ended at ``at_s``: it is known from then on for ``known_s``."""
        entry = self._take(source, now)
        entry.known_until_s = max(entry.known_until_s, at_s + self._limits.known_s)
        self._put(source, entry, now)

    def known(self, source: str, now: float) -> bool:
        """Whether somebody from there got in lately."""
        entry = self._busy.get(source) or self._known.get(source)
        return entry is not None and entry.known_until_s > now

    def take_refused(self) -> tuple[str, int]:
        """Who was turned away since the last call, ``SEVERAL`` when it was more than one, and how often."""
        refused = self._refused_source, self._refused
        self._refused_source, self._refused = "", 0
        return refused

    def _take(self, source: str, now: float) -> _Source:
        entry = self._busy.pop(source, None) or self._known.pop(source, None) or self._unknown.pop(source, None)
        return _Source(self._limits.burst, now) if entry is None else entry

    def _put(self, source: str, entry: _Source, now: float) -> None:
        if entry.open > 0:
            self._busy[source] = entry
        elif entry.known_until_s > now:
            self._known[source] = entry
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        else:
            self._unknown[source] = entry
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
