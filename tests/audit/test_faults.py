"""EIO, ENOSPC and a crash at every call: nothing acknowledged is lost, nothing is acknowledged afterwards."""

from __future__ import annotations

import errno
import random

import pytest

from evcharge.audit.journal import Journal, JournalFailed
from evcharge.audit.record import MARK
from evcharge.audit.replay import Corrupt
from tests.audit.support import HERE, Facts, events, open_journal, read, started
from tools.simulate.disk import Disk, Fault

BODIES = [b"event %02d" % number + b"." * (number * 7 % 90) for number in range(24)]
POWER_LOSSES = 6


def run(disk: Disk) -> tuple[int, int, Facts]:
    """Open and write in batches of one to three, waiting for each: (acknowledged, appended, facts)."""
    facts = Facts()
    acked = appended = 0
    try:
        journal, _ = open_journal(HERE, disk)
    except OSError:
        return 0, 0, facts
    journal.start(facts.notify, facts.failed)
    appended = write(journal, facts)
    journal.close()
    acked = facts.acked
    return acked, appended, facts


def write(journal: Journal, facts: Facts) -> int:
    appended, place, size = 0, 0, 1
    while place < len(BODIES):
        for body in BODIES[place : place + size]:
            try:
                appended = journal.append(body)
            except JournalFailed:
                return appended
        place += size
        size = size % 3 + 1
        if not facts.wait(appended):
            with pytest.raises(JournalFailed):
                journal.append(b"more")
    return appended


def check(disk: Disk, acked: int) -> None:
    """Whatever is on this disk, every acknowledged event is read back, in order, and the log can go on."""
    records, end = read(HERE, disk)
    assert not isinstance(end, Corrupt), end
    assert len(records) >= acked
    assert events(records) == BODIES[: len(events(records))]
    if acked:
        assert len(events(records)) >= acked - 1, "the first record is the mark of the recovery"
    journal, applied = open_journal(HERE, disk)
    assert len(applied) == len(records) + 1
    facts = started(journal)
    assert facts.wait(journal.append(b"afterwards"))
    journal.close()
    assert disk.open_handles == 0
    after, _ = read(HERE, disk)
    assert events(after) == [*events(records), b"afterwards"]


def calls_of_a_run() -> list[str]:
    disk = Disk()
    acked, appended, facts = run(disk)
    assert acked == appended == len(BODIES) + 1
    assert not facts.failures
    return disk.calls


CALLS = calls_of_a_run()


def test_the_run_makes_every_kind_of_call() -> None:
    assert {"create", "allocate", "pwrite", "fdatasync", "fsync", "rename", "sync_directory", "close"} <= set(CALLS)
    assert CALLS.count("rename") > 5


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_at_every_call(number: int) -> None:
    failures = 0
    for at in range(1, len(CALLS) + 1):
        disk = Disk(Fault(at, number))
        acked, appended, facts = run(disk)
        assert len(facts.failures) <= 1, "failed is called once"
        if facts.failures:
            failures += 1
            assert isinstance(facts.failures[0], OSError)
            assert facts.failures[0].errno == number
            assert acked == facts.acked <= appended
        disk.fault = None
        assert disk.open_handles == 0, f"call {at}: {CALLS[at - 1]}"
        # The process died of it; the machine, and its cache that may lie, lives on.
        check(disk.kill(), acked)
        for seed in range(POWER_LOSSES):
            check(disk.power_loss(random.Random(at * 100 + seed)), acked)
    assert failures > len(CALLS) // 2


def test_a_crash_at_every_call_with_what_was_not_synced_lost() -> None:
    for at in range(1, len(CALLS) + 1):
        disk = Disk(Fault(at, sticky=True))
        acked, _, _ = run(disk)
        for seed in range(POWER_LOSSES):
            check(disk.power_loss(random.Random(at * 100 + seed)), acked)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("sticky", [False, True])
def test_errors_and_crashes_at_every_call_of_a_recovery(torn: bool, sticky: bool) -> None:
    """The state before: EIO at the last sync, so that memory shows what the disk does not have."""
    at = max(place for place, call in enumerate(CALLS, 1) if call == "fdatasync")
    before = Disk(Fault(at))
    acked, _, _ = run(before)
    before.fault = None
    if torn:
        name = max(before.names)
        inode = before.names[name]
        used = len(bytes(inode.seen).rstrip(b"\0"))
        inode.seen[used - 9 : used] = bytes(9)
    counting = before.kill()
    open_journal(HERE, counting)[0].close()
    for call in range(1, len(counting.calls) + 1):
        disk = before.kill()
        disk.fault = Fault(call, errno.EIO, sticky)
        shown: list[bytes] | None
        try:
            journal, applied = open_journal(HERE, disk)
        except OSError:
            shown = None
        else:
            shown = [body for _, body in applied if body != MARK]
            journal.close()
        assert disk.open_handles == 0, f"call {call}: {counting.calls[call - 1]}"
        disk.fault = None
        for seed in range(POWER_LOSSES):
            after = disk.power_loss(random.Random(call * 100 + seed))
            if shown is not None:
                records, _ = read(HERE, after)
                assert events(records) == shown, "what a recovery has shown stays, whatever the cache said"
            check(after, acked)
        if not sticky:
            check(disk.kill(), acked)


@pytest.mark.parametrize("seed", range(30))
def test_power_lost_again_and_again_at_random_calls(seed: int) -> None:
    chance = random.Random(seed)
    disk = Disk()
    history: list[bytes] = []
    for _ in range(8):
        disk.fault = Fault(chance.randint(1, 60), sticky=True)
        disk.largest_write = chance.choice([5, 64, 1 << 20])
        acked: list[bytes] = []
        try:
            journal, applied = open_journal(HERE, disk)
        except OSError:
            pass
        else:
            assert [body for _, body in applied if body != MARK][: len(history)] == history
            history = [body for _, body in applied if body != MARK]
            facts = started(journal)
            number = 0
            while number < 40:
                number += 1
                body = b"%d:%d" % (chance.getrandbits(30), number)
                try:
                    seq = journal.append(body)
                except JournalFailed:
                    break
                acked.append(body)
                if not facts.wait(seq):
                    acked.pop()
                    break
            journal.close()
        history += acked
        disk = disk.power_loss(chance)
    _, applied = open_journal(HERE, disk)
    assert [body for _, body in applied if body != MARK][: len(history)] == history
