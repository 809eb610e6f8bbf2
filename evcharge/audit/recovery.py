"""From whatever is on the disk to a log that can be written: replay, judge, repair, mark. FORMAT.md §6."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from evcharge.audit import repair
from evcharge.audit.attest import Attestor
from evcharge.audit.files import Files
from evcharge.audit.journal import Journal
from evcharge.audit.record import MARK, Record
from evcharge.audit.replay import FROM_THE_FIRST, CleanEnd, Corrupt, End, Start, TornTail, replay
from evcharge.audit.segments import SEGMENT_BYTES, Segment, remove_drafts, segment_name
from evcharge.audit.threads import Threads


class LogInUse(Exception):
    """Another process holds the log."""


class CorruptLog(Exception):
    """Something that was durable is damaged or missing. ``end`` says where and why."""

    def __init__(self, end: Corrupt) -> None:
        super().__init__(
            f"the audit log is damaged: {end.file} at offset {end.offset}, record {end.seq}: {end.why}. "
            "Nothing was changed. Keep a copy of the whole folder, put back the last good copy of this file "
            "(or of the folder) and start again; starting with an empty folder begins a new history."
        )
        self.end = end


def recover(
    directory: Path,
    files: Files,
    apply: Callable[[int, bytes], None],
    *,
    segment_bytes: int = SEGMENT_BYTES,
    attestor: Attestor | None = None,
    start: Start = FROM_THE_FIRST,
    threads: Threads | None = None,
) -> Journal:
    """Replay the log through ``apply(seq, body)``, make its end sound, append a mark; ready for ``start``.

    The new mark goes through ``apply`` as well, so that the state is what the next replay will give;
    everything is durable at return. A missing directory is made (0700). ``start``: behind a snapshot that was applied
    already; ``threads``: where the writer runs, by default a thread of this process.
    Raises LogInUse, CorruptLog (nothing was changed), OSError (the disk cannot be read or written).
    """
    files.make_directory(directory)
    try:
        lock = files.lock(directory)
    except BlockingIOError:
        raise LogInUse(
            f"another process writes the audit log in {directory}: stop it first, or use another folder."
        ) from None
    try:
        end, last, chain = _replay(directory, files, apply, attestor, start)
        remove_drafts(directory, files)
        segment = _open_segment(directory, files, end, segment_bytes)
    except BaseException:
        if attestor is not None:
            attestor.abandon()
        with suppress(OSError):
            files.close(lock)
        raise
    journal = Journal(directory, files, lock, segment, segment_bytes, last, chain, attestor, threads)
    try:
        _make_ready(attestor)
        seq = journal.mark()
        journal._write()
        apply(seq, MARK)
    except BaseException:
        journal._release()
        raise
    return journal


def _make_ready(attestor: Attestor | None) -> None:
    wrong = None if attestor is None else attestor.ready()
    if wrong is not None:
        raise CorruptLog(wrong)


def _replay(
    directory: Path, files: Files, apply: Callable[[int, bytes], None], attestor: Attestor | None, start: Start
) -> tuple[CleanEnd | TornTail, int, bytes]:
    """The end, the last sequence number and the chain after it. Raises CorruptLog."""
    last, chain = start.seq - 1, start.chain
    end: End | None = None
    if attestor is not None:
        attestor.begin()
    for item in replay(directory, files, start):
        if isinstance(item, Record):
            if attestor is not None:
                attestor.replayed(item)
            apply(item.seq, item.body)
            last, chain = item.seq, item.chain
        else:
            end = item
    if attestor is not None and not isinstance(end, Corrupt):
        wrong = attestor.judged(last)
        if wrong is not None and isinstance(end, TornTail):
            # What looks like a cut write had been durable: that is where the damage is.
            wrong = Corrupt(end.file, end.offset, end.seq, f"{end.why}, and {wrong.why}")
        end = wrong or end
    if isinstance(end, Corrupt):
        raise CorruptLog(end)
    assert end is not None, "a replay ends with an end"
    return end, last, chain


def _open_segment(directory: Path, files: Files, end: CleanEnd | TornTail, segment_bytes: int) -> Segment:
    """The segment that takes the next record: a new file in any case."""
    if end.file is None:
        path = directory / segment_name(end.seq)
        segment = Segment.draft(directory, files, path.name, segment_bytes)
        try:
            segment.publish(path)
        except BaseException:
            segment.close()
            raise
        return segment
    if isinstance(end, TornTail):
        repair.keep_broken(end.file, files)
    return repair.rewrite(end.file, files, end.offset, segment_bytes)
