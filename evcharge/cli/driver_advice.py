"""``evcharge-driver recommend`` and ``why``: where to charge, and why a session gets what it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from evcharge.cli.commands import Command
from evcharge.cli.common import Failed, print_json
from evcharge.cli.driver_options import connection_options, door_of, json_option, run
from evcharge.cli.driver_places import place_text
from evcharge.cli.driver_table import show_table
from evcharge.cli.driver_text import local_time, plain
from evcharge.cli.driver_view import authorized_text, duration, fields_of, kw, money
from protocol import messages as m

STATION_HEADS = ("rank", "charge point", "score", "cost", "time", "wait", "CO2", "power", "way", "decided by", "why")
LEGACY_HEADS = ("charge point", "score", "energy", "time", "CO2", "explanation")
# Why a charge point is left out, for people.
EXCLUDED = {
    "bad_data": "what is known of it makes no sense",
    "out_of_reach": "out of reach with what is in the battery, less a tenth",
    "no_fitting_connector": "no connector with that plug",
    "out_of_service": "out of service, or its substation is lost",
    "wait_unknown": "taken, and nobody knows for how long; if the vehicle there is yours, 'charge' it",
    "no_power": "no power to spare for one more vehicle",
}
WEIGHTS = ("cost", "time", "carbon", "queue")


@click.command("recommend", cls=Command)
@click.option("--battery", type=click.FloatRange(0, 100), required=True, help="What is in the battery, percent.")
@click.option("--capacity-kwh", type=click.FloatRange(0.001, 1_000), default=60.0, help="What it holds when full.")
@click.option("--target", type=click.FloatRange(0, 100), default=80.0, help="What is wanted, percent.")
@click.option("--max-kw", type=click.FloatRange(0.001, 10_000), default=11.0, help="The most that the vehicle takes.")
@click.option("--plug", default=None, metavar="NAME", help="Its plug, as the site names it (type2, ccs); default: any.")
@click.option("--consumption", type=click.IntRange(1, 10_000), default=180, help="What it drives on, Wh per km.")
@click.option("--at", "position", default=None, metavar="LAT,LON", help="Where it is, degrees; default: at the site.")
@click.option(
    "--weights",
    default=None,
    metavar="COST,TIME,CARBON,QUEUE",
    help="How much each counts: four shares of 1; default: Central's own, .35,.30,.20,.15.",
)
@click.option("--mode", type=click.Choice(["pareto", "legacy"]), default="pareto", help="legacy: the older formula.")
@click.option("--results", type=click.IntRange(1, m.MAX_RESULTS), default=m.MAX_RESULTS, help="How many to rank.")
@click.option("--accept", is_flag=True, help="Take the best one: kept for 15 minutes, or a place in its line.")
@connection_options
@json_option
@click.pass_context
def recommend_command(
    context: click.Context,
    /,
    battery: float,
    capacity_kwh: float,
    target: float,
    max_kw: float,
    plug: str | None,
    consumption: int,
    position: str | None,
    weights: str | None,
    mode: str,
    results: int,
    accept: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Where to charge: the best charge points with figures, and why the others are not among them.

    Nothing is reserved unless --accept asks for it: then connector and power are kept for 15 minutes, the way there;
    where they are taken, you wait in line (`queue`). Exit code 1 when no charge point can serve this vehicle.
    """
    latitude, longitude = (None, None) if position is None else _numbers(position, 2, "--at")
    given = None if weights is None else _numbers(weights, 4, "--weights")
    if given is not None and (min(given) < 0 or abs(sum(given) - 1) > 0.001):
        raise click.UsageError("--weights takes four shares from 0 up whose sum is 1, like .4,.3,.2,.1.")
    if latitude is not None and longitude is not None and not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise click.UsageError("--at takes a latitude from -90 to 90 and a longitude from -180 to 180.")
    if plug is not None and not 1 <= len(plug) <= m.MAX_ID:
        raise click.UsageError(f"--plug has 1 to {m.MAX_ID} characters.")
    if mode == "pareto" and target <= battery:
        raise click.UsageError(f"--battery {battery:g} has --target {target:g} already; there is nothing to charge.")
    wish = m.Recommend(
        id=0,
        mode="legacy" if mode == "legacy" else "pareto",
        battery_percent=battery,
        capacity_wh=round(capacity_kwh * 1_000),
        target_percent=target,
        max_w=round(max_kw * 1_000),
        plug=plug,
        consumption_wh_per_km=consumption,
        latitude=latitude,
        longitude=longitude,
        weights=None if given is None else m.Weights(**dict(zip(WEIGHTS, given, strict=True))),
        max_results=results,
    )
    door = door_of(context, **options)

    async def work() -> None:
        async with door.only() as client:
            found = await client.recommend(wish)
            if as_json:
                print_json(fields_of(found))
            else:
                show_recommendation(found)
            if found.cp_id is None:
                raise Failed(plain(found.sentence))
            if accept:
                what = await client.charge_or_wait(
                    found.cp_id, found.connector or 0, _energy_wh(found), on_the_way=True
                )
                waits = isinstance(what, m.WaitingView)
                if as_json:
                    print_json({"what": "waiting" if waits else "authorized", **fields_of(what)})
                else:
                    click.echo(_accepted(what))

    run(work())


