"""The monitor of a charge point: checks its engine once a second and tells Central. Pure; no I/O, no clock.

A monitor is a second process with a credential of its own, so that a dead engine does not go unreported.
"""

from __future__ import annotations

from evcharge.cp.health import Check
from protocol.messages import Fault, Health, Heartbeat, Message, Recovery

# Seconds between checks. features.md, Timings
CHECK_S = 1.0
# Checks without an answer that make a fault. features.md, Timings
MISSES = 3
# Code of an engine that does not answer.
SILENT = "engine_silent"


class MonitorCore:
    """What one monitor knows: the verdict on its engine, and whether Central has been told.

    The verdict is None until it is known, "" for well, else the fault's code. Central is told each change once, and
    the verdict again on each new channel: a fault that was reported by an earlier monitor process, or into a channel
    that broke, must not stay for ever.
    """

    def __init__(self, cp_id: str) -> None:
        self.cp_id = cp_id
        self.verdict: str | None = None
        self.simulated: str | None = None
        """Code of a simulated fault."""
        self._misses = 0
        self._online = False
        self._told: str | None = None

    def on_channel_up(self) -> list[Message]:
        """A channel to Central is ready."""
        self._online = True
        self._told = None
        return self._tell()

    def on_channel_down(self) -> None:
        """The channel is gone; the verdict is kept for the next one."""
        self._online = False

    def checked(self, check: Check) -> list[Message]:
        """The outcome of one check, at most one a second."""
        code = self.simulated or check.code
        if check.ok and code is None:
            self._misses = 0
            self.verdict = ""
        elif code is not None:
            self._misses = 0
            self.verdict = code
        else:
            self._misses += 1
            if self._misses >= MISSES:
                self.verdict = SILENT
        if not self._online:
            return []
        well = check.ok and code is None
        return [Heartbeat(), Health(engine_ok=well, latency_ms=max(0, check.latency_ms)), *self._tell()]

    def simulate(self, code: str | None) -> None:
        """Pretend a fault (None: no more) from the next check on."""
        self.simulated = code

    def _tell(self) -> list[Message]:
        """Fault or recovery, if Central has not heard it on this channel.

        From one code to another the engine stays faulty, which Central knows.
        """
        if self.verdict is None or not self._online:
            return []
        known = self._told
        self._told = self.verdict
        if self.verdict == "":
            return [] if known == "" else [Recovery()]
        return [] if known else [Fault(code=self.verdict)]
