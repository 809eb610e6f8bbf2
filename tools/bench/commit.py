"""Durable records: the journal of ``evcharge.audit`` beside a bare group commit, with many writers that wait.

``python -m tools.bench.commit FOLDER`` is the process that measures; it reads orders as JSON lines. Each writer waits
until its record is durable before it brings the next one. Both get the same bytes to the disk; Central's log grows its
tree and signs checkpoints beside that.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from evcharge.audit.files import OsFiles
from evcharge.audit.record import record_size
from evcharge.central.recall import recall
from evcharge.central.service import MARK_AFTER_S
from tools.bench.group_commit import GroupCommit
from tools.latencies import Latencies

# Writers that wait at the same time.
WRITERS = 100
# Size of an event's body, bytes: the mean of a session's records.
BODY_BYTES = 180

monotonic = time.monotonic


class Run(msgspec.Struct):
    """An order: ``kind`` central or floor, for so many seconds."""

    kind: str
    seconds: float


class Result(msgspec.Struct):
    """What it came to."""

    count: int
    seconds: float
    cpu_s: float
    latencies: dict[int, int]
    most_s: float
    done: bool = True


class _Waiters:
    """Who waits for which number."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def wait(self, seq: int) -> asyncio.Future[None]:
        """A future that is done when ``seq`` is durable."""
        future = self._loop.create_future()
        self._waiting.append((seq, future))
        return future

    def durable_from_thread(self, seq: int) -> None:
        self._loop.call_soon_threadsafe(self._durable, seq)

    def _durable(self, seq: int) -> None:
        while self._waiting and self._waiting[0][0] <= seq:
            _, future = self._waiting.popleft()
            future.set_result(None)


async def run(order: Run, folder: Path) -> Result:
    """Measure one of the two."""
    waiters = _Waiters()
    path = folder / f"{order.kind}-{os.urandom(4).hex()}"
    append: Callable[[bytes], int]
    if order.kind == "central":
        journal = recall(path, OsFiles(), origin="evcharge/bench", entropy=os.urandom).journal
        journal.start(waiters.durable_from_thread, _failed, mark_after_s=MARK_AFTER_S)
        append, close, body = journal.append, journal.close, os.urandom(BODY_BYTES)
    else:
        bare = GroupCommit(path, waiters.durable_from_thread)
        append, close, body = bare.append, bare.close, os.urandom(record_size(BODY_BYTES))
    latencies = Latencies()
    cpu_s, began = time.process_time(), monotonic()
    end = began + order.seconds

    async def write() -> None:
        while (asked := monotonic()) < end:
            await waiters.wait(append(body))
            latencies.add(monotonic() - asked)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(write())
    seconds, cpu_s = monotonic() - began, time.process_time() - cpu_s
    await asyncio.to_thread(close)
    return Result(len(latencies), seconds, cpu_s, latencies.counts, latencies.most_s)


def _failed(error: BaseException) -> None:
    raise error


def main() -> None:
    """``python -m tools.bench.commit FOLDER``."""
    folder = Path(sys.argv[1])
    print('{"ready":"commit"}', flush=True)
    for line in sys.stdin:
        result = uvloop.run(run(msgspec.json.decode(line, type=Run), folder))
        print(msgspec.json.encode(result).decode(), flush=True)


if __name__ == "__main__":
    main()
