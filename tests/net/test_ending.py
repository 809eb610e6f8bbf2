"""A task that is told to end ends, whatever the library that it calls makes of that."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from evcharge.net.ending import heeding_its_end


async def keeps_it_to_itself(began: asyncio.Event, failure: Exception | None) -> None:
    """As libraries do."""
    began.set()
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    if failure is not None:
        raise failure


@pytest.mark.parametrize("failure", [None, OSError("away")])
async def test_who_was_cancelled_ends(failure: Exception | None) -> None:
    began = asyncio.Event()

    async def forever() -> None:
        while True:
            with suppress(OSError), heeding_its_end():
                await keeps_it_to_itself(began, failure)

    task = asyncio.create_task(forever())
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_what_takes_too_long_is_still_that() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            with heeding_its_end():
                await keeps_it_to_itself(asyncio.Event(), None)


async def test_nobody_ends_without_having_been_told() -> None:
    with heeding_its_end():
        await asyncio.sleep(0)
    with pytest.raises(OSError, match="away"), heeding_its_end():
        raise OSError("away")
    with pytest.raises(asyncio.CancelledError), heeding_its_end():
        # The library's own word.
        raise asyncio.CancelledError


async def test_who_tidies_up_while_it_ends_may_finish_that() -> None:
    """The end that was told of before is not told again."""
    began, tidied = asyncio.Event(), False

    async def work() -> None:
        nonlocal tidied
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            with heeding_its_end():
                await asyncio.sleep(0)
            tidied = True

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() and tidied
