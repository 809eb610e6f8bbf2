"""The log, open for writing: group commit from one writer thread. FORMAT.md §7.

The loop calls ``append``: it numbers and chains the record and touches no disk. The writer thread takes
all that is pending, writes it at once, syncs once, raises ``durable`` and calls ``notify``. A batch
forms while the one before it is being synced, and for ``PACE_S`` from its beginning: a lone record is written at
once, many that trickle in share a sync. After the first error the log is dead: nothing is tried again and nothing
more is acknowledged.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from evcharge.audit import repair
from evcharge.audit.files import Files
from evcharge.audit.record import CHAIN_0, FIRST_SEQ, MARK, Record, encode
from evcharge.audit.replay import CleanEnd, Corrupt, End, TornTail, replay
from evcharge.audit.segments import SEGMENT_BYTES, Segment, remove_drafts, segment_name

# The next segment is made when this share of the open one is used: long before it is needed.
PREPARE_AT = 0.5
# Least time from the start of one commit to the next, seconds, unless ENOUGH records wait. A sync costs a disk and two
# changes of thread; at thousands of small ones a second these were a third of what a handshake takes.
PACE_S = 0.002
ENOUGH = 32
_SPARE = "next.log"


class JournalFailed(Exception):
    """The log takes no more events: the disk failed, or it was closed. Stop, and start into a recovery."""


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


class Journal:
    """Made by ``recover``. ``append`` belongs to one thread, the loop; ``durable`` may be read from any."""

    def __init__(
        self,
        directory: Path,
        files: Files,
        lock: int,
        segment: Segment,
        segment_bytes: int,
        last: int,
        chain: bytes,
    ) -> None:
        """For ``recover`` only: ``segment`` is the open one, durable, and holds everything up to ``last``."""
        self.durable = last
        """Highest sequence number that no crash can take away."""
        self.last = last
        """Highest sequence number given out."""
        self._directory = directory
        self._files = files
        self._lock: int | None = lock
        self._segment = segment
        self._spare: Segment | None = None
        self._segment_bytes = segment_bytes
        self._chain = chain
        self._wake = threading.Condition()
        self._pending: list[bytes] = []
        # How many pending records the writer thread waits for; it is told only then.
        self._wanted = 1
        self._closing = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._notify: Callable[[int], None] = _ignore
        self._failed: Callable[[BaseException], None] = _ignore

    def append(self, body: bytes) -> int:
        """Number, chain and queue one event; returns its sequence number. No I/O.

        Raises JournalFailed when the log is dead or closed, ValueError for a body above 1 MiB.
        """
        with self._wake:
            if self._error is not None:
                raise JournalFailed(f"the audit log failed: {self._error}") from self._error
            if self._closing:
                raise JournalFailed("the audit log is closed")
            seq = self.last + 1
            data, self._chain = encode(seq, self.durable, body, self._chain)
            self.last = seq
            self._pending.append(data)
            if len(self._pending) == self._wanted:
                self._wake.notify()
        return seq

    def mark(self) -> int:
        """Append a record that says only that all before it is durable: after a recovery or some quiet."""
        return self.append(MARK)

    def start(self, notify: Callable[[int], None], failed: Callable[[BaseException], None]) -> None:
        """Start the writer thread. Both are called *from that thread* and must return at once.

        ``notify(seq)``: everything up to ``seq`` is durable. ``failed(error)``: once, then nothing more.
        """
        if self._thread is not None or self._closing:
            raise RuntimeError("a journal is started once")
        self._notify, self._failed = notify, failed
        self._thread = threading.Thread(target=self._run, name="evcharge-journal", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write and sync what is pending (and notify), then give the log back. Blocks; again: does nothing.

        After a failure it only closes: what is above ``durable`` is not promised.
        """
        with self._wake:
            if self._closing:
                return
            self._closing = True
            self._wake.notify()
        try:
            if self._thread is not None:
                self._thread.join()
            else:
                self._commit()
        finally:
            self._release()

    # --- the writer thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        began = float("-inf")
        try:
            while self._wait(began + PACE_S):
                began = time.monotonic()
                self._commit()
                self._notify(self.durable)
                self._prepare()
        except OSError as error:
            self._die(error)
        except BaseException as error:
            self._die(error)
            raise

    def _wait(self, not_before: float) -> bool:
        """Until there is something to write (True) or the journal closes and nothing is left (False).

        Until the moment ``not_before`` only ENOUGH records are something.
        """
        with self._wake:
            self._wanted = ENOUGH
            while len(self._pending) < ENOUGH and not self._closing:
                left_s = not_before - time.monotonic()
                if left_s <= 0:
                    break
                self._wake.wait(left_s)
            self._wanted = 1
            while not self._pending and not self._closing:
                self._wake.wait()
            return bool(self._pending)

    def _commit(self) -> None:
        """Everything pending becomes durable with one write and one sync (one of each per segment)."""
        with self._wake:
            batch, self._pending = self._pending, []
        seq = self.durable
        run: list[bytes] = []
        size = 0
        for data in batch:
            if size + len(data) > self._segment.room():
                self._flush(run)
                self._roll(seq + 1, len(data))
                run, size = [], 0
            run.append(data)
            size += len(data)
            seq += 1
        self._flush(run)
        self.durable = seq

    def _flush(self, run: list[bytes]) -> None:
        if run:
            self._segment.write(b"".join(run))
            self._segment.sync()

    def _roll(self, first_seq: int, needed: int) -> None:
        """Go on in a new segment. All of the old one is durable: that a later one exists proves it."""
        if self._spare is None:
            self._spare = self._draft()
        self._spare.ensure(needed)
        self._spare.publish(self._directory / segment_name(first_seq))
        self._segment.close()
        self._segment, self._spare = self._spare, None

    def _prepare(self) -> None:
        """Make the next segment ahead of time, after those who wait were told."""
        if self._spare is None and self._segment.offset >= self._segment.capacity * PREPARE_AT:
            self._spare = self._draft()

    def _draft(self) -> Segment:
        return Segment.draft(self._directory, self._files, _SPARE, self._segment_bytes)

    def _die(self, error: BaseException) -> None:
        with self._wake:
            self._error = error
            self._pending.clear()
        self._failed(error)

    def _release(self) -> None:
        """Close every handle; the lock last."""
        self._segment.close()
        if self._spare is not None:
            self._spare.close()
        if self._lock is not None:
            with suppress(OSError):
                self._files.close(self._lock)
            self._lock = None


