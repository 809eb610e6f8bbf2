"""Policies side by side on real sessions: what ``python -m tools.bench energy`` measures, and its goals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from rich.table import Table

from evcharge.energy.arrivals import HISTORY_DAYS
from evcharge.energy.model import Policy
from evcharge.sim.tariffs import read_tariff
from tools.bench.energy_data import (
    MAX_STAY,
    STEPS_PER_DAY,
    Visit,
    carbon_past,
    day_of,
    habits_of,
    lateness_of,
    local_midnight,
    offset_of,
    price_series,
    read_carbon,
    read_solar,
    read_visits,
)
from tools.bench.energy_replay import CLAIRVOYANT, UNMANAGED, Outcome, Site, clairvoyant, replay, unmanaged
from tools.bench.energy_speed import figures
from tools.bench.log import Figure

Tell = Callable[[str], None]
# All that a run can compare; ``plan_any`` is the plan without whole amperes.
PLAN_ANY = "plan_any"
POLICIES = (*(policy.value for policy in Policy), PLAN_ANY, UNMANAGED, CLAIRVOYANT)
# The connectors of the sites in the session files: 32 A, 208 V, one phase.
MAX_W = 6_656
VOLTS = 208


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One question. ``history_*`` is what was known before it."""

    name: str
    sessions: Path
    history: Path
    first: date
    last: date
    history_first: date
    history_last: date
    capacity_kw: float
    tariff: Path
    zone: str = "America/Los_Angeles"
    co2: Path | None = None
    co2_price: float = 0.05
    solar: Path | None = None
    solar_kw: float = 100.0
    persistence: bool = False
    demand: bool = False
    declared: bool = False
    max_w: int = MAX_W
    volts: int = VOLTS
    policies: tuple[str, ...] = POLICIES


class Result(msgspec.Struct, kw_only=True):
    """A case and what each policy came to."""

    case: str
    sessions: int
    energy_kwh: float
    capacity_kw: float
    policies: dict[str, Outcome]


def month_before(day: date) -> tuple[date, date]:
    """First and last of the days that count as history."""
    return day - timedelta(days=HISTORY_DAYS), day - timedelta(days=1)


def site_of(case: Case, *, peak: bool = True) -> Site:
    """Read everything; ``peak``: with the best peak of the history, where there is a demand charge.

    Raises OSError, KeyError, ValueError.
    """
    zone = ZoneInfo(case.zone)
    visits = read_visits(case.sessions, case.first, case.last, zone)
    if not visits:
        raise ValueError(f"no sessions from {case.first} to {case.last} in {case.sessions}")
    before = read_visits(case.history, case.history_first, case.history_last, zone)
    # A file that begins later has fewer days, not days on which nobody came.
    known = max(case.history_first, day_of(before[0], zone)) if before else case.history_first
    first = local_midnight(case.first, zone)
    # Whoever arrived on the last day stays a day at most.
    count = local_midnight(case.last, zone) + STEPS_PER_DAY + MAX_STAY - first
    tariff = read_tariff(case.tariff)
    site = Site(
        visits=visits,
        first=first,
        price=price_series(tariff, first, count, zone),
        capacity_w=round(case.capacity_kw * 1000),
        max_w=case.max_w,
        volts=case.volts,
        co2=None if case.co2 is None else read_carbon(case.co2, first, count),
        co2_past=() if case.co2 is None else carbon_past(case.co2, first),
        pv=None if case.solar is None else read_solar(case.solar, case.solar_kw, first, count, zone),
        persistence=case.persistence,
        demand_charge=tariff.season(case.first).demand_charge if case.demand else 0.0,
        co2_price=0.0 if case.co2 is None else case.co2_price,
        declared=case.declared,
        offset=offset_of(zone),
        habits=habits_of(before, known, case.history_last, zone, case.max_w) if before else None,
        lateness_ms=lateness_of(before),
    )
    if not (peak and case.demand and before):
        return site
    start = local_midnight(known, zone)
    span = local_midnight(case.history_last, zone) + STEPS_PER_DAY + MAX_STAY - start
    past = msgspec.structs.replace(
        site, visits=before, first=start, price=price_series(tariff, start, span, zone), co2=None, pv=None
    )
    return msgspec.structs.replace(site, expected_peak_w=round(clairvoyant(past).peak_kw * 1000))


