"""The newest reading of each sensor, what it is worth now, and what Central has not heard of it yet; pure.

One place for each sensor: however fast a sensor talks and however long Central is away, nothing queues up. A reading
that is too old is no reading; it is never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from evcharge.sidecar.sensors.pick import BadReading
from evcharge.sidecar.sensors.settings import RANGES, AnySensor, HttpSensor, ReadingName, SimulatedSensor

State = Literal["fresh", "stale", "missing"]
SourceName = Literal["simulator", "http", "mqtt"]

# Least time between two messages to Central about one sensor, in seconds: its balancer looks once a second.
APART_S: Final = 1.0
# A sensor's clock may be ahead by this much, in ms, and then it means now; by more it is wrong, and no age is known.
AHEAD_MS: Final = 60_000


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One sensor, as the routes show it."""

    name: ReadingName
    substation_id: str | None
    source: SourceName
    simulated: bool
    state: State
    value: float | None
    """None: missing or stale. What was measured long ago says nothing about now."""
    measured_ms: int | None
    """UTC milliseconds of the newest reading, however old."""
    age_s: float | None
    why: str
    """What is wrong; empty: nothing."""


class SensorReadings(msgspec.Struct, frozen=True, kw_only=True):
    """All sensors of the settings."""

    sensors: list[Reading]


class Due(NamedTuple):
    """What Central is to be told."""

    key: str
    name: ReadingName
    substation_id: str | None
    value: float
    measured_ms: int


class _Newest(NamedTuple):
    value: float
    measured_ms: int


class _Line(msgspec.Struct):
    sensor: AnySensor
    newest: _Newest | None = None
    why: str = "Nothing was heard yet."
    told: _Newest | None = None
    quiet_until_s: float = float("-inf")


class Book:
    """By the sensors' keys. ``now_ms`` is steady UTC, ``now_s`` monotonic."""

    def __init__(self, sensors: Iterable[AnySensor]) -> None:
        self._lines = {sensor.key: _Line(sensor) for sensor in sensors}
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """By kind of source: ok, bad (it sent what is no reading), failed (nothing can be heard)."""

    def heard(self, key: str, said: float, measured_ms: int | None, now_ms: int) -> None:
        """A sensor said a number; None: it was measured now.

        What cannot be true takes away what was heard before it: a sensor that talks nonsense is as good as none.
        """
        line = self._lines[key]
        try:
            value = _value(line.sensor, said)
            at_ms = now_ms if measured_ms is None else _instant(measured_ms, now_ms)
        except BadReading as error:
            self.bad(key, str(error))
            return
        self._count(line, "ok")
        before = line.newest
        # What was held up on its way does not take the place of something newer.
        if before is None or at_ms >= before.measured_ms:
            line.newest = _Newest(value, at_ms)
            line.why = ""

    def bad(self, key: str, why: str) -> None:
        """A sensor sent what is no reading."""
        line = self._lines[key]
        self._count(line, "bad")
        line.newest, line.why = None, why

    def failed(self, key: str, why: str) -> None:
        """Nothing can be heard; what was heard before counts for as long as it would."""
        line = self._lines[key]
        self._count(line, "failed")
        line.why = why

    def readings(self, now_ms: int) -> dict[str, Reading]:
        """All of them."""
        return {key: self._reading(line, now_ms) for key, line in self._lines.items()}

    def due(self, now_ms: int, now_s: float) -> list[Due]:
        """Fresh readings that Central has not heard, of sensors of which it did not hear within the last second."""
        return [
            Due(key, line.sensor.name, line.sensor.substation_id, *line.newest)
            for key, line in self._lines.items()
            if line.newest is not None
            and line.newest != line.told
            and now_s >= line.quiet_until_s
            and self._is_fresh(line, now_ms)
        ]

    def told(self, due: Due, now_s: float) -> None:
        """Central has heard it."""
        line = self._lines[due.key]
        line.told = _Newest(due.value, due.measured_ms)
        line.quiet_until_s = now_s + APART_S

    def forgotten(self) -> None:
        """Central may have forgotten everything: what is fresh is told again."""
        for line in self._lines.values():
            line.told = None

    def _count(self, line: _Line, outcome: str) -> None:
        self.outcomes[_source(line.sensor), outcome] += 1

    def _is_fresh(self, line: _Line, now_ms: int) -> bool:
        return line.newest is not None and now_ms - line.newest.measured_ms <= line.sensor.fresh_s * 1000

    def _reading(self, line: _Line, now_ms: int) -> Reading:
        sensor, newest = line.sensor, line.newest
        fresh = self._is_fresh(line, now_ms)
        age_s = None if newest is None else max(0, now_ms - newest.measured_ms) / 1000
        why = line.why
        if newest is not None and not fresh and not why:
            why = f"The newest reading is older than {sensor.fresh_s:g} s."
        return Reading(
            name=sensor.name,
            substation_id=sensor.substation_id,
            source=_source(sensor),
            simulated=isinstance(sensor, SimulatedSensor),
            state="fresh" if fresh else "missing" if newest is None else "stale",
            value=newest.value if newest is not None and fresh else None,
            measured_ms=None if newest is None else newest.measured_ms,
            age_s=age_s,
            why=why,
        )


def _source(sensor: AnySensor) -> SourceName:
    if isinstance(sensor, SimulatedSensor):
        return "simulator"
    return "http" if isinstance(sensor, HttpSensor) else "mqtt"


def _value(sensor: AnySensor, said: float) -> float:
    value = said * sensor.scale + sensor.offset
    if abs(value) <= sensor.zero_band:
        return 0.0
    least, most = RANGES[sensor.name]
    # What is not a number lies within no bounds.
    if not least <= value <= most:
        raise BadReading(f"The reading is not within {least:g} and {most:g}.")
    return value


def _instant(measured_ms: int, now_ms: int) -> int:
    if measured_ms > now_ms + AHEAD_MS:
        raise BadReading(f"The reading's time is {(measured_ms - now_ms) // 1000} s ahead.")
    return min(measured_ms, now_ms)
