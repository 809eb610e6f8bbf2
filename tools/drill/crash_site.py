"""A registry that stays and a Central that is killed and started again, on folders that outlive the drill.

Unlike ``tools.site`` it can be opened a second time, which is how a drill goes on where it was broken off, and Central
can be killed at any moment of its start or its end. Everything lies below one folder that only its owner can read.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from evcharge.net.clock import SystemClock
from evcharge.sidecar.bootstrap import initialise
from protocol.credentials import MAX_JSON, Credential, Role
from tools.daemon import Daemon, DaemonFailed
from tools.site import HOST, enrol

# Central as shipped, but for one line at its planned end: the hash of its state.
HASHED_CENTRAL = "tools.drill.hashed_central"
# Seconds that a planned end gives its peers to hear of it; short, for it is waited for.
DRAIN_S = 0.3
# Kept lines of Central's stderr are for the first look after a failure.
LOG_LEVEL = "warning"
# Longest wait for the line with the hash, seconds.
HASH_S = 30.0

FOLDERS = {Role.CP: "engines", Role.MONITOR: "monitors", Role.DRIVER: "drivers"}


class CrashSite:
    """Made by ``open``; end it with ``close``."""

    def __init__(self, folder: Path, central_args: Sequence[str], before: Sequence[str]) -> None:
        self.folder = folder
        self.data_dir = folder / "central"
        self.log_dir = self.data_dir / "log"
        self.port = 0
        self.sidecar: Daemon
        self.central: Daemon
        self._central_args = list(central_args)
        self._before = list(before)

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        charge_points: int,
        drivers: int,
        monitors: bool = True,
        central_args: Sequence[str] = (),
        central_before: Sequence[str] = ("-m",),
        log_level: str = LOG_LEVEL,
    ) -> CrashSite:
        """Make the registry (the first time) and start it; Central is started by ``start_central``.

        ``central_before``: Python's arguments before the name of Central's module.
        Raises DaemonFailed, BootstrapError, OSError.
        """
        registry = folder / "registry"
        if not (folder / "credentials").exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            await initialise(registry, "http://127.0.0.1:8080", clock=SystemClock(), entropy=os.urandom)
            names = [f"cp-{number:05}" for number in range(charge_points)]
            wanted = [(Role.CP, name) for name in names]
            wanted += [(Role.MONITOR, name) for name in names if monitors]
            wanted += [(Role.DRIVER, f"driver-{number:05}") for number in range(drivers)]
            keep_credentials(folder, enrol(registry, wanted))
        site = cls(folder, ["--log-level", log_level, *central_args], central_before)
        arguments = ["-m", "evcharge.cli.sidecar", "run", "--data-dir", str(registry), "--host", HOST, "--port", "0"]
        site.sidecar = await Daemon.start("sidecar", arguments, folder / "sidecar.log")
        return site

    def use(self, data_dir: Path) -> None:
        """Central's next start is on this folder, that is, with a log of its own."""
        self.data_dir = data_dir
        self.log_dir = data_dir / "log"

    async def start_central(self) -> float:
        """Start Central, on the port that it had before; the seconds until it said ``ready``. Raises DaemonFailed."""
        began = time.monotonic()
        self.central = await Daemon.start("central", self._arguments(), self.folder / "central.log")
        self.port = int(self.central.ready["port"])
        return time.monotonic() - began

    async def kill_starting_central(self, after_s: float) -> bool:
        """Start Central and kill it after so many seconds; False when it was ready sooner, and then it runs."""
        starting = asyncio.create_task(self.start_central())
        done, _ = await asyncio.wait({starting}, timeout=after_s)
        if done:
            await starting
            return False
        # Daemon.start kills what it has not finished to start.
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        return True

    async def kill_central(self) -> None:
        """SIGKILL, and wait until it is gone. Raises DaemonFailed when it had ended by itself before."""
        if not self.central.alive:
            raise DaemonFailed(f"Central ended by itself.{self.central.tail()}")
        await self.central.kill()

    async def kill_draining_central(self, after_s: float) -> None:
        """SIGTERM, and SIGKILL after so many seconds, whether it had come to its end or not."""
        os.kill(self.central.pid, signal.SIGTERM)
        await asyncio.sleep(after_s)
        await self.central.kill()

    async def stop_central(self) -> str:
        """A planned end; the hash of the state that Central had then. Raises DaemonFailed."""
        os.kill(self.central.pid, signal.SIGTERM)
        answer = await self.central.answer("state", HASH_S)
        # A second SIGTERM would meet a process whose loop is gone already, and end it by the signal.
        code = await self.central.ended()
        if code != 0:
            raise DaemonFailed(f"Central ended with exit code {code}.{self.central.tail()}")
        return str(answer["state"])

    async def close(self) -> None:
        """End what runs."""
        for name in ("central", "sidecar"):
            daemon: Daemon | None = getattr(self, name, None)
            if daemon is not None and daemon.alive:
                await daemon.stop()

    def credentials(self, role: Role) -> list[Credential]:
        """All of a role, by entity."""
        files = sorted((self.folder / "credentials" / FOLDERS[role]).glob("*.json"))
        return [Credential.from_json(file.read_bytes()[: MAX_JSON + 1]) for file in files]

    def credential_folder(self, role: Role) -> Path:
        """Where the credentials of a role lie, one file each."""
        return self.folder / "credentials" / FOLDERS[role]

    def _arguments(self) -> list[str]:
        return [
            *(*self._before, HASHED_CENTRAL),
            *("--credentials", str(self.folder / "registry" / "central.json"), "--data-dir", str(self.data_dir)),
            *("--host", HOST, "--port", str(self.port), "--registry", str(self.sidecar.ready["url"])),
            *("--drain-s", str(DRAIN_S), *self._central_args),
        ]


def keep_credentials(folder: Path, credentials: Sequence[Credential]) -> None:
    """One file each (0600), in a folder for each role; the whole appears at once."""
    draft = folder / "credentials.tmp"
    for name in FOLDERS.values():
        (draft / name).mkdir(mode=0o700, parents=True)
    for credential in credentials:
        path = draft / FOLDERS[credential.role] / f"{credential.entity}.json"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(credential.to_json())
    draft.rename(folder / "credentials")