def recover(
    directory: Path,
    files: Files,
    apply: Callable[[int, bytes], None],
    *,
    segment_bytes: int = SEGMENT_BYTES,
) -> Journal:
    """Replay the log through ``apply(seq, body)``, make its end sound, append a mark; ready for ``start``.

    The new mark goes through ``apply`` as well, so that the state is what the next replay will give;
    everything is durable at return. A missing directory is made (0700).
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
        end, last, chain = _replay(directory, files, apply)
        remove_drafts(directory, files)
        segment = _open_segment(directory, files, end, segment_bytes)
    except BaseException:
        with suppress(OSError):
            files.close(lock)
        raise
    journal = Journal(directory, files, lock, segment, segment_bytes, last, chain)
    try:
        seq = journal.mark()
        journal._commit()
        apply(seq, MARK)
    except BaseException:
        journal._release()
        raise
    return journal


def _replay(
    directory: Path, files: Files, apply: Callable[[int, bytes], None]
) -> tuple[CleanEnd | TornTail, int, bytes]:
    """The end, the last sequence number and the chain after it. Raises CorruptLog."""
    last, chain = FIRST_SEQ - 1, CHAIN_0
    end: End | None = None
    for item in replay(directory, files):
        if isinstance(item, Record):
            apply(item.seq, item.body)
            last, chain = item.seq, item.chain
        else:
            end = item
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


def _ignore(_: object) -> None:
    """Nobody listens yet."""


def describe(error: BaseException, directory: Path) -> str:
    """One sentence for the operator: why the log died and what to do."""
    if not isinstance(error, OSError):
        return f"the audit log in {directory} stopped on an unexpected error: {error!r}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {directory} is full: free some space, start again; nothing acknowledged is lost."
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"the disk of {directory} fails ({reason}): check it, then start again; nothing acknowledged is lost."
