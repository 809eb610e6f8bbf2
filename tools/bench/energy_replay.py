"""Replay of real sessions in steps of 5 minutes: a policy decides at each step from what is known then."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from evcharge.energy.arrivals import Habits, Offset, midnight
from evcharge.energy.lp import Problem, solve
from evcharge.energy.model import STEP_MS, Expected, Node, Policy, Series, Session, Signals
from evcharge.energy.planner import FORESIGHT_MS, demands_of, quarters
from evcharge.energy.plans import plan
from evcharge.energy.policies import dispatch
from evcharge.energy.rules import Reading, Readings, RuleState
from evcharge.units import MS_PER_HOUR
from tools.bench.energy_data import STEPS_PER_DAY, Visit, persisted, seasonal, sunny

# Steps of forecasts.
AHEAD = FORESIGHT_MS // STEP_MS
# Steps of one billing interval of the demand charge: a quarter of an hour.
QUARTER = 3
CLAIRVOYANT = "clairvoyant"
UNMANAGED = "unmanaged"
# Wh below which a vehicle counts as full.
FULL_WH = 1.0


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay runs on. Series have one value a step, from step ``first`` on."""

    visits: Sequence[Visit]
    first: int
    price: Sequence[float]
    capacity_w: int
    max_w: int
    volts: int
    co2: Sequence[float] | None = None
    co2_past: Sequence[float] = ()
    """The days before."""
    pv: Sequence[float] | None = None
    persistence: bool = False
    """Whether the sun is expected to do what it did a day ago, or what Central learns."""
    demand_charge: float = 0.0
    expected_peak_w: int = 0
    """What the history's peak would have been at best: shaving below it on the first days of a month pays nothing."""
    co2_price: float = 0.0
    declared: bool = False
    """Whether policies know what drivers declared, or what came true."""
    offset: Offset
    """How far local time is ahead."""
    habits: Habits | None = None
    lateness_ms: tuple[int, ...] = ()
    """How far declared departures of the history held."""


class Outcome(msgspec.Struct, kw_only=True):
    """What one policy came to."""

    policy: str
    delivered_pct: float
    cost_per_kwh: float
    peak_kw: float
    """Largest mean of a quarter of an hour, from the grid."""
    co2_kg: float
    set_point_changes: int
    bill: float
    """Energy and demand charge."""
    worst_decile_pct: float
    """Mean over the tenth of the sessions that got the least of their need."""
    plan_p95_ms: float | None = None
    """CPU time of the 95th of 100 plans."""
    notes: list[str] = []


