"""Answers so young that the same question gets the same one, for a bounded number of questions; time comes in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Fresh:
    """Bytes of answers by their questions, the newest last."""

    def __init__(self, fresh_s: float, most: int) -> None:
        """``fresh_s``: how long an answer is given again, seconds; ``most``: answers that are kept."""
        self._fresh_s = fresh_s
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, question: Hashable, now_s: float) -> bytes | None:
        """The answer, if it is young enough at ``now_s`` (monotonic seconds)."""
        kept = self._kept.get(question)
        return None if kept is None or now_s - kept[0] >= self._fresh_s else kept[1]

    def put(self, question: Hashable, answer: bytes, asked_s: float) -> None:
        """Keep what was asked for at ``asked_s``; what has become old goes, and the oldest of too many."""
        self._kept[question] = asked_s, answer
        self._kept.move_to_end(question)
        while self._kept:
            oldest_s, _ = next(iter(self._kept.values()))
            if len(self._kept) <= self._most and asked_s - oldest_s < self._fresh_s:
                return
            self._kept.popitem(last=False)
