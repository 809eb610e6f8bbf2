"""What the fold has to remember between two records: sessions that are not over, and the site as it was last said."""

from __future__ import annotations

import msgspec

# Of the sums over the whole site; no node has an empty name.
SITE = ""


class Open(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A session about which more may come: its row, and what its next meter value is counted from."""

    session_id: str
    seq: int
    """The record that began it."""
    last_seq: int
    """The newest record about it."""
    cp_id: str
    connector: int
    driver_id: str
    substation_id: str
    above: tuple[str, ...] = ()
    """The nodes whose sums it counts in: its own, those above it, and the site."""
    status: str
    authorized_ms: int
    min_w: int = 0
    max_w: int = 0
    requested_wh: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    stop: str | None = None
    energy_wh: int = 0
    """Counted in the quarters so far."""
    amount_minor: int | None = None
    currency: str | None = None
    co2_g: int | None = None
    ticket_id: str | None = None
    ticket_end_ms: int | None = None
    provisional: bool = False
    start_meter_wh: int | None = None
    meter_ms: int = 0
    """Until when ``energy_wh`` is counted."""
    power_w: int = 0
    spread: dict[int, int] = {}
    """What of ``energy_wh`` stands in which quarter: a final meter below the last known one takes some of it back."""


class Site(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The tree of nodes and the connectors."""

    parents: dict[str, str | None] = {}
    connectors: dict[str, int] = {}
    """How many each charge point has."""

    def above(self, node_id: str) -> tuple[str, ...]:
        """A node, all that feed it, and the site; a tree that bites its tail ends where it does."""
        found: dict[str, None] = {}
        at: str | None = node_id
        while at is not None and at not in found:
            found[at] = None
            at = self.parents.get(at)
        return (*found, SITE)


class Memory(msgspec.Struct, kw_only=True):
    """All of it."""

    seq: int = 0
    """Of the last record that was taken."""
    site: Site = msgspec.field(default_factory=Site)
    sessions: dict[str, Open] = {}
