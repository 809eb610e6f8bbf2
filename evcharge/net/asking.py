"""One credential's channel, over and over, that carries requests and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from evcharge.net.answers import RequestFailed, reply_of
from evcharge.net.backoff import CAP_S
from evcharge.net.client import Client, Listener
from evcharge.net.clock import Clock
from evcharge.net.witness import Witness
from protocol import messages as m
from protocol.credentials import Credential

T = TypeVar("T")

# Bytes of a boot id: one per start of this process. SPEC §4
BOOT_ID_BYTES = 16
# How long an answer may take, in seconds, unless the caller says otherwise: a person waits no longer.
ANSWER_S = 10.0
# Pages of one list: 100 rows each, so a site of 10,000 charge points. A Central that pages for ever is broken.
MAX_PAGES = 100


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
        witness: Witness | None,
        longest_s: float,
    ) -> Client: ...


class Asking:
    """``listener`` hears what comes by itself. Its owner either awaits ``run``, or calls ``come_back`` and ``leave``.

    With ``give_up`` the channel ends at a refusal that no waiting mends, and whoever waits for it hears ``Refusal``.
    """

    def __init__(
        self,
        credential: Credential,
        host: str,
        port: int,
        *,
        clock: Clock,
        listener: Listener,
        entropy: Callable[[int], bytes],
        make_client: ClientMaker = Client,
        give_up: bool = True,
        witness: Witness | None = None,
        longest_s: float = CAP_S,
    ) -> None:
        """``witness`` keeps Central's newest log checkpoint; ``longest_s`` is the longest wait where nobody listens."""
        self.credential = credential
        self.address = (host, port)
        self._clock = clock
        self._listener = listener
        self._boot_id = entropy(BOOT_ID_BYTES)
        self._make_client = make_client
        self._give_up = give_up
        self._witness = witness
        self._longest_s = longest_s
        self._client = self._new_client()
        self._runner: asyncio.Task[None] | None = None

    # --- the channel --------------------------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """A channel is open."""
        return self._client.connected

    @property
    def over(self) -> bool:
        """Central turned this peer away for good: ``leave`` it."""
        return self._runner is not None and self._runner.done()

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        await self._client.run()

    def come_back(self) -> None:
        """Connect, also after ``leave``."""
        if self._runner is None:
            self._client = self._new_client()
            name = f"link of {self.credential.role.label} {self.credential.entity}"
            self._runner = asyncio.create_task(self._client.run(), name=name)

    async def leave(self) -> None:
        """Close the channel and stay away."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)

    async def wait_up(self, timeout_s: float | None = None) -> None:
        """Wait for the channel. Raises Refusal, TimeoutError."""
        await self.guard(self._client.wait_connected(), timeout_s)

    # --- what goes over it --------------------------------------------------------------------------------------------

    def send(self, message: m.Message) -> bool:
        """Say something that has no answer. False: there is no channel."""
        return self._client.send(message)

    async def request(self, message: m.Message, timeout_s: float = ANSWER_S) -> m.Reply:
        """The answer to a request. Raises RequestRefused, RequestFailed, Refusal."""
        work = self._client.request(message, timeout_s)
        return reply_of(await (work if self._runner is None else self.guard(work)))

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
        """The result of ``work``, unless Central turns this peer away for good meanwhile.

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
        host, port = self.address
        return self._make_client(
            self.credential,
            host,
            port,
            clock=self._clock,
            listener=self._listener,
            boot_id=self._boot_id,
            give_up=self._give_up,
            witness=self._witness,
            longest_s=self._longest_s,
        )
