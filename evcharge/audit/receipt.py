"""The receipt of a ticket: the proof that its record is in the signed log, for the driver who has to pay it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from evcharge.audit.event_codec import UnknownKind, decode
from evcharge.audit.files import Files
from evcharge.audit.follow import Follower
from evcharge.audit.lines import when
from evcharge.audit.proof import CannotProve
from evcharge.domain.events import TicketAdjusted, TicketIssued


def record_of_ticket(directory: Path, files: Files, ticket_id: str) -> int:
    """Sequence number of the record that issued a ticket. Raises CannotProve, UnknownKind, OSError."""
    needle = ticket_id.encode()
    for record in Follower(directory, files).records():
        # Most records are of something else: only those that hold the id are taken apart.
        if needle in record.body:
            logged = decode(record.body)
            event = None if logged is None else logged.event
            if isinstance(event, TicketIssued) and event.ticket.ticket_id == ticket_id:
                return record.seq
    raise CannotProve(f"the log has no ticket {ticket_id}; `evcharge-driver tickets` shows a driver's own")


def ticket_told(body: bytes) -> str:
    """What a record says of a ticket, for people; empty when it is about something else."""
    try:
        logged = decode(body)
    except (msgspec.DecodeError, UnknownKind):
        return ""
    event = None if logged is None else logged.event
    if isinstance(event, TicketIssued):
        ticket = event.ticket
        return (
            f"ticket {ticket.ticket_id}: {ticket.driver_id} at {ticket.cp_id}, {when(ticket.start_ms)} to "
            f"{when(ticket.end_ms)} UTC, {ticket.energy_wh / 1000:g} kWh, {ticket.amount_minor / 100:.2f} "
            f"{ticket.currency}{', provisional' if ticket.provisional else ''}"
        )
    if isinstance(event, TicketAdjusted):
        return f"ticket {event.ticket_id} adjusted by {event.energy_wh} Wh, {event.amount_minor / 100:+.2f}"
    return ""
