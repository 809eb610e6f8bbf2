"""Whether a daemon is of use now, as ``/readyz`` says it to who sends it work: a probe, a proxy, an orchestrator.

It is another question than whether it lives. A charge point without Central goes on charging and must not be started
anew for it, but nobody would call it ready.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

NO_CHANNEL = "no channel to Central"


async def _nothing() -> None:
    """There is nothing to wait for."""


def channels(up: int, all_of_them: int) -> str | None:
    """Of a process that has channels to Central for many: None while one is open, else why it is not ready.

    One is enough, because a peer that was revoked is no reason to take the others away.
    """
    return None if up else f"none of {all_of_them} channels to Central is open" if all_of_them > 1 else NO_CHANNEL


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Where the answer comes from. Without arguments: ready as long as it answers."""

    unready: Callable[[], str | None] = lambda: None
    """Why it is not ready, a sentence for a person; None: it is. Called on the loop for every question, so it only
    looks at what is known."""
    note: Callable[[], str] = lambda: ""
    """What else stands in the answer while it is ready; empty: nothing."""
    look: Callable[[], Awaitable[None]] = _nothing
    """Gathers what has to be waited for, before ``unready`` is called; at most once a second, and it must end soon
    (``net.metrics.Asked``)."""
