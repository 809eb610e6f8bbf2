"""The flags of evcharge-central, in the groups in which ``--help`` shows them, each with its unit and reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from evcharge.central.limits import RANGES, LimitSettings, flag
from evcharge.central.settings import Settings
from evcharge.cli.commands import Command
from evcharge.energy.model import Policy

F = TypeVar("F", bound=Callable[..., Any])

# Titles of the groups, in the order of --help.
GENERAL, SITE, CHARGING = "General", "Site and tariff", "Sessions and power"
DOOR, CHANNEL, FLOW = "Front door (SPEC 5.2)", "Channels (SPEC 5.1)", "Flow of messages (SPEC 5.2)"
STOP = "Going down"
GROUPS: Final = (GENERAL, SITE, CHARGING, DOOR, CHANNEL, FLOW, STOP)
# Defaults without values for what has none.
_DEFAULTS: Final = Settings(data_dir=Path("central-data"), registry_url="")
_SECONDS, _BYTES, _PER_S, _COUNT = "SECONDS", "BYTES", "PER_S", "N"


class GroupedOption(click.Option):
    """An option of a group; ``--help`` shows its default, and its range only when somebody leaves it."""

    def __init__(self, *arguments: Any, group: str = GENERAL, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group

    def get_help_extra(self, ctx: click.Context) -> Any:
        """What stands in brackets after the help."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if isinstance(self.default, float):
            # 86400, not 86400.0: nobody types that.
            extra["default"] = f"{self.default:.10g}"
        return extra


class GroupedCommand(Command):
    """A command whose ``--help`` shows its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups."""
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in GROUPS}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                groups[getattr(parameter, "group", GENERAL)].append(row)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class _Limit(NamedTuple):
    group: str
    name: str
    unit: str
    help: str


_LIMITS: Final = (
    _Limit(DOOR, "hello_s", _SECONDS, "From accept to a whole HELLO: a silent stranger costs a descriptor."),
    _Limit(DOOR, "handshake_s", _SECONDS, "From accept to READY, absolute: a trickle of bytes buys no time."),
    _Limit(DOOR, "unauthenticated", _COUNT, "Connections before READY, in all: bounds what strangers can hold."),
    _Limit(DOOR, "known_share", "SHARE", "Part of these that only known sources may take, 0 to 0.95."),
    _Limit(DOOR, "connections", _COUNT, "Connections in all; 0: as many as files may be opened, less a reserve."),
    _Limit(DOOR, "backlog", _COUNT, "Connections that the kernel keeps while Central is busy: a whole site at once."),
    _Limit(DOOR, "source_connections", _COUNT, "Connections before READY of one unknown source (IPv4, IPv6 /64)."),
    _Limit(DOOR, "source_per_s", _PER_S, "New connections of one unknown source; known ones have no such limit."),
    _Limit(DOOR, "source_burst", _COUNT, "… of these at once."),
    _Limit(DOOR, "source_known_s", _SECONDS, "A source is known this long after a channel from it opened or ended."),
    _Limit(DOOR, "slots_known", _COUNT, "Handshakes computed at a time for known sources: the others wait in line."),
    _Limit(DOOR, "slots_unknown", _COUNT, "… for unknown sources: strangers wait for each other only."),
    _Limit(DOOR, "slot_s", _SECONDS, "A slot is held this long at most: who says nothing more shuts nobody out."),
    _Limit(DOOR, "busy_s", _SECONDS, "Who waited this long for a slot is told BUSY: better than half a handshake."),
    _Limit(DOOR, "lookup_s", _SECONDS, "The registry has this long to answer about a newcomer."),
    _Limit(DOOR, "lookups", _COUNT, "Look-ups at a time; whoever comes on top is asked to come again."),
    _Limit(CHANNEL, "ping_s", _SECONDS, "Silence before a PING: keeps NAT entries and finds dead links."),
    _Limit(CHANNEL, "dead_s", _SECONDS, "Silence before a peer is given up: three PINGs."),
    _Limit(CHANNEL, "channel_s", _SECONDS, "Age at which a channel ends, for a fresh handshake with fresh keys."),
    _Limit(CHANNEL, "ttl_s", _SECONDS, "Oldest token that is opened."),
    _Limit(CHANNEL, "rekey_msgs", _COUNT, "Tokens of one key: a leaked one opens no more than these."),
    _Limit(CHANNEL, "rekey_bytes", _BYTES, "… and bytes of one key of Central's."),
    _Limit(CHANNEL, "rekey_s", _SECONDS, "… and how long a key is used."),
    _Limit(FLOW, "rate_per_s", _PER_S, "Messages of one peer; above it Central reads on when there is room."),
    _Limit(FLOW, "rate_burst", _COUNT, "… at once: a reconnect empties an outbox."),
    _Limit(FLOW, "gateway_rate_per_s", _PER_S, "The same for a gateway or operator, which speaks for many."),
    _Limit(FLOW, "gateway_rate_burst", _COUNT, "… at once."),
    _Limit(FLOW, "waiting_messages", _COUNT, "Messages that wait for one slow reader, then CLOSE(SLOW)."),
    _Limit(FLOW, "waiting_bytes", _BYTES, "… and bytes, with what the kernel has not taken: bounds memory."),
    _Limit(FLOW, "slow_s", _SECONDS, "A reader that takes next to nothing for this long gets CLOSE(SLOW)."),
    _Limit(
        STOP, "drain_return_per_s", _PER_S, "Peers that a drain tells to come back, a second: a restart meets no storm."
    ),
)


