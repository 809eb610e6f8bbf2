"""``python -m tools.bench http``: the gateway's recommendation beside a bare aiohttp handler with the same bytes.

Everything is real: a sidecar process with its database, a client app's token that is verified, Central with charge
points behind it. The two servers stand on one CPU, everything else on the others, and they are measured in turns.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
import click
import msgspec
import structlog
from rich.console import Console
from rich.table import Table

from tools.bench.http_load import Order, Outcome
from tools.bench.servers import BenchFailed, Place, place
from tools.daemon import Daemon, DaemonFailed
from tools.latencies import Latencies
from tools.site import HOST, Site

# Of the bare handler's requests per second, at least.
GOAL = 0.25
# Connections that ask at once, and the time of one measurement, seconds.
CONNECTIONS = 32
SECONDS = 4.0
QUICK_SECONDS = 1.0
WARM_S = 0.5
TURNS = 5
CHARGE_POINTS = 20
PATH = "/orchestrator/recommend?battery_percent={battery:.2f}"
# Charge of the first vehicle, percent; each further one has a hundredth more.
BATTERY = 40.0
# Limits are not what is measured.
SERVICES = "failed_authentications = 1000000\n[throttle]\ngateway = 1000000\ntoken = 1000000\n"
# Longest wait until charge points and the link are there, seconds.
READY_S = 60.0


class Sample(NamedTuple):
    """One turn."""

    per_s: float
    latencies: Latencies
    cpu_share: float
    """CPU of the server's own process, of one core."""
    central_share: float = 0.0


class Measured(msgspec.Struct, frozen=True):
    """What ``--json`` prints."""

    sidecar_per_s: float
    bare_per_s: float
    ratio: float
    goal: float
    kept: bool
    sidecar_p50_ms: float
    sidecar_p99_ms: float
    bare_p99_ms: float
    sidecar_cpu_share: float
    bare_cpu_share: float
    central_cpu_share: float
    bytes: int
    connections: int
    charge_points: int


@click.command(name="http")
@click.option("--quick", is_flag=True, help="Turns of one second; for a look.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--vehicles",
    type=click.IntRange(1, 3_000),
    default=1,
    show_default=True,
    help="Vehicles that differ. The same question within a quarter of a second is asked of Central once.",
)
@click.option("--check", is_flag=True, help="Exit with 1 when the goal is not reached.")
def command(*, quick: bool, as_json: bool, vehicles: int, check: bool) -> None:
    """Requests per second of /orchestrator/recommend, with its token verified, beside a bare aiohttp handler.

    The bare handler answers the same bytes without asking anybody. Medians of five turns each.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    errors = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="evcharge-bench-") as scratch, errors.status("") as status:
        where = place(Path(scratch))
        try:
            seconds = QUICK_SECONDS if quick else SECONDS
            measured = asyncio.run(measure(where, vehicles, seconds, status.update))
        except (BenchFailed, DaemonFailed, aiohttp.ClientError) as error:
            raise click.ClickException(str(error)) from error
    show(measured, as_json=as_json)
    if check and not measured.kept:
        sys.exit(1)


async def measure(where: Place, vehicles: int, seconds: float, tell: Callable[[str], None]) -> Measured:
    """Set everything up, and take turns. Raises BenchFailed, DaemonFailed."""
    tell("a registry, Central and charge points")
    services = where.folder / "services.toml"
    services.write_text(SERVICES)
    site = await Site.start(
        where.folder / "site",
        charge_points=CHARGE_POINTS,
        substations=2,
        linked=True,
        sidecar_args=["--services", str(services), "--log-level", "error"],
        sidecar_cpu=where.server_cpu,
        central_cpu=where.load_cpu,
    )
    daemons: list[Daemon] = []
    try:
        daemons.append(await _charge_points(site, where))
        token = await _token(site)
        paths = [PATH.format(battery=BATTERY + number / 100) for number in range(vehicles)]
        head = f"Host: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n"
        requests = [f"GET {path} HTTP/1.1\r\n{head}" for path in paths]
        body = await _answer(site.sidecar_url + paths[0], token)
        (where.folder / "body.json").write_bytes(body)
        bare_args = ["-m", "tools.bench.http_bare", str(where.folder / "body.json")]
        bare = await Daemon.start("bare", bare_args, where.folder / "bare.log", cpu=where.server_cpu)
        daemons.append(bare)
        load_args = ["-m", "tools.bench.http_load"]
        load = await Daemon.start("load", load_args, where.folder / "load.log", cpu=where.load_cpu)
        daemons.append(load)
        ours: list[Sample] = []
        floor: list[Sample] = []
        port = int(site.sidecar_url.rpartition(":")[2])
        for turn in range(TURNS):
            tell(f"turn {turn + 1} of {TURNS}: the sidecar")
            ours.append(await _turn(load, site.sidecar, port, requests, seconds, site))
            tell(f"turn {turn + 1} of {TURNS}: the bare handler")
            floor.append(await _turn(load, bare, bare.ready["port"], requests, seconds, None))
    finally:
        for daemon in daemons:
            await daemon.stop()
        await site.close()
    return _measured(ours, floor, len(body))


async def _turn(
    load: Daemon, server: Daemon, port: int, requests: list[str], seconds: float, site: Site | None
) -> Sample:
    cpu_s, central_s, began_s = server.cpu_s(), 0.0 if site is None else site.central.cpu_s(), time.monotonic()
    await load.tell(Order(port, requests, CONNECTIONS, seconds, WARM_S))
    outcome = msgspec.convert(await load.answer("done", seconds + READY_S), Outcome, strict=False)
    passed_s = time.monotonic() - began_s
    if outcome.others or not outcome.done:
        raise BenchFailed(f"{server.name} answered {outcome.others or 'nothing'}.{server.tail()}")
    central_share = 0.0 if site is None else (site.central.cpu_s() - central_s) / passed_s
    latencies = Latencies(outcome.latencies, outcome.most_s)
    return Sample(outcome.done / seconds, latencies, (server.cpu_s() - cpu_s) / passed_s, central_share)


async def _charge_points(site: Site, where: Place) -> Daemon:
    folder = where.folder / "cps"
    folder.mkdir(mode=0o700)
    for credential in site.engine_credentials:
        file = folder / f"{credential.entity}.json"
        file.touch(0o600)
        file.write_bytes(credential.to_json())
    arguments = ["-m", "evcharge.cli.cp", "run", "--credentials", str(folder), "--central", f"{HOST}:{site.port}"]
    arguments += ["--data-dir", str(where.folder / "journals"), "--log-level", "error"]
    return await Daemon.start("charge points", arguments, where.folder / "cps.log", cpu=where.load_cpu)


async def _token(site: Site) -> str:
    """A driver's app, made by the command that an operator uses, and its token."""
    here = ["--data-dir", str(site.folder / "registry")]
    await _command("client", "add", "bench", *here, "--scope", "recommend")
    return (await _command("client", "token", "bench", *here, "--life-s", "3600")).strip()


