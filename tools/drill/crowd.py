"""One process of a drill's crowd: ``python -m tools.drill.crowd ORDER.json``; honest peers or strangers, as ordered.

It says ``{"ready": true}``, obeys one JSON line after the other on stdin, and answers each with one line. Honest peers
and strangers are never in one process: what a stranger costs its own process must not look like Central's slowness.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from protocol.credentials import Credential
from tools.daemon import raise_file_limit
from tools.drill import honest, strangers


class Order(msgspec.Struct, kw_only=True):
    """What a crowd is; the file is 0600, for it holds credentials."""

    kind: str
    """storm, honest, beats, stalled; or silent, holders, garbage."""
    host: str
    port: int
    credentials: list[str] = []
    """As JSON, one a peer."""
    count: int = 0
    """Of strangers; of a stalled reader's questions a second."""
    sources: list[str] = []
    """Addresses from which they come."""
    central_key: bytes = b""
    seed: int = 1


class Go(msgspec.Struct, kw_only=True):
    """One line of stdin."""

    do: str
    """What, one of the crowd's own words."""
    seconds: float = 0.0


Act = Callable[[Go], Awaitable[dict[str, Any]]]


def crowd_of(order: Order) -> Act:
    """Who acts on the lines that follow."""
    peers = [Credential.from_json(text.encode()) for text in order.credentials]
    place = (order.host, order.port)
    source = order.sources[0] if order.sources else None
    match order.kind:
        case "storm":
            return honest.Storm(place, peers).act
        case "honest":
            return honest.Visitors(place, peers, order.sources).act
        case "beats":
            return honest.Beats(place, peers, source).act
        case "stalled":
            return honest.Stalled(place, peers, order.count).act
        case _:
            rng = random.Random(order.seed)
            return strangers.Crowd(place, order.kind, order.count, order.sources, order.central_key, rng).act


async def _serve(order: Order) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    act = crowd_of(order)
    _say({"ready": True})
    while line := await lines.readline():
        go = msgspec.json.decode(line, type=Go)
        _say({"done": go.do, **await act(go)})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Read the order and obey until stdin ends."""
    raise_file_limit()
    path = Path(sys.argv[1])
    order = msgspec.json.decode(path.read_bytes(), type=Order)
    path.unlink()
    uvloop.run(_serve(order))


if __name__ == "__main__":
    main()
