"""Room on the disk: enough for new charging, and something in reserve for the day on which there is none.

A full disk must not surprise a vehicle that charges. So new charging stops long before, what runs has its room
counted in, and a ballast lies there for the operator to remove when a start needs room. audit.md, "Writing"
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from evcharge.audit.files import Files
from evcharge.audit.segments import DRAFT_PREFIX, SEGMENT_BYTES

# Below this much free room nothing new is authorized, bytes. audit.md
LOW_BYTES = 256 << 20
# Above it by so much and charging is open again: no flapping around one figure.
BACK_BYTES = 32 << 20
# Room that one session may take to its ticket, bytes: eight hours with a record of 250 bytes each 8 s.
SESSION_BYTES = 1 << 20
# The operator's ballast, bytes: what a recovery writes (the open segment anew, and the next one).
BALLAST_BYTES = 2 * SEGMENT_BYTES
BALLAST = "ballast"


def short_by(free: int, held: int, sessions: int, *, low: bool) -> int:
    """Bytes that are missing before one more session may begin; 0: there is room.

    ``free``: on the file system; ``held``: reserved for the log already; ``sessions``: open ones; ``low``: it was short
    when it was looked at last.
    """
    promised = max(0, (sessions + 1) * SESSION_BYTES - held)
    return max(0, LOW_BYTES + promised + (BACK_BYTES if low else 0) - free)


def keep_ballast(directory: Path, files: Files, size: int = BALLAST_BYTES) -> bool:
    """Have a ballast of ``size`` bytes in ``directory``, if there is room for it. False: there is not.

    Nothing is written to it, it only takes room. Raises OSError for anything but a full disk.
    """
    names = files.listdir(directory)
    draft = directory / f"{DRAFT_PREFIX}{BALLAST}"
    if draft.name in names:
        files.remove(draft)
    if BALLAST in names:
        return True
    if size == 0:
        return False
    if files.free(directory) < size + LOW_BYTES + BACK_BYTES:
        return False
    handle = files.create(draft)
    try:
        files.allocate(handle, size)
        files.fsync(handle)
    except OSError as error:
        with suppress(OSError):
            files.remove(draft)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return False
        raise
    finally:
        with suppress(OSError):
            files.close(handle)
    files.rename(draft, directory / BALLAST)
    return True
