"""One container: started with nothing that it does not need, asked, stopped, removed."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from tests.containers.engine import Engine
from tests.support.processes import until

# What the image has to be content with.
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
# Every shell of Debian's base is a file that does not run.
NO_SHELL = tuple(word for shell in ("dash", "bash") for word in ("--volume", f"/dev/null:/usr/bin/{shell}:ro"))
# Docker's own patience between SIGTERM and SIGKILL, seconds.
GRACE_S = 10.0
# Longest time of a command that ends by itself: a day of the demo, on a busy machine, seconds.
ONCE_S = 600.0

_PREFIX = f"evcharge-test-{os.getpid()}"
_NUMBERS = itertools.count(1)


class Container:
    """A container that was started."""

    def __init__(self, engine: Engine, name: str, began_s: float) -> None:
        self.engine = engine
        self.name = name
        self._began_s = began_s

    @property
    def state(self) -> dict[str, Any]:
        """As the engine has it: Status, ExitCode, Health …"""
        found: dict[str, Any] = self.engine.inspect(self.name)["State"]
        return found

    @property
    def health(self) -> str:
        """``starting``, ``healthy`` or ``unhealthy``."""
        status: str = self.state["Health"]["Status"]
        return status

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects of its standard output, one a line."""
        done = self.engine.attempt("logs", self.name)
        found = [line for line in done.stdout.splitlines() if line.startswith("{") and line.endswith("}")]
        return [msgspec.json.decode(line) for line in found]

    def tail(self) -> str:
        """The end of what it said, for a failure."""
        done = self.engine.attempt("logs", "--tail", "15", self.name)
        return f"{self.name}: {self.state}\n{done.stdout}{done.stderr}"

    def ready(self) -> tuple[dict[str, Any], float]:
        """Its line ``ready``, and seconds from the order to start it."""
        until(lambda: any("ready" in line for line in self.lines) or not self.state["Running"], self.tail)
        assert self.state["Running"], self.tail()
        return next(line for line in self.lines if "ready" in line), time.monotonic() - self._began_s

    def healthy(self) -> None:
        """Wait until the engine calls it healthy."""
        until(lambda: self.health == "healthy" or not self.state["Running"], self.tail)
        assert self.health == "healthy", self.tail()

    def execute(self, *command: object) -> str:
        """Standard output of a command in it. Raises EngineFailed."""
        return self.engine.docker("exec", self.name, *command)

    def stop(self) -> tuple[int, float]:
        """``docker stop``: its exit code, and how long it took in seconds."""
        began_s = time.monotonic()
        self.engine.docker("stop", "--time", f"{GRACE_S:g}", self.name)
        return int(self.state["ExitCode"]), time.monotonic() - began_s


def named(what: str) -> str:
    """A name that no other run on the same engine has."""
    return f"{_PREFIX}-{what}"


@contextmanager
def running(engine: Engine, what: str, options: Sequence[object], command: Sequence[object]) -> Iterator[Container]:
    """``docker run --detach``; gone afterwards. ``options`` end with the image."""
    name = named(what)
    began_s = time.monotonic()
    engine.docker("run", "--detach", "--name", name, *options, *command)
    try:
        yield Container(engine, name, began_s)
    finally:
        engine.attempt("rm", "--force", "--volumes", name)


def once(engine: Engine, options: Sequence[object], command: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """``docker run`` to its end; gone afterwards, also when it takes too long. ``options`` end with the image."""
    name = named(f"once-{next(_NUMBERS)}")
    try:
        return engine.attempt("run", "--name", name, *options, *command, timeout_s=ONCE_S)
    finally:
        engine.attempt("rm", "--force", "--volumes", name)


@contextmanager
def volume(engine: Engine, what: str) -> Iterator[str]:
    """A new named volume."""
    name = engine.docker("volume", "create", named(what))
    try:
        yield name
    finally:
        engine.attempt("volume", "rm", "--force", name)
