"""The records that the history takes apart, as FORMAT.md has them; a field that has its default is left out there.

Only what is counted has a struct here. Of all other kinds the fields that name something are read by name, so that a
kind that a newer Central writes is kept and told as well.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

# Whole numbers and names that tables can hold; whatever else stands in a record is none of Central's.
Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Name = Annotated[str, Meta(max_length=128, pattern=r"^[^\x00]*$")]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Base: fields that are not named here are passed over."""


class Placed(Said, frozen=True):
    """What is said of a node beside its capacity."""

    parent: Name | None = None


class SiteSaid(Said, frozen=True):
    """The site's configuration."""

    capacities: dict[str, Any] = {}
    nodes: dict[str, Placed] = {}


class CentralStarted(Said, frozen=True):
    """Central serves."""

    site: SiteSaid


class ChargePointBooted(Said, frozen=True):
    """The engine described itself."""

    cp_id: Name
    connectors: list[Any]


class ChargeAuthorized(Said, frozen=True):
    """A session exists."""

    session_id: Name
    cp_id: Name
    connector: Whole
    driver_id: Name
    substation_id: Name
    min_w: Whole
    max_w: Whole
    energy_wh: Whole | None = None


class AboutSession(Said, frozen=True):
    """A session, with its meter where that is told."""

    session_id: Name
    meter_wh: Whole | None = None
    at_ms: Whole | None = None
    cause: Name | None = None
    start_pending: bool = False


class MeterSampled(Said, frozen=True):
    """A meter value."""

    session_id: Name
    meter_wh: Whole
    power_w: Whole


class Ticket(Said, frozen=True):
    """The bill of one session."""

    ticket_id: Name
    session_id: Name
    cp_id: Name
    driver_id: Name
    substation_id: Name
    start_ms: Whole
    end_ms: Whole
    energy_wh: Whole
    price_e4: Whole
    amount_minor: Whole
    currency: Name
    status: Name
    reason: Name
    average_w: Whole
    co2_g: Whole
    final_meter_wh: Whole
    provisional: bool = False


class TicketIssued(Said, frozen=True):
    """A session is over."""

    ticket: Ticket


class TicketAdjusted(Said, frozen=True):
    """Late data for a provisional ticket."""

    ticket_id: Name
    session_id: Name
    driver_id: Name
    energy_wh: Whole
    amount_minor: Whole
    co2_g: Whole
    final_meter_wh: Whole


class Grant(Said, frozen=True):
    """A set-point."""

    limit_w: Whole


class SetPointIssued(Said, frozen=True):
    """It was sent."""

    session_id: Name
    grant: Grant
    reason: Name


# Decisions; every other kind that is kept is a change of state.
DECISIONS = frozenset(
    {
        "charge_authorized",
        "charge_refused",
        "request_refused",
        "charge_queued",
        "charge_offered",
        "offer_ended",
        "queue_left",
        "reservation_made",
        "reservation_opened",
        "reservation_delayed",
        "reservation_ended",
        "set_point_issued",
        "set_point_rejected",
        "stop_ordered",
        "stray_supply_stopped",
    }
)
# Kinds of which no row is kept: what only confirms, what stands in the sums, and the log's own.
PASSED = frozenset(
    {
        "mark",
        "signing_key",
        "state",
        "unreadable",
        "outbox_applied",
        "authorization_acknowledged",
        "set_point_acknowledged",
        "session_forgotten",
        "meter_sampled",
        "ticket_delivered",
        "plan_adopted",
    }
)
# Peers whose coming and going is a change of the site's state; drivers come and go all day.
LASTING = frozenset({"engine", "monitor"})
# Longest data of a record that is kept, bytes: the fields of an ordinary one take some hundred. A longer one's are left
# out, its row is there; the audit log has it whole.
DATA_BYTES = 16_384
