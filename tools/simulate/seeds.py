"""Many seeds, in one process or in several."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import structlog

from tools.simulate.disk_runs import DiskOutcome, DiskRun
from tools.simulate.troubles import Troubles
from tools.simulate.world import Outcome, simulate

T = TypeVar("T", Outcome, DiskOutcome)


def quiet() -> None:
    """What the system logs about troubles that are meant is no news."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


def run_system(seed: int, minutes: float, twice: int) -> Outcome:
    """One site; every ``twice``-th seed is run again and compared."""
    outcome = simulate(seed, minutes, troubles=Troubles)
    if twice and seed % twice == 0:
        again = simulate(seed, minutes, troubles=Troubles)
        outcome.repeated = 1
        if again.trace != outcome.trace:
            outcome.wrong["not repeatable"] = 1
            outcome.sentences.append("not repeatable: the same seed gave another trace")
    return outcome


def run_disk(seed: int, twice: int) -> DiskOutcome:
    """One disk; as ``run_system``."""
    outcome = DiskRun(seed).run()
    if twice and seed % twice == 0:
        outcome.repeated = 1
        if DiskRun(seed).run().trace != outcome.trace:
            outcome.wrong.append("not repeatable: the same seed gave another trace")
    return outcome


def shared(run: Callable[[int], T], seeds: Sequence[int], processes: int) -> Iterator[T]:
    """The outcomes in the order of the seeds."""
    if processes == 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), quiet) as pool:
        yield from pool.map(run, seeds)
