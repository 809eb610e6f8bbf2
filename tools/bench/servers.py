"""The servers that are compared, each a process on a CPU of its own, and how one of them is measured.

All servers share one CPU, the load generator has the others. What counts is work per CPU second of the server's own
process, so that the generator is never the limit of a figure.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from evcharge.cli.central import cli as central_cli
from protocol.credentials import Credential
from tools.bench import worker as w
from tools.bench.floor import Setup
from tools.bench.peer import make_certificate
from tools.bench.report import Server
from tools.daemon import Daemon, DaemonFailed
from tools.latencies import Latencies
from tools.site import HOST, Site

# From the order to the first message, seconds: all workers have read it by then.
LEAD_S = 0.05
# Longest wait for a worker, seconds, beside the load itself.
ORDER_S = 240.0
# A charge point of a load says more than one in the field: the rate of one peer must not be what is measured.
RATE_ARGS = ("--rate-per-s", "1000000", "--rate-burst", "1000000")


Load = w.Telemetry | w.Cycles | w.Handshakes
"""What can be measured."""


class BenchFailed(Exception):
    """The measuring could not be done: one sentence."""


class Sample(NamedTuple):
    """One repetition."""

    total: int
    """What was done from the first request to the last answer …"""
    cpu_s: float
    """… and the CPU seconds that the server took for it."""
    per_s: float
    """Done a second."""
    cpu_share: float
    """CPU that the server used, in the window."""
    latencies: Latencies
    losses: list[str]
    load_share: float = 0.0
    """CPU of the load generator, in the window: near 1 (a core), latencies are its own."""

    @property
    def per_cpu_s(self) -> float:
        """Done per CPU second of the server."""
        return self.total / self.cpu_s if self.cpu_s else 0.0


class _Cpu(NamedTuple):
    """CPU seconds used up to a moment."""

    at_s: float
    server_s: float
    workers_s: float


class Place(NamedTuple):
    """Where everything runs."""

    folder: Path
    server_cpu: int | None
    load_cpu: int | None
    """None: there is one CPU only, nothing is pinned."""


def place(folder: Path) -> Place:
    """Servers on the last CPU, the load (and this process) on the one before; says so by pinning this process."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return Place(folder, None, None)
    os.sched_setaffinity(0, set(cpus[:-1]))
    return Place(folder, cpus[-1], cpus[-2] if len(cpus) == 2 else None)


class Contender:
    """A server with the workers that load it."""

    def __init__(self, server: Server, daemon: Daemon, port: int, workers: Sequence[Daemon]) -> None:
        self.server: Server = server
        self.daemon = daemon
        self.port = port
        self.workers = workers

    async def obey(self, orders: Sequence[w.Order]) -> list[w.Outcome]:
        """One order for each worker; what they came to. Raises BenchFailed."""
        return await asyncio.gather(
            *(self._obey(each, order) for each, order in zip(self.workers, orders, strict=True))
        )

    async def _obey(self, worker: Daemon, order: w.Order) -> w.Outcome:
        await worker.tell(order)
        answer = await worker.answer("done", ORDER_S)
        if not answer["done"]:
            raise BenchFailed(f"{self.server}: {answer['why']}{self.daemon.tail()}")
        return msgspec.convert(answer, w.Outcome, strict=False)

    async def measure(self, load: Load, *, warm_s: float, seconds: float) -> Sample:
        """Carry out ``load`` (its window is replaced) by all workers, and read the server's CPU before and after.

        Nothing is under way before and after, so the work is set against its own CPU time and no other. A pace is
        shared by the workers; latencies are counted after ``warm_s``. Raises BenchFailed.
        """
        before_s = self.daemon.cpu_s()
        begin_s = time.monotonic() + LEAD_S
        window = w.Window(begin_s, begin_s + warm_s, begin_s + warm_s + seconds)
        order: w.Order = msgspec.structs.replace(load, window=window)
        if isinstance(order, w.Telemetry) and order.per_s is not None:
            order = msgspec.structs.replace(order, per_s=order.per_s / len(self.workers))
        obeyed = asyncio.ensure_future(self.obey([order] * len(self.workers)))
        try:
            first = await self._cpu_at(window.count_s)
            last = await self._cpu_at(window.end_s)
            outcomes = await obeyed
        finally:
            obeyed.cancel()
        cpu_s = self.daemon.cpu_s() - before_s
        latencies = Latencies()
        for each in outcomes:
            latencies.merge(Latencies(each.latencies, each.most_s))
        total, last_s = sum(each.total for each in outcomes), max(each.last_s for each in outcomes)
        losses = [loss for each in outcomes for loss in each.losses]
        if not total:
            raise BenchFailed(f"{self.server} did nothing in {seconds:g} s: {losses or 'nobody knows why'}.")
        passed_s = max(last.at_s - first.at_s, 1e-9)
        server, generator = last.server_s - first.server_s, last.workers_s - first.workers_s
        per_s = total / max(last_s - begin_s, 1e-9)
        return Sample(total, cpu_s, per_s, server / passed_s, latencies, losses, generator / passed_s)

    async def _cpu_at(self, moment_s: float) -> _Cpu:
        await asyncio.sleep(max(0.0, moment_s - time.monotonic()))
        return _Cpu(time.monotonic(), self.daemon.cpu_s(), sum(each.cpu_s() for each in self.workers))

    async def close(self) -> None:
        """End the workers and the server."""
        for each in (*self.workers, self.daemon):
            if each.alive:
                await each.stop()


