"""What an operator may set of the live picture, with its default, unit and reason."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many may look at once."""

    streams: Annotated[int, Meta(ge=1, le=900)] = 256
    """In all: a control room and the phones of a large site, and far below the connections that there may be."""
    streams_per_client: Annotated[int, Meta(ge=1, le=900)] = 24
    """Of one client: the screens of a team that shares a log-in."""
