"""Whom an ``Adapter`` tells what happens: a handler that acts, and an owner that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from protocol.errors import CloseCode, RemoteProtocolError
from protocol.events import AuthPresented, Established
from protocol.messages import Message

if TYPE_CHECKING:
    from evcharge.net.adapter import Adapter


class PeerHandler(Protocol):
    """Who is told what a connection does. Plain calls on the loop; they may call the adapter back at once.

    ``hello`` and ``auth`` come on the server only and are answered then or later: ``adapter.reply_hello``,
    ``adapter.accept`` or ``adapter.refuse``. ``closed`` comes exactly once for every adapter, last.
    """

    def hello(self, adapter: Adapter, /) -> None:
        """A whole HELLO is there, and a handshake slot for it; nothing was computed for it yet."""
        ...

    def auth(self, adapter: Adapter, event: AuthPresented, /) -> None:
        """The peer proved its key and claims the rest."""
        ...

    def established(self, adapter: Adapter, event: Established, /) -> None:
        """``adapter.send`` works."""
        ...

    def message(self, adapter: Adapter, message: Message, /) -> None:
        """A legal message."""
        ...

    def checkpoint(self, adapter: Adapter, note: bytes, /) -> None:
        """Client: Central's newest log checkpoint came with a PONG."""
        ...

    def closed(
        self, adapter: Adapter, code: CloseCode | None, clean: bool, why: str, error: RemoteProtocolError | None, /
    ) -> None:
        """Over. ``clean``: by this side, or with an authenticated CLOSE or REFUSE. ``error``: the peer's fault."""
        ...


class Owner(Protocol):
    """Who made the adapter, counts it, and says whose turn it is."""

    def adapter_made(self, adapter: Adapter, /) -> None:
        """The transport is there."""
        ...

    def adapter_hello(self, adapter: Adapter, /) -> None:
        """Server: a whole HELLO is there. Let the handler answer it when its turn has come."""
        ...

    def adapter_auth(self, adapter: Adapter, /) -> None:
        """Server: AUTH is there; the handler is told next."""
        ...

    def adapter_ready(self, adapter: Adapter, /) -> None:
        """READY went both ways; ``adapter.established`` is True from now on."""
        ...

    def adapter_lost(self, adapter: Adapter, /) -> None:
        """The transport is gone."""
        ...
