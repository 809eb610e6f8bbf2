"""Text and instants for a person at a terminal."""

from __future__ import annotations

from datetime import UTC, datetime


def plain(text: str) -> str:
    """Text of somebody else without anything that a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def local_time(instant_ms: int) -> str:
    """An instant in the time zone of this machine, which is named: refusals of Central say UTC."""
    return datetime.fromtimestamp(instant_ms / 1000, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
