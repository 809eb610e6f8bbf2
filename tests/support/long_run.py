"""``python -m tests.support.long_run``: random trees with random days, from seeds, for as long as one likes.

The same sites, steps and checks as the properties of ``tests/domain/test_site.py``, without the cost of shrinking.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

import click
import msgspec

from evcharge.audit.event_codec import decode
from tests.support.any_tree import random_site
from tests.support.model_site import Site
from tests.support.model_steps import run
from tests.support.scenario import canonical, replayed

# Bytes of a day's program, three to a step.
SHORTEST, LONGEST = 150, 900
# Every so manyth day is replayed from its log.
REPLAYED = 10
# Between two writes of the sums and two lines of progress.
OFTEN = 50


class Sums(msgspec.Struct):
    """What the days so far had in them."""

    seed: int
    days: int = 0
    cpu_s: float = 0.0
    events: dict[str, int] = {}
    phases: int = 0
    backups: int = 0
    wrong: list[int] = []


def one(seed: int) -> Counter[str]:
    """One day; raises what the checks raise."""
    rng = Random(seed)
    charge_points = rng.randint(1, 5)
    config = random_site(rng, charge_points)
    site = Site(config, charge_points=charge_points)
    run(site, rng.randbytes(rng.randint(SHORTEST, LONGEST)))
    if rng.random() < 0.25:
        site.abandon()
    site.heal()
    site.close_accounts()
    if seed % REPLAYED == 0:
        assert canonical(replayed(site.log)) == canonical(site.state), "replay differs"
    kinds: Counter[str] = Counter()
    for body in site.log:
        logged = decode(body)
        assert logged is not None
        kinds[type(logged.event).__name__] += 1
    kinds["phases"] = any(node.phase_w for node in config.nodes.values())
    kinds["backups"] = any(node.backups for node in config.nodes.values())
    return kinds


@click.command()
@click.option("--count", type=click.IntRange(1), default=1_000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The first one's; the next is +1.")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="Keep the sums here, and go on there.")
def cli(count: int, seed: int, state: Path | None) -> None:
    """Run COUNT random days on random trees. What is wrong goes to stderr with its seed. Exit code 1: something was."""
    sums = Sums(seed=seed)
    if state is not None and state.exists():
        sums = msgspec.json.decode(state.read_bytes(), type=Sums)
    for number in range(sums.seed + sums.days, sums.seed + count):
        began_s = time.process_time()
        try:
            kinds = one(number)
        except Exception:  # noqa: BLE001 - whatever is wrong belongs into the report, with its seed
            sums.wrong.append(number)
            click.echo(f"seed {number}:\n{traceback.format_exc(limit=-6)}", err=True)
            kinds = Counter()
        sums.phases += kinds.pop("phases", 0)
        sums.backups += kinds.pop("backups", 0)
        sums.events = dict(Counter(sums.events) + kinds)
        sums.cpu_s += time.process_time() - began_s
        sums.days += 1
        if sums.days % OFTEN == 0 or sums.days == count:
            if state is not None:
                partial = state.with_suffix(".part")
                partial.write_bytes(msgspec.json.encode(sums))
                os.replace(partial, state)
            click.echo(f"\r{sums.days:,} days, {len(sums.wrong)} wrong", nl=False, err=True)
    events = sum(sums.events.values())
    click.echo(
        f"\n{sums.days:,} random trees and days ({sums.phases:,} with phases, {sums.backups:,} with backups), "
        f"{events:,} events of {len(sums.events)} kinds, {sums.cpu_s:,.0f} CPU-s: "
        f"{len(sums.wrong)} wrong {sums.wrong[:10]}"
    )
    sys.exit(1 if sums.wrong else 0)


if __name__ == "__main__":
    cli()
