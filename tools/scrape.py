"""``python -m tools.scrape``: what /metrics costs a Central with many charge points that all charge.

A real Central, as many simulated charge points as asked for, each with a session, a meter value and a heartbeat every
two seconds. Heartbeats are timed while nobody scrapes and while somebody does as often as there is a new answer (each
second; Prometheus does it every 15 s), and Central's own processor time is taken for both.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp
import click
import uvloop

from evcharge.cli.common import CONTEXT
from tools.daemon import DaemonFailed, raise_file_limit
from tools.fleet import KEEP_S, ChargePoint, Driver, Fleet, FleetFailed, pace
from tools.latencies import Latencies
from tools.site import Site

# Sessions that one driver asks for; he may have so many (``domain.sessions.MAX_OPEN_SESSIONS``).
OF_A_DRIVER = 50
SUBSTATIONS = 10
# Between two scrapes, seconds: a little more than an answer is kept.
EVERY_S = 1.05
# Longest wait until all charge, seconds.
BEGIN_S = 240.0


class Phase(NamedTuple):
    """What was seen for some seconds."""

    beats: Latencies
    scrapes: Latencies
    cpu: float
    """Of one core."""


@click.command(context_settings=CONTEXT)
@click.option("--charge-points", type=click.IntRange(1, 20_000), default=2_000, help="How many charge.")
@click.option("--seconds", type=click.IntRange(5, 600), default=30, help="Of each of the two phases.")
def cli(charge_points: int, seconds: int) -> None:
    """Measure what a scrape costs, in Central's time and in everybody else's."""
    raise_file_limit()
    try:
        uvloop.run(_measure(charge_points, seconds))
    except (DaemonFailed, FleetFailed) as error:
        raise click.ClickException(str(error)) from error


async def _measure(number: int, seconds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = await Site.start(
            Path(folder) / "site",
            charge_points=number,
            drivers=-(-number // OF_A_DRIVER),
            substations=SUBSTATIONS,
            central_args=["--metrics", "127.0.0.1:0", "--policy", "equal"],
            sidecar_args=["--metrics", "off"],
        )
        try:
            fleet = Fleet(site.host, site.port)
            points = [ChargePoint(fleet, credential) for credential in site.engine_credentials]
            drivers = [Driver(fleet, credential) for credential in site.driver_credentials]
            await fleet.connect(points)
            fleet.keep(points)
            await fleet.connect(drivers)
            await _charge(points, drivers)
            fleet.rest()
            url = f"http://{site.central.ready['metrics']}/metrics"
            print(f"{number} charge points charge at {SUBSTATIONS} substations")
            async with aiohttp.ClientSession() as session:
                size = len(await _scrape(session, url))
                quiet = await _phase(points, seconds, site.central.pid, None)
                scraped = await _phase(points, seconds, site.central.pid, lambda: _scrape(session, url))
                text = (await _scrape(session, url)).decode()
            if fleet.losses:
                raise FleetFailed(fleet.losses[0])
            _report(quiet, scraped, size, text)
            await fleet.close([*points, *drivers])
        finally:
            await site.close()


async def _charge(points: Sequence[ChargePoint], drivers: Sequence[Driver]) -> None:
    """Everybody charges. Raises FleetFailed."""
    for place, point in enumerate(points):
        driver = drivers[place // OF_A_DRIVER]
        driver.request(point.credential.entity)
        driver.flush()
        if place % 100 == 99:
            await asyncio.sleep(0.2)
    end_s = time.monotonic() + BEGIN_S
    while not all(point.session for point in points):
        if time.monotonic() > end_s:
            raise FleetFailed(f"only {sum(bool(point.session) for point in points)} charge.")
        await asyncio.sleep(0.1)


async def _phase(
    points: Sequence[ChargePoint], seconds: int, pid: int, scrape: Callable[[], Awaitable[bytes]] | None
) -> Phase:
    beats, scrapes = Latencies(), Latencies()
    for point in points:
        point.on_ack = lambda _point, took_s, _now: beats.add(took_s)
    cpu_s, began_s = _cpu_s(pid), time.monotonic()

    async def again() -> None:
        while scrape is not None:
            asked_s = time.monotonic()
            await scrape()
            scrapes.add(time.monotonic() - asked_s)
            await asyncio.sleep(EVERY_S)

    asking = asyncio.ensure_future(again())
    await pace(points, len(points) / KEEP_S, began_s + seconds, lambda point, now: point.pair(now))
    asking.cancel()
    return Phase(beats, scrapes, (_cpu_s(pid) - cpu_s) / (time.monotonic() - began_s))


async def _scrape(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        answer.raise_for_status()
        return await answer.read()


def _cpu_s(pid: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _report(quiet: Phase, scraped: Phase, size: int, text: str) -> None:
    own = re.search(r"^evcharge_scrape_seconds (\S+)$", text, re.MULTILINE)
    scrapes = scraped.scrapes
    print(f"an answer                {size / 1024:.0f} KiB, {text.count(chr(10))} lines")
    print(f"scrape                   median {_ms(scrapes.quantile_s(0.5))}, longest {_ms(scrapes.most_s)}")
    if own is not None:
        print(f"  as Central saw one     {_ms(float(own[1]))}")
    print(
        f"heartbeat, nobody asks   median {_ms(quiet.beats.quantile_s(0.5))}, 99 % {_ms(quiet.beats.quantile_s(0.99))}"
    )
    print(
        f"heartbeat, one a second  median {_ms(scraped.beats.quantile_s(0.5))}, "
        f"99 % {_ms(scraped.beats.quantile_s(0.99))}"
    )
    each_ms = (scraped.cpu - quiet.cpu) * EVERY_S * 1000
    print(f"Central's core           {quiet.cpu:.1%}, with scrapes {scraped.cpu:.1%}: {each_ms:.1f} ms a scrape")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    sys.exit(cli())
