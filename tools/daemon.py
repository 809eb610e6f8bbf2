"""A child process of a tool: started, watched, measured and ended, with nothing left behind.

CPU time is the process's own (user + system, all threads), read from its CPU clock: nanoseconds, where /proc/PID/stat
has hundredths of a second. Linux only, like the tools that use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

# Longest wait for a ready line, seconds: Central with 10,000 charge points in its log on a busy machine takes 10.
READY_S = 120.0
# Time from SIGTERM to SIGKILL, seconds: Central drains its peers in well under 10.
STOP_S = 30.0
# Longest line of a child's stdout, bytes: a worker's answer with 50,000 latencies.
MAX_LINE = 16 * 1024 * 1024
# Lines of a dead child's stderr that are shown.
TAIL_LINES = 12

_ROOT = Path(__file__).parents[1]
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_PAGE = os.sysconf("SC_PAGESIZE")
# The kernel's number of a process's CPU clock is made of its id and this kind (clock_getcpuclockid(3)).
_CPUCLOCK_SCHED = 2


class DaemonFailed(Exception):
    """A child did not start, or ended when it should not have; the text ends with the last lines of its stderr."""


class Daemon:
    """One child process whose stdout is JSON lines, the first of them ``{"ready": …}``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        """Its stderr."""
        self.ready: dict[str, Any] = {}
        """The fields of its ready line."""
        self._process = process
        self._cpu_s = 0.0

    @classmethod
    async def start(
        cls, name: str, arguments: Sequence[str], log: Path, *, cpu: int | None = None, before: Sequence[str] = ()
    ) -> Daemon:
        """Run ``python ARGUMENTS`` and wait for its ready line.

        ``cpu`` pins it to one CPU; ``before`` stands before the command line, for a command that becomes it (same
        pid), like ``ip netns exec NAME``. Raises DaemonFailed.
        """
        given = {key: value for key, value in os.environ.items() if not key.startswith("EVCHARGE_")}
        path = os.pathsep.join(filter(None, (str(_ROOT), given.get("PYTHONPATH"))))
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *before,
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**given, "PYTHONPATH": path},
                limit=MAX_LINE,
                start_new_session=True,
                preexec_fn=_preparation(cpu),
            )
        daemon = cls(name, process, log)
        try:
            daemon.ready = await daemon.answer("ready", READY_S)
        except BaseException:
            await daemon.kill()
            raise
        return daemon

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def cpu_s(self) -> float:
        """CPU seconds that it has used, user and system, all threads; of an ended one, what it had at the last look."""
        with contextlib.suppress(OSError):
            self._cpu_s = time.clock_gettime((~self.pid << 3) | _CPUCLOCK_SCHED)
        return self._cpu_s

    def rss_bytes(self) -> int:
        """Its resident memory now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    async def answer(self, key: str, timeout_s: float) -> dict[str, Any]:
        """The next JSON object on its stdout that has ``key``. Raises DaemonFailed when it ends or is silent."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                async for line in self._process.stdout:
                    value = msgspec.json.decode(line) if line.startswith(b"{") else None
                    if isinstance(value, dict) and key in value:
                        return value
        except TimeoutError:
            raise DaemonFailed(f"{self.name} did not say {key!r} in {timeout_s:g} s.{self.tail()}") from None
        code = await self._process.wait()
        raise DaemonFailed(f"{self.name} ended with exit code {code}.{self.tail()}")

    async def tell(self, request: object) -> None:
        """One JSON line to its stdin. Raises DaemonFailed when it reads no more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            await self._process.stdin.drain()
        except OSError:
            raise DaemonFailed(f"{self.name} reads nothing more.{self.tail()}") from None

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        self._signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self, grace_s: float = STOP_S) -> int:
        """SIGTERM, SIGKILL after ``grace_s``; the exit code."""
        self._signal(signal.SIGTERM)
        return await self.ended(grace_s)

    async def ended(self, grace_s: float = STOP_S) -> int:
        """Wait for the end of a process that is on its way there, SIGKILL after ``grace_s``; the exit code."""
        try:
            return await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            await self.kill()
            return await self._process.wait()

    def tail(self) -> str:
        """The end of its stderr, indented."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "".join(f"\n    {line[:400]}" for line in lines[-TAIL_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            self.cpu_s()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def raise_file_limit() -> int:
    """Let this process open as many files as it may; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _preparation(cpu: int | None) -> Callable[[], None]:
    """What the new child does before it becomes Python: ends with the tool, may open many files, stays on its CPU."""

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        raise_file_limit()
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return prepare
