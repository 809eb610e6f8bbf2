"""A simulated disk under the log: what is not synced can be lost, torn or kept, and any call can fail.

Files have what programs see (``seen``) and what is on the medium (``kept``); names likewise.
``power_loss`` decides with a seeded generator which unsynced sectors and names made it. ``kill`` keeps
all that programs saw, as a dead process does.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# What a disk writes in one piece, in bytes; small, so that single records tear.
SECTOR = 64


@dataclass
class Inode:
    seen: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)


@dataclass
class Fault:
    """Fail call ``at`` (from 1) with errno ``number``; ``sticky``: every later one too (the machine is gone)."""

    at: int
    number: int = errno.EIO
    sticky: bool = False


# What was done to the names: verb, name, file, new name.
Change = tuple[str, str, Inode, str]


class Disk:
    """Implements ``evcharge.audit.files.Files`` in memory; one flat directory."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.calls: list[str] = []
        self.names: dict[str, Inode] = {}
        self._stable: dict[str, Inode] = {}
        self._changes: list[Change] = []
        self._handles: dict[int, Inode] = {}
        self._next = 3
        self._guard = threading.RLock()
        self.on_call: Callable[[str], None] = lambda _call: None
        self.largest_write = 1 << 30
        self.room = 1 << 40

    # --- what happens to it ---------------------------------------------------------------------------------

    def kill(self) -> Disk:
        """The process died; the machine runs on with everything in its cache, true or not."""
        with self._guard:
            after = Disk()
            copies: dict[int, Inode] = {}

            def copy(inode: Inode) -> Inode:
                return copies.setdefault(id(inode), Inode(inode.seen[:], inode.kept[:], set(inode.dirty)))

            after.names = {name: copy(inode) for name, inode in self.names.items()}
            after._stable = {name: copy(inode) for name, inode in self._stable.items()}
            after._changes = [(verb, name, copy(inode), new) for verb, name, inode, new in self._changes]
            return after

    def power_loss(self, chance: random.Random) -> Disk:
        """The machine died: unsynced sectors survive singly, unsynced name changes in order up to some point."""
        with self._guard:
            names = dict(self._stable)
            for change in self._changes[: chance.randint(0, len(self._changes))]:
                _apply(names, change)
            after = Disk()
            for name, inode in names.items():
                data = bytearray(inode.kept)
                if inode.dirty:
                    length = chance.choice([len(inode.kept), len(inode.seen)])
                    data.extend(bytes(max(0, length - len(data))))
                    for sector in sorted(inode.dirty):
                        if chance.random() < 0.5:
                            start, stop = sector * SECTOR, min((sector + 1) * SECTOR, len(data))
                            data[start:stop] = inode.seen[start:stop]
                after.names[name] = Inode(data[:], data[:])
            after._stable = dict(after.names)
            return after

    # --- Files ----------------------------------------------------------------------------------------------

    def make_directory(self, path: Path) -> None:
        self._call("make_directory")

    def lock(self, path: Path) -> int:
        self._call("lock")
        return self._give(Inode())

    def free(self, path: Path) -> int:
        self._call("free")
        return self.room

    def listdir(self, path: Path) -> list[str]:
        self._call("listdir")
        return list(self.names)

    def create(self, path: Path) -> int:
        self._call("create")
        if path.name in self.names:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        inode = Inode()
        self._change(("create", path.name, inode, ""))
        return self._give(inode)

    def open(self, path: Path) -> int:
        self._call("open")
        if path.name not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._give(self.names[path.name])

    def close(self, handle: int) -> None:
        with self._guard:
            del self._handles[handle]
        self._call("close")

    def size(self, handle: int) -> int:
        self._call("size")
        return len(self._handles[handle].seen)

    def allocate(self, handle: int, size: int) -> None:
        self._call("allocate")
        inode = self._handles[handle]
        inode.seen.extend(bytes(max(0, size - len(inode.seen))))

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        self._call("pread")
        return bytes(self._handles[handle].seen[offset : offset + size])

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        self._call("pwrite")
        data = bytes(data)[: self.largest_write]
        with self._guard:
            inode = self._handles[handle]
            inode.seen.extend(bytes(max(0, offset + len(data) - len(inode.seen))))
            inode.seen[offset : offset + len(data)] = data
            inode.dirty.update(range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1))
        return len(data)

    def fdatasync(self, handle: int) -> None:
        self._sync("fdatasync", handle)

    def fsync(self, handle: int) -> None:
        self._sync("fsync", handle)

    def sync_directory(self, path: Path) -> None:
        self._call("sync_directory")
        with self._guard:
            self._stable = dict(self.names)
            self._changes.clear()

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename")
        self._change(("rename", old.name, self.names[old.name], new.name))

    def remove(self, path: Path) -> None:
        self._call("remove")
        if path.name not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._change(("remove", path.name, self.names[path.name], ""))

    # --- inside ---------------------------------------------------------------------------------------------

    @property
    def open_handles(self) -> int:
        return len(self._handles)

    def _sync(self, call: str, handle: int) -> None:
        inode = self._handles[handle]
        try:
            self._call(call)
        except OSError:
            # The worst a kernel does: the pages stay readable, count as clean, and were never written.
            inode.dirty.clear()
            raise
        with self._guard:
            # Only dirty sectors are written: what a failed sync dropped is not written by a later one.
            grown = len(inode.seen) - len(inode.kept)
            inode.kept.extend(bytes(max(0, grown)))
            for first, end in _stretches(inode.dirty):
                inode.kept[first * SECTOR : end * SECTOR] = inode.seen[first * SECTOR : end * SECTOR]
            inode.dirty.clear()

    def _call(self, name: str) -> None:
        with self._guard:
            self.calls.append(name)
            fault, number = self.fault, len(self.calls)
        self.on_call(name)
        if fault is not None and (number == fault.at or (fault.sticky and number > fault.at)):
            raise OSError(fault.number, os.strerror(fault.number))

    def _change(self, change: Change) -> None:
        with self._guard:
            _apply(self.names, change)
            self._changes.append(change)

    def _give(self, inode: Inode) -> int:
        with self._guard:
            self._next += 1
            self._handles[self._next] = inode
            return self._next


def _apply(names: dict[str, Inode], change: Change) -> None:
    verb, name, inode, new = change
    if verb == "create":
        names[name] = inode
    else:
        del names[name]
        if verb == "rename":
            names[new] = inode


def _stretches(sectors: set[int]) -> Iterator[tuple[int, int]]:
    """First sector, and the one behind the last, of each run without a gap."""
    first = end = -1
    for sector in sorted(sectors):
        if sector != end:
            if end >= 0:
                yield first, end
            first = sector
        end = sector + 1
    if end >= 0:
        yield first, end
