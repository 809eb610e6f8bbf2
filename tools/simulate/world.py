"""One simulated site from a seed: it charges, things go wrong, it comes to rest, and then the books are compared."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import tempfile
from hashlib import sha256
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import msgspec

from evcharge.audit.files import Files
from evcharge.audit.folding import Folding
from evcharge.audit.verify import Verification
from evcharge.central import repeats
from evcharge.domain.digest import fingerprint
from protocol.credentials import Role
from tools.drill.history import Ack
from tools.drill.log_check import LogFacts
from tools.simulate.loop import Process, Stuck, VirtualLoop
from tools.simulate.machines import (
    REGISTRY_HOST,
    CentralMachine,
    DriverMachine,
    EngineMachine,
    Machine,
    Memory,
    MonitorMachine,
)
from tools.simulate.network import Network
from tools.simulate.registry import Registry
from tools.simulate.threads import GreenThreads

# Capacity that three or four charge points have to share, W.
CAPACITY_W = 22_000
# Longest virtual time in which everything has to come to rest when nothing goes wrong any more, seconds.
REST_S = 900.0
# Pause between two looks, virtual seconds.
LOOK_S = 1.0
# Powers of different charge points are told up to a tick late; they are added up after this time, milliseconds.
LATE_MS = 2_000


# More equal refusals than any run has.
EVERY_ONE = 1 << 30


class Outcome(msgspec.Struct, kw_only=True):
    """What a run came to. ``wrong`` empty: every promise was kept."""

    seed: int
    hours: float
    """Virtual, from the first step to the rest."""
    wrong: dict[str, int] = {}
    sentences: list[str] = []
    trace: str = ""
    """SHA-256 of everything that happened, in order: the same for the same seed."""
    repeated: int = 0
    """1: it was run twice."""
    faults: dict[str, int] = {}
    """What went wrong on purpose, how often."""
    acknowledgements: int = 0
    sessions: int = 0
    tickets: int = 0
    energy_wh: int = 0
    records: int = 0


class Power:
    """What flows at the site, from the charge points' own account."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[tuple[int, int, str, int]] = []
        self._count = 0
        self._now_w: dict[str, int] = {}
        self.peak_w = 0

    def changed(self, site_ms: int, cp_id: str, power_w: int) -> None:
        """A charge point draws something else from this instant on."""
        self._count += 1
        heappush(self._waiting, (site_ms, self._count, cp_id, power_w))

    def settle(self, until_ms: int) -> None:
        """Add up everything before this instant."""
        while self._waiting and self._waiting[0][0] <= until_ms:
            site_ms, _, cp_id, power_w = heappop(self._waiting)
            self._now_w[cp_id] = power_w
            if self._waiting and self._waiting[0][0] == site_ms:
                continue
            total_w = sum(self._now_w.values())
            self.peak_w = max(self.peak_w, total_w)
            if total_w > self._world.capacity_w:
                self._world.wrong("capacity", f"{total_w} W of {self._world.capacity_w} W at {site_ms}")


