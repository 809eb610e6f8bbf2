"""What a charge point must not forget, and the one door to it: ``write`` takes a batch, whole or not at all.

The engine knows only this interface, so a test can let it crash before or after any write.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from evcharge.cp.vehicle import MJ_PER_WH
from protocol.messages import OutboxPayload

Outcome = Literal["done", "rejected", "expired", "failed"]

# Results of commands that are kept for repeats: Central has at most a few commands open per connector. SPEC §6.4
KEPT_RESULTS = 64


class StoreError(Exception):
    """The disk did not take or give what was asked. ``transient``: room may come back, trying again makes sense."""

    def __init__(self, sentence: str, *, transient: bool = False) -> None:
        super().__init__(sentence)
        self.transient = transient


class Item(msgspec.Struct, frozen=True):
    """One entry of the outbox; ``n`` counts without gaps within an outbox epoch."""

    n: int
    payload: OutboxPayload

    @property
    def session_id(self) -> str | None:
        """The session that the entry belongs to."""
        return getattr(self.payload, "session_id", None)


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """Central's word that a session may start at a connector."""

    session_id: str
    energy_wh: int | None = None
    depart_by_ms: int | None = None
    expires_ms: int | None = None
    """Site time after which it lapses, unless a vehicle is plugged in."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A session whose contactor is closed."""

    session_id: str
    start_mj: int
    """Register when it started, in millijoules."""
    started_ms: int
    energy_wh: int | None = None


class KeptResult(msgspec.Struct, frozen=True):
    """The answer that was given to a command, for its repeats."""

    fence: int
    command_id: int
    outcome: Outcome
    detail: str = ""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that become true together. Maps are by connector; None takes the entry away."""

    at_ms: int
    """Site time of the meters."""
    meters: dict[int, int] = {}
    """Registers in millijoules."""
    running: dict[int, Running | None] = {}
    authorized: dict[int, Authorization | None] = {}
    acked: int | None = None
    """Items up to and with this n are durable at Central; they go before ``items`` come."""
    items: tuple[Item, ...] = ()
    results: tuple[KeptResult, ...] = ()
    durable: bool = True
    """On the platter before ``write`` returns. False: survives the process, a power cut may undo it."""


class Saved(msgspec.Struct, kw_only=True):
    """Everything that was kept, as read at start."""

    outbox_epoch: int
    next_n: int = 0
    """Number of the next new item."""
    items: list[Item] = []
    meters: dict[int, int] = {}
    meters_at_ms: int = 0
    running: dict[int, Running] = {}
    authorized: dict[int, Authorization] = {}
    results: list[KeptResult] = []

    def meter_wh(self, connector: int) -> int:
        """A register in whole watt-hours; 0 when it never moved."""
        return self.meters.get(connector, 0) // MJ_PER_WH


class Store(Protocol):
    """A durable place for one charge point."""

    def load(self) -> Saved:
        """What was kept. Raises StoreError."""
        ...

    def write(self, batch: Batch) -> None:
        """Keep all of the batch or nothing. Raises StoreError; then nothing of it may be acted on."""
        ...
