"""Drivers' channels to Central: a channel has one identity, so what a client asks for its driver goes over a channel of
that driver.

They are opened when they are needed, kept while they are used, closed when nobody used them for a while, and bounded in
number. Tickets that come over them are not confirmed: nobody has taken them, and Central keeps them for the driver.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial

import structlog

from evcharge.net.answers import CentralAway, TooManyRequests
from evcharge.net.asking import Asking, ClientMaker
from evcharge.net.client import ChannelInfo, Client
from evcharge.net.clock import Clock
from evcharge.net.timers import Timer, TimerWheel
from evcharge.sidecar.gateway.settings import GatewaySettings
from protocol.credentials import Credential, Role
from protocol.messages import Message, Reply

log = structlog.get_logger()

CredentialOf = Callable[[str], Awaitable[Credential | None]]
"""The credential with which the sidecar may speak as a driver; None: it has none."""


class NoCredential(Exception):
    """The sidecar may not speak as this driver."""


class _Channel:
    """One driver's, and how many use it now."""

    def __init__(self, driver_id: str) -> None:
        self.driver_id = driver_id
        self.asking: Asking | None = None
        self.users = 0
        self.used_s = 0.0
        self.opening = asyncio.Lock()
        self.look: Timer | None = None

    def channel_up(self, info: ChannelInfo) -> None:
        """Part of ``Listener``."""
        log.info("gateway.driver_connected", driver=self.driver_id, fence=info.fence)

    def channel_down(self, why: str) -> None:
        """Part of ``Listener``."""
        log.info("gateway.driver_disconnected", driver=self.driver_id, why=why)

    def message(self, message: Message) -> None:
        """Part of ``Listener``: news for a driver who is not here."""


class DriverChannels:
    """``ask`` as a driver; ``run`` closes what nobody uses."""

    def __init__(
        self,
        credential_of: CredentialOf,
        address: tuple[str, int],
        *,
        clock: Clock,
        timers: TimerWheel,
        entropy: Callable[[int], bytes],
        settings: GatewaySettings,
        make_client: ClientMaker | None = None,
    ) -> None:
        self._credential_of = credential_of
        self._address = address
        self._clock = clock
        self._timers = timers
        self._entropy = entropy
        self._settings = settings
        self._make_client: ClientMaker = make_client or partial(Client, timers=timers)
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._leaving: asyncio.Queue[Asking] = asyncio.Queue()
        self._context = copy_context()

    def __len__(self) -> int:
        """How many are open, or on their way."""
        return len(self._channels)

    async def ask(self, driver_id: str, message: Message) -> Reply:
        """Central's answer to a driver.

        Raises:
            NoCredential: the sidecar may not speak as this driver.
            Refusal: Central does not admit it.
            RequestRefused, RequestFailed: as ``CentralLink.ask``.
        """
        channel = self._channel(driver_id)
        channel.users += 1
        try:
            asking = await self._open(channel)
            return await asking.request(message, self._settings.answer_s)
        finally:
            channel.users -= 1
            channel.used_s = self._clock.monotonic()
            self._watch(channel)

    async def run(self) -> None:
        """Close what nobody uses until cancelled; then close all."""
        try:
            while True:
                await (await self._leaving.get()).leave()
        finally:
            for channel in list(self._channels.values()):
                self._drop(channel)
            while not self._leaving.empty():
                await self._leaving.get_nowait().leave()

    def _channel(self, driver_id: str) -> _Channel:
        """The driver's, perhaps in place of one that is not used."""
        channel = self._channels.get(driver_id)
        if channel is None:
            if len(self._channels) >= self._settings.channels:
                unused = next((one for one in self._channels.values() if one.users == 0), None)
                if unused is None:
                    raise TooManyRequests(f"{self._settings.channels} drivers wait for an answer already.")
                self._drop(unused)
            channel = self._channels[driver_id] = _Channel(driver_id)
        self._channels.move_to_end(driver_id)
        return channel

    async def _open(self, channel: _Channel) -> Asking:
        """Its open channel. Raises NoCredential, Refusal, CentralAway."""
        try:
            async with self._within(self._settings.open_s), channel.opening:
                if channel.asking is None or not channel.asking.up:
                    # One that waits for its next attempt may wait for a minute: a new one tries at once.
                    self._leave(channel)
                    channel.asking = await self._connected(channel)
                return channel.asking
        except TimeoutError:
            raise CentralAway(f"the channel of {channel.driver_id} did not open in time") from None

    async def _connected(self, channel: _Channel) -> Asking:
        credential = await self._credential_of(channel.driver_id)
        if credential is None:
            raise NoCredential(channel.driver_id)
        if (credential.role, credential.entity) != (Role.DRIVER, channel.driver_id):
            # Nobody is to pay for somebody else's mistake in a list of files.
            log.error("gateway.wrong_credential", driver=channel.driver_id, username=credential.username)
            raise NoCredential(channel.driver_id)
        host, port = self._address
        asking = Asking(
            credential,
            host,
            port,
            clock=self._clock,
            listener=channel,
            entropy=self._entropy,
            make_client=self._make_client,
        )
        # The channel outlives this request: what is logged of it later is not this request's.
        self._context.run(asking.come_back)
        try:
            await asking.wait_up()
        except BaseException:
            self._leaving.put_nowait(asking)
            raise
        return asking

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        """TimeoutError after ``seconds`` of the clock."""
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(None)
        due_s = self._clock.monotonic() + seconds
        timer = self._timers.schedule(due_s, lambda: limit.reschedule(loop.time()))
        try:
            async with limit:
                yield
        finally:
            self._timers.cancel(timer)

    def _watch(self, channel: _Channel) -> None:
        """Look after it when it may have been idle for long enough; who has none open is forgotten now."""
        if channel.users == 0 and channel.asking is None:
            self._drop(channel)
        elif channel.users == 0 and channel.look is None:
            due_s = channel.used_s + self._settings.idle_s
            channel.look = self._timers.schedule(due_s, lambda: self._idle(channel))

    def _idle(self, channel: _Channel) -> None:
        """Nobody used it for long enough; or somebody did, and it is looked at again later."""
        channel.look = None
        if channel.users == 0 and self._clock.monotonic() - channel.used_s >= self._settings.idle_s:
            self._drop(channel)
        else:
            self._watch(channel)

    def _drop(self, channel: _Channel) -> None:
        if self._channels.get(channel.driver_id) is channel:
            del self._channels[channel.driver_id]
        if channel.look is not None:
            self._timers.cancel(channel.look)
            channel.look = None
        self._leave(channel)

    def _leave(self, channel: _Channel) -> None:
        asking, channel.asking = channel.asking, None
        if asking is not None:
            self._leaving.put_nowait(asking)
