"""An event loop on virtual time, and processes that can be killed between two of its steps.

Time stands still while anything can run and jumps to the next timer when nothing can. What runs belongs to the
``Process`` of its context; nothing of a dead one ever runs again, as after ``kill -9``: no handler, no ``finally``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenlet import greenlet

    from tools.simulate.network import Network
    from tools.simulate.threads import GreenThread, GreenThreads

# Where virtual time begins, seconds: not 0, so that "never" and "at the start" stay apart.
BEGIN_S = 1_000.0
# Steps without any time passing after which a run is stuck in a circle.
MOST_STEPS = 2_000_000


class Process:
    """What lives and dies together, on one machine."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.host = host
        """Its address."""
        self.alive = True

    def run(self, callback: Callable[..., object], *arguments: Any) -> None:
        """A step of this process, if it lives."""
        if self.alive:
            callback(*arguments)

    def context(self) -> Context:
        """One in which this is the process."""
        context = copy_context()
        context.run(CURRENT.set, self)
        return context


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class Stuck(Exception):
    """Nothing can ever happen again, or nothing but the same."""


class VirtualLoop(asyncio.BaseEventLoop):
    """``network`` and ``threads`` have to be set before anything uses them."""

    network: Network
    threads: GreenThreads

    def __init__(self) -> None:
        super().__init__()
        self._now_s = BEGIN_S
        self._steps = 0
        self._selector = self
        self.all_threads: dict[greenlet, GreenThread] = {}
        """Green threads, the dead ones as well: to forget one would let its ``finally`` run."""
        self.faults: list[str] = []
        """What was reported to the loop's exception handler: each one is a bug."""
        self.set_exception_handler(lambda _loop, context: self.faults.append(_told(context)))

    # --- time -----------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def select(self, timeout: float | None) -> list[object]:
        """What the base class takes for waiting for I/O. Raises Stuck."""
        if timeout is None:
            raise Stuck("nothing is scheduled, and somebody waits")
        if timeout > 0:
            self._steps = 0
            self._now_s = max(self._now_s, self._scheduled[0].when())  # type: ignore[attr-defined]  # its own heap
            return []
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise Stuck(f"{MOST_STEPS} steps without any time passing")
        return []

    def _process_events(self, _events: object) -> None:
        """There are no others."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def bury(self) -> None:
        """The run is over: let go of everything, dead or alive. What still wants to say something is not heard."""
        self.set_exception_handler(lambda *_: None)
        self.close()
        for thread in list(self.all_threads.values()):
            # A greenlet that rests is invisible to the collector, and with it all that it knows.
            with suppress(BaseException):
                thread.green.throw()
        self.all_threads.clear()

    # --- processes ------------------------------------------------------------------------------------------------

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        if context is None:
            context = copy_context()
        process = context.get(CURRENT)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(process.run, callback, *args, context=context)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        return self.call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
        if context is None:
            context = copy_context()
        process = context.get(CURRENT)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, process.run, callback, *args, context=context)

    def run_in_executor(self, _executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """In a green thread of its own."""
        future: asyncio.Future[Any] = self.create_future()

        def body() -> None:
            try:
                result = func(*args)
            except Exception as error:
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(result)

        self.threads.start(body, "executor")
        return future

    # --- network --------------------------------------------------------------------------------------------------

    async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> Any:
        """Names are addresses already."""
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        sock = options.get("sock")
        return self.network.listen(protocol_factory, port if sock is None else sock.getsockname()[1], sock)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        sock = options.get("sock")
        if sock is not None:
            host, port = self.network.dialled(sock)
        return await self.network.connect(protocol_factory, (host, port))

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """aiohttp connects its sockets itself; the connection is made when it hands the socket over."""
        await self.network.dial(sock, address)


def _told(context: dict[str, Any]) -> str:
    error = context.get("exception")
    message: str = context["message"]
    return message if error is None else f"{message}: {error!r}"
