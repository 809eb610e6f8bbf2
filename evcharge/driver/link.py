"""A driver's link to Central: it connects, says why it cannot, comes back, and carries requests and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from evcharge.net.client import Client, Listener, RequestFailed
from evcharge.net.clock import Clock
from protocol import messages as m
from protocol.credentials import Credential

T = TypeVar("T")

# Bytes of a boot id: one per start of this process. SPEC §4
BOOT_ID_BYTES = 16
# How long a person waits for the first connection, in seconds.
CONNECT_S = 10.0
# How long the look goes at who listens there, in seconds.
PROBE_S = 2.0
# Pages of one list: 100 rows each, so a site of 10,000 charge points. A Central that pages for ever is broken.
MAX_PAGES = 100


class Unreachable(Exception):
    """Central does not answer; the text says what to do."""


class ClientMaker(Protocol):
    """How a channel is made: ``evcharge.net.client.Client`` itself."""

    def __call__(
        self,
        credential: Credential,
        host: str,
        port: int,
        *,
        clock: Clock,
        listener: Listener,
        boot_id: bytes,
        give_up: bool,
    ) -> Client: ...


class Link:
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
        self._credential = credential
        self._address = (host, port)
        self._clock = clock
        self._listener = listener
        self._boot_id = entropy(BOOT_ID_BYTES)
        self._connect_s = connect_s
        self._make_client = make_client
        self._client = self._new_client()
        self._runner: asyncio.Task[None] | None = None

    async def connected(self) -> None:
        """Wait for the channel.

        Raises:
            Refusal: Central turned this driver away for good.
            Unreachable: there is no channel after ``connect_s`` seconds.
        """
        try:
            await self.guard(self._client.wait_connected(), self._connect_s)
        except TimeoutError:
            raise Unreachable(await self._why_not()) from None

    async def _why_not(self) -> str:
        """One sentence on why there is no channel: nobody listens, or somebody who is not this Central."""
        host, port = self._address
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

    async def leave(self) -> None:
        """Close the channel and stay away."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)

    def come_back(self) -> None:
        """Connect again after ``leave``."""
        if self._runner is None:
            self._client = self._new_client()
            self._runner = asyncio.create_task(self._client.run(), name=f"link of driver {self._credential.entity}")

    def send(self, message: m.Message) -> bool:
        """Say something that has no answer. False: there is no channel."""
        return self._client.send(message)

    async def request(self, message: m.Message) -> m.Reply:
        """The answer to a request. Raises RequestRefused, RequestFailed, Refusal."""
        answer = await self.guard(self._client.request(message))
        if isinstance(answer, m.Reply):
            return answer
        # An ack: done, and nothing to tell.
        return m.Reply(re=0)

    async def pages(self, page: Callable[[str | None], m.Message]) -> AsyncIterator[m.Reply]:
        """The answers to ``page`` of where the one before ended. Raises as ``request``."""
        after: str | None = None
        for _ in range(MAX_PAGES):
            reply = await self.request(page(after))
            yield reply
            after = reply.next
            if after is None:
                return
        raise RequestFailed(f"Central's list did not end after {MAX_PAGES} pages; its log says why.")

    async def guard(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """The result of ``work``, unless Central turns this driver away for good meanwhile.

        Raises Refusal, TimeoutError, and what ``work`` raises.
        """
        runner = self._runner
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait(
                {task} if runner is None else {task, runner},
                timeout=timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            refused = runner is not None and runner.done() and not runner.cancelled()
            # A request that fails because Central closed the door for good says so, not that there is no link.
            if runner is not None and refused and not (task.done() and task.exception() is None):
                runner.result()
            if task.done():
                return task.result()
            raise TimeoutError
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _new_client(self) -> Client:
        host, port = self._address
        return self._make_client(
            self._credential,
            host,
            port,
            clock=self._clock,
            listener=self._listener,
            boot_id=self._boot_id,
            give_up=True,
        )