class World:
    """Everything of one run."""

    def __init__(self, seed: int, folder: Path, *, charge_points: int = 3, drivers: int = 3) -> None:
        self.seed = seed
        self.loop = VirtualLoop()
        self.dice = random.Random(f"{seed}/world")
        self.outcome = Outcome(seed=seed, hours=0.0)
        self._digest = sha256()
        self.lines: list[str] | None = None
        """The trace itself, where somebody wants to read it."""
        self.threads = GreenThreads(self.loop)
        self.network = Network(self.loop, random.Random(f"{seed}/network"), self.note)
        self.network.opaque.add(REGISTRY_HOST)
        self.loop.threads, self.loop.network = self.threads, self.network
        self.capacity_w = CAPACITY_W
        self.memory: Any = Memory(self.loop, self.note)
        self.power = Power(self)
        self.finishing = False
        self.site = random.Random(f"{seed}/site")
        self.registry = Registry(self.site.randbytes)
        self.central = CentralMachine(self, self.registry, folder)
        names = [f"cp-{number}" for number in range(1, charge_points + 1)]
        self.engines: list[EngineMachine] = []
        self.monitors: list[MonitorMachine] = []
        for number, name in enumerate(names, 1):
            host = f"10.0.1.{number}"
            drift = self.site.uniform(-2e-4, 2e-4)
            engine = self.registry.register(Role.CP, name)
            self.engines.append(EngineMachine(self, engine, host, folder / "cp-data", drift))
            self.monitors.append(MonitorMachine(self, self.registry.register(Role.MONITOR, name), host))
        self.drivers = [
            DriverMachine(self, self.registry.register(Role.DRIVER, f"driver-{number}"), f"10.0.2.{number}", names)
            for number in range(1, drivers + 1)
        ]

    @property
    def machines(self) -> list[Machine]:
        """All that can be killed."""
        return [self.central, *self.engines, *self.monitors, *self.drivers]

    def note(self, line: str) -> None:
        """Part of the trace."""
        self._digest.update(line.encode() + b"\n")
        if self.lines is not None:
            self.lines.append(line)

    def wrong(self, kind: str, sentence: str) -> None:
        """A promise was broken."""
        wrong = self.outcome.wrong
        wrong[kind] = wrong.get(kind, 0) + 1
        self.note(f"WRONG {kind}: {sentence}")
        if len(self.outcome.sentences) < 20:
            self.outcome.sentences.append(f"{kind}: {sentence} (at {self.loop.time():.3f} s)")

    async def run(self, troubles: Any, minutes: float) -> None:
        """From nothing to rest; ``troubles`` happen for ``minutes``."""
        began = self.loop.time()
        registry = Process("registry", REGISTRY_HOST)
        starting = self.loop.create_task(self.registry.start(REGISTRY_HOST), context=registry.context())
        await starting
        for machine in self.machines:
            machine.start()
        adding = asyncio.create_task(self._add_up())
        await troubles.run(self, minutes * 60.0)
        await self._rest()
        adding.cancel()
        self.power.settle(sys.maxsize)
        self.outcome.hours = (self.loop.time() - began) / 3600

    async def _add_up(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.power.settle(self.central.clock.site_ms() - LATE_MS)

    async def _rest(self) -> None:
        """No more requests; until everything is over."""
        self.finishing = True
        for machine in self.machines:
            if not machine.running:
                machine.start()
        finishing = [asyncio.create_task(self._finish(driver)) for driver in self.drivers]
        try:
            async with asyncio.timeout(REST_S):
                await asyncio.gather(*finishing)
        except TimeoutError:
            for one in finishing:
                one.cancel()
            self.wrong("stuck", f"not at rest after {REST_S:g} s: {self._open()}")

    async def _finish(self, machine: DriverMachine) -> None:
        while machine.drivers is None or not machine.drivers._driving:
            await asyncio.sleep(LOOK_S)
        await machine.drivers.finish(self._idle)

    def _idle(self) -> bool:
        return not self._open()

    def _open(self) -> str:
        """What is not over yet, in words."""
        said = []
        central = self.central.central
        if central is None:
            return "Central is down"
        for session in central.state.sessions.values():
            said.append(f"{session.session_id} {session.status.value} at {session.cp_id}")
        for machine in self.engines:
            engine = machine.engine
            if engine is None or not engine.online:
                said.append(f"{machine.name} is not connected")
            elif engine.waiting:
                said.append(f"{machine.name} has {engine.waiting} items")
            elif any(slot.running or slot.authorized for slot in engine.slots):
                said.append(f"{machine.name} has a session")
        for name, driver in central.state.drivers.items():
            if driver.undelivered:
                said.append(f"{name} has {len(driver.undelivered)} tickets to come")
        return ", ".join(said)

    # --- the books ------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """When all is at rest: the log against what everybody was told, and against itself."""
        central = self.central.central
        if central is None:
            self.wrong("stuck", "Central is down at the end, and its books were not compared")
            return
        if central._engine.suspect:
            self.wrong("rollback", "a witness remembers more of the log than there is")
        await central.stop()
        live = fingerprint(central.state)
        files, directory = self.central.volume, central.log_dir
        meters = {
            machine.name: sum(machine.engine.meters().values())
            for machine in self.engines
            if machine.engine is not None
        }
        self._compare(files, directory, meters, live)

    def _compare(self, files: Files, directory: Path, meters: dict[str, int], live: bytes) -> None:
        outcome = self.outcome
        folding = Folding()
        verification = Verification(directory, files)
        report = verification.run(each=folding.take)
        outcome.records = report.records
        self.note(f"root {report.root}")
        if report.damage is not None:
            self.wrong("damaged", f"{report.damage.file}, record {report.damage.seq}: {report.damage.why}")
        if folding.diverged is not None:
            self.wrong("diverged", f"record {folding.diverged.seq}: {folding.diverged.why}")
        elif folding.digest.value() != live:
            self.wrong("diverged", "a replay gives another state than Central had at its end")
        facts = LogFacts.read(directory, files)
        history = [msgspec.convert(line, Ack) for line in self.memory.lines]
        outcome.acknowledgements = facts.compare(history)
        facts.settle(meters, history)
        for kind, count in facts.findings.counts.items():
            outcome.wrong[kind] = outcome.wrong.get(kind, 0) + count
        outcome.sentences += facts.findings.sentences
        outcome.sessions, outcome.tickets = len(facts.authorized), len(facts.tickets)
        outcome.energy_wh = facts.energy_wh()


def simulate(seed: int, minutes: float, *, troubles: Any, trace: list[str] | None = None) -> Outcome:
    """One run, from its seed alone."""
    hook = sys.unraisablehook
    recorded = repeats.AT_ONCE
    # A driver asks a thousand times here, and each refusal is looked for in the log: none is left out as a repeat.
    repeats.AT_ONCE = EVERY_ONE
    try:
        outcome = _simulate(seed, minutes, troubles, trace)
        # The dead are let go of now, and whatever their generators still want to say is no longer heard.
        sys.unraisablehook = lambda _unraisable: None
        gc.collect()
        return outcome
    finally:
        sys.unraisablehook = hook
        repeats.AT_ONCE = recorded


def _simulate(seed: int, minutes: float, troubles: Any, trace: list[str] | None) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="evcharge-simulate-", dir=_memory()) as folder:
        world = World(seed, Path(folder))
        world.lines = trace
        loop = world.loop

        async def whole() -> None:
            await world.run(troubles(seed), minutes)
            await world.check()

        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(whole())
        except Stuck as error:
            world.wrong("stuck", str(error))
        finally:
            asyncio.set_event_loop(None)
        for fault in loop.faults:
            world.wrong("crashed", fault)
        world.outcome.trace = world._digest.hexdigest()
        for machine in world.machines:
            if machine.process is not None:
                machine.process.alive = False
        outcome = world.outcome
        loop.bury()
        return outcome


def _memory() -> str | None:
    """A file system in memory for the few real files, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
