"""The load drills: a real Central, honest peers and strangers in processes of their own, promise beside measurement."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import msgspec

from protocol.credentials import Credential
from tools.daemon import Daemon
from tools.drill.crash_report import Outcome, Promise
from tools.drill.crowd import Go, Order
from tools.drill.honest import ASKED_PER_S
from tools.drill.strangers import addresses
from tools.latencies import Latencies
from tools.site import HOST, Site

# Longest wait for an answer of a crowd beside the time that it was ordered to spend, seconds.
ANSWER_S = 180.0
# Where honest peers come from: one address that Central knows, and so many that each visit is the first from there.
KNOWN, UNKNOWN_SOURCES = "127.0.0.1", 2_000
MIB = 2**20


class Ground:
    """A site and its crowds, for the time of one drill."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self._folder = folder
        self._crowds: list[Daemon] = []

    async def crowd(self, kind: str, credentials: Sequence[Credential] = (), **order: Any) -> Daemon:
        """A process of this kind of crowd."""
        number = len(self._crowds)
        whole = Order(
            kind=kind,
            host=HOST,
            port=self.site.port,
            credentials=[credential.to_json().decode() for credential in credentials],
            central_key=self.site.operator.central_public_key,
            **order,
        )
        path = self._folder / f"order-{number}.json"
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(whole))
        log = self._folder / f"{kind}-{number}.log"
        crowd = await Daemon.start(kind, ["-m", "tools.drill.crowd", str(path)], log)
        self._crowds.append(crowd)
        return crowd

    async def close(self) -> None:
        """End the crowds, then the site."""
        for crowd in self._crowds:
            await crowd.kill()
        await self.site.close()


@contextlib.asynccontextmanager
async def ground(**site: Any) -> AsyncIterator[Ground]:
    """A site in a folder of its own, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="evcharge-drill-") as scratch:
        folder = Path(scratch)
        made = Ground(await Site.start(folder / "site", **site), folder)
        try:
            yield made
        finally:
            await made.close()


async def go(crowd: Daemon, do: str, seconds: float = 0.0) -> dict[str, Any]:
    """Have a crowd do something; its answer."""
    await crowd.tell(Go(do=do, seconds=seconds))
    return await crowd.answer("done", seconds + ANSWER_S)


def latencies(answer: dict[str, Any]) -> Latencies:
    """The histogram in a crowd's answer."""
    told = answer["latencies"]
    return Latencies({int(key): count for key, count in told["counts"].items()}, told["most_s"])


def spread_ms(found: Latencies) -> dict[str, float]:
    """For the figures."""
    shown = {"p50": found.quantile_s(0.5), "p99": found.quantile_s(0.99), "max": found.most_s}
    return {**{name: round(value * 1000, 1) for name, value in shown.items()}, "count": len(found)}


def p99_below(what: str, found: Latencies, limit_ms: float) -> Promise:
    """A promise about a 99th percentile; none was kept where nothing was measured."""
    p99_ms = found.quantile_s(0.99) * 1000
    return Promise(what, f"<= {limit_ms:g} ms", f"{p99_ms:.1f} ms", len(found) > 0 and p99_ms <= limit_ms)


# --- storm ----------------------------------------------------------------------------------------------------------

# All have to be back within this time, seconds, with at most so many attempts each.
STORM_S, STORM_TRIES = 12.0, 2


