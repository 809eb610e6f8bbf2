"""What planning and sharing cost on a large site: 1,000 real sessions below 50 feeders, CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from evcharge.energy.allocate import by_laxity
from evcharge.energy.cars import Cars, ceilings_of
from evcharge.energy.lp import NodeRow, Problem, solve
from evcharge.energy.model import STEP_MS, Node, Policy, Series, Session, Signals
from evcharge.energy.paths import paths_of
from evcharge.energy.planner import demands_of, make_plan
from evcharge.energy.policies import dispatch
from evcharge.energy.tree import Tree
from evcharge.units import MS_PER_HOUR
from tools.bench.energy_data import STEPS_PER_DAY, Visit
from tools.bench.log import Figure

SESSIONS = 1_000
FEEDERS = 50
QUARTERS = 96
# W of the site for each connector: 100 kW for 52, as the sites of the session files are judged.
SITE_W = 100_000 / 52
# What a feeder may draw, as a multiple of its part of the site's limit: so some feeders bind and some do not.
FEEDER_SHARE = 1.5
# The middle of so many runs: a busy machine's caches cost CPU time too.
RUNS = 5


def figures(visits: Sequence[Visit], first: int, price: Sequence[float], max_w: int, volts: int) -> list[Figure]:
    """CPU time of two plans, of one level for all and of a whole look at who gets what now.

    ``visits`` from step ``first`` on, ``price`` by steps of the first two days.

    Raises ValueError when there are too few visits.
    """
    if len(visits) < SESSIONS:
        raise ValueError(f"{len(visits)} sessions: {SESSIONS} are needed")
    day = day_of_all(visits[:SESSIONS], first, price, max_w)
    here, tree, signals = plugged(visits[:SESSIONS], first, price, max_w, volts)
    taken = {
        "at their times, 96 quarters": _seconds(lambda: solve(day)),
        "all plugged in now": _seconds(lambda: make_plan(first * STEP_MS, here, tree, signals, seconds=60.0)),
    }
    names = {f"{SESSIONS:,} sessions: {what}": seconds for what, seconds in taken.items()}
    found = [Figure(name, name, seconds, "<=", 0.5, "s CPU") for name, seconds in names.items()]
    return found + _sharing(here, tree, first * STEP_MS)


def _sharing(sessions: Sequence[Session], tree: Tree, now_ms: int) -> list[Figure]:
    """Milliseconds; the smallest currents of all do not fit, so that they take turns."""
    cars, nodes = Cars(sessions), list(tree.nodes.values())
    paths, highs = paths_of(tree, sessions).paths, cars.highs_w(ceilings_of(sessions, {}), STEP_MS)
    taken = {
        "a level for all": _seconds(lambda: by_laxity(cars, paths, highs, now_ms)),
        "set-points in whole amperes": _seconds(lambda: dispatch(Policy.SLLF, now_ms, sessions, nodes)),
    }
    names = {f"{SESSIONS:,} sessions: {what}": 1000 * seconds for what, seconds in taken.items()}
    return [Figure(name, name, ms, "<=", 2.0, "ms CPU") for name, ms in names.items()]


def day_of_all(visits: Sequence[Visit], first: int, price: Sequence[float], max_w: int) -> Problem:
    """All of them on one day, each at its time of day; who stays past midnight stays until it."""
    edges = [(first + 3 * quarter) * STEP_MS for quarter in range(QUARTERS + 1)]
    rows = []
    for visit in visits:
        start = first + (visit.arrival - first) % STEPS_PER_DAY
        end = start + visit.departure - visit.arrival
        rows.append((visit.need_wh / 1000, start * STEP_MS, end * STEP_MS, max_w / 1000, 1.0))
    count = len(rows)
    limit = np.full(QUARTERS, FEEDER_SHARE * SITE_W * count / FEEDERS / 1000)
    return Problem(
        hours=np.full(QUARTERS, 3 * STEP_MS / MS_PER_HOUR),
        price=np.asarray(price[: 3 * QUARTERS : 3]),
        base=np.zeros(QUARTERS),
        pv=np.zeros(QUARTERS),
        cap=np.full(QUARTERS, SITE_W * count / 1000),
        demands=demands_of(rows, edges),
        nodes=[NodeRow(np.arange(k, count, FEEDERS, dtype=np.int32), limit) for k in range(FEEDERS)],
    )


def plugged(
    visits: Sequence[Visit], first: int, price: Sequence[float], max_w: int, volts: int
) -> tuple[list[Session], Tree, Signals]:
    """All of them there at step ``first`` with all of their stay and need before them: the worst moment."""
    sessions = [
        Session(
            id=f"s{k:04}",
            connector=f"c{k:04}",
            node=f"f{k % FEEDERS}",
            need_wh=visit.need_wh,
            arrival_ms=first * STEP_MS,
            departure_ms=(first + visit.departure - visit.arrival) * STEP_MS,
            max_w=max_w,
            volts=volts,
        )
        for k, visit in enumerate(visits)
    ]
    site_w = SITE_W * len(visits)
    feeder_w = int(FEEDER_SHARE * site_w / FEEDERS)
    nodes = [Node(id="site", cap_w=int(site_w))]
    nodes += [Node(id=f"f{k}", parent="site", cap_w=feeder_w) for k in range(FEEDERS)]
    return sessions, Tree(nodes), Signals(price=Series(first * STEP_MS, STEP_MS, tuple(price)))


def _seconds(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(RUNS):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return median(taken)
