"""``evcharge-driver``: charge, watch, end, tickets, advice; by hand, from scripts and automatically."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from evcharge.cli.commands import Group
from evcharge.cli.common import (
    CONTEXT,
    Failed,
    config_option,
    print_json,
    run_command,
)
from evcharge.cli.driver_advice import recommend_command, why_command
from evcharge.cli.driver_auto import auto_command
from evcharge.cli.driver_options import (
    connection_options,
    door_of,
    json_option,
    make_show,
    parse_depart,
    run,
)
from evcharge.cli.driver_places import place_text
from evcharge.cli.driver_prompt import prompt
from evcharge.cli.driver_table import show_table
from evcharge.cli.driver_text import plain
from evcharge.cli.driver_view import (
    CHARGE_POINT_HEADS,
    TICKET_HEADS,
    JsonShow,
    LineShow,
    LiveShow,
    Show,
    authorized_text,
    charge_point_rows,
    fields_of,
    ticket_rows,
)
from evcharge.cli.driver_waiting import COMMANDS
from evcharge.cli.peer import plain_http_option, register_into, registry_option, token_option
from evcharge.driver.client import DriverClient, RequestRefused
from evcharge.driver.places import GONE, place_of
from evcharge.driver.scripted import energy_wh
from protocol.credentials import Role
from protocol.messages import MAX_CONNECTORS, SessionView, WaitingView

# Refusals that a place in the line helps against (SPEC §7.8).
WAITABLE = ("busy", "no_capacity")
# How long ``end`` waits for the ticket, in seconds: the charge point opens its contactor and reports in under one.
TICKET_S = 10.0


@click.group(name="evcharge-driver", cls=Group, context_settings=CONTEXT, invoke_without_command=True)
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
            await prompt(client, show, lambda text, since=None: parse_depart(text, since or door.clock.site_ms()))

    run(work())


@cli.command("register")
@registry_option
@token_option
@click.option("--id", "driver_id", required=True, help="Who drives, like anna.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="New file for the credential (0600).",
)
@plain_http_option
def register_command(registry: str, token_file: Path, driver_id: str, out: Path, plain_http: bool) -> None:
    """Register a driver; the secret goes to --out and is shown nowhere."""
    register_into(out, registry, token_file, Role.DRIVER, driver_id, plain_http=plain_http)
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
            show_table(CHARGE_POINT_HEADS, charge_point_rows(rows), "There is no charge point yet.")

    run(work())


@cli.command("charge")
@click.argument("cp_id", metavar="CP")
@click.option("--connector", type=click.IntRange(0, MAX_CONNECTORS), default=0, help="0: any free one.")
@click.option(
    "--energy-kwh", default=None, metavar="KWH", help="Stop after this much; default: until full or unplugged."
)
@click.option("--depart", default=None, metavar="WHEN", help="Departure, as HH:MM or +2h, +90m, +1h30m.")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait in line while CP is in use or has no power to spare, then show the charge until its ticket. "
    "Ctrl-C leaves the view: the place in line, or the charge, stays.",
)
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
    """Ask to charge at CP.

    With --wait a busy CP is no refusal: you are shown your place and when your turn is expected. When it is your turn
    the connector is held for you for some minutes; plug in, and charging begins.
    """
    door = door_of(context, **options)
    try:
        energy = None if energy_kwh is None else energy_wh(energy_kwh)
        depart_ms = None if depart is None else parse_depart(depart, door.clock.site_ms())
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    show = make_show(as_json=as_json) if wait else None

    async def work() -> None:
        async with door.only(show) as client:
            if show is None:
                tell(await _charge_now(client, cp_id, connector, energy, depart_ms))
                return
            answer = await client.charge_or_wait(cp_id, connector, energy, depart_ms)
            missed = None
            while True:
                session = answer
                if isinstance(session, WaitingView):
                    session = await _turn(client, show, session, missed)
                tell(session)
                left = await _wait(client, session, show)
                if left is None:
                    return
                # Nobody plugged in in time, and the place goes on.
                answer, missed = left, session.session_id

    def tell(session: SessionView) -> None:
        if as_json:
            print_json({"what": "authorized", **fields_of(session)})
        else:
            click.echo(authorized_text(session))

    run(work())


async def _charge_now(
    client: DriverClient, cp_id: str, connector: int, energy: int | None, depart_ms: int | None
) -> SessionView:
    """The session. Raises Failed where waiting would help, and says so."""
    try:
        return await client.charge(cp_id, connector, energy, depart_ms)
    except RequestRefused as error:
        if error.reason in WAITABLE:
            raise Failed(f"{plain(error.sentence)} With --wait you wait in line for it.") from error
        raise


async def _turn(client: DriverClient, show: Show, place: WaitingView, missed: str | None) -> SessionView:
    """The session of a place, after however long it takes. Raises Failed when the place is lost."""
    show.place(place)
    try:
        newest = await client.turn(place.waiting_id, missed)
    except asyncio.CancelledError:
        show.close()
        show.say(
            "You keep your place. 'evcharge-driver queue' shows it, "
            f"'evcharge-driver queue --leave {plain(place.waiting_id)}' gives it up."
        )
        raise
    if newest.session_id is None:
        show.close()
        raise Failed(f"{place_text(newest)}.")
    client.follow(newest.session_id)
    known = client.newest(newest.session_id)
    return known or SessionView(
        session_id=newest.session_id,
        state="AUTHORIZED",
        cp_id=newest.cp_id,
        connector=newest.connector,
        expires_ms=newest.offered_until_ms,
    )


async def _wait(client: DriverClient, session: SessionView, show: Show) -> WaitingView | None:
    """Until the ticket, or until it is known that the driver still waits: his place. Raises Failed when the session
    ended before it began, and no place is left.
    """
    if isinstance(show, LiveShow):
        show.watch(session)
    try:
        outcome = await client.outcome(session.session_id)
        left = await client.still_waiting(session.session_id) if outcome.ticket is None else None
    except asyncio.CancelledError:
        show.close()
        name = plain(session.session_id)
        show.say(f"Charging goes on. 'evcharge-driver end {name}' ends it, 'tickets' shows the ticket.")
        raise
    finally:
        show.close()
    if outcome.ticket is not None:
        if outcome.asked:
            show.ticket(outcome.ticket)
        return None
    if left is None:
        over = client.place(place_of(session.session_id))
        if over is not None and over.reason not in (None, GONE):
            raise Failed(f"{place_text(over)}.")
        why = plain(outcome.why).replace("_", " ")
        raise Failed(f"the session ended before it began ({why}); plug in first, then ask again.")
    return left


for command in COMMANDS:
    cli.add_command(command)


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
                show_table(TICKET_HEADS, ticket_rows(tickets), "No tickets yet.")
            sys.stdout.flush()
            # Shown is handed over: Central need not send these again.
            for ticket in tickets:
                client.confirm(ticket.ticket_id)

    run(work())


cli.add_command(auto_command)
cli.add_command(recommend_command)
cli.add_command(why_command)


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_DRIVER")


if __name__ == "__main__":
    main()
