"""The seam between the log and the operating system.

Everything the log does to a disk goes through ``Files``, so that a test can fail, tear or crash any single
call. Handles are plain file descriptors. Every method raises ``OSError`` and nothing else.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

# The log tells who charged where: only its owner reads it.
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class Files(Protocol):
    """What the log needs of an operating system; short reads and short writes are legal."""

    def make_directory(self, path: Path) -> None:
        """Make ``path`` (0700) and its parents where missing; its own name is durable afterwards."""
        ...

    def lock(self, path: Path) -> int:
        """A handle that holds the directory's exclusive lock until closed; ``BlockingIOError`` if taken."""
        ...

    def free(self, path: Path) -> int:
        """Bytes that the file system of ``path`` can still give to this user."""
        ...

    def listdir(self, path: Path) -> list[str]:
        """Names in the directory, in no order."""
        ...

    def create(self, path: Path) -> int:
        """A new file (0600), open for reading and writing; ``FileExistsError`` if the name is taken."""
        ...

    def open(self, path: Path) -> int:
        """An existing file, open for reading and writing."""
        ...

    def close(self, handle: int) -> None:
        """Close the handle; what was written stays written, and unsynced."""
        ...

    def size(self, handle: int) -> int:
        """Length of the file in bytes."""
        ...

    def allocate(self, handle: int, size: int) -> None:
        """Reserve ``size`` bytes from offset 0, which read as zeros. ENOSPC comes here, not later."""
        ...

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        """At most ``size`` bytes; empty at the end of the file."""
        ...

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        """Write; returns how many bytes were taken, perhaps fewer than given."""
        ...

    def fdatasync(self, handle: int) -> None:
        """Data, and what is needed to read it back, is on the medium."""
        ...

    def fsync(self, handle: int) -> None:
        """Data and all attributes are on the medium."""
        ...

    def sync_directory(self, path: Path) -> None:
        """The names in ``path`` are on the medium."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Atomic; replaces ``new``."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a name."""
        ...


class OsFiles:
    """The real thing: POSIX, Linux."""

    def make_directory(self, path: Path) -> None:
        if path.is_dir():
            return
        path.mkdir(mode=DIRECTORY_MODE, parents=True)
        self.sync_directory(path.parent)

    def lock(self, path: Path) -> int:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        return handle

    def free(self, path: Path) -> int:
        room = os.statvfs(path)
        return room.f_bavail * room.f_frsize

    def listdir(self, path: Path) -> list[str]:
        return os.listdir(path)  # noqa: PTH208  (names, not paths: the pure part works on names)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)

    def close(self, handle: int) -> None:
        os.close(handle)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def allocate(self, handle: int, size: int) -> None:
        os.posix_fallocate(handle, 0, size)

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        return os.pread(handle, size, offset)

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(handle, data, offset)

    def fdatasync(self, handle: int) -> None:
        os.fdatasync(handle)

    def fsync(self, handle: int) -> None:
        os.fsync(handle)

    def sync_directory(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def remove(self, path: Path) -> None:
        path.unlink()


class ReadOnly(OsFiles):
    """Opens files for reading: for those who only look, and may have no right to more."""

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
