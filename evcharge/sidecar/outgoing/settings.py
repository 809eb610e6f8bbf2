"""What an operator may set about calls to URLs that others name."""

from __future__ import annotations

import msgspec


class OutgoingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exceptions from "the public internet only"; none by default."""

    allow_networks: tuple[str, ...] = ()
    """Networks that may be called although they are not public, as "10.20.0.0/16"."""
    allow_targets: tuple[str, ...] = ()
    """Hosts that may be called wherever their names lead, as "receiver.site.internal:8443"; for names that are local
    by themselves (localhost, .local, .internal) there is no other way.
    """
    ports: tuple[int, ...] = ()
    """The only ports that may be called; empty: any. A target of ``allow_targets`` may be called at its own."""