def _accepted(what: m.SessionView | m.WaitingView) -> str:
    """What was kept, and how it is given back."""
    if isinstance(what, m.WaitingView):
        return f"{place_text(what)}. 'evcharge-driver queue --leave {plain(what.waiting_id)}' gives the place up."
    return f"{authorized_text(what)}. 'evcharge-driver end {plain(what.session_id)}' gives it back."


@click.command("why", cls=Command)
@click.argument("session_id", metavar="[SESSION]", required=False)
@connection_options
@json_option
@click.pass_context
def why_command(context: click.Context, /, session_id: str | None, as_json: bool, **options: Any) -> None:
    """Why a session of yours gets the power that it gets; without SESSION the newest open one."""
    door = door_of(context, **options)

    async def work() -> None:
        async with door.only() as client:
            told = await client.why(session_id)
        if as_json:
            print_json(fields_of(told))
        else:
            click.echo(why_text(told))

    run(work())


def show_recommendation(found: m.RecommendationView) -> None:
    """The table, then what it was made with; sentences about what is not there go to stderr."""
    if found.mode == "legacy":
        show_table(LEGACY_HEADS, legacy_rows(found.legacy), "There is no charge point yet.")
    else:
        show_table(STATION_HEADS, station_rows(found), "There is no charge point yet.")
        if found.weights is not None:
            shares = ", ".join(f"{name} {getattr(found.weights, name):.2f}" for name in WEIGHTS)
            click.echo(f"Weights: {shares}. Score 0 is best; * is beaten by none in everything.", err=True)
    if found.cp_id is not None:
        click.echo(plain(found.sentence), err=True)
    if found.left_out:
        click.echo(f"{found.left_out} more charge points were not looked at or are not shown.", err=True)


def station_rows(found: m.RecommendationView) -> list[tuple[str, ...]]:
    """One line per ranked charge point, then one per charge point that is left out, with the reason."""
    rows: list[tuple[str, ...]] = []
    for row in found.stations:
        way = f"{row.distance_m / 1_000:.1f} km" if found.located else ""
        if row.rank is not None and row.score is not None:
            name = plain(row.cp_id) if row.connector is None else f"{plain(row.cp_id)} #{row.connector}"
            rows.append(
                (
                    f"{row.rank}{'*' if row.front else ''}",
                    name,
                    f"{row.score:.3f}",
                    money(row.cost_minor, found.currency),
                    duration(row.time_s),
                    duration(row.queue_s) if row.queue_s else "none",
                    f"{row.carbon_g / 1_000:.2f} kg",
                    kw(row.power_w),
                    way,
                    _decider(row.parts),
                    "",
                )
            )
        elif row.excluded is not None:
            why = EXCLUDED.get(row.excluded, plain(row.excluded))
            rows.append(("", plain(row.cp_id), "", "", "", "", "", "", way, "", f"out: {why}"))
    return rows


def legacy_rows(rows: Sequence[m.LegacyView]) -> list[tuple[str, ...]]:
    """One line per charge point, in the order of the answer."""
    return [
        (
            plain(row.station_id),
            "" if row.score is None else f"{row.score:.2f}",
            f"{row.energy_needed_kwh:.2f} kWh",
            "" if row.charging_time_hours is None else f"{row.charging_time_hours:.2f} h",
            f"{row.carbon_emission_kg:.2f} kg",
            plain(row.explanation),
        )
        for row in rows
    ]


def why_text(told: m.WhyView) -> str:
    """The sentence, with the figures above it."""
    limit = "no limit yet" if told.limit_w is None else f"limit {kw(told.limit_w)}"
    when = "" if told.at_ms is None else f", decided {local_time(told.at_ms)}"
    # Open at 0 W is no supply to anybody who looks at his vehicle.
    state = "paused" if told.state == "SUPPLYING" and told.limit_w == 0 else plain(told.state).lower()
    head = f"{plain(told.session_id)} at {plain(told.cp_id)} #{told.connector}: {state}, {limit}{when}"
    return f"{head}\n{plain(told.sentence)}"


def _decider(parts: m.Weights | None) -> str:
    """The criterion that decided most of the score."""
    if parts is None:
        return ""
    name = max(WEIGHTS, key=lambda each: float(getattr(parts, each)))
    return name if getattr(parts, name) else ""


def _energy_wh(found: m.RecommendationView) -> int | None:
    """What the vehicle needs; by the older formula it may be nothing, which means until full."""
    return found.vehicle.need_wh if found.vehicle.need_wh > 0 else None


def _numbers(text: str, count: int, option: str) -> list[float]:
    """Raises UsageError."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or any(value != value for value in values):
        raise click.UsageError(f"{option} takes {count} numbers with commas between them, not {text!r}.")
    return values
