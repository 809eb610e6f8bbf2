"""``python -m tools.history``: a history of a million events, built in pieces and at once, compared and timed.

The log is written with the log's own codec and read through Central's own answers; the follower, the tables and the
handlers of the routes are those of the sidecar. With --sessions the tables are then grown by copies of themselves into
the past, and every query of the pages is timed on that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import click
import structlog
import uvloop
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from evcharge.cli.common import CONTEXT
from evcharge.net.clock import SystemClock
from evcharge.sidecar.database import Database
from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.follower import Follower
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import PRAGMAS, Store
from tools.history.central import ALL, Served, make
from tools.history.days import bodies
from tools.history.pages import Timed, grow, size_of, time_queries

# Restarts while the history is built in pieces: killed wherever it is, not where it would like to be.
PIECES = 7
# How often the loop is asked whether it still turns, in seconds.
TICK_S = 0.005
QUERY_MS = 200.0
ZONE = "Europe/Berlin"
console = Console(stderr=True)


class Place:
    """Where a history stands: a file, or a database by its URL."""

    def __init__(self, folder: Path, url: str | None, name: str) -> None:
        self.file = folder / f"{name}.sqlite" if url is None else None
        self._url = url

    def open(self) -> Database:
        """Nothing is read yet."""
        if self.file is not None:
            self.file.touch(0o600)
            return Database.file(self.file, PRAGMAS)
        assert self._url is not None
        return Database.open(self._url)


class Lag:
    """How long the loop did nothing else, in ms: by the clock, and by what this thread computed meanwhile. On a machine
    that is busy with others only the second is the program's own.
    """

    def __init__(self) -> None:
        self._waited: list[float] = []
        self._computed: list[float] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_S)
            self._waited.append((time.perf_counter() - began - TICK_S) * 1000)
            self._computed.append((time.thread_time() - cpu) * 1000)

    @property
    def text(self) -> str:
        return f"{_extremes(self._waited)}; of these computing {_extremes(self._computed)}"


def _extremes(values: list[float]) -> str:
    ordered = sorted(values) or [0.0]
    return f"{ordered[-1]:.0f} ms (p99 {ordered[len(ordered) * 99 // 100]:.1f} ms)"


@click.command(name="history", context_settings=CONTEXT)
@click.option("--events", type=click.IntRange(1_000), default=1_000_000, show_default=True, help="Records of the log.")
@click.option("--database", default=None, metavar="URL", help="An empty PostgreSQL database; without: a file.")
@click.option(
    "--sessions", type=click.IntRange(0), default=1_000_000, show_default=True, help="Grow to; 0: not at all."
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=None, help="Where; without: a new one."
)
def main(*, events: int, database: str | None, sessions: int, seed: int, folder: Path | None) -> None:
    """Build, compare and time a long history."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with contextlib.ExitStack() as stack:
        where = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="evcharge-history-")))
        where.mkdir(parents=True, exist_ok=True)
        sys.exit(uvloop.run(_run(where, database, events, sessions, seed)))


