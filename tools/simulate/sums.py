"""What many seeds came to together: kept in a file between runs, shown as a table or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import click
import msgspec

from tools.simulate.disk_runs import DiskOutcome
from tools.simulate.world import Outcome

# Failing seeds whose first sentence is kept.
KEPT = 50


class Sums(msgspec.Struct, kw_only=True):
    """Of all seeds so far."""

    TITLE: ClassVar[str]

    seeds: int = 0
    repeated: int = 0
    """Seeds that were run twice, with the same trace."""
    failing: dict[int, str] = {}
    """Seed → the first promise that it broke."""
    faults: dict[str, int] = {}
    """What went wrong on purpose, how often."""

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """From a file, if there is one. Raises OSError, msgspec.DecodeError."""
        if path is None or not path.exists():
            return cls()
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def keep(self, path: Path | None) -> None:
        """To the file, in one step."""
        if path is not None:
            draft = path.with_suffix(".tmp")
            draft.write_bytes(msgspec.json.encode(self))
            draft.replace(path)

    def add(self, outcome: Any) -> None:
        """One seed more, in their order."""
        self.seeds += 1
        self.repeated += outcome.repeated
        if outcome.wrong and len(self.failing) < KEPT:
            self.failing[outcome.seed] = self.first_of(outcome)

    def first_of(self, outcome: Any) -> str:
        """The first broken promise in words."""
        raise NotImplementedError

    def rows(self) -> list[tuple[str, str]]:
        """For the table, beside the faults."""
        raise NotImplementedError

    def count(self, kinds: dict[str, int]) -> None:
        """More of these faults."""
        for kind, number in kinds.items():
            self.faults[kind] = self.faults.get(kind, 0) + number

    def show(self, *, as_json: bool) -> None:
        """Print it on stdout."""
        if as_json:
            click.echo(msgspec.json.encode({"kept": not self.failing, **msgspec.to_builtins(self)}).decode())
            return
        rows = [
            (self.TITLE, ""),
            ("seeds", f"{self.seeds:,}"),
            ("run twice, same trace", f"{self.repeated:,}"),
            *self.rows(),
        ]
        rows += [(f"  {kind}", f"{number:,}") for kind, number in sorted(self.faults.items())]
        verdict = f"{len(self.failing)} seeds broke a promise" if self.failing else "every promise kept"
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            click.echo(f"{name:<{width}}  {value:>12}")
        click.echo(click.style(verdict, fg="red" if self.failing else "green"))


class SystemSums(Sums, kw_only=True):
    """Of whole sites."""

    TITLE = "whole sites"

    hours: float = 0.0
    acknowledgements: int = 0
    sessions: int = 0
    tickets: int = 0
    energy_wh: int = 0
    records: int = 0

    def add(self, outcome: Outcome) -> None:
        super().add(outcome)
        self.hours += outcome.hours
        self.acknowledgements += outcome.acknowledgements
        self.sessions += outcome.sessions
        self.tickets += outcome.tickets
        self.energy_wh += outcome.energy_wh
        self.records += outcome.records
        self.count(outcome.faults)

    def first_of(self, outcome: Outcome) -> str:
        return outcome.sentences[0] if outcome.sentences else str(outcome.wrong)

    def rows(self) -> list[tuple[str, str]]:
        return [
            ("virtual hours", f"{self.hours:,.1f}"),
            ("acknowledgements compared", f"{self.acknowledgements:,}"),
            ("sessions granted", f"{self.sessions:,}"),
            ("tickets of those that began", f"{self.tickets:,}"),
            ("Wh on tickets and meters", f"{self.energy_wh:,}"),
            ("records", f"{self.records:,}"),
            ("troubles", f"{sum(self.faults.values()):,}"),
        ]


class DiskSums(Sums, kw_only=True):
    """Of logs on their disks."""

    TITLE = "logs on their disks"

    lives: int = 0
    acknowledged: int = 0
    rotten: int = 0
    refused: int = 0
    found: int = 0
    unwitnessed: int = 0
    harmless: int = 0

    def add(self, outcome: DiskOutcome) -> None:
        super().add(outcome)
        self.lives += outcome.lives
        self.acknowledged += outcome.acknowledged
        self.rotten += outcome.rotten
        self.refused += outcome.refused
        self.found += outcome.found
        self.unwitnessed += outcome.unwitnessed
        self.harmless += outcome.harmless
        self.count(outcome.ends)

    def first_of(self, outcome: DiskOutcome) -> str:
        return outcome.wrong[0]

    def rows(self) -> list[tuple[str, str]]:
        return [
            ("records acknowledged", f"{self.acknowledged:,}"),
            ("bits rotten between two lives", f"{self.rotten:,}"),
            ("  the start refused", f"{self.refused:,}"),
            ("  found by `verify`", f"{self.found:,}"),
            ("  in the last record, like a cut write", f"{self.unwitnessed:,}"),
            ("  everything was there", f"{self.harmless:,}"),
            ("lives, and how they ended", f"{self.lives:,}"),
        ]
