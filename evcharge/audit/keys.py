"""Where the log's signing key lives, and how it is replaced. FORMAT.md §10.

``<data>/log-key/current`` signs. ``next``, put there by ``evcharge-audit rotate-key``, is taken over by the next start
of Central: the log says so first (a ``signing_key`` record, signed by the old key), then the file is renamed. A crash
in between is found at the next start, because the record names the key.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evcharge.audit.files import Files
from evcharge.audit.note import BadNote, Signer
from evcharge.audit.segments import DRAFT_PREFIX, write_all

CURRENT, NEXT = "current", "next"
# A signing key in a file: prefix, name, id and 44 characters, with room to spare.
_MAX_KEY_FILE = 512
_SEED_SIZE = 32


class BadKeyFile(Exception):
    """The signing key cannot be used; the text says what to do, and quotes nothing of it."""


def load(directory: Path, name: str, files: Files) -> Signer | None:
    """The key in ``directory / name``; None: there is none. Raises BadKeyFile, OSError."""
    if name not in files.listdir(directory):
        return None
    path = directory / name
    handle = files.open(path)
    try:
        data = files.pread(handle, _MAX_KEY_FILE + 1, 0)
    finally:
        files.close(handle)
    try:
        return Signer.parse(data.decode("ascii", "replace"))
    except BadNote as error:
        raise BadKeyFile(f"{path}: {error}. Put back the key from a backup; a new one cannot sign for it.") from None


def make(directory: Path, name: str, origin: str, files: Files, entropy: Callable[[int], bytes]) -> Signer:
    """A new key for the log ``origin``, durable in ``directory / name`` (0600). Raises OSError, ValueError."""
    signer = Signer(origin, entropy(_SEED_SIZE))
    draft = directory / f"{DRAFT_PREFIX}{name}"
    if draft.name in files.listdir(directory):
        files.remove(draft)
    handle = files.create(draft)
    try:
        write_all(files, handle, signer.private_text().encode(), 0)
        files.fsync(handle)
    finally:
        files.close(handle)
    files.rename(draft, directory / name)
    files.sync_directory(directory)
    return signer


def promote(directory: Path, files: Files) -> None:
    """``next`` becomes ``current``, durably. Raises OSError."""
    files.rename(directory / NEXT, directory / CURRENT)
    files.sync_directory(directory)
