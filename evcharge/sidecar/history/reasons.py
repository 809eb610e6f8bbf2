"""Why a set-point was what it was and what spoke against a request, as sentences made from the log's own fields.

The words are those of ``evcharge-audit why``, so that a person reads the same in both places; a test compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from evcharge.sidecar.history.spread import LAST_MS


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went into a decision."""

    name: str
    age_ms: int = 0


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A higher limit that was not given."""

    limit_w: int
    constraint: str


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """The limit that binds. Watts."""

    constraint: str
    node: str
    limit_w: int
    others_w: int = 0
    sharing: int = 0
    base_w: int = 0
    rated_w: int = 0


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision stands on."""

    bound: Bound
    inputs: list[Input] = []
    rejected: list[Rejected] = []


class Objection(msgspec.Struct, frozen=True, kw_only=True):
    """What spoke against one thing that was looked at."""

    obstacle: str
    at: str
    detail: str = ""
    age_ms: int | None = None
    value: int | None = None
    limit: int | None = None


_WORDS = {
    "capacity": "capacity",
    "plan": "plan",
    "rule": "site's rule",
    "need": "vehicle's need",
    "steady": "time since the last raise",
    "ramp": "ramp",
    "worst_case": "worst case of others",
    "minima": "turn of others",
    "rating": "connector's rating",
    "operator": "operator's limit",
    "node_lost": "loss of the node",
}


def read_basis(data: dict[str, Any]) -> Basis | None:
    """The basis of a record's data; None: there is none, or it is of another version."""
    try:
        return None if data.get("basis") is None else msgspec.convert(data["basis"], Basis)
    except msgspec.ValidationError:
        return None


def read_objections(data: dict[str, Any]) -> list[Objection]:
    """What spoke against a request."""
    try:
        return msgspec.convert(data.get("against", []), list[Objection])
    except msgspec.ValidationError:
        return []


def basis_sentence(basis: Basis, least_w: int = 0) -> str:
    """One sentence. ``least_w``: the smallest current of whom it is about, where that is known."""
    bound = basis.bound
    said = _BOUNDS[bound.constraint](bound, least_w) if bound.constraint in _BOUNDS else _other(bound)
    if basis.inputs:
        said += "; " + ", ".join(f"{one.name} {age_text(one.age_ms)} old" for one in basis.inputs)
    # Where nobody else has anything, nobody has a turn: the limit alone has said it.
    room_w = bound.limit_w - bound.base_w
    alone = bound.constraint == "minima" and (bound.others_w <= 0 or room_w < max(1, least_w))
    rejected = [one for one in basis.rejected if not (alone and one.constraint == "minima")]
    if rejected:
        why = (
            f"not {kw(one.limit_w)}, because of the {_WORDS.get(one.constraint, one.constraint)}" for one in rejected
        )
        said += "; " + ", ".join(why)
    return said


def _other(bound: Bound) -> str:
    """A constraint that only a newer Central has."""
    return f"{bound.node} has {kw(bound.limit_w)} ({bound.constraint.replace('_', ' ')})"


def _capacity(bound: Bound, _least_w: int) -> str:
    left = kw(max(0, bound.limit_w - bound.base_w - bound.others_w))
    share = f"{left} of it shared by {bound.sharing}" if bound.sharing > 1 else f"{left} of it for this session"
    return f"{_has(bound)}, {share}"


def _worst_case(bound: Bound, _least_w: int) -> str:
    return f"{_has(bound)}, and others may still draw {kw(bound.others_w)} of it until they confirm less"


def _operator(bound: Bound, least_w: int) -> str:
    short = f", and the smallest current is {kw(least_w)}" if bound.limit_w < least_w else ""
    return f"an operator limits {bound.node} to {kw(bound.limit_w)}{short}"


def _minima(bound: Bound, least_w: int) -> str:
    return f"{_has(bound)}{_taken(bound, least_w)}"


_BOUNDS: dict[str, Callable[[Bound, int], str]] = {
    "rating": lambda b, _: f"connector {b.node} takes {kw(b.limit_w)} at most, and there is that much",
    "operator": _operator,
    "capacity": _capacity,
    "plan": lambda b, _: f"the plan gives {b.node} {kw(b.limit_w)} now, shared by {b.sharing}",
    "rule": lambda b, _: f"the rule {b.node} of the site allows each vehicle {kw(b.limit_w)}",
    "need": lambda b, _: f"{b.node} needs no more than {kw(b.limit_w)} now",
    "steady": lambda b, _: f"{b.node} could have {kw(b.limit_w)}, and gets it at the next raise",
    "ramp": lambda b, _: f"{b.node} is on its way up to {kw(b.limit_w)}",
    "worst_case": _worst_case,
    "node_lost": lambda b, _: (
        f"{b.node} is lost or on trial: no more than {kw(b.limit_w)} until a backup feeds it or the node is well again"
    ),
    "minima": _minima,
}


