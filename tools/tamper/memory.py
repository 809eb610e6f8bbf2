"""A log's folder in memory: what the readers and a recovery of a changed copy work on."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

# The folder's name; it is on no disk.
HERE = Path("log")

Image = Mapping[str, bytes]
"""The files of a log's folder, by name."""


class Memory:
    """Implements ``evcharge.audit.files.Files`` over a copy of an image. One folder, one user, nothing fails."""

    def __init__(self, image: Image) -> None:
        self.opened: set[str] = set()
        """Names of all files that were opened or read by name: nothing else can have been looked into."""
        self._files: dict[str, bytes | bytearray] = dict(image)
        self._handles: dict[int, str] = {}
        self._next = 3

    def image(self) -> dict[str, bytes]:
        """The folder as it is now."""
        return {name: bytes(data) for name, data in self._files.items()}

    def make_directory(self, path: Path) -> None:
        """It is there."""

    def lock(self, path: Path) -> int:  # noqa: ARG002
        return self._give("")

    def free(self, path: Path) -> int:  # noqa: ARG002
        return 1 << 40

    def listdir(self, path: Path) -> list[str]:  # noqa: ARG002
        return list(self._files)

    def create(self, path: Path) -> int:
        if path.name in self._files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._files[path.name] = bytearray()
        return self._give(path.name)

    def open(self, path: Path) -> int:
        if path.name not in self._files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self.opened.add(path.name)
        return self._give(path.name)

    def close(self, handle: int) -> None:
        del self._handles[handle]

    def size(self, handle: int) -> int:
        return len(self._files[self._handles[handle]])

    def allocate(self, handle: int, size: int) -> None:
        data = self._writable(handle)
        data.extend(bytes(max(0, size - len(data))))

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        return bytes(self._files[self._handles[handle]][offset : offset + size])

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        held = self._writable(handle)
        held.extend(bytes(max(0, offset - len(held))))
        held[offset : offset + len(data)] = data
        return len(data)

    def fdatasync(self, handle: int) -> None:
        """There is no other medium."""

    def fsync(self, handle: int) -> None:
        """There is no other medium."""

    def sync_directory(self, path: Path) -> None:
        """There is no other medium."""

    def rename(self, old: Path, new: Path) -> None:
        self._files[new.name] = self._files.pop(old.name)
        for handle, name in self._handles.items():
            # An open file keeps its handle under its new name.
            if name == old.name:
                self._handles[handle] = new.name

    def remove(self, path: Path) -> None:
        del self._files[path.name]

    def _give(self, name: str) -> int:
        self._next += 1
        self._handles[self._next] = name
        return self._next

    def _writable(self, handle: int) -> bytearray:
        name = self._handles[handle]
        held = self._files[name]
        if isinstance(held, bytes):
            held = self._files[name] = bytearray(held)
        return held
