"""The order of what must reach Central: numbered items, a bounded window in flight, all again after a reconnect.

Pure bookkeeping (SPEC §6.3). Durability is the engine's business: an item enters by ``append`` only after it was kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from evcharge.cp.store import Item
from protocol.messages import Outbox, OutboxPayload

# Items sent and not yet acknowledged. Central queues 256 messages per peer at most, and a burst of many charge
# points after its restart should not fill that. SPEC §6.3
WINDOW = 32


class OutboxQueue:
    """Items from ``next_n`` backwards that Central has not acknowledged."""

    def __init__(self, next_n: int, items: Iterable[Item]) -> None:
        self.next_n = next_n
        """Number of the next new item."""
        self._items: deque[Item] = deque(items)
        # Number of the first item that was not sent on this channel; None: no channel.
        self._unsent: int | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def first_n(self) -> int:
        """Number of the oldest item; the next new one's when there is none."""
        return self._items[0].n if self._items else self.next_n

    @property
    def items(self) -> tuple[Item, ...]:
        """What Central has not acknowledged, oldest first."""
        return tuple(self._items)

    def number(self, payload: OutboxPayload) -> Item:
        """Give a payload the next number; it is not sent before ``append``."""
        item = Item(self.next_n, payload)
        self.next_n += 1
        return item

    def give_back(self, count: int) -> None:
        """Take back the last numbers: their items were neither kept nor sent."""
        self.next_n -= count

    def append(self, item: Item) -> None:
        """The item is kept on disk and may be sent."""
        assert not self._items or item.n == self._items[-1].n + 1
        self._items.append(item)

    def channel_up(self, next_n: int) -> int | None:
        """Central expects ``next_n``: what is below is there already. Returns the n to acknowledge to the disk."""
        dropped = self._drop(next_n - 1)
        self._unsent = self._items[0].n if self._items else self.next_n
        return dropped

    def channel_down(self) -> None:
        """Nothing is in flight any more."""
        self._unsent = None

    def acked(self, n: int) -> int | None:
        """Central has ``n`` durably, hence all before it. Returns n if it was news; what was never sent is ignored."""
        if self._unsent is None or n >= self._unsent:
            return None
        return self._drop(n)

    def due(self) -> list[Outbox]:
        """What to send now, in order; counts as sent."""
        if self._unsent is None:
            return []
        messages = []
        for item in self._items:
            if item.n - self._items[0].n >= WINDOW:
                break
            if item.n >= self._unsent:
                messages.append(Outbox(n=item.n, payload=item.payload))
        if messages:
            self._unsent = messages[-1].n + 1
        return messages

    def renumbered(self, next_n: int) -> tuple[Item, ...]:
        """The items with numbers from ``next_n`` on."""
        return tuple(Item(next_n + i, item.payload) for i, item in enumerate(self._items))

    def replace(self, items: tuple[Item, ...], next_n: int) -> None:
        """Other numbers for all items, kept on disk already."""
        self._items = deque(items)
        self.next_n = next_n

    def _drop(self, n: int) -> int | None:
        dropped = None
        while self._items and self._items[0].n <= n:
            dropped = self._items.popleft().n
        return dropped
