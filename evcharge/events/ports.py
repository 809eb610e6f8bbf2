"""What the publisher needs of others, as it calls them: tests put a Kafka in memory there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from evcharge.events.keys import Learned
from evcharge.events.message import Message
from evcharge.events.position import Kept, Position
from evcharge.events.topics import Topics
from evcharge.events.troubles import Trouble
from protocol import messages as m


class Link(Protocol):
    """What it needs of the link to Central."""

    @property
    def state(self) -> str: ...

    async def ask(self, message: m.Message, timeout_s: float = ...) -> m.Reply: ...

    def on_up(self, tell: Callable[[], None]) -> None: ...


class Outlet(Protocol):
    """The way into Kafka that nobody else has: ``evcharge.events.outlet``."""

    topics: Topics
    kept: Kept

    async def publish(
        self,
        messages: Sequence[Message],
        position: Position,
        piece_bytes: int = ...,
        *,
        learned: Sequence[Learned] = ...,
    ) -> None:
        """``learned`` is stored with what the messages taught."""
        ...

    async def alive(self) -> bool: ...

    async def close(self) -> None: ...


class Kafka(Protocol):
    """What it needs of Kafka: ``evcharge.events.outlet.RealKafka``. Each raises Trouble where nothing else is said."""

    async def open(self) -> Outlet:
        """Turn away whoever published before. Raises Fenced too."""
        ...

    async def read_kept(self) -> Kept:
        """What stands on the topic of positions, without turning anybody away."""
        ...

    async def newest_published(self, partitions: int, *, thorough: bool) -> int:
        """The newest record of this log on the topic; 0: there is none.

        Without ``thorough`` only the end of each partition is looked at, which takes no time worth mentioning.
        """
        ...

    async def look(self) -> Trouble | None:
        """Why no broker lets this client in; None: one does. Raises nothing."""
        ...

    async def unwritable(self) -> Trouble | None:
        """Why the topics take nothing: TOPIC_GONE, KAFKA_UNSAFE; None: they do, or nobody can tell. Raises nothing."""
        ...