async def _command(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "evcharge.cli.sidecar",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    if process.returncode != 0:
        raise BenchFailed(errors.decode(errors="replace"))
    return said.decode()


async def _answer(url: str, token: str) -> bytes:
    """The answer once all charge points are there and free: its length says so by not changing any more."""
    end_s, last = time.monotonic() + READY_S, b""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        while time.monotonic() < end_s:
            async with session.get(url) as answer:
                status, body = answer.status, await answer.read()
            if status == 200 and len(body) == len(last):
                return body
            last = body if status == 200 else b""
            await asyncio.sleep(1.0)
    raise BenchFailed(f"{url} answers {status}: {body[:300].decode(errors='replace')}")


def _measured(ours: list[Sample], floor: list[Sample], size: int) -> Measured:
    latencies, bare = Latencies(), Latencies()
    for sample in ours:
        latencies.merge(sample.latencies)
    for sample in floor:
        bare.merge(sample.latencies)
    mine, theirs = statistics.median(s.per_s for s in ours), statistics.median(s.per_s for s in floor)
    # Each turn beside its own neighbour: what else the machine does meanwhile falls out.
    ratio = statistics.median(a.per_s / b.per_s for a, b in zip(ours, floor, strict=True))
    return Measured(
        sidecar_per_s=mine,
        bare_per_s=theirs,
        ratio=ratio,
        goal=GOAL,
        kept=ratio >= GOAL,
        sidecar_p50_ms=latencies.quantile_s(0.5) * 1e3,
        sidecar_p99_ms=latencies.quantile_s(0.99) * 1e3,
        bare_p99_ms=bare.quantile_s(0.99) * 1e3,
        sidecar_cpu_share=statistics.median(s.cpu_share for s in ours),
        bare_cpu_share=statistics.median(s.cpu_share for s in floor),
        central_cpu_share=statistics.median(s.central_share for s in ours),
        bytes=size,
        connections=CONNECTIONS,
        charge_points=CHARGE_POINTS,
    )


def show(measured: Measured, *, as_json: bool) -> None:
    """The figures on stdout."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(measured)).decode())
        return
    table = Table(
        title=f"{measured.bytes:,} bytes, {measured.connections} connections, {measured.charge_points} charge points",
        title_justify="left",
    )
    for name in ("", "requests/s", "p99 ms", "CPU", "Central's CPU"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row(
        "/orchestrator/recommend, token verified",
        f"{measured.sidecar_per_s:,.0f}",
        f"{measured.sidecar_p99_ms:.1f}",
        f"{measured.sidecar_cpu_share:.0%}",
        f"{measured.central_cpu_share:.0%}",
    )
    table.add_row(
        "bare handler, the same bytes",
        f"{measured.bare_per_s:,.0f}",
        f"{measured.bare_p99_ms:.1f}",
        f"{measured.bare_cpu_share:.0%}",
        "",
    )
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    mark = "ok" if measured.kept else "not reached"
    console.print(f"ratio {measured.ratio:.2f}, goal >= {measured.goal}: {mark}", highlight=False)
