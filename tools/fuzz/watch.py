"""Watches a target while it is fuzzed: how long each input takes, how much memory there is, how deep inputs come."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tools.fuzz.targets import Broken, reached

# Longest time for one input, in seconds of this thread's CPU: another process on the machine is no fault of ours.
SLOWEST_S = 0.05
# An input above this, in seconds, is tried again before it counts: Python's collector may have come in between …
SUSPECT_S = 0.01
# … so often.
AGAIN = 3
# Inputs between two looks at the memory and two writes of the figures.
LOOK_EVERY = 1_000
# Inputs after which the memory has settled: caches are full, all paths were compiled.
SETTLED_AFTER = 20_000
# Growth of the resident memory after that which counts as flat, in MiB: libFuzzer's own corpus grows too.
FLAT_MIB = 64


class Figures(msgspec.Struct):
    """Of one target, over all runs."""

    inputs: int = 0
    slowest_ms: float = 0.0
    slowest_input: str = ""
    """As hex."""
    settled_mib: float = 0.0
    """Resident memory when it had settled, of the last run that came so far."""
    grown_mib: float = 0.0
    """The most that it grew after that, in any run."""
    broken: int = 0
    reached: dict[str, int] = {}
    """How many inputs came how far."""

    def add(self, run: Figures) -> None:
        """Take a further run into account."""
        self.inputs += run.inputs
        if run.slowest_ms > self.slowest_ms:
            self.slowest_ms, self.slowest_input = run.slowest_ms, run.slowest_input
        self.settled_mib = run.settled_mib or self.settled_mib
        self.grown_mib = max(self.grown_mib, run.grown_mib)
        self.broken += run.broken
        for what, count in run.reached.items():
            self.reached[what] = self.reached.get(what, 0) + count


class Watch:
    """Calls ``target`` and keeps ``figures``, which are written to ``path`` every now and then."""

    def __init__(self, target: Callable[[bytes], None], path: Path | None = None) -> None:
        self.figures = Figures()
        self._target = target
        self._path = path

    def __call__(self, data: bytes) -> None:
        """One input. Raises Broken, or whatever the target lets through."""
        figures = self.figures
        took_s = self._timed(data)
        if took_s > SUSPECT_S and took_s * 1000 > figures.slowest_ms:
            took_s = min(took_s, *(self._timed(data) for _ in range(AGAIN)))
        figures.inputs += 1
        for what in reached:
            figures.reached[what] = figures.reached.get(what, 0) + 1
        if took_s * 1000 > figures.slowest_ms:
            figures.slowest_ms, figures.slowest_input = took_s * 1000, data.hex()
        if took_s > SLOWEST_S:
            figures.broken += 1
            self.look()
            raise Broken(f"an input takes {took_s * 1000:.0f} ms")
        if figures.inputs % LOOK_EVERY == 0:
            self.look()

    def _timed(self, data: bytes) -> float:
        reached.clear()
        began_s = time.thread_time()
        try:
            self._target(data)
        except BaseException:
            self.figures.broken += 1
            self.look()
            raise
        return time.thread_time() - began_s

    def look(self) -> None:
        """Measure the memory and write the figures."""
        figures = self.figures
        now_mib = resident_mib()
        if figures.inputs >= SETTLED_AFTER and not figures.settled_mib:
            figures.settled_mib = now_mib
        if figures.settled_mib:
            figures.grown_mib = max(figures.grown_mib, now_mib - figures.settled_mib)
        if self._path is not None:
            draft = self._path.with_suffix(".tmp")
            draft.write_bytes(msgspec.json.encode(figures))
            draft.replace(self._path)


def resident_mib() -> float:
    """Resident memory of this process, MiB."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:
        # Without /proc: the most that there ever was, in KiB on Linux and bytes on macOS.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (2**20 if sys.platform == "darwin" else 2**10)
