"""What Central was told of the alerts, and what it has to be told: pure, time comes in.

An alert is told when it changes and again while it lasts. It counts as told only after Central's answer, so whatever is
lost on the way is told again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from evcharge.sidecar.weather.alerts import Kind

Key = tuple[str | None, Kind]
"""The substation (None: the whole site) and the kind."""


class _Line(msgspec.Struct):
    told: bool | None = None
    """What Central answered to; None: nothing, or nobody knows what it remembers."""
    again_s: float = 0.0
    """Monotonic seconds: an alert that lasts is told again then, and what was refused is tried again."""
    refused: bool | None = None
    """What it refused."""
    sentence: str = ""
    """Why it refused."""


class Outbox:
    """By substation and kind; bounded by the places of the settings."""

    def __init__(self, refresh_s: float) -> None:
        self._refresh_s = refresh_s
        self._lines: dict[Key, _Line] = {}

    def due(self, wanted: Mapping[Key, bool | None], now_s: float) -> list[Key]:
        """What is to be told now; what is not known (None) is not told."""
        return [key for key, active in wanted.items() if active is not None and self._is_due(key, active, now_s)]

    def _is_due(self, key: Key, active: bool, now_s: float) -> bool:
        line = self._lines.get(key)
        if line is None:
            return True
        if line.refused == active:
            return now_s >= line.again_s
        return line.told != active or (active and now_s >= line.again_s)

    def answered(self, key: Key, active: bool, now_s: float) -> None:
        """Central took it."""
        self._lines[key] = _Line(told=active, again_s=now_s + self._refresh_s)

    def refused(self, key: Key, active: bool, now_s: float, sentence: str) -> bool:
        """Central did not take it. Returns whether this is news."""
        before = self._lines.get(key, _Line())
        self._lines[key] = _Line(told=before.told, again_s=now_s + self._refresh_s, refused=active, sentence=sentence)
        return (before.refused, before.sentence) != (active, sentence)

    def told(self, key: Key) -> bool | None:
        """What Central knows."""
        return self._lines.get(key, _Line()).told

    def sentence(self, key: Key) -> str:
        """Why Central refused it; empty: it did not."""
        return self._lines.get(key, _Line()).sentence

    def reconnected(self, keys: Iterable[Key]) -> None:
        """Central may have forgotten: these are told again."""
        for key in keys:
            self._lines.pop(key, None)
