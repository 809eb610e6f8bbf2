"""The history as clients see it: Wh, W, minor units, grams; instants are UTC milliseconds of the site."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from evcharge.sidecar.gateway.audit_schemas import Seq, Word
from evcharge.sidecar.history.spread import LAST_MS

# Rows of one page: a screen shows some dozens.
PAGE_ROWS = 100
MOST_ROWS = 500
# Rows of a session's timeline: a night with a set-point every ten seconds has 4,000.
TIMELINE_ROWS = 5_000
# Points of one curve: a wide screen has not many more pixels.
CURVE_POINTS = 3_000
# Days of one answer: a year, and the month it is compared with.
MOST_DAYS = 400
MOST_RANGE_MS = MOST_DAYS * 86_400_000
# What is shown unless another range is asked for: a month of days, a day of power.
USUAL_DAYS = 30
USUAL_RANGE_MS = 86_400_000

Instant = Annotated[int, Meta(ge=0, le=LAST_MS, description="UTC milliseconds")]
Limit = Annotated[int, Meta(ge=1, le=MOST_ROWS)]
Day = Annotated[date, Meta(description="a day as YYYY-MM-DD")]
Status = Literal["AUTHORIZED", "SUPPLYING", "PAUSED", "EXPIRED", "COMPLETED", "INTERRUPTED"]


class RangeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Between two instants; without them the last day."""

    from_ms: Instant | None = None
    until_ms: Instant | None = None


class EnergyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The whole site, or what one node feeds."""

    from_ms: Instant | None = None
    until_ms: Instant | None = None
    substation_id: Word | None = None


class SessionsFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions that were authorized between two instants."""

    from_ms: Instant | None = None
    until_ms: Instant | None = None
    cp_id: Word | None = None
    driver_id: Word | None = None
    """Needs site:control."""
    status: Status | None = None


class SessionsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of them, the newest first."""

    from_ms: Instant | None = None
    until_ms: Instant | None = None
    cp_id: Word | None = None
    driver_id: Word | None = None
    """Needs site:control."""
    status: Status | None = None
    after: (
        Annotated[str, Meta(pattern=r"^[0-9]{1,15}\.[0-9]{1,16}$", description="what next said of the page before")]
        | None
    ) = None
    limit: Limit = PAGE_ROWS


class TimelineQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Rows behind a record."""

    after_seq: Seq = 0


class DaysQuery(msgspec.Struct, frozen=True, kw_only=True, rename={"first": "from", "last": "until"}):
    """Days of the site's time zone, both included; without them the last thirty."""

    first: Day | None = None
    last: Day | None = None


class ChangesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What happened behind a record, oldest first."""

    cp_id: Word | None = None
    session_id: Word | None = None
    after_seq: Seq = 0
    limit: Limit = PAGE_ROWS


class ChainState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether what was read is what Central signed."""

    ok: bool | None
    """null: nothing was compared yet."""
    seq: int
    """Records 1 to this one are those that were signed."""
    sentence: str


class HistoryState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the history goes."""

    available: bool
    """Whether it can be asked."""
    sentence: str | None
    """Why it cannot be asked, or does not grow; null: it is well."""
    seq: int
    newest_seq: int | None
    """Of Central's log, as last heard; null: not heard of yet."""
    first_seq: int
    """The first record that is in it; those before were archived. 0: none is."""
    missing: int
    """Records behind that one which were archived before they were read."""
    schema: int
    time_zone: str
    chain: ChainState


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session."""

    session_id: str
    cp_id: str
    connector: int
    driver_id: str
    substation_id: str
    status: str
    """AUTHORIZED, SUPPLYING or PAUSED while it is open, then COMPLETED, INTERRUPTED or EXPIRED."""
    authorized_ms: int
    start_ms: int | None
    end_ms: int | None
    stop: str | None
    """Why it ended."""
    min_w: int
    max_w: int
    requested_wh: int | None
    energy_wh: int
    """So far; with its ticket what that says, adjustments included."""
    amount_minor: int | None
    currency: str | None
    co2_g: int | None
    provisional: bool
    """Its final meter is still awaited."""
    ticket_id: str | None


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """One page, the newest first."""

    sessions: list[SessionRow]
    next: str | None
    """Pass as ``after``; null: that was all."""


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """A later correction of a ticket."""

    seq: int
    at_ms: int
    energy_wh: int
    amount_minor: int
    co2_g: int
    final_meter_wh: int


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """The bill of a session as it was issued, and what was corrected since."""

    ticket_id: str
    seq: int
    at_ms: int
    start_ms: int
    end_ms: int
    energy_wh: int
    price_e4: int
    """Price per kWh in ten-thousandths of the currency."""
    amount_minor: int
    currency: str
    status: str
    reason: str
    average_w: int
    co2_g: int
    final_meter_wh: int
    provisional: bool
    adjustments: list[Adjustment]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One record, for people."""

    seq: int
    kind: str
    at_ms: int
    text: str
    cp_id: str | None
    connector: int | None
    session_id: str | None
    node_id: str | None
    limit_w: int | None
    reason: str | None
    why: str | None
    """Of a set-point: what bound it."""


class SessionFound(msgspec.Struct, frozen=True, kw_only=True):
    """A session with all that was decided about it and happened to it."""

    session: SessionRow
    ticket: Ticket | None
    timeline: list[Entry]
    more: bool
    """Whether there are rows behind the last one: ask with its seq as ``after_seq``."""
    upto_seq: int
    """The record that all of this is as of."""


class Quarter(NamedTuple):
    """Begin, Wh, highest W that was seen."""

    start_ms: int
    energy_wh: int
    peak_w: int


class PointFound(msgspec.Struct, frozen=True, kw_only=True):
    """A charge point over some time."""

    cp_id: str
    from_ms: int
    until_ms: int
    step_ms: int
    energy: list[Quarter]
    """Where something was drawn, in order."""
    sessions: list[SessionRow]
    """The newest that began in that time."""
    changes: list[Entry]
    """The newest of that time, oldest first."""
    upto_seq: int


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """What was drawn, step by step; steps without anything are left out."""

    from_ms: int
    until_ms: int
    step_ms: int
    rows: list[Quarter]
    upto_seq: int


class DayRow(msgspec.Struct, frozen=True, kw_only=True):
    """A day: energy when it flowed; sessions, money and CO2 on the day that they were billed for."""

    day: str
    sessions: int
    energy_wh: int
    amount_minor: int
    currency: str | None
    co2_g: int
    co2_avoided_g: int
    busy_s: int
    utilisation_percent: float
    """Of the time of all connectors that there were."""
    refused: int


class Days(msgspec.Struct, frozen=True, kw_only=True):
    """In order; days on which nothing happened are left out."""

    time_zone: str
    days: list[DayRow]
    upto_seq: int


class Today(msgspec.Struct, frozen=True, kw_only=True):
    """The day that it is at the site."""

    day: str
    energy_wh: int
    amount_minor: int
    currency: str | None
    sessions: int
    co2_g: int
    co2_avoided_g: int
    upto_seq: int


class ChangesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first."""

    changes: list[Entry]
    next_seq: int | None
    """Pass as ``after_seq``; null: that was all."""
    upto_seq: int
