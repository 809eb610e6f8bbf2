"""``python -m tools.tamper``: change a signed log in every way, and see that each change is found or does no harm."""

from __future__ import annotations

import sys

import click
import msgspec

from evcharge.cli.common import CONTEXT
from tools.tamper.bytewise import Unequal
from tools.tamper.made import RECORDS, make
from tools.tamper.report import as_json, silent, table
from tools.tamper.row import Row
from tools.tamper.run import ATTACKS, Settings, Worker, quiet, run

_ATTACKS = "\b\n" + "\n".join(f"{name:24} {what}" for name, (what, _) in ATTACKS.items())


@click.command(context_settings=CONTEXT, epilog=f"Attacks on whole records:\n\n{_ATTACKS}")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the log and of every change.")
@click.option("--records", type=click.IntRange(300), default=RECORDS, show_default=True, help="Records of the log.")
@click.option(
    "--every",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="N",
    help="Change every N-th byte, from a seeded one; 0: only whole records.",
)
@click.option(
    "--instances", type=click.IntRange(0), default=300, show_default=True, help="Of each attack on whole records."
)
@click.option(
    "--restart-every",
    type=click.IntRange(1),
    default=25,
    show_default=True,
    metavar="N",
    help="Try a start of Central on every N-th changed byte; on whole records always.",
)
@click.option(
    "--whole-every",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    metavar="N",
    help="Verify every N-th changed byte from the first record too, and compare.",
)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Work side by side.")
@click.option("--only", metavar="WHAT:NUMBER", help="One change again: an attack or a file, and its number or offset.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def cli(
    seed: int,
    records: int,
    every: int,
    instances: int,
    restart_every: int,
    whole_every: int,
    processes: int,
    only: str | None,
    json: bool,
) -> None:
    """Make a signed log from a seed, change every byte and whole records of it, and judge each change.

    `evcharge-audit verify` has to find it at its place, or every record and checkpoint reads as before, or a charge
    point that kept a newer checkpoint proves it. Changes above every checkpoint are counted as not covered. Anything
    else is silent: then the exit code is 1, and the table says how to make that change again. All of it takes a
    quarter of an hour; `--every 100 --instances 20` takes half a minute.
    """
    quiet()
    settings = Settings(seed, records, every, instances, whole_every, restart_every)
    try:
        if only is not None:
            _again(settings, only, json=json)
            return
        rows: dict[str, Row] = {}
        for done, total, found in run(settings, processes):
            rows = found
            if sys.stderr.isatty():
                click.echo(f"\r{done:,} of {total:,}", nl=done == total, err=True)
    except Unequal as error:
        raise click.ClickException(str(error)) from error
    click.echo((as_json if json else table)(rows, make(seed, records), settings))
    sys.exit(1 if silent(rows) else 0)


def _again(settings: Settings, only: str, *, json: bool) -> None:
    try:
        name, verdict = Worker(settings).one(only)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--only") from None
    if json:
        click.echo(msgspec.json.encode({"kind": name, **verdict._asdict()}).decode())
    else:
        place = ", at its place" if verdict.exact else ""
        click.echo(f"{name}: {verdict.outcome}{place}: {verdict.why}")
    sys.exit(1 if verdict.outcome == "silent" else 0)


if __name__ == "__main__":
    cli(prog_name="python -m tools.tamper")
