"""Segments: the files that the log consists of. FORMAT.md §1.

A segment gets its final name only when it is whole: made as ``tmp-…``, allocated, synced, renamed, directory
synced. So ``audit-….log`` always stands for a file that takes its records without asking the disk for room.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from evcharge.audit.files import Files

# Size of a segment in bytes: some hours of a busy site, copied in under a second at a recovery. FORMAT.md §1
SEGMENT_BYTES = 64 << 20
# Names of drafts; whatever has such a name after a crash was never part of the log.
DRAFT_PREFIX = "tmp-"
BROKEN_SUFFIX = ".broken"
# The segment that is made ahead of time.
SPARE = f"{DRAFT_PREFIX}next.log"

_NAME = re.compile(r"audit-([0-9a-f]{16})\.log")
_LIKE_A_SEGMENT = re.compile(r"audit-.*\.log", re.IGNORECASE)


class SegmentName(NamedTuple):
    """A segment of a directory: the sequence number of its first record, and its path."""

    first_seq: int
    path: Path


def segment_name(first_seq: int) -> str:
    """File name of the segment whose first record is ``first_seq``."""
    return f"audit-{first_seq:016x}.log"


def list_segments(directory: Path, files: Files) -> tuple[list[SegmentName], list[Path]]:
    """The segments in order, and files that look like segments and have no valid name (a person was here)."""
    segments: list[SegmentName] = []
    strange: list[Path] = []
    for name in sorted(files.listdir(directory)):
        match = _NAME.fullmatch(name)
        if match:
            segments.append(SegmentName(int(match[1], 16), directory / name))
        elif _LIKE_A_SEGMENT.fullmatch(name):
            strange.append(directory / name)
    return segments, strange


def remove_drafts(directory: Path, files: Files) -> None:
    """Drop what a crash left half made; gives its room back before a recovery asks for some."""
    for name in files.listdir(directory):
        if name.startswith(DRAFT_PREFIX):
            files.remove(directory / name)


def write_all(files: Files, handle: int, data: bytes, offset: int) -> None:
    """Write everything, however short the single writes are. A write that takes nothing is EIO."""
    view = memoryview(data)
    while view:
        taken = files.pwrite(handle, view, offset)
        if taken <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[taken:]
        offset += taken


class Segment:
    """An open segment (or a draft of one), written at ``offset``. Not thread-safe: one owner at a time."""

    __slots__ = ("_files", "_handle", "capacity", "offset", "path")

    def __init__(self, files: Files, handle: int, path: Path, offset: int, capacity: int) -> None:
        self._files = files
        self._handle = handle
        self.path = path
        self.offset = offset
        self.capacity = capacity

    @classmethod
    def draft(
        cls, directory: Path, files: Files, name: str, capacity: int, fill: Callable[[int], int] | None = None
    ) -> Segment:
        """A synced file ``tmp-<name>`` of ``capacity`` bytes; ``fill(handle)`` writes its start."""
        path = directory / f"{DRAFT_PREFIX}{name}"
        handle = files.create(path)
        try:
            files.allocate(handle, capacity)
            offset = 0 if fill is None else fill(handle)
            files.fsync(handle)
        except BaseException:
            with suppress(OSError):
                files.close(handle)
            raise
        return cls(files, handle, path, offset, capacity)

    def ensure(self, capacity: int) -> None:
        """Make room for a record larger than the usual segment."""
        if self.capacity < capacity:
            self._files.allocate(self._handle, capacity)
            self._files.fsync(self._handle)
            self.capacity = capacity

    def publish(self, path: Path) -> None:
        """Give the draft its final name, durably."""
        self._files.rename(self.path, path)
        self._files.sync_directory(path.parent)
        self.path = path

    def room(self) -> int:
        """Bytes left."""
        return self.capacity - self.offset

    def write(self, data: bytes) -> None:
        """Append; not durable before ``sync``."""
        write_all(self._files, self._handle, data, self.offset)
        self.offset += len(data)

    def sync(self) -> None:
        """All that was written is durable. After an error nobody knows, and asking again would lie."""
        self._files.fdatasync(self._handle)

    def close(self) -> None:
        """Close the file as it is. An error tells nothing new: what counts was synced before."""
        with suppress(OSError):
            self._files.close(self._handle)