async def storm(*, engines: int = 5_000, processes: int = 2, cut: str = "kill") -> Outcome:
    """All engines lose their connection at the same moment and come back without jitter."""
    async with ground(charge_points=engines, substations=max(1, engines // 100)) as place:
        peers = place.site.engine_credentials
        crowds = [await place.crowd("storm", peers[number::processes]) for number in range(processes)]
        await asyncio.gather(*(go(crowd, "join") for crowd in crowds))
        used_s = place.site.central.cpu_s()
        if cut == "kill":
            for crowd in crowds:
                await go(crowd, "expect")
            await place.site.kill_central()
            restart_s = await place.site.restart_central()
            began, used_s = asyncio.get_running_loop().time(), 0.0
        else:
            restart_s = 0.0
            began = min([answer["at"] for answer in await asyncio.gather(*(go(crowd, "cut") for crowd in crowds))])
        backs = await asyncio.gather(*(go(crowd, "back") for crowd in crowds))
        used_s = place.site.central.cpu_s() - used_s
    return storm_outcome(cut, engines, began, restart_s, used_s, backs)


def storm_outcome(
    cut: str, engines: int, began: float, restart_s: float, used_s: float, backs: Sequence[dict[str, Any]]
) -> Outcome:
    """What the storm came to; ``backs`` are the crowds' answers."""
    took_s = max(back["last"] for back in backs) - began
    tries = [count for back in backs for count in back["tries"]]
    how = "Central killed and started again" if cut == "kill" else "all connections cut"
    return Outcome(
        drill=f"storm: {engines:,} engines come back at once, {how}",
        promises=[
            Promise("engines back", f"{engines:,}", f"{len(tries):,}", len(tries) == engines),
            Promise("all back within", f"{STORM_S:g} s", f"{took_s:.1f} s", took_s <= STORM_S),
            Promise("attempts of one engine", f"<= {STORM_TRIES}", str(max(tries)), max(tries) <= STORM_TRIES),
        ],
        figures={
            "engines with one attempt": sum(count == 1 for count in tries),
            "restart of Central to ready, s": round(restart_s, 2),
            "CPU of Central, s": round(used_s, 2),
        },
    )


# --- strangers ------------------------------------------------------------------------------------------------------

SILENT_MS, HOLDERS_MS = 250.0, 150.0
# Garbage is not in the way of an honest peer more than silence is.
GARBAGE_MS = 250.0
# Growth of Central's memory while strangers come and go that counts as flat, MiB: 8,192 of them hold 1 KiB each.
FLAT_MIB = 64
# Share of the strangers that has to be there when the measuring begins: a drill without them shows nothing.
THERE = 0.9
# Honest visitors at the same time, and the time that strangers get to arrive, seconds.
VISITORS, ARRIVE_S = 4, 4.0


async def strangers(kind: str, *, count: int, seconds: float = 20.0, per_source: int = 12, seed: int = 1) -> Outcome:
    """``count`` strangers of ``kind`` (silent, holders, garbage) at the door while honest peers come and go."""
    async with ground(charge_points=VISITORS * 2 + 1) as place:
        peers = place.site.engine_credentials
        known = await place.crowd("honest", peers[:VISITORS], sources=[KNOWN])
        unknown = await place.crowd("honest", peers[VISITORS : 2 * VISITORS], sources=addresses(UNKNOWN_SOURCES, 2))
        crowd = await place.crowd(kind, count=count, sources=addresses(max(1, count // per_source), 1), seed=seed)
        await go(known, "visit", 1.0)
        before_bytes = place.site.central.rss_bytes()
        came = await go(crowd, "come", ARRIVE_S)
        cpu_s = place.site.central.cpu_s()
        first, again = await asyncio.gather(go(unknown, "visit", seconds), go(known, "visit", seconds))
        share = (place.site.central.cpu_s() - cpu_s) / seconds
        after_bytes = place.site.central.rss_bytes()
        stayed = await go(crowd, "count")
    return strangers_outcome(kind, count, came, stayed, (first, again), (after_bytes - before_bytes) / MIB, share)


def strangers_outcome(
    kind: str,
    count: int,
    came: dict[str, Any],
    stayed: dict[str, Any],
    honest: tuple[dict[str, Any], dict[str, Any]],
    grown_mib: float,
    share: float,
) -> Outcome:
    """What the strangers came to; ``honest`` are the answers of the unknown and of the known source."""
    unknown, known = (latencies(answer) for answer in honest)
    limit_ms, words = {
        "silent": (SILENT_MS, "strangers that say nothing"),
        "holders": (HOLDERS_MS, "strangers that send a HELLO and hold it"),
        "garbage": (GARBAGE_MS, "strangers that send garbage"),
    }[kind]
    # Of holders only the known ones are promised to get in at all.
    failed = honest[1]["failed"] + (0 if kind == "holders" else honest[0]["failed"])
    # Garbage ends its connection at once and comes again; the others stay.
    there, needed = (stayed["connections"], count) if kind == "garbage" else (came["open"], ceil(count * THERE))
    # Of silent strangers every honest peer is to notice nothing; the others fight for the slots of unknown sources.
    both = known if kind == "holders" else _sum(known, unknown)
    who = "known charge points" if kind == "holders" else "honest peers"
    return Outcome(
        drill=f"{kind}: {count:,} {words}, from many addresses",
        promises=[
            p99_below(f"handshake of {who}, p99", both, limit_ms),
            Promise("strangers that were there", f">= {needed:,}", f"{there:,}", there >= needed),
            Promise(f"visits of {who} that failed", "0", str(failed), failed == 0),
            Promise("growth of Central's memory", f"<= {FLAT_MIB} MiB", f"{grown_mib:.1f} MiB", grown_mib <= FLAT_MIB),
        ],
        figures={
            "known source, ms": spread_ms(known),
            "unknown sources, ms": {**spread_ms(unknown), "failed": honest[0]["failed"]},
            "connections of strangers": stayed["connections"],
            "open at the end": stayed["open"],
            "… after their arrival": came["open"],
            "CPU of Central, share of a core": round(share, 2),
        },
    )


def _sum(*found: Latencies) -> Latencies:
    whole = Latencies()
    for each in found:
        whole.merge(each)
    return whole


# --- slow readers ---------------------------------------------------------------------------------------------------

SLOW_MIB, SLOW_MS = 1.0, 50.0


async def slow_readers(
    *,
    readers: int = 100,
    others: int = 200,
    seconds: float = 20.0,
    asked_per_s: int = ASKED_PER_S,
    slow_s: float = 10.0,
) -> Outcome:
    """Peers that ask and do not read the answers, while others beat. ``slow_s`` is Central's own limit."""
    async with ground(charge_points=others, drivers=readers, central_args=("--slow-s", str(slow_s))) as place:
        beats = await place.crowd("beats", place.site.engine_credentials, sources=[KNOWN])
        stalled = await place.crowd("stalled", place.site.driver_credentials, count=asked_per_s)
        await go(beats, "join")
        await go(stalled, "join")
        calm = latencies(await go(beats, "beat", min(seconds, 5.0)))
        before_bytes, most_bytes = place.site.central.rss_bytes(), 0
        answers = asyncio.gather(go(stalled, "stall", seconds), go(beats, "beat", seconds))
        while not answers.done():
            most_bytes = max(most_bytes, place.site.central.rss_bytes())
            await asyncio.wait({answers}, timeout=0.2)
        stall, beat = await answers
    held_mib = (most_bytes - before_bytes) / MIB / readers
    found = latencies(beat)
    return Outcome(
        drill=f"slow-readers: {readers} peers that ask and do not read",
        promises=[
            Promise("held for one of them", f"<= {SLOW_MIB:g} MiB", f"{held_mib:.2f} MiB", held_mib <= SLOW_MIB),
            Promise("of them cut", str(readers), str(stall["cut"]), stall["cut"] == readers),
            p99_below("heartbeat of the others, p99", found, SLOW_MS),
            Promise("of the others lost", "0", str(beat["lost"]), beat["lost"] == 0),
        ],
        figures={"others, ms": spread_ms(found), "others before, ms": spread_ms(calm)},
    )


Drill = Callable[[], Coroutine[Any, Any, Outcome]]

ALL: dict[str, Drill] = {
    "storm-kill": lambda: storm(cut="kill"),
    "storm-links": lambda: storm(cut="links"),
    "silent": lambda: strangers("silent", count=3_000),
    "holders": lambda: strangers("holders", count=1_500),
    "garbage": lambda: strangers("garbage", count=1_000),
    "slow-readers": slow_readers,
}
"""The load drills with the sizes of the promises, in the order in which `all` runs them."""
