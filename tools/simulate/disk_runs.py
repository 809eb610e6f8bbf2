"""The log on a simulated disk: written, broken off at any call, read again, for several lives of one disk.

Promised is audit.md: what was acknowledged is there in the next life, in order; a start that finds it gone or changed
refuses; nothing is acknowledged after an error; what an outsider saw signed is never unsaid.
"""

from __future__ import annotations

import asyncio
import errno
import random
from hashlib import sha256
from pathlib import Path

import msgspec

from evcharge.audit.attest import Attestor
from evcharge.audit.checkpoints import read_checkpoints
from evcharge.audit.control import signing_key_body
from evcharge.audit.journal import Journal, JournalFailed
from evcharge.audit.note import BadNote, Signer, open_checkpoint
from evcharge.audit.record import MARK, Record
from evcharge.audit.recovery import CorruptLog, recover
from evcharge.audit.replay import replay
from evcharge.audit.verify import verify
from tools.simulate.disk import Disk, Fault
from tools.simulate.loop import Process, Stuck, VirtualLoop
from tools.simulate.threads import GreenThreads

HERE = Path("log")
# Lives of one disk, and records that each may write at most.
LIVES = (2, 6)
MOST_RECORDS = 60
# Calls of a life among which the one that fails is drawn: a life of few records makes about so many.
CALLS = 160
# How a life ends, and how often of a hundred.
ENDS = {"power lost": 30, "killed": 15, "EIO": 20, "ENOSPC": 15, "closed": 20}
MARK_AFTER_S = 0.1
# Share of disks on which, once, a bit rots between two lives.
ROT = 0.15


class DiskOutcome(msgspec.Struct, kw_only=True):
    """What one disk saw."""

    seed: int
    wrong: list[str] = []
    trace: str = ""
    repeated: int = 0
    """1: it was run twice."""
    acknowledged: int = 0
    lives: int = 0
    ends: dict[str, int] = {}
    refused: int = 0
    """Starts that refused: always after a bit had rotted."""
    rotten: int = 0
    found: int = 0
    """Rotten bits that a start passes over and a verification finds."""
    unwitnessed: int = 0
    """Rotten bits in the last records, of which nothing later says that they were durable: they read as a cut write."""
    harmless: int = 0
    """Rotten bits after which everything was there nevertheless."""


