"""Server-sent events as bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from evcharge.sidecar.web.route import Principal
from evcharge.sidecar.web.scopes import Scope

# After how many milliseconds a page comes back: a restart of the sidecar takes about as long.
RETRY = b"retry: 1000\n\n"
# A comment: proxies and phones cut what is silent.
COMMENT = b":\n\n"

# A client sees drivers and the log as they are only when it may see both elsewhere: the log names drivers in full.
_WHOLE = frozenset({Scope.SITE_CONTROL, Scope.AUDIT_READ})


class Audience(IntEnum):
    """Two kinds of clients; what is told to one kind is written once for all of it."""

    WHOLE = 0
    MASKED = 1


Tell = Callable[[Audience], bytes]


def audience_of(principal: Principal | None) -> Audience:
    """Which one a client belongs to."""
    return Audience.WHOLE if principal is not None and principal.scopes >= _WHOLE else Audience.MASKED


def event(name: str, data: bytes, seq: int | None = None) -> bytes:
    """One event; ``data`` is JSON, which has no line ends in it. With ``seq`` a page comes back with that."""
    number = b"" if seq is None else b"id: %d\n" % seq
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), number, data)
