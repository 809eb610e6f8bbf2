"""What the length of a log costs: checking it, starting on it, proving a record. ``python -m tools.bench log``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from evcharge.audit import merkle
from evcharge.audit.attest import Attestor
from evcharge.audit.files import OsFiles
from evcharge.audit.journal import Journal
from evcharge.audit.keys import CURRENT, load
from evcharge.audit.note import Checkpoint, write_note
from evcharge.audit.verify import verify
from evcharge.central.recall import recall
from evcharge.central.snapshots import make_snapshot
from tools.bench.long_log import Site

# Events behind the snapshot, for the start that goals speak of.
TAIL = 100_000
# Proofs and checkpoints that are timed.
TRIES = 200
# Records that may wait for the writer thread while a log is made.
AHEAD = 50_000

Tell = Callable[[str], None]


class Figure(NamedTuple):
    """One measurement and its goal."""

    name: str
    what: str
    value: float
    sense: str
    goal: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the goal was reached."""
        return self.value <= self.goal if self.sense == "<=" else self.value >= self.goal


class Started(msgspec.Struct):
    """What a start in a process of its own says."""

    records: int
    since: int
    seconds: float


def measure(folder: Path, records: int, tell: Tell) -> list[Figure]:
    """Make a log of ``records`` events, and measure. Raises OSError, CalledProcessError."""
    data = folder / "data"
    _make(data, records, tell)
    tell("verifying")
    began = time.process_time()
    report = verify(data / "log", OsFiles())
    verified = report.records / (time.process_time() - began)
    if report.damage is not None:
        raise RuntimeError(f"the log that was made is damaged: {report.damage}")
    tell("starting without a snapshot")
    full = _start(data)
    tell("making a snapshot")
    last = report.records
    make_snapshot(data, OsFiles(), up_to=max(2, last - TAIL))
    tell("starting from a snapshot")
    tail = _start(data)
    tell("proofs and checkpoints")
    proof_s, checkpoint_s = _pauses(data)
    return [
        Figure("verified_per_cpu_s", "records verified", verified, ">=", 80_000, "/CPU-s"),
        Figure("start_full_s", f"start from {full.records:,} records, no snapshot", full.seconds, "<=", 15, "s"),
        Figure("start_tail_s", f"start from a snapshot and {tail.records:,} records", tail.seconds, "<=", 2, "s"),
        Figure("proof_ms", "longest proof of a record", proof_s * 1000, "<=", 5, "ms"),
        Figure("checkpoint_ms", "longest checkpoint", checkpoint_s * 1000, "<=", 5, "ms"),
    ]


def _make(data: Path, records: int, tell: Tell) -> None:
    recalled = recall(data, OsFiles(), origin="evcharge/bench", entropy=os.urandom)
    journal, failures = recalled.journal, list[BaseException]()
    journal.start(lambda _seq: None, failures.append)
    for number, body in enumerate(Site().bodies(records)):
        journal.append(body)
        if number % 10_000 == 0:
            tell(f"making a log: {number:,} of {records:,} records")
            _keep_up(journal)
    journal.close()
    if failures:
        raise failures[0]


def _keep_up(journal: Journal) -> None:
    while journal.last - journal.durable > AHEAD:
        time.sleep(0.01)


def _start(data: Path) -> Started:
    """From the start of a process to a state that could serve."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tools.bench.log", str(data)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - began
    said = msgspec.json.decode(done.stdout, type=Started)
    return Started(said.records, said.since, seconds)


def _pauses(data: Path) -> tuple[float, float]:
    """Seconds of the slowest of many proofs, and of many checkpoints, at this size."""
    files = OsFiles()
    signer = load(data / "log-key", CURRENT, files)
    assert signer is not None
    recalled = recall(data, files, origin="evcharge/bench", entropy=os.urandom)
    try:
        tree, worst_proof, worst_checkpoint = recalled.attestor.tree, 0.0, 0.0
        for number in range(TRIES):
            seq = 1 + number * (tree.size - 1) // TRIES
            began = time.perf_counter()
            proof = tree.inclusion(seq, tree.size)
            worst_proof = max(worst_proof, time.perf_counter() - began)
            assert len(proof) <= merkle.MAX_PROOF
            began = time.perf_counter()
            write_note(Checkpoint(signer.verifier.name, tree.size, tree.frontier.root()).text(), [signer])
            worst_checkpoint = max(worst_checkpoint, time.perf_counter() - began)
    finally:
        recalled.journal.close()
    return worst_proof, worst_checkpoint


def main() -> None:
    """One start, in this process."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    recalled = recall(Path(sys.argv[1]), OsFiles(), origin="evcharge/bench", entropy=os.urandom)
    assert isinstance(recalled.attestor, Attestor)
    recalled.journal.close()
    sys.stdout.write(msgspec.json.encode(Started(recalled.records, recalled.seq, 0.0)).decode())


if __name__ == "__main__":
    main()
