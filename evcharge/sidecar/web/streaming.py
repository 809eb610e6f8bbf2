"""Answers that do not end by themselves: sent piece by piece, for as long as somebody reads who may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web

from evcharge.sidecar.web.route import Answer, Stream

log = structlog.get_logger()

# How often is asked whether a stream's reader is there and still admitted, in seconds. What a removed client had open
# ends with the next look at the list of clients (``oauth.known``) and this.
CHECK_S = 2.0
# How long one slice may take to leave, in seconds, and its bytes: a line that is slower is of no use for what changes
# each second.
WRITE_S = 10.0
SLICE_BYTES = 64 * 1024
# How long the end may take, in seconds.
END_S = 1.0


async def send_stream(
    request: web.Request, answer: Answer, headers: Mapping[str, str], stays: Callable[[], Awaitable[bool]]
) -> web.StreamResponse:
    """Send ``answer.stream`` behind the head until it ends, or its reader is gone, is stuck, or no longer ``stays``."""
    assert answer.stream is not None
    try:
        response = web.StreamResponse(status=answer.status, headers={**headers, **answer.headers})
        response.content_type = answer.media_type
        await response.prepare(request)
        await _while_admitted(request, response, answer.stream, stays)
        return response
    finally:
        await answer.stream.aclose()


async def _while_admitted(
    request: web.Request, response: web.StreamResponse, stream: Stream, stays: Callable[[], Awaitable[bool]]
) -> None:
    tasks = [
        asyncio.create_task(_pump(response, stream), name="stream"),
        asyncio.create_task(_watch(request, stays), name="stream's reader"),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [end for end in ends if isinstance(end, Exception)]
    for error in failed:
        if not isinstance(error, ConnectionError | TimeoutError):
            # Our own bug. The head is sent, so this can be no problem any more.
            log.error("http.stream_failed", path=request.path, exc_info=error)
    if failed:
        _abort(request)
        return
    try:
        async with asyncio.timeout(END_S):
            await response.write_eof()
    except (ConnectionError, TimeoutError):
        _abort(request)


async def _pump(response: web.StreamResponse, stream: Stream) -> None:
    async for piece in stream:
        rest = memoryview(piece)
        while rest:
            async with asyncio.timeout(WRITE_S):
                await response.write(rest[:SLICE_BYTES])
            rest = rest[SLICE_BYTES:]


async def _watch(request: web.Request, stays: Callable[[], Awaitable[bool]]) -> None:
    while True:
        await asyncio.sleep(CHECK_S)
        if request.transport is None or request.transport.is_closing() or not await stays():
            return


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
