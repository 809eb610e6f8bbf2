"""Energy that truly flowed, from the charge points' own traces of power, across kills of their process.

A trace (``evcharge-cp run --trace``) has a line at each change of a connector's power. A process that is killed leaves
no last line: nothing flows from then on, so the kill's instant ends what was flowing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evcharge.cp.vehicle import MJ_PER_WH
from evcharge.demo.tally import read_trace


def delivered_wh(trace: Path, kills_ms: Sequence[int], end_ms: int) -> float:
    """Energy of all connectors in Wh. ``kills_ms``, rising: when the process died; ``end_ms``: nothing flows after.

    Raises TallyError.
    """
    total_mj = 0
    flowing: dict[tuple[str, int], tuple[int, int]] = {}
    for point in read_trace(trace):
        place = (point.cp_id, point.connector)
        since_ms, power_w = flowing.get(place, (point.at_ms, 0))
        total_mj += power_w * (_stop(kills_ms, since_ms, point.at_ms) - since_ms)
        flowing[place] = (point.at_ms, point.power_w)
    for since_ms, power_w in flowing.values():
        total_mj += power_w * max(0, _stop(kills_ms, since_ms, end_ms) - since_ms)
    return total_mj / MJ_PER_WH


def _stop(kills_ms: Sequence[int], since_ms: int, until_ms: int) -> int:
    """When what flows since then ended: at the first kill after it, or at ``until_ms``."""
    return min((kill_ms for kill_ms in kills_ms if since_ms <= kill_ms < until_ms), default=until_ms)
