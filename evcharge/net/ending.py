"""Libraries that keep to themselves that a task is to end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeding_its_end() -> Iterator[None]:
    """Around a call of a library by a task that works for ever: nobody cancels it a second time.

    Where a library ends a task of its own and waits for that, it takes what ends its caller for the end of its own one:
    aiokafka when a client is closed, aiohttp when the second of two addresses answers before the first. And before
    Python 3.12 ``asyncio.wait_for``, with which aiomqtt waits, forgets it when the answer comes in the same turn.

    Nothing inside may end the task for a reason of its own, unless it always takes that back, as ``asyncio.timeout``
    does and aiohttp's time limits do not.

    Raises:
        CancelledError: the task was told to end meanwhile, whatever the library made of that.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError
