"""The load of the kill drills: charge points, monitors and drivers of one process, with a history of acknowledgements.

``python -m tools.drill.crash_load`` is started by the drills. It prints ``{"ready": …}``, then ``{"all_up": seconds}``
(monotonic) each time that the last of its peers has its channel back, and after a line on its stdin it lets everything
come to its end and prints ``{"finished": …}`` with the meters.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec

from evcharge.cli.common import configure_logging, print_json
from evcharge.cli.cp import BOOT_ID_SIZE
from evcharge.cli.peer import read_credentials
from evcharge.cp.engine import EngineCore
from evcharge.cp.health import HealthServer, Probe
from evcharge.cp.journal import Journal
from evcharge.cp.monitor import MonitorCore
from evcharge.cp.monitor_runner import MonitorHost, Watch
from evcharge.cp.runner import Fleet, Host, connectors
from evcharge.cp.script import Action, Schedule
from evcharge.cp.vehicle import MAX_CAPACITY_WH, VehicleSpec
from evcharge.net.clock import SystemClock
from evcharge.net.timers import TimerWheel
from protocol.credentials import Credential, Role
from tools.drill.crash_site import FOLDERS
from tools.drill.drivers import Drivers
from tools.drill.history import History, RecordingClient

# Rating of a connector, W: at 200 kW a charge of 60 Wh lasts about a second.
MIN_W, MAX_W = 10_000, 200_000
# What a charge asks for, Wh: it ends by itself even when its driver is gone.
ENERGY_WH = (30, 180)
# Share of the charges that their driver ends.
END_EARLY = 0.5
# Longest wait for everything to come to its end, seconds; what is open then the check finds.
FINISH_S = 120.0


class Links:
    """Counts who has a channel, and says when all have."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._up: set[str] = set()

    def turn(self, peer: str, *, up: bool) -> None:
        """A peer's channel came or went."""
        (self._up.add if up else self._up.discard)(peer)
        if up and len(self._up) == self._total:
            print_json({"all_up": time.monotonic()})
            sys.stdout.flush()


class Linked(RecordingClient):
    """A recording client that counts."""

    def __init__(self, *args: Any, links: Links, **options: Any) -> None:
        super().__init__(*args, **options)
        self._links = links

    def up(self, adapter: Any, event: Any) -> None:
        """As the parent's."""
        super().up(adapter, event)
        self._links.turn(self.peer, up=True)

    def down(self, why: str) -> None:
        """As the parent's."""
        self._links.turn(self.peer, up=False)
        super().down(why)


class Load:
    """All peers of the process."""

    def __init__(self, folder: Path, credentials: Path, address: tuple[str, int], seed: int, back_off: float) -> None:
        """``folder`` takes the history and the charge points' disks."""
        self._folder = folder
        self._address = address
        self._rng = Random(seed)  # a drill has to be repeatable
        self._clock = SystemClock()
        self._timers = TimerWheel(self._clock)
        self._history = History(folder / "history.jsonl")
        self._stop = asyncio.Event()
        found = {role: read_credentials(credentials / name, role) for role, name in FOLDERS.items()}
        self._engines, self._monitors = found[Role.CP], found[Role.MONITOR]
        self._drivers = found[Role.DRIVER]
        links = Links(sum(map(len, found.values())))
        self._make = partial(
            Linked, history=self._history, links=links, rng=lambda: self._rng.random() * back_off, timers=self._timers
        )
        self._fleet = self._make_fleet()

    def _make_fleet(self) -> Fleet:
        hosts = []
        for credential in self._engines:
            journal = Journal.open(self._folder / "cp-data", credential.entity, os.urandom, meter_durable=False)
            engine = EngineCore(connectors(1, MIN_W, MAX_W), journal, Host.first_instant(self._clock))
            host = Host(credential.entity, engine, self._clock)
            host.channel = self._client(credential, host, outbox_epoch=engine.outbox_epoch)
            hosts.append(host)
        vehicle = VehicleSpec(capacity_wh=MAX_CAPACITY_WH, soc=0.0)
        plugs = [Action(cp_id=host.cp_id, after_s=0, do="plug", vehicle=vehicle) for host in hosts]
        return Fleet(self._clock, hosts, Schedule(plugs, self._clock.site_ms()))

    def _make_drivers(self) -> Drivers:
        places = [credential.entity for credential in self._engines]
        return Drivers(
            self._drivers,
            [places] * len(self._drivers),
            self._address,
            clock=self._clock,
            make_client=self._make,
            rng=self._rng,
            energy_wh=ENERGY_WH,
            end_early=END_EARLY,
        )

    def _client(self, credential: Credential, listener: Any, **options: Any) -> RecordingClient:
        boot_id = os.urandom(BOOT_ID_SIZE)
        return self._make(credential, *self._address, clock=self._clock, listener=listener, boot_id=boot_id, **options)

    async def run(self) -> None:
        """Until told to finish."""
        health = HealthServer(self._fleet.health)
        engine_address = await health.start("127.0.0.1", 0)
        watched = []
        for credential in self._monitors:
            host = MonitorHost(MonitorCore(credential.entity), Probe(*engine_address, self._clock.monotonic))
            host.channel = self._client(credential, host)
            watched.append(host)
        watch = Watch(self._clock, watched, Schedule([], 0))
        print_json({"ready": "load", "peers": len(self._engines) + len(self._monitors) + len(self._drivers)})
        sys.stdout.flush()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fleet.run(self._stop))
                group.create_task(watch.run(self._stop))
                async with self._make_drivers() as drivers:
                    await line_on_stdin()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(FINISH_S):
                            await drivers.finish(self._idle)
                self._stop.set()
        finally:
            await health.close()
        meters = {cp_id: sum(table.values()) for cp_id, table in self._fleet.meters().items()}
        print_json({"finished": True, "meters": meters, "noted": self._history.count})

    def _idle(self) -> bool:
        engines = [host.engine for host in self._fleet.hosts.values()]
        running = any(slot.running or slot.authorized for engine in engines for slot in engine.slots)
        return not running and all(engine.online and not engine.waiting for engine in engines)


async def line_on_stdin() -> None:
    """Return when whoever started this process says something, or is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.readline()


@click.command()
@click.argument("settings")
def main(settings: str) -> None:
    """SETTINGS: JSON with folder, credentials, host, port, seed, back_off."""
    given = msgspec.json.decode(settings)
    configure_logging("warning")

    async def run() -> None:
        folder, credentials = Path(given["folder"]), Path(given["credentials"])
        await Load(folder, credentials, (given["host"], given["port"]), given["seed"], given["back_off"]).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
