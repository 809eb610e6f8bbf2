"""``python -m tools.fuzz``: fuzz the protocol, keep the corpus small, look at an input again."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from evcharge.cli.common import CONTEXT
from tools.fuzz.run import CORPUS, NAMES, Promised, Run, have_atheris, left, merge, summary
from tools.fuzz.seeds import seeds, write
from tools.fuzz.watch import SLOWEST_S, Watch

# Shares of the inputs of `all`: how many of a million each target gets. A handshake costs a hundred times as much CPU.
SHARES = {"decoder": 0.6, "handshake": 0.12, "channel": 0.28}


@click.group(context_settings=CONTEXT)
def cli() -> None:
    """Feed the protocol's readers with bytes that nobody expects, guided by the code that they reach (atheris).

    \b
    python -m tools.fuzz run --seconds 20            each target for 20 s, one after the other
    python -m tools.fuzz run channel --runs 100000
    python -m tools.fuzz run --runs 10000000 --state fuzz.json     can be broken off and goes on
    python -m tools.fuzz reproduce channel crash-…   the trace of one input

    Promised: no exception but RemoteProtocolError, no input above 50 ms of CPU, memory flat. Exit code 1 when that was
    broken, with the input as hex.
    """


@cli.command()
@click.argument("targets", nargs=-1, type=click.Choice(NAMES))
@click.option("--runs", type=click.IntRange(1), default=None, help="Inputs in all; `--state` counts earlier ones.")
@click.option("--seconds", type=click.IntRange(1), default=None, help="Time for each target.")
@click.option(
    "--seed", type=click.IntRange(1, 2**31), default=None, help="Of the random choices; a new one is printed."
)
@click.option(
    "--corpus",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder that keeps what was found, for the next run.",
)
@click.option(
    "--state", type=click.Path(path_type=Path, dir_okay=False), default=None, help="File that keeps the sums."
)
@click.option("--parallel", is_flag=True, help="All targets at the same time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def run(
    targets: Sequence[str],
    runs: int | None,
    seconds: int | None,
    seed: int | None,
    corpus: Path | None,
    state: Path | None,
    parallel: bool,
    as_json: bool,
) -> None:
    """Fuzz TARGETS, by default all: decoder, handshake, channel."""
    if not have_atheris():
        raise click.UsageError("atheris is not installed here: it is part of the dev extra, on Linux x86_64 only.")
    if runs is None and seconds is None:
        seconds = 20
    names = list(targets) or list(NAMES)
    number = seed or int.from_bytes(os.urandom(3), "big") + 1
    print(f"seed {number}", file=sys.stderr)
    promised = Promised.load(state)
    share = sum(SHARES[name] for name in names)
    going = [
        Run(
            name,
            seed=number,
            runs=None if runs is None else left(round(runs * SHARES[name] / share), promised.figures(name).inputs),
            seconds=seconds,
            corpus=None if corpus is None else corpus / name,
        )
        for name in names
    ]
    if parallel:
        for one in going:
            one.start()
    for one in going:
        if not parallel:
            one.start()
        one.wait(lambda line: print(line, file=sys.stderr, flush=True))
        promised.add(one)
    print(msgspec.json.encode(promised.to_json()).decode() if as_json else summary(promised))
    if not promised.kept():
        sys.exit(1)


@cli.command()
@click.argument("targets", nargs=-1, type=click.Choice(NAMES))
@click.option(
    "--seconds", type=click.IntRange(0), default=0, help="Look for new inputs first, so long for each target."
)
def minimise(targets: Sequence[str], seconds: int) -> None:
    """Make the kept corpus as small as covers the same code, with the golden vectors' inputs as candidates."""
    for name in targets or NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            found, small = Path(scratch, "found"), Path(scratch, "small")
            small.mkdir()
            write(found, seeds(name))
            for path in (CORPUS / name).glob("*"):
                shutil.copy(path, found)
            if seconds:
                Run(name, seed=1, runs=None, seconds=seconds, corpus=found).start().wait(lambda _: None)
            merge(name, small, found)
            shutil.rmtree(CORPUS / name, ignore_errors=True)
            shutil.copytree(small, CORPUS / name)
        kept = list((CORPUS / name).iterdir())
        print(f"{name}: {len(kept)} inputs, {sum(path.stat().st_size for path in kept) / 1024:.0f} KiB")


@cli.command()
@click.argument("target", type=click.Choice(NAMES))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def reproduce(target: str, file: Path) -> None:
    """Run TARGET on one input, without instrumentation; the trace shows what breaks."""
    from tools.fuzz.targets import TARGETS

    watch = Watch(TARGETS[target])
    watch(file.read_bytes())
    took_ms = watch.figures.slowest_ms
    print(f"nothing breaks; {took_ms:.2f} ms of at most {SLOWEST_S * 1000:.0f}")


if __name__ == "__main__":
    cli(prog_name="python -m tools.fuzz")
