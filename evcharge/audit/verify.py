"""Is this log what was written? Everything that can be checked from the files alone, without changing them.

Whoever checks trusts nothing but a key: all records by their chain and checksum, every checkpoint by its signature and
its root, every change of the key by the key before it. FORMAT.md §5, §8 to §10.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from evcharge.audit.archive import Anchor, beginning
from evcharge.audit.checkpoints import CHECKPOINTS, EVERY_RECORDS, BadCheckpoints, Kept, read_checkpoints
from evcharge.audit.control import signing_key
from evcharge.audit.files import Files
from evcharge.audit.merkle import Frontier, leaf_hash
from evcharge.audit.note import BadNote, Verifier, open_checkpoint
from evcharge.audit.record import FIRST_SEQ, Record
from evcharge.audit.replay import Corrupt, Start, TornTail, replay
from evcharge.audit.segments import list_segments

# Records between two calls of ``progress``, and hashed leaves that wait for the tree: many small steps cost time.
STEP = 2_048

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all)."""


class Damage(msgspec.Struct, frozen=True):
    """What is wrong, where."""

    file: str
    offset: int
    seq: int
    why: str

    @classmethod
    def of(cls, end: Corrupt) -> Damage:
        """As a replay says it."""
        return cls(str(end.file), end.offset, end.seq, end.why)


class Report(msgspec.Struct, kw_only=True):
    """What a verification found; ``damage`` None: all of it is what was written."""

    directory: str
    first: int = FIRST_SEQ
    """The first record that is here; those before it were archived."""
    records: int = 0
    """The last good one."""
    segments: int = 0
    bytes: int = 0
    chain: str = ""
    """Hex, after the last record."""
    root: str = ""
    """Hex, of the tree over all records."""
    checkpoints: int = 0
    signed_up_to: int = 0
    """Records that the newest checkpoint covers."""
    unsigned: int = 0
    """Records behind the newest checkpoint: only their chain and witnesses speak for them."""
    unread: int = 0
    """Bytes behind the last whole checkpoint: of one whose writing was cut, or that was damaged."""
    keys: list[str] = []
    """Verifier keys, in the order in which they signed."""
    trusted: str = ""
    """The key from which the check began; empty: the one that the log itself names first."""
    torn: str = ""
    """The last write was cut; nothing acknowledged is missing."""
    damage: Damage | None = None


