"""A replay gives the state that Central had, byte for byte: of 200 logs, with and without a snapshot, in interpreters
that order their sets of strings differently.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from evcharge.audit.event_codec import decode
from evcharge.domain import events as e
from evcharge.domain.digest import fingerprint
from tests.support.generated_logs import Day, Printed, Replayed, bytes_of, lived, log_of, replay_all, write

# Its days are made once, in a minute or more where the machine has other work.
pytestmark = [pytest.mark.tool, pytest.mark.timeout(300)]

LOGS = 200
# Days that every interpreter lives again, from the first command on: what is decided is compared, not only replayed.
AGAIN = range(0, LOGS, 8)
HASH_SEEDS = ("0", "1", "4242")
ROOT = Path(__file__).parents[2]


class Logs:
    """All of them on disk, and what was true at the end of each day."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.days: list[Day] = []
        for seed in range(LOGS):
            day = lived(seed)
            write(day, folder / f"{seed:03}")
            self.days.append(day)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    return Logs(tmp_path_factory.mktemp("logs"))


def disagreeing(logs: Logs, replayed: list[Replayed]) -> list[str]:
    """Logs of which one of the replays came to another state than Central had, or did not use the snapshot."""
    assert len(replayed) == LOGS
    wrong = []
    for day, one in zip(logs.days, replayed, strict=True):
        live, live_bytes = fingerprint(day.state).hex(), bytes_of(day.state)
        same = one.whole == one.tail == live and one.whole_bytes == one.tail_bytes == live_bytes
        if not same or not one.snapshot:
            wrong.append(one.name)
    return wrong


def test_replayed_from_the_first_record_and_from_a_snapshot(logs: Logs) -> None:
    replayed = replay_all(logs.folder)
    assert not disagreeing(logs, replayed)
    assert sum(one.compared for one in replayed) == sum(len(day.said) for day in logs.days) > 3 * LOGS
    assert len({one.whole for one in replayed}) == LOGS, "no two days end alike"


def test_replayed_by_interpreters_that_hash_differently(logs: Logs) -> None:
    for hash_seed in HASH_SEEDS:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.generated_logs", logs.folder, *map(str, AGAIN)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
        )
        printed = msgspec.json.decode(done.stdout, type=Printed)
        assert not disagreeing(logs, printed.replayed), f"PYTHONHASHSEED={hash_seed}"
        assert printed.relived == [log_of(logs.days[seed]) for seed in AGAIN], f"PYTHONHASHSEED={hash_seed}"


def test_the_days_are_of_every_kind(logs: Logs) -> None:
    """A test of the test."""
    kinds: Counter[type[e.Event]] = Counter()
    for day in logs.days:
        kinds.update({type(logged.event) for body in day.log if (logged := decode(body)) is not None})
    assert not [kind.__name__ for kind in e.EVENTS if kinds[kind] < 5], "in so many logs at least"
    states = [day.state for day in logs.days]
    assert sum(1 for state in states if any(cp.holds for cp in state.charge_points.values())) > LOGS / 4
    assert sum(1 for state in states if len(state.sessions) > 3) > LOGS / 4
    assert {len(day.cps) for day in logs.days} == {3, 5, 12}
    assert sum(1 for each in logs.folder.iterdir() if len(list((each / "log").glob("audit-*.log"))) > 2) > LOGS / 4
    sizes = sorted(len(day.log) for day in logs.days)
    assert sizes[0] < 60 and sizes[LOGS // 2] > 150 and sizes[-1] > 900
