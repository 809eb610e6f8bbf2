"""What the feeder drill came to: promise beside measurement, and its picture; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from evcharge.cp.vehicle import MJ_PER_WH
from tools.chart import Limit, Line, Span, chart
from tools.drill.crash_report import Outcome, Promise, none_of
from tools.drill.feeder_power import Curve, kilowatts, sampled, total
from tools.drill.feeder_site import AMPERE_W, MAX_W, MIN_W, ROWS, Plan
from tools.drill.log_check import LogFacts

EAST, WEST = ROWS
# How much later than its end a lease may still be obeyed, seconds: a charge point looks ten times a second.
LATE_S = 0.5


class Marks(NamedTuple):
    """When things were done to the feeder, ms of site time."""

    begin: int
    """The drivers ask."""
    kill: int
    restart: int
    cut: int
    mend: int
    end: int
    """The drivers end their sessions."""

    def phases(self) -> dict[str, tuple[int, int]]:
        """Name → start and end."""
        names = ("charging", "Central dead", "Central back", "west cut off", "west back")
        return dict(zip(names, pairwise(self), strict=True))


class Seen(NamedTuple):
    """What the charge points wrote down."""

    plan: Plan
    marks: Marks
    cars: Mapping[str, Curve]
    """Charge point → its true power."""
    ended_ms: int
    """Nothing flows any more; site time."""

    def row(self, name: str) -> Curve:
        """The power of a row."""
        return total([self.cars[cp_id] for cp_id in self.plan.rows()[name]])

    def feeder(self) -> Curve:
        """The power of all."""
        return total(list(self.cars.values()))


def judge(seen: Seen, facts: LogFacts, meters: Mapping[str, int], late: Sequence[str]) -> Outcome:
    """The verdict. ``facts``: Central's log, settled; ``meters``: registers at the end, Wh; ``late``: sentences."""
    plan, marks, found = seen.plan, seen.marks, facts.findings
    early = [ticket for ticket in facts.tickets.values() if ticket.end_ms < marks.cut]
    unlike = [cp_id for cp_id, register_wh in meters.items() if not _metered(seen, cp_id, register_wh)]
    metered_wh = sum(meters.values())
    promises = [
        *_power(seen),
        none_of(f"sessions that the death of Central ended, of {plan.charge_points}", len(early)),
        none_of("states that were not reached in time", len(late)),
        Promise(
            "energy on tickets = meters",
            f"{metered_wh:,} Wh",
            f"{facts.energy_wh():,} Wh",
            not found.of("energy") and facts.energy_wh() == metered_wh > 0,
        ),
        none_of("meters that the traces of true power contradict", len(unlike)),
        none_of("sessions stuck", found.of("stuck")),
        none_of(
            f"tickets lost, doubled or changed, of {len(facts.tickets)}",
            found.of("lost_ticket", "doubled_ticket", "ticket_times"),
        ),
        none_of("acknowledged events lost or applied twice", found.of("lost", "damaged", "doubled", "fence")),
    ]
    reasons: dict[str, int] = {}
    for ticket in facts.tickets.values():
        reasons[ticket.reason.value] = reasons.get(ticket.reason.value, 0) + 1
    feeder = seen.feeder()
    figures = {
        "charge points": plan.charge_points,
        "all of them at full rating, W": plan.charge_points * MAX_W,
        "all of them at their fallback, W": plan.fallback_w,
        "lease, s": plan.lease_s,
        "seconds": {name: round((end - start) / 1000, 1) for name, (start, end) in marks.phases().items()},
        "highest sum, W": {name: max(feeder.within(*span)) for name, span in marks.phases().items()},
        "changes of power": sum(len(car.times) for car in seen.cars.values()),
        "tickets by reason": reasons,
    }
    return Outcome(
        drill="a feeder at its limit, without Central and without half of its network",
        promises=promises,
        figures=figures,
        problems=[*late, *found.sentences],
    )


