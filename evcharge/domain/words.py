"""What things may be called: roles, holds, states, causes and reasons, as the log and the wire have them."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """When, by whom and from where: the part that every audit record shares."""

    at_ms: int
    """Site time."""
    clock_ms: int
    """Steady UTC: the channel clock, on which leases run."""
    actor: str = "central"
    """Role and entity, as in ``driver:anna``; ``central`` for what Central does by itself."""
    source: str = ""
    """Network address of the actor."""
    by: str | None = None
    """Whom the actor says it acted for: the client of a gateway. Nothing is decided by it."""
    trace: str | None = None
    """The request's id, by the actor's word."""


class Role(StrEnum):
    """Who a peer is to the domain."""

    ENGINE = "engine"
    MONITOR = "monitor"
    DRIVER = "driver"
    OPERATOR = "operator"
    CONSOLE = "console"
    """Looks at the protocol; changes nothing."""


class Hold(StrEnum):
    """An independent reason why a charge point may not charge; lifted by its own cause only."""

    FAULT = "FAULT"
    WEATHER = "WEATHER"
    ADMIN = "ADMIN"
    REVOKED = "REVOKED"
    DUPLICATE_ID = "DUPLICATE_ID"
    """Two processes take one credential from each other: nobody knows which of them has the vehicle."""


class WeatherKind(StrEnum):
    """What weather closes charge points; each kind by itself."""

    COLD = "cold"
    HEAT = "heat"
    WIND = "wind"
    STORM = "storm"


class Shown(StrEnum):
    """The state that people see; derived, never assigned."""

    DISCONNECTED = "DISCONNECTED"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    STOPPED = "STOPPED"
    SUPPLYING = "SUPPLYING"
    ACTIVATED = "ACTIVATED"


class LinkState(StrEnum):
    """One peer's link as the domain knows it."""

    NEVER = "never"
    UP = "up"
    LOST = "lost"
    AWAITED = "awaited"
    """Was up when Central went down; not yet lost, not yet back."""


class SessionStatus(StrEnum):
    """A session's life (features.md). REQUESTED and DENIED are instants: a refusal is an event, not a session."""

    AUTHORIZED = "AUTHORIZED"
    SUPPLYING = "SUPPLYING"
    PAUSED = "PAUSED"
    OFFLINE = "OFFLINE"
    EXPIRED = "EXPIRED"
    """Lapsed without plug-in; kept only while it may have started unheard."""
    COMPLETED = "COMPLETED"
    INTERRUPTED = "INTERRUPTED"
    """As the status of an open session: settled without its final meter; its contactor may still be closed."""


RUNNING = frozenset({SessionStatus.SUPPLYING, SessionStatus.PAUSED, SessionStatus.OFFLINE})
"""The contactor is closed, or may be."""


class Health(StrEnum):
    """Whether a node of the tree of limits can be drawn from."""

    UP = "UP"
    LOST = "LOST"
    """Nothing new is admitted at it and below it; its charge points are fed from a backup, or get nothing."""
    PROBING = "PROBING"
    """It seems to be well again: one session at a time may show it."""


class StopCause(StrEnum):
    """Why a session ends. The engine echoes Central's cause; SPEC §7.4."""

    TARGET_REACHED = "target_reached"
    VEHICLE_FULL = "vehicle_full"
    UNPLUGGED = "unplugged"
    DRIVER_ENDED = "driver_ended"
    STOPPED = "stopped"
    FAULT = "fault"
    WEATHER = "weather"
    MONITOR_LOST = "monitor_lost"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REJECTED = "rejected"
    DUPLICATE_ID = "duplicate_id"
    ENGINE_RESTART = "engine_restart"
    ENGINE_SHUTDOWN = "engine_shutdown"
    OUTBOX_LOST = "outbox_lost"
    SILENT = "silent"
    OTHER = "other"


COMPLETING = frozenset({StopCause.TARGET_REACHED, StopCause.VEHICLE_FULL, StopCause.UNPLUGGED, StopCause.DRIVER_ENDED})
"""Causes after which a ticket says COMPLETED; after any other, INTERRUPTED."""


class LimitReason(StrEnum):
    """What binds a set-point."""

    SHARED = "shared"
    """A node's capacity, shared among those who charge below it."""
    RATING = "connector_rating"
    """The connector's own rating; there is power to spare."""
    NO_CAPACITY = "no_capacity"
    """The smallest current does not fit: it waits for its turn."""
    WAITING = "waiting_for_others"
    """Others have to confirm less before there is more."""
    PLAN = "plan"
    """The plan leaves power for later, or for others."""
    RULE = "rule"
    """A rule of the site holds it down."""
    NEED = "need"
    """It needs no more to be full in time."""
    STEADY = "steady"
    """There is more, and it gets it soon: raises are not given too often."""
    RAMP = "ramp"
    """It is on its way up."""
    OPERATOR = "operator"
    """An operator allows the charge point no more."""
    NODE_LOST = "substation_lost"
    """A node above it is lost: it waits for its backup, or for the node itself."""
    EQUAL_SHARE = "equal_share"
    """In logs of before there was an allocator: the capacity, shared equally."""


class LeftCause(StrEnum):
    """Why somebody waits no longer."""

    SERVED = "served"
    LEFT = "left"
    NO_SHOW = "no_show"
    REJECTED = "rejected"
    """The charge point did not take the session, twice."""
    HELD = "held"
    """The charge point may not charge any more."""
    REVOKED = "revoked"
    """The driver's credential was revoked."""
    DEPARTED = "departed"
    """The departure that was declared has come."""
    TOO_LONG = "too_long"


class ReservationState(StrEnum):
    """A reservation's life; what has ended is no longer there."""

    PLANNED = "PLANNED"
    OPEN = "OPEN"
    """Its session holds the connector."""
    LATE = "LATE"
    """Its time has come and the connector or the power is not there; it is the next one to get it."""


class ReservationEnd(StrEnum):
    """Why a reservation is no longer there."""

    KEPT = "kept"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    PASSED = "passed"
    """Its time is over, and the connector or the power was never there."""
    UNAVAILABLE = "unavailable"
    """The charge point was lost, held or did not take the session."""
    REVOKED = "revoked"
    """The charge point's or the driver's credential was revoked."""
