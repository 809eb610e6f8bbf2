"""A small site of five real processes: registry, Central, charge point, monitor, driver.

They run on the hosts of a network: namespaces (``tests.support.netns``) or, with ``Loopback``, all on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Protocol

from evcharge.cp.journal import Journal
from evcharge.domain.words import LinkState, Shown
from tests.support.history import History
from tests.support.processes import Process, Timeline, until

CP = "CP-1"
SECOND_CP = "CP-2"
DRIVER = "anna"
OTHER_DRIVER = "ben"
# A vehicle that stays plugged in and never gets full: one charge after the other can be asked for.
PLUGGED = {"after_s": 0, "do": "plug", "vehicle": {"capacity_wh": 1_000_000, "soc": 0.1}}
# 50 kW are 14 Wh in a second, so that a charge lasts seconds; the fallback is the minimum.
MAX_KW = 50
MIN_KW = 5
CAPACITY_KW = 60
# Where the engine answers its monitor in a namespace; any port would do.
HEALTH_PORT = 9411


class Net(Protocol):
    """Where processes run and how they find each other."""

    def command(self, host: str) -> list[str]:
        """What stands before a command line on ``host``."""
        ...

    def address(self, host: str, seen_from: str) -> str:
        """The address of ``host`` for ``seen_from``."""
        ...


class Loopback:
    """All hosts are this one."""

    def command(self, host: str) -> list[str]:
        return []

    def address(self, host: str, seen_from: str) -> str:
        return "127.0.0.1"


def make_registry(directory: Path) -> Path:
    """A registry with two charge points and two drivers, made by hand: init, run, register. Its folder."""
    timeline = Timeline("a registry, two charge points and two drivers")
    folder = directory / "registry"
    run_to_end(Process("init", "sidecar", ["init", "--data-dir", folder], directory))
    sidecar = Process("sidecar", "sidecar", ["run", "--data-dir", folder, "--port", 0], directory)
    try:
        common = ["--registry", sidecar.ready()["url"], "--token-file", folder / "operator.token"]
        asked = [
            Process("register", "cp", ["register", *common, "--id", cp_id, "--out", folder / "cps" / cp_id], directory)
            for cp_id in (CP, SECOND_CP)
        ]
        for name in (DRIVER, OTHER_DRIVER):
            words = ["register", *common, "--id", name, "--out", folder / f"{name}.json"]
            asked.append(Process("register", "driver", words, directory))
        for process in asked:
            run_to_end(process)
        assert sidecar.stop() == 0, sidecar.tail()
    finally:
        sidecar.kill()
    timeline.say("registered")
    return folder


def run_to_end(process: Process) -> list[dict[str, Any]]:
    """Wait for a command that has to succeed; what it printed."""
    assert process.wait() == 0, process.tail()
    return process.lines


class Site:
    """Starts, kills and looks at the processes. Use as a context manager: none survives it."""

    def __init__(self, directory: Path, net: Net, registry: Path, timeline: Timeline) -> None:
        self.directory = directory
        self.net = net
        self.timeline = timeline
        self.default_ports = not isinstance(net, Loopback)
        self.registry = directory / "registry"
        shutil.copytree(registry, self.registry)
        self.history = History(directory / "central" / "log")
        self.processes: list[Process] = []
        self.central_port = 0
        self.sidecar_port = 8080 if self.default_ports else 0
        self.health = ""
        self.meters: dict[str, dict[str, int]] = {}

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()

    # --- starting -------------------------------------------------------------------------------------------------

    def start(self, *central: object) -> None:
        """All five but the driver; returns when the charge point is free. ``central``: more of Central's options."""
        if self.default_ports:
            # Where each will listen is known, so none waits for the other.
            self.sidecar, self.central = self.start_sidecar(wait=False), self.start_central(*central, wait=False)
            # Whoever comes before the registry is told to come back in five seconds.
            self.sidecar.ready()
            self.central.ready()
            self.health = f"{self.net.address('cp', 'monitor')}:{HEALTH_PORT}"
            self.cp, self.monitor = self.start_cp(), self.start_monitor()
        else:
            self.sidecar = self.start_sidecar()
            self.central = self.start_central(*central)
            self.cp, self.monitor = self.start_cp(), self.start_monitor()
        self.free()
        self.timeline.say(f"registry, Central, {CP} and its monitor are up")

    def run(self, name: str, module: str, host: str, arguments: list[object]) -> Process:
        """A process on a host."""
        process = Process(name, module, arguments, self.directory, before=self.net.command(host))
        self.processes.append(process)
        return process

    def start_sidecar(self, listen: str | None = None, *more: object, wait: bool = True) -> Process:
        """The registry; on all addresses of its host unless told otherwise. ``more``: more of its options."""
        # Who wants metrics says where: tests that run beside each other have no port in common.
        arguments: list[object] = ["run", "--data-dir", self.registry, "--metrics", "off"]
        if listen is not None or self.default_ports:
            arguments += ["--host", listen or "0.0.0.0"]
        if not self.default_ports:
            arguments += ["--port", self.sidecar_port]
        arguments += ["--central", self._central("sidecar")] if self.central_port or self.default_ports else []
        arguments += more
        process = self.run("sidecar", "sidecar", "sidecar", arguments)
        if wait:
            self.sidecar_port = int(process.ready()["url"].rpartition(":")[2])
        return process

    def start_central(self, *more: object, wait: bool = True) -> Process:
        """Central, on the port that it had before."""
        registry = f"http://{self.net.address('sidecar', 'central')}:{self.sidecar_port}"
        arguments: list[object] = ["--credentials", self.registry / "central.json", "--registry", registry]
        arguments += ["--data-dir", self.directory / "central", "--metrics", "off"]
        arguments += ["--capacity-kw", CAPACITY_KW, "--drain-s", 0.2, *more]
        if self.default_ports:
            arguments += ["--host", "0.0.0.0", "--allow-plain-registry"]
        else:
            arguments += ["--port", self.central_port]
        process = self.run("central", "central", "central", arguments)
        if wait:
            self.central_port = process.ready()["port"]
        return process

    def start_cp(self, cp_id: str = CP, *, plugged: bool = True) -> Process:
        """The engine of a charge point, by default with a vehicle that is there from the start."""
        script = self.directory / f"{cp_id}.{plugged}.jsonl"
        script.write_text(json.dumps({**PLUGGED, "cp_id": cp_id}) if plugged else "")
        arguments: list[object] = ["run", "--credentials", self.registry / "cps" / cp_id]
        arguments += ["--central", self._central("cp"), "--data-dir", self.directory / "cp-data"]
        arguments += ["--max-kw", MAX_KW, "--min-kw", MIN_KW, "--script", script]
        arguments += ["--trace", self.directory / f"{cp_id}.trace"]
        if cp_id == CP:
            arguments += ["--health-listen", self.health or f"{self.net.address('cp', 'monitor')}:0"]
        process = self.run(cp_id, "cp", "cp", arguments)
        if cp_id == CP and not self.health:
            self.health = process.ready()["health"]
        return process

    def start_monitor(self, *more: object) -> Process:
        """The monitor of the first charge point; ``more``: more of its options."""
        arguments: list[object] = ["run", "--credentials", self.registry / "cps" / CP]
        arguments += ["--central", self._central("monitor"), "--engine", self.health, *more]
        return self.run("monitor", "monitor", "monitor", arguments)

    def driver(self, verb: str, *arguments: object, name: str = DRIVER) -> Process:
        """``evcharge-driver VERB … --json``."""
        door = ["--credentials", self.registry / f"{name}.json", "--central", self._central("driver")]
        return self.run("driver", "driver", "driver", [verb, *arguments, "--json", *door])

    def _central(self, host: str) -> str:
        """Central's address as a user of ``host`` would type it: without the port where it is the default one."""
        address = self.net.address("central", host)
        return address if self.default_ports else f"{address}:{self.central_port}"

    # --- charging -------------------------------------------------------------------------------------------------

    def charge(
        self, cp_id: str = CP, *, wh: int | None = None, running: bool = True, name: str = DRIVER
    ) -> tuple[Process, str]:
        """A driver asks for a charge and waits for its ticket: the process, and the session, which is under way."""
        energy = [] if wh is None else ["--energy-kwh", f"{wh / 1000:.3f}"]
        driver = self.driver("charge", cp_id, *energy, "--wait", name=name)
        session_id = self.authorized(driver)
        if running:
            until(lambda: any(update["energy_wh"] > 0 for update in driver.said("update")), driver.tail)
            self.timeline.say(f"{cp_id} charges, session {session_id}")
        return driver, session_id

    def authorized(self, driver: Process) -> str:
        """The session that was granted to a driver's process."""
        until(lambda: driver.said("authorized") or driver.returncode is not None, driver.tail)
        assert driver.said("authorized"), driver.tail()
        session_id: str = driver.said("authorized")[0]["session_id"]
        return session_id

    def refused(self, sentence: str) -> None:
        """A request of another driver is turned down, with these words."""
        driver = self.driver("charge", CP, name=OTHER_DRIVER)
        assert driver.wait() == 1, driver.tail()
        assert sentence in driver.errors, driver.errors
        self.timeline.say(f"a request is refused: {driver.errors.strip()}")

    def end(self, driver: Process, session_id: str) -> dict[str, Any]:
        """The driver leaves its view, asks for the end and gets the ticket."""
        driver.kill()
        ending = self.driver("end", session_id)
        return self.ticket(ending, session_id)

    def ticket(self, driver: Process, session_id: str) -> dict[str, Any]:
        """The one ticket that this driver's process waits for; it then ends with 0."""
        assert driver.wait() == 0, driver.tail()
        tickets = driver.said("ticket")
        assert [ticket["session_id"] for ticket in tickets] == [session_id], driver.tail()
        ticket = tickets[0]
        self.timeline.say(
            f"the driver has its ticket: {ticket['energy_wh']} Wh, {ticket['status']}, {ticket['reason']}"
        )
        return ticket

    # --- facts ----------------------------------------------------------------------------------------------------

    def free(self) -> None:
        """Wait until the charge point can be used."""
        self.shown(Shown.ACTIVATED, LinkState.UP)

    def shown(self, wanted: Shown, monitor: LinkState | None = None) -> None:
        """Wait until the charge point is shown so (and its monitor's link is so)."""

        def is_so() -> bool:
            state = self.history.state()
            charge_point = next((cp for cp in state.charge_points.values() if cp.cp_id == CP), None)
            if charge_point is None or self.history.shown(CP) is not wanted:
                return False
            return monitor is None or charge_point.monitor.state is monitor

        until(is_so, lambda: f"{CP} is {self.history.shown(CP)}, not {wanted}; {self.logs()}")
        self.timeline.say(f"{CP} shows {wanted.value}")

    def power(self, cp_id: str = CP) -> list[tuple[int, int]]:
        """True power of a charge point, from its own trace: (site ms, W) at each change."""
        file = self.directory / f"{cp_id}.trace"
        whole, _, _ = file.read_bytes().rpartition(b"\n") if file.exists() else (b"", b"", b"")
        points = [json.loads(line) for line in whole.splitlines()]
        return [(point["t"], point["w"]) for point in points]

    def power_now(self, cp_id: str = CP) -> int:
        """Watts that flow."""
        return next((watts for _, watts in reversed(self.power(cp_id))), 0)

    def register_on_disk(self, cp_id: str = CP) -> int:
        """The meter of a charge point whose process is gone, in Wh."""
        journal = Journal.open(self.directory / "cp-data", cp_id, os.urandom)
        try:
            return journal.load().meter_wh(1)
        finally:
            journal.close()

    def waiting_on_disk(self, cp_id: str = CP) -> int:
        """Outbox items of a charge point whose process is gone."""
        journal = Journal.open(self.directory / "cp-data", cp_id, os.urandom)
        try:
            return len(journal.load().items)
        finally:
            journal.close()

    def logs(self) -> str:
        """What all processes said last."""
        return "\n".join(process.tail() for process in self.processes)

    # --- the end --------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Stop everything in order and balance the books: one ticket per session, tickets = meters."""
        order = ["driver", CP, SECOND_CP, "monitor", "central", "sidecar"]
        running = [process for process in self.processes if process.returncode is None]
        for process in sorted(running, key=lambda process: order.index(process.name)):
            assert process.stop() == 0, process.tail()
            if process.name in (CP, SECOND_CP):
                self.meters |= process.lines[-1]["meters"]
        for process in self.processes:
            assert "Traceback" not in process.errors, process.tail()
        self.history.check()
        metered = sum(sum(meters.values()) for meters in self.meters.values())
        assert self.history.energy_wh() == metered
        self.timeline.say(f"all stopped; {len(self.history.tickets())} tickets over {metered} Wh, as the meters say")
