"""A process that asks one HTTP server the same thing over and over, on kept connections: one request each under way.

It reads orders as JSON lines and answers each with one; as little is done for a request as can be, because it shares
the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from typing import cast

import msgspec
import uvloop

from tools.latencies import Latencies

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Order(msgspec.Struct, frozen=True):
    """What to ask, of whom, for how long."""

    port: int
    requests: list[str]
    """Whole requests, head and body, which are sent in turn."""
    connections: int
    seconds: float
    """After ``warm_s``, which do not count."""
    warm_s: float


class Outcome(msgspec.Struct, frozen=True):
    """What became of it."""

    done: int
    """Answers 200 in the time that counts."""
    others: dict[str, int]
    """Other status → how many."""
    latencies: dict[int, int]
    most_s: float


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, requests: Iterator[bytes], load: Load) -> None:
        self._requests = requests
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._asked_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        data = self._data + data if self._data else data
        end = data.find(b"\r\n\r\n")
        length = None if end < 0 else _LENGTH.search(data, 0, end + 2)
        if length is None or len(data) < end + 4 + int(length[1]):
            self._data = data
            return
        self._data = b""
        self._load.answered(data[9:12], time.monotonic() - self._asked_s)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(exc)

    def _ask(self) -> None:
        if self._transport is None or self._load.over:
            return
        self._asked_s = time.monotonic()
        self._transport.write(next(self._requests))


class Load:
    """Counts for all lines."""

    def __init__(self) -> None:
        self.counting = False
        self.over = False
        self.done = 0
        self.others: dict[str, int] = {}
        self.latencies = Latencies()

    def answered(self, status: bytes, seconds: float) -> None:
        """One more."""
        if not self.counting:
            return
        if status == b"200":
            self.done += 1
            self.latencies.add(seconds)
        else:
            self.others[status.decode()] = self.others.get(status.decode(), 0) + 1

    def lost(self, _why: Exception | None) -> None:
        """A connection ended by itself: what was asked on it is lost."""
        if not self.over:
            self.others["lost"] = self.others.get("lost", 0) + 1


async def obey(order: Order) -> Outcome:
    """Carry an order out."""
    loop, load = asyncio.get_running_loop(), Load()
    requests = cycle([request.encode() for request in order.requests])
    lines = [
        await loop.create_connection(lambda: Line(requests, load), "127.0.0.1", order.port)
        for _ in range(order.connections)
    ]
    await asyncio.sleep(order.warm_s)
    load.counting = True
    await asyncio.sleep(order.seconds)
    load.counting, load.over = False, True
    for transport, _ in lines:
        transport.close()
    return Outcome(load.done, load.others, load.latencies.counts, load.latencies.most_s)


def main() -> None:
    """Orders on stdin, outcomes on stdout, until stdin ends."""
    print('{"ready": "http_load"}', flush=True)
    for line in sys.stdin:
        outcome = uvloop.run(obey(msgspec.json.decode(line, type=Order)))
        print(msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    main()
