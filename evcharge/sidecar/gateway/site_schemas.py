"""The site's tables as clients see them; units stand in the names, instants are UTC milliseconds of the site."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

# Rows of one page: as many as one reply of Central has.
MOST_ROWS = 100
# Largest limit of a charge point, W: as Central has it.
MOST_LIMIT_W = 10_000_000


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page: the rows behind ``after``."""

    after: Annotated[str, Meta(max_length=64)] = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = MOST_ROWS


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums since the log began."""

    sessions: int
    authorized: int
    refused: int
    started: int
    expired: int
    tickets: int
    energy_wh: int
    amount_minor: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway is, and what the site did so far."""

    version: str
    central: Literal["connected", "disconnected", "unset"]
    totals: Totals | None
    """null: Central does not answer."""


class SubstationRow(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the tree of limits; sums are over all below it."""

    substation_id: str
    parent: str | None
    capacity_w: int
    limit_w: int | None
    """What the heat leaves of capacity_w; null: all of it."""
    base_w: int
    """What is kept free for everything else that draws there."""
    worst_case_w: int
    """What its sessions could draw if all messages were lost now."""
    load_w: int
    sessions: int
    home_sessions: int
    health: str
    """UP, LOST or PROBING."""
    since_ms: int | None
    utilisation_percent: int
    measured_w: int | None
    """By its own meter; null: it has none, or it is not heard."""
    measured_age_ms: int | None
    offered_w: int = 0
    fallback_w: int = 0


class Substations(msgspec.Struct, frozen=True, kw_only=True):
    """One page."""

    substations: list[SubstationRow]
    next: str | None
    """Pass as ``after``; null: that was all."""


class ConnectorRow(msgspec.Struct, frozen=True, kw_only=True):
    """A connector and what it does."""

    connector: int
    state: str
    occupied: bool
    session_id: str | None
    driver_id: str | None
    """Masked but for who controls the site."""
    min_w: int
    max_w: int
    limit_w: int | None
    power_w: int
    energy_wh: int
    reason: str | None
    why: str | None = None
    decided_ms: int | None = None
    inputs_ms: int | None = None


class ChargePointRow(msgspec.Struct, frozen=True, kw_only=True):
    """A charge point."""

    cp_id: str
    state: str
    """ACTIVATED, SUPPLYING, STOPPED, OUT_OF_ORDER or DISCONNECTED."""
    substation_id: str
    holds: list[str]
    engine: str
    monitor: str
    last_seen_ms: int | None
    waiting: int
    connectors: list[ConnectorRow]
    limit_w: int | None
    """What an operator allows each connector; null: its max_w."""


class ChargePoints(msgspec.Struct, frozen=True, kw_only=True):
    """One page."""

    charge_points: list[ChargePointRow]
    next: str | None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A charge point after ``stop`` or ``resume``."""

    cp_id: str
    changed: bool
    """false: it was so already."""
    state: str
    holds: list[str]


class LimitBody(msgspec.Struct, frozen=True, kw_only=True):
    """What each connector of a charge point may draw at most."""

    limit_w: Annotated[int, Meta(ge=0, le=MOST_LIMIT_W)] | None
    """Below a connector's min_w its session pauses; null: its max_w again."""


class Limited(msgspec.Struct, frozen=True, kw_only=True):
    """A charge point after its limit was set."""

    cp_id: str
    limit_w: int | None
    changed: bool
    """false: it was so already."""
    state: str


class HeldAll(msgspec.Struct, frozen=True, kw_only=True):
    """All charge points after ``stop`` or ``resume`` of all."""

    charge_points: int
    stopped: int
    """Those that the operator holds now."""


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """An open session."""

    session_id: str
    state: str
    cp_id: str
    connector: int
    driver_id: str
    requested_wh: int | None
    depart_by_ms: int | None
    expires_ms: int | None
    energy_wh: int
    power_w: int
    limit_w: int | None
    reason: str | None
    amount_minor: int
    currency: str


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """One page."""

    sessions: list[SessionRow]
    next: str | None


class TicketRow(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket: exactly one per session that started."""

    ticket_id: str
    session_id: str
    cp_id: str
    driver_id: str
    substation_id: str
    start_ms: int
    end_ms: int
    duration_s: int
    energy_wh: int
    price_e4: int
    """Price per kWh in ten-thousandths of the currency."""
    amount_minor: int
    currency: str
    status: str
    """COMPLETED or INTERRUPTED."""
    reason: str
    average_w: int
    co2_g: int
    adjustments: list[int]
    """Watt-hours of linked adjustments, in order."""


class Tickets(msgspec.Struct, frozen=True, kw_only=True):
    """One page."""

    tickets: list[TicketRow]
    next: str | None


class SessionFound(msgspec.Struct, frozen=True, kw_only=True):
    """A session: open, or over and settled."""

    session_id: str
    state: str
    session: SessionRow | None
    """null: it is over."""
    ticket: TicketRow | None
    """null: it is not over, or its final meter is not known yet."""
