"""How ``evcharge-driver`` gets from its options to a connected driver, and from failures to one sentence."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from evcharge.cli.common import Failed, clock_option, configure_logging, levels_on_signals, make_clock, parse_address
from evcharge.cli.driver_text import plain
from evcharge.cli.driver_view import (
    JsonShow,
    LineShow,
    LiveShow,
    Show,
)
from evcharge.cli.peer import CENTRAL_PORT, read_credentials
from evcharge.driver.client import (
    DriverClient,
    Refusal,
    RequestFailed,
    RequestRefused,
    Unreachable,
    Watcher,
)
from evcharge.net.clock import SystemClock
from evcharge.units import MS_PER_HOUR
from protocol.credentials import Credential, Role

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

# How long the first connection may take, in seconds: for a person, and for a program that starts with Central.
CONNECT_S = 5.0
PATIENT_S = 60.0

# A span of clock times that is longer than this is a slip more often than it is meant, hours: from an afternoon to the
# next morning is less.
LONGEST_UNSAID_H = 16
_SPAN = re.compile(r"\+(?=\d)(?:(\d{1,3})h)?(?:(\d{1,4})m)?")
_CLOCK_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def connection_options(function: F) -> F:
    """``--central``, ``--credentials``, ``--clock`` and ``--log-level``, before the verb or after it."""
    for add in (
        log_option,
        clock_option,
        click.option(
            "--credentials",
            type=click.Path(path_type=Path, exists=True),
            default=None,
            help="Credential file of the driver, as register wrote it. [env: EVCHARGE_DRIVER_CREDENTIALS]",
        ),
        click.option(
            "--central",
            default=None,
            metavar="HOST:PORT",
            help=f"Where Central listens; default 127.0.0.1:{CENTRAL_PORT}. [env: EVCHARGE_DRIVER_CENTRAL]",
        ),
    ):
        function = add(function)
    return function


def log_option(function: F) -> F:
    """``--log-level``; a person at a terminal reads sentences, so less is logged than by a daemon."""
    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default=None,
        expose_value=False,
        callback=_set_log_level,
        help="How much to log on stderr.  [default: warning]",
    )(function)


def _set_log_level(context: click.Context, _parameter: click.Parameter, level: str | None) -> None:
    # The verb's option must not undo what stands before the verb.
    if level is not None or context.parent is None:
        configure_logging(level or "warning")


json_option = click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")


@dataclass(frozen=True, kw_only=True)
class Door:
    """How this command reaches Central."""

    credentials: list[Credential]
    address: tuple[str, int]
    clock: SystemClock

    def client(
        self, credential: Credential, watcher: Watcher | None = None, connect_s: float = CONNECT_S
    ) -> DriverClient:
        """A client that is not connected yet."""
        return DriverClient(
            credential,
            *self.address,
            clock=self.clock,
            entropy=os.urandom,
            watcher=watcher,
            connect_s=connect_s,
        )

    def only(self, watcher: Watcher | None = None, connect_s: float = CONNECT_S) -> DriverClient:
        """The client of the one driver. Raises Failed when a directory holds several."""
        if len(self.credentials) > 1:
            names = ", ".join(credential.entity for credential in self.credentials[:5])
            raise Failed(f"--credentials holds several drivers ({names}); name one file.")
        return self.client(self.credentials[0], watcher, connect_s)


def door_of(context: click.Context, **given: Any) -> Door:
    """The door from the verb's options; what stands before the verb, the environment and --config come after them."""
    outer = context.parent.params if context.parent is not None else {}
    chosen = {
        name: value if context.get_parameter_source(name) is ParameterSource.COMMANDLINE else outer.get(name, value)
        for name, value in given.items()
    }
    if chosen["credentials"] is None:
        raise Failed(
            "no credentials: give --credentials FILE (or EVCHARGE_DRIVER_CREDENTIALS); evcharge-driver register "
            "makes one."
        )
    return Door(
        credentials=read_credentials(chosen["credentials"], Role.DRIVER),
        address=parse_address(chosen["central"] or f"127.0.0.1:{CENTRAL_PORT}", CENTRAL_PORT),
        clock=make_clock(chosen["clock_file"]),
    )


def make_show(*, as_json: bool) -> Show:
    """JSON when asked for, a live view on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonShow()
    return LiveShow() if sys.stdout.isatty() else LineShow()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it; whatever Central or the network says becomes one sentence and exit code 1."""
    try:
        try:
            return asyncio.run(_leveled(work))
        except BaseExceptionGroup as group:
            # The automated driver runs many sessions at once; the first refusal says it all.
            known = group.subgroup((Refusal, RequestRefused, RequestFailed, Unreachable))
            if known is None:
                raise
            raise _first(known) from group
    except Refusal as error:
        raise Failed(f"Central refused this driver: {error.sentence}") from error
    except (RequestRefused, RequestFailed) as error:
        raise Failed(plain(error.sentence)) from error
    except Unreachable as error:
        raise Failed(plain(str(error))) from error


async def _leveled(work: Coroutine[Any, Any, T]) -> T:
    """The automated driver runs for hours: how much it logs can be changed meanwhile."""
    levels_on_signals()
    return await work


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def parse_until(text: str, from_ms: int) -> int:
    """When a span ends that begins at ``from_ms``: as ``parse_depart``. A clock time that is before the first one is
    the next day's, if that can be meant.

    Raises ValueError.
    """
    until_ms = parse_depart(text, from_ms)
    hours = (until_ms - from_ms) / MS_PER_HOUR
    if _SPAN.fullmatch(text) is None and hours > LONGEST_UNSAID_H:
        raise ValueError(f"until {text} would be {hours:.3g} hours; if that is meant, write +{hours:.0f}h for it")
    return until_ms


def parse_depart(text: str, now_ms: int) -> int:
    """An instant in UTC milliseconds from ``HH:MM`` (the next one, local time) or ``+2h``, ``+90m``, ``+1h30m``.

    Raises ValueError.
    """
    span = _SPAN.fullmatch(text)
    if span is not None:
        minutes = int(span[1] or 0) * 60 + int(span[2] or 0)
        return now_ms + minutes * 60_000
    at = _CLOCK_TIME.fullmatch(text)
    if at is None:
        raise ValueError(f"{text!r} is no departure; write HH:MM or +2h")
    now = datetime.fromtimestamp(now_ms / 1000, tz=UTC).astimezone()
    # Without its zone first: the same clock time tomorrow may have another offset.
    then = now.replace(hour=int(at[1]), minute=int(at[2]), second=0, microsecond=0, tzinfo=None)
    instant_ms = int(then.astimezone().timestamp() * 1000)
    if instant_ms <= now_ms:
        instant_ms = int((then + timedelta(days=1)).astimezone().timestamp() * 1000)
    return instant_ms