def _has(bound: Bound) -> str:
    """The limit, what the heat takes of it, and the base load by its own name."""
    heat = f" in the heat (derated from {kw(bound.rated_w)})" if bound.rated_w > bound.limit_w else ""
    base = f" and a base load of {kw(bound.base_w)}" if bound.base_w else ""
    return f"{bound.node} has {kw(bound.limit_w)}{heat}{base}"


def _taken(bound: Bound, least_w: int) -> str:
    """Why there is nothing for one more."""
    if 0 < bound.limit_w <= bound.base_w:
        return ", which takes all of it: nothing is left to charge with"
    if bound.limit_w <= 0:
        return ": nothing to charge with"
    room_w = bound.limit_w - bound.base_w
    if room_w < least_w:
        left = f"; {kw(room_w)} is left" if bound.base_w else ""
        return f"{left}, and the smallest current is {kw(least_w)}"
    left_w = room_w - max(0, bound.others_w)
    by = " by others" if bound.base_w else ""
    taken = f", {kw(bound.others_w)} of it taken{by}" if bound.others_w > 0 else ""
    if taken and 0 < left_w < least_w:
        return f"{taken}; {kw(left_w)} is left, and the smallest current is {kw(least_w)}"
    if not taken and not least_w:
        return ": too little to charge with"
    # What is left may be more than one needs: who comes first keeps it, or is about to get it.
    return f"{taken}; what is left is kept for others who come first, or is too little to charge with"


def objection_sentence(against: Objection, name: Callable[[str], str] = str) -> str:
    """One sentence. ``name``: how drivers are shown, who may stand in ``at``."""
    said = _objection(against, name)
    return said if against.age_ms is None else f"{said}, for {age_text(against.age_ms)}"


def _objection(against: Objection, name: Callable[[str], str]) -> str:
    at, detail, value, limit = against.at, against.detail, against.value, against.limit
    sentences: dict[str, Callable[[], str]] = {
        "unknown": lambda: f"there is no {at}",
        "link": lambda: f"the {detail} of {at} is not connected",
        "hold": lambda: f"{at} is held: {detail}",
        "weather": lambda: f"{at} is closed for the weather: {detail}",
        "in_use": lambda: f"{at} is in use",
        "own": lambda: f"{at} has a session of the same driver",
        "left_behind": lambda: (
            f"at {at} stands a vehicle whose charge is over; one that came in its place has to be plugged in anew"
        ),
        "error": lambda: f"{at} reports {detail}",
        "range": lambda: f"{at} is {value}, and the last that there is is {limit}",
        "count": lambda: f"{name(at)} has {value} of at most {limit}",
        "foreign": lambda: f"{at} belongs to somebody else",
        "lost": lambda: f"{at} is {detail.lower()}",
        "booked": lambda: f"{at} is reserved from {clock(value)} until {clock(limit)}",
        "line": lambda: f"{at} has a line of {value} already",
        "power": lambda: (
            f"{at} would have to carry {kw(value or 0)} by smallest currents alone, and has {kw(limit or 0)} for that"
        ),
        "limit": lambda: (
            f"{at} is limited by the operator to {kw(value or 0)}, and the least it charges with is {kw(limit or 0)}"
        ),
        "absent": lambda: f"nobody came {value} times in a row: nothing is kept for {name(at)} until {clock(limit)}",
    }
    return sentences.get(against.obstacle, lambda: f"{name(at)}: {against.obstacle.replace('_', ' ')}")()


def kw(watts: int) -> str:
    """Watts as people read them: 6.25 kW."""
    return f"{watts / 1000:.2f}".rstrip("0").rstrip(".") + " kW"


def kwh(watt_hours: int) -> str:
    """Watt-hours as people read them: 12.34 kWh."""
    return f"{watt_hours / 1000:.2f} kWh"


def clock(at_ms: int | None) -> str:
    """An instant of the site, to the minute."""
    if at_ms is None or not 0 <= at_ms < LAST_MS:
        return "?"
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d %H:%M} UTC"


def age_text(age_ms: int) -> str:
    """How old something is, as coarse as it matters: 20 ms, 90 s, 7 min, 4 h 49 min."""
    if age_ms < 1_000:
        return f"{age_ms} ms"
    seconds = round(age_ms / 1_000)
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
