"""An event loop on virtual time, and processes that can be killed between two of its steps.

Time stands still while anything can run and jumps to the next timer when nothing can. What runs belongs to the
``Process`` of its context; nothing of a dead one ever runs again, as after ``kill -9``: no handler, no ``finally``.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenlet import greenlet

    from tools.simulate.network import Network
    from tools.simulate.threads import GreenThread, GreenThreads

# Where virtual time begins, seconds: not 0, so that "never" and "at the start" stay apart.
BEGIN_S = 1_000.0
# Steps without any time passing after which a run is stuck in a circle.
MOST_STEPS = 2_000_000
# Timers that are so close to now fire with it, seconds: what asyncio takes for its clock's resolution on Linux. Written
# down, so that a seed gives the same run on every machine.
RESOLUTION_S = 1e-9
# From so many timers on the cancelled ones are thrown out when they are more than half, as asyncio does it.
MANY_TIMERS, TOO_MANY_CANCELLED = 100, 0.5


class Process:
    """What lives and dies together, on one machine."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.host = host
        """Its address."""
        self.alive = True

    def context(self) -> Context:
        """One in which this is the process."""
        context = copy_context()
        context.run(CURRENT.set, self)
        return context


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class Stuck(Exception):
    """Nothing can ever happen again, or nothing but the same."""


class Step(asyncio.Handle):
    """Something to be called soon. There are thousands in each virtual minute, so it knows only what is asked for."""

    __slots__ = ("process",)

    _callback: Any
    _args: Any

    def __init__(self, callback: Any, args: Any, context: Context, process: Process | None) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self.process = process

    def cancel(self) -> None:
        self._cancelled = True
        # Whoever waits in it is let go of, as asyncio does it.
        self._callback = self._args = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._callback!r}>"


class Timed(Step):
    """Something to be called at ``when``."""

    __slots__ = ("_loop", "_when", "waiting")

    def __init__(
        self, when: float, callback: Any, args: Any, context: Context, process: Process | None, loop: VirtualLoop
    ) -> None:
        # As ``Step`` does it, without a call: nearly half of all steps are timers.
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self.process = process
        self._when = when
        self._loop = loop
        self.waiting = True
        """Among the loop's timers."""

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        if not self._cancelled:
            if self.waiting:
                self._loop.cancelled += 1
            super().cancel()

    def __lt__(self, other: object) -> bool:
        # Two of one moment: none is before the other, and the heap leaves them as they are.
        return False


class VirtualLoop(asyncio.BaseEventLoop):
    """``network`` and ``threads`` have to be set before anything uses them.

    asyncio's own turn of the loop is written again here: the same order of the same callbacks, without what a loop
    with a selector, a debug mode and other threads needs for them.
    """

    network: Network
    threads: GreenThreads
    # The base class has them.
    _stopping: bool
    _closed: bool

    def __init__(self) -> None:
        super().__init__()
        self.now_s = BEGIN_S
        self.cancelled = 0
        """How many of the timers are; never set from outside but by ``Timed``."""
        self._steps = 0
        self._soon: deque[Step] = deque()
        self._timers: list[tuple[float, Timed]] = []
        self.all_threads: dict[greenlet, GreenThread] = {}
        """Green threads, the dead ones as well: to forget one would let its ``finally`` run."""
        self.faults: list[str] = []
        """What was reported to the loop's exception handler: each one is a bug."""
        self.set_exception_handler(lambda _loop, context: self.faults.append(_told(context)))

    # --- time -----------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds."""
        return self.now_s

    def _run_once(self) -> None:
        """One turn: everything that can run now, or time jumps. Raises Stuck."""
        self._throw_out()
        soon, timers = self._soon, self._timers
        if not soon and not self._stopping and timers and timers[0][0] > self.now_s:
            self._steps = 0
            self.now_s = timers[0][0]
        elif not soon and not self._stopping and not timers:
            raise Stuck("nothing is scheduled, and somebody waits")
        else:
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise Stuck(f"{MOST_STEPS} steps without any time passing")
        end_s = self.now_s + RESOLUTION_S
        while timers and timers[0][0] < end_s:
            timer = heappop(timers)[1]
            timer.waiting = False
            soon.append(timer)
        for _ in range(len(soon)):
            step = soon.popleft()
            if step._cancelled or (step.process is not None and not step.process.alive):
                continue
            try:
                step._context.run(step._callback, *step._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                message = f"Exception in callback {step._callback!r}"
                self.call_exception_handler({"message": message, "exception": error})

    def _throw_out(self) -> None:
        """Forget cancelled timers: those that come next, or all when they are too many."""
        timers = self._timers
        if len(timers) > MANY_TIMERS and self.cancelled / len(timers) > TOO_MANY_CANCELLED:
            for _, timer in timers:
                timer.waiting = not timer._cancelled
            self._timers = [one for one in timers if one[1].waiting]
            heapify(self._timers)
            self.cancelled = 0
            return
        while timers and timers[0][1]._cancelled:
            self.cancelled -= 1
            heappop(timers)[1].waiting = False

    def close(self) -> None:
        super().close()
        self._soon.clear()
        self._timers.clear()

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
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if context is None:
            context = copy_context()
        step = Step(callback, args, context, context.get(CURRENT))
        self._soon.append(step)
        return step

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        return self.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if context is None:
            context = copy_context()
        timer = Timed(when, callback, args, context, context.get(CURRENT), self)
        heappush(self._timers, (when, timer))
        return timer

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
