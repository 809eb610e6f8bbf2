"""A gateway's channel to Central, up for as long as its process runs: it asks and is answered.

The sidecar has one in its own name: the registry serves first and needs no channel, because Central asks it before it
can admit anybody, this peer included. The publisher of events has one of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from evcharge.net.asking import Asking, ClientMaker
from evcharge.net.client import ChannelInfo, Client
from evcharge.net.clock import Clock
from evcharge.net.witness import Witness
from protocol.credentials import Credential
from protocol.messages import Message, Reply

log = structlog.get_logger()

# How long Central's answer may take, in seconds: below the 10 s after which common HTTP clients give up.
ANSWER_S = 5.0
# Longest wait for the next attempt where nobody listens, in seconds (SPEC §5.3). A site has few gateways, and people
# look through them: they see the site again within five seconds of Central's return, however long it was away.
LONGEST_S = 3.0


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
        self._up: list[Callable[[], None]] = []
        self._asking = Asking(
            credential,
            host,
            port,
            clock=clock,
            listener=self,
            entropy=entropy,
            witness=witness,
            make_client=make_client,
            # A refusal is waited out, because the registry must go on serving.
            give_up=False,
            longest_s=LONGEST_S,
        )

    @property
    def state(self) -> str:
        """``connected`` or ``disconnected``."""
        return "connected" if self._asking.up else "disconnected"

    def on_up(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` whenever a channel is open anew, and now if one is: for what Central has to be told again.

        It is called on the loop and must not block.
        """
        self._up.append(tell)
        if self._asking.up:
            tell()

    async def run(self) -> None:
        """Connect and reconnect until cancelled."""
        await self._asking.run()

    async def ask(self, message: Message, timeout_s: float = ANSWER_S) -> Reply:
        """Central's answer; the ``id`` of ``message`` does not matter.

        Raises:
            RequestRefused: Central says no, with a code.
            CentralAway, TooManyRequests: nothing was sent; at once.
            Unanswered: no answer in ``timeout_s``, or the channel broke meanwhile; Central may have acted.
            BadAnswer: Central calls the message a mistake.
        """
        return await self._asking.request(message, timeout_s)

    def send(self, message: Message) -> bool:
        """Say something that has no answer. False: there is no channel."""
        return self._asking.send(message)

    def channel_up(self, info: ChannelInfo) -> None:
        """Part of ``Listener``."""
        log.info("central.connected", fence=info.fence)
        for tell in self._up:
            tell()

    def channel_down(self, why: str) -> None:
        """Part of ``Listener``."""
        log.warning("central.disconnected", why=why)

    def message(self, message: Message) -> None:
        """Part of ``Listener``. Answers do not come here, so nothing but a drain, or an answer that is too late."""
        log.debug("central.message", kind=type(message).__name__)
