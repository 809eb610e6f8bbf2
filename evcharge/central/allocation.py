"""When substations' power is shared anew: soon after something changed, and regularly so that leases are renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from evcharge.ids import NodeId

# How long changes are gathered before power is shared anew, seconds. Many vehicles come and go together, and each
# set-point is a record; a tenth of a second is far below what a person or a breaker notices.
GATHER_S = 0.1
# How often every substation is looked at even without a change, seconds: leases are renewed at half their life, which
# is 5 s for the shortest that can be set.
REGULAR_S = 3.0


class Allocation:
    """Gathers dirty substations and calls ``reallocate`` for each."""

    def __init__(
        self,
        reallocate: Callable[[NodeId], None],
        substations: Callable[[], Iterable[NodeId]],
        shared: Callable[[], None] = lambda: None,
    ) -> None:
        """``shared`` is called after each round: what is free now may go to those who wait."""
        self._reallocate = reallocate
        self._shared = shared
        self._substations = substations
        self._dirty: dict[NodeId, None] = {}
        self._changed = asyncio.Event()

    def dirty(self, substation_id: NodeId) -> None:
        """Something changed there."""
        self._dirty[substation_id] = None
        self._changed.set()

    async def run(self) -> None:
        """Share anew after changes, for ever; the owner cancels it."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(GATHER_S)
            self._changed.clear()
            todo, self._dirty = self._dirty, {}
            for substation_id in todo:
                self._reallocate(substation_id)
                # A large site has many: whoever waits for an answer comes between two of them.
                await asyncio.sleep(0)
            self._shared()

    async def renew(self) -> None:
        """Look at every substation regularly, one after the other; for ever, the owner cancels it."""
        while True:
            substations = list(self._substations())
            for substation_id in substations:
                await asyncio.sleep(REGULAR_S / len(substations))
                self.dirty(substation_id)
            if not substations:
                await asyncio.sleep(REGULAR_S)
