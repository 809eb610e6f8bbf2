"""``python -m tools.trees``: the allocator against random trees of limits, from seeds."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import click
import msgspec

from evcharge.cli.common import CONTEXT
from tools.trees.days import Outcome, day
from tools.trees.sums import keep, load

# Between two writes of the state and two lines of progress: a second or so.
OFTEN = 100


@click.command(context_settings=CONTEXT)
@click.option("--count", type=click.IntRange(1), default=1_000, show_default=True, help="How many random days.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The first one's; the next is +1.")
@click.option("--steps", type=click.IntRange(1), default=12, show_default=True, help="Events in each day.")
@click.option(
    "--solve", type=click.IntRange(0), default=100, show_default=True, help="Every N-th against an LP; 0: none."
)
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="Keep the sums here, and go on there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cli(count: int, seed: int, steps: int, solve: int, state: Path | None, as_json: bool) -> None:
    """Share power on random sites, through random days, and check each answer.

    \b
    python -m tools.trees --count 100000 --state trees.json     a long run; the same line again goes on
    python -m tools.trees --count 1 --seed 4711                 one seed again

    A day is a tree of limits (some of phases), cars in it, a policy, and events: plugged, unplugged, limits cut and
    raised, nodes offline and back, base load, solar, time, a clock that is set; one day in four has meters and cars
    that lie. After each event: no sum passes a limit, minima and whole amperes are kept, no ampere is wasted, the order
    of cars and nodes does not matter. One day in eight is quiet and crowded: everybody has to get a turn within the
    time that is promised. Every N-th day begins with the exact shares, found by linear programs.

    What is wrong goes to stderr with its seed. Exit code 0: nothing was; 1: something; 2: misuse.
    """
    try:
        sums = load(state, seed)
    except (ValueError, msgspec.DecodeError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot read {state}: {error.strerror}.") from error
    live = sys.stderr.isatty()
    for number in range(seed + sums.seeds, seed + count):
        outcome = _day(number, steps, solve)
        sums.add(outcome)
        if outcome.wrong:
            again = f"python -m tools.trees --count 1 --seed {number} --steps {steps} --solve {solve}"
            click.echo(f"seed {number}: {outcome.wrong[0]}\n  again: {again}", err=True)
        if sums.seeds % OFTEN == 0 or number == seed + count - 1:
            try:
                keep(sums, state)
            except OSError as error:
                raise click.ClickException(f"cannot write {state}: {error.strerror}.") from error
            end = "\r" if live else "\n"
            if live or sums.seeds % (100 * OFTEN) == 0:
                click.echo(f"{sums.seeds:,} of {count:,} days, {sums.broken} broken{end}", nl=False, err=True)
    sums.show(as_json=as_json)
    sys.exit(1 if sums.broken else 0)


def _day(seed: int, steps: int, solve: int) -> Outcome:
    try:
        return day(seed, steps, solve)
    except Exception:  # noqa: BLE001  any error of the allocator is a finding, and the next seed may find another
        return Outcome(seed=seed, events={}, wrong=[f"crash: {traceback.format_exc(limit=-3)}"])


if __name__ == "__main__":
    cli(prog_name="python -m tools.trees")
