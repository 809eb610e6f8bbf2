"""From what a sensor sends to a number that is one, and the instant at which it was measured; pure.

What is no number is no reading: not a string that looks like one, not true or false, not infinity, not nothing. None of
them is ever 0.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec

# A number as people write it; Python's own reading would take "nan", "1_000" and more.
_NUMBER: Final = re.compile(rb"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")
# Depth of a pointer: deeper than what any device sends.
_PARTS: Final = 32

Unit = Literal["s", "ms", "iso"]


class BadReading(Exception):
    """What was sent is no reading; the text is a sentence that quotes nothing of it."""


class Picked(NamedTuple):
    """A number as it was sent, and when it was measured, UTC ms (None: it does not say)."""

    value: float
    measured_ms: int | None


def pick(data: bytes, pointer: str | None, time_pointer: str | None, unit: Unit) -> Picked:
    """The reading in ``data``.

    Raises:
        BadReading
    """
    if pointer is None:
        if _NUMBER.fullmatch(data.strip()) is None:
            raise BadReading("What was sent is no number.")
        return Picked(number(float(data)), None)
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise BadReading("What was sent is no JSON.") from None
    value = number(at(document, pointer))
    return Picked(value, None if time_pointer is None else instant_ms(at(document, time_pointer), unit))


def check_pointer(pointer: str) -> None:
    """Raises ValueError, as the end of a sentence, for what is no JSON pointer."""
    if pointer and not pointer.startswith("/"):
        raise ValueError("is no JSON pointer; it begins with /")
    if re.search("~(?![01])", pointer):
        raise ValueError("is no JSON pointer; ~ is written ~0")
    if pointer.count("/") > _PARTS:
        raise ValueError(f"goes deeper than {_PARTS}")


def at(document: object, pointer: str) -> object:
    """What a JSON pointer (RFC 6901) points at.

    Raises:
        BadReading: there is nothing.
    """
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict) and name in document:
            document = document[name]
        elif isinstance(document, list) and _INDEX.fullmatch(name) and int(name) < len(document):
            document = document[int(name)]
        else:
            raise BadReading(f"There is nothing at {pointer}.")
    return document


def number(value: object) -> float:
    """A finite number.

    Raises:
        BadReading
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadReading("The reading is no number.")
    try:
        as_float = float(value)
    except OverflowError:
        as_float = math.inf
    if not math.isfinite(as_float):
        raise BadReading("The reading is no finite number.")
    return as_float


def instant_ms(value: object, unit: Unit) -> int:
    """UTC milliseconds.

    Raises:
        BadReading
    """
    if unit != "iso":
        return int(number(number(value) * (1000 if unit == "s" else 1)))
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise BadReading("The reading's time is no instant like 2026-01-31T12:00:00Z.")
    return int(instant.timestamp() * 1000)
