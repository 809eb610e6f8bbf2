"""The journal on real files: group commit, roll-over, the lock, closing, kill -9."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evcharge.audit import repair
from evcharge.audit.files import OsFiles
from evcharge.audit.journal import ENOUGH, JournalFailed, describe
from evcharge.audit.record import MARK, MAX_BODY, record_size
from evcharge.audit.recovery import CorruptLog, LogInUse, recover
from evcharge.audit.replay import CleanEnd, TornTail
from evcharge.audit.segments import segment_name
from tests.audit.support import HERE, LIMIT_S, Facts, events, open_journal, read, started
from tools.simulate.disk import Disk


def written(directory: Path, bodies: list[bytes], segment_bytes: int = 512) -> None:
    journal, _ = open_journal(directory, OsFiles(), segment_bytes)
    started(journal)
    for body in bodies:
        journal.append(body)
    journal.close()


def test_what_was_appended_is_replayed(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "log"
    bodies = [b"event %d" % number for number in range(40)]
    written(directory, bodies)
    journal, applied = open_journal(directory, OsFiles())
    assert [body for _, body in applied] == [MARK, *bodies, MARK]
    assert [seq for seq, _ in applied] == list(range(1, 43))
    assert journal.last == journal.durable == 42
    journal.close()
    records, end = read(directory, OsFiles())
    assert isinstance(end, CleanEnd)
    assert records[-1].durable == 41, "the mark of a recovery covers all before it"


def test_modes_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    written(directory, [b"x"] * 30)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_segments_are_full_size_and_named_by_their_first_record(tmp_path: Path) -> None:
    written(tmp_path, [b"%d" % number for number in range(50)], segment_bytes=512)
    records, _ = read(tmp_path, OsFiles())
    segments = sorted(path for path in tmp_path.iterdir() if path.name.startswith("audit-"))
    assert len(segments) > 5
    assert {path.stat().st_size for path in segments} == {512}
    seq = 1
    for path in segments:
        assert path.name == segment_name(seq)
        seq += path.read_bytes().count(b"EVR1")
    assert seq == len(records) + 1


def test_a_record_larger_than_a_segment_gets_room_of_its_own(tmp_path: Path) -> None:
    bodies = [b"small", bytes(MAX_BODY), b"small again"]
    written(tmp_path, bodies)
    records, _ = read(tmp_path, OsFiles())
    assert events(records) == bodies


def test_a_record_that_just_fits_stays_in_its_segment(tmp_path: Path) -> None:
    size = record_size(5)
    journal, _ = open_journal(tmp_path, OsFiles(), segment_bytes=record_size(len(MARK)) + 2 * size)
    for _ in range(3):
        journal.append(b"5 byt")
    journal.close()
    names = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("audit-"))
    assert names == [segment_name(1).split("/")[-1], segment_name(4).split("/")[-1]]


def test_room_for_a_large_record_is_reserved_before_it_is_written() -> None:
    disk = Disk()
    journal, _ = open_journal(HERE, disk)
    opened = len(disk.calls)
    journal.append(b"x" * 5_000)
    journal.close()
    calls = disk.calls[opened:]
    assert calls.count("allocate") == 2, "a usual segment, then more of it"
    assert calls.index("rename") > max(at for at, call in enumerate(calls) if call == "allocate")


def test_a_body_above_the_limit_is_refused_and_the_log_goes_on(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, OsFiles())
    facts = started(journal)
    with pytest.raises(ValueError, match="larger than"):
        journal.append(bytes(MAX_BODY + 1))
    assert facts.wait(journal.append(b"fine"))
    journal.close()
    assert events(read(tmp_path, OsFiles())[0]) == [b"fine"]


def test_the_second_opener_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, OsFiles())
    with pytest.raises(LogInUse, match="stop it first"):
        open_journal(tmp_path, OsFiles())
    journal.close()
    open_journal(tmp_path, OsFiles())[0].close()


def test_after_close_nothing_is_taken(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, OsFiles())
    started(journal)
    journal.close()
    journal.close()
    with pytest.raises(JournalFailed, match="closed"):
        journal.append(b"late")
    with pytest.raises(RuntimeError, match="once"):
        journal.start(lambda _seq: None, lambda _error: None)


def test_a_journal_that_was_never_started_still_writes_at_close(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, OsFiles())
    seq = journal.append(b"early")
    journal.close()
    assert journal.durable == seq
    assert events(read(tmp_path, OsFiles())[0]) == [b"early"]


def written_by(calls: list[str]) -> list[str]:
    """Of these calls those that commit records; the next segment is made beside them."""
    return [call for call in calls if call in ("pwrite", "fdatasync")]


def test_writes_that_arrive_during_a_sync_are_committed_by_one_write_and_one_sync() -> None:
    disk = Disk()
    journal, _ = open_journal(HERE, disk, segment_bytes=1 << 20)
    entered, release = threading.Event(), threading.Event()

    def hold(call: str) -> None:
        if call == "fdatasync" and not release.is_set():
            entered.set()
            assert release.wait(LIMIT_S)

    disk.on_call = hold
    facts = started(journal)
    first = journal.append(b"alone")
    assert entered.wait(LIMIT_S)
    for number in range(100):
        last = journal.append(b"%d" % number)
    assert journal.durable < first, "nothing is durable before the sync returns"
    before = len(disk.calls)
    release.set()
    assert facts.wait(last)
    assert written_by(disk.calls[before:]) == ["pwrite", "fdatasync"]
    assert journal.durable == last
    journal.close()
    records, _ = read(HERE, disk)
    assert {record.durable for record in records[2:]} == {first - 1}


def test_a_lone_record_is_written_at_once_and_those_that_trickle_in_after_it_share_a_sync(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evcharge.audit.journal.PACE_S", 3600.0)
    disk = Disk()
    journal, _ = open_journal(HERE, disk, segment_bytes=1 << 20)
    paced, wait = threading.Event(), journal._wake.wait

    def watched(timeout: float | None = None) -> bool:
        if timeout is not None and timeout > 3000:
            paced.set()
        return wait(timeout)

    monkeypatch.setattr(journal._wake, "wait", watched)
    facts = started(journal)
    opened = len(disk.calls)
    assert facts.wait(journal.append(b"alone"))
    assert paced.wait(LIMIT_S), "the writer gathers for an hour"
    assert journal._wanted == ENOUGH, "and is not woken for less"
    for number in range(ENOUGH - 1):
        journal.append(b"%d" % number)
    assert written_by(disk.calls[opened:]) == ["pwrite", "fdatasync"], "one record is missing"
    assert facts.wait(journal.append(b"enough"))
    assert written_by(disk.calls[opened:]) == ["pwrite", "fdatasync"] * 2
    journal.close()


def test_a_journal_is_started_once_and_not_after_its_end(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, OsFiles())
    started(journal)
    with pytest.raises(RuntimeError, match="once"):
        started(journal)
    journal.close()
    never, _ = open_journal(tmp_path, OsFiles())
    never.close()
    with pytest.raises(RuntimeError, match="once"):
        started(never)


def test_a_damaged_log_is_named_with_file_place_and_number(tmp_path: Path) -> None:
    written(tmp_path, [b"%d" % number for number in range(50)], segment_bytes=512)
    first = tmp_path / segment_name(1)
    data = bytearray(first.read_bytes())
    data[30] ^= 1
    first.write_bytes(data)
    with pytest.raises(CorruptLog) as caught:
        open_journal(tmp_path, OsFiles())
    assert (caught.value.end.file, caught.value.end.offset, caught.value.end.seq) == (first, 0, 1)
    assert f"{first} at offset 0, record 1" in str(caught.value) and "Nothing was changed" in str(caught.value)


def test_a_pace_below_a_second_is_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.audit.journal.PACE_S", 0.9)
    journal, _ = open_journal(HERE, Disk(), segment_bytes=1 << 20)
    paced, wait = threading.Event(), journal._wake.wait

    def watched(timeout: float | None = None) -> bool:
        if timeout is not None:
            paced.set()
        return wait(timeout)

    monkeypatch.setattr(journal._wake, "wait", watched)
    facts = started(journal)
    assert facts.wait(journal.append(b"alone"))
    assert paced.wait(LIMIT_S)
    journal.close()


def test_closing_does_not_wait_for_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.audit.journal.PACE_S", 3600.0)
    journal, _ = open_journal(HERE, Disk(), segment_bytes=1 << 20)
    facts = started(journal)
    assert facts.wait(journal.append(b"alone"))
    last = journal.append(b"waits for others")
    journal.close()
    assert journal.durable == last


def test_the_next_segment_is_there_before_it_is_needed() -> None:
    """Between making a segment and renaming it into place, at least one batch was written to the old one."""
    disk = Disk()
    journal, _ = open_journal(HERE, disk)
    opened = len(disk.calls)
    facts = started(journal)
    for number in range(60):
        assert facts.wait(journal.append(b"%d" % number))
    journal.close()
    calls = disk.calls[opened:]
    rolls = [place for place, call in enumerate(calls) if call == "rename"]
    assert len(rolls) > 5
    for place in rolls:
        made = max(at for at in range(place) if calls[at] == "create")
        assert "fdatasync" in calls[made:place]
        assert calls[place - 1] == "fdatasync", "the old segment is durable first, and nothing else is due"
        assert calls[place : place + 5] == ["rename", "sync_directory", "close", "pwrite", "fdatasync"]
    assert len(events(read(HERE, disk)[0])) == 60


def test_short_writes_are_continued() -> None:
    disk = Disk()
    disk.largest_write = 7
    journal, _ = open_journal(HERE, disk)
    facts = started(journal)
    assert facts.wait(journal.append(b"x" * 100))
    journal.close()
    assert events(read(HERE, disk)[0]) == [b"x" * 100]


def test_a_write_that_takes_nothing_is_a_failure_not_a_loop() -> None:
    disk = Disk()
    journal, _ = open_journal(HERE, disk)
    disk.largest_write = 0
    facts = started(journal)
    assert not facts.wait(journal.append(b"x"))
    with pytest.raises(JournalFailed):
        journal.append(b"y")
    journal.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unexpected_error_in_the_writer_thread_stops_the_log_as_well(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, OsFiles())
    facts = Facts()

    def broken(_seq: int) -> None:
        raise ZeroDivisionError

    journal.start(broken, facts.failed)
    journal.append(b"x")
    assert isinstance(facts.told.get(timeout=LIMIT_S), ZeroDivisionError)
    with pytest.raises(JournalFailed) as caught:
        journal.append(b"y")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    journal.close()


def test_a_failing_apply_gives_the_log_back(tmp_path: Path) -> None:
    def refuse(_seq: int, _body: bytes) -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            recover(tmp_path, OsFiles(), refuse, segment_bytes=512)
    open_journal(tmp_path, OsFiles())[0].close()


def test_a_torn_tail_is_repaired_and_kept_for_people(tmp_path: Path) -> None:
    written(tmp_path, [b"kept"], segment_bytes=4096)
    path = tmp_path / segment_name(1)
    for cycle in (1, 2):
        with path.open("r+b") as stream:
            used = len(path.read_bytes().rstrip(b"\0")) + 64
            stream.seek(used - used % 8)
            stream.write(b"EVR1 half a record")
        torn = path.read_bytes()
        journal, applied = open_journal(tmp_path, OsFiles(), 4096)
        journal.close()
        assert (2, b"kept") in applied
        kept = tmp_path / (path.name + (".broken" if cycle == 1 else ".broken-2"))
        assert kept.read_bytes().rstrip(b"\0") == torn.rstrip(b"\0")
        assert isinstance(read(tmp_path, OsFiles())[1], CleanEnd)


def test_truncation_at_every_byte_of_the_last_record_is_repaired(tmp_path: Path) -> None:
    written(tmp_path, [b"first"], segment_bytes=4096)
    journal, _ = open_journal(tmp_path, OsFiles(), 4096)
    start = len(path_data(tmp_path).rstrip(b"\0")) + 7
    start -= start % 8
    journal.append(b"the last one")
    journal.close()
    whole = path_data(tmp_path)
    end = len(whole.rstrip(b"\0"))
    for size in range(start, end):
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / segment_name(1)).write_bytes(whole[:size])
        _, before = read(tmp_path, OsFiles())
        assert isinstance(before, TornTail if size > start else CleanEnd)
        journal, applied = open_journal(tmp_path, OsFiles(), 4096)
        seq = journal.append(b"after")
        journal.close()
        records, after = read(tmp_path, OsFiles())
        assert isinstance(after, CleanEnd)
        assert [record.seq for record in records] == list(range(1, seq + 1))
        assert [body for _, body in applied] == [MARK, b"first", MARK, MARK]
        assert events(records) == [b"first", b"after"]


def path_data(directory: Path) -> bytes:
    return (directory / segment_name(1)).read_bytes()


def test_a_smaller_segment_setting_keeps_what_is_there(tmp_path: Path) -> None:
    written(tmp_path, [b"x" * 100] * 5, segment_bytes=4096)
    written(tmp_path, [b"y" * 100] * 5, segment_bytes=128)
    records, end = read(tmp_path, OsFiles())
    assert isinstance(end, CleanEnd)
    assert events(records) == [b"x" * 100] * 5 + [b"y" * 100] * 5


def test_a_segment_that_shrinks_while_it_is_copied_stops_the_recovery(tmp_path: Path) -> None:
    path = tmp_path / segment_name(1)
    path.write_bytes(b"x" * 100)
    with pytest.raises(OSError, match="shorter"):
        repair.rewrite(path, OsFiles(), 101, 512)
    assert path.read_bytes() == b"x" * 100


def test_sentences_for_the_operator() -> None:
    full = describe(OSError(errno.ENOSPC, "x"), HERE)
    assert "full" in full
    assert "free some space" in full
    assert "check it" in describe(OSError(errno.EIO, "x"), HERE)
    assert "odd" in describe(OSError("odd"), HERE)
    assert "unexpected" in describe(ZeroDivisionError(), HERE)


CHILD = """
import sys, queue
from pathlib import Path
from evcharge.audit import repair
from evcharge.audit.files import OsFiles
from evcharge.audit.recovery import recover
told = queue.Queue()
journal = recover(Path(sys.argv[1]), OsFiles(), lambda seq, body: None, segment_bytes=2048)
journal.start(told.put, lambda error: sys.exit(1))
print("ready", journal.last, flush=True)
number = 0
while True:
    for _ in range(7):
        number += 1
        seq = journal.append(b"%s %d" % (sys.argv[2].encode(), number))
    while (durable := told.get()) < seq:
        print(durable, flush=True)
    print(durable, flush=True)
"""


@pytest.mark.process
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acked = 0
    for cycle, lines in enumerate((3, 11, 40)):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(cycle)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        try:
            first = child.stdout.readline().split()
            assert first[0] == "ready"
            assert int(first[1]) > acked
            for _ in range(lines):
                acked = int(child.stdout.readline())
        finally:
            os.kill(child.pid, signal.SIGKILL)
            rest = child.stdout.read().splitlines()
            child.stdout.close()
            child.wait(LIMIT_S)
        # What was printed whole before the kill counts as well; the last line may be cut.
        acked = max([acked, *(int(line) for line in rest[:-1])])
        records, _ = read(tmp_path, OsFiles())
        assert len(records) >= acked
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        for number in range(1, lines):
            assert b"%d %d" % (cycle, number) in events(records)
    journal, applied = open_journal(tmp_path, OsFiles())
    assert len(applied) > acked
    journal.close()
