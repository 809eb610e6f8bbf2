"""When the power of each tree is shared anew: soon after something changed, and regularly: leases are renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from evcharge.ids import NodeId

# How long changes are gathered before power is shared anew, seconds. Many vehicles come and go together, and each
# set-point is a record; a tenth of a second is far below what a person or a breaker notices.
GATHER_S = 0.1
# After a round, so many times its duration without another, and no longer than that: a tree of thousands of sessions
# that all come and go must not take the loop for itself, and a meter's reading has to count within a second.
REST = 4.0
MOST_REST_S = 0.5
# How often every tree is looked at even without a change, seconds: leases are renewed at half their life, which
# is 5 s for the shortest that can be set.
REGULAR_S = 3.0


class Allocation:
    """Gathers what changed and calls ``reallocate`` for the root of each tree that it belongs to."""

    def __init__(
        self,
        reallocate: Callable[[NodeId], None],
        roots: Callable[[], Iterable[NodeId]],
        root_of: Callable[[NodeId], NodeId],
        shared: Callable[[], None] = lambda: None,
    ) -> None:
        """``shared`` is called after each round: what is free now may go to those who wait."""
        self._reallocate = reallocate
        self._roots = roots
        self._root_of = root_of
        self._shared = shared
        self._dirty: dict[NodeId, None] = {}
        self._changed = asyncio.Event()
        self._urgent: dict[NodeId, None] = {}

    def dirty(self, node_id: NodeId) -> None:
        """Something changed there."""
        self._dirty[self._root_of(node_id)] = None
        self._changed.set()

    def urgent(self, substation_id: NodeId) -> None:
        """Something was lost there, or is back: nothing is gathered, power is shared anew in the loop's next turn."""
        if not self._urgent:
            # Not in this turn: the effects that are released now come first.
            asyncio.get_running_loop().call_soon(self._at_once)
        self._urgent[substation_id] = None

    def _at_once(self) -> None:
        todo, self._urgent = self._urgent, {}
        for substation_id in todo:
            self._reallocate(substation_id)

    async def run(self) -> None:
        """Share anew after changes, for ever; the owner cancels it."""
        loop = asyncio.get_running_loop()
        rest_s = 0.0
        while True:
            await self._changed.wait()
            await asyncio.sleep(max(GATHER_S, rest_s))
            began_s = loop.time()
            self._changed.clear()
            todo, self._dirty = self._dirty, {}
            for root in todo:
                self._reallocate(root)
                # A large site has many: whoever waits for an answer comes between two of them.
                await asyncio.sleep(0)
            self._shared()
            rest_s = min(MOST_REST_S, REST * (loop.time() - began_s))

    async def renew(self) -> None:
        """Look at every tree regularly, one after the other; for ever, the owner cancels it."""
        while True:
            roots = list(self._roots())
            for root in roots:
                await asyncio.sleep(REGULAR_S / len(roots))
                self.dirty(root)
            if not roots:
                await asyncio.sleep(REGULAR_S)
