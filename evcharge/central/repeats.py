"""Refusals that need no record any more: the same one to the same peer, over and over.

A refusal is a record of a few hundred bytes, and a program in a loop may ask fifty times a second: a gigabyte a day.
"""

from __future__ import annotations

from collections import OrderedDict

from evcharge.domain import events as e

# So many equal refusals of one actor are recorded at once, as many as the wire lets through at once: nobody who looks
# at what he is told repeats himself as often …
AT_ONCE = 200
# … and then one in so many milliseconds: the log still shows that it goes on, for 20 MB a day at most.
EVERY_MS = 1_000
# Kinds of refusals that are remembered at once; beyond it the one heard longest ago is forgotten.
KINDS_KEPT = 4_096


class Repeats:
    """Counts equal refusals."""

    def __init__(self) -> None:
        self._left: OrderedDict[tuple[object, ...], tuple[float, int]] = OrderedDict()
        """By what was refused to whom: how many more are recorded, and when that was so, channel clock."""

    def needless(self, actor: str, event: e.Event, clock_ms: int) -> bool:
        """Whether ``event`` is a refusal that was recorded often enough."""
        key = _key(actor, event)
        if key is None:
            return False
        left, then_ms = self._left.pop(key, (AT_ONCE, clock_ms))
        left = min(AT_ONCE, left + max(0, clock_ms - then_ms) / EVERY_MS)
        needless = left < 1
        self._left[key] = (left if needless else left - 1, clock_ms)
        if len(self._left) > KINDS_KEPT:
            self._left.popitem(last=False)
        return needless


def _key(actor: str, event: e.Event) -> tuple[object, ...] | None:
    if isinstance(event, e.ChargeRefused):
        return actor, event.reason, event.cp_id, event.connector
    if isinstance(event, e.RequestRefused):
        return actor, event.reason, event.request, event.subject
    return None
