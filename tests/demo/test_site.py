"""The parts of the site that need no processes."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from evcharge.demo.day import _first
from evcharge.demo.site import HOST, SiteFailed, _all, held_port


def test_a_free_port_is_found_and_a_taken_one_is_told() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SiteFailed, match=f"port {port} of {HOST} cannot be used"), held_port(port):
            pytest.fail("it was held")
    with held_port(port) as again:
        assert again == port


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
def test_a_port_is_kept_for_the_child_that_is_told_of_it() -> None:
    """It listens seconds after the port was chosen: meanwhile every program here takes ports."""
    with held_port(0) as port:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        with socket.create_server((HOST, port)) as child:
            pass
    with socket.create_server((HOST, port)) as child:
        socket.create_connection((HOST, port)).close()
        child.accept()[0].close()


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
