"""The rows of ``bench wire``: which servers, which load, how often. Servers take turns, so that a slow minute of the
machine hits all of them alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from tools.bench import commit
from tools.bench import worker as w
from tools.bench.report import RATIO_CONNECTIONS, Row, Server
from tools.bench.servers import BenchFailed, Contender, Load, Place, Ring, Sample
from tools.daemon import Daemon
from tools.fleet import OPENING
from tools.latencies import Latencies

# Most connections of the peer: each handshake costs it 2 ms, and it slows down with each.
PEER_CONNECTIONS = 1_000
# Charge points of a substation, fewest substations, and charge points of a driver who starts sessions.
PER_SUBSTATION, SUBSTATIONS = 100, 10
PER_DRIVER = 25
# Charge points of the session cycle; each has a driver of its own.
SESSION_POINTS = 100
# Connections that are opened and closed before memory is read, so that what is made once is there.
WARM_CONNECTIONS = 20
# Charge points of the large row, at one update a second, and on how many substations.
MANY, MANY_SUBSTATIONS, MANY_WORKERS = 10_000, 100, 2
# Updates to a heartbeat there: an update is a sign of life, so a heartbeat only has to say what time it is.
MANY_BEAT_EVERY = 4
# Pause before memory is read, seconds: buffers of the handshakes are given back.
CALM_S = 0.3
COMPARED = ("telemetry", "session", "handshakes")
ROWS = (*COMPARED, "log", "ten-thousand")
# The profiler, where it is installed, how long it looks, seconds, and how often a second.
PROFILER, PROFILE_S, PROFILE_RATE = "py-spy", 8, "250"

Tell = Callable[[str], None]


class Scale(NamedTuple):
    """How much is measured."""

    connections: Sequence[int]
    idle: int
    repetitions: int
    warm_s: float
    seconds: float
    """Of one repetition of telemetry."""
    cycle_s: float
    handshake_s: float
    log_s: float
    many_s: float
    """Of the large row; 0: it is left out."""
    points: int = SESSION_POINTS


QUICK = Scale((1, 100, 1_000), 1_000, 3, 0.1, 0.3, 0.6, 0.4, 0.3, 0.0)
FULL = Scale((1, 100, 1_000, 5_000), 5_000, 5, 0.5, 2.0, 3.0, 2.0, 2.0, 60.0)

NO_WINDOW = w.Window(0, 0, 0)


async def measure(
    where: Place, scale: Scale, wanted: Sequence[str], tell: Tell, profile: Path | None = None
) -> list[Row]:
    """All wanted rows. ``profile``: a folder for what py-spy sees of Central in each load.

    Raises BenchFailed, DaemonFailed.
    """
    rows: list[Row] = []
    if set(wanted) & set(COMPARED):
        rows += await _compared(where, scale, wanted, tell, profile)
    if "log" in wanted:
        rows += await _log(where, scale, tell)
    if "ten-thousand" in wanted and scale.many_s:
        rows += await _ten_thousand(where, scale, tell, profile)
    return rows


async def _compared(where: Place, scale: Scale, wanted: Sequence[str], tell: Tell, profile: Path | None) -> list[Row]:
    """The rows in which all servers do the same; each of them is one process for all of these rows."""
    rows: list[Row] = []
    telemetry = "telemetry" in wanted
    points = max(scale.points, *scale.connections, scale.idle) if telemetry else scale.points
    async with Ring(where, "compared") as ring:
        tell("starting the servers")
        await ring.add_central(
            points=points,
            drivers=max(scale.points, -(-points // PER_DRIVER)),
            substations=max(SUBSTATIONS, points // PER_SUBSTATION),
        )
        await asyncio.gather(ring.add_floor(), *([ring.add_peer()] if telemetry else []))
        tell(f"Central is process {ring['central'].daemon.pid}")
        if telemetry:
            # First of all, while the processes are fresh: memory that was used once would hide what a connection takes.
            for contender in ring.contenders:
                count = min(scale.idle, PEER_CONNECTIONS) if contender.server == "peer" else scale.idle
                tell(f"memory of {count:,} idle connections, {contender.server}")
                rows.append(await _idle(ring, contender, count))
        ours = [each for each in ring.contenders if each.server != "peer"]
        if "session" in wanted:
            rows += await _sessions(ring, ours, scale, tell, profile)
        if "handshakes" in wanted:
            rows += await _handshakes(ring, ours, scale, tell, profile)
        if telemetry:
            rows += await _telemetry(ring, scale, tell, profile)
    return rows


# --- telemetry: idle memory, pairs, half load --------------------------------------------------------------------


async def _telemetry(ring: Ring, scale: Scale, tell: Tell, profile: Path | None) -> list[Row]:
    rows: list[Row] = []
    for connections in scale.connections:
        contenders = [each for each in ring.contenders if each.server != "peer" or connections <= PEER_CONNECTIONS]
        tell(f"telemetry: {connections:,} connections, opening")
        await asyncio.gather(*(_open(ring, each, connections) for each in contenders))
        for each in contenders:
            # One pair of each: the first one of a session is a record.
            await each.measure(w.Telemetry(NO_WINDOW, links=connections), warm_s=0, seconds=1e-6)
        done = await _in_turn(
            contenders,
            scale,
            lambda _: w.Telemetry(NO_WINDOW, links=connections),  # noqa: B023  (used within this turn)
            scale.seconds,
            partial(_say, tell, f"telemetry: {connections:,} connections"),
        )
        rows += [_row("telemetry", server, connections, samples) for server, samples in done.items()]
        if connections == min(RATIO_CONNECTIONS, max(scale.connections)):
            rows += await _half(contenders, connections, rows, scale, tell)
            await _profile(ring["central"], w.Telemetry(NO_WINDOW, links=connections), "telemetry", profile, tell)
    return rows


async def _profile(central: Contender, load: Load, name: str, folder: Path | None, tell: Tell) -> None:
    """What Central does under this load, by py-spy, as one stack a line."""
    if folder is None:
        return
    tell(f"profile of Central: {name}")
    # fmt: off
    recording = await asyncio.create_subprocess_exec(
        PROFILER, "record", "--pid", str(central.daemon.pid), "--duration", str(PROFILE_S), "--rate", PROFILE_RATE,
        "--format", "raw", "--output", str(folder / f"central-{name}.txt"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )
    # fmt: on
    _, (_, errors) = await asyncio.gather(
        central.measure(load, warm_s=0.5, seconds=PROFILE_S + 1.0), recording.communicate()
    )
    if recording.returncode != 0:
        raise BenchFailed(f"{PROFILER} failed: {errors.decode(errors='replace').strip()}")


async def _idle(ring: Ring, contender: Contender, count: int) -> Row:
    """KiB of the server's memory for each connection that is open and silent."""
    await contender.obey([_opening(ring, contender, min(count, WARM_CONNECTIONS), boots=False)])
    await contender.obey([w.Close()])
    await asyncio.sleep(CALM_S)
    before = contender.daemon.rss_bytes()
    await contender.obey([_opening(ring, contender, count, boots=False)])
    await asyncio.sleep(CALM_S)
    after = contender.daemon.rss_bytes()
    if contender.server != "peer":
        # The peer's stay for the next rows: silent ones cost it nothing but their memory.
        await contender.obey([w.Close()])
    return Row(
        row="idle",
        server=contender.server,
        connections=count,
        unit="KiB/connection",
        values=[(after - before) / 1024 / count],
    )


