"""Real processes of the system for tests: start one, read what it prints, kill it, and wait for facts.

Nothing here sleeps for a guessed time: ``until`` looks again and again until something is true or a deadline passes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from evcharge.net.backoff import CAP_S

# Longest wait for any single fact, in seconds: that of a peer that had just drawn the longest interval before it
# tries to connect again (SPEC §5.3), and then has its work to do.
DEADLINE_S = CAP_S + 30.0
# Pause between two looks, in seconds: a fact is seen soon, and looking costs next to nothing.
LOOK_S = 0.05
# Time from SIGTERM to SIGKILL, in seconds.
STOP_S = 15.0
# Lines of a log that a failure shows.
TAIL = 15

_ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)

T = TypeVar("T")


class Timeline:
    """What happened, for people: one line each, with the seconds since the start (``pytest -s`` shows them)."""

    def __init__(self, title: str) -> None:
        self._start = time.monotonic()
        print(f"\n=== {title}")

    def say(self, text: str) -> None:
        print(f"  {time.monotonic() - self._start:6.2f} s  {text}", flush=True)


class Process:
    """``python -m evcharge.cli.MODULE ARGUMENTS``; stdout and stderr go to files in ``directory``."""

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[object],
        directory: Path,
        *,
        before: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """``before`` stands before the command line, as in ``ip netns exec X``."""
        self.name = name
        number = sum(1 for path in directory.glob(f"{name}.*.out"))
        self.out = directory / f"{name}.{number}.out"
        self.log = directory / f"{name}.{number}.log"
        given = {key: value for key, value in os.environ.items() if not key.startswith("EVCHARGE_")}
        path = os.pathsep.join(filter(None, (str(_ROOT), given.get("PYTHONPATH"))))
        with self.out.open("wb") as out, self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                [*before, sys.executable, "-m", f"evcharge.cli.{module}", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env={**given, "PYTHONPATH": path, **(environment or {})},
                cwd=directory,
                start_new_session=True,
                preexec_fn=_die_with_the_test,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects that it has printed so far, one a line."""
        whole, _, _ = self.out.read_bytes().rpartition(b"\n")
        values = [msgspec.json.decode(line) for line in whole.splitlines() if line.startswith(b"{")]
        return [value for value in values if isinstance(value, dict)]

    def said(self, what: str) -> list[dict[str, Any]]:
        """Its JSON lines with this ``what``."""
        return [line for line in self.lines if line.get("what") == what]

    @property
    def errors(self) -> str:
        """Everything on stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log with this event."""
        whole = [line for line in self.errors.splitlines() if line.startswith("{") and line.endswith("}")]
        return [entry for entry in map(msgspec.json.decode, whole) if entry.get("event") == event]

    def ready(self) -> dict[str, Any]:
        """Its ready line; fails when it ended instead."""
        until(lambda: any("ready" in line for line in self.lines) or self.returncode is not None, self.tail)
        for line in self.lines:
            if "ready" in line:
                return line
        raise AssertionError(f"{self.name} was never ready: {self.tail()}")

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Its exit code, when it ends by itself."""
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} goes on after {deadline_s:g} s: {self.tail()}") from None

    def kill(self) -> None:
        """SIGKILL: it gets no chance to say or write anything."""
        self._popen.kill()
        self._popen.wait()

    def stop(self) -> int:
        """SIGTERM, as a service manager ends it; its exit code."""
        self._popen.send_signal(signal.SIGTERM)
        return self.wait(STOP_S)

    def tail(self) -> str:
        """The end of what it printed, for a failure."""
        lines = [*self.out.read_text(errors="replace").splitlines()[-3:], *self.errors.splitlines()[-TAIL:]]
        shown = "".join(f"\n    {line[:300]}" for line in lines)
        return f"{self.name} (exit code {self.returncode}):{shown or ' nothing'}"


def until(predicate: Callable[[], T], otherwise: str | Callable[[], str] = "", deadline_s: float = DEADLINE_S) -> T:
    """Wait until ``predicate`` gives something true, and return it. AssertionError with ``otherwise`` after that."""
    end = time.monotonic() + deadline_s
    while True:
        found = predicate()
        if found:
            return found
        if time.monotonic() > end:
            text = otherwise() if callable(otherwise) else otherwise
            raise AssertionError(f"not true within {deadline_s:g} s: {text or predicate}")
        time.sleep(LOOK_S)


def _die_with_the_test() -> None:
    """Called in the child: the kernel ends it should the test run be killed (Linux)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
