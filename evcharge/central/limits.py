"""Every limit of the wire and of the front door as a setting of Central (SPEC §5), and what they must not be.

Defaults are those of the code that enforces them; here stand their names, their ranges and how they fit together.
"""

from __future__ import annotations

from typing import Final

import msgspec

from evcharge.net.flow import Rate, WaitLimits
from evcharge.net.lanes import SlotLimits
from evcharge.net.server import ServerLimits
from evcharge.net.sources import SourceLimits
from protocol.events import Limits

_WIRE: Final = Limits()
_DOOR: Final = ServerLimits()
# A receiver opens this many times the tokens after which a sender should have changed its key. SPEC §4.8
_EPOCH_SLACK = 2
# Most messages a second, and at once, that a setting may allow one peer: more than a core opens.
_MOST_MESSAGES = 1_000_000
# Longest time that makes sense for a limit of the door, and for one of a channel, in seconds.
_DAY_S = 86_400.0


class BadLimits(ValueError):
    """Limits that do not fit together: one sentence that says which, and what to do."""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The part of Central's settings that limits peers; times in seconds."""

    hello_s: float = _WIRE.hello_s
    """From accept to a whole HELLO."""
    handshake_s: float = _WIRE.handshake_s
    """From accept to READY; absolute, so a slow trickle does not extend it."""
    unauthenticated: int = _DOOR.unauthenticated
    """Connections that have not reached READY, in all."""
    known_share: float = _DOOR.known_share
    """Share of these that only known sources may take."""
    connections: int = 0
    """Connections in all; 0: as many as the process may open files, less a reserve."""
    backlog: int = _DOOR.backlog
    """Connections that the kernel keeps while Central is busy."""
    source_connections: int = _DOOR.source.connections
    """Unauthenticated connections of one unknown source at the same time."""
    source_per_s: float = _DOOR.source.per_s
    """New connections of one unknown source a second."""
    source_burst: float = _DOOR.source.burst
    """New connections of one unknown source at once."""
    source_known_s: float = _DOOR.source.known_s
    """How long a source stays known after a channel from it was opened or ended."""
    slots_known: int = _DOOR.slots.known
    """Handshakes between HELLO and AUTH at the same time, for known sources."""
    slots_unknown: int = _DOOR.slots.unknown
    """The same for unknown sources."""
    slot_s: float = _DOOR.slots.slot_s
    """How long a slot is held at most."""
    busy_s: float = _DOOR.slots.busy_s
    """How long a HELLO waits for a slot before it is told BUSY."""
    lookup_s: float = 2.0
    """How long the registry may take to answer a look-up."""
    lookups: int = 64
    """Look-ups at the registry at the same time; whoever comes on top is asked to come again."""

    ping_s: float = _WIRE.ping_s
    """Silence after which a PING is sent."""
    dead_s: float = _WIRE.dead_s
    """Silence after which a peer is given up."""
    channel_s: float = _WIRE.channel_s
    """Age at which a channel is closed for a fresh handshake."""
    ttl_s: int = _WIRE.ttl_s
    """Oldest token that is opened."""
    rekey_msgs: int = _WIRE.rekey_msgs
    """Tokens after which a sender changes its key."""
    rekey_bytes: int = _WIRE.rekey_bytes
    """Bytes after which Central changes its key."""
    rekey_s: int = _WIRE.rekey_s
    """Time after which a sender changes its key."""

    rate_per_s: float = _DOOR.rate.per_s
    """Messages of one peer a second; above it reading stops."""
    rate_burst: float = _DOOR.rate.burst
    """Messages of one peer at once."""
    gateway_rate_per_s: float = 10 * _DOOR.rate.per_s
    """The same for gateways, which speak for many."""
    gateway_rate_burst: float = 10 * _DOOR.rate.burst
    waiting_messages: int = _DOOR.wait.messages
    """Messages that wait for one peer which reads slowly."""
    waiting_bytes: int = _DOOR.wait.size
    """Bytes of these, with what the transport holds."""
    slow_s: float = _DOOR.wait.slow_s
    """How long a peer may take next to nothing."""
    drain_return_per_s: float = 500.0
    """How many peers a second are told to come back after a drain."""


