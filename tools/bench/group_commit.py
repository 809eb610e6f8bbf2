"""A bare group commit: one write and one fdatasync per batch, in a thread. The bound of what a durable log can do.

It leaves out all that makes a log of it: numbers, chain, checksums, segments, recovery, and that somebody else may hold
the file. When the file is full it begins at its start again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

# Size of the file, bytes: allocated before, as the real log's segments are, so that a sync has no length to write.
FILE_BYTES = 64 << 20


class GroupCommit:
    """``append`` from one thread; ``notify(seq)`` comes from the writer thread when all up to ``seq`` is durable."""

    def __init__(self, path: Path, notify: Callable[[int], None]) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.posix_fallocate(self._handle, 0, FILE_BYTES)
        os.fsync(self._handle)
        self._notify = notify
        self._wake = threading.Condition()
        self._pending: list[bytes] = []
        self._last = 0
        self._offset = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def append(self, data: bytes) -> int:
        """Queue some bytes; their number."""
        with self._wake:
            self._pending.append(data)
            self._last += 1
            self._wake.notify()
            return self._last

    def close(self) -> None:
        """Write what is pending and give the file back."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        os.close(self._handle)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._pending and not self._closing:
                    self._wake.wait()
                batch, self._pending = self._pending, []
                last = self._last
            if not batch:
                return
            data = b"".join(batch)
            if self._offset + len(data) > FILE_BYTES:
                self._offset = 0
            os.pwrite(self._handle, data, self._offset)
            os.fdatasync(self._handle)
            self._offset += len(data)
            self._notify(last)
