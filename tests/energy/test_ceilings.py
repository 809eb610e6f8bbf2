"""Rules as ceilings of real sessions."""

from __future__ import annotations

from evcharge.energy.ceilings import ceilings_w
from evcharge.energy.model import Node, Plan, Policy, Series, Session, Signals
from evcharge.energy.plans import plan
from evcharge.energy.policies import dispatch
from evcharge.energy.rules import CEILING_W, ChargingMode, Reading, Readings, Rule, RuleSettings, Ruling, check, follow

NOW_MS = 1_560_000_000_000
PRICE = Series(0, 1, (0.1,))


def readings(grid: float | None, solar_w: float = 0.0, battery: float = 0.0) -> Readings:
    return Readings(
        solar_w=Reading(solar_w, NOW_MS),
        battery_percent=Reading(battery, NOW_MS),
        grid_percent=None if grid is None else Reading(grid, NOW_MS),
    )


def ruling(grid: float | None) -> Ruling:
    return follow(None, readings(grid), NOW_MS)[1]


def car(hours: float | None, **more: object) -> Session:
    departure_ms = None if hours is None else NOW_MS + int(hours * 3_600_000)
    about = {"id": "a", "connector": "a", "node": "site", "need_wh": 7_360, "arrival_ms": 0, "max_w": 7_360}
    return Session(**(about | {"departure_ms": departure_ms} | more))  # type: ignore[arg-type]


def test_who_cannot_wait_is_exempt_but_not_from_blindness() -> None:
    assert ceilings_w(NOW_MS, [car(1.08)], ruling(40)) == {"a": 7_360}
    assert ceilings_w(NOW_MS, [car(1.08)], ruling(90)) == {"a": 1_380}, "a word is no reason for more"
    assert ceilings_w(NOW_MS, [car(1.09)], ruling(90)) == {"a": 0}
    assert ceilings_w(NOW_MS, [car(None)], ruling(90)) == {"a": 0}
    assert ceilings_w(NOW_MS, [car(1)], ruling(None)) == {"a": 0}
    assert ruling(None).rule is Rule.GRID_UNKNOWN


def test_without_a_ruling_nobody_charges() -> None:
    assert ceilings_w(NOW_MS, [car(1)], None) == {"a": 0}


def test_rules_limit_real_sessions_and_say_so() -> None:
    nodes = [Node(id="site", cap_w=100_000)]
    made = plan(Policy.RULES, NOW_MS, [car(9)], nodes, Signals(price=PRICE, readings=readings(10)))
    assert isinstance(made, Plan)
    assert made.ruling is not None
    assert made.ruling.inputs == check(readings(10), NOW_MS, RuleSettings())
    point = dispatch(Policy.RULES, NOW_MS, [car(9)], nodes, made)["a"]
    assert (point.watts, point.limit) == (4_830, "rule")
    assert CEILING_W[ChargingMode.SLOW] == 5_000
    assert dispatch(Policy.RULES, NOW_MS, [car(9)], nodes, None)["a"].watts == 0


def test_the_last_step_of_the_rules_is_an_input_of_the_next() -> None:
    nodes = [Node(id="site", cap_w=100_000)]
    high = plan(Policy.RULES, NOW_MS, [], nodes, Signals(price=PRICE, readings=readings(86)))
    assert high is not None
    later = plan(Policy.RULES, NOW_MS, [], nodes, Signals(price=PRICE, readings=readings(81), rules=high.rules))
    assert later is not None
    assert later.ruling is not None
    assert later.ruling.rule is Rule.GRID_RECOVERING


def test_charging_alone_never_reaches_the_load_that_pauses_it() -> None:
    nodes = [Node(id="site", cap_w=10_000)]
    cars = [car(1, id=str(k), connector=str(k)) for k in range(4)]
    made = plan(Policy.RULES, NOW_MS, cars, nodes, Signals(price=PRICE, readings=readings(10)))
    assert sum(point.watts for point in dispatch(Policy.RULES, NOW_MS, cars, nodes, made).values()) <= 8_500
