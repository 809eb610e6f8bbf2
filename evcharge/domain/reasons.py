"""Why a figure is what it is: typed, so that it can be counted and tested; the sentence is made when it is shown.

A ``Basis`` goes with every set-point and every refusal for want of power into the log, ``Objection``s with every other
refusal. ``evcharge-audit why`` tells them to people.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from evcharge.energy.model import Input


class Constraint(StrEnum):
    """What binds."""

    CAPACITY = "capacity"
    """The capacity of a node, or of one of its phases (``node/L1``), shared among those who charge there."""
    PLAN = "plan"
    """The plan leaves power for later, or for others."""
    RULE = "rule"
    """A rule of the site."""
    NEED = "need"
    """It needs no more."""
    STEADY = "steady"
    """Raises are not given too often: each one wears out a charge point's flash."""
    RAMP = "ramp"
    """It rises step by step."""
    WORST_CASE = "worst_case"
    """Others may still draw what they were told before: nothing is given twice."""
    MINIMA = "minima"
    """The capacity does not hold all smallest currents; this one waits."""
    RATING = "rating"
    """The connector takes no more."""
    OPERATOR = "operator"
    """An operator allows each connector of the charge point no more."""
    NODE_LOST = "node_lost"
    """The node is lost, or on trial: it waits for its backup, or for the node."""


