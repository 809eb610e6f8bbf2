"""Tables as files: RFC 4180, and safe to open in a spreadsheet whatever a stranger may have called himself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from evcharge.sidecar.history.spread import LAST_MS

Cell = str | int | Decimal | None

# A cell that begins like this is a formula to a spreadsheet (OWASP, "CSV Injection"); numbers of ours are none.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTED = (",", '"', "\r", "\n")


def line(cells: Iterable[Cell]) -> str:
    """One row with its line end."""
    return ",".join(map(cell, cells)) + "\r\n"


def cell(value: Cell) -> str:
    """A text that could be a formula gets an apostrophe, which spreadsheets do not show."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    said = "'" + value if value.startswith(_FORMULA) else value
    if any(char in said for char in _QUOTED):
        return '"' + said.replace('"', '""') + '"'
    return said


def lines(rows: Sequence[Iterable[Cell]]) -> bytes:
    """Many of them."""
    return "".join(map(line, rows)).encode()


def instant(at_ms: int | None) -> str:
    """UTC as ISO 8601, to the second."""
    if at_ms is None or not 0 <= at_ms < LAST_MS:
        return ""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def money(amount_minor: int | None) -> Decimal | None:
    """Minor units as people write them, without a currency, which has a column of its own."""
    return None if amount_minor is None else Decimal(amount_minor).scaleb(-2)