class Files(NamedTuple):
    """Credentials for the workers, as JSON lines, 0600."""

    points: list[Path]
    """One file for each worker."""
    drivers: list[Path]


class Ring:
    """The contenders of one row; ``async with`` ends them."""

    def __init__(self, where: Place, name: str) -> None:
        self.where = where
        self.folder = where.folder / name
        self.contenders: list[Contender] = []
        self.files = Files([], [])
        self.certificate = self.folder / "peer.pem"
        self._sites: list[Site] = []

    async def __aenter__(self) -> Ring:
        self.folder.mkdir(mode=0o700, parents=True)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.gather(*(each.close() for each in self.contenders))
        for site in self._sites:
            await site.close()

    def __getitem__(self, server: Server) -> Contender:
        return next(each for each in self.contenders if each.server == server)

    async def add_central(self, *, points: int, drivers: int, substations: int, workers: int = 1) -> Contender:
        """A real registry and Central; its credentials are those of the floor as well."""
        known = {parameter.name for parameter in central_cli.params}
        site = await Site.start(
            self.folder / "site",
            charge_points=points,
            drivers=drivers,
            substations=substations,
            central_args=RATE_ARGS if "rate_per_s" in known else (),
            central_cpu=self.where.server_cpu,
        )
        self._sites.append(site)
        for number in range(workers):
            self.files.points.append(self._keep(f"points-{number}", site.engine_credentials[number::workers]))
            self.files.drivers.append(self._keep(f"drivers-{number}", site.driver_credentials[number::workers]))
        return await self._add("central", site.central, site.port, workers)

    async def add_floor(self) -> Contender:
        """The floor, for the peers of the site that was added before."""
        site = self._sites[0]
        bootstrap = msgspec.json.decode((site.folder / "registry" / "central.json").read_bytes(), type=_Bootstrap)
        peers = [*site.engine_credentials, *site.driver_credentials]
        setup = Setup(
            credential=bytes(bootstrap.credential).decode(),
            keys={peer.username: peer.public_key() for peer in peers},
            log=str(self.folder / "floor.log-data"),
        )
        path = self._write("floor.json", msgspec.json.encode(setup))
        daemon = await self._start("floor", ["-m", "tools.bench.floor", str(path)])
        return await self._add("floor", daemon, int(daemon.ready["port"]), 1)

    async def add_peer(self) -> Contender:
        """The CSMS of ocpp and websockets."""
        make_certificate(self.certificate)
        daemon = await self._start("peer", ["-m", "tools.bench.peer", str(self.certificate)])
        return await self._add("peer", daemon, int(daemon.ready["port"]), 1)

    async def _start(self, name: str, arguments: Sequence[str]) -> Daemon:
        return await Daemon.start(name, arguments, self.folder / f"{name}.log", cpu=self.where.server_cpu)

    async def _add(self, server: Server, daemon: Daemon, port: int, workers: int) -> Contender:
        arguments = ["-m", "tools.bench.worker"]
        started = await asyncio.gather(
            *(
                Daemon.start(
                    f"{server} worker", arguments, self.folder / f"{server}-worker.log", cpu=self.where.load_cpu
                )
                for _ in range(workers)
            )
        )
        contender = Contender(server, daemon, port, started)
        self.contenders.append(contender)
        return contender

    def _keep(self, name: str, credentials: Sequence[Credential]) -> Path:
        return self._write(f"{name}.jsonl", b"".join(each.to_json() + b"\n" for each in credentials))

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        return path


class _Bootstrap(msgspec.Struct):
    credential: msgspec.Raw


__all__ = ["HOST", "BenchFailed", "Contender", "DaemonFailed", "Load", "Place", "Ring", "Sample", "place"]
