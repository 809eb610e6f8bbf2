"""The sidecar's own channel to Central: an ordinary peer of role gateway.

The registry serves first and needs no channel; Central asks it before it can admit anybody, this peer
included. What comes later (operators' commands, the live page) speaks through this link.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from evcharge.net.client import ChannelInfo, Client, Listener
from evcharge.net.clock import Clock
from evcharge.net.witness import Witness
from protocol.credentials import Credential
from protocol.messages import Message

log = structlog.get_logger()

# Bytes of a boot id: one per start of this process. SPEC §4
BOOT_ID_BYTES = 16


class Runner(Protocol):
    """What the link needs of a client; tests put a double here."""

    @property
    def connected(self) -> bool: ...

    async def run(self) -> None: ...


class ClientMaker(Protocol):
    """How a client is made: ``evcharge.net.client.Client`` itself."""

    def __call__(
        self,
        credential: Credential,
        host: str,
        port: int,
        *,
        clock: Clock,
        listener: Listener,
        boot_id: bytes,
        witness: Witness | None,
    ) -> Runner: ...


class CentralLink:
    """Keeps the channel up; ``state`` is what /health shows."""

    def __init__(
        self,
        credential: Credential,
        host: str,
        port: int,
        *,
        clock: Clock,
        entropy: Callable[[int], bytes],
        witness: Witness | None = None,
        make_client: ClientMaker = Client,
    ) -> None:
        """``witness`` keeps Central's newest log checkpoint."""
        boot_id = entropy(BOOT_ID_BYTES)
        self._client = make_client(credential, host, port, clock=clock, listener=self, boot_id=boot_id, witness=witness)

    @property
    def state(self) -> str:
        """``connected`` or ``disconnected``."""
        return "connected" if self._client.connected else "disconnected"

    async def run(self) -> None:
        """Connect and reconnect until cancelled. A refusal is waited out, because the registry must go on
        serving.
        """
        await self._client.run()

    def channel_up(self, info: ChannelInfo) -> None:
        """Part of ``Listener``."""
        log.info("central.connected", fence=info.fence)

    def channel_down(self, why: str) -> None:
        """Part of ``Listener``."""
        log.warning("central.disconnected", why=why)

    def message(self, message: Message) -> None:
        """Part of ``Listener``. Nothing is asked for here yet, so nothing but a drain can come."""
        log.debug("central.message", kind=type(message).__name__)
