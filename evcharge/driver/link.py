"""A driver's link to Central: it connects, says why it cannot, comes back, and carries requests and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from evcharge.net.asking import Asking, ClientMaker
from evcharge.net.client import Listener
from evcharge.net.clock import Clock
from protocol.credentials import Credential

# How long a person waits for the first connection, in seconds.
CONNECT_S = 10.0
# How long the look goes at who listens there, in seconds.
PROBE_S = 2.0


class Unreachable(Exception):
    """Central does not answer; the text says what to do."""


class Link(Asking):
    """One driver's channel, over and over. ``listener`` hears what comes by itself."""

    def __init__(
        self,
        credential: Credential,
        host: str,
        port: int,
        *,
        clock: Clock,
        listener: Listener,
        entropy: Callable[[int], bytes],
        connect_s: float,
        make_client: ClientMaker,
    ) -> None:
        super().__init__(
            credential, host, port, clock=clock, listener=listener, entropy=entropy, make_client=make_client
        )
        self._connect_s = connect_s

    async def connected(self) -> None:
        """Wait for the channel.

        Raises:
            Refusal: Central turned this driver away for good.
            Unreachable: there is no channel after ``connect_s`` seconds.
        """
        try:
            await self.wait_up(self._connect_s)
        except TimeoutError:
            raise Unreachable(await self._why_not()) from None

    async def _why_not(self) -> str:
        """One sentence on why there is no channel: nobody listens, or somebody who is not this Central."""
        host, port = self.address
        try:
            async with asyncio.timeout(PROBE_S):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return f"Central at {host}:{port} does not answer; is evcharge-central running, is --central right?"
        writer.close()
        return (
            f"What answers at {host}:{port} does not prove to be the Central of this credential, or is too busy; "
            "check --central, or register again at this Central's registry."
        )
