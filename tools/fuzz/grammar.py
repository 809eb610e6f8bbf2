"""Messages that are nearly right: fields of the real ones, with values of every size, some missing, some foreign.

Random bytes are msgpack of a known message once in a thousand times, and then only one of those in the corpus.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec

from protocol import codec
from tools.fuzz.reading import Choices

_TYPES: Final = sorted(codec.KNOWN)
_FIELDS: Final = {
    name: [field.encode_name for field in msgspec.structs.fields(kind)] for name, kind in codec.KNOWN.items()
}
# Where limits are: of counts, ids, connectors, and one beyond each.
_NUMBERS: Final = [
    0,
    1,
    2,
    32,
    33,
    10_000_000,
    10_000_001,
    2**53 - 1,
    2**53,
    2**63,
    2**64 - 1,
    -1,
    -(2**53) + 1,
    -(2**63),
]
_TEXTS: Final = [
    "",
    "s-1",
    "CP-1",
    "done",
    "x" * 64,
    "x" * 65,
    "x" * 512,
    "x" * 513,
    "\0",
    "\x1b[2J",
    "\u202e",
    "ä" * 64,
]
# How deep lists and maps are nested at most, and how many things each holds.
_DEPTH, _WIDTH = 3, 5


def message_like(choices: Choices) -> bytes:
    """The msgpack of a map that looks like a message."""
    name = _TYPES[choices.byte() % len(_TYPES)]
    fields: dict[Any, Any] = {"type": name}
    for field in _FIELDS[name]:
        # An input that has run out gives zeros: they lead to something legal.
        if choices.byte() % 8 != 7:
            fields[field] = _likely(field, choices)
    if choices.byte() % 8 == 7:
        key = _value(choices, 0) if choices.byte() % 4 == 0 else "more"
        fields[key] = _value(choices, _DEPTH)
    try:
        packed: bytes = msgpack.packb(fields, use_bin_type=True)
    except (TypeError, OverflowError, ValueError):
        # Two keys that cannot stand in one map, for example: msgpack for Python does not write them.
        return b"\x81\x90\x01"
    return packed


def _likely(field: str, choices: Choices) -> Any:
    """What such a field usually holds; in one of four cases anything."""
    if choices.byte() % 4 == 3:
        return _value(choices, _DEPTH)
    if field == "connectors":
        return [{"connector": 1 + choices.byte() % 3, "min_w": choices.number(), "max_w": choices.number()}]
    if field == "payload":
        return {"type": "supply_started", "session_id": "s-1", "meter_wh": choices.number(), "connector": 1}
    if field == "outcome":
        return ("done", "rejected", "expired", "failed")[choices.byte() % 4]
    if field in ("occupied", "engine_ok", "provisional"):
        return bool(choices.byte() % 2)
    if field.endswith(("_id", "reason", "sentence", "code", "detail", "error", "state", "model", "firmware", "after")):
        return _TEXTS[1 + choices.byte() % 4]
    return choices.number()


def _value(choices: Choices, depth: int) -> Any:
    """Anything that msgpack can say."""
    kind = choices.byte() % (10 if depth else 8)
    match kind:
        case 0:
            return None
        case 1:
            return bool(choices.byte() % 2)
        case 2 | 3:
            return _NUMBERS[choices.byte() % len(_NUMBERS)]
        case 4:
            return (0.5, float("inf"), float("nan"), -0.0)[choices.byte() % 4]
        case 5 | 6:
            return _TEXTS[choices.byte() % len(_TEXTS)]
        case 7:
            return choices.take(choices.byte() % 32)
        case 8:
            return [_value(choices, depth - 1) for _ in range(choices.byte() % _WIDTH)]
        case _:
            return {f"k{i}": _value(choices, depth - 1) for i in range(choices.byte() % _WIDTH)}
