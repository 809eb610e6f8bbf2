"""The rule table, its boundaries, and what keeps it from swinging."""

from __future__ import annotations

import math

import pytest

from evcharge.energy.model import Node, Plan, Reading, RuleId, Ruling, Series, Session, Signals
from evcharge.energy.policies import Policy, dispatch, plan
from evcharge.energy.rules import CEILING_W, DWELL_MS, STALE_MS, ceilings_w, decide, rule_of

NOW_MS = 1_560_000_000_000
PRICE = Series(0, 1, (0.1,))


def signals(
    grid: float | None, solar_w: float = 0, battery: float = 0, *, last: Ruling | None = None, age_ms: int = 0
) -> Signals:
    return Signals(
        price=PRICE,
        grid_load_pct=None if grid is None else Reading(grid, age_ms),
        solar_w=Reading(solar_w, age_ms),
        battery_pct=Reading(battery, age_ms),
        ruling=last,
    )


@pytest.mark.parametrize(
    ("grid", "solar_w", "battery", "rule", "watts"),
    [
        (85.01, 100_000, 100, RuleId.PAUSE, 0),
        (85, 60_001, 70.01, RuleId.FAST, 22_000),
        (85, 60_000, 70.01, RuleId.NORMAL, 11_000),
        (85, 60_001, 70, RuleId.NORMAL, 11_000),
        (0, 30_001, 0, RuleId.NORMAL, 11_000),
        (0, 30_000, 100, RuleId.SLOW, 5_000),
        (0, 0, 0, RuleId.SLOW, 5_000),
    ],
)
def test_the_table_at_its_boundaries(grid: float, solar_w: float, battery: float, rule: RuleId, watts: int) -> None:
    assert rule_of(grid, solar_w, battery) is rule
    assert decide(NOW_MS, signals(grid, solar_w, battery)) == Ruling(rule, watts, NOW_MS)


@pytest.mark.parametrize("grid", [None, -1.0, math.nan, math.inf])
def test_a_grid_load_that_is_missing_or_absurd_is_no_low_one(grid: float | None) -> None:
    assert decide(NOW_MS, signals(grid, 100_000, 100)).rule is RuleId.BLIND


def test_a_stale_reading_is_a_missing_one() -> None:
    assert decide(NOW_MS, signals(10, 100_000, 100, age_ms=STALE_MS)).rule is RuleId.FAST
    assert decide(NOW_MS, signals(10, 100_000, 100, age_ms=STALE_MS + 1)).rule is RuleId.BLIND
    assert decide(NOW_MS, signals(10, 100_000, 100, age_ms=-1)).rule is RuleId.BLIND


def test_a_pause_lasts_until_the_load_is_below_eighty() -> None:
    last = Ruling(RuleId.PAUSE, 0, NOW_MS - DWELL_MS)
    assert decide(NOW_MS, signals(80, last=last)) == last
    assert decide(NOW_MS, signals(79.99, last=last)) == Ruling(RuleId.SLOW, 5_000, NOW_MS)


def test_more_power_waits_less_does_not() -> None:
    slow = Ruling(RuleId.SLOW, 5_000, NOW_MS - DWELL_MS + 1)
    assert decide(NOW_MS, signals(10, 40_000, last=slow)) == slow
    assert decide(NOW_MS + 1, signals(10, 40_000, last=slow)).rule is RuleId.NORMAL
    assert decide(NOW_MS, signals(90, last=slow)).rule is RuleId.PAUSE


def car(hours: float | None, **more: object) -> Session:
    departure_ms = None if hours is None else NOW_MS + int(hours * 3_600_000)
    about = {"id": "a", "connector": "a", "node": "site", "need_wh": 7_360, "arrival_ms": 0, "max_w": 7_360}
    return Session(**(about | {"departure_ms": departure_ms} | more))  # type: ignore[arg-type]


def test_who_cannot_wait_is_exempt_but_not_from_blindness() -> None:
    pause = Ruling(RuleId.PAUSE, 0, NOW_MS)
    assert ceilings_w(NOW_MS, [car(1.08)], pause) == {"a": 7_360}
    assert ceilings_w(NOW_MS, [car(1.09)], pause) == {"a": 0}
    assert ceilings_w(NOW_MS, [car(None)], pause) == {"a": 0}
    assert ceilings_w(NOW_MS, [car(1)], Ruling(RuleId.BLIND, 0, NOW_MS)) == {"a": 0}
    assert CEILING_W[RuleId.BLIND] == 0


def test_rules_limit_real_sessions_and_say_so() -> None:
    nodes = [Node(id="site", cap_w=100_000)]
    made = plan(Policy.RULES, NOW_MS, [car(9)], nodes, signals(10))
    assert isinstance(made, Plan)
    point = dispatch(Policy.RULES, NOW_MS, [car(9)], nodes, made)["a"]
    assert (point.watts, point.limit) == (4_830, "rule")
    assert dispatch(Policy.RULES, NOW_MS, [car(9)], nodes, None)["a"].watts == 0


def test_charging_alone_never_reaches_the_load_that_pauses_it() -> None:
    nodes = [Node(id="site", cap_w=10_000)]
    cars = [car(1, id=str(k), connector=str(k)) for k in range(4)]
    made = plan(Policy.RULES, NOW_MS, cars, nodes, signals(10))
    assert sum(point.watts for point in dispatch(Policy.RULES, NOW_MS, cars, nodes, made).values()) <= 8_500
