"""Identifiers as types of their own, so that a driver's id cannot be passed where a charge point's is meant."""

from __future__ import annotations

from typing import NewType

ChargePointId = NewType("ChargePointId", str)
DriverId = NewType("DriverId", str)
SessionId = NewType("SessionId", str)
NodeId = NewType("NodeId", str)
TicketId = NewType("TicketId", str)
ConnectorNo = NewType("ConnectorNo", int)
"""1 and up on one charge point; 0 means the whole charge point (OCPP)."""
CommandId = NewType("CommandId", int)
"""Number of a command to a charge point, rising over Central's whole life."""
Fence = NewType("Fence", int)
"""Number of a channel, rising over Central's whole life; the higher one wins (SPEC §6)."""

# The charge point of a request that leaves the choice to Central. No charge point is called that: ids begin with a
# letter or digit.
ANYWHERE = ChargePointId("*")


def ticket_of(session_id: SessionId) -> TicketId:
    """A session's ticket id. Derived, so that a second ticket for one session cannot even be named."""
    return TicketId(f"t-{session_id}")
