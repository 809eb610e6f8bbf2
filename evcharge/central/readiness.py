"""When Central is ready: its door is open, nothing drains, and what it decides becomes durable.

Not among the reasons: a registry that is away (who is known is still admitted), no room on the disk, a log that may
have lost its end. Then new charges are refused with a reason, and those that run need their Central all the same: to
take its address away from charge points that come back would only make it worse.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from evcharge.net.metrics import PATIENCE_S, Asked
from evcharge.net.readiness import Readiness

DISK_LATE = f"the log was not durable within {PATIENCE_S:g} s, so answers wait: the disk is slow or hangs"


class Doors(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at."""

    synced: Callable[[], Awaitable[None]]
    """Returns once everything that was decided so far is durable; at once when nothing waits."""
    failed: Callable[[], bool]
    draining: Callable[[], bool]
    listening: Callable[[], bool]


def readiness_of(doors: Doors) -> Readiness:
    """What ``/readyz`` says of Central. A probe writes nothing into the log."""
    durable = Asked(doors.synced)

    def unready() -> str | None:
        if doors.failed():
            return "its log failed, or it found a bug of its own; it stops, its logs say why"
        if doors.draining():
            return "draining"
        if not doors.listening():
            return "starting"
        return None if durable.answers else DISK_LATE

    return Readiness(unready=unready, look=durable.look)
