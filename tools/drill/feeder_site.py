"""A feeder on five hosts: Central, registry, two rows of charge points with their monitors, drivers.

The hosts are network namespaces on one switch (``tools.netns``); every program is the real one. Central and all charge
points follow one site clock, the machine's monotonic one, so what they write down can be compared to the millisecond.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from evcharge.cp.model import MIN_AMPS, rating_w
from evcharge.cp.vehicle import MAX_CAPACITY_WH
from evcharge.net.clock import SiteClockFile, SystemClock
from evcharge.sidecar.bootstrap import initialise
from protocol.credentials import Role
from tools.daemon import Daemon, DaemonFailed
from tools.drill.crash_site import FOLDERS, keep_credentials
from tools.drill.feeder_drivers import FINISH_S
from tools.netns import Switched
from tools.site import enrol

ROWS = ("east", "west")
HOSTS = ("central", "registry", *ROWS, "drivers")
# The default ports; on a host of its own nobody else wants them.
CENTRAL_PORT, REGISTRY_PORT, HEALTH_PORT = 7411, 8080, 7500
# A connector's rating: 32 A, single phase, as in most garages.
AMPS, VOLTS = 32.0, 230.0
MAX_W, MIN_W = rating_w(AMPS, VOLTS, 1), rating_w(MIN_AMPS, VOLTS, 1)
# One ampere on one phase, W: what whole amperes may leave of a connector's share.
AMPERE_W = int(VOLTS)
# How long Central waits for monitors after its restart, seconds. Clients that found nobody for 20 s come back within
# the next 32 s (SPEC §5.3), which is more than Central waits unless told otherwise.
MONITOR_RETURN_S = 90.0
# Longest wait for the meters at a planned end, seconds.
STOP_S = 30.0


class Plan(NamedTuple):
    """What is tried."""

    charge_points: int
    limit_w: int
    lease_s: float
    hold_s: float
    """How long each state that was reached is watched."""

    @property
    def fallback_w(self) -> int:
        """What all take together when every lease has run out."""
        return self.charge_points * MIN_W

    @property
    def slack_w(self) -> int:
        """What whole amperes may leave of the limit."""
        return self.charge_points * AMPERE_W

    def rows(self) -> dict[str, list[str]]:
        """The charge points of each row, halved."""
        names = [f"cp-{number:02}" for number in range(1, self.charge_points + 1)]
        half = -(-len(names) // 2)
        return dict(zip(ROWS, (names[:half], names[half:]), strict=True))


class FeederSite:
    """Made by ``open``, which starts nothing yet; ``close`` kills what runs."""

    def __init__(self, folder: Path, network: Switched, plan: Plan, clock_file: Path) -> None:
        self.folder = folder
        self.plan = plan
        self.network = network
        self.rows = plan.rows()
        self.traces = {row: folder / f"{row}.trace" for row in ROWS}
        """True power, written by the charge points themselves."""
        self.log_dir = folder / "central" / "log"
        self.history = folder / "history.jsonl"
        self.clock = SystemClock(clock_file)
        self.daemons: dict[str, Daemon] = {}
        self._clock_file = clock_file

    @classmethod
    async def open(cls, folder: Path, network: Switched, plan: Plan) -> FeederSite:
        """Register everybody. Raises BootstrapError, OSError."""
        clock_file = folder / "clock.json"
        now_ms, now_s = time.time_ns() // 1_000_000, time.monotonic()
        SiteClockFile(site_ms=now_ms, speed=1.0, start_monotonic=now_s).write(clock_file)
        url = f"http://{network.address('registry')}:{REGISTRY_PORT}"
        await initialise(folder / "registry", url, clock=SystemClock(), entropy=os.urandom)
        names = [name for row in plan.rows().values() for name in row]
        wanted = [(role, name) for role in (Role.CP, Role.MONITOR) for name in names]
        wanted += [(Role.DRIVER, f"driver-of-{name}") for name in names]
        credentials = enrol(folder / "registry", wanted)
        for row, members in plan.rows().items():
            own = [one for one in credentials if one.role in (Role.CP, Role.MONITOR) and one.entity in members]
            (folder / row).mkdir(mode=0o700)
            keep_credentials(folder / row, own)
        keep_credentials(folder, [one for one in credentials if one.role is Role.DRIVER])
        return cls(folder, network, plan, clock_file)

    # --- starting and ending --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everything but the drivers. Raises DaemonFailed."""
        host = self.network.address("registry")
        words = ["run", "--data-dir", self._at("registry"), "--host", host, "--port", str(REGISTRY_PORT)]
        await self._run("registry", "registry", "evcharge.cli.sidecar", words)
        await self.start_central()
        for row in ROWS:
            await self._start_row(row)

    async def start_central(self) -> None:
        """Central, on the data that it had before. Raises DaemonFailed."""
        words = ["--credentials", self._at("registry", "central.json"), "--data-dir", self._at("central")]
        words += ["--host", self.network.address("central"), "--port", str(CENTRAL_PORT), "--log-level", "warning"]
        words += ["--registry", f"http://{self.network.address('registry')}:{REGISTRY_PORT}", "--allow-plain-registry"]
        words += ["--capacity-kw", f"{self.plan.limit_w / 1000:.3f}", "--lease-s", f"{self.plan.lease_s:g}"]
        words += ["--monitor-return-s", f"{MONITOR_RETURN_S:g}", "--drain-s", "0.2", "--clock", str(self._clock_file)]
        await self._run("central", "central", "evcharge.cli.central", words)

    async def start_drivers(self) -> None:
        """A driver for each charge point, who charges there. Raises DaemonFailed."""
        names = [name for row in self.rows.values() for name in row]
        settings = {
            "credentials": str(self.folder / "credentials" / FOLDERS[Role.DRIVER]),
            "host": self.network.address("central"),
            "port": CENTRAL_PORT,
            "places": {f"driver-of-{name}": name for name in names},
            "history": str(self.history),
        }
        await self._run("drivers", "drivers", "tools.drill.feeder_drivers", [json.dumps(settings)])

    async def kill_central(self) -> None:
        """SIGKILL, and wait until it is gone. Raises DaemonFailed when it had ended by itself."""
        self.check()
        await self.daemons["central"].kill()

    async def finish(self) -> dict[str, int]:
        """End all sessions, then every program in order; the registers in Wh. Raises DaemonFailed."""
        drivers = self.daemons["drivers"]
        await drivers.tell({"do": "finish"})
        await drivers.answer("finished", FINISH_S + STOP_S)
        await drivers.ended()
        meters: dict[str, int] = {}
        for row in ROWS:
            engines = self.daemons[f"{row}-engines"]
            os.kill(engines.pid, signal.SIGTERM)
            tables = (await engines.answer("meters", STOP_S))["meters"]
            meters |= {cp_id: sum(table.values()) for cp_id, table in tables.items()}
            await engines.ended()
        for name in [*(f"{row}-monitors" for row in ROWS), "central", "registry"]:
            code = await self.daemons[name].stop()
            if code != 0:
                raise DaemonFailed(f"{name} ended with exit code {code}.{self.daemons[name].tail()}")
        return meters

    def monitors_back(self) -> bool:
        """Whether every monitor has its channel, as their own logs say."""
        text = "".join((self.folder / f"{row}-monitors.log").read_text(encoding="utf-8") for row in ROWS)
        up, down = (text.count(f'"event": "monitor.{turn}"') for turn in ("connected", "disconnected"))
        return up - down == self.plan.charge_points

    def check(self) -> None:
        """Raises DaemonFailed when one has ended by itself."""
        for name, daemon in self.daemons.items():
            if not daemon.alive:
                raise DaemonFailed(f"{name} ended by itself.{daemon.tail()}")

    async def close(self) -> None:
        """Kill what runs."""
        for daemon in self.daemons.values():
            if daemon.alive:
                await daemon.kill()

    async def _start_row(self, row: str) -> None:
        """Engines with a car at every connector that is never full, and their monitors."""
        script = self.folder / f"{row}.script"
        vehicle = {"capacity_wh": MAX_CAPACITY_WH, "soc": 0.0}
        lines = [{"after_s": 0, "cp_id": cp_id, "do": "plug", "vehicle": vehicle} for cp_id in self.rows[row]]
        script.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        central = f"{self.network.address('central')}:{CENTRAL_PORT}"
        health = f"{self.network.address(row)}:{HEALTH_PORT}"
        words = ["run", "--credentials", self._at(row, "credentials", FOLDERS[Role.CP]), "--central", central]
        words += ["--data-dir", self._at(f"{row}-data"), "--amps", f"{AMPS:g}", "--volts", f"{VOLTS:g}"]
        words += ["--script", str(script), "--trace", str(self.traces[row]), "--health-listen", health]
        await self._run(f"{row}-engines", row, "evcharge.cli.cp", [*words, "--clock", str(self._clock_file)])
        words = ["run", "--credentials", self._at(row, "credentials", FOLDERS[Role.MONITOR]), "--central", central]
        await self._run(f"{row}-monitors", row, "evcharge.cli.monitor", [*words, "--engine", health])

    async def _run(self, name: str, host: str, module: str, words: list[str]) -> None:
        log = self.folder / f"{name}.log"
        before = self.network.command(host)
        self.daemons[name] = await Daemon.start(name, ["-m", module, *words], log, before=before)

    def _at(self, *parts: str) -> str:
        return str(self.folder.joinpath(*parts))
