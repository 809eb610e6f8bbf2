"""What asyncio prints: failures that nobody asked for, told when what had them is collected."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def silence() -> AsyncIterator[None]:
    """Nothing of the kind comes out of the block, also not once everything that it left behind is collected."""
    loop = asyncio.get_running_loop()
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: seen.append(context))
    try:
        yield
        # What is collected may leave more behind in callbacks that are due.
        for _ in range(3):
            await asyncio.sleep(0)
            gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert seen == []
