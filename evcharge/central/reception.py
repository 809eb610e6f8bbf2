"""What happens at the door: the handler of the server's adapters, from a peer's first frame to its end."""

from __future__ import annotations

import structlog

from evcharge.central.admission import Admission
from evcharge.central.engine import Engine
from evcharge.central.inbound import Inbound
from evcharge.central.liveness import Liveness
from evcharge.central.peers import Directory, Peer
from evcharge.domain import commands as c
from evcharge.net.adapter import Adapter
from protocol.connection import AuthPresented, Established
from protocol.errors import CloseCode, RemoteProtocolError
from protocol.messages import Message

log = structlog.get_logger()


class Reception:
    """One for all connections; ``attach`` before the first."""

    def __init__(self, engine: Engine, admission: Admission, directory: Directory) -> None:
        self._engine = engine
        self._admission = admission
        self._directory = directory
        # Bound once: it is asked twice for every connection, and mostly to say nothing.
        self._log = log.bind()
        self.paused: dict[Peer, None] = {}
        """Those that are not read while too much waits for the disk."""
        self.stopping = False
        """Central goes down: that its peers leave is no news."""
        engine.on_relief = self._resume_reading

    def attach(self, inbound: Inbound, liveness: Liveness) -> None:
        """What receives their messages, and what misses them; both need the server that this is made for."""
        self._inbound = inbound
        self._liveness = liveness

    def hello(self, adapter: Adapter) -> None:
        """A whole HELLO is here."""
        self._admission.hello(adapter)

    def auth(self, adapter: Adapter, event: AuthPresented) -> None:
        """Somebody proved to own a key."""
        self._admission.auth(adapter, event)

    def established(self, adapter: Adapter, _event: Established) -> None:
        """A peer is in."""
        peer: Peer = adapter.peer
        if not self._admission.ready(peer):
            return
        self._liveness.watch(peer)
        self._log.info("peer.connected", peer=peer.origin.actor, address=adapter.address, fence=peer.fence)

    def message(self, adapter: Adapter, message: Message) -> None:
        """A peer says something."""
        self._inbound.message(adapter.peer, message)
        if self._engine.congested:
            self.paused[adapter.peer] = None
            adapter.pause_reading()

    def checkpoint(self, _adapter: Adapter, _note: bytes) -> None:
        raise AssertionError("Central asks nobody for a checkpoint")

    def closed(
        self, adapter: Adapter, code: CloseCode | None, clean: bool, why: str, error: RemoteProtocolError | None
    ) -> None:
        """A connection ended: a peer's end is history, a stranger's leaves a line."""
        if error is not None:
            self._admission.tally.ended(error)
        peer: Peer | None = adapter.peer
        if peer is None or not peer.ready:
            if not self.stopping:
                self._admission.gone(adapter, code, error, clean=clean)
            if peer is not None:
                peer.part()
            return
        self.paused.pop(peer, None)
        self._directory.remove(peer)
        cause = why if error is None else f"{type(error).__name__}: {error.message}"
        self._log.info(
            "peer.disconnected", peer=peer.origin.actor, cause=cause, code=None if code is None else code.name
        )
        # Central's own end is no loss of its peers: the next start takes them up again.
        if not self.stopping:
            command = c.PeerGone(role=peer.role, entity=peer.entity, fence=peer.fence, cause=cause)
            self._engine.execute(command, peer.origin)
        peer.part()

    def _resume_reading(self) -> None:
        paused, self.paused = self.paused, {}
        for peer in paused:
            peer.adapter.resume_reading()
