"""The processes of a simulated site: Central, engines, monitors and drivers as they are, on virtual machines.

Each can be killed at any moment and started again on what its disk holds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evcharge.central.service import Central
from evcharge.central.settings import Settings
from evcharge.cp.engine import EngineCore
from evcharge.cp.health import HealthServer, Probe
from evcharge.cp.journal import Journal
from evcharge.cp.monitor import MonitorCore
from evcharge.cp.monitor_runner import MonitorHost, Watch
from evcharge.cp.runner import Fleet, Host, connectors
from evcharge.cp.script import Action, Schedule
from evcharge.cp.vehicle import MAX_CAPACITY_WH, VehicleSpec
from evcharge.net.timers import TimerWheel
from evcharge.net.witness import Witness
from protocol.credentials import Credential
from tools.drill.drivers import Drivers
from tools.drill.history import Kind, RecordingClient
from tools.simulate.loop import BEGIN_S, CURRENT, Process, VirtualLoop
from tools.simulate.registry import Registry
from tools.simulate.volume import Volume

# Virtual UTC at the beginning, milliseconds.
BEGIN_MS = 1_763_683_200_000
CENTRAL_HOST, REGISTRY_HOST = "10.0.0.1", "10.0.0.2"
CENTRAL = (CENTRAL_HOST, 7411)
# Rating of a connector, W: a charge of 100 Wh lasts half a minute when it has all of it.
MIN_W, MAX_W = 1_380, 11_040
# What a charge asks for, Wh: it ends by itself even when its driver is gone.
ENERGY_WH = (20, 150)
END_EARLY = 0.3
BOOT_ID_SIZE = 16
HEALTH_PORT = 9_000


class SimClock:
    """Implements ``evcharge.net.clock.Clock``: virtual time, with a quartz of its own."""

    speed = 1.0

    def __init__(self, loop: VirtualLoop, drift: float) -> None:
        """``drift``: by which share its monotonic clock runs fast."""
        self._loop = loop
        self._rate = 1.0 + drift

    def monotonic(self) -> float:
        return BEGIN_S + (self._loop.now_s - BEGIN_S) * self._rate

    def steady_ms(self) -> int:
        return BEGIN_MS + int((self.monotonic() - BEGIN_S) * 1000)

    def site_ms(self) -> int:
        return BEGIN_MS + int((self._loop.now_s - BEGIN_S) * 1000)


class Memory:
    """What peers were told, as ``tools.drill.history.History`` notes it, in memory."""

    def __init__(self, loop: VirtualLoop, note: Callable[[str], None]) -> None:
        self.lines: list[dict[str, Any]] = []
        self._loop = loop
        self._trace = note

    def note(self, peer: str, kind: Kind, **fields: object) -> None:
        """One line."""
        self.lines.append({"at_s": self._loop.time(), "peer": peer, "kind": kind, **fields})
        self._trace(f"{self._loop.time():.6f} {peer} {kind} {fields}")


class Machine:
    """Something that runs as a process, and comes back after it was killed."""

    def __init__(self, world: Any, name: str, host: str, clock_drift: float) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.loop: VirtualLoop = world.loop
        self.clock = SimClock(self.loop, clock_drift)
        # Its own, so that what happens elsewhere does not change what it draws.
        self.dice = random.Random(f"{world.seed}/{name}")
        self.process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def entropy(self, size: int) -> bytes:
        return self.dice.randbytes(size)

    @property
    def running(self) -> bool:
        return self.process is not None

    def start(self) -> None:
        """A new process."""
        self.process = process = Process(self.name, self.host)
        task = self.loop.create_task(self.guarded(), context=process.context())
        # Kept, living or dead: to be forgotten would let its ``finally`` run.
        self._tasks.append(task)

    async def guarded(self) -> None:
        """What ends by itself is a bug."""
        process = CURRENT.get()
        try:
            await self.run()
        except Exception as error:
            if process is None or not process.alive:
                # The run is over, and its generators are let go of.
                raise
            self.world.wrong("crashed", f"{self.name}: {type(error).__name__}: {error}")

    async def run(self) -> None:
        raise NotImplementedError

    def kill(self, *, silent: bool = False) -> None:
        """Nothing of it runs any more; ``silent``: the machine went down with it."""
        assert self.process is not None
        self.process.alive = False
        self.world.network.died(self.process, silent=silent)
        self.process = None

    def client(self, credential: Credential, listener: Any, **options: Any) -> RecordingClient:
        return RecordingClient(
            credential,
            *CENTRAL,
            history=self.world.memory,
            clock=self.clock,
            listener=listener,
            boot_id=self.entropy(BOOT_ID_SIZE),
            entropy=self.entropy,
            rng=self.dice.random,
            **options,
        )


class CentralMachine(Machine):
    """Central with its supervisor: what stopped itself is started again."""

    def __init__(self, world: Any, registry: Registry, folder: Path) -> None:
        super().__init__(world, "central", CENTRAL_HOST, 1e-4)
        self.volume = Volume(self._disk_time)
        self.central: Central | None = None
        self.data_dir = folder / "central"
        self.stops = 0
        """How often it stopped by itself because of its disk."""
        self._registry = registry

    def _disk_time(self, call: str) -> None:
        """A disk takes its time, now and then a lot of it."""
        base_s = 0.002 if "sync" in call else 0.00005
        self.world.threads.sleep(base_s * self.dice.expovariate(1.0) + (0.5 if self.dice.random() < 0.001 else 0.0))

    async def run(self) -> None:
        while True:
            central = Central(
                Settings(
                    data_dir=self.data_dir,
                    registry_url=str(self._registry.bootstrap.registry.url),
                    port=0,
                    capacity_kw=self.world.capacity_w / 1000,
                    ballast_mib=0,
                    drain_s=0.5,
                    # Shorter than the run: what is settled without its final meter, and adjusted later, happens too.
                    settle_s=200.0,
                ),
                self._registry.bootstrap,
                self.clock,
                entropy=self.entropy,
                files=self.volume,
                threads=self.world.threads,
            )
            try:
                await central.start()
            except OSError as error:
                self.world.note(f"central does not start: {error}")
            else:
                await self._serve(central)
            self.stops += 1
            # The supervisor's new process meets the same machine, with a disk that works again.
            self.volume = self.volume.kill()
            await asyncio.sleep(1.0)

    async def _serve(self, central: Central) -> None:
        """Until it stops itself."""
        self.central = central
        self.world.network.alias(CENTRAL, (self.host, central.port))
        failure = await central.failure
        self.world.note(f"central stops itself: {failure!r}")
        if not isinstance(failure.__cause__, OSError):
            self.world.wrong("crashed", f"Central: {failure!r}")
        self.central = None
        await central.stop()

    def kill(self, *, silent: bool = False) -> None:
        super().kill(silent=silent)
        self.volume = self.volume.power_loss(self.dice) if silent else self.volume.kill()
        self.central = None


class EngineMachine(Machine):
    """A charge point's engine, with a vehicle that is always there again."""

    def __init__(self, world: Any, credential: Credential, host: str, folder: Path, drift: float) -> None:
        super().__init__(world, credential.entity, host, drift)
        self.credential = credential
        self.fleet: Fleet | None = None
        self._folder = folder
        self._journal: Journal | None = None
        self._witness = Witness()

    @property
    def engine(self) -> EngineCore | None:
        return None if self.fleet is None else self.fleet.hosts[self.name].engine

    async def run(self) -> None:
        self._journal = Journal.open(self._folder, self.name, self.entropy)
        engine = EngineCore(
            connectors(1, MIN_W, MAX_W),
            self._journal,
            Host.first_instant(self.clock),
            sink=self._power,
        )
        host = Host(self.name, engine, self.clock)
        timers = TimerWheel(self.clock)
        host.channel = self.client(
            self.credential, host, outbox_epoch=engine.outbox_epoch, timers=timers, witness=self._witness
        )
        vehicle = VehicleSpec(capacity_wh=MAX_CAPACITY_WH, soc=0.0)
        plug = Action(cp_id=self.name, after_s=0, do="plug", vehicle=vehicle)
        self.fleet = Fleet(self.clock, [host], Schedule([plug], self.clock.site_ms()))
        health = HealthServer(self.fleet.health)
        await health.start(self.host, HEALTH_PORT)
        await self.fleet.run(asyncio.Event())

    def _power(self, site_ms: int, _connector: int, power_w: int) -> None:
        self.world.power.changed(site_ms, self.name, power_w)

    def kill(self, *, silent: bool = False) -> None:
        super().kill(silent=silent)
        # Its contactor opens with it.
        self.world.power.changed(self.clock.site_ms(), self.name, 0)
        self.fleet = None
        if self._journal is not None:
            self._journal.close()

    def act(self, action: Action) -> None:
        """Something happens to the charge point."""
        fleet, process = self.fleet, self.process
        if fleet is not None and process is not None:
            host = fleet.hosts[self.name]
            process.context().run(host.act, action, host.now())


