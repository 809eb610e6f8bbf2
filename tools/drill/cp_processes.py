"""Real charge points for the drills: one ``evcharge-cp run`` and the ``evcharge-monitor run`` that watches it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from evcharge.cp.vehicle import MAX_CAPACITY_WH
from protocol.credentials import Role
from tools.daemon import Daemon
from tools.drill.crash_site import CrashSite
from tools.site import HOST

# Rating of a connector, kW.
MIN_KW, MAX_KW = 10, 200
# Longest wait for the meters at a planned end, seconds.
STOP_S = 30.0


def plain(*arguments: str) -> list[str]:
    """The arguments of Python for a module as it is."""
    return ["-m", *arguments]


class ChargePoints:
    """The two processes. A vehicle that is never full stands at every charge point from each start on."""

    def __init__(
        self, site: CrashSite, name: str, cp_ids: Sequence[str], wrap: Callable[..., list[str]] = plain
    ) -> None:
        """``wrap`` makes the arguments of Python from module and arguments, for the engines' process."""
        self.name = name
        self.cp_ids = list(cp_ids)
        self.trace = site.folder / f"{name}.trace"
        """True power, as ``evcharge-cp run --trace`` writes it."""
        self.log = site.folder / f"{name}.log"
        self.engines: Daemon
        self.monitors: Daemon
        self._site = site
        self._wrap = wrap
        self._health_port = 0
        self._folders = {role: self._own_credentials(role) for role in (Role.CP, Role.MONITOR)}
        vehicle = {"capacity_wh": MAX_CAPACITY_WH, "soc": 0.0}
        lines = [json.dumps({"after_s": 0, "cp_id": cp_id, "do": "plug", "vehicle": vehicle}) for cp_id in self.cp_ids]
        self._script = site.folder / f"{name}.script"
        self._script.write_text("\n".join(lines), encoding="utf-8")

    async def start_engines(self) -> None:
        """Raises DaemonFailed."""
        arguments = self._wrap(
            *("evcharge.cli.cp", "run", "--credentials", str(self._folders[Role.CP])),
            *("--central", f"{HOST}:{self._site.port}", "--data-dir", str(self._site.folder / "cp-data")),
            *("--min-kw", str(MIN_KW), "--max-kw", str(MAX_KW), "--script", str(self._script)),
            *("--trace", str(self.trace), "--health-listen", f"{HOST}:{self._health_port}"),
        )
        self.engines = await Daemon.start(f"charge points {self.name}", arguments, self.log)
        self._health_port = int(str(self.engines.ready["health"]).rpartition(":")[2])

    async def start_monitors(self) -> None:
        """After the engines. Raises DaemonFailed."""
        arguments = [
            *("-m", "evcharge.cli.monitor", "run", "--credentials", str(self._folders[Role.MONITOR])),
            *("--central", f"{HOST}:{self._site.port}", "--engine", f"{HOST}:{self._health_port}"),
        ]
        log = self._site.folder / f"{self.name}-monitor.log"
        self.monitors = await Daemon.start(f"monitors {self.name}", arguments, log)

    async def stop_engines(self) -> dict[str, int]:
        """A planned end; the registers in Wh by charge point. Raises DaemonFailed."""
        os.kill(self.engines.pid, signal.SIGTERM)
        tables = (await self.engines.answer("meters", STOP_S))["meters"]
        await self.engines.stop()
        return {cp_id: sum(table.values()) for cp_id, table in tables.items()}

    async def close(self) -> None:
        """Kill what runs."""
        for name in ("engines", "monitors"):
            daemon: Daemon | None = getattr(self, name, None)
            if daemon is not None and daemon.alive:
                await daemon.kill()

    def _own_credentials(self, role: Role) -> Path:
        folder = self._site.folder / f"{self.name}.{role.label}"
        if not folder.exists():
            draft = folder.with_suffix(".tmp")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            for cp_id in self.cp_ids:
                # With its mode, which is 0600.
                shutil.copy(self._site.credential_folder(role) / f"{cp_id}.json", draft)
            draft.rename(folder)
        return folder