def _power(seen: Seen) -> list[Promise]:
    """The promises about what flowed."""
    plan, marks, cars, feeder = seen.plan, seen.marks, list(seen.cars.values()), seen.feeder()
    hold_ms = int(plan.hold_s * 1000)

    def kept_up(when: str, until_ms: int) -> Promise:
        mean_w = feeder.mean_w(until_ms - hold_ms, until_ms)
        least_w = plan.limit_w - plan.slack_w
        return Promise(f"mean power {when}, W", f">= {least_w:,}", f"{mean_w:,.0f}", mean_w >= least_w)

    peak_w = max(feeder.within(marks.begin, seen.ended_ms))
    lowest_w = min(min(car.within(marks.kill, marks.cut)) for car in cars)
    fallen_s = [_seconds(marks.kill, car.falls_to(MIN_W, marks.kill, marks.restart)) for car in cars]
    within_s = plan.lease_s + LATE_S
    # What is left of the limit belongs to the others from the instant on at which the row has surely fallen.
    row_ms = seen.row(WEST).falls_to(len(plan.rows()[WEST]) * MIN_W, marks.cut, marks.mend)
    east = seen.row(EAST)
    others_ms = east.first_above(max(east.within(marks.cut - hold_ms, marks.cut)) + AMPERE_W, marks.cut)
    risen_s = _seconds(row_ms, others_ms)
    return [
        Promise(
            "true power of the feeder, any instant, W", f"<= {plan.limit_w:,}", f"{peak_w:,}", peak_w <= plan.limit_w
        ),
        kept_up("before", marks.kill),
        Promise(
            "kill -9 of Central to the last car at its fallback, s",
            f"<= {within_s:g}",
            _shown(None if None in fallen_s else max(filter(None, fallen_s), default=0.0)),
            all(each is not None and each <= within_s for each in fallen_s),
        ),
        Promise("lowest power of any car, kill to cut, W", f">= {MIN_W:,}", f"{lowest_w:,}", lowest_w >= MIN_W),
        kept_up("after the restart", marks.cut),
        Promise(
            "others rise after the row that is cut off has fallen, s",
            "> 0",
            _shown(risen_s),
            risen_s is not None and risen_s > 0,
        ),
        kept_up("while that row is cut off", marks.mend),
        kept_up("with that row back", marks.end),
    ]


def _seconds(since_ms: int | None, until_ms: int | None) -> float | None:
    return None if since_ms is None or until_ms is None else (until_ms - since_ms) / 1000


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}"


def _metered(seen: Seen, cp_id: str, register_wh: int) -> bool:
    """Whether a register shows the energy that the trace makes; it shows whole watt-hours."""
    true_wh = seen.cars[cp_id].energy_wms(seen.marks.begin, seen.ended_ms) / MJ_PER_WH
    return 0 <= true_wh - register_wh < 1


def picture(seen: Seen) -> str:
    """SVG of the whole run."""
    plan, marks = seen.plan, seen.marks
    names = {
        "charging": "all at the limit",
        "Central dead": "Central dead: leases end, then 6\N{NO-BREAK SPACE}A",
        "Central back": "Central back: each car is raised when its charge point has reconnected",
        "west cut off": "west cut off: its leases end; when that is sure, east gets the rest",
        "west back": "west is back",
    }
    whole = kilowatts(seen.feeder(), marks.begin, marks.end)
    west = kilowatts(seen.row(WEST), marks.begin, marks.end)
    limit_kw, count = plan.limit_w / 1000, plan.charge_points
    return chart(
        f"{count} cars on a feeder of {limit_kw:g} kW: Central is killed, then a row is cut off",
        "seconds",
        "true power, kW",
        [
            Line("the feeder", whole, steps=True),
            Line(f"{EAST} row, upon {WEST}", whole, steps=True, fill=True, base=west),
            Line(f"{WEST} row", west, steps=True, fill=True),
        ],
        limits=[Limit(f"limit {limit_kw:g} kW", limit_kw)],
        spans=[
            Span(names[name], (start - marks.begin) / 1000, (end - marks.begin) / 1000)
            for name, (start, end) in marks.phases().items()
        ],
        description=f"Power of {count} cars over time, and the limit of {limit_kw:g} kW for their sum. Without Central "
        f"every car falls to {MIN_W / 1000:g} kW when its lease runs out, and goes on charging.",
    )


def samples(seen: Seen) -> str:
    """CSV of the whole run."""
    return sampled({row: seen.row(row) for row in ROWS}, seen.marks.begin, seen.marks.end)