def _option(group: str, *names: str, **settings: Any) -> Callable[[F], F]:
    return click.option(*names, cls=GroupedOption, group=group, **settings)


def _limit(limit: _Limit) -> Callable[[F], F]:
    default = getattr(_DEFAULTS, limit.name)
    kind: click.ParamType[Any]
    low, high = RANGES[limit.name]
    kind = click.IntRange(int(low), int(high)) if isinstance(default, int) else click.FloatRange(low, high)
    return _option(limit.group, flag(limit.name), type=kind, default=default, metavar=limit.unit, help=limit.help)


def limit_options(function: F) -> F:
    """Add a flag for every field of ``LimitSettings``."""
    assert [limit.name for limit in _LIMITS] == list(LimitSettings.__struct_fields__)
    for limit in reversed(_LIMITS):
        function = _limit(limit)(function)
    return function


def site_options(function: F) -> F:
    """Add the flags of the site, its tariff, its sessions and its end."""
    own = (
        _option(
            SITE,
            "--site",
            "site_file",
            type=click.Path(path_type=Path, dir_okay=False),
            default=None,
            help="TOML file with [substations.NAME] capacity_kw, charge_points, and [tariff].",
        ),
        _option(
            SITE, "--capacity-kw", type=float, default=100.0, help="Capacity of the one substation without --site."
        ),
        _option(
            SITE, "--price-per-kwh", type=click.FloatRange(0, 100), default=0.30, help="Price of a kWh without --site."
        ),
        _option(SITE, "--currency", default="EUR", help="ISO 4217 code of the price."),
        _option(
            SITE, "--co2-g-per-kwh", type=click.IntRange(0, 5000), default=300, help="Carbon of the electricity, g/kWh."
        ),
        _seconds(CHARGING, "--authorization-s", 1, 86_400, 60.0, "An authorization waits this long for a vehicle."),
        _seconds(CHARGING, "--handover-s", 1, 86_400, 300.0, "A connector is held this long for who waited for it."),
        _seconds(CHARGING, "--settle-s", 60, None, 86_400.0, "A final meter is awaited this long."),
        _option(
            CHARGING,
            "--policy",
            type=click.Choice([policy.value for policy in Policy]),
            default=Policy.PLAN.value,
            help="How power is shared: by plan and laxity, or by one of the simpler ways.",
        ),
        _seconds(CHARGING, "--lease-s", 10, 3_600, 30.0, "A set-point holds this long without renewal."),
        _seconds(CHARGING, "--silence-s", 1, 600, 5.0, "An engine or monitor silent for this long is lost."),
        _seconds(
            CHARGING, "--substation-silence-s", 1, 3_600, 10.0, "A substation that reported and fell silent is lost."
        ),
        _seconds(CHARGING, "--monitor-return-s", 1, 600, 90.0, "After a restart, monitors have this long."),
        _seconds(
            CHARGING, "--records-s", 0, None, 86_400.0, "Kept records admit peers this long without the registry."
        ),
        _seconds(STOP, "--drain-s", 0, 600, 2.0, "Peers get this long to hear of a drain."),
    )
    for option in reversed(own):
        function = option(function)
    return function


def _seconds(group: str, name: str, low: float, high: float | None, default: float, text: str) -> Callable[[F], F]:
    return _option(group, name, type=click.FloatRange(low, high), default=default, metavar=_SECONDS, help=text)