def measure(case: Case, policy: str) -> Result:
    """One policy on a case. Raises OSError, KeyError, ValueError."""
    site = site_of(case, peak=policy in (Policy.PLAN, PLAN_ANY))
    if policy == CLAIRVOYANT:
        found = clairvoyant(site)
    elif policy == UNMANAGED:
        found = unmanaged(site)
    else:
        found = replay(site, Policy.PLAN if policy == PLAN_ANY else Policy(policy), whole=policy != PLAN_ANY)
        found.policy = policy
    energy = sum(visit.need_wh for visit in site.visits) / 1000
    return Result(
        case=case.name,
        sessions=len(site.visits),
        energy_kwh=energy,
        capacity_kw=case.capacity_kw,
        policies={policy: found},
    )


def run(cases: Sequence[Case], tell: Tell, *, jobs: int = 1) -> list[Result]:
    """All policies of all cases, each by itself in one of so many processes. Raises OSError, KeyError, ValueError."""
    results: list[Result | None] = [None] * len(cases)
    # What plans takes longest, so it begins first; the figures do not depend on the order.
    work = [(number, policy) for number, case in enumerate(cases) for policy in case.policies]
    work.sort(key=lambda pair: pair[1] not in (Policy.PLAN, PLAN_ANY))

    def take(number: int, part: Result) -> None:
        whole = results[number]
        if whole is None:
            results[number] = part
        else:
            whole.policies.update(part.policies)
        tell(f"{cases[number].name}: {', '.join(part.policies)}")

    if jobs == 1 or len(work) == 1:
        for number, policy in work:
            take(number, measure(cases[number], policy))
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            running = {pool.submit(measure, cases[number], policy): number for number, policy in work}
            try:
                for done in as_completed(running):
                    take(running[done], done.result())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    found = [result for result in results if result is not None]
    for result, case in zip(found, cases, strict=True):
        result.policies = {policy: result.policies[policy] for policy in case.policies}
    return found


def busiest_week(path: Path, zone: ZoneInfo) -> date:
    """The first of the seven days with most sessions in a file."""
    visits: Sequence[Visit] = read_visits(path, date.min, date.max, zone)
    days = Counter(day_of(visit, zone) for visit in visits)
    return max(sorted(days), key=lambda day: sum(days[day + timedelta(days=k)] for k in range(7)))


def fixed_cases(folder: Path) -> list[Case]:
    """The cases that figures are compared on; ``folder`` has sessions, tariffs, carbon, solar. Raises OSError."""
    jpl = folder / "sessions" / "acn_jpl.csv"
    tariff = folder / "tariffs" / "sce_tou_ev_4_march_2019.json"
    carbon = folder / "carbon" / "moer_caiso_sce_2019-05_2019-12_5min.csv"
    september = Case(
        name="",
        sessions=jpl,
        history=jpl,
        first=date(2019, 9, 1),
        last=date(2019, 9, 30),
        history_first=date(2019, 8, 1),
        history_last=date(2019, 8, 31),
        capacity_kw=100,
        tariff=tariff,
    )
    week = busiest_week(jpl, ZoneInfo(september.zone))
    week_history = month_before(week)

    def case(name: str, **changed: object) -> Case:
        return msgspec.structs.replace(september, name=name, **changed)

    shared = ("equal", "llf", "sllf", "plan", PLAN_ANY, CLAIRVOYANT)
    sun = folder / "solar" / "pv_jpl_220kwdc_30min.csv"
    return [
        case("85 kW", capacity_kw=85, policies=shared),
        case("100 kW", policies=("rules", "edf", *shared)),
        case("150 kW", capacity_kw=150, policies=shared),
        case("70 kW", capacity_kw=70, policies=("llf", "plan", CLAIRVOYANT)),
        case("demand", capacity_kw=150, demand=True, policies=("llf", "plan", UNMANAGED, CLAIRVOYANT)),
        case("solar", solar=sun, persistence=True, policies=("llf", "sllf", "plan", CLAIRVOYANT)),
        case("solar, learnt", solar=sun, policies=("plan", CLAIRVOYANT)),
        case(
            "carbon",
            first=week,
            last=week + timedelta(days=6),
            history_first=week_history[0],
            history_last=week_history[1],
            capacity_kw=130,
            co2=carbon,
            policies=("llf", "plan", PLAN_ANY, CLAIRVOYANT),
        ),
        case("declared", declared=True, policies=("llf", "plan", CLAIRVOYANT)),
    ]


def speed(cases: Sequence[Case]) -> list[Figure]:
    """What a plan of a large site costs: the sessions of the file of the first case, from its first day on."""
    case = cases[0]
    zone = ZoneInfo(case.zone)
    first = local_midnight(case.first, zone)
    price = price_series(read_tariff(case.tariff), first, 2 * STEPS_PER_DAY, zone)
    return figures(read_visits(case.sessions, case.first, date.max, zone), first, price, case.max_w, case.volts)


