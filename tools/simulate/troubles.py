"""What goes wrong, drawn from the seed: processes and machines die, lines are cut, dark, slow or noisy, disks fail."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from evcharge.cp.script import Action
from evcharge.cp.vehicle import MAX_CAPACITY_WH, VehicleSpec
from tools.simulate.machines import CENTRAL_HOST, REGISTRY_HOST

if TYPE_CHECKING:
    from tools.simulate.machines import Machine
    from tools.simulate.world import World

# Mean pause between two troubles, virtual seconds: often enough that they meet each other.
PAUSE_S = 12.0
# How long what is broken stays so, virtual seconds: shorter and longer than every time-out of the wire.
BROKEN_S = (0.05, 90.0)


class Troubles:
    """Draws from its own generator."""

    def __init__(self, seed: int, pause_s: float = PAUSE_S) -> None:
        self.dice = random.Random(f"{seed}/troubles")
        self._pause_s = pause_s
        self._mending: set[asyncio.Task[None]] = set()

    async def run(self, world: World, seconds: float) -> None:
        """Make trouble for so long, then wait until all of it is mended."""
        kinds: list[tuple[Callable[[World], None], int]] = [
            (self._kill_central, 4),
            (self._lose_power, 3),
            (self._break_disk, 2),
            (self._kill_other, 4),
            (self._cut, 4),
            (self._darken, 4),
            (self._slow, 2),
            (self._flip, 2),
            (self._pull_plug, 3),
        ]
        chosen = [kind for kind, _ in kinds]
        weights = [weight for _, weight in kinds]
        until = world.loop.time() + seconds
        while (pause_s := self.dice.expovariate(1 / self._pause_s)) < until - world.loop.time():
            await asyncio.sleep(pause_s)
            self.dice.choices(chosen, weights)[0](world)
        await asyncio.sleep(max(0.0, until - world.loop.time()))
        while self._mending:
            await asyncio.wait(self._mending)

    def _count(self, world: World, kind: str, about: str = "") -> None:
        faults = world.outcome.faults
        faults[kind] = faults.get(kind, 0) + 1
        world.note(f"{world.loop.time():.6f} TROUBLE {kind} {about}")

    def _later(self, mend: Callable[[], None], seconds: float | None = None) -> None:
        """Mend it after a while."""
        after_s = self._while() if seconds is None else seconds

        async def wait() -> None:
            await asyncio.sleep(after_s)
            mend()

        task = asyncio.create_task(wait())
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    def _while(self) -> float:
        low, high = BROKEN_S
        # As often a tenth of a second as ten: what matters differs by magnitudes.
        return float(low * (high / low) ** self.dice.random())

    # --- processes and machines -----------------------------------------------------------------------------------

    def _kill(self, world: World, machine: Machine, kind: str, *, silent: bool = False) -> None:
        if not machine.running:
            return
        self._count(world, kind, machine.name)
        machine.kill(silent=silent)
        self._later(lambda: None if machine.running else machine.start())

    def _kill_central(self, world: World) -> None:
        self._kill(world, world.central, "central killed")

    def _lose_power(self, world: World) -> None:
        self._kill(world, world.central, "central without power", silent=True)

    def _kill_other(self, world: World) -> None:
        machine = self.dice.choice(world.machines[1:])
        self._kill(world, machine, f"{type(machine).__name__.removesuffix('Machine').lower()} killed")

    def _break_disk(self, world: World) -> None:
        central = world.central.central
        if central is not None:
            number = self.dice.choice([errno.EIO, errno.ENOSPC])
            world.central.volume.fail(central.log_dir, self.dice.randint(1, 40), number)
            self._count(world, errno.errorcode[number])

    # --- lines ----------------------------------------------------------------------------------------------------

    def _hosts(self, world: World) -> tuple[str, str]:
        if self.dice.random() < 0.05:
            return CENTRAL_HOST, REGISTRY_HOST
        return CENTRAL_HOST, self.dice.choice([machine.host for machine in world.machines[1:]])

    def _cut(self, world: World) -> None:
        one, other = self._hosts(world)
        self._count(world, "line cut", other)
        world.network.cut(one, other)

    def _darken(self, world: World) -> None:
        line = world.network.line(*self._hosts(world))
        self._count(world, "line dark")
        line.dark = True
        self._later(lambda: setattr(line, "dark", False))

    def _slow(self, world: World) -> None:
        line = world.network.line(*self._hosts(world))
        self._count(world, "line slow")
        line.slow = self.dice.choice([10.0, 30.0])
        self._later(lambda: setattr(line, "slow", 1.0))

    def _flip(self, world: World) -> None:
        one, other = self._hosts(world)
        self._count(world, "bit flipped")
        world.network.line(one, other).flips += 1

    # --- people ---------------------------------------------------------------------------------------------------

    def _pull_plug(self, world: World) -> None:
        machine = self.dice.choice(world.engines)
        self._count(world, "unplugged", machine.name)
        machine.act(Action(cp_id=machine.name, after_s=0, do="unplug"))
        vehicle = VehicleSpec(capacity_wh=MAX_CAPACITY_WH, soc=0.0)
        plug = Action(cp_id=machine.name, after_s=0, do="plug", vehicle=vehicle)
        self._later(lambda: machine.act(plug), self.dice.uniform(0.5, 20.0))
