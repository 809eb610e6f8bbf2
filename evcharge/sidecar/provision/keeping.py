"""Folders and files of a provisioned site: each file is whole or not there, and a mark says what was begun.

What the registry hands out is shown once. So before it is asked a mark is put beside the file; when a kill comes
between the registry's word and the file, the mark is still there and says that nobody has ever had that secret.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from evcharge.sidecar.bootstrap import DRAFT, write_private

# What stands behind the name of a file that was begun.
PENDING = ".pending"
_OPEN_BITS = stat.S_IRWXG | stat.S_IRWXO


class Busy(Exception):
    """Somebody else works on the folder; one sentence."""


class Report(msgspec.Struct, kw_only=True):
    """What a run came to: paths below ``--out``, sentences where somebody has to know or to decide. No secret."""

    made: list[str] = []
    present: list[str] = []
    renewed: list[str] = []
    rotated: list[str] = []
    notes: list[str] = []
    amiss: list[str] = []
    """Hand-outs of peers and accounts that are lost, old or not to be made, and what to do: the site serves all the
    same."""
    problems: list[str] = []
    """What Central and the sidecar need and is not there, or not good, and what to do."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One run at a time. Raises Busy."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"Another evcharge-sidecar provision works on {folder}; wait for its end.") from None
        yield
    finally:
        os.close(handle)


def private_folder(folder: Path) -> Path:
    """Make it with its parents, 0700 from the first instant; one of ours that is open to others is closed."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    # A volume's folder may belong to somebody else who gave us the right to write: its mode is theirs.
    if not missing and found.st_uid == os.geteuid() and found.st_mode & _OPEN_BITS:
        try:
            folder.chmod(0o700)
        except OSError as error:
            # On the way to volumes there are folders of a container's read-only root, with nothing in them.
            if error.errno != errno.EROFS:
                raise
    return folder


def replace_private(file: Path, content: bytes) -> None:
    """Write a file over another one, at once for who reads it; 0600. Raises OSError."""
    draft = file.with_name(file.name + DRAFT)
    fresh = file.with_name(file.name + ".new")
    fresh.unlink(missing_ok=True)
    draft.unlink(missing_ok=True)
    write_private(fresh, content)
    fresh.replace(file)
    _sync(file.parent)


def begin(file: Path) -> None:
    """Say that a file is about to be made; again: nothing."""
    mark = _mark(file)
    if not mark.exists():
        write_private(mark, b"")


def begun(file: Path) -> bool:
    """Whether it was begun and not finished."""
    return _mark(file).exists()


def finish(file: Path) -> None:
    """It is there."""
    mark = _mark(file)
    if mark.exists():
        mark.unlink()
        _sync(file.parent)


def _mark(file: Path) -> Path:
    return file.with_name(file.name + PENDING)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
