"""The demo's child processes: start, wait until ready, watch, stop, and nothing left behind.

Each child is ``python -m evcharge.cli.X``: what the console scripts run. Its stderr goes to
``LOGS/NAME.log``, its stdout is JSON lines, the first one ``{"ready": …}``. Children run in a session of
their own, so that Ctrl-C on the terminal reaches only the demo, which stops them in order; and the kernel
ends them should the demo be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

# Time for a child to say that it is ready, in seconds: ten Pythons on two busy cores take 10.
READY_S = 60.0
# Time from SIGTERM to SIGKILL, in seconds: Central drains its peers and syncs the journal in well under 10.
STOP_S = 20.0
# Lines of a dead child's log that are shown.
LOG_TAIL_LINES = 8
# Longest line of a child's stdout, in bytes: the final meters of 2,000 charge points are 60 KiB.
MAX_LINE = 4 * 1024 * 1024

_PR_SET_PDEATHSIG = 1


class ChildFailed(Exception):
    """A child did not start or died; the sentence names it and ends with the last lines of its log."""


class Child:
    """One process that this demo started."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.ready: dict[str, Any] = {}
        """The fields of its ready line."""
        self.lines: list[dict[str, Any]] = []
        """The JSON objects it printed after that."""
        self.stopping = False
        self._process = process
        self._ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name=f"stdout of {name}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def tail(self) -> str:
        """The end of its log, indented; empty when there is none."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        shown = [line for line in lines if line.strip()][-LOG_TAIL_LINES:]
        return "".join(f"\n    {line[:400]}" for line in shown)

    def obituary(self) -> str:
        """One sentence on how it ended, with the last lines of its log."""
        code = self.returncode
        how = "is running" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        return f"{self.name} {how}; the end of {self.log}:{self.tail() or ' (nothing)'}"

    async def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait for its ready line. Raises ChildFailed when it ends or stays silent."""
        ready = asyncio.create_task(self._ready.wait())
        ended = asyncio.create_task(self.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if self._ready.is_set():
                return
            if ended.done():
                raise ChildFailed(self.obituary())
            raise ChildFailed(f"{self.name} was not ready in {timeout_s:.0f} s; {self.obituary()}")
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    async def wait(self) -> int:
        """Wait until it has ended and all it printed was read; its exit code."""
        await asyncio.shield(self._reader)
        return await self._process.wait()

    async def stop(self, grace_s: float = STOP_S) -> int:
        """SIGTERM, and SIGKILL after ``grace_s``; its exit code."""
        self.stopping = True
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        # Not the process object's own send_signal: it polls first, and so may take the exit code away from the
        # event loop, which would then report 255.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            try:
                value = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue
            if not isinstance(value, dict):
                continue
            if "ready" in value and not self._ready.is_set():
                self.ready = value
                self._ready.set()
            else:
                self.lines.append(value)


class Crew:
    """All children of one demo. Use as ``async with``: whatever happens, none survives the block."""

    def __init__(self, logs: Path, environment: Mapping[str, str] | None = None) -> None:
        self._logs = logs
        # Settings meant for the user's own daemons must not reach the demo's.
        given = os.environ if environment is None else environment
        self._environment = {key: value for key, value in given.items() if not key.startswith("EVCHARGE_")}
        self._children: list[Child] = []
        self._deaths: asyncio.Queue[Child] = asyncio.Queue()
        self._watchers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(self, *_error: object) -> None:
        running = [child for child in self._children if child.returncode is None]
        await asyncio.gather(*(child.stop() for child in running))
        for watcher in self._watchers:
            watcher.cancel()

    async def spawn(self, name: str, module: str, arguments: Sequence[str], *, finishes: bool = False) -> Child:
        """Start ``python -m module arguments``. A child that ``finishes`` may end by itself with code 0.

        Raises ChildFailed when the process cannot be started at all.
        """
        log = self._logs / f"{name}.log"
        try:
            with log.open("ab") as errors:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    module,
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    env=self._environment,
                    limit=MAX_LINE,
                    start_new_session=True,
                    preexec_fn=_end_with_parent(),
                )
        except OSError as error:
            raise ChildFailed(f"cannot start {name}: {error.strerror}.") from error
        child = Child(name, process, log)
        self._children.append(child)
        watcher = asyncio.create_task(self._watch(child, finishes=finishes), name=f"watch {name}")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return child

    async def run(self, name: str, module: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
        """Run one that does its work and ends; the JSON objects it printed. Raises ChildFailed."""
        child = await self.spawn(name, module, arguments, finishes=True)
        if await child.wait() != 0:
            raise ChildFailed(child.obituary())
        return child.lines

    async def first_death(self) -> Child:
        """Wait until a child ends that should not have: not asked to stop, or with an exit code but 0."""
        return await self._deaths.get()

    async def _watch(self, child: Child, *, finishes: bool) -> None:
        code = await child.wait()
        if not child.stopping and not (finishes and code == 0):
            self._deaths.put_nowait(child)


def _end_with_parent() -> Callable[[], None] | None:
    """What the new child calls before it becomes Python: 'SIGTERM me when my parent dies' (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
