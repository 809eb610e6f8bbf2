"""``evcharge-driver``: charge, watch, end, tickets; by hand, from scripts and automatically."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from evcharge.cli.common import (
    CONTEXT,
    Failed,
    clock_option,
    config_option,
    configure_logging,
    make_clock,
    parse_address,
    print_json,
    ready,
    run_command,
    write_secret,
)
from evcharge.cli.driver_prompt import prompt
from evcharge.cli.driver_view import (
    JsonShow,
    LineShow,
    LiveShow,
    Show,
    charge_point_rows,
    fields_of,
    local_time,
    plain,
    show_table,
    ticket_rows,
)
from evcharge.cli.peer import CENTRAL_PORT, read_credentials, read_token
from evcharge.driver.auto import PAUSE_S, Collector, FaultKind, Faults, PointsRun
from evcharge.driver.client import (
    DriverClient,
    Refusal,
    RequestFailed,
    RequestRefused,
    Unreachable,
    Watcher,
)
from evcharge.driver.replay import SessionsRun
from evcharge.driver.scripted import (
    ScriptError,
    Summary,
    check_labels,
    energy_wh,
    read_points,
    read_sessions,
)
from evcharge.net.clock import SystemClock
from evcharge.net.registry_client import RegistryCallFailed, register
from protocol.credentials import Credential, Role
from protocol.messages import MAX_CONNECTORS, SessionView

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

# How long ``end`` waits for the ticket, in seconds: the charge point opens its contactor and reports in under one.
TICKET_S = 10.0
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

    def client(self, credential: Credential, watcher: Watcher | None = None) -> DriverClient:
        """A client that is not connected yet."""
        return DriverClient(credential, *self.address, clock=self.clock, entropy=os.urandom, watcher=watcher)

    def only(self, watcher: Watcher | None = None) -> DriverClient:
        """The client of the one driver. Raises Failed when a directory holds several."""
        if len(self.credentials) > 1:
            names = ", ".join(credential.entity for credential in self.credentials[:5])
            raise Failed(f"--credentials holds several drivers ({names}); name one file.")
        return self.client(self.credentials[0], watcher)


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
            return asyncio.run(work)
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


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


@click.group(name="evcharge-driver", context_settings=CONTEXT, invoke_without_command=True)
@config_option
@connection_options
@click.pass_context
def cli(context: click.Context, central: str | None, credentials: Path | None, clock_file: Path | None) -> None:
    """A driver of evcharge. Without a verb: an interactive prompt with a live view."""
    if context.invoked_subcommand is not None:
        return
    door = door_of(context, central=central, credentials=credentials, clock_file=clock_file)
    show = make_show(as_json=False)

    async def work() -> None:
        async with door.only(show) as client:
            await prompt(client, show, lambda text: parse_depart(text, door.clock.site_ms()))

    run(work())


@cli.command("register")
@click.option("--registry", default="http://127.0.0.1:8080", metavar="URL", help="The registry.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="File with the operator's token, as evcharge-sidecar init wrote it.",
)
@click.option("--id", "driver_id", required=True, help="Who drives, like anna.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="New file for the credential (0600).",
)
@click.option("--plain-http", is_flag=True, help="Allow http:// to another machine: secrets cross the net unencrypted.")
def register_command(registry: str, token_file: Path, driver_id: str, out: Path, plain_http: bool) -> None:
    """Register a driver; the secret goes to --out and is shown nowhere."""
    token = read_token(token_file)
    if out.exists():
        raise Failed(f"{out} exists already; move it away first, secrets are not overwritten.")
    try:
        answer = asyncio.run(register(registry, token, Role.DRIVER.label, driver_id, plain_http=plain_http))
    except RegistryCallFailed as error:
        raise Failed(error.sentence) from error
    write_secret(out, answer)
    if sys.stdout.isatty():
        click.echo(f"Registered driver {plain(driver_id)}. Next: evcharge-driver list --credentials {out}")
    else:
        print_json({"driver": driver_id, "credentials": str(out)})


@cli.command("list")
@connection_options
@json_option
@click.pass_context
def list_command(context: click.Context, /, as_json: bool, **options: Any) -> None:
    """Charge points and what they can do now."""
    door = door_of(context, **options)

    async def work() -> None:
        async with door.only() as client:
            rows = await client.charge_points()
        if as_json:
            print_json(rows)
        else:
            heads = ("charge point", "", "state", "power", "")
            show_table(heads, charge_point_rows(rows), "There is no charge point yet.")

    run(work())


@cli.command("charge")
@click.argument("cp_id", metavar="CP")
@click.option("--connector", type=click.IntRange(0, MAX_CONNECTORS), default=0, help="0: any free one.")
@click.option(
    "--energy-kwh", default=None, metavar="KWH", help="Stop after this much; default: until full or unplugged."
)
@click.option("--depart", default=None, metavar="WHEN", help="Departure, as HH:MM or +2h, +90m, +1h30m.")
@click.option("--wait", is_flag=True, help="Live view until the ticket; Ctrl-C leaves it, the charge goes on.")
@connection_options
@json_option
@click.pass_context
def charge_command(
    context: click.Context,
    /,
    cp_id: str,
    connector: int,
    energy_kwh: str | None,
    depart: str | None,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Ask to charge at CP."""
    door = door_of(context, **options)
    try:
        energy = None if energy_kwh is None else energy_wh(energy_kwh)
        depart_ms = None if depart is None else parse_depart(depart, door.clock.site_ms())
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    show = make_show(as_json=as_json) if wait else None

    async def work() -> None:
        async with door.only(show) as client:
            session = await client.charge(cp_id, connector, energy, depart_ms)
            if as_json:
                print_json({"what": "authorized", **fields_of(session)})
            else:
                click.echo(_authorized(session))
            if show is not None:
                await _wait(client, session, show)

    run(work())


