"""What makes a log provable while it is written: tree, checkpoints, the key's own records. FORMAT.md §8 to §10.

An ``Attestor`` watches a replay record by record, says whether the checkpoints agree before anything is changed, and
signs afterwards what became durable. After the replay it belongs to the log's writer thread; ``newest``, roots and
proofs may be asked for from any.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import msgspec
import structlog

from evcharge.audit.archive import beginning
from evcharge.audit.checkpoints import BadCheckpoints, Checkpoints, Kept, read_checkpoints
from evcharge.audit.control import SIGNING_KEY, signing_key
from evcharge.audit.files import Files
from evcharge.audit.merkle import Frontier, leaf_hash
from evcharge.audit.note import BadNote, Signer, Verifier, open_checkpoint
from evcharge.audit.record import FIRST_SEQ, Record
from evcharge.audit.replay import Corrupt, replay
from evcharge.audit.segments import list_segments
from evcharge.audit.tree import TREE, LogTree, TreeDamaged, leaf_of, open_tree

log = structlog.get_logger(__name__)

# Checkpoints that a start compares with the log, the newest ones: enough for hours, in a second. Offline, `verify`
# compares all of them.
COMPARED = 10_000
# Leaves of a replay that are added to the tree together.
BATCH = 1_024


class Attestor:
    """Tree and checkpoints of one log."""

    def __init__(self, directory: Path, files: Files, signer: Signer, *, retired: Signer | None = None) -> None:
        """``retired``: the key that ``signer`` replaces with this start; it signs one last checkpoint beside it."""
        self.key: Verifier | None = None
        """The key that the log named last."""
        self._directory = directory
        self._files = files
        self._signer = signer
        self._retired = retired
        self._kept: list[Kept] = []
        self._kept_bytes = 0
        self._next = 0
        self._leaves: list[bytes] = []
        # The record at which the next checkpoint is compared.
        self._due = 0
        self._wrong: Corrupt | None = None
        self.resumed: Frontier | None = None
        """The tree's edge behind the snapshot with which the replay began."""
        self.signing = False
        """Checkpoints are made. Whoever recovers a log switches it on once the log has named its key."""
        self.named: list[Verifier] = []
        """The keys that the log has named, in its order; the last one is ``key``."""
        self.keys: list[Verifier] = [signer.verifier]
        """All keys that have signed this log, as far as it names them; the present one among them, in no order."""
        self.tree = LogTree(directory, files, None, 0)
        self.checkpoints = Checkpoints(directory, files, self.tree, [signer])

    # --- a replay -------------------------------------------------------------------------------------------------

    def resume(self, frontier: Frontier, keys: Sequence[Verifier]) -> None:
        """The replay will go on behind a snapshot: of a log of this tree, which has named these keys."""
        self.resumed = frontier
        if keys:
            self.key = keys[-1]
            self.named = list(keys)
            self.keys += [key for key in keys if key not in self.keys]

    def begin(self) -> None:
        """Before the first record; the log is locked. Raises OSError."""
        self.tree = open_tree(self._directory, self._files)
        if self.resumed is not None:
            self.tree.begin(self.resumed)
        try:
            self._kept, self._kept_bytes = read_checkpoints(self._directory, self._files)
        except BadCheckpoints as error:
            self._wrong = self._corrupt(error.offset, 0, str(error))
        self._next = max(0, len(self._kept) - COMPARED)
        while self._next < len(self._kept) and self._kept[self._next].checkpoint.size < self.tree.frontier.size:
            self._next += 1

    def replayed(self, record: Record) -> None:
        """One good record. Raises OSError."""
        self._leaves.append(leaf_hash(record.seq, record.durable, record.body))
        if record.body.startswith(SIGNING_KEY):
            self.name_key(record)
        if record.seq < self._due and len(self._leaves) < BATCH:
            return
        self.tree.extend(self._leaves)
        self._leaves.clear()
        while self._next < len(self._kept) and self._kept[self._next].checkpoint.size <= record.seq:
            kept = self._kept[self._next]
            self._next += 1
            if kept.checkpoint.size == record.seq and kept.checkpoint.root != self.tree.frontier.root():
                self._wrong = self._wrong or self._corrupt(
                    kept.offset, record.seq, "a signed checkpoint has another root: a record up to there was changed"
                )
        self._due = self._kept[self._next].checkpoint.size if self._next < len(self._kept) else 1 << 64

    def name_key(self, record: Record) -> None:
        """A record may name the key that signs from here on."""
        try:
            named = signing_key(record.body)
        except (msgspec.DecodeError, BadNote):
            named = None
        if named is None:
            return
        if named.follows(self.key):
            self.key = named.key
            self.named.append(named.key)
            if named.key not in self.keys:
                self.keys.append(named.key)
        elif self._wrong is None:
            why = "the record names a signing key, and the key before it did not say so"
            self._wrong = Corrupt(self._directory, 0, record.seq, why)

    def judged(self, last: int) -> Corrupt | None:
        """After the last good record, before anything is changed: why this log cannot be the one that was signed."""
        self.tree.extend(self._leaves)
        self._leaves.clear()
        if self._wrong is None and self.key is not None and not self._kept:
            log.warning("log.unsigned", sentence="the log names a signing key, and has no checkpoint: was it removed?")
        if self._wrong is None and self._kept:
            newest = self._kept[-1]
            if newest.checkpoint.size > last:
                self._wrong = self._corrupt(
                    newest.offset,
                    last + 1,
                    f"the log ends with record {last}, and a signed checkpoint says that {newest.checkpoint.size} "
                    "were durable",
                )
            else:
                self._wrong = self._check_signature(newest)
        return self._wrong

    def _check_signature(self, kept: Kept) -> Corrupt | None:
        keys = self.keys if self._retired is None else [*self.keys, self._retired.verifier]
        try:
            open_checkpoint(kept.data, keys)
        except BadNote as error:
            return self._corrupt(kept.offset, kept.checkpoint.size, str(error))
        return None

    def _corrupt(self, offset: int, seq: int, why: str) -> Corrupt:
        return Corrupt(self._directory / "checkpoints", offset, seq, why)

    # --- writing --------------------------------------------------------------------------------------------------

    def ready(self) -> Corrupt | None:
        """The log is sound: go on after it. Why that is not possible, or None. Raises OSError."""
        self.tree.finish()
        if self.tree.damaged:
            wrong = self._rebuild()
            if wrong is not None:
                return wrong
        signers = [self._signer] if self._retired is None else [self._signer, self._retired]
        self.checkpoints = Checkpoints(self._directory, self._files, self.tree, signers)
        self.checkpoints.start(self._kept, self._kept_bytes)
        self._kept = []
        return None

    def _rebuild(self) -> Corrupt | None:
        """Make the file of nodes anew from the records that are here; why not, where the first ones are needed too."""
        edge, begin = self.tree.frontier, beginning(self._directory, self._files)
        self.tree.close()
        if begin.frontier.size:
            # What was archived has its nodes in the file still, if its edge is the anchor's.
            self.tree = open_tree(self._directory, self._files, leaves=begin.frontier.size)
            self.tree.begin(begin.frontier)
            if self.tree.damaged:
                why = (
                    f"the file does not fit to the log, and records 1 to {begin.frontier.size}, from which it would be "
                    "made anew, were archived: put their segments back for one start"
                )
                return Corrupt(self._directory / TREE, 0, 1, why)
        else:
            self.tree = open_tree(self._directory, self._files, anew=True)
        for item in replay(self._directory, self._files, begin.start):
            if isinstance(item, Record) and item.seq <= edge.size:
                self.tree.extend([leaf_hash(item.seq, item.durable, item.body)])
        self.tree.finish()
        return None

    def mend(self) -> None:
        """Make the file of nodes agree with the records, which are what counts; on any thread, while the log grows.

        Raises TreeDamaged: the first records were archived, so nobody can tell. OSError.
        """
        size = self.tree.size
        segments, _ = list_segments(self._directory, self._files)
        if segments and segments[0].first_seq > FIRST_SEQ:
            raise TreeDamaged(f"records 1 to {segments[0].first_seq - 1} were archived")
        records = (item for item in replay(self._directory, self._files) if isinstance(item, Record))
        leaves = (leaf_hash(item.seq, item.durable, item.body) for item in islice(records, size))
        wrong = self.tree.mend(leaves)
        if wrong:
            log.error("log.tree_mended", sentence=f"the file {TREE} had other nodes than the log, in {wrong} places")

    def committed(self, records: Sequence[bytes], now: float) -> None:
        """These encoded records became durable. Raises OSError."""
        self.tree.extend([leaf_of(record) for record in records])
        if self.signing and self.checkpoints.full():
            self.checkpoints.make(now)

    def due_s(self) -> float | None:
        """When ``attend`` has something to do, monotonic."""
        return self.checkpoints.due_s() if self.signing else None

    def attend(self, now: float) -> None:
        """Sign what is due. Raises OSError."""
        due = self.due_s()
        if due is not None and now >= due:
            self.checkpoints.make(now)

    def abandon(self) -> None:
        """This log is not served: give everything back."""
        self.checkpoints.close()
        self.tree.close()

    def close(self, now: float, *, failed: bool = False) -> None:
        """Sign the end and give everything back; after a failure of the log nothing is signed. Raises OSError."""
        try:
            if not failed and self.signing:
                self.checkpoints.make(now)
                self.checkpoints.sync(now)
        finally:
            self.checkpoints.close()
            self.tree.close()