class Bound(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limit that binds. Watts."""

    constraint: Constraint
    node: str
    """Node, charge point and connector as ``CP-1/1``, or a charge point."""
    limit_w: int
    others_w: int = 0
    """What other sessions have of it, at worst. In logs from before there was a ``base_w``: the base load as well."""
    sharing: int = 0
    """How many share what is left, this one among them."""
    base_w: int = 0
    """What else draws there: configured, or measured where that is more."""
    rated_w: int = 0
    """What it carries where it is not too hot; 0: that is ``limit_w``."""


class Rejected(msgspec.Struct, frozen=True):
    """A higher limit that was not given, and what spoke against it."""

    limit_w: int
    constraint: Constraint


class Basis(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a decision stands on."""

    bound: Bound
    inputs: tuple[Input, ...] = ()
    rejected: tuple[Rejected, ...] = ()


class Obstacle(StrEnum):
    """What stands in the way of a request."""

    UNKNOWN = "unknown"
    """There is nothing by that name."""
    LINK = "link"
    """It is not connected; ``detail`` says which link."""
    HOLD = "hold"
    """It may not charge; ``detail`` is the hold."""
    WEATHER = "weather"
    """The weather closes it; ``detail`` says which, and where."""
    IN_USE = "in_use"
    """Another session has it."""
    OWN = "own"
    """A session of the same driver has it."""
    LEFT_BEHIND = "left_behind"
    """The vehicle of somebody else stands there, though his session is over."""
    ERROR = "error"
    """It reports an error; ``detail`` is its code."""
    RANGE = "range"
    """``value`` was asked for, and ``limit`` is the last that there is."""
    COUNT = "count"
    """There are ``value`` of at most ``limit``."""
    FOREIGN = "foreign"
    """It belongs to somebody else."""
    LOST = "lost"
    """It is lost, or on trial with somebody else's session; ``detail`` says which."""
    BOOKED = "booked"
    """Another reservation has it, from ``value`` until ``limit``."""
    LINE = "line"
    """``value`` others wait for it already."""
    POWER = "power"
    """The smallest currents would be ``value`` watts there, and ``limit`` is what it can carry."""
    LIMIT = "limit"
    """An operator limits it to ``value`` watts, and its smallest current is ``limit``."""
    ABSENT = "absent"
    """Nobody came ``value`` times in a row; nothing is kept free until ``limit``, site time."""


class Objection(msgspec.Struct, frozen=True, omit_defaults=True):
    """What spoke against one thing that was looked at; of a charge point's connectors each has its own."""

    obstacle: Obstacle
    at: str
    """Charge point, connector as ``CP-1/2``, driver, field of the request …"""
    detail: str = ""
    age_ms: int | None = None
    """For how long it has been so, as far as Central knows."""
    value: int | None = None
    limit: int | None = None


def objection_sentence(against: Objection) -> str:
    """One sentence for people."""
    at, detail = against.at, against.detail
    match against.obstacle:
        case Obstacle.UNKNOWN:
            said = f"there is no {at}"
        case Obstacle.LINK:
            said = f"the {detail} of {at} is not connected"
        case Obstacle.HOLD:
            said = f"{at} is held: {detail}"
        case Obstacle.WEATHER:
            said = f"{at} is closed for the weather: {detail}"
        case Obstacle.IN_USE:
            said = f"{at} is in use"
        case Obstacle.OWN:
            said = f"{at} has a session of the same driver"
        case Obstacle.LEFT_BEHIND:
            said = (
                f"at {at} stands a vehicle whose charge is over; one that came in its place has to be plugged in anew"
            )
        case Obstacle.ERROR:
            said = f"{at} reports {detail}"
        case Obstacle.RANGE:
            said = f"{at} is {against.value}, and the last that there is is {against.limit}"
        case Obstacle.COUNT:
            said = f"{at} has {against.value} of at most {against.limit}"
        case Obstacle.FOREIGN:
            said = f"{at} belongs to somebody else"
        case Obstacle.LOST:
            said = f"{at} is {detail.lower()}"
        case Obstacle.BOOKED:
            said = f"{at} is reserved from {_clock(against.value)} until {_clock(against.limit)}"
        case Obstacle.LINE:
            said = f"{at} has a line of {against.value} already"
        case Obstacle.POWER:
            said = (
                f"{at} would have to carry {kw(against.value or 0)} by smallest currents alone, "
                f"and has {kw(against.limit or 0)} for that"
            )
        case Obstacle.LIMIT:
            said = (
                f"{at} is limited by the operator to {kw(against.value or 0)}, "
                f"and the least it charges with is {kw(against.limit or 0)}"
            )
        case Obstacle.ABSENT:
            said = f"nobody came {against.value} times in a row: nothing is kept for {at} until {_clock(against.limit)}"
    return said if against.age_ms is None else f"{said}, for {age_text(against.age_ms)}"


def sentence(basis: Basis, least_w: int = 0) -> str:
    """One sentence for people. ``least_w``: the smallest current of whom it is about, where that is known."""
    bound = basis.bound
    node, limit = bound.node, kw(bound.limit_w)
    match bound.constraint:
        case Constraint.RATING:
            said = f"connector {node} takes {limit} at most, and there is that much"
        case Constraint.OPERATOR:
            said = f"an operator limits {node} to {limit}"
            if bound.limit_w < least_w:
                said += f", and the smallest current is {kw(least_w)}"
        case Constraint.CAPACITY:
            left = kw(max(0, bound.limit_w - bound.base_w - bound.others_w))
            share = f"{left} of it shared by {bound.sharing}" if bound.sharing > 1 else f"{left} of it for this session"
            said = f"{node} has {limit}{_heat(bound)}{_base(bound)}, {share}"
        case Constraint.PLAN:
            said = f"the plan gives {node} {limit} now, shared by {bound.sharing}"
        case Constraint.RULE:
            said = f"the rule {node} of the site allows each vehicle {limit}"
        case Constraint.NEED:
            said = f"{node} needs no more than {limit} now"
        case Constraint.STEADY:
            said = f"{node} could have {limit}, and gets it at the next raise"
        case Constraint.RAMP:
            said = f"{node} is on its way up to {limit}"
        case Constraint.WORST_CASE:
            others = f"others may still draw {kw(bound.others_w)} of it until they confirm less"
            said = f"{node} has {limit}{_heat(bound)}{_base(bound)}, and {others}"
        case Constraint.NODE_LOST:
            said = f"{node} is lost or on trial: no more than {limit} until a backup feeds it or the node is well again"
        case Constraint.MINIMA:
            said = f"{node} has {limit}{_heat(bound)}{_base(bound)}{_taken(bound, least_w)}"
    if basis.inputs:
        said += "; " + ", ".join(f"{one.name} {age_text(one.age_ms)} old" for one in basis.inputs)
    # Where nobody else has anything, nobody has a turn: the limit alone has said it.
    room_w = bound.limit_w - bound.base_w
    alone = bound.constraint is Constraint.MINIMA and (bound.others_w <= 0 or room_w < max(1, least_w))
    rejected = [one for one in basis.rejected if not (alone and one.constraint is Constraint.MINIMA)]
    if rejected:
        said += "; " + ", ".join(f"not {kw(one.limit_w)}, because of the {_WORDS[one.constraint]}" for one in rejected)
    return said


def _heat(bound: Bound) -> str:
    """What the heat takes, or what has to be reckoned with because nobody knows how hot it is."""
    return f" in the heat (derated from {kw(bound.rated_w)})" if bound.rated_w > bound.limit_w else ""


def _base(bound: Bound) -> str:
    """The base load by its own name."""
    if not bound.base_w:
        return ""
    return f" and a base load of {kw(bound.base_w)}"


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


_WORDS = {
    Constraint.CAPACITY: "capacity",
    Constraint.PLAN: "plan",
    Constraint.RULE: "site's rule",
    Constraint.NEED: "vehicle's need",
    Constraint.STEADY: "time since the last raise",
    Constraint.RAMP: "ramp",
    Constraint.WORST_CASE: "worst case of others",
    Constraint.MINIMA: "turn of others",
    Constraint.RATING: "connector's rating",
    Constraint.OPERATOR: "operator's limit",
    Constraint.NODE_LOST: "loss of the node",
}


def kw(watts: int) -> str:
    """Watts as people read them: 6.25 kW."""
    return f"{watts / 1000:.2f}".rstrip("0").rstrip(".") + " kW"


def _clock(at_ms: int | None) -> str:
    return "?" if at_ms is None else f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d %H:%M} UTC"


def age_text(age_ms: int) -> str:
    """How old something is, as coarse as it matters: 20 ms, 90 s, 7 min, 4 h 49 min."""
    if age_ms < 1_000:
        return f"{age_ms} ms"
    seconds = round(age_ms / 1_000)
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
