"""What the log's writer needs of threads and of time, so that a simulation can stand in for both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Condition(AbstractContextManager[object], Protocol):
    """As ``threading.Condition``."""

    def wait(self, timeout: float | None = None) -> bool: ...

    def notify(self) -> None: ...


class Joinable(Protocol):
    """A running thread."""

    def join(self) -> None: ...


class Threads(Protocol):
    """Makes threads, and what they wait at."""

    def condition(self) -> Condition:
        """A new condition with a lock of its own."""
        ...

    def start(self, run: Callable[[], None], name: str) -> Joinable:
        """Run ``run`` in a thread that does not keep the process alive."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step."""
        ...


class SystemThreads:
    """The real ones."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = time.monotonic

    def condition(self) -> Condition:
        return threading.Condition()

    def start(self, run: Callable[[], None], name: str) -> Joinable:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread
