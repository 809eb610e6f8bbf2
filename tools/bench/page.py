"""``python -m tools.bench page``: the page in Chromium while every charge point of a large site reports once a second.

Everything is real: registry, sidecar and Central as processes, charge points and drivers on the wire, Debian's Chromium
with the first screen open. Central's CPU is measured twice under the same load, without and with somebody who looks.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec
import uvloop
from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import Error as BrowserError
from rich.console import Console
from rich.table import Table

from tools.daemon import Daemon, DaemonFailed, raise_file_limit
from tools.fleet import Fleet, FleetFailed, Link, monotonic, pace
from tools.loadgen.peers import Outlet, User
from tools.loadgen.record import Record
from tools.site import HOST, Site

CHROMIUM = "/usr/bin/chromium"
# Time of one measurement, seconds: Central renews all leases at once every 15, and a shorter time has now one more of
# these in it and now one less.
SECONDS = 60.0
# Nothing but the page may load the machine, and no other host is asked.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Memory is told exactly, not in steps.
    "--enable-precise-memory-info",
)
SCREEN = {"width": 1440, "height": 900}
# Goals: the longest frame, milliseconds; memory of the page's process, bytes; Central's CPU for the stream, of a core.
FRAME_MS = 200.0
MEMORY = 150 << 20
CENTRAL_SHARE = 0.05
# Sessions that one account may have open; each driver asks for so many.
SESSIONS = 8
# How much the power of a vehicle changes from second to second, as a share: every figure on the page moves.
FLICKER = 0.04
# Longest wait for all sessions to charge, and for the page to show them, seconds.
READY_S = 180.0
# Time that the page has to come to rest before it is measured, seconds.
SETTLE_S = 5.0

# Counts the time between frames; a task that holds up the page makes one long.
_COUNT_FRAMES = """() => {
    const frames = window.evchargeFrames = [];
    let last = performance.now();
    const frame = (now) => { frames.push(now - last); last = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    window.evchargeTasks = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.evchargeTasks.push(entry.duration);
    }).observe({ type: 'longtask' });
}"""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints; milliseconds, bytes, and shares of one core."""

    charge_points: int
    seconds: float
    frames: int
    frame_median_ms: float
    frame_p99_ms: float
    frame_longest_ms: float
    task_longest_ms: float
    """Of what the page's own script and layout did at a stretch; 0: nothing was longer than 50 ms."""
    heap_bytes: int
    page_bytes: int
    """Of its process alone: what Chromium's own task manager calls its memory footprint."""
    shared_bytes: int
    """The same with its part of what it shares with other processes: the program and its libraries."""
    central_alone: float
    central_watched: float
    sidecar_watched: float

    @property
    def stream_share(self) -> float:
        """What the stream costs Central."""
        return self.central_watched - self.central_alone

    @property
    def kept(self) -> bool:
        """Whether all goals were reached."""
        return self.frame_longest_ms <= FRAME_MS and self.page_bytes <= MEMORY and self.stream_share <= CENTRAL_SHARE


@click.command(name="page")
@click.option("--charge-points", type=click.IntRange(1, 5_000), default=2_000, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(2, 600), default=SECONDS, show_default=True, help="Of each measurement."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--check", is_flag=True, help="Exit with 1 when a goal is not reached.")
@click.option(
    "--screenshot", type=click.Path(path_type=Path, dir_okay=False), default=None, help="PNG of the page at the end."
)
def command(*, charge_points: int, seconds: float, as_json: bool, check: bool, screenshot: Path | None) -> None:
    """Frames and memory of the page, and what its stream costs Central, at one meter value a second and charge point.

    The load, the browser and the servers share this machine: on two cores the browser waits for its turn.
    """
    raise_file_limit()
    errors = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="evcharge-bench-") as scratch, errors.status("") as status:
        try:
            measured = uvloop.run(measure(Path(scratch), charge_points, seconds, screenshot, status.update))
        except (DaemonFailed, FleetFailed, BrowserError, TimeoutError) as error:
            raise click.ClickException(str(error) or "it took too long.") from error
    show(measured, as_json=as_json)
    if check and not measured.kept:
        sys.exit(1)


async def measure(
    folder: Path, charge_points: int, seconds: float, screenshot: Path | None, tell: Callable[[str], None]
) -> Measured:
    """Set everything up, and measure. Raises DaemonFailed, FleetFailed, BrowserError, TimeoutError."""
    tell("a registry, Central and charge points")
    site = await Site.start(
        folder / "site",
        charge_points=charge_points,
        drivers=-(-charge_points // SESSIONS),
        substations=8,
        capacity_kw=charge_points * 8,
        linked=True,
        sidecar_args=["--log-level", "error", "--metrics", "off"],
        central_args=["--log-level", "error", "--metrics", "off"],
    )
    try:
        secret = _client(site)
        load = Load(site)
        await load.begin()
        try:
            tell("all of them charge; Central alone")
            await asyncio.sleep(SETTLE_S)
            alone = await _share(site.central, seconds)
            tell("the page opens")
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
                try:
                    page = await _open(browser, site.sidecar_url, secret, charge_points)
                    await asyncio.sleep(SETTLE_S)
                    tell("somebody looks")
                    measured = await _watch(page, site, charge_points, seconds, alone)
                    if screenshot is not None:
                        await page.screenshot(path=screenshot)
                finally:
                    await browser.close()
        finally:
            await load.end()
    finally:
        await site.close()
    return measured


class Load:
    """Charge points that all charge, and report once a second."""

    def __init__(self, site: Site) -> None:
        record = Record()
        self._fleet = Fleet(HOST, site.port)
        self._rng = Random(1)
        kinds = (7, 11, 22)
        self._outlets = [
            Outlet(self._fleet, credential, f"s{number % 8:03}", kinds[number % 3], record)
            for number, credential in enumerate(site.engine_credentials)
        ]
        self._users = [User(self._fleet, credential, record) for credential in site.driver_credentials]
        self._wanted = [outlet.wanted_w for outlet in self._outlets]
        self._telling: asyncio.Task[None] | None = None
        for outlet in self._outlets:
            outlet.stay_s = lambda: float("inf")

    async def begin(self) -> None:
        """Connect, and have everybody charge."""
        await self._fleet.connect(self._links())
        self._telling = asyncio.create_task(
            pace(self._outlets, len(self._outlets), float("inf"), lambda outlet, now: self._tick(outlet, now))
        )
        end_s = monotonic() + READY_S
        for number, outlet in enumerate(self._outlets):
            self._users[number // SESSIONS].ask(outlet.name, outlet.wanted_w)
            if number % 50 == 0:
                await asyncio.sleep(0.05)
        while any(outlet.charge is None for outlet in self._outlets):
            if monotonic() > end_s:
                there = sum(outlet.charge is not None for outlet in self._outlets)
                raise FleetFailed(f"{there} of {len(self._outlets)} charge after {READY_S:g} s.")
            await asyncio.sleep(0.1)

    async def end(self) -> None:
        """Leave."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        await self._fleet.close(self._links())

    def _tick(self, outlet: Outlet, now: float) -> None:
        outlet.wanted_w = round(outlet.wanted_w * self._rng.uniform(1 - FLICKER, 1 + FLICKER))
        outlet.tick(now)

    def _links(self) -> list[Link]:
        return [*self._outlets, *self._users]


def _client(site: Site) -> str:
    """An operator's account for the page; its secret."""
    data_dir = site.operator_token_file.parent
    made = subprocess.run(
        [
            *(sys.executable, "-m", "evcharge.cli.sidecar", "client", "add", "bench"),
            *("--role", "operator", "--data-dir", str(data_dir), "--secret-file", str(data_dir / "bench.json")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise DaemonFailed(made.stderr.strip())
    said = msgspec.json.decode((data_dir / "bench.json").read_bytes())
    return str(said["client_secret"])


async def _open(browser: Browser, url: str, secret: str, charge_points: int) -> Page:
    """The first screen, with all charge points on it."""
    page = await browser.new_page(viewport=SCREEN)  # type: ignore[arg-type]  # a literal of its own kind
    await page.goto(f"{url}/ui/")
    await page.get_by_label("Client id").fill("bench")
    await page.get_by_label("Client secret").fill(secret)
    await page.get_by_role("button", name="Log in").click()
    pattern = re.compile(rf"\b{charge_points:,}\b|\b{charge_points}\b")
    await page.get_by_text(pattern).first.wait_for(timeout=READY_S * 1000)
    return page


async def _watch(page: Page, site: Site, charge_points: int, seconds: float, alone: float) -> Measured:
    process = _renderer()
    await page.evaluate(_COUNT_FRAMES)
    sidecar_s, began = site.sidecar.cpu_s(), time.monotonic()
    watched = await _share(site.central, seconds)
    sidecar = (site.sidecar.cpu_s() - sidecar_s) / (time.monotonic() - began)
    frames: list[float] = sorted(await page.evaluate("window.evchargeFrames"))
    tasks: list[float] = await page.evaluate("window.evchargeTasks")
    heap: Any = await page.evaluate("performance.memory.usedJSHeapSize")
    return Measured(
        charge_points=charge_points,
        seconds=seconds,
        frames=len(frames),
        frame_median_ms=frames[len(frames) // 2],
        frame_p99_ms=frames[int(len(frames) * 0.99)],
        frame_longest_ms=frames[-1],
        task_longest_ms=max(tasks, default=0.0),
        heap_bytes=int(heap),
        page_bytes=_memory(process, "Private_Dirty", "SwapPss"),
        shared_bytes=_memory(process, "Pss"),
        central_alone=alone,
        central_watched=watched,
        sidecar_watched=sidecar,
    )


async def _share(daemon: Daemon, seconds: float) -> float:
    """CPU of a process over so long, of one core."""
    cpu_s, began = daemon.cpu_s(), time.monotonic()
    await asyncio.sleep(seconds)
    return (daemon.cpu_s() - cpu_s) / (time.monotonic() - began)


def _renderer() -> int:
    """The process of the page: of Chromium's renderers the largest."""
    found = subprocess.run(["pgrep", "-f", "--", "--type=renderer"], capture_output=True, text=True, check=False)
    return max((int(pid) for pid in found.stdout.split()), key=lambda pid: _memory(pid, "Pss"))


def _memory(pid: int, *fields: str) -> int:
    """The sum of some fields of a process's memory (proc(5), smaps_rollup), bytes. 0: it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = {name: int(size) << 10 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return sum(found.get(field, 0) for field in fields)


def show(measured: Measured, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        click.echo(msgspec.json.encode(measured).decode())
        return
    table = Table(title=f"the page, {measured.charge_points:,} charge points, one meter value a second each")
    for name in ("what", "measured", "goal"):
        table.add_column(name, justify="left" if name == "what" else "right")
    rows = (
        ("frame, median", f"{measured.frame_median_ms:.1f} ms", ""),
        ("frame, 99th percentile", f"{measured.frame_p99_ms:.1f} ms", ""),
        ("frame, longest", f"{measured.frame_longest_ms:.1f} ms", f"{FRAME_MS:g} ms"),
        (
            "work at a stretch, longest",
            f"{measured.task_longest_ms:.0f} ms" if measured.task_longest_ms else "< 50 ms",
            "",
        ),
        ("memory of the page's process", f"{measured.page_bytes / 2**20:.0f} MiB", f"{MEMORY >> 20} MiB"),
        ("with its part of what is shared", f"{measured.shared_bytes / 2**20:.0f} MiB", ""),
        ("of that JavaScript", f"{measured.heap_bytes / 2**20:.0f} MiB", ""),
        ("Central, nobody looks", f"{measured.central_alone:.1%} of a core", ""),
        ("Central, somebody looks", f"{measured.central_watched:.1%} of a core", ""),
        ("the stream", f"{measured.stream_share:.1%} of a core", f"{CENTRAL_SHARE:.0%}"),
        ("the sidecar, somebody looks", f"{measured.sidecar_watched:.1%} of a core", ""),
    )
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)
