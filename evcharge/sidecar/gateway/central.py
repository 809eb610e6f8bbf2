"""Central as the gateway's handlers see it: an answer, or a problem that says why not."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Literal, Protocol

from evcharge.net.answers import RequestFailed, RequestRefused
from evcharge.sidecar.gateway import problems
from evcharge.sidecar.web.problem import Problem
from protocol.messages import Message, Query, Reply

Table = Literal["charge_points", "sessions", "tickets"]


class Link(Protocol):
    """What the gateway needs of ``evcharge.net.link.CentralLink``."""

    @property
    def state(self) -> str: ...

    async def ask(self, message: Message, timeout_s: float = ...) -> Reply: ...


class Central:
    """Asks over the sidecar's link, where there is one."""

    def __init__(self, link: Link | None, answer_s: float) -> None:
        """``link`` None: the sidecar runs without a Central."""
        self._link = link
        self._answer_s = answer_s
        self._under_way: dict[Message, asyncio.Task[Reply]] = {}

    @property
    def state(self) -> Literal["connected", "disconnected", "unset"]:
        """Of the link."""
        if self._link is None:
            return "unset"
        return "connected" if self._link.state == "connected" else "disconnected"

    def needed(self) -> None:
        """Raises Problem: Central is away."""
        if self.state != "connected":
            raise problems.away()

    async def ask(self, message: Message) -> Reply:
        """Central's answer. Raises Problem."""
        if self._link is None:
            raise problems.away()
        try:
            return await self._link.ask(message, self._answer_s)
        except RequestRefused as error:
            raise problems.of_refusal(error) from None
        except RequestFailed as error:
            raise problems.of_failure(error) from None

    async def row(self, what: Table, one: str) -> Any:
        """The row of a table with this id; None: there is none. Raises Problem."""
        try:
            rows = getattr(await self.ask(Query(id=0, what=what, one=one)), what)
        except Problem as error:
            if error.status is HTTPStatus.NOT_FOUND:
                return None
            raise
        if not rows:
            raise problems.unexpected()
        return rows[0]

    async def ask_shared(self, question: Message) -> Reply:
        """As ``ask``, for what is costly and changes nothing: the same question under way is asked once.

        Central takes few recommendations a second from one gateway (SPEC §5.2), however many clients it has.
        """
        task = self._under_way.get(question)
        if task is None:
            task = self._under_way[question] = asyncio.create_task(self.ask(question), name="shared question")
            task.add_done_callback(lambda ended: self._ended(question, ended))
        # One who hangs up does not end it for the others.
        return await asyncio.shield(task)

    def _ended(self, question: Message, task: asyncio.Task[Reply]) -> None:
        del self._under_way[question]
        if not task.cancelled():
            # Told to whoever still waits; when nobody does it is no news.
            task.exception()
