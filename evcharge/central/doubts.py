"""Did the log lose its end, or is only the file of tree nodes damaged? Until that is clear nothing new begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from evcharge.audit.attest import Attestor
from evcharge.audit.journal import JournalFailed
from evcharge.audit.tree import TreeDamaged
from evcharge.central.tasks import Tasks
from evcharge.central.witnesses import Witnesses


class Doubts:
    """Clears up, one after the other, what witnesses cast doubt on: each time the whole log is read."""

    def __init__(
        self,
        attestor: Attestor,
        tasks: Tasks,
        suspect: Callable[[bool], None],
        rolled_back: Callable[[str], None],
        in_doubt: Callable[[str], None],
    ) -> None:
        """``suspect(True)``: nothing new may begin. ``rolled_back`` is told what proves that the log lost its end,
        ``in_doubt`` what could not be cleared up.
        """
        self.open = 0
        """What is still to be cleared up."""
        self.witnesses = Witnesses(attestor.tree, attestor.keys, rolled_back, self._raise)
        self._attestor = attestor
        self._tasks = tasks
        self._suspect = suspect
        self._in_doubt = in_doubt
        self._one_at_a_time = asyncio.Lock()

    def _raise(self, note: bytes, who: str) -> None:
        self.open += 1
        self._suspect(True)
        self._tasks.start(self._clear_up(note, who))

    async def _clear_up(self, note: bytes, who: str) -> None:
        """Have the nodes agree with the records, which are what counts, and compare again."""
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(self._attestor.mend)
                self.witnesses.settle(note, who)
            except TreeDamaged as error:
                # It stays open: nothing is proven, and nothing new begins before a person has looked.
                self._in_doubt(f"{who} has a checkpoint that cannot be compared: {error}")
                return
            except OSError as error:
                raise JournalFailed(f"the audit log failed: {error}") from error
            self.open -= 1
            if not self.open and not self.witnesses.proof:
                self._suspect(False)