class MonitorMachine(Machine):
    """A charge point's monitor, on the same machine as the engine."""

    def __init__(self, world: Any, credential: Credential, host: str) -> None:
        super().__init__(world, f"{credential.entity}/monitor", host, 0.0)
        self.credential = credential

    async def run(self) -> None:
        entity = self.credential.entity
        host = MonitorHost(MonitorCore(entity), Probe(self.host, HEALTH_PORT, self.clock.monotonic))
        host.channel = self.client(self.credential, host)
        await Watch(self.clock, [host], Schedule([], 0)).run(asyncio.Event())


class DriverMachine(Machine):
    """A driver who charges again and again."""

    def __init__(self, world: Any, credential: Credential, host: str, places: list[str]) -> None:
        super().__init__(world, credential.entity, host, 0.0)
        self.credential = credential
        self.drivers: Drivers | None = None
        self._places = places

    async def run(self) -> None:
        self.drivers = Drivers(
            [self.credential],
            [self._places],
            CENTRAL,
            clock=self.clock,
            make_client=self._make,
            rng=self.dice,
            energy_wh=ENERGY_WH,
            end_early=END_EARLY,
            entropy=self.entropy,
        )
        async with self.drivers:
            await asyncio.Event().wait()

    def _make(self, credential: Credential, host: str, port: int, **options: Any) -> RecordingClient:
        options["entropy"], options["rng"] = self.entropy, self.dice.random
        return RecordingClient(credential, host, port, history=self.world.memory, **options)
