"""Who is connected: one entry per authenticated channel, and the newest one of each role and entity."""

from __future__ import annotations

import structlog

from evcharge.central.engine import Origin
from evcharge.domain.words import Role
from evcharge.ids import Fence
from evcharge.net.adapter import Adapter
from protocol.errors import CloseCode, LocalProtocolError
from protocol.fields import Order
from protocol.messages import Message

log = structlog.get_logger()


class Peer:
    """One authenticated channel. Its identity comes from the registry's record, never from a message."""

    __slots__ = (
        "adapter",
        "boot_id",
        "entity",
        "fence",
        "not_after_ms",
        "origin",
        "outbox_epoch",
        "public_key",
        "ready",
        "role",
        "stale",
        "username",
        "warned",
    )

    def __init__(
        self,
        adapter: Adapter,
        *,
        role: Role,
        entity: str,
        username: str,
        public_key: bytes,
        fence: Fence,
        boot_id: bytes,
        outbox_epoch: int | None,
        stale: bool,
        not_after_ms: int | None = None,
    ) -> None:
        self.adapter = adapter
        self.role = role
        self.entity = entity
        self.username = username
        self.public_key = public_key
        self.fence = fence
        self.boot_id = boot_id
        self.outbox_epoch = outbox_epoch
        self.stale = stale
        """Admitted by a kept record while the registry was away."""
        self.not_after_ms = not_after_ms
        """When its credential ends, UTC ms; None: never."""
        self.ready = False
        self.warned = False
        self.origin = Origin(f"{role.value}:{entity}", adapter.address, self)

    def asking(self, message: Message) -> Origin:
        """The origin of a message: it may want an answer, and say for whom and by which request it comes.

        That is only its word: ``actor`` stays who the channel belongs to (SPEC §6.2).
        """
        request_id = getattr(message, "id", None)
        if isinstance(message, Order):
            return self.origin._replace(request_id=request_id, by=message.by, trace=message.trace)
        return self.origin._replace(request_id=request_id)

    def silent_s(self, now_s: float) -> float:
        """How long nothing authentic came; 0 while this side itself does not read."""
        return self.adapter.silent_s(now_s)

    def part(self) -> None:
        """The channel has ended: let go of what holds this peer, so that its memory is free without a collector."""
        self.adapter.peer = None
        self.origin = self.origin._replace(reply_to=None)

    def send(self, message: Message) -> None:
        """Say something; nothing happens when the channel is gone.

        What cannot be said, because it fits in no frame, ends this channel and nothing else: the engine that released
        it speaks for the whole site.
        """
        try:
            self.adapter.send(message)
        except LocalProtocolError:
            log.exception("peer.illegal_message", peer=self.origin.actor)
            self.adapter.close(CloseCode.INTERNAL, "a bug of this side")


class Directory:
    """The current peer of each role and entity. An adapter itself knows its own ``peer``."""

    def __init__(self) -> None:
        self.counts: dict[Role, int] = dict.fromkeys(Role, 0)
        """Of each role, how many are there."""
        self._current: dict[tuple[Role, str], Peer] = {}

    def take_over(self, peer: Peer) -> Peer | None:
        """``peer`` speaks for its entity from now on; returns the one that it replaces."""
        key = (peer.role, peer.entity)
        older = self._current.get(key)
        self._current[key] = peer
        self.counts[peer.role] += older is None
        return older

    def remove(self, peer: Peer) -> None:
        """The channel ended."""
        if self._current.get((peer.role, peer.entity)) is peer:
            del self._current[peer.role, peer.entity]
            self.counts[peer.role] -= 1

    def current(self, role: Role, entity: str) -> Peer | None:
        """The peer that speaks for ``entity`` now."""
        return self._current.get((role, entity))
