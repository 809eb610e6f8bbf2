"""The planner beside the loop: gathers what there is to know, works in a thread, hands the plan to the engine.

A plan that is late or fails says so once; the one before holds until it is too old, and then the allocator goes on
alone. Nothing waits for a plan.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from evcharge.central.peaks import Billed
from evcharge.central.sensors import BASE, BATTERY, SOLAR, STEP_MS, Sensors
from evcharge.central.site_entries import EnergyEntry
from evcharge.central.told import Course, Told
from evcharge.domain import commands as c
from evcharge.domain.decide import AnyCommand
from evcharge.domain.demand import demand_of, planned_nodes, roots
from evcharge.domain.headroom import tight_nodes
from evcharge.domain.state import Session as Charge
from evcharge.domain.state import State, Visit
from evcharge.domain.words import RUNNING, SessionStatus
from evcharge.energy.arrivals import DAY_MS, HISTORY_DAYS, Habits, Past, midnight
from evcharge.energy.forecast import onward
from evcharge.energy.model import STEP_MS as CARBON_STEP_MS
from evcharge.energy.model import Battery, Expected, Node, Plan, Policy, Series, Session, Signals
from evcharge.energy.planner import FORESIGHT_MS
from evcharge.energy.plans import plan
from evcharge.ids import NodeId
from evcharge.net.clock import Clock
from evcharge.tally import Buckets

log = structlog.get_logger()

# How often there is a new plan, s of site time, and the least between two, s of wall time: an hour of prices does not
# change by the minute, and one vehicle more or less is the allocator's business.
EVERY_S = 300.0
LEAST_S = 2.0
# A plan lives for so many s of wall time at least.
LIFE_S = 5 * LEAST_S
# A plan that takes longer, s of wall time, is given up and said: five times the solver's budget, for what is around it.
LATE_S = 5.0
# After a plan, so many times its duration without another: a large site that changes all the time must not plan all
# the time.
REST = 9.0
# How far a plan looks for prices and the sun, quarters of an hour: a day and the longest horizon's rest.
AHEAD = 112
# Whole days of visits without which nobody is expected: a week, so that working days and days off were seen.
LEAST_DAYS = 7
# The forecast that Central continues by itself.
CARBON = "co2"
# The month's peak among the inputs of a plan.
BILLED = "billed_peak_w"


class Question(NamedTuple):
    """All that a plan is made from: copies, so that a thread may read them."""

    now_ms: int
    sessions: Sequence[Session]
    nodes: Sequence[Node]
    signals: Signals
    histories: dict[str, list[float | None]]
    visits: Sequence[Visit]
    there: Sequence[Past] = ()
    """Who charges, or is plugged in without a ticket."""
    carbon: Course | None = None


class Planning:
    """Makes a plan every now and then, and soon after sessions, limits or forecasts changed."""

    def __init__(
        self,
        state: Callable[[], State],
        sensors: Sensors,
        energy: EnergyEntry,
        clock: Clock,
        execute: Callable[[AnyCommand], None],
        billed: Callable[[NodeId, int], Billed | None] = lambda _root, _now_ms: None,
    ) -> None:
        self._state, self._sensors, self._energy, self._clock = state, sensors, energy, clock
        self._execute, self._billed = execute, billed
        self._forecasts: dict[str, Series] = {}
        self._carbon = Told()
        self._foretold = 0
        self._failure: str | None = None
        self.took_s = Buckets()
        """How long the plans took, those that failed too; wall seconds."""
        self.outcomes: Counter[str] = Counter({"made": 0, "failed": 0})
        self.failing: dict[NodeId, float] = {}
        """Tops of trees that want a plan and get none, and since when, monotonic."""
        self._late: asyncio.Future[Plan | None] | None = None
        """A plan that nobody waits for any more; its thread may go on."""

    def foretell(self, name: str, series: Series) -> None:
        """A forecast from outside replaces our own; of carbon, as far as it goes."""
        if name == CARBON:
            self._carbon.take(series, self._clock.site_ms())
        else:
            self._forecasts[name] = series
        self._foretold += 1

    async def run(self) -> None:
        """For ever; the owner cancels it."""
        if self._state().site.policy is not Policy.PLAN:
            return
        seen: object = None
        due_s = self._clock.monotonic()
        while True:
            await asyncio.sleep(LEAST_S)
            began_s, now = self._clock.monotonic(), self._signature()
            if now == seen and began_s < due_s:
                continue
            seen, due_s = now, began_s + EVERY_S / self._clock.speed
            for root in roots(self._state()):
                await self._plan(root)
            await asyncio.sleep(REST * (self._clock.monotonic() - began_s))

    def _signature(self) -> object:
        """Changes when a plan should know of something."""
        state = self._state()
        nodes = tuple((node.capacity_w, node.since_ms) for node in state.nodes.values())
        # Targets of before say nothing any more when a node failed or a charge point moved (``Placing.knew``).
        share = None if state.derated is None else state.derated.share
        limits = tuple((one.cp_id, one.limit_w) for one in state.charge_points.values() if one.limit_w is not None)
        return state.totals.started, state.totals.tickets, nodes, share, limits, tuple(state.away), self._foretold

    async def _plan(self, root: NodeId) -> None:
        question = self._question(root)
        if not question.sessions:
            self.failing.pop(root, None)
            return
        if not self._worth(question):
            self.failing.pop(root, None)
            self._withdraw(root, question.now_ms)
            return
        if self._late is not None and not self._late.done():
            # One thread at most that does not come back.
            return
        began_s = self._clock.monotonic()
        working = asyncio.ensure_future(asyncio.to_thread(answer, question, self._energy))
        try:
            done, _ = await asyncio.wait({working}, timeout=LATE_S)
            self.took_s.observe(self._clock.monotonic() - began_s)
            if not done:
                self._late = working
                self._fail(root, f"no plan within {LATE_S:g} s")
                return
            made = working.result()
        except Exception as error:  # noqa: BLE001
            # Whatever is wrong with a plan, cars charge without one.
            self._fail(root, f"{type(error).__name__}: {error}")
            return
        self._failure = None
        self.failing.pop(root, None)
        self.outcomes["made"] += 1
        if made is not None:
            # Where site time runs fast, plans come as fast as they can, and hold until the next one.
            life_ms = max(made.life_ms, int(LIFE_S * 1000 * self._clock.speed))
            self._execute(c.AdoptPlan(root_id=root, plan=msgspec.structs.replace(made, life_ms=life_ms)))

    def _withdraw(self, root: NodeId, now_ms: int) -> None:
        """Where no plan is needed any more, the last one must not hold back those who came since."""
        made = self._state().plans.get(root)
        if made is not None and made.holds(now_ms):
            nothing = Plan(made_ms=now_ms, life_ms=0, starts_ms=(), target_w={})
            self._execute(c.AdoptPlan(root_id=root, plan=nothing))

    def _fail(self, root: NodeId, cause: str) -> None:
        """Said once, until a plan succeeds again: the log is no place for a sentence every five minutes."""
        self.outcomes["failed"] += 1
        self.failing.setdefault(root, self._clock.monotonic())
        if cause != self._failure:
            log.warning("plan.failed", cause=cause)
            self._execute(c.FailPlan(cause=cause[:200]))
        self._failure = cause

    def _question(self, root: NodeId) -> Question:
        state, now_ms = self._state(), self._clock.site_ms()
        measured_w = self._sensors.measured_w()
        nodes = planned_nodes(state, root, measured_w)
        inside = {node.id for node in nodes}
        sessions = [
            demand_of(state, session, session.node_id, now_ms)
            for session in state.sessions.values()
            if session.node_id in inside and _draws(session)
        ]
        energy = self._energy
        billed, ages = self._billed(root, now_ms), self._sensors.ages()
        if billed is not None:
            ages[BILLED] = max(0, now_ms - billed.at_ms)
        co2 = state.site.tariff.co2_g_per_kwh / 1000
        signals = Signals(
            price=self._told("price", now_ms) or energy.prices().series(now_ms, STEP_MS, AHEAD, energy.offset),
            co2=Series(now_ms, STEP_MS, (co2,)),
            pv=self._told("solar_w", now_ms),
            base=self._told("base_w", now_ms),
            export_price=energy.export_per_kwh,
            demand_charge=energy.demand_charge_per_kw,
            billed_peak_w=0 if billed is None else billed.watts,
            co2_price=energy.co2_per_tonne / 1000,
            battery=self._battery(),
            ages=ages,
        )
        histories = {
            "pv": self._sensors.known(SOLAR, None, now_ms),
            "base": self._sensors.known(BASE, root, now_ms),
        }
        there = [
            Past(session.start_ms, max(1, now_ms - session.start_ms), session.energy_wh, session.max_w, ended=False)
            for session in state.sessions.values()
            # One with a provisional ticket is among the visits.
            if session.start_ms is not None and session.session_id not in state.provisional
        ]
        visits, carbon = tuple(state.visits), self._carbon.course(now_ms)
        return Question(now_ms, sessions, nodes, signals, histories, visits, there, carbon)

    def sun_is_told(self) -> bool:
        """Whether there is a forecast of the sun from outside."""
        return self._told(SOLAR, self._clock.site_ms()) is not None

    def _told(self, name: str, now_ms: int) -> Series | None:
        """A forecast from outside, until its last step is over: what was said of last week says nothing."""
        series = self._forecasts.get(name)
        over = series is None or series.start_ms + series.step_ms * len(series.values) <= now_ms
        return None if over else series

    def _worth(self, question: Question) -> bool:
        """Whether a plan could say anything but "all, now": power that costs the same all day, in a tree that holds
        nobody back, needs none.
        """
        signals = question.signals
        steady = all(
            series is None or len(set(series.values)) <= 1
            for series in (signals.price, signals.co2, signals.pv, signals.base)
        )
        idle = not any(question.histories.values()) and signals.battery is None and not signals.demand_charge
        idle = idle and (question.carbon is None or len(set(question.carbon.values)) <= 1)
        tight = tight_nodes(self._state(), self._sensors.measured_w())
        return not (steady and idle and tight.isdisjoint(node.id for node in question.nodes))

    def _battery(self) -> Battery | None:
        entry, percent = self._energy.battery, self._sensors.newest(BATTERY, None)
        if entry is None or percent is None:
            return None
        return Battery(
            capacity_wh=round(entry.capacity_kwh * 1000),
            soc_wh=round(entry.capacity_kwh * percent * 10),
            max_charge_w=round(entry.charge_kw * 1000),
            max_discharge_w=round(entry.discharge_kw * 1000),
            min_soc_wh=round(entry.capacity_kwh * entry.least_percent * 10),
        )


def _draws(session: Charge) -> bool:
    """Whether it is supplied, or a start is on its way: whoever began before a plan is in it."""
    started = session.status is SessionStatus.AUTHORIZED and session.start_valid_ms is not None
    return session.stop is None and (started or session.status in RUNNING)


def answer(question: Question, energy: EnergyEntry) -> Plan | None:
    """In a thread: own forecasts where there are none from outside, then the plan. Raises SolverFailed, BadTree."""
    now_ms, signals = question.now_ms, question.signals
    for name, values in question.histories.items():
        if values and getattr(signals, name) is None:
            # The last slot is the running one.
            start_ms = now_ms - now_ms % STEP_MS - (len(values) - 1) * STEP_MS
            series = onward(start_ms, values, STEP_MS, now_ms, now_ms + FORESIGHT_MS)
            # Neither the sun nor a building gives back.
            positive = tuple(max(0.0, value) for value in series.values)
            signals = msgspec.structs.replace(signals, **{name: msgspec.structs.replace(series, values=positive)})
    if question.carbon is not None:
        begin_ms, told = question.carbon
        co2 = onward(begin_ms, told, CARBON_STEP_MS, now_ms, now_ms + FORESIGHT_MS)
        signals = msgspec.structs.replace(signals, co2=co2)
    expected = expected_arrivals(question.visits, question.there, now_ms, energy)
    stays = (*((one.stay_ms, True) for one in question.visits), *((one.stay_ms, False) for one in question.there))
    signals = msgspec.structs.replace(signals, expected=expected, stays=stays)
    return plan(Policy.PLAN, now_ms, question.sessions, question.nodes, signals)


def expected_arrivals(
    visits: Sequence[Visit], there: Sequence[Past], now_ms: int, energy: EnergyEntry
) -> tuple[Expected, ...]:
    """Who comes in the next hours, from the visits of the last days and today's count; nobody before a week is seen."""
    if not visits:
        return ()
    today_ms = midnight(now_ms, energy.offset)
    # The oldest are forgotten as they end: of the days before that end not all are known.
    since_ms = max(visits[0].arrival_ms + visits[0].stay_ms, today_ms - HISTORY_DAYS * DAY_MS)
    past = [Past(visit.arrival_ms, visit.stay_ms, visit.energy_wh, visit.max_w) for visit in visits]
    past += there
    habits = Habits(past, since_ms, today_ms, energy.offset)
    if habits.days < LEAST_DAYS:
        return ()
    came = sum(one.arrival_ms >= today_ms for one in past)
    return habits.foreseen(now_ms, now_ms + FORESIGHT_MS, came, peak_costs=energy.demand_charge_per_kw > 0)