def _authorized(session: SessionView) -> str:
    by = "" if session.expires_ms is None else f"; plug in by {local_time(session.expires_ms)}"
    return f"authorized at {plain(session.cp_id)} #{session.connector}, session {plain(session.session_id)}{by}"


async def _wait(client: DriverClient, session: SessionView, show: Show) -> None:
    """Until the ticket. Raises Failed when the session ended before it began."""
    if isinstance(show, LiveShow):
        show.watch(session)
    try:
        outcome = await client.outcome(session.session_id)
    except asyncio.CancelledError:
        show.close()
        name = plain(session.session_id)
        show.say(f"Charging goes on. 'evcharge-driver end {name}' ends it, 'tickets' shows the ticket.")
        raise
    finally:
        show.close()
    if outcome.ticket is None:
        why = plain(outcome.why).replace("_", " ")
        raise Failed(f"the session ended before it began ({why}); plug in first, then ask again.")


@cli.command("end")
@click.argument("session_id", metavar="SESSION")
@connection_options
@json_option
@click.pass_context
def end_command(context: click.Context, /, session_id: str, as_json: bool, **options: Any) -> None:
    """End a session of yours and show its ticket."""
    door = door_of(context, **options)
    show = JsonShow() if as_json else LineShow()

    async def work() -> None:
        async with door.only(show) as client:
            client.follow(session_id)
            await client.end(session_id)
            try:
                async with asyncio.timeout(TICKET_S):
                    outcome = await client.outcome(session_id)
            except TimeoutError:
                show.say("Ordered. The final meter is not known yet; 'evcharge-driver tickets' shows the ticket later.")
                return
            if outcome.ticket is None:
                show.say("Ended before it began; there is no ticket.")

    run(work())


@cli.command("tickets")
@connection_options
@json_option
@click.pass_context
def tickets_command(context: click.Context, /, as_json: bool, **options: Any) -> None:
    """Your tickets, newest first."""
    door = door_of(context, **options)

    async def work() -> None:
        async with door.only() as client:
            tickets = await client.tickets()
            if as_json:
                print_json(tickets)
            else:
                heads = ("end", "charge point", "energy", "amount", "time", "how", "ticket")
                show_table(heads, ticket_rows(tickets), "No tickets yet.")
            sys.stdout.flush()
            # Shown is handed over: Central need not send these again.
            for ticket in tickets:
                client.confirm(ticket.ticket_id)

    run(work())


@cli.command("auto")
@click.argument(
    "points", metavar="[FILE]", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False
)
@click.option(
    "--sessions",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Instead of FILE: JSON lines {session, cp_id, connector, arrive_ms, depart_ms, energy_wh} in site time.",
)
@click.option("--pause", type=click.FloatRange(0, 86_400), default=PAUSE_S, help="Seconds between two requests.")
@click.option("--fault-rate", type=click.FloatRange(0, 1), default=0.0, help="Probability of a fault per request.")
@click.option(
    "--fault-kind",
    "kinds",
    type=click.Choice([kind.value for kind in FaultKind]),
    multiple=True,
    help="What goes wrong; may be given several times.  [default: all]",
)
@click.option("--seed", type=int, default=None, help="Makes the faults repeatable.")
@connection_options
@json_option
@click.pass_context
def auto_command(
    context: click.Context,
    /,
    points: Path | None,
    sessions: Path | None,
    pause: float,
    fault_rate: float,
    kinds: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Charge at each charge point of FILE, one after the other, or play the sessions of a day."""
    if (points is None) == (sessions is None):
        raise click.UsageError("give either FILE or --sessions FILE.")
    door = door_of(context, **options)
    say = _say_json if as_json else _say_lines
    faults = Faults(fault_rate, tuple(FaultKind(kind) for kind in kinds) or tuple(FaultKind))
    try:
        if points is not None:
            wishes = read_points(points)
        else:
            assert sessions is not None
            stays = read_sessions(sessions)
            check_labels(sessions, stays, {credential.entity for credential in door.credentials})
    except ScriptError as error:
        raise click.UsageError(str(error)) from error

    async def work() -> Summary:
        collector = Collector(say)
        async with AsyncExitStack() as stack:
            if points is not None:
                client = await stack.enter_async_context(door.only(collector))
                ready("driver", drivers=1)
                dice = random.Random(seed)  # noqa: S311  # faults, no secrets
                one = PointsRun(client, collector, say, faults=faults, dice=dice, sleep=asyncio.sleep, pause_s=pause)
                return await one.run(wishes)
            clients = {credential.entity: door.client(credential, collector) for credential in door.credentials}
            async with asyncio.TaskGroup() as connecting:
                for client in clients.values():
                    connecting.create_task(stack.enter_async_context(client))
            ready("driver", drivers=len(clients))
            return await SessionsRun(clients, collector, say, clock=door.clock, sleep=asyncio.sleep).run(stays)

    print_json(run(work()))


def _say_json(what: str, **fields: Any) -> None:
    print_json({"what": what, **fields})
    sys.stdout.flush()


def _say_lines(what: str, **fields: Any) -> None:
    """Happenings for a person to read, on stderr; the summary is the last line of stdout."""
    shown = "  ".join(f"{key}={plain(str(value))}" for key, value in fields.items() if value not in (None, "", []))
    click.echo(f"{what.replace('_', ' ')}  {shown}".rstrip(), err=True)


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


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_DRIVER")


if __name__ == "__main__":
    main()
