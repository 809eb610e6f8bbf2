"""All changes of a run, in one process or several, and their rows."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from typing import NamedTuple

import structlog

from tools.tamper.attacks import RECORDS
from tools.tamper.bytewise import Bytes, offsets
from tools.tamper.bytewise import rows as byte_rows
from tools.tamper.judge import Case, judge
from tools.tamper.made import make
from tools.tamper.memory import Image
from tools.tamper.pasts import PASTS
from tools.tamper.row import Row, Verdict

ATTACKS = RECORDS | PASTS
# Bytes that one process tries at a time: a second, so that progress shows and the processes end together.
CHUNK = 1_000


class Settings(NamedTuple):
    """What a run does; the same settings give the same figures."""

    seed: int = 1
    records: int = 1_000
    every: int = 1
    """Bytes: each ``every``-th; 0: none."""
    instances: int = 300
    """Of each attack on whole records; those that come out alike count once."""
    whole_every: int = 100
    """Of the bytes: how many until one is verified from the first record too …"""
    restart_every: int = 25
    """… and until a start of Central is tried on one."""


class Task(NamedTuple):
    """A piece of a run: bytes of a file, or all instances of an attack."""

    file: str = ""
    offsets: range = range(0)
    attack: str = ""
    size: int = 0
    """Changes."""


class Worker:
    """Does tasks on its own copy of the log."""

    def __init__(self, settings: Settings) -> None:
        self.made = make(settings.seed, settings.records)
        self._settings = settings
        self._bytes = Bytes(self.made)

    def tasks(self) -> list[Task]:
        """All there is to do."""
        found: list[Task] = []
        if self._settings.every:
            for file, places in offsets(self.made, self._settings.every).items():
                for begin in range(0, len(places), CHUNK):
                    chunk = places[begin : begin + CHUNK]
                    found.append(Task(file=file, offsets=chunk, size=len(chunk)))
        return found + [Task(attack=name, size=self._settings.instances) for name in ATTACKS]

    def do(self, task: Task) -> dict[str, Row]:
        """The rows of one task. Raises Unequal."""
        if task.attack:
            return {task.attack: self._attack(task.attack)}
        rows = byte_rows()
        for number, offset in enumerate(task.offsets, self._settings.seed):
            whole, started = number % self._settings.whole_every == 0, number % self._settings.restart_every == 0
            name, verdict = self._bytes.change(task.file, offset, whole=whole, started=started)
            rows[name].count(verdict, f"{task.file}:{offset}")
        return rows

    def one(self, only: str) -> tuple[str, Verdict]:
        """What `--only` names: ``file:offset`` or ``attack:number``. Raises ValueError, Unequal."""
        name, _, number = only.rpartition(":")
        if not number.isdigit():
            raise ValueError("it is an attack or a file, a colon and a number")
        if name in ATTACKS:
            return name, judge(self._case(name, int(number)), self.made.signer, self.made.segment_bytes)
        if name not in offsets(self.made, 1) or int(number) >= len(self.made.image[name]):
            raise ValueError(f"no attack, and no byte of a file of this log, is called {only}")
        return self._bytes.change(name, int(number), whole=True, started=True)

    def _attack(self, name: str) -> Row:
        row = Row(name, ATTACKS[name][0])
        known: set[bytes] = set()
        for number in range(self._settings.instances):
            case = self._case(name, number)
            found = _fingerprint(case.image)
            if found not in known and case.image != self.made.image:
                known.add(found)
                row.count(judge(case, self.made.signer, self.made.segment_bytes), f"{name}:{number}")
        return row

    def _case(self, name: str, number: int) -> Case:
        return ATTACKS[name][1](self.made, random.Random(f"{self._settings.seed}/{name}/{number}"))


def run(settings: Settings, processes: int = 1) -> Iterator[tuple[int, int, dict[str, Row]]]:
    """(changes done, changes in all, all rows so far) after each piece. Raises Unequal."""
    worker = Worker(settings)
    tasks = worker.tasks()
    rows = byte_rows() if settings.every else {}
    rows |= {name: Row(name, what) for name, (what, _) in ATTACKS.items()}
    done, total = 0, sum(task.size for task in tasks)
    for task, found in zip(tasks, _all(worker, tasks, settings, processes), strict=True):
        done += task.size
        for name, row in found.items():
            rows[name].add(row)
        yield done, total, rows


def _all(worker: Worker, tasks: Sequence[Task], settings: Settings, processes: int) -> Iterator[dict[str, Row]]:
    if processes == 1:
        yield from map(worker.do, tasks)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (settings,)) as pool:
        yield from pool.map(_do, tasks)


_WORKERS: list[Worker] = []
"""Of a process of a pool: its only one."""


def quiet() -> None:
    """No log lines: witnesses say what they think of each checkpoint, and many are wrong on purpose."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _begin(settings: Settings) -> None:
    quiet()
    _WORKERS.append(Worker(settings))


def _do(task: Task) -> dict[str, Row]:
    return _WORKERS[0].do(task)


def _fingerprint(image: Image) -> bytes:
    whole = sha256()
    for name, data in sorted(image.items()):
        whole.update(b"%s %d " % (name.encode(), len(data)) + data)
    return whole.digest()
