"""The ``[history]`` table of the settings file, and the limits of the history."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from evcharge.sidecar.history.spread import Calendar

# The file beside the registry's.
DATABASE = "history.sqlite"


class HistorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may set."""

    enabled: bool = True
    """False: nothing is kept, and the routes say so."""
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    """Where days begin. Another one is a rebuild."""

    def __post_init__(self) -> None:
        """The zone has to be known here."""
        Calendar(self.time_zone)
