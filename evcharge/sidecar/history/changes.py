"""What a run of records changes in the tables: whole rows by their key, and what is added to sums."""

from __future__ import annotations

from typing import Any

import msgspec

from evcharge.sidecar.history.memory import Open

Row = dict[str, Any]


class Day(msgspec.Struct):
    """What is added to a day."""

    sessions: int = 0
    energy_wh: int = 0
    amount_minor: int = 0
    currency: str | None = None
    """Of the last ticket."""
    co2_g: int = 0
    avoided_g: int = 0
    busy_ms: int = 0
    refused: int = 0
    connectors: int = 0
    """The most that there were."""


class Changes(msgspec.Struct):
    """Of all records behind ``after_seq`` up to ``upto_seq``."""

    after_seq: int
    upto_seq: int
    sessions: dict[str, Row] = {}
    """By session: the row as it is now."""
    tickets: dict[str, Row] = {}
    """By ticket."""
    adjusted: dict[str, list[int]] = {}
    """By ticket, added to its sums: Wh, minor units, g CO2."""
    adjustments: list[Row] = []
    decisions: list[Row] = []
    states: list[Row] = []
    points: dict[tuple[str, int], list[int]] = {}
    """By charge point and quarter: Wh that are added, and the highest power that was seen."""
    nodes: dict[tuple[str, int], list[int]] = {}
    """The same by node; ``SITE`` is the whole site."""
    days: dict[str, Day] = {}
    opened: dict[str, Open] = {}
    """Sessions that are to be remembered, as they are now."""
    closed: set[str] = set()
    """Sessions that are to be forgotten."""
    site: bool = False
    """Whether the remembered site changed."""

    @property
    def rows(self) -> int:
        """How many rows are written."""
        parts = (self.sessions, self.tickets, self.adjusted, self.adjustments, self.decisions, self.states)
        sums = (self.points, self.nodes, self.days, self.opened, self.closed)
        return sum(len(part) for part in (*parts, *sums))
