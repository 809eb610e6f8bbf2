"""Making the open segment trustworthy again after any kind of end. FORMAT.md §6.

The valid part is written to a new file even when nothing is torn: what a reader sees after a failed sync may
exist in memory only, and a second sync of the same file would succeed without writing it.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from evcharge.audit.files import Files
from evcharge.audit.segments import BROKEN_SUFFIX, DRAFT_PREFIX, Segment, write_all

# How much is copied at once, in bytes.
COPY_BYTES = 4 << 20


def rewrite(path: Path, files: Files, valid: int, segment_bytes: int) -> Segment:
    """Replace ``path`` by a new, durable file with its first ``valid`` bytes, open for more records.

    Raises OSError; ``path`` is then the old file or the new one.
    """
    source = files.open(path)

    def fill(handle: int) -> int:
        _copy(files, source, handle, valid)
        return valid

    try:
        segment = Segment.draft(path.parent, files, path.name, max(segment_bytes, valid), fill)
    finally:
        with suppress(OSError):
            files.close(source)
    try:
        segment.publish(path)
    except BaseException:
        segment.close()
        raise
    return segment


def keep_broken(path: Path, files: Files) -> Path:
    """Copy a torn segment durably to ``<name>.broken`` (``.broken-2`` …), to be looked at. Raises OSError."""
    taken = set(files.listdir(path.parent))
    name, number = path.name + BROKEN_SUFFIX, 1
    while name in taken:
        number += 1
        name = f"{path.name}{BROKEN_SUFFIX}-{number}"
    draft, kept = path.parent / f"{DRAFT_PREFIX}{name}", path.parent / name
    source = files.open(path)
    try:
        target = files.create(draft)
        try:
            _copy(files, source, target, files.size(source))
            files.fsync(target)
        finally:
            with suppress(OSError):
                files.close(target)
    finally:
        with suppress(OSError):
            files.close(source)
    files.rename(draft, kept)
    files.sync_directory(path.parent)
    return kept


def _copy(files: Files, source: int, target: int, size: int) -> None:
    """The first ``size`` bytes; zeros are left out, what was not written reads as zeros anyway."""
    offset = 0
    while offset < size:
        chunk = files.pread(source, min(COPY_BYTES, size - offset), offset)
        if not chunk:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        if chunk.count(0) < len(chunk):
            write_all(files, target, chunk, offset)
        offset += len(chunk)
