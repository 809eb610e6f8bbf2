"""A machine's disk with folders, in virtual time: each folder a ``Disk``, all of them lost or kept together."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tools.simulate.disk import Disk, Fault

# Handles of one folder's disk; more are never open.
_STRIDE = 1 << 20


class Volume:
    """Implements ``evcharge.audit.files.Files``. Folders come into being when they are first named."""

    def __init__(self, sleep: Callable[[str], None]) -> None:
        """``sleep`` is told each call and may rest: a disk takes time."""
        self.folders: dict[Path, Disk] = {}
        self.dead = False
        """Its machine or its process is gone: whatever still runs there changes nothing."""
        self._sleep = sleep

    def disk(self, folder: Path) -> Disk:
        """One folder."""
        disk = self.folders.get(folder)
        if disk is None:
            disk = self.folders[folder] = Disk()
        return disk

    def kill(self) -> Volume:
        """The process died; what it wrote is there."""
        return self._after(lambda disk: disk.kill())

    def power_loss(self, dice: random.Random) -> Volume:
        """The machine died; what was not synced may be there or not."""
        return self._after(lambda disk: disk.power_loss(dice))

    def _after(self, what: Callable[[Disk], Disk]) -> Volume:
        self.dead = True
        volume = Volume(self._sleep)
        volume.folders = {folder: what(disk) for folder, disk in self.folders.items()}
        return volume

    def fail(self, folder: Path, in_calls: int, number: int) -> None:
        """A call on a folder will fail with errno ``number``: the one that comes after so many others."""
        disk = self.disk(folder)
        disk.fault = Fault(len(disk.calls) + in_calls, number)

    # --- Files ----------------------------------------------------------------------------------------------------

    def make_directory(self, path: Path) -> None:
        self.disk(path).make_directory(path)

    def lock(self, path: Path) -> int:
        return self._given(path, self.disk(path).lock(path))

    def free(self, path: Path) -> int:
        return self.disk(path).free(path)

    def listdir(self, path: Path) -> list[str]:
        return self.disk(path).listdir(path)

    def create(self, path: Path) -> int:
        return self._given(path.parent, self.disk(path.parent).create(path))

    def open(self, path: Path) -> int:
        return self._given(path.parent, self.disk(path.parent).open(path))

    def rename(self, old: Path, new: Path) -> None:
        self._rest("rename")
        self.disk(old.parent).rename(old, new)

    def remove(self, path: Path) -> None:
        self.disk(path.parent).remove(path)

    def sync_directory(self, path: Path) -> None:
        self._rest("sync_directory")
        self.disk(path).sync_directory(path)

    def close(self, handle: int) -> None:
        disk, inner = self._of(handle)
        disk.close(inner)

    def size(self, handle: int) -> int:
        disk, inner = self._of(handle)
        return disk.size(inner)

    def allocate(self, handle: int, size: int) -> None:
        self._rest("allocate")
        disk, inner = self._of(handle)
        disk.allocate(inner, min(size, MOST_BYTES))

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        disk, inner = self._of(handle)
        return disk.pread(inner, size, offset)

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        self._rest("pwrite")
        disk, inner = self._of(handle)
        return disk.pwrite(inner, data, offset)

    def fdatasync(self, handle: int) -> None:
        self._rest("fdatasync")
        disk, inner = self._of(handle)
        disk.fdatasync(inner)

    def fsync(self, handle: int) -> None:
        self._rest("fsync")
        disk, inner = self._of(handle)
        disk.fsync(inner)

    def _rest(self, call: str) -> None:
        self._sleep(call)

    def _given(self, folder: Path, inner: int) -> int:
        return list(self.folders).index(folder) * _STRIDE + inner

    def _of(self, handle: int) -> tuple[Disk, int]:
        place, inner = divmod(handle, _STRIDE)
        return list(self.folders.values())[place], inner


# Largest file that is reserved, bytes: nobody has to look through 64 MiB of zeros in memory.
MOST_BYTES = 1 << 18
