"""docs/machines.md with compose files: two engines on two machines, which share nothing but a switch.

Each machine is a network namespace with a container engine of its own, which has its images, containers, networks and
firewall there; what the manual says is typed word for word, C being B. Nothing is fetched: the image of this checkout
is saved once and loaded into both, as the manual does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.containers.engine import Engine, Image
from tests.support.machine import ROOT, Machine
from tests.support.machines import LEASE_S, Machines
from tests.support.processes import Timeline, until
from tests.support.shared import lacking
from tools.netns import Switched, missing

pytestmark = pytest.mark.containers


class Manual(Switched):
    """A switch with the addresses that the manual has."""

    def address(self, host: str) -> str:
        return super().address(host).replace("10.212.0.", "10.0.0.")


# An engine with the image, its containers and their logs takes half of it.
ENGINE_SIZE = "2g"
# What Anna types before a verb.
DRIVER = "docker-compose --env-file driver.env -f deploy/machines/driver.yaml run --rm driver evcharge-driver {}"


def engine_on(machine: Machine, source: str, image: str, timeline: Timeline) -> None:
    """Start a container engine on the machine and bring it an image of the engine ``source`` (a DOCKER_HOST)."""
    begun = time.monotonic()
    folder = machine.directory.with_suffix(".engine")
    folder.mkdir()
    # In memory, where this machine alone sees it: nothing of it has to be written or removed.
    machine.type(f"mount -t tmpfs -o size={ENGINE_SIZE} engine {folder}")
    machine.type(
        f"dockerd --host $DOCKER_HOST --data-root {folder}/data --exec-root {folder}/exec --pidfile {folder}.pid "
        f"--exec-opt native.cgroupdriver=cgroupfs --shutdown-timeout 5 > {folder}.log 2>&1 &\n"
        "until docker version > /dev/null 2>&1; do kill -0 $!; sleep 0.1; done"
    )
    timeline.say(f"{machine.name}: its engine runs, {time.monotonic() - begun:.1f} s")
    begun = time.monotonic()
    machine.type(f"docker --host {source} save {image} | docker load --quiet")
    timeline.say(f"{machine.name}: it has the image, {time.monotonic() - begun:.1f} s")


def two_are_well(machine: Machine) -> bool:
    """Whether two containers there pass their health checks."""
    return len(machine.type("docker ps --quiet --filter health=healthy")) == 2


def end_engine(machine: Machine, host: str, timeline: Timeline) -> None:
    """Its containers at once, then the engine in order: whatever became of the shell that has started it."""
    begun = time.monotonic()
    docker = ["docker", "--host", host]
    running = subprocess.run([*docker, "ps", "--quiet"], capture_output=True, text=True, check=False).stdout.split()
    if running:
        subprocess.run([*docker, "kill", *running], stdout=subprocess.DEVNULL, check=False)
    # The engine removes this file when it has ended.
    pid = machine.directory.with_suffix(".engine.pid")
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGTERM)
        until(lambda: not pid.exists(), machine.tail)
    timeline.say(f"{machine.name}: its engine has ended, {time.monotonic() - begun:.1f} s")


@pytest.fixture
def machines(engine: Engine, image: Image, request: pytest.FixtureRequest) -> Iterator[Machines]:
    lacks = missing()
    if lacks is not None:
        lacking(lacks)
    timeline = Timeline(request.node.name.removeprefix("test_").replace("_", " "))
    # The way to an engine's socket is short: the kernel takes 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="evcharge-machines."))
    try:
        with Manual(["a", "b"]) as network, ExitStack() as stack, ThreadPoolExecutor(2) as pool:
            hosts = {"site.example": network.address("a")}
            made: dict[str, Machine] = {}
            for name in ("a", "b"):
                # Not `ip netns exec`, whose own /sys has no cgroups in it, without which no engine starts.
                before = ["nsenter", f"--net=/run/netns/{network.name(name)}", "unshare", "--mount"]
                host = f"unix://{directory}/{name}.sock"
                variables = {
                    "DOCKER_HOST": host,
                    "EVCHARGE_IMAGE": image.name,
                    "LEASE_S": str(LEASE_S),
                    "TRACE": "/var/lib/evcharge/power.trace",
                }
                made[name] = stack.enter_context(Machine(name, before, directory / name, hosts, variables))
                shutil.copytree(ROOT / "deploy" / "machines", made[name].directory / "deploy" / "machines")
                stack.callback(end_engine, made[name], host, timeline)
            list(pool.map(lambda machine: engine_on(machine, engine.host, image.name, timeline), made.values()))
            # C of the manual: its files, on B.
            (directory / "c").symlink_to(directory / "b")
            log = made["a"].srv / "evcharge" / "central" / "log"
            trace = made["b"].srv / "evcharge" / "cp-CP-1" / "power.trace"
            yield Machines({**made, "c": made["b"]}, network, timeline, log=log, trace=trace, driver=DRIVER)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_two_engines_and_the_link_between_them(machines: Machines) -> None:
    printed = machines.follow("With compose files")
    assert "the page: 200" in printed
    (ticket,) = machines.history.tickets()
    assert ticket.energy_wh == 100
    assert any(line.startswith(f"ticket {ticket.ticket_id}") for line in printed), printed

    # Central and sidecar, engine and monitor: each says itself that it is well.
    for letter in ("A", "B"):
        until(partial(two_are_well, machines.machine(letter)), machines.machine(letter).tail)

    # The charge point that the plan got at the end has its credentials, and the first one kept its own.
    keys = machines.machine("A").srv / "evcharge" / "keys" / "charge-points"
    assert sorted(file.name for file in keys.glob("CP-2/*.json")) == ["CP-2.cp.json", "CP-2.monitor.json"]
    known = (machines.machine("B").srv / "evcharge" / "keys" / "CP-1.cp.json").read_bytes()
    assert (keys / "CP-1" / "CP-1.cp.json").read_bytes() == known

    machines.charge(0.6)
    machines.interrupted(machines.cut_beyond_the_lease())
    machines.charge(0.1)
    until(lambda: len(machines.tickets()) == 2, machines.machine("C").tail)
    told = machines.tickets()[-1]
    assert (told["status"], told["energy_wh"]) == ("COMPLETED", 100)
    machines.say("the driver has its ticket")
    machines.history.check()

    # Each came from its own machine: no engine hid its address behind that of its own network.
    sources = machines.sources()
    outside = {actor: sources[actor] for actor in ("engine:CP-1", "monitor:CP-1", "driver:anna")}
    assert set(outside.values()) == {machines.network.address("b")}
