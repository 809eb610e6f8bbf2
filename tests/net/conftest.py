from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Everything here runs on both loops: they differ in when a transport calls back."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
