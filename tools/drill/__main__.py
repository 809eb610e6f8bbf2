"""``python -m tools.drill``: what Central promises under fire, tried on a real one."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from evcharge.cli.common import CONTEXT
from tools.daemon import DaemonFailed, raise_file_limit
from tools.drill.crash_report import BROKEN, KEPT, Outcome
from tools.drill.load import ALL, slow_readers, storm, strangers

# Modules with a command each: they need what the load drills do not, so they are imported when asked for.
_CRASH = {
    "central-kills": "tools.drill.central_kills",
    "charge-point-kills": "tools.drill.charge_point_kills",
    "clock": "tools.drill.clock_steps",
    "exactly-once": "tools.drill.exactly_once",
    "feeder": "tools.drill.feeder",
}
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class Drills(click.Group):
    """Load drills, and crash drills by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_CRASH]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _CRASH:
            command: click.Command = import_module(_CRASH[cmd_name]).command
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=Drills, context_settings=CONTEXT)
def cli() -> None:
    """Try on a real Central, on loopback, what it promises under fire; promise beside measurement.

    \b
    python -m tools.drill all                          all load drills, about four minutes
    python -m tools.drill storm --cut links
    python -m tools.drill central-kills --cycles 500 --state kills/
    python -m tools.drill feeder --plot feeder.svg     on five hosts of their own; needs root

    Latencies mean something on an idle machine only. Exit code 0 when all promises were kept, 1 when one was not,
    2 for misuse or when something that is needed is missing.
    """


@cli.command("storm")
@click.option("--engines", type=click.IntRange(1, 40_000), default=5_000, help="How many come back.")
@click.option("--processes", type=click.IntRange(1, 16), default=2, help="Processes that they live in.")
@click.option("--cut", type=click.Choice(["kill", "links"]), default="kill", help="How they lose their connection.")
@as_json
def _storm(engines: int, processes: int, cut: str, as_json: bool) -> None:
    """Engines that lose Central at the same moment and come back without jitter."""
    _one(storm(engines=engines, processes=processes, cut=cut), as_json=as_json)


def _strangers(kind: str, count: int, words: str) -> None:
    @cli.command(kind, help=words)
    @click.option("--count", type=click.IntRange(1, 20_000), default=count, help="Strangers at the same time.")
    @click.option("--seconds", type=click.FloatRange(1, 600), default=20.0, help="How long honest peers measure.")
    @click.option("--seed", type=int, default=1, help="Of what they send.")
    @as_json
    def command(count: int, seconds: float, seed: int, as_json: bool) -> None:
        _one(strangers(kind, count=count, seconds=seconds, seed=seed), as_json=as_json)


_strangers("silent", 3_000, "Strangers that connect and say nothing.")
_strangers("holders", 1_500, "Strangers that send a valid HELLO and nothing more.")
_strangers("garbage", 1_000, "Strangers that send what nobody understands.")


@cli.command("slow-readers")
@click.option("--readers", type=click.IntRange(1, 2_000), default=100, help="Peers that do not read.")
@click.option("--others", type=click.IntRange(1, 5_000), default=200, help="Peers that beat meanwhile.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=20.0, help="How long.")
@as_json
def _slow(readers: int, others: int, seconds: float, as_json: bool) -> None:
    """Peers that ask for much and do not read the answers."""
    _one(slow_readers(readers=readers, others=others, seconds=seconds), as_json=as_json)


@cli.command("all")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Keeps finished drills.")
@as_json
def _all(state: Path | None, as_json: bool) -> None:
    """All load drills with the sizes of the promises; `--state` goes on where an earlier run was broken off."""
    known = state is not None and state.exists()
    done = msgspec.json.decode(state.read_bytes(), type=dict[str, Outcome]) if state and known else {}
    for name, drill in ALL.items():
        if name not in done:
            if sys.stderr.isatty():
                click.echo(f"{name} …", err=True)
            done[name] = _run(drill())
            if state is not None:
                state.write_bytes(msgspec.json.encode(done))
        if not as_json:
            done[name].show(as_json=False)
    if as_json:
        click.echo(msgspec.json.encode({"kept": all(it.kept for it in done.values()), "drills": done}).decode())
    sys.exit(KEPT if all(outcome.kept for outcome in done.values()) else BROKEN)


def _one(drill: Coroutine[Any, Any, Outcome], *, as_json: bool) -> None:
    outcome = _run(drill)
    outcome.show(as_json=as_json)
    outcome.exit()


def _run(drill: Coroutine[Any, Any, Outcome]) -> Outcome:
    raise_file_limit()
    try:
        return uvloop.run(drill)
    except DaemonFailed as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    cli(prog_name="python -m tools.drill")
