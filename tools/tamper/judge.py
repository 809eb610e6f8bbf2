"""Was a change found, harmless, or accepted? Each answer is worked out from the changed copy; none is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evcharge.audit.attest import Attestor
from evcharge.audit.checkpoints import BadCheckpoints, read_checkpoints
from evcharge.audit.merkle import Frontier, leaf_hash
from evcharge.audit.note import Signer, Verifier, open_checkpoint
from evcharge.audit.record import Record
from evcharge.audit.recovery import CorruptLog, recover
from evcharge.audit.replay import Start, replay
from evcharge.audit.verify import Damage, Report, Verification
from evcharge.central.witnesses import Witnesses
from evcharge.net.witness import Witness
from tools.tamper.made import History
from tools.tamper.memory import HERE, Image, Memory
from tools.tamper.row import Verdict

SAME = "every record and checkpoint is as before"
TORN = "reads as a cut write behind the last record: every record and checkpoint is as before"
FEWER = "every record is as before; checkpoints are missing, and say nothing else than the records"


class Place(NamedTuple):
    """Where damage has to be reported."""

    file: str
    offset: int
    seq: int | None
    """None: damage of a checkpoint that cannot be read has no record."""

    def named_by(self, damage: Damage) -> bool:
        """Is it exactly there?"""
        return (Path(damage.file).name, damage.offset) == self[:2] and self.seq in (None, damage.seq)


class Case(NamedTuple):
    """A changed folder."""

    image: Image
    history: History
    """What had been written."""
    place: Place | None = None
    witnessed: Sequence[bytes] = ()
    """Checkpoints that a peer has seen, oldest first."""
    open_end: bool = False
    """The change may touch records that no checkpoint covers."""


class Prefix(NamedTuple):
    """How far a verification of the unchanged log had come behind a record."""

    records: int
    durable: int
    chain: bytes
    frontier: Frontier
    next: int
    keys: Sequence[Verifier]
    checkpoints: int
    signed_up_to: int


class Recorder(Verification):
    """A verification that remembers where it was behind every record."""

    def prefixes(self) -> list[Prefix]:
        """Behind 0, 1, 2 … records of a log that is whole."""
        found = [Prefix(0, 0, b"", Frontier(), 0, (), 0, 0)]

        def each(record: Record) -> None:
            self._settle()
            report = self.report
            found.append(
                Prefix(
                    record.seq,
                    record.durable,
                    record.chain,
                    self.frontier.copy(),
                    self._next,
                    tuple(self._keys),
                    report.checkpoints,
                    report.signed_up_to,
                )
            )

        assert self.run(None, each).damage is None
        return found


class Continued(Verification):
    """The verification of a copy whose first records are unchanged, from there on; the rest is read and checked."""

    def __init__(self, directory: Path, files: Memory, trusted: Verifier, prefix: Prefix, start: Start) -> None:
        """``prefix``: of the unchanged log, behind the record before ``start``."""
        super().__init__(directory, files, trusted=trusted)
        self._start = start
        self.frontier = prefix.frontier.copy()
        self._next, self._keys = prefix.next, list(prefix.keys)
        self._key = self._keys[-1] if self._keys else None
        report = self.report
        report.records, report.chain = prefix.records, prefix.chain.hex()
        report.keys = [str(key) for key in prefix.keys]
        report.checkpoints, report.signed_up_to = prefix.checkpoints, prefix.signed_up_to

    def _begin(self) -> Start:
        return self._start


class Seen(NamedTuple):
    """What `verify` says, and what a reader gets."""

    report: Report
    records: Sequence[Record]
    notes: Sequence[bytes]
    opened: frozenset[str]


def seen(image: Image, trusted: Verifier, prefix: Prefix | None = None, start: Start | None = None) -> Seen:
    """Verify a folder; with a ``prefix`` only what stands behind it, and only those records are given."""
    files = Memory(image)
    records: list[Record] = []
    if prefix is None or start is None:
        check = Verification(HERE, files, trusted=trusted)
    else:
        check = Continued(HERE, files, trusted, prefix, start)
    report = check.run(None, records.append)
    opened = frozenset(files.opened)
    try:
        notes = [kept.data for kept in read_checkpoints(HERE, files)[0]]
    except BadCheckpoints:
        notes = []
    return Seen(report, records, notes, opened)


class Restart(NamedTuple):
    """What Central made of a folder."""

    refused: str
    """Why it does not start; empty: it does."""
    same: bool = False
    """It replayed exactly what was written, and left it in the folder."""
    proof: str = ""
    """Why it authorizes nothing new, after a witness came."""
    alarm: str = ""
    """Which checkpoint of the history it takes as proof of another past."""


def restart(case: Case, signer: Signer, segment_bytes: int) -> Restart:
    """Start into a recovery, let a witness show what it kept, and stop."""
    files = Memory(case.image)
    attestor = Attestor(HERE, files, signer)
    applied: list[tuple[int, bytes]] = []
    try:
        journal = recover(
            HERE,
            files,
            lambda seq, body: applied.append((seq, body)),
            attestor=attestor,
            segment_bytes=segment_bytes,
        )
    except CorruptLog as error:
        return Restart(str(error.end.why))
    if attestor.key not in (None, signer.verifier):
        # As central.recall does: the log is another's.
        journal.close()
        return Restart("the log is signed by another key")
    attestor.signing = attestor.key is not None
    proof = _shown(attestor, _newest(case.witnessed))
    # One by one: `Witnesses` remembers only the first proof.
    alarm = next((each for note in case.history.notes if (each := _shown(attestor, note))), "")
    journal.close()
    wanted = case.history.records
    after = [item for item in replay(HERE, files) if isinstance(item, Record)]
    same = (
        [(record.seq, record.body) for record in wanted] == applied[: len(wanted)]
        and list(wanted) == after[: len(wanted)]
        and len(applied) == len(after) == len(wanted) + 1
    )
    return Restart("", same, proof, alarm)


def _newest(notes: Sequence[bytes]) -> bytes | None:
    witness = Witness()
    for note in notes:
        witness.see(note)
    return witness.note


def _shown(attestor: Attestor, note: bytes | None) -> str:
    """What Central concludes from a checkpoint that a charge point shows."""
    told: list[str] = []
    if note is not None:
        Witnesses(attestor.tree, attestor.keys, told.append).show(note, "engine:CP-1")
    return "".join(told)


def judge(case: Case, signer: Signer, segment_bytes: int) -> Verdict:
    """What became of one change, by `verify` and by a start of Central."""
    found = seen(case.image, signer.verifier)
    central = restart(case, signer, segment_bytes)
    return weigh(case, found, central, signer)


def weigh(case: Case, found: Seen, central: Restart | None, signer: Signer, begin: int = 0) -> Verdict:
    """The verdict. ``begin``: so many records were not read again, for they stand before the change."""
    history = case.history
    refused = central is not None and bool(central.refused)
    alarm = central is not None and bool(central.alarm) and central.same
    silent = Verdict("silent", restarted=central is not None, refused=refused, alarm=alarm)
    if found.report.damage is not None:
        if central is not None and not (refused or central.same or central.proof):
            return silent._replace(why="verify finds it, and Central goes on with another past")
        exact = case.place is not None and case.place.named_by(found.report.damage)
        return silent._replace(outcome="found", why=found.report.damage.why, exact=exact)
    same_records = list(history.records[begin:]) == list(found.records)
    if same_records:
        if central is not None and not central.same:
            return silent._replace(why=f"verify finds no change, and Central has one: {central.refused}")
        if list(history.notes) == list(found.notes):
            return silent._replace(outcome="harmless", why=TORN if found.report.torn else SAME)
        if _subset(found.notes, history.notes) and _agree(history, signer.verifier):
            return silent._replace(outcome="harmless", why=FEWER)
        return silent._replace(why="the checkpoints are others")
    if central is not None and central.proof:
        return silent._replace(outcome="witness", why=central.proof)
    if case.open_end and not refused:
        covered = max(found.report.signed_up_to, _size(_newest(case.witnessed), signer.verifier))
        if begin == 0 and list(history.records[:covered]) == list(found.records[:covered]):
            return silent._replace(outcome="uncovered", concerned=len(history.records) - covered)
    return silent._replace(why="another past was accepted")


def _subset(some: Sequence[bytes], notes: Sequence[bytes]) -> bool:
    """Are these some of the checkpoints, in their order?"""
    rest = iter(notes)
    return all(note in rest for note in some)


def _agree(history: History, key: Verifier) -> bool:
    """Do all checkpoints that were written say what the records say? So none that is missing tells another past."""
    due = {open_checkpoint(note, [key]).size: open_checkpoint(note, [key]).root for note in history.notes}
    frontier = Frontier()
    for record in history.records:
        frontier.extend([leaf_hash(record.seq, record.durable, record.body)])
        if frontier.size in due and due.pop(frontier.size) != frontier.root():
            return False
    return not due


def _size(note: bytes | None, key: Verifier) -> int:
    return 0 if note is None else open_checkpoint(note, [key]).size