class Verification:
    """One pass over a log."""

    def __init__(self, directory: Path, files: Files, *, trusted: Verifier | None = None) -> None:
        """``trusted``: a key known from elsewhere; None: the one that the log names first."""
        self.frontier = Frontier()
        self.report = Report(directory=str(directory), trusted="" if trusted is None else str(trusted))
        self._directory = directory
        self._files = files
        self._trusted = trusted
        self._key: Verifier | None = None
        self._keys: list[Verifier] = []
        """All that the log has named."""
        self._good: list[Verifier] = []
        """Of these the trusted one, and those behind it."""
        self._kept: list[Kept] = []
        self._next = 0
        self._leaves: list[bytes] = []
        self._torn: TornTail | None = None
        self.anchors: dict[int, Anchor] = {}
        """Where each segment begins, as far as all before it is sound."""
        self.nodes: Callable[[list[bytes]], None] = _ignore
        """Is told the nodes of the tree, in the order in which they come into being."""

    def run(self, progress: Progress | None = None, each: Callable[[Record], object] | None = None) -> Report:
        """Check everything; ``each`` sees every good record. Raises OSError, and what ``each`` raises."""
        report, total = self.report, self._measure()
        try:
            self._kept, end = read_checkpoints(self._directory, self._files)
        except BadCheckpoints as error:
            report.damage = Damage(str(self._directory / CHECKPOINTS), error.offset, 0, str(error))
            return report
        report.unread = self._behind(end)
        start = self._begin()
        if report.damage is not None:
            return report
        due = self._due()
        leaves, done = self._leaves, 0
        firsts = [one.first_seq for one in list_segments(self._directory, self._files)[0]]
        edge, durable, chain = self._next_first(firsts, 0), start.durable, start.chain
        for item in replay(self._directory, self._files, start):
            if isinstance(item, Record):
                if item.seq == edge:
                    self._anchor(edge, durable, chain)
                    edge = self._next_first(firsts, edge)
                durable, chain = item.durable, item.chain
                leaves.append(leaf_hash(item.seq, item.durable, item.body))
                done += item.size
                report.records, report.chain = item.seq, item.chain.hex()
                if item.body[1:2] == b"\xab" and not self._name(item):
                    break
                if item.seq >= due:
                    if not self._compare(item.seq):
                        break
                    due = self._due()
                if item.seq % STEP == 0:
                    self._settle()
                    if progress is not None:
                        progress(done, total)
                if each is not None:
                    each(item)
            elif isinstance(item, Corrupt):
                report.damage = Damage.of(item)
            elif isinstance(item, TornTail):
                self._torn = item
                report.torn = f"{item.file} at offset {item.offset}, record {item.seq}: {item.why}"
        self._settle()
        self._finish()
        if progress is not None:
            progress(total, total)
        return report

    def _begin(self) -> Start:
        """Where the first segment that is here begins, with what was named and signed before it."""
        report = self.report
        begin = beginning(self._directory, self._files)
        report.first = begin.start.seq
        report.records = begin.start.seq - 1
        self.frontier = begin.frontier
        if begin.keys:
            self._key = begin.keys[-1]
            self._keys = list(begin.keys)
            # Of the keys before an anchor only one that the reader brought with him is believed.
            self._good = list(begin.keys) if self._trusted in (None, self._key) else []
            report.keys = [str(key) for key in self._keys]
        while self._next < len(self._kept) and self._kept[self._next].checkpoint.size < report.first - 1:
            self._next += 1
        if begin.frontier.size and report.damage is None:
            # One that ends where this log begins proves the anchor.
            self._compare(report.first - 1)
        return begin.start

    @staticmethod
    def _next_first(firsts: list[int], behind: int) -> int:
        return next((first for first in firsts if first > behind), 0)

    def _anchor(self, seq: int, durable: int, chain: bytes) -> None:
        self._settle()
        edge = [one.hex() for one in self.frontier.edge]
        keys = [str(key) for key in self._keys]
        self.anchors[seq] = Anchor(seq=seq, durable=durable, chain=chain.hex(), edge=edge, keys=keys)

    def _behind(self, offset: int) -> int:
        """How much the file of checkpoints has behind what could be read of it; zeros are nothing."""
        if CHECKPOINTS not in self._files.listdir(self._directory):
            return 0
        handle = self._files.open(self._directory / CHECKPOINTS)
        try:
            rest = self._files.pread(handle, max(0, self._files.size(handle) - offset), offset)
        finally:
            self._files.close(handle)
        return len(rest.rstrip(b"\0"))

    def _measure(self) -> int:
        """Bytes of all segments."""
        segments, _ = list_segments(self._directory, self._files)
        self.report.segments = len(segments)
        for _, path in segments:
            handle = self._files.open(path)
            try:
                self.report.bytes += self._files.size(handle)
            finally:
                self._files.close(handle)
        return self.report.bytes

    def _settle(self) -> None:
        self.nodes(self.frontier.extend(self._leaves))
        self._leaves.clear()

    def _due(self) -> int:
        """At which record the next checkpoint has to be compared."""
        return self._kept[self._next].checkpoint.size if self._next < len(self._kept) else 1 << 64

    def _name(self, record: Record) -> bool:
        """A record that may name a key. False: it must not."""
        try:
            named = signing_key(record.body)
        except (msgspec.DecodeError, BadNote):
            named = None
        if named is None:
            return True
        if not named.follows(self._key):
            why = "the record names a signing key, and the key before it did not say so"
            self.report.damage = Damage(str(self._directory), 0, record.seq, why)
            return False
        if self._trusted in (None, named.key) or self._key in self._good:
            self._good.append(named.key)
        self._key = named.key
        self._keys.append(named.key)
        self.report.keys.append(str(named.key))
        return True

    def _compare(self, seq: int) -> bool:
        """Every checkpoint of this size. False: one of them is wrong."""
        self._settle()
        root = self.frontier.root()
        while self._next < len(self._kept) and self._kept[self._next].checkpoint.size <= seq:
            kept = self._kept[self._next]
            self._next += 1
            why = self._wrong(kept, root)
            if why:
                self.report.damage = Damage(str(self._directory / CHECKPOINTS), kept.offset, seq, why)
                return False
            if self._signed(kept):
                self.report.checkpoints += 1
                self.report.signed_up_to = kept.checkpoint.size
        return True

    def _signed(self, kept: Kept) -> bool:
        """Whether one signed it whom the reader trusts, or a key that such a one has named."""
        if self._trusted is None:
            return True
        try:
            open_checkpoint(kept.data, self._good or [self._trusted])
        except BadNote:
            return False
        return True

    def _wrong(self, kept: Kept, root: bytes) -> str:
        try:
            open_checkpoint(kept.data, self._keys or ([self._trusted] if self._trusted else []))
        except BadNote as error:
            return str(error)
        if kept.checkpoint.root != root:
            return "a signed checkpoint has another root: a record up to there was changed"
        return ""

    def _finish(self) -> None:
        report = self.report
        report.root = self.frontier.root().hex()
        report.unsigned = max(0, report.records - max(report.signed_up_to, report.first - 1))
        # The last checkpoint may be cut by a crash, and the one before it is what there is then.
        late = report.unsigned > 2 * EVERY_RECORDS
        here = report.records >= report.first
        if report.damage is None and here and self._trusted is not None and (late or not report.checkpoints):
            why = f"records behind {report.signed_up_to} are not signed, and Central signs each {EVERY_RECORDS}"
            if not report.checkpoints:
                why = "no checkpoint here is signed by the key that you gave"
                if self._keys:
                    why += f"; the log names {', '.join(report.keys)}"
            report.damage = Damage(str(self._directory / CHECKPOINTS), 0, report.signed_up_to + 1, why)
        if report.damage is None and report.first > FIRST_SEQ and not report.checkpoints:
            why = "no signed checkpoint of what is left proves where it begins"
            report.damage = Damage(str(self._directory / CHECKPOINTS), 0, report.first, why)
        if report.damage is None and self._next < len(self._kept):
            kept = self._kept[-1]
            why = (
                f"the log ends with record {report.records}, and a signed checkpoint says that "
                f"{kept.checkpoint.size} were durable"
            )
            report.damage = Damage(str(self._directory / CHECKPOINTS), kept.offset, report.records + 1, why)
            if self._torn is not None:
                # What looks like a cut write had been durable: that is where the damage is.
                torn, report.torn = self._torn, ""
                report.damage = Damage(str(torn.file), torn.offset, torn.seq, f"{torn.why}, and {why}")


def _ignore(_nodes: list[bytes]) -> None:
    """Nobody wants them."""


def verify(
    directory: Path, files: Files, *, trusted: Verifier | None = None, progress: Progress | None = None
) -> Report:
    """Check the whole log. Raises OSError."""
    return Verification(directory, files, trusted=trusted).run(progress)
