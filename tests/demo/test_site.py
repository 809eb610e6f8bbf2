"""The parts of the site that need no processes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from evcharge.demo.day import _first
from evcharge.demo.site import HOST, SiteFailed, _all, _held


def test_a_free_port_is_found_and_a_taken_one_is_told() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SiteFailed, match=f"port {port} of {HOST} cannot be used"), _held(port):
            pytest.fail("it was held")
    with _held(port) as again:
        assert again == port


async def test_the_first_failure_of_several_steps_ends_the_others() -> None:
    ended = []

    async def fails() -> None:
        raise SiteFailed("no")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waits")

    with pytest.raises(SiteFailed):
        await _all([waits(), fails()])
    assert ended == ["waits"]


async def test_the_first_of_several_steps_is_told_by_its_place() -> None:
    async def now() -> None:
        return

    async def bad() -> None:
        raise SiteFailed("no")

    assert await _first(asyncio.Event().wait(), now()) == 1
    with pytest.raises(SiteFailed):
        await _first(asyncio.Event().wait(), bad())