class DiskRun:
    """One disk from its seed."""

    def __init__(self, seed: int) -> None:
        self.outcome = DiskOutcome(seed=seed)
        self._dice = random.Random(f"{seed}/disk")
        self._trace = sha256()
        self._signer = Signer("evcharge/disk", self._dice.randbytes(32))
        self._segment_bytes = self._dice.choice([512, 1_024, 4_096])
        self._disk = Disk()
        self._history: list[bytes] = []
        """Bodies that have to be there, in order; a start has shown them or they were acknowledged since."""
        self._seen = b""
        """The newest checkpoint that an outsider was given."""
        self._rotten = False
        self._witnessed = 0
        """When a bit rots: how many of the records that have to be there something later calls durable."""

    def run(self) -> DiskOutcome:
        """All lives."""
        outcome = self.outcome
        rots_before = self._dice.randint(1, LIVES[1]) if self._dice.random() < ROT else 0
        for life in range(self._dice.randint(*LIVES)):
            if life and life == rots_before:
                self._rot()
            loop = VirtualLoop()
            loop.threads = GreenThreads(loop)
            end = self._dice.choices(list(ENDS), list(ENDS.values()))[0]
            outcome.lives += 1
            outcome.ends[end] = outcome.ends.get(end, 0) + 1
            try:
                alive = loop.run_until_complete(self._live(loop, end))
            except Stuck as error:
                self._wrong(f"stuck: {error}")
                alive = False
            for fault in loop.faults:
                self._wrong(f"crashed: {fault}")
            loop.bury()
            self._note(f"{end} {self._disk.calls}")
            if not alive:
                break
            lost = end == "power lost" or (end in ("EIO", "ENOSPC") and self._dice.random() < 0.5)
            self._disk = self._disk.power_loss(self._dice) if lost else self._disk.kill()
        outcome.trace = self._trace.hexdigest()
        return outcome

    def _wrong(self, sentence: str) -> None:
        self.outcome.wrong.append(f"life {self.outcome.lives}: {sentence}")
        self._note(sentence)

    def _note(self, line: str) -> None:
        self._trace.update(line.encode() + b"\n")

    def _rot(self) -> None:
        """One bit of one file is another one."""
        name = self._dice.choice(sorted(self._disk.names))
        inode = self._disk.names[name]
        if not inode.seen:
            return
        self._witnessed = self._covered()
        place, bit = self._dice.randrange(len(inode.seen)), 1 << self._dice.randrange(8)
        for data in (inode.seen, inode.kept):
            if place < len(data):
                data[place] ^= bit
        self._rotten = True
        self.outcome.rotten += 1
        self._note(f"rot {name} {place} {bit}")

    def _covered(self) -> int:
        """Of the records on the disk, how many bodies a later record or a checkpoint covers."""
        records = [item for item in replay(HERE, self._disk) if isinstance(item, Record)]
        kept, _ = read_checkpoints(HERE, self._disk)
        durable = max([records[-1].durable if records else 0, *(one.checkpoint.size for one in kept[-1:])])
        return sum(1 for record in records if record.seq <= durable and not _of_the_log(record.body))

    # --- one life -------------------------------------------------------------------------------------------------

    async def _live(self, loop: VirtualLoop, end: str) -> bool:
        """Start, write, end. False: the start refused."""
        disk, dice = self._disk, self._dice
        started = self._start(loop)
        if started is None:
            return False
        journal, attestor = started
        disk.largest_write = dice.choice([7, 64, 1 << 20, 1 << 20])
        if end in ("power lost", "EIO", "ENOSPC"):
            number = errno.ENOSPC if end == "ENOSPC" else errno.EIO
            disk.fault = Fault(len(disk.calls) + dice.randint(1, CALLS), number, sticky=end == "power lost")
        disk.on_call = lambda call: loop.threads.sleep(dice.expovariate(500.0 if "sync" in call else 5_000.0))
        process = Process("writer", "disk")
        writing = _Writing(self, loop, journal, attestor)
        task = loop.create_task(writing.run(dice.randint(1, MOST_RECORDS)), context=process.context())
        if end == "killed":
            await asyncio.sleep(dice.uniform(0.0, 0.3))
            process.alive = False
        else:
            await task
            await loop.run_in_executor(None, journal.close)
            if end != "power lost":
                self._see(attestor)
        if not writing.failed:
            self.outcome.acknowledged += len(writing.acked)
        self._history += writing.acked
        return True

    def _start(self, loop: VirtualLoop) -> tuple[Journal, Attestor] | None:
        """Recover, with everything that was promised compared; None: it refused."""
        applied: list[bytes] = []
        attestor = Attestor(HERE, self._disk, self._signer)
        try:
            journal = recover(
                HERE,
                self._disk,
                lambda _seq, body: applied.append(body),
                segment_bytes=self._segment_bytes,
                attestor=attestor,
                threads=loop.threads,
            )
        except CorruptLog as error:
            self._note(f"refused {error.end.why}")
            self.outcome.refused += 1
            if not self._rotten:
                self._wrong(f"a start refused, and nothing was rotten: {error.end}")
            return None
        if attestor.key is None:
            journal.append(signing_key_body(self._signer.verifier, None))
            journal.flush()
        attestor.signing = True
        bodies = [body for body in applied if not _of_the_log(body)]
        self._note(f"start {len(applied)} {len(bodies)}")
        unwitnessed = self._rotten and len(bodies) >= self._witnessed and self._history[: len(bodies)] == bodies
        if bodies[: len(self._history)] != self._history and not unwitnessed:
            self._wrong(f"of {len(self._history)} acknowledged records {len(bodies)} are there, or others")
        if len(bodies) < len(self._history) and unwitnessed:
            self.outcome.unwitnessed += 1
            self.outcome.harmless -= 1
        # What a start has shown stays, acknowledged or not.
        self._history = bodies
        report = verify(HERE, self._disk)
        if report.damage is not None and not self._rotten:
            self._wrong(f"a log that starts does not verify: {report.damage}")
        if self._rotten and report.damage is None:
            self.outcome.harmless += 1
        elif self._rotten:
            # An old checkpoint, of which a start looks at the root only: a verification finds it.
            self.outcome.found += 1
            journal.close()
            return None
        self._rotten = False
        self._witness(attestor)
        return journal, attestor

    def _witness(self, attestor: Attestor) -> None:
        """Does the log still begin with what was signed for an outsider?"""
        if not self._seen:
            return
        try:
            seen = open_checkpoint(self._seen, [self._signer.verifier])
        except BadNote as error:
            self._wrong(f"an outsider was given a checkpoint that cannot be read: {error}")
            return
        same = seen.size <= attestor.tree.size and attestor.tree.begins_with(seen.size, seen.root)
        if not same and seen.size <= attestor.tree.size:
            # Only the derived file may be damaged: then its nodes are made from the records again.
            attestor.mend()
            same = attestor.tree.begins_with(seen.size, seen.root)
        if not same:
            self._wrong(f"an outsider saw {seen.size} records signed, and they are not there")

    def _see(self, attestor: Attestor) -> None:
        self._seen = attestor.checkpoints.newest or self._seen


