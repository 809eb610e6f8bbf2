"""EIO and ENOSPC at every call of a signed log's run: it stops each time, nothing is acknowledged after, nothing lost.

On virtual time (``tools.simulate``), so that the calls of a run are the same ones each time: records alone and in
crowds, several segments, marks after quiet, a checkpoint each second, the tree beside it, the end signed.
"""

from __future__ import annotations

import asyncio
import errno
import random
from bisect import bisect_right

import pytest

from evcharge.audit.attest import Attestor
from evcharge.audit.control import signing_key_body
from evcharge.audit.journal import Journal, JournalFailed
from evcharge.audit.note import Signer
from evcharge.audit.record import MARK
from evcharge.audit.recovery import recover
from evcharge.audit.verify import verify
from tests.audit.support import HERE
from tools.simulate.disk import Disk, Fault
from tools.simulate.loop import VirtualLoop
from tools.simulate.threads import GreenThreads

pytestmark = pytest.mark.tool

SIGNER = Signer("evcharge/every-call", b"k" * 32)
KEY = signing_key_body(SIGNER.verifier, None)
BODIES = [b"event %03d" % number + b"." * (number * 13 % 150) for number in range(180)]
SEGMENT = 2_048


class Run:
    """One life of a log on a disk, and what its writer was told."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.acked = 0
        """Bodies that were acknowledged."""
        self.refused = False
        """The start ended with an error."""
        self.failures: list[BaseException] = []
        self.late = 0
        """Acknowledgements after a failure."""
        self._appended: list[int] = []
        self.closing = 0
        """Calls before the end began."""
        loop = VirtualLoop()
        loop.threads = GreenThreads(loop)
        self._loop = loop
        try:
            loop.run_until_complete(self._live())
        finally:
            loop.bury()

    async def _live(self) -> None:
        try:
            journal, self.attestor = opened(self.disk, self._loop)
        except OSError:
            self.refused = True
            return
        journal.start(self._durable, self.failures.append, mark_after_s=0.1)
        for number, body in enumerate(BODIES):
            try:
                self._appended.append(journal.append(body))
            except JournalFailed:
                break
            if number % 3 == 2:
                await asyncio.sleep(0.01)
            if number % 10 == 9:
                # A mark, and now and then a checkpoint.
                await asyncio.sleep(0.4)
        await asyncio.sleep(2.0)
        if self.failures:
            with pytest.raises(JournalFailed):
                journal.append(b"after the failure")
        self.closing = len(self.disk.calls)
        await self._loop.run_in_executor(None, journal.close)

    def _durable(self, seq: int) -> None:
        self.late += bool(self.failures)
        self.acked = bisect_right(self._appended, seq)


def opened(disk: Disk, loop: VirtualLoop | None = None) -> tuple[Journal, Attestor]:
    attestor = Attestor(HERE, disk, SIGNER)
    threads = None if loop is None else loop.threads
    journal = recover(HERE, disk, lambda _seq, _body: None, segment_bytes=SEGMENT, attestor=attestor, threads=threads)
    try:
        if attestor.key is None:
            journal.append(KEY)
            journal.flush()
    except BaseException:
        journal.close()
        raise
    attestor.signing = True
    return journal, attestor


def kept(disk: Disk) -> list[bytes]:
    """What a start on this disk finds, which then goes on and verifies."""
    bodies: list[bytes] = []
    attestor = Attestor(HERE, disk, SIGNER)
    journal = recover(HERE, disk, lambda _seq, body: bodies.append(body), segment_bytes=SEGMENT, attestor=attestor)
    journal.close()
    assert verify(HERE, disk).damage is None
    assert disk.open_handles == 0
    return [body for body in bodies if body not in (MARK, KEY)]


WHOLE = Run(Disk())
CALLS = WHOLE.disk.calls


def test_the_run_is_long_and_makes_every_kind_of_call() -> None:
    assert len(CALLS) >= 300 and not WHOLE.failures and not WHOLE.refused
    assert WHOLE.acked == len(BODIES)
    assert kept(WHOLE.disk.kill()) == BODIES
    assert {"create", "allocate", "pwrite", "fdatasync", "fsync", "rename", "sync_directory", "free"} <= set(CALLS)
    assert CALLS.count("rename") > 6 and b"evcharge/every-call" in bytes(WHOLE.disk.names["checkpoints"].kept)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_it_stops_at_every_call_and_nothing_is_acknowledged_after(number: int) -> None:
    stopped = 0
    for at in range(1, len(CALLS) + 1):
        run = Run(Disk(Fault(at, number)))
        call = f"call {at}, {CALLS[at - 1]}"
        # To give back a handle, and to sign the end when all is durable: a failure there takes nothing away.
        harmless = CALLS[at - 1] == "close" or at > WHOLE.closing
        assert run.refused or run.failures or harmless, call
        stopped += bool(run.refused or run.failures)
        assert len(run.failures) <= 1 and not run.late, call
        if run.failures:
            assert isinstance(run.failures[0], OSError) and run.failures[0].errno == number, call
        run.disk.fault = None
        assert run.disk.open_handles == 0, call
        # The process is gone and the machine lives on, with a cache that may lie; or the machine is gone as well.
        for disk in (run.disk.kill(), run.disk.power_loss(random.Random(at)), run.disk.power_loss(random.Random(-at))):
            found = kept(disk)
            assert found == BODIES[: len(found)] and len(found) >= run.acked, call
    assert stopped > 0.85 * len(CALLS)
