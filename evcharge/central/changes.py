"""What changed since somebody looked: numbers that count changes, the newest of each charge point and each meter.

Nothing here says what changed. Whoever looks sees each charge point as it is then, however often it changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable
from heapq import merge
from itertools import takewhile
from typing import NamedTuple

from evcharge.domain.digest import Part


class Change(NamedTuple):
    """One charge point or session, and the number of its newest change."""

    number: int
    key: str
    meter: bool
    """A session's meter went on; otherwise something else about a charge point."""


class Changes:
    """``run`` names this counting: numbers of another one mean nothing here."""

    def __init__(self, run: str, charge_points: Callable[[], Container[str]], sessions: Callable[[], Container[str]]):
        """Those that there are: requests name others, too, and those are not counted."""
        self.run = run
        self.upto = 0
        self._there = charge_points
        self._open = sessions
        # In the order of their numbers: who changes goes to the end.
        self._charge_points: dict[str, int] = {}
        self._meters: dict[str, int] = {}

    def mark(self, cp_id: str) -> None:
        """A charge point changed."""
        self.upto += 1
        self._charge_points.pop(cp_id, None)
        self._charge_points[cp_id] = self.upto

    def metered(self, session_id: str) -> None:
        """A session's meter went on."""
        self.upto += 1
        self._meters.pop(session_id, None)
        self._meters[session_id] = self.upto

    def touched(self, parts: Collection[Part]) -> None:
        """These parts of the state may have changed."""
        for part in parts:
            if part.section == "charge_points" and part.key in self._there():
                self.mark(part.key)
            elif part.section == "sessions" and part.key not in self._open():
                # It is over, which its charge point tells.
                self._meters.pop(part.key, None)

    def begin(self, cp_ids: Iterable[str]) -> None:
        """Mark those that have no number yet: whoever asks for everything gets them too."""
        for cp_id in cp_ids:
            if cp_id not in self._charge_points:
                self.mark(cp_id)

    def since(self, number: int) -> list[Change]:
        """What changed after ``number``, in the order of the newest changes; costs what there is of it."""
        return list(merge(_since(self._charge_points, number, meter=False), _since(self._meters, number, meter=True)))


def _since(numbers: dict[str, int], number: int, *, meter: bool) -> list[Change]:
    newest_first = takewhile(lambda item: item[1] > number, reversed(numbers.items()))
    found = [Change(at, key, meter) for key, at in newest_first]
    found.reverse()
    return found
