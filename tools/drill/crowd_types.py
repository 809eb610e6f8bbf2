"""What a crowd is told, one line at a time."""

from __future__ import annotations

from typing import Protocol


class Line(Protocol):
    """One line of stdin."""

    do: str
    """What, one of the crowd's own words."""
    seconds: float
