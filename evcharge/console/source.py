"""Lines of a file descriptor, from a thread: a terminal, a pipe and a file behave alike there.

What is read waits in a bounded queue, so a large file on stdin is read no faster than Central takes it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import CancelledError

from evcharge.console.lines import MAX_LINE

# Lines that wait to be sent.
_MAX_WAITING = 64
# Bytes of one read.
_READ = 65_536


class TooLong:
    """Stands for a line that is longer than any frame could be."""


Item = str | TooLong | None


class Source:
    """``next`` gives lines without their end, ``TooLong`` in the place of one, None at the end of input."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Item] = asyncio.Queue(_MAX_WAITING)
        self._loop = asyncio.get_running_loop()

    def start(self, descriptor: int) -> None:
        """Read in a thread that nothing waits for at the end."""
        threading.Thread(target=self._read, args=(descriptor,), daemon=True, name="stdin").start()

    async def next(self) -> Item:
        """The next line; waits for it."""
        return await self._queue.get()

    def _read(self, descriptor: int) -> None:
        waiting, skipping = b"", False
        try:
            while data := _read_some(descriptor):
                *lines, waiting = (waiting + data).split(b"\n")
                for line in lines:
                    self._put(TooLong() if skipping or len(line) > MAX_LINE else line.decode("utf-8", "replace"))
                    skipping = False
                if len(waiting) > MAX_LINE:
                    waiting, skipping = b"", True
            if skipping or len(waiting) > MAX_LINE:
                self._put(TooLong())
            elif waiting:
                self._put(waiting.decode("utf-8", "replace"))
            self._put(None)
        except (RuntimeError, CancelledError):
            # The loop is closed: nobody reads lines any more.
            return

    def _put(self, item: Item) -> None:
        putting = self._queue.put(item)
        try:
            asyncio.run_coroutine_threadsafe(putting, self._loop).result()
        except RuntimeError:
            putting.close()
            raise


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _READ)
    except OSError:
        # The terminal is gone.
        return b""
