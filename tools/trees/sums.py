"""What many days came to together: kept in a file between runs, shown as a table or as JSON."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from tools.trees.days import Outcome

# Failing seeds whose first sentence is kept.
KEPT = 50


class Sums(msgspec.Struct, kw_only=True):
    """Of all seeds so far: ``first`` and those after it."""

    first: int
    seeds: int = 0
    steps: int = 0
    watched: int = 0
    solved: int = 0
    events: dict[str, int] = {}
    failing: dict[int, str] = {}
    """Seed → the first thing that was wrong."""
    broken: int = 0

    def add(self, outcome: Outcome) -> None:
        """One seed more, in their order."""
        self.seeds += 1
        self.steps += outcome.steps
        self.watched += outcome.watched
        self.solved += outcome.solved
        for kind, number in outcome.events.items():
            self.events[kind] = self.events.get(kind, 0) + number
        if outcome.wrong:
            self.broken += 1
            if len(self.failing) < KEPT:
                self.failing[outcome.seed] = outcome.wrong[0]

    def show(self, *, as_json: bool) -> None:
        """Print it on stdout."""
        if as_json:
            click.echo(msgspec.json.encode({"kept": not self.broken, **msgspec.to_builtins(self)}).decode())
            return
        rows = [
            ("random days", self.seeds),
            ("answers checked", self.steps),
            ("waits watched", self.watched),
            ("held against linear programs", self.solved),
            *[(f"  {kind}", number) for kind, number in sorted(self.events.items())],
        ]
        width = max(len(name) for name, _ in rows)
        for name, number in rows:
            click.echo(f"{name:<{width}}  {number:>12,}")
        verdict = f"{self.broken:,} seeds broke a promise" if self.broken else "every promise kept"
        click.echo(click.style(verdict, fg="red" if self.broken else "green"))


def load(path: Path | None, first: int) -> Sums:
    """From a file, if there is one. Raises OSError, msgspec.DecodeError; ValueError when it began at another seed."""
    if path is None or not path.exists():
        return Sums(first=first)
    sums = msgspec.json.decode(path.read_bytes(), type=Sums)
    if sums.first != first:
        raise ValueError(f"{path} is of seeds from {sums.first} on: give --seed {sums.first}, or another file.")
    return sums


def keep(sums: Sums, path: Path | None) -> None:
    """To the file, in one step. Raises OSError."""
    if path is not None:
        draft = path.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.encode(sums))
        draft.replace(path)
