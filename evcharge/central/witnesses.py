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

    def __init__(self, tree: LogTree, keys: Sequence[Verifier], rolled_back: Callable[[str], None]) -> None:
        self.proof = ""
        """Why nothing new is authorized; empty while the log is what witnesses remember."""
        self._tree = tree
        self._keys = keys
        self._rolled_back = rolled_back
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def show(self, note: bytes, who: str) -> None:
        """``who`` shows a checkpoint. It may be anything: only the signature of one of the log's own keys counts."""
        found = self._known.get(note)
        if found is None:
            found = self._known[note] = self._compare(note)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        if found and not self.proof:
            self.proof = f"{who} has a signed checkpoint: {found}"
            self._rolled_back(self.proof)

    def _compare(self, note: bytes) -> str:
        """What is wrong, in words; empty: nothing, or nothing that is proven."""
        try:
            checkpoint = Checkpoint.parse(Note.parse(note).text)
        except BadNote:
            return ""
        if all(key.name != checkpoint.origin for key in self._keys):
            # Of another log: the peer was another Central's before.
            return ""
        wrong = self._differs(checkpoint)
        if not wrong:
            return ""
        try:
            open_checkpoint(note, self._keys)
        except BadNote as error:
            log.warning("witness.unproven", why=str(error), claims=wrong)
            return ""
        return wrong

    def _differs(self, checkpoint: Checkpoint) -> str:
        size = self._tree.size
        if checkpoint.size > size:
            return f"the log had {checkpoint.size} records, and has {size}"
        try:
            same = self._tree.begins_with(checkpoint.size, checkpoint.root)
        except (TreeDamaged, OSError) as error:
            log.warning("witness.not_compared", why=str(error))
            return ""
        return "" if same else f"the first {checkpoint.size} records were others"