def goals(results: Sequence[Result]) -> list[Figure]:
    """The figures that were promised, of what was run."""
    found: list[Figure] = []
    of = {result.case: result.policies for result in results}

    def add(case: str, what: str, value: float, sense: str, goal: float, unit: str) -> None:
        found.append(Figure(f"{case}: {what}", f"{case}: {what}", value, sense, goal, unit))

    for name in ("85 kW", "100 kW", "150 kW"):
        if name not in of:
            continue
        plan, best, llf, equal = (of[name][each] for each in ("plan", CLAIRVOYANT, "llf", "equal"))
        add(name, "energy below clairvoyant", best.delivered_pct - plan.delivered_pct, "<=", 0.05, "points")
        add(name, "cost above clairvoyant", _above(plan.cost_per_kwh, best.cost_per_kwh), "<=", 1.0, "%")
        add(name, "cost above LLF", _above(plan.cost_per_kwh, llf.cost_per_kwh), "<=", 0.0, "%")
        add(name, "energy above LLF", plan.delivered_pct - llf.delivered_pct, ">=", 0.0, "points")
        if name != "85 kW":
            cheaper = -_above(plan.cost_per_kwh, equal.cost_per_kwh)
            add(name, "cheaper than equal share", cheaper, ">=", 4.0 if name == "100 kW" else 8.0, "%")
        lost = of[name][PLAN_ANY].delivered_pct - plan.delivered_pct
        add(name, "lost by whole amperes", lost, "<=", 0.2, "points")
        if plan.plan_p95_ms is not None:
            add(name, "CPU of a plan, p95", plan.plan_p95_ms, "<=", 15.0, "ms")
    if "70 kW" in of:
        add("70 kW", "worst decile", of["70 kW"]["plan"].worst_decile_pct, ">=", 70.0, "%")
    if "demand" in of:
        plan, best, free = (of["demand"][each] for each in ("plan", CLAIRVOYANT, UNMANAGED))
        add("demand", "bill above clairvoyant", _above(plan.bill, best.bill), "<=", 1.0, "%")
        add("demand", "bill below unmanaged", -_above(plan.bill, free.bill), ">=", 37.0, "%")
    for name in ("solar", "solar, learnt"):
        if name in of:
            above = _above(of[name]["plan"].bill, of[name][CLAIRVOYANT].bill)
            add(name, "cost above clairvoyant", above, "<=", 10.0, "%")
    if "carbon" in of:
        plan, llf = of["carbon"]["plan"], of["carbon"]["llf"]
        add("carbon", "CO2 below LLF", -_above(plan.co2_kg, llf.co2_kg), ">=", 20.0, "%")
        add("carbon", "cost above LLF", _above(plan.cost_per_kwh, llf.cost_per_kwh), "<=", 0.0, "%")
    return found


def _above(value: float, other: float) -> float:
    return 100.0 * (value / other - 1.0)


def result_table(result: Result) -> Table:
    """One case for people."""
    title = (
        f"{result.case}: {result.sessions:,} sessions, {result.energy_kwh:,.0f} kWh, limit {result.capacity_kw:g} kW"
    )
    table = Table(title=title, title_justify="left")
    names = (
        "policy",
        "delivered %",
        "worst decile %",
        "per kWh",
        "bill",
        "peak kW",
        "CO2 kg",
        "changes",
        "plan p95 CPU ms",
    )
    for name in names:
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, each in result.policies.items():
        table.add_row(
            name,
            f"{each.delivered_pct:.2f}",
            f"{each.worst_decile_pct:.1f}",
            f"{each.cost_per_kwh:.4f}",
            f"{each.bill:,.0f}",
            f"{each.peak_kw:.1f}",
            f"{each.co2_kg:,.0f}" if each.co2_kg else "",
            f"{each.set_point_changes:,}" if each.set_point_changes else "",
            "" if each.plan_p95_ms is None else f"{each.plan_p95_ms:.1f}",
        )
    return table


def goals_table(figures: Sequence[Figure]) -> Table:
    """Each figure beside its goal."""
    table = Table(title="Goals", title_justify="left")
    for name in ("what", "goal", "measured", ""):
        table.add_column(name)
    for each in figures:
        mark = "ok" if each.met else "missed"
        table.add_row(each.what, f"{each.sense} {each.goal:g} {each.unit}", f"{each.value:.3f} {each.unit}", mark)
    return table
