"""A real MQTT broker for tests: Mosquitto with a configuration of its own, on a free port of this machine.

Skipped where Mosquitto is not installed (``make system-deps``); in CI that is a failure.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.ports import free_port
from tests.support.shared import lacking

# Longest wait for a fact, in seconds; a broker starts in tenths of one, on a busy machine in a few.
DEADLINE_S = 30.0
# Pause between two looks, in seconds.
LOOK_S = 0.02
USER, PASSWORD = "evcharge", "the-password-of-the-broker"

# Debian puts it where only root looks for programs.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


async def eventually(fact: Callable[[], bool]) -> None:
    """Look until it is true. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while not fact():
            await asyncio.sleep(LOOK_S)


class Mosquitto:
    """One broker; it remembers retained messages over restarts, and knows one user."""

    def __init__(self, folder: Path, *, certificate: tuple[Path, Path] | None = None) -> None:
        """``certificate``: files of the chain and of the key; with it the port speaks TLS only."""
        program, passwords = (shutil.which(name, path=_PATH) for name in ("mosquitto", "mosquitto_passwd"))
        if program is None or passwords is None:
            lacking("Mosquitto is not installed; make system-deps installs it")
        self._program = program
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "mosquitto.log"
        password_file, acl_file = folder / "passwords", folder / "acl"
        subprocess.run([passwords, "-b", "-c", password_file, USER, PASSWORD], check=True, capture_output=True)
        acl_file.write_text(f"user {USER}\ntopic readwrite meters/#\n")
        for file in (password_file, acl_file):
            file.chmod(0o600)
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous false",
            f"password_file {password_file}",
            f"acl_file {acl_file}",
            "persistence true",
            f"persistence_location {folder}/",
            # As root it would become another user, who cannot read what is here.
            "user root",
        ]
        if certificate is not None:
            lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it takes connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", self._config], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    assert self._process.poll() is None, self._log.read_text()
                    await asyncio.sleep(LOOK_S)
                else:
                    writer.close()
                    return

    def stop(self) -> None:
        """End it; what is retained is on disk."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)
            self._process = None