def _opening(ring: Ring, contender: Contender, points: int, *, boots: bool = True) -> w.Order:
    if contender.server == "peer":
        return w.OpenPeer(contender.port, points, str(ring.certificate))
    drivers = -(-points // PER_DRIVER) if boots else 0
    return w.Open(contender.port, str(ring.files.points[0]), points, str(ring.files.drivers[0]), drivers, boots=boots)


async def _open(ring: Ring, contender: Contender, connections: int) -> None:
    await contender.obey([_opening(ring, contender, connections)])
    if contender.server != "peer":
        await contender.obey([w.Start()])


async def _half(
    contenders: Sequence[Contender], connections: int, rows: list[Row], scale: Scale, tell: Tell
) -> list[Row]:
    """Latency when the server has half of what it can do in a second of its CPU."""
    full = {row.server: row.median for row in rows if row.row == "telemetry" and row.connections == connections}
    quick = scale._replace(repetitions=max(1, scale.repetitions - 2))
    done = await _in_turn(
        contenders,
        quick,
        lambda server: w.Telemetry(NO_WINDOW, per_s=full[server] / 2, links=connections),
        scale.seconds,
        lambda text: tell(f"half load: {text}"),
    )
    return [_row("half_load", server, connections, samples) for server, samples in done.items()]


# --- sessions and handshakes -------------------------------------------------------------------------------------


async def _sessions(
    ring: Ring, contenders: Sequence[Contender], scale: Scale, tell: Tell, profile: Path | None
) -> list[Row]:
    points, files = scale.points, ring.files
    for each in contenders:
        await each.obey([w.Open(each.port, str(files.points[0]), points, str(files.drivers[0]), points)])
    tell("sessions")
    done = await _in_turn(
        contenders, scale, lambda _: w.Cycles(NO_WINDOW), scale.cycle_s, partial(_say, tell, "sessions")
    )
    await _profile(ring["central"], w.Cycles(NO_WINDOW), "session", profile, tell)
    for each in contenders:
        await each.obey([w.Close()])
    return [_row("session", server, 2 * points, samples) for server, samples in done.items()]


async def _handshakes(
    ring: Ring, contenders: Sequence[Contender], scale: Scale, tell: Tell, profile: Path | None
) -> list[Row]:
    ports = {each.server: each.port for each in contenders}
    file = str(ring.files.points[0])
    done = await _in_turn(
        contenders,
        scale,
        lambda server: w.Handshakes(NO_WINDOW, ports[server], file, scale.points),
        scale.handshake_s,
        partial(_say, tell, "handshakes"),
    )
    load = w.Handshakes(NO_WINDOW, ports["central"], file, scale.points)
    await _profile(ring["central"], load, "handshakes", profile, tell)
    return [_row("handshakes", server, min(OPENING, scale.points), samples) for server, samples in done.items()]


# --- ten thousand ------------------------------------------------------------------------------------------------


async def _ten_thousand(where: Place, scale: Scale, tell: Tell, profile: Path | None) -> list[Row]:
    async with Ring(where, "ten-thousand") as ring:
        tell(f"{MANY:,} charge points: starting")
        central = await ring.add_central(
            points=MANY, drivers=MANY // PER_DRIVER, substations=MANY_SUBSTATIONS, workers=MANY_WORKERS
        )
        tell(f"{MANY:,} charge points: connecting; Central is process {central.daemon.pid}")
        share = MANY // MANY_WORKERS
        orders = [
            w.Open(central.port, str(points), share, str(drivers), share // PER_DRIVER)
            for points, drivers in zip(*ring.files, strict=True)
        ]
        # One after the other: together they would have more handshakes open than Central lets one source have.
        for number, order in enumerate(orders):
            alone = Contender("central", central.daemon, central.port, [central.workers[number]])
            await alone.obey([order])
        tell(f"{MANY:,} charge points: starting a session at each")
        await central.obey([w.Start()] * MANY_WORKERS)
        tell(f"{MANY:,} charge points: {scale.many_s:g} s at one update a second, a heartbeat with some of them")
        load = w.Telemetry(NO_WINDOW, per_s=MANY, beat_every=MANY_BEAT_EVERY)
        sample = await central.measure(load, warm_s=5.0, seconds=scale.many_s)
        await _profile(central, load, "ten-thousand", profile, tell)
        return [_row("ten_thousand", "central", MANY, [sample])]


# --- the log -----------------------------------------------------------------------------------------------------


async def _log(where: Place, scale: Scale, tell: Tell) -> list[Row]:
    folder = where.folder / "log"
    folder.mkdir(mode=0o700)
    arguments = ["-m", "tools.bench.commit", str(folder)]
    daemon = await Daemon.start("commit", arguments, where.folder / "commit.log", cpu=where.server_cpu)
    servers: tuple[Server, ...] = ("central", "floor")
    samples: dict[Server, list[Sample]] = {server: [] for server in servers}
    try:
        for number in range(scale.repetitions):
            for server in servers:
                tell(f"log: {server}, {number + 1} of {scale.repetitions}")
                await daemon.tell(commit.Run(server, scale.log_s))
                result = msgspec.convert(await daemon.answer("done", 60.0), commit.Result, strict=False)
                latencies = Latencies(result.latencies, result.most_s)
                per_s = result.count / result.seconds
                share = result.cpu_s / result.seconds
                samples[server].append(Sample(result.count, result.cpu_s, per_s, share, latencies, []))
    finally:
        await daemon.stop()
    return [_row("log", server, commit.WRITERS, found, wall=True) for server, found in samples.items()]


def _say(tell: Tell, what: str, text: str) -> None:
    tell(f"{what}, {text}")


# --- shared ------------------------------------------------------------------------------------------------------


async def _in_turn(
    contenders: Sequence[Contender],
    scale: Scale,
    load: Callable[[Server], Load],
    seconds: float,
    tell: Tell,
) -> dict[Server, list[Sample]]:
    """A B C, A B C …"""
    samples: dict[Server, list[Sample]] = {each.server: [] for each in contenders}
    for number in range(scale.repetitions):
        for each in contenders:
            tell(f"{each.server}, {number + 1} of {scale.repetitions}")
            sample = await each.measure(load(each.server), warm_s=scale.warm_s, seconds=seconds)
            samples[each.server].append(sample)
    return samples


UNITS = {
    "telemetry": "pairs/CPU-s",
    "half_load": "pairs/CPU-s",
    "session": "sessions/CPU-s",
    "handshakes": "handshakes/CPU-s",
    "ten_thousand": "updates/CPU-s",
    "log": "records/s",
}


def _row(row: str, server: Server, connections: int, samples: Sequence[Sample], *, wall: bool = False) -> Row:
    """A row of repetitions; ``wall``: what counts is the rate, not the CPU."""
    latencies = Latencies()
    for sample in samples:
        latencies.merge(sample.latencies)
    return Row(
        row=row,
        server=server,
        connections=connections,
        unit=UNITS[row],
        values=[round(sample.per_s if wall else sample.per_cpu_s, 1) for sample in samples],
        per_s=round(median(sample.per_s for sample in samples), 1),
        cpu_share=round(median(sample.cpu_share for sample in samples), 3),
        load_share=None if wall else round(median(sample.load_share for sample in samples), 3),
        p50_ms=round(1000 * latencies.quantile_s(0.5), 3),
        p99_ms=round(1000 * latencies.quantile_s(0.99), 3),
        max_ms=round(1000 * latencies.most_s, 3),
        notes=sorted({loss for sample in samples for loss in sample.losses})[:5],
    )


__all__ = ["FULL", "QUICK", "ROWS", "BenchFailed", "Scale", "measure"]
