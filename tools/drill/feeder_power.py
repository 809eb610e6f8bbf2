"""What flows on a feeder, from the charge points' own traces of true power: as it happens, and exactly afterwards.

A trace (``evcharge-cp run --trace``) has a line at each change of a connector's power, at its own millisecond. So sums
are known at every instant, not at samples alone; ``sampled`` is for plots and files.
"""

from __future__ import annotations

import csv
import io
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from evcharge.demo.tally import TracePoint

# Pause between two samples of ``sampled``, ms.
SAMPLE_MS = 200


class Live:
    """Follows the traces while they grow."""

    def __init__(self, traces: Mapping[str, Path]) -> None:
        """``traces``: row → file, which may come later."""
        self._files = dict(traces)
        self._read = dict.fromkeys(traces, 0)
        self._decoder = msgspec.json.Decoder(TracePoint)
        self.now: dict[str, dict[str, int]] = {row: {} for row in traces}
        """Row → charge point → W that flow."""

    def look(self) -> None:
        """Read what was written since the last look. Raises OSError, MsgspecError."""
        for row, path in self._files.items():
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._read[row])
                whole = file.read().rpartition(b"\n")[0]
            self._read[row] += len(whole) + 1 if whole else 0
            for line in whole.splitlines():
                point = self._decoder.decode(line)
                self.now[row][point.cp_id] = point.power_w

    def watts(self, row: str) -> list[int]:
        """What flows at each charge point of a row."""
        return list(self.now[row].values())

    @property
    def total_w(self) -> int:
        """What flows on the feeder."""
        return sum(map(sum, map(self.watts, self.now)))


class Curve:
    """A power that is constant between its changes; 0 before the first."""

    def __init__(self, changes: Iterable[tuple[int, int]]) -> None:
        """``changes``: (ms, W) in order of time; of those at one instant the last one counts."""
        self.times: list[int] = []
        self.watts: list[int] = []
        for at_ms, watts in changes:
            if self.times and self.times[-1] == at_ms:
                self.watts[-1] = watts
            else:
                self.times.append(at_ms)
                self.watts.append(watts)

    def at(self, at_ms: int) -> int:
        """W at an instant."""
        index = bisect_right(self.times, at_ms) - 1
        return self.watts[index] if index >= 0 else 0

    def within(self, since_ms: int, until_ms: int) -> list[int]:
        """Every power that there was from ``since_ms`` to before ``until_ms``, W."""
        first, last = bisect_right(self.times, since_ms), bisect_left(self.times, until_ms)
        return [self.at(since_ms), *self.watts[first:last]]

    def mean_w(self, since_ms: int, until_ms: int) -> float:
        """Mean power from ``since_ms`` to ``until_ms``, which is later."""
        return self.energy_wms(since_ms, until_ms) / (until_ms - since_ms)

    def energy_wms(self, since_ms: int, until_ms: int) -> int:
        """Energy between two instants in watt-milliseconds."""
        first, last = bisect_right(self.times, since_ms), bisect_left(self.times, until_ms)
        cuts = [since_ms, *self.times[first:last], until_ms]
        powers = [self.at(since_ms), *self.watts[first:last]]
        return sum(watts * (cuts[index + 1] - cuts[index]) for index, watts in enumerate(powers))

    def first_above(self, watts: int, since_ms: int) -> int | None:
        """The first instant from ``since_ms`` on at which more flows than ``watts``."""
        if self.at(since_ms) > watts:
            return since_ms
        first = bisect_right(self.times, since_ms)
        return next((self.times[i] for i in range(first, len(self.times)) if self.watts[i] > watts), None)

    def falls_to(self, watts: int, since_ms: int, until_ms: int) -> int | None:
        """The instant in between from which on no more than ``watts`` flows until ``until_ms``; None: there is none."""
        if self.at(until_ms) > watts:
            return None
        last = bisect_right(self.times, until_ms)
        above = [i for i in range(last) if self.watts[i] > watts and i + 1 < last]
        return max(since_ms, self.times[above[-1] + 1]) if above else since_ms


def curves(points: Iterable[TracePoint]) -> dict[str, Curve]:
    """The curve of each charge point."""
    changes: dict[str, list[tuple[int, int]]] = {}
    for point in points:
        changes.setdefault(point.cp_id, []).append((point.at_ms, point.power_w))
    return {cp_id: Curve(each) for cp_id, each in changes.items()}


def total(parts: Collection[Curve]) -> Curve:
    """Their sum; changes at the same millisecond count as one."""
    return Curve(_summed(parts))


def _summed(parts: Collection[Curve]) -> Iterator[tuple[int, int]]:
    changes = sorted(
        (at_ms, number, watts)
        for number, part in enumerate(parts)
        for at_ms, watts in zip(part.times, part.watts, strict=True)
    )
    now = [0] * len(parts)
    sum_w = 0
    for at_ms, same_instant in groupby(changes, key=lambda change: change[0]):
        for _, number, watts in same_instant:
            sum_w += watts - now[number]
            now[number] = watts
        yield at_ms, sum_w


def sampled(rows: Mapping[str, Curve], since_ms: int, until_ms: int) -> str:
    """CSV: seconds since ``since_ms``, the W of each row and their sum, every ``SAMPLE_MS``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["second", *(f"{row}_w" for row in rows), "total_w"])
    for at_ms in range(since_ms, until_ms + 1, SAMPLE_MS):
        watts = [curve.at(at_ms) for curve in rows.values()]
        writer.writerow([f"{(at_ms - since_ms) / 1000:.1f}", *watts, sum(watts)])
    return text.getvalue()


def kilowatts(curve: Curve, since_ms: int, until_ms: int) -> Sequence[tuple[float, float]]:
    """(second since ``since_ms``, kW) at every change, and at both ends."""
    times = [since_ms, *(at_ms for at_ms in curve.times if since_ms < at_ms < until_ms), until_ms]
    return [((at_ms - since_ms) / 1000, curve.at(at_ms) / 1000) for at_ms in times]
