"""How a crash drill says what was promised and what it measured: a table for people, one JSON object for scripts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click
import msgspec

# Exit codes: every promise kept, one broken, misused or not possible here.
KEPT, BROKEN, MISUSED = 0, 1, 2


class Promise(NamedTuple):
    """One line of the table."""

    what: str
    promised: str
    measured: str
    kept: bool


class Outcome(msgspec.Struct, kw_only=True):
    """What a drill came to."""

    drill: str
    promises: list[Promise]
    figures: dict[str, Any]
    """Measured in this run; no promise hangs on them."""
    problems: list[str] = []
    """The first sentences about what was broken."""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(promise.kept for promise in self.promises)

    def show(self, *, as_json: bool) -> None:
        """Print it on stdout."""
        if as_json:
            promises = [promise._asdict() for promise in self.promises]
            whole = {"drill": self.drill, "kept": self.kept, "promises": promises, "figures": self.figures}
            click.echo(msgspec.json.encode({**whole, "problems": self.problems}).decode())
            return
        click.echo(f"\n{self.drill}")
        rows = [("", "promised", "measured", "")]
        rows += [(p.what, p.promised, p.measured, "kept" if p.kept else "BROKEN") for p in self.promises]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            colour = {"kept": "green", "BROKEN": "red"}.get(row[3])
            click.echo(f"  {'  '.join(cells)}  {click.style(row[3], fg=colour)}".rstrip())
        for name, value in self.figures.items():
            click.echo(f"  {name:<{widths[0]}}  {_shown(value)}")
        for sentence in self.problems:
            click.echo(f"  ! {sentence}")

    def exit(self) -> None:
        """End the program: 0 when every promise was kept, 1 otherwise."""
        sys.exit(KEPT if self.kept else BROKEN)


def none_of(what: str, count: int) -> Promise:
    """A promise that something does not happen."""
    return Promise(what, "0", str(count), count == 0)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile (nearest rank) and count; empty without values."""
    if not values:
        return {}
    ordered = sorted(values)

    def rank(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return {"p50": rank(0.5), "p99": rank(0.99), "count": len(ordered)}


class Progress:
    """A line on stderr that is written over, on a terminal only."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._shown = sys.stderr.isatty()

    def say(self, done: int, text: str = "") -> None:
        """So far."""
        if self._shown:
            click.echo(f"\r\x1b[K{self._title}: {done} of {self._total}  {text}", nl=False, err=True)

    def end(self) -> None:
        """The line is no longer needed."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
