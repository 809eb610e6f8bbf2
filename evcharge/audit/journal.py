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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from evcharge.audit.attest import Attestor
from evcharge.audit.files import Files
from evcharge.audit.record import HEADER_SIZE, MARK, encode
from evcharge.audit.segments import DRAFT_PREFIX, SPARE, Segment, segment_name
from evcharge.audit.threads import Joinable, SystemThreads, Threads
from evcharge.tally import Buckets

# The next segment is made as soon as the one before it is in use: it is the room that running sessions are sure of. On
# a disk that has no room for it this is looked at again after so long, seconds; the open segment takes some more.
PREPARE_AGAIN_S = 1.0
# Least time from the start of one commit to the next, seconds, unless ENOUGH records wait. A sync costs a disk and two
# changes of thread; at thousands of small ones a second these were a third of what a handshake takes.
PACE_S = 0.002
ENOUGH = 32


# Upper ends of the buckets of commits by their records: ENOUGH make one, a site that comes back a thousand.
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096)


class JournalFailed(Exception):
    """The log takes no more events: the disk failed, or it was closed. Stop, and start into a recovery."""


class Written:
    """What the writer thread did, for whoever looks; seconds, records, bytes."""

    __slots__ = ("batch", "bytes", "commit_s", "sync_s")

    def __init__(self) -> None:
        self.commit_s = Buckets()
        """From the first record of a commit until all of it was durable."""
        self.sync_s = Buckets()
        """What the disk took of that."""
        self.batch = Buckets(BATCHES)
        """Records of a commit."""
        self.bytes = 0


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
        attestor: Attestor | None = None,
        threads: Threads | None = None,
    ) -> None:
        """For ``recover`` only: ``segment`` is the open one, durable, and holds everything up to ``last``."""
        self.durable = last
        """Highest sequence number that no crash can take away."""
        self.last = last
        """Highest sequence number given out."""
        self._directory = directory
        self._files = files
        self._threads = threads or SystemThreads()
        self._now = self._threads.monotonic
        self._lock: int | None = lock
        self._segment = segment
        self._spare: Segment | None = None
        self._prepare_after_s = float("-inf")
        self._segment_bytes = segment_bytes
        self._chain = chain
        self._attestor = attestor
        self._mark_after_s: float | None = None
        # When the newest record became durable, if it is not a mark itself.
        self._unmarked_s: float | None = None
        self._wake = self._threads.condition()
        self._pending: list[bytes] = []
        # When the oldest of these came.
        self._waits_since_s = 0.0
        self.written = Written()
        # How many pending records the writer thread waits for; it is told only then.
        self._wanted = 1
        self._closing = False
        self._error: BaseException | None = None
        self._thread: Joinable | None = None
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
            if not self._pending:
                self._waits_since_s = self._now()
            self._pending.append(data)
            if len(self._pending) == self._wanted:
                self._wake.notify()
        return seq

    @property
    def segment_bytes(self) -> int:
        """Size of a segment on the disk, unless one record needs more."""
        return self._segment_bytes

    @property
    def held(self) -> int:
        """Bytes on the disk that are reserved for records to come."""
        spare = self._spare
        return self._segment.room() + (0 if spare is None else spare.room())

    def flush(self) -> None:
        """Before ``start``: write and sync what is pending. Raises OSError."""
        if self._thread is not None:
            raise RuntimeError("the writer thread does that")
        self._write()

    def mark(self) -> int:
        """Append a record that says only that all before it is durable: after a recovery or some quiet."""
        return self.append(MARK)

    def start(
        self,
        notify: Callable[[int], None],
        failed: Callable[[BaseException], None],
        *,
        mark_after_s: float | None = None,
    ) -> None:
        """Start the writer thread. Both are called *from that thread* and must return at once.

        ``notify(seq)``: everything up to ``seq`` is durable. ``failed(error)``: once, then nothing more.
        ``mark_after_s``: after so much quiet a mark follows the last record.
        """
        if self._thread is not None or self._closing:
            raise RuntimeError("a journal is started once")
        self._notify, self._failed, self._mark_after_s = notify, failed, mark_after_s
        self._thread = self._threads.start(self._run, "evcharge-journal")

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
                self._write()
        finally:
            self._release()

    # --- the writer thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        began = float("-inf")
        try:
            while self._wait(began + PACE_S):
                began = self._now()
                self._write()
                self._prepare()
        except OSError as error:
            self._die(error)
        except BaseException as error:
            self._die(error)
            raise

    def _write(self) -> None:
        """Commit what is pending and tell; sign what is due."""
        records = self._commit()
        if records:
            self._notify(self.durable)
        now = self._now()
        if records:
            self._unmarked_s = None if is_mark(records[-1]) else now
        if self._attestor is not None:
            self._attestor.committed(records, now)
            self._attestor.attend(now)

    def _wait(self, not_before: float) -> bool:
        """Until there is something to write or to sign (True) or the journal closes and nothing is left (False).

        Until the moment ``not_before`` only ENOUGH records are something.
        """
        with self._wake:
            self._wanted = ENOUGH
            while len(self._pending) < ENOUGH and not self._closing:
                left_s = not_before - self._now()
                if left_s <= 0:
                    break
                self._wake.wait(left_s)
            self._wanted = 1
            while not self._pending and not self._closing:
                due = self._due_s()
                if due is None:
                    self._wake.wait()
                elif (left_s := due - self._now()) > 0:
                    self._wake.wait(left_s)
                else:
                    self._mark_when_due()
                    return True
            return bool(self._pending)

    def _due_s(self) -> float | None:
        """When something is due although nothing came."""
        moments = [None if self._attestor is None else self._attestor.due_s(), self._mark_s()]
        return min((moment for moment in moments if moment is not None), default=None)

    def _mark_s(self) -> float | None:
        if self._mark_after_s is None or self._unmarked_s is None or self._error is not None:
            return None
        return self._unmarked_s + self._mark_after_s

    def _mark_when_due(self) -> None:
        due = self._mark_s()
        if due is not None and self._now() >= due:
            self.append(MARK)

    def _commit(self) -> list[bytes]:
        """Everything pending becomes durable with one write and one sync (one of each per segment); what it was."""
        with self._wake:
            batch, self._pending = self._pending, []
            since_s = self._waits_since_s
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
        if batch:
            self.written.commit_s.observe(self._now() - since_s)
            self.written.batch.observe(len(batch))
        return batch

    def _flush(self, run: list[bytes]) -> None:
        if run:
            data = b"".join(run)
            self._segment.write(data)
            began_s = self._now()
            self._segment.sync()
            self.written.sync_s.observe(self._now() - began_s)
            self.written.bytes += len(data)

    def _roll(self, first_seq: int, needed: int) -> None:
        """Go on in a new segment. All of the old one is durable: that a later one exists proves it."""
        if self._spare is None:
            self._spare = self._draft()
        self._spare.ensure(needed)
        self._spare.publish(self._directory / segment_name(first_seq))
        self._segment.close()
        self._segment, self._spare = self._spare, None

    def _prepare(self) -> None:
        """Make the next segment ahead of time, after those who wait were told.

        Where it would take the disk's last room it is not tried: the log would die of it.
        """
        if self._spare is not None or self._now() < self._prepare_after_s:
            return
        if self._files.free(self._directory) <= self._segment_bytes:
            self._prepare_after_s = self._now() + PREPARE_AGAIN_S
            return
        self._spare = self._draft()

    def _draft(self) -> Segment:
        return Segment.draft(self._directory, self._files, SPARE.removeprefix(DRAFT_PREFIX), self._segment_bytes)

    def _die(self, error: BaseException) -> None:
        with self._wake:
            self._error = error
            self._pending.clear()
        self._failed(error)

    def _release(self) -> None:
        """Sign the end, and close every handle; the lock last."""
        if self._attestor is not None:
            with suppress(OSError):
                self._attestor.close(self._now(), failed=self._error is not None)
        self._segment.close()
        if self._spare is not None:
            # Nothing was written to it, and the next start makes its own.
            self._spare.close()
            with suppress(OSError):
                self._files.remove(self._spare.path)
        if self._lock is not None:
            with suppress(OSError):
                self._files.close(self._lock)
            self._lock = None


def is_mark(record: bytes) -> bool:
    """Whether an encoded record is a mark."""
    return record.startswith(MARK, HEADER_SIZE)


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
