"""The verbs of ``evcharge-driver`` for those who wait and for reservations."""

from __future__ import annotations

from typing import Any

import click

from evcharge.cli.commands import Command
from evcharge.cli.common import Failed, print_json
from evcharge.cli.driver_options import connection_options, door_of, json_option, parse_depart, parse_until, run
from evcharge.cli.driver_places import QUEUE_HEADS, RESERVATION_HEADS, queue_rows, reservation_rows, reservation_text
from evcharge.cli.driver_table import show_table
from evcharge.cli.driver_text import local_time, plain
from evcharge.cli.driver_view import fields_of
from evcharge.driver.client import RequestRefused
from evcharge.driver.scripted import energy_wh
from protocol.messages import MAX_CONNECTORS


@click.command("queue", cls=Command)
@click.option("--leave", "place", default=None, metavar="ID", help="Give this place up; an offer goes to the next one.")
@connection_options
@json_option
@click.pass_context
def queue_command(context: click.Context, /, place: str | None, as_json: bool, **options: Any) -> None:
    """Where you wait: your place, and when your turn is expected.

    You come into the line with 'charge CP --wait' while CP is in use or has no power to spare. When it is your turn the
    connector is held for you for some minutes: plug in, and charging begins. Who misses that lets the next one pass
    first; who misses it twice is out of the line.
    """
    door = door_of(context, **options)

    async def work() -> None:
        async with door.only() as client:
            if place is not None:
                await client.leave_queue(place)
                _say(as_json, {"what": "left", "waiting_id": place}, f"You no longer wait as {plain(place)}.")
                return
            rows = await client.queue()
        if as_json:
            print_json(rows)
        else:
            show_table(QUEUE_HEADS, queue_rows(rows), "You wait nowhere; 'evcharge-driver charge CP --wait' lets you.")

    run(work())


@click.command("reserve", cls=Command)
@click.argument("cp_id", metavar="CP")
@click.option(
    "--from",
    "begins",
    required=True,
    metavar="WHEN",
    help="From when, as HH:MM or +2h, +90m; at most 7 days (+168h) ahead.",
)
@click.option("--until", "ends", required=True, metavar="WHEN", help="Until when: HH:MM, or +2h after --from.")
@click.option("--connector", type=click.IntRange(0, MAX_CONNECTORS), default=0, help="0: any that is there then.")
@click.option("--energy-kwh", default=None, metavar="KWH", help="Stop after this much; default: until full.")
@connection_options
@json_option
@click.pass_context
def reserve_command(
    context: click.Context,
    /,
    cp_id: str,
    begins: str,
    ends: str,
    connector: int,
    energy_kwh: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Reserve a connector of CP for later.

    It is granted only if connector and power will be there; else you are told which connector is taken when, or what
    cannot carry it. Be there within 15 minutes: plug in, and charging begins. You may have two at a time.

    \b
    evcharge-driver reserve CP-1 --from 14:00 --until 16:00
    evcharge-driver reserve CP-1 --from +3h --until +90m --energy-kwh 20
    """
    door = door_of(context, **options)
    try:
        energy = None if energy_kwh is None else energy_wh(energy_kwh)
        from_ms = parse_depart(begins, door.clock.site_ms())
        until_ms = parse_until(ends, from_ms)
    except ValueError as error:
        raise click.UsageError(str(error).replace("departure", "time") + ".") from None

    async def work() -> None:
        async with door.only() as client:
            try:
                made = await client.reserve(cp_id, from_ms, until_ms, connector, energy)
            except RequestRefused as error:
                # "+40m" is after --from: who meant another time sees it here.
                span = f"{local_time(from_ms)} to {local_time(until_ms)}"
                raise Failed(f"{plain(error.sentence)} You asked for {span}.") from error
        again = f"'evcharge-driver cancel {plain(made.reservation_id)}' gives it back."
        _say(as_json, {"what": "reserved", **fields_of(made)}, f"{reservation_text(made)}. {again}")

    run(work())


@click.command("reservations", cls=Command)
@connection_options
@json_option
@click.pass_context
def reservations_command(context: click.Context, /, as_json: bool, **options: Any) -> None:
    """Your reservations."""
    door = door_of(context, **options)

    async def work() -> None:
        async with door.only() as client:
            rows = await client.reservations()
        if as_json:
            print_json(rows)
        else:
            show_table(RESERVATION_HEADS, reservation_rows(rows), "You have no reservation.")

    run(work())


@click.command("cancel", cls=Command)
@click.argument("reservation_id", metavar="RESERVATION")
@connection_options
@json_option
@click.pass_context
def cancel_command(context: click.Context, /, reservation_id: str, as_json: bool, **options: Any) -> None:
    """Give a reservation back; 'reservations' shows its id."""
    door = door_of(context, **options)

    async def work() -> None:
        async with door.only() as client:
            await client.cancel_reservation(reservation_id)
        fields = {"what": "cancelled", "reservation_id": reservation_id}
        _say(as_json, fields, f"Reservation {plain(reservation_id)} is cancelled.")

    run(work())


def _say(as_json: bool, fields: dict[str, Any], text: str) -> None:
    if as_json:
        print_json(fields)
    else:
        click.echo(text)


COMMANDS = (queue_command, reserve_command, reservations_command, cancel_command)
