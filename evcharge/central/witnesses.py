"""Peers that show what they remember of the log: does it still begin like that? FORMAT.md §12."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import structlog

from evcharge.audit.note import BadNote, Checkpoint, Note, Verifier, open_checkpoint
from evcharge.audit.tree import LogTree, TreeDamaged

# Answers that are remembered: a site that comes back together shows a handful of checkpoints, many times each.
REMEMBERED = 256

log = structlog.get_logger(__name__)


class Witnesses:
    """Compares checkpoints with the tree. ``rolled_back`` is told, once, what proves that the log lost its end."""

    def __init__(
        self,
        tree: LogTree,
        keys: Sequence[Verifier],
        rolled_back: Callable[[str], None],
        doubt: Callable[[bytes, str], None] | None = None,
    ) -> None:
        """``doubt`` is told of a signed checkpoint (and of who showed it) from which the file of tree nodes does not
        lead to today's log: the log has another past, or only that derived file is damaged. Whoever is told has the
        file mended and then calls ``settle``. None: that counts as proof at once.
        """
        self.proof = ""
        """Why nothing new is authorized; empty while the log is what witnesses remember."""
        self._tree = tree
        self._keys = keys
        self._rolled_back = rolled_back
        self._doubt = doubt
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def show(self, note: bytes, who: str) -> None:
        """``who`` shows a checkpoint. It may be anything: only the signature of one of the log's own keys counts."""
        found = self._known.get(note)
        if found is None:
            found = self._compare(note, who)
            self._remember(note, found)
        self._tell(found, who)

    def settle(self, note: bytes, who: str) -> bool:
        """The file was mended: what still differs is proof, and then this is False. Raises TreeDamaged, OSError."""
        checkpoint = self._of_this_log(note)
        same = checkpoint is None or self._tree.begins_with(checkpoint.size, checkpoint.root)
        found = "" if checkpoint is None or same else _other_past(checkpoint)
        self._remember(note, found)
        self._tell(found, who)
        return not found

    def _remember(self, note: bytes, found: str) -> None:
        self._known[note] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _tell(self, found: str, who: str) -> None:
        if found and not self.proof:
            self.proof = f"{who} has a signed checkpoint: {found}"
            self._rolled_back(self.proof)

    def _compare(self, note: bytes, who: str) -> str:
        """What is proven to be wrong, in words; empty: nothing is, or not yet."""
        checkpoint = self._of_this_log(note)
        if checkpoint is None:
            return ""
        found = self._too_long(checkpoint)
        if not found and self._leads(checkpoint):
            return ""
        # Looked at last: it costs more than the rest, and nearly every checkpoint is fine.
        if not self._signed(note, checkpoint):
            return ""
        if not found and self._doubt is not None:
            self._doubt(note, who)
            return ""
        return found or _other_past(checkpoint)

    def _of_this_log(self, note: bytes) -> Checkpoint | None:
        """What was shown; nothing here says yet that it was signed."""
        try:
            checkpoint = Checkpoint.parse(Note.parse(note).text)
        except BadNote:
            return None
        if all(key.name != checkpoint.origin for key in self._keys):
            # Of another log: the peer was another Central's before.
            return None
        return checkpoint

    def _signed(self, note: bytes, checkpoint: Checkpoint) -> bool:
        try:
            open_checkpoint(note, self._keys)
        except BadNote as error:
            log.warning("witness.unproven", why=str(error), claims=f"{checkpoint.size} records")
            return False
        return True

    def _too_long(self, checkpoint: Checkpoint) -> str:
        """What proves by itself that records are missing; empty: nothing does."""
        size = self._tree.size
        return f"the log had {checkpoint.size} records, and has {size}" if checkpoint.size > size else ""

    def _leads(self, checkpoint: Checkpoint) -> bool:
        """Whether the nodes of the file lead from the checkpoint's root to the one of the log."""
        try:
            return self._tree.begins_with(checkpoint.size, checkpoint.root)
        except (TreeDamaged, OSError) as error:
            log.warning("witness.not_compared", why=str(error))
            return False


def _other_past(checkpoint: Checkpoint) -> str:
    return f"the first {checkpoint.size} records were others"