class _Writing:
    """Several writers at once; ``acked``: what they were told is durable, in the log's order."""

    def __init__(self, run: DiskRun, loop: VirtualLoop, journal: Journal, attestor: Attestor) -> None:
        self.acked: list[bytes] = []
        self.failed = False
        self._run = run
        self._loop = loop
        self._journal = journal
        self._attestor = attestor
        self._waiting: list[tuple[int, bytes, asyncio.Future[None]]] = []

    async def run(self, records: int) -> None:
        """Until all are durable or the log is dead."""
        loop, dice = self._loop, self._run._dice

        def durable_to(seq: int) -> None:
            loop.call_soon_threadsafe(self._durable, seq)

        def died(error: BaseException) -> None:
            loop.call_soon_threadsafe(self._die, error)

        self._journal.start(durable_to, died, mark_after_s=MARK_AFTER_S)
        for number in range(records):
            body = b"%d %d " % (self._run.outcome.lives, number) + bytes(dice.randrange(100))
            try:
                seq = self._journal.append(body)
            except JournalFailed:
                return
            durable: asyncio.Future[None] = loop.create_future()
            self._waiting.append((seq, body, durable))
            if dice.random() < 0.4:
                await durable
            elif dice.random() < 0.3:
                await asyncio.sleep(dice.choice([0.0, 0.001, 0.15, 1.2]))
        if self._waiting:
            await self._waiting[-1][2]

    def _durable(self, seq: int) -> None:
        if self.failed:
            self._run._wrong(f"record {seq} was acknowledged after the log had failed")
        while self._waiting and self._waiting[0][0] <= seq:
            _, body, durable = self._waiting.pop(0)
            self.acked.append(body)
            durable.set_result(None)
        self._run._see(self._attestor)

    def _die(self, error: BaseException) -> None:
        self.failed = True
        if not isinstance(error, OSError):
            self._run._wrong(f"the log died of {error!r}")
        for _, _, durable in self._waiting:
            durable.set_result(None)
        self._waiting.clear()


def _of_the_log(body: bytes) -> bool:
    """A record of the log's own, not of a writer."""
    return body == MARK or body[1:2] == b"\xab"
