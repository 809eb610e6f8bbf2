"""The terminal of ``evcharge-cp run``: one live line, and keys that act on the chosen charge point."""

from __future__ import annotations

import asyncio
from types import TracebackType

from evcharge.cp.console import Keyboard, say, show_line
from evcharge.cp.runner import Fleet, Host
from evcharge.cp.slot import Slot
from evcharge.cp.vehicle import MJ_PER_WH, VehicleSpec

# Seconds between two pictures: quick enough to follow, slow enough to read.
REFRESH_S = 0.5
HELP = (
    "p plug a vehicle in   u unplug   f fail   r recover   e emergency stop   "
    "c next connector   n next charge point   q quit   ? help"
)


class LiveView:
    """While entered: keys work and the line lives."""

    def __init__(self, fleet: Fleet, stop: asyncio.Event) -> None:
        self._fleet = fleet
        self._stop = stop
        self._names = list(fleet.hosts)
        self._chosen = 0
        self._connector = 1
        self._keyboard = Keyboard(self.press)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LiveView:
        self._keyboard.__enter__()
        say(HELP)
        self._task = asyncio.get_running_loop().create_task(self._keep_showing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
        self._keyboard.__exit__(kind, error, trace)
        say(describe(self.host, self.slot))

    @property
    def host(self) -> Host:
        """The charge point that keys act on."""
        return self._fleet.hosts[self._names[self._chosen]]

    @property
    def slot(self) -> Slot:
        """The connector that keys act on."""
        return self.host.engine.slots[self._connector - 1]

    def press(self, key: str) -> None:
        """One key."""
        host, number = self.host, self._connector
        engine = host.engine
        self._fleet.catch_up()
        now = host.now()
        match key.lower():
            case "p":
                if self.slot.occupied:
                    say("A vehicle is plugged in already; u unplugs it.")
                else:
                    host.send(engine.plug(number, host.vehicle(number, VehicleSpec()), now))
            case "u":
                if not self.slot.occupied:
                    say("No vehicle is plugged in; p plugs one in.")
                host.send(engine.unplug(number, now))
            case "f":
                host.send(engine.fail("simulated_fault", now, number))
            case "r":
                host.send(engine.recover(now))
            case "e":
                host.send(engine.emergency_stop(now))
            case "c":
                self._connector = self._connector % len(engine.slots) + 1
            case "n":
                self._chosen = (self._chosen + 1) % len(self._names)
            case "q":
                self._stop.set()
            case "?" | "h":
                say(HELP)
            case _:
                return
        show_line(describe(self.host, self.slot))

    async def _keep_showing(self) -> None:
        while True:
            show_line(describe(self.host, self.slot))
            await asyncio.sleep(REFRESH_S)


def describe(host: Host, slot: Slot) -> str:
    """A charge point and one connector in one line, units for people."""
    engine, connector = host.engine, slot.connector
    words = [f"{host.cp_id}#{slot.number}", "online" if engine.online else "offline"]
    if engine.disk_error is not None or slot.error is not None:
        words.append(f"OUT OF ORDER ({slot.error or engine.disk_error})")
    if slot.running is not None:
        delivered_wh = (connector.register_mj - slot.running.start_mj) // MJ_PER_WH
        state = "paused" if connector.power_w == 0 else "supplying"
        limit = "fallback" if slot.lease is not None and slot.lease.lapsed else "limit"
        words.append(f"{state} {connector.power_w / 1000:.2f} kW ({limit} {connector.limit_w / 1000:.2f} kW)")
        words.append(f"{delivered_wh / 1000:.3f} kWh")
        if slot.lease is not None and slot.lease.reason:
            words.append(slot.lease.reason)
    elif slot.authorized is not None:
        words.append("authorized, waiting for " + ("power" if slot.occupied else "a vehicle"))
    else:
        words.append("vehicle plugged in" if slot.occupied else "free")
    if connector.vehicle is not None:
        words.append(f"battery {connector.vehicle.soc_percent} %")
    words.append(f"meter {connector.register_wh / 1000:.3f} kWh")
    if engine.waiting:
        words.append(f"{engine.waiting} results wait")
    return "  ".join(words)