# Smallest and largest value of each. The upper ends of ttl and rekey are the wire's own (SPEC §4.5), those of handshake
# and channel what leases rest on (``energy.leases.MARGIN_MS``): with more, a charge point's clock could be behind by
# more than is counted.
RANGES: Final[dict[str, tuple[float, float]]] = {
    "hello_s": (0.1, 60),
    "handshake_s": (0.5, 10),
    "unauthenticated": (1, 1_000_000),
    "known_share": (0, 0.95),
    "connections": (0, 1_000_000),
    "backlog": (1, 65_535),
    "source_connections": (1, 1_000_000),
    "source_per_s": (0.01, 100_000),
    "source_burst": (1, 100_000),
    "source_known_s": (0, 365 * _DAY_S),
    "slots_known": (1, 10_000),
    "slots_unknown": (1, 10_000),
    "slot_s": (0.01, 60),
    "busy_s": (0.05, 60),
    "lookup_s": (0.05, 60),
    "lookups": (1, 10_000),
    "ping_s": (0.5, 3_600),
    "dead_s": (1, _DAY_S),
    "channel_s": (1, _DAY_S),
    "ttl_s": (1, 3_600),
    "rekey_msgs": (2, 65_536),
    "rekey_bytes": (1 << 16, 1 << 34),
    "rekey_s": (1, _DAY_S),
    "rate_per_s": (0.1, _MOST_MESSAGES),
    "rate_burst": (1, _MOST_MESSAGES),
    "gateway_rate_per_s": (0.1, _MOST_MESSAGES),
    "gateway_rate_burst": (1, _MOST_MESSAGES),
    "waiting_messages": (1, 100_000),
    "waiting_bytes": (1 << 17, 1 << 30),
    "slow_s": (0.1, 3_600),
    "drain_return_per_s": (1, 100_000),
}
# (a, b): a has to be below b, or else the sentence.
_ORDER: Final = (
    ("hello_s", "handshake_s", "a HELLO is the first part of a handshake"),
    ("busy_s", "handshake_s", "a peer would be given up before it is told BUSY"),
    ("lookup_s", "handshake_s", "a peer would be given up while the registry is asked"),
    ("ping_s", "dead_s", "a peer would be given up before it is asked"),
    ("dead_s", "channel_s", "a channel would end before its peer can be given up"),
)


def flag(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def check_limits(settings: LimitSettings) -> None:
    """Raises BadLimits with one sentence."""
    for name, (low, high) in RANGES.items():
        value: float = getattr(settings, name)
        # Written so that a NaN is out of range.
        if not low <= value <= high:
            raise BadLimits(f"{flag(name)} has to be from {low:,g} to {high:,.10g}, not {value:g}.")
    for name, other, why in _ORDER:
        value, bound = getattr(settings, name), getattr(settings, other)
        if value >= bound:
            raise BadLimits(f"{flag(name)} ({value:g}) has to be below {flag(other)} ({bound:g}): {why}.")
    if settings.slot_s > settings.busy_s:
        raise BadLimits(
            f"--slot-s ({settings.slot_s:g}) must not be above --busy-s ({settings.busy_s:g}): whoever waits for a "
            "held slot would always be told BUSY."
        )


def wire_limits(settings: LimitSettings) -> Limits:
    """What each connection enforces."""
    return Limits(
        hello_s=settings.hello_s,
        handshake_s=settings.handshake_s,
        ttl_s=settings.ttl_s,
        rekey_msgs=settings.rekey_msgs,
        rekey_bytes=settings.rekey_bytes,
        rekey_s=settings.rekey_s,
        epoch_msgs_max=_EPOCH_SLACK * settings.rekey_msgs,
        ping_s=settings.ping_s,
        dead_s=settings.dead_s,
        channel_s=settings.channel_s,
    )


def server_limits(settings: LimitSettings) -> ServerLimits:
    """What the server enforces."""
    return ServerLimits(
        unauthenticated=settings.unauthenticated,
        known_share=settings.known_share,
        connections=settings.connections or None,
        backlog=settings.backlog,
        source=SourceLimits(
            connections=settings.source_connections,
            per_s=settings.source_per_s,
            burst=settings.source_burst,
            known_s=settings.source_known_s,
        ),
        slots=SlotLimits(
            known=settings.slots_known,
            unknown=settings.slots_unknown,
            slot_s=settings.slot_s,
            busy_s=settings.busy_s,
        ),
        rate=Rate(settings.rate_per_s, settings.rate_burst),
        wait=WaitLimits(messages=settings.waiting_messages, size=settings.waiting_bytes, slow_s=settings.slow_s),
    )


def gateway_rate(settings: LimitSettings) -> Rate:
    """What a gateway may send."""
    return Rate(settings.gateway_rate_per_s, settings.gateway_rate_burst)
