"""What a peer remembers of Central's log, so that a rolled-back disk is seen from outside. SPEC §4.8, FORMAT.md §12.

A witness need not understand a checkpoint: it keeps the newest one as it came, over a secured channel, and shows it
when it comes back. Central then has to prove that its log still begins with that one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

# Longest number of records in a checkpoint's second line, digits: 2^63.
_DIGITS = 19
MODE = 0o600


class Witness:
    """Keeps one checkpoint, in a file where it has to outlive the program."""

    def __init__(self, path: Path | None = None) -> None:
        """``path`` None: in memory only. An unreadable file is said and begun anew."""
        self.note: bytes | None = None
        """The newest checkpoint seen."""
        self._path = path
        if path is not None and path.exists():
            try:
                self.note = path.read_bytes()[:512] or None
            except OSError as error:
                log.warning("witness.unreadable", file=str(path), why=error.strerror)

    def see(self, note: bytes) -> None:
        """A checkpoint from Central. One of a smaller log than was seen before is not taken: what is kept is proof."""
        old = None if self.note is None else _head(self.note)
        new = _head(note)
        if new is None or note == self.note:
            return
        if old is not None and old[0] == new[0] and new[1] < old[1]:
            log.error("witness.log_is_shorter", log=new[0], records=new[1], seen_before=old[1])
            return
        self.note = note
        if self._path is not None:
            try:
                _write(self._path, note)
            except OSError as error:
                log.warning("witness.not_kept", file=str(self._path), why=error.strerror)


def _head(note: bytes) -> tuple[str, int] | None:
    """Name and size of the log that a checkpoint is about; None: that is no checkpoint."""
    name, _, rest = note.partition(b"\n")
    size = rest.partition(b"\n")[0]
    if not name or not size.isdigit() or len(size) > _DIGITS:
        return None
    return name.decode("utf-8", "replace"), int(size)


def _write(path: Path, note: bytes) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    with suppress(FileNotFoundError):
        draft.unlink()
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    try:
        os.write(handle, note)
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.replace(path)
