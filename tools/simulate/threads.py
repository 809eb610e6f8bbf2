"""Threads on the virtual loop: greenlets that wait for virtual time, for each other and for a simulated disk.

Code that blocks runs as it is. It is switched away from exactly where a real thread would wait, so a run has the
interleavings that matter, and the same ones each time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType

from greenlet import getcurrent, greenlet

from tools.simulate.loop import VirtualLoop


class GreenThread:
    """One of them."""

    def __init__(self, loop: VirtualLoop, run: Callable[[], None], name: str) -> None:
        self.name = name
        self._loop = loop
        self._done = False
        self._joining: list[GreenThread] = []
        self._context = copy_context()
        self.green = greenlet(lambda: self._body(run))
        self.green.gr_context = self._context.copy()

    def _body(self, run: Callable[[], None]) -> None:
        try:
            run()
        finally:
            self._done = True
            for thread in self._joining:
                thread.wake()

    def wake(self, delay_s: float = 0.0) -> None:
        """Go on after ``delay_s``."""
        if delay_s > 0:
            self._loop.call_later(delay_s, self.green.switch, context=self._context)
        else:
            self._loop.call_soon(self.green.switch, context=self._context)

    def join(self) -> None:
        """Wait for its end; from another green thread only."""
        while not self._done:
            me = current(self._loop)
            if me is None:
                raise RuntimeError(f"the loop itself cannot wait for {self.name}")
            self._joining.append(me)
            me.rest()

    def rest(self) -> None:
        """Let the loop go on, until somebody wakes this thread."""
        parent = self.green.parent
        assert parent is not None
        parent.switch()


class GreenCondition:
    """As ``threading.Condition`` for green threads and the loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._holder: object = None
        self._depth = 0
        self._waiting: list[GreenThread] = []

    def __enter__(self) -> GreenCondition:
        me = getcurrent()
        assert self._depth == 0 or self._holder is me, "somebody rests while it holds the lock"
        self._holder = me
        self._depth += 1
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._depth -= 1

    def wait(self, timeout: float | None = None) -> bool:
        """Rest until notified or ``timeout``."""
        me = current(self._loop)
        assert me is not None, "the loop itself cannot wait"
        assert self._depth == 1, "a lock that is held twice is not given back by waiting"
        self._depth = 0
        self._waiting.append(me)
        timer = None if timeout is None else self._loop.call_later(timeout, self._late, me)
        me.rest()
        if timer is not None:
            timer.cancel()
        notified = me not in self._waiting
        if not notified:
            self._waiting.remove(me)
        self.__enter__()
        return notified

    def _late(self, thread: GreenThread) -> None:
        if thread in self._waiting:
            thread.wake()

    def notify(self) -> None:
        """Wake the one that waits longest."""
        if self._waiting:
            self._waiting.pop(0).wake()


class GreenThreads:
    """Implements ``evcharge.audit.threads.Threads``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop

    def condition(self) -> GreenCondition:
        return GreenCondition(self.loop)

    def start(self, run: Callable[[], None], name: str) -> GreenThread:
        thread = GreenThread(self.loop, run, name)
        self.loop.all_threads[thread.green] = thread
        thread.wake()
        return thread

    def monotonic(self) -> float:
        return self.loop.time()

    def sleep(self, seconds: float) -> None:
        """Rest; on the loop itself, which must not, nothing happens."""
        me = current(self.loop)
        if me is not None:
            me.wake(seconds)
            me.rest()


def current(loop: VirtualLoop) -> GreenThread | None:
    """The thread that runs; None: the loop."""
    return loop.all_threads.get(getcurrent())
