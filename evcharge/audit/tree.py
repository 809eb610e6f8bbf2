"""The Merkle tree of the log on disk, so that a proof costs a few reads at any size. FORMAT.md §8.

``tree`` beside the segments holds every node in the order in which it came into being. It is derived: whatever is in it
can be made from the log again, nothing waits for it, and no proof leaves without having been checked against a root.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path

from evcharge.audit import merkle
from evcharge.audit.files import Files
from evcharge.audit.merkle import HASH_SIZE, Frontier
from evcharge.audit.record import HEADER_SIZE
from evcharge.audit.segments import write_all

TREE = "tree"
# Hashes of new records that are kept before they are written: a quarter of a megabyte, for a replay writes as well.
_WRITE_BYTES = 256 << 10

# Leaves whose nodes are compared together when the file is mended.
_MEND_LEAVES = 1_024

_LEAF = b"\0"
# Where a record's length stands, and where what is hashed begins: seq, durable, body. FORMAT.md §2
_LENGTH = slice(4, 8)
_HASHED_FROM = 8


class TreeDamaged(Exception):
    """The file of derived nodes does not fit to the log: it has to be made again from it."""


def leaf_of(record: bytes) -> bytes:
    """The leaf hash of an encoded record."""
    return sha256(_LEAF + record[_HASHED_FROM : HEADER_SIZE + int.from_bytes(record[_LENGTH], "big")]).digest()


class LogTree:
    """Grows on one thread; roots and proofs of what ``size`` says may be asked for from any."""

    def __init__(self, path: Path, files: Files, handle: int | None, stored: int) -> None:
        """For ``open_tree`` only. ``stored``: how many leaves the file says that it holds; not trusted yet."""
        self._path = path
        self.size = 0
        """Records in the tree. What it covers can be asked for."""
        self.frontier = Frontier()
        self._files = files
        self._handle = handle
        # Up to here the file is believed to hold the nodes already; the edge there is compared before it is used.
        self._stored = stored
        # What `size` says, whole at any moment, for whoever asks from another thread.
        self._edge = Frontier()
        # How many bytes the file has, and those behind them: one pair, replaced as a whole, for whoever asks from
        # another thread. Its bytes only grow.
        self._behind = (0, bytearray())
        self._trusted = stored == 0
        self.damaged = False
        """The file has other nodes than the log: it has to be made anew from the first record on."""

    # --- growing ----------------------------------------------------------------------------------------------------

    def begin(self, frontier: Frontier) -> None:
        """Go on from a snapshot instead of from nothing. Raises OSError."""
        self.frontier = frontier.copy()
        if self._stored >= frontier.size and self._agrees():
            self._trust()
        else:
            self.damaged = True

    def extend(self, leaves: Sequence[bytes]) -> None:
        """New leaf hashes. Raises OSError."""
        if not self._trusted and not self.damaged:
            # Up to where the file ends its nodes are there already; there it is compared.
            known = self._stored - self.frontier.size
            self.frontier.extend(leaves[:known])
            leaves = leaves[known:]
            if self.frontier.size == self._stored:
                self.finish()
        made = self.frontier.extend(leaves)
        if self._trusted:
            waiting = self._behind[1]
            waiting += b"".join(made)
            if len(waiting) >= _WRITE_BYTES:
                self.flush()
            self._show()

    def finish(self) -> None:
        """The log ends here, or the file: are they the same tree? What the file has beyond is overwritten later."""
        if self._trusted or self.damaged:
            return
        if self.frontier.size <= self._stored and self._agrees():
            self._trust()
        else:
            self.damaged = True

    def _agrees(self) -> bool:
        try:
            return merkle.edge_of(self.frontier.size, self._read) == self.frontier.edge
        except TreeDamaged:
            return False

    def _trust(self) -> None:
        self._behind = (merkle.stored_count(self.frontier.size) * HASH_SIZE, bytearray())
        self._trusted = True
        self._show()

    def _show(self) -> None:
        self._edge = self.frontier.copy()
        self.size = self._edge.size

    def flush(self) -> None:
        """Give everything to the file; not synced. Raises OSError."""
        written, waiting = self._behind
        if waiting:
            if self._handle is None:
                self._handle = self._files.create(self._path)
            write_all(self._files, self._handle, bytes(waiting), written)
            self._behind = (written + len(waiting), bytearray())

    def sync(self) -> None:
        """The file is durable: a power cut makes no work for the next start. Raises OSError."""
        self.flush()
        if self._handle is not None:
            self._files.fdatasync(self._handle)

    def close(self) -> None:
        """Give the file back."""
        if self._handle is not None:
            with suppress(OSError):
                self._files.close(self._handle)
            self._handle = None

    # --- asking -----------------------------------------------------------------------------------------------------

    def root_at(self, size: int) -> bytes:
        """The root when the log had ``size`` records. Raises TreeDamaged, OSError, ValueError for a size to come."""
        if not 0 <= size <= self.size:
            raise ValueError(f"the log has {self.size} records, not {size}")
        return merkle.subtree_root(0, size, self._node)

    def begins_with(self, size: int, root: bytes) -> bool:
        """Did the first ``size`` records have this root? Raises as ``root_at``.

        The file's nodes prove nothing by themselves, for who changes a log can change them too: they count where they
        lead from that root to the one that the records have given.
        """
        edge = self._edge
        if not 0 <= size <= edge.size:
            raise ValueError(f"the log has {edge.size} records, not {size}")
        proof = merkle.consistency_proof(size, edge.size, self._node) if size else []
        try:
            merkle.check_consistency(size, root, edge.size, edge.root(), proof)
        except merkle.BadProof:
            return False
        return True

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """The proof that record ``seq`` is in the tree of ``size`` records. Raises as ``root_at``."""
        if not size <= self.size:
            raise ValueError(f"the log has {self.size} records, not {size}")
        return merkle.inclusion_proof(seq - 1, size, self._node)

    def leaf(self, seq: int) -> bytes:
        """The leaf hash of record ``seq``, unchecked. Raises as ``root_at``."""
        if not 1 <= seq <= self.size:
            raise ValueError(f"the log has {self.size} records, not {seq}")
        return self._node(0, seq - 1)

    def consistency(self, first: int, second: int) -> list[bytes]:
        """The proof that the log of ``second`` records begins with that of ``first``. Raises as ``root_at``."""
        if not second <= self.size:
            raise ValueError(f"the log has {self.size} records, not {second}")
        return merkle.consistency_proof(first, second, self._node)

    def mend(self, leaves: Iterable[bytes]) -> int:
        """Put right what the file holds of the tree over ``leaves``, the log's first ones; how many pieces were wrong.

        On any thread, while the tree grows: what is written is what stands there or will. Raises TreeDamaged, OSError.
        """
        frontier, place, wrong = Frontier(), 0, 0
        hashes = iter(leaves)
        if self._handle is None:
            # All nodes are in memory yet.
            return 0
        try:
            # A handle of its own: the tree may be closed meanwhile, and its handle's number given to another file.
            handle = self._files.open(self._path)
        except FileNotFoundError:
            raise TreeDamaged("the file of tree nodes was removed while it was in use") from None
        try:
            while batch := list(islice(hashes, _MEND_LEAVES)):
                nodes = b"".join(frontier.extend(batch))
                if self._files.pread(handle, len(nodes), place) != nodes:
                    write_all(self._files, handle, nodes, place)
                    wrong += 1
                place += len(nodes)
        finally:
            with suppress(OSError):
                self._files.close(handle)
        return wrong

    def stored(self, level: int, index: int) -> bytes:
        """A node as the file has it, unchecked. For readers who check what they make of it. Raises TreeDamaged."""
        return self._read(level, index)

    def _node(self, level: int, index: int) -> bytes:
        written, waiting = self._behind
        place = merkle.stored_index(level, index) * HASH_SIZE - written
        if place >= 0 and len(found := bytes(waiting[place : place + HASH_SIZE])) == HASH_SIZE:
            return found
        return self._read(level, index)

    def _read(self, level: int, index: int) -> bytes:
        if self._handle is None:
            raise TreeDamaged("there is no file of tree nodes yet")
        found = self._files.pread(self._handle, HASH_SIZE, merkle.stored_index(level, index) * HASH_SIZE)
        if len(found) != HASH_SIZE:
            raise TreeDamaged("the file of tree nodes is shorter than the log")
        return found


def open_tree(directory: Path, files: Files, *, anew: bool = False, leaves: int | None = None) -> LogTree:
    """The tree of the log in ``directory``; ``anew``: what its file holds is of no use; ``leaves``: no more than these.

    Raises OSError.

    A file that is missing is made when there is something to write.
    """
    path = directory / TREE
    there = TREE in files.listdir(directory)
    if anew and there:
        files.remove(path)
        there = False
    if not there:
        return LogTree(path, files, None, 0)
    handle = files.open(path)
    stored = _leaves_in(files.size(handle) // HASH_SIZE)
    return LogTree(path, files, handle, stored if leaves is None else min(stored, leaves))


def _leaves_in(nodes: int) -> int:
    """The most leaves of which all nodes are among the first ``nodes``."""
    # stored_count(n) lies between 2n - 64 and 2n.
    size = nodes // 2
    while merkle.stored_count(size + 1) <= nodes:
        size += 1
    return size
