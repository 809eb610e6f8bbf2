"""Shared by the tests of the log: write, read, and wait for facts."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from pathlib import Path

from evcharge.audit.files import Files
from evcharge.audit.journal import Journal
from evcharge.audit.record import CHAIN_0, MARK, Record, encode
from evcharge.audit.recovery import recover
from evcharge.audit.replay import End, replay

HERE = Path("log")
"""The directory of a simulated disk."""
SMALL = 512
"""A segment of a few records, in bytes."""
LIMIT_S = 20.0
"""How long a fact may take before the test fails."""


class Facts:
    """What a journal told: durable numbers and the failure, in order."""

    def __init__(self) -> None:
        self.told: queue.Queue[int | BaseException] = queue.Queue()
        self.acked = 0
        self.failures: list[BaseException] = []

    def notify(self, seq: int) -> None:
        self.acked = seq
        self.told.put(seq)

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self.told.put(error)

    def wait(self, seq: int) -> bool:
        """Wait until ``seq`` is durable (True) or the journal failed (False)."""
        while self.acked < seq:
            if isinstance(self.told.get(timeout=LIMIT_S), BaseException):
                return False
        return True


def started(journal: Journal) -> Facts:
    facts = Facts()
    journal.start(facts.notify, facts.failed)
    return facts


def read(directory: Path, files: Files) -> tuple[list[Record], End]:
    """All records and the end."""
    *records, end = replay(directory, files)
    assert all(isinstance(record, Record) for record in records)
    assert not isinstance(end, Record)
    return [record for record in records if isinstance(record, Record)], end


def events(records: Iterable[Record]) -> list[bytes]:
    """The bodies that are not marks."""
    return [record.body for record in records if record.body != MARK]


def open_journal(directory: Path, files: Files, segment_bytes: int = SMALL) -> tuple[Journal, list[tuple[int, bytes]]]:
    """Recover; what was applied comes with it."""
    applied: list[tuple[int, bytes]] = []
    journal = recover(directory, files, lambda seq, body: applied.append((seq, body)), segment_bytes=segment_bytes)
    return journal, applied


def records_bytes(bodies: Iterable[bytes], *, synced_each: bool = True) -> list[bytes]:
    """Encoded records 1, 2 …; ``synced_each``: each says that the one before it was durable."""
    chain, made = CHAIN_0, []
    for seq, body in enumerate(bodies, 1):
        data, chain = encode(seq, seq - 1 if synced_each else 0, body, chain)
        made.append(data)
    return made
