"""Tasks that make no sense without each other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def together(work: Coroutine[Any, Any, None], *beside: Coroutine[Any, Any, None]) -> None:
    """Run all of them until ``work`` ends, and end the others then. What any of them raises is raised, and ends the
    rest: a task that died alone would be missed by nobody.

    Raises:
        RuntimeError: one of ``beside``, which have no end of their own, has ended.
    """
    main = asyncio.ensure_future(work)
    tasks = [main, *map(asyncio.ensure_future, beside)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # What went wrong with any explains why another one ended.
        for task in sorted(tasks, key=lambda each: each is main):
            if task.done():
                if task.cancelled() or (task is not main and task.exception() is None):
                    raise RuntimeError(f"{task.get_name()} has ended, and nobody asked it to")
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
