"""Which charge points changed since somebody looked: numbers that count changes, the newest of each charge point.

Nothing here says what changed. Whoever looks sees each charge point as it is then, however often it changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from evcharge.domain.digest import Part


class Change(NamedTuple):
    """A charge point, and the number of its newest change."""

    cp_id: str
    number: int


class Changes:
    """``run`` names this counting: numbers of another one mean nothing here."""

    def __init__(self, run: str, known: Callable[[], Container[str]]) -> None:
        """``known``: the charge points that there are; requests name others, too, and those are not counted."""
        self.run = run
        self._known = known
        self.upto = 0
        # In the order of their numbers: who changes goes to the end.
        self._numbers: dict[str, int] = {}

    def mark(self, cp_id: str) -> None:
        """It changed."""
        self.upto += 1
        self._numbers.pop(cp_id, None)
        self._numbers[cp_id] = self.upto

    def touched(self, parts: Collection[Part]) -> None:
        """These parts of the state may have changed."""
        for part in parts:
            if part.section == "charge_points" and part.key in self._known():
                self.mark(part.key)

    def begin(self, cp_ids: Iterable[str]) -> None:
        """Mark those that have no number yet: whoever asks for everything gets them too."""
        for cp_id in cp_ids:
            if cp_id not in self._numbers:
                self.mark(cp_id)

    def since(self, number: int) -> list[Change]:
        """Those that changed after ``number``, in the order of their newest changes; costs what there are."""
        newest_first: Iterator[tuple[str, int]] = reversed(self._numbers.items())
        found = [Change(cp_id, at) for cp_id, at in takewhile(lambda item: item[1] > number, newest_first)]
        found.reverse()
        return found