class _Meter:
    """Sums up what came from the grid and where it went."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.power_w = np.zeros(len(site.price))
        self.given_wh = np.zeros(len(site.visits))

    def outcome(self, policy: str, changes: int) -> Outcome:
        """The figures."""
        site = self._site
        pv = np.zeros(len(self.power_w)) if site.pv is None else np.asarray(site.pv)
        grid_kw = np.maximum(self.power_w - pv, 0.0) / 1000
        hours = STEP_MS / MS_PER_HOUR
        cost = float(grid_kw @ np.asarray(site.price)) * hours
        co2 = 0.0 if site.co2 is None else float(grid_kw @ np.asarray(site.co2)) * hours
        whole = grid_kw[: len(grid_kw) // QUARTER * QUARTER].reshape(-1, QUARTER)
        peak = float(whole.mean(axis=1).max())
        needs = np.array([visit.need_wh for visit in site.visits], dtype=np.float64)
        given = float(self.given_wh.sum())
        shares = np.sort(self.given_wh / needs)
        return Outcome(
            policy=policy,
            delivered_pct=100 * given / float(needs.sum()),
            cost_per_kwh=cost / (given / 1000),
            peak_kw=peak,
            co2_kg=co2,
            set_point_changes=changes,
            bill=cost + site.demand_charge * peak,
            worst_decile_pct=100 * float(shares[: max(1, len(shares) // 10)].mean()),
        )


def replay(site: Site, policy: Policy, *, whole: bool, progress: Callable[[int], None] = lambda _: None) -> Outcome:
    """One policy from the first step to the last."""
    meter = _Meter(site)
    visits, node = site.visits, "site"
    there: dict[int, Session] = {}
    waiting = 0
    changes, load_w, billed_w = 0, 0.0, 0.0
    rules: RuleState | None = None
    times: list[float] = []
    last_w: dict[str, int] = {}
    for index in range(len(site.price)):
        now, now_ms = site.first + index, (site.first + index) * STEP_MS
        if index % STEPS_PER_DAY == 0:
            progress(index // STEPS_PER_DAY)
        while waiting < len(visits) and visits[waiting].arrival <= now:
            there[waiting] = _plugged(visits[waiting], site, node)
            waiting += 1
        for number in [k for k in there if visits[k].departure <= now]:
            del there[number]
        hungry = {k: s for k, s in there.items() if visits[k].need_wh - meter.given_wh[k] > FULL_WH}
        watts = 0.0
        points = {}
        if hungry:
            pv_w = 0 if site.pv is None else int(site.pv[index])
            nodes = [Node(id=node, cap_w=site.capacity_w, pv_w=pv_w)]
            sessions = list(hungry.values())
            made = None
            if policy in (Policy.PLAN, Policy.RULES):
                signals = _signals(site, index, max(int(billed_w), site.expected_peak_w), load_w, rules)
                began = time.process_time()
                # However busy the machine is, the figures are the same.
                made = plan(policy, now_ms, sessions, nodes, signals, seconds=float("inf"))
                times.append(time.process_time() - began)
                rules = made.rules if made is not None else None
            points = dispatch(policy, now_ms, sessions, nodes, made, whole=whole)
        for number, session in hungry.items():
            point_w = points[session.connector].watts
            left_wh = visits[number].need_wh - meter.given_wh[number]
            given_w = min(float(point_w), left_wh * MS_PER_HOUR / STEP_MS)
            meter.given_wh[number] += given_w * STEP_MS / MS_PER_HOUR
            watts += given_w
            there[number] = _after(session, point_w, float(meter.given_wh[number]), now_ms)
            changes += point_w != last_w.get(session.connector, 0)
            last_w[session.connector] = point_w
        limit_w = site.capacity_w + (0.0 if site.pv is None else site.pv[index])
        if watts > limit_w + 1.0:
            raise AssertionError(f"{policy} gave {watts:.0f} W of {limit_w:.0f}")
        meter.power_w[index] = watts
        load_w = max(0.0, watts - (0.0 if site.pv is None else site.pv[index]))
        if index % QUARTER == QUARTER - 1:
            quarter = meter.power_w[index - QUARTER + 1 : index + 1]
            pv = np.zeros(QUARTER) if site.pv is None else np.asarray(site.pv[index - QUARTER + 1 : index + 1])
            billed_w = max(billed_w, float(np.maximum(quarter - pv, 0.0).mean()))
    outcome = meter.outcome(policy.value, changes)
    if policy is Policy.PLAN and times:
        outcome.plan_p95_ms = 1000 * float(np.quantile(times, 0.95))
    return outcome


def _plugged(visit: Visit, site: Site, node: str) -> Session:
    end = visit.declared_departure if site.declared else visit.departure
    return Session(
        id=visit.id,
        connector=visit.connector,
        node=node,
        need_wh=visit.declared_wh if site.declared else visit.need_wh,
        arrival_ms=visit.arrival * STEP_MS,
        departure_ms=end * STEP_MS,
        max_w=site.max_w,
        volts=site.volts,
    )


def _after(session: Session, point_w: int, given_wh: float, now_ms: int) -> Session:
    turned = (point_w > 0) != (session.last_w > 0)
    return msgspec.structs.replace(
        session,
        delivered_wh=min(session.need_wh, int(given_wh)),
        last_w=point_w,
        last_ms=now_ms,
        turned_ms=now_ms if turned else session.turned_ms,
    )


def _signals(site: Site, index: int, billed_w: int, load_w: float, rules: RuleState | None) -> Signals:
    now = site.first + index
    foretell = persisted if site.persistence else sunny
    pv = None if site.pv is None else foretell(site.pv, site.first, now, AHEAD)
    return Signals(
        # Tariffs are known in advance.
        price=Series(now * STEP_MS, STEP_MS, tuple(site.price[index : index + AHEAD])),
        co2=None if site.co2 is None else seasonal([*site.co2_past, *site.co2], len(site.co2_past), index, AHEAD, now),
        pv=pv,
        demand_charge=site.demand_charge,
        billed_peak_w=billed_w,
        co2_price=site.co2_price,
        expected=foreseen(site, now),
        lateness_ms=site.lateness_ms if site.declared else (),
        readings=Readings(
            grid_percent=Reading(100.0 * load_w / max(1, site.capacity_w), now * STEP_MS),
            solar_w=Reading(0.0 if site.pv is None else site.pv[index], now * STEP_MS),
            battery_percent=Reading(0.0, now * STEP_MS),
        ),
        rules=rules,
    )


def foreseen(site: Site, now: int) -> tuple[Expected, ...]:
    """Whom the plan reckons with at a step; nobody without a history."""
    if site.habits is None:
        return ()
    until_ms = (now + AHEAD) * STEP_MS
    return site.habits.foreseen(now * STEP_MS, until_ms, came_today(site, now), peak_costs=site.demand_charge > 0)


def came_today(site: Site, now: int) -> int:
    """Arrivals of the day until now; all of the first day's are in the site, for it begins at midnight."""
    arrivals = [visit.arrival for visit in site.visits]
    return bisect_right(arrivals, now) - bisect_left(arrivals, midnight(now * STEP_MS, site.offset) // STEP_MS)


def unmanaged(site: Site) -> Outcome:
    """Everybody at full power from arrival, whatever the limit."""
    meter = _Meter(site)
    for number, visit in enumerate(site.visits):
        left_wh = float(visit.need_wh)
        for step in range(visit.arrival - site.first, min(visit.departure - site.first, len(site.price))):
            given_w = min(float(site.max_w), left_wh * MS_PER_HOUR / STEP_MS)
            meter.power_w[step] += given_w
            left_wh -= given_w * STEP_MS / MS_PER_HOUR
        meter.given_wh[number] = visit.need_wh - left_wh
    return meter.outcome(UNMANAGED, len(site.visits) * 2)


class _Span(NamedTuple):
    """Steps ``first`` to ``last`` - 1 and the visits in them: nothing outside has to do with them."""

    first: int
    last: int
    visits: list[int]


def clairvoyant(site: Site) -> Outcome:
    """The bound: one linear program that knows all sessions, prices and the sun; any power, no smallest current."""
    meter = _Meter(site)
    for span in _spans(site):
        edges = [(site.first + step) * STEP_MS for step in range(span.first, span.last + 1)]
        rows = [
            (
                site.visits[k].need_wh / 1000,
                site.visits[k].arrival * STEP_MS,
                site.visits[k].departure * STEP_MS,
                site.max_w / 1000,
                1.0,
            )
            for k in span.visits
        ]
        count = span.last - span.first
        price = np.asarray(site.price[span.first : span.last])
        if site.co2 is not None:
            price = price + site.co2_price * np.asarray(site.co2[span.first : span.last])
        solution = solve(
            Problem(
                hours=np.full(count, STEP_MS / MS_PER_HOUR),
                price=price,
                base=np.zeros(count),
                pv=np.zeros(count) if site.pv is None else np.asarray(site.pv[span.first : span.last]) / 1000,
                cap=np.full(count, site.capacity_w / 1000),
                demands=demands_of(rows, edges),
                demand_charge=site.demand_charge,
                peak_of=quarters(edges),
            )
        )
        meter.power_w[span.first : span.last] = solution.power * 1000
        kwh = np.bincount(solution.session, weights=solution.x, minlength=len(rows)) * STEP_MS / MS_PER_HOUR
        meter.given_wh[span.visits] = kwh * 1000
    return meter.outcome(CLAIRVOYANT, 0)


def _spans(site: Site) -> list[_Span]:
    """Cut where nobody is there; a demand charge ties all together."""
    if site.demand_charge > 0:
        return [_Span(0, len(site.price), list(range(len(site.visits))))]
    spans: list[_Span] = []
    for number, visit in enumerate(site.visits):
        first, last = visit.arrival - site.first, min(visit.departure - site.first, len(site.price))
        if spans and first < spans[-1].last:
            span = spans[-1]
            spans[-1] = _Span(span.first, max(span.last, last), [*span.visits, number])
        else:
            spans.append(_Span(first, last, [number]))
    return spans
