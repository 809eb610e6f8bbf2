"""How far each of those who follow the log has come (SPEC §7.12), for /metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from evcharge.net.clock import Clock

# Followers that are told apart: a site has one sidecar, perhaps a second one and an exporter.
MOST = 16
# Who asks for nothing for so long follows no more, seconds: a question is answered within 10 s, then comes the next.
SILENT_S = 60.0


class _Place(NamedTuple):
    seq: int
    at_s: float


class Followers:
    """Where they stand. ``note`` costs a dictionary entry; those who fell silent are forgotten when somebody looks."""

    def __init__(self, clock: Clock, durable: Callable[[], int]) -> None:
        """``durable`` gives the newest sequence number that may be read."""
        self._clock = clock
        self._durable = durable
        self._places: dict[str, _Place] = {}

    def note(self, peer: str, seq: int) -> None:
        """``peer`` (the entity of a gateway) has everything up to record ``seq``."""
        if peer not in self._places and len(self._places) >= MOST:
            self._forget_silent()
            if len(self._places) >= MOST:
                return
        self._places[peer] = _Place(seq, self._clock.monotonic())

    def lag(self) -> Mapping[str, int]:
        """By peer, how many durable records it does not have yet."""
        self._forget_silent()
        durable = self._durable()
        return {peer: max(0, durable - place.seq) for peer, place in self._places.items()}

    def _forget_silent(self) -> None:
        since_s = self._clock.monotonic() - SILENT_S
        self._places = {peer: place for peer, place in self._places.items() if place.at_s >= since_s}