async def _run(folder: Path, url: str | None, events: int, sessions: int, seed: int) -> int:
    began = time.perf_counter()
    served = Served(folder / "data", make(folder / "data", bodies(events, seed), console.print))
    newest = served.journal.durable
    console.print(f"a log of {newest:,} records in {time.perf_counter() - began:.1f} s")
    shown = Table("what", "value", title=f"history of {newest:,} records, {'SQLite' if url is None else 'PostgreSQL'}")

    pieces = Place(folder, url, "pieces")
    spent_s = await _in_pieces(pieces, served, newest)
    shown.add_row(f"built with {PIECES} restarts", f"{spent_s:.1f} s, {newest / spent_s:,.0f} events/s")
    kept = folder / "pieces.rows"
    await _write_rows(pieces, kept)
    if url is not None:
        await _drop(pieces)

    whole, lag = Place(folder, url, "whole"), Lag()
    watching = asyncio.create_task(lag.run())
    began, cpu = time.perf_counter(), time.process_time()
    verdict = await _follow(whole, served, newest, judge=True)
    spent_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    watching.cancel()
    console.print(f"built from nothing in {spent_s:.1f} s, {cpu_s:.1f} CPU-s, longest pause {lag.text}")
    shown.add_row("built from nothing", f"{spent_s:.1f} s, {newest / spent_s:,.0f} events/s, {cpu_s:.1f} CPU-s")
    shown.add_row("longest pause of the loop meanwhile", lag.text)
    shown.add_row("chain", verdict)
    if whole.file is not None:
        shown.add_row("size", size_of(whole.file))

    differing = await _compare(whole, kept)
    console.print(f"tables that differ: {differing}")
    shown.add_row("tables that differ", ", ".join(differing) or f"none of {len(t.metadata.tables)}")

    timed = await _time(whole, sessions, shown)
    for each in timed:
        mark = "" if each.usual_ms < QUERY_MS else "  SLOW"
        took = f"{each.usual_ms:.1f} ms, worst {each.worst_ms:.1f} ms"
        shown.add_row(each.name, f"{took}, {each.rows:,} rows{mark}")
    Console().print(shown)
    slow = [each.name for each in timed if each.usual_ms >= QUERY_MS]
    return 1 if differing or slow else 0


async def _time(place: Place, sessions: int, shown: Table) -> list[Timed]:
    database = place.open()
    store = Store(database, time_zone=ZONE)
    try:
        if sessions:
            console.print(f"growing to {sessions:,} sessions")
            shown.add_row("sessions for the queries", f"{await grow(store, sessions):,}")
        return await time_queries(store, Calendar(ZONE))
    finally:
        await database.close()


async def _in_pieces(place: Place, served: Served, newest: int) -> float:
    """Killed in the middle of what it does each time, and once while the log grows behind it."""
    began = time.perf_counter()
    for number in range(1, PIECES + 1):
        upto = newest * number // PIECES
        # It hears of more than it gets to.
        served.journal.upto = min(newest, upto + newest // (3 * PIECES))
        await _follow(place, served, upto)
        console.print(f"piece {number} of {PIECES}")
    served.journal.upto = ALL
    await _follow(place, served, newest)
    spent_s = time.perf_counter() - began
    console.print(f"built in pieces in {spent_s:.1f} s")
    return spent_s


async def _follow(place: Place, served: Served, upto: int, *, judge: bool = False) -> str:
    """Until the history has come so far, then it is killed."""
    follower = Follower(place.open, served, calendar=Calendar(ZONE), clock=SystemClock(), file=place.file)
    task = asyncio.create_task(follower.run())
    while follower.position.seq < upto and not task.done():
        await asyncio.sleep(0.02)
    if judge:
        await follower.judge()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    verdict = follower.verdict()
    return f"{'verified' if verdict.ok else verdict.ok} up to {verdict.seq:,}: {verdict.sentence}"


async def _drop(place: Place) -> None:
    database = place.open()
    await Store(database, time_zone=ZONE).drop()
    await database.close()


async def _write_rows(place: Place, kept: Path) -> None:
    """Every row of every table, a line each, in the order of their keys."""
    database = place.open()
    with kept.open("w") as file:
        async with database.reading() as connection:
            for table in t.metadata.sorted_tables:
                async for line in _rows(connection, table.name):
                    file.write(line)
    await database.close()


async def _compare(place: Place, kept: Path) -> list[str]:
    """Tables of which a row differs."""
    database, differing = place.open(), dict[str, None]()
    with kept.open() as file:
        async with database.reading() as connection:
            for table in t.metadata.sorted_tables:
                async for line in _rows(connection, table.name):
                    if file.readline() != line:
                        differing[table.name] = None
        if file.readline():
            differing["rows that are missing"] = None
    await database.close()
    return list(differing)


async def _rows(connection: AsyncConnection, name: str) -> AsyncIterator[str]:
    table = t.metadata.tables[name]
    # The position holds what was verified, and when that was.
    columns = [column for column in table.columns if column.name != "chain"]
    found = await connection.stream(select(*columns).order_by(*table.primary_key))
    async for row in found:
        yield f"{name} {tuple(row)!r}\n"


if __name__ == "__main__":
    main()
