"""A TCP proxy on loopback that fails as networks do: cuts, black holes, bytes one by one, a reader that stopped."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any


class FlakyLink:
    """Forwards to ``target``. Connect to ``port``; use as ``async with``."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        self.hole = False
        """True: bytes vanish in both directions and nobody is told (a half-open connection)."""
        self.piece = 0
        """More than 0: at most so many bytes a step of the loop."""
        self.refuse = False
        """True: new connections are reset at once."""
        self._pipes: list[_Pipe] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> FlakyLink:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._server = await loop.create_server(lambda: _Near(self), sock=listener)
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection."""
        for pipe in self._pipes:
            pipe.abort()
        self._pipes.clear()

    def stop_client_reading(self) -> None:
        """Take nothing more from Central, as a client does that hangs."""
        for pipe in self._pipes:
            if pipe.far is not None:
                pipe.far.pause_reading()

    def start_client_reading(self) -> None:
        for pipe in self._pipes:
            if pipe.far is not None:
                pipe.far.resume_reading()

    def inject(self, data: bytes) -> None:
        """Put bytes into the stream towards Central."""
        for pipe in self._pipes:
            assert pipe.far is not None
            pipe.far.write(data)


class _Pipe:
    """Both ends of one connection."""

    def __init__(self, link: FlakyLink) -> None:
        self.link = link
        self.near: asyncio.Transport | None = None
        self.far: asyncio.Transport | None = None
        self.early: list[bytes] = []
        self._queue: deque[tuple[bool, bytes]] = deque()

    def carry(self, to_far: bool, data: bytes) -> None:
        if self.link.hole:
            return
        if to_far and self.far is None:
            self.early.append(data)
        elif not self.link.piece and not self._queue:
            self._write(to_far, data)
        else:
            size = self.link.piece or len(data)
            if not self._queue:
                asyncio.get_running_loop().call_soon(self._step)
            self._queue.extend((to_far, data[at : at + size]) for at in range(0, len(data), size))

    def _step(self) -> None:
        self._write(*self._queue.popleft())
        if self._queue:
            asyncio.get_running_loop().call_soon(self._step)

    def _write(self, to_far: bool, data: bytes) -> None:
        transport = self.far if to_far else self.near
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def end(self, at_far: bool) -> None:
        """One side closed: so does the other, after what is under way."""
        other = self.near if at_far else self.far
        if other is not None and not self.link.hole:
            asyncio.get_running_loop().call_soon(self._close_after_queue, other)

    def _close_after_queue(self, other: asyncio.Transport) -> None:
        if self._queue:
            asyncio.get_running_loop().call_soon(self._close_after_queue, other)
        else:
            other.close()

    def abort(self) -> None:
        for transport in (self.near, self.far):
            if transport is not None:
                transport.abort()


class _Near(asyncio.Protocol):
    """Towards the client."""

    def __init__(self, link: FlakyLink) -> None:
        self._link = link
        self._pipe = _Pipe(link)

    def connection_made(self, transport: Any) -> None:
        self._link.connections += 1
        if self._link.refuse:
            transport.abort()
            return
        self._pipe.near = transport
        self._link._pipes.append(self._pipe)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._link._tasks.add(task)
        task.add_done_callback(self._link._tasks.discard)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Far(self._pipe), *self._link.target)
        except OSError:
            self._pipe.abort()

    def data_received(self, data: bytes) -> None:
        self._pipe.carry(True, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pipe.end(at_far=False)


class _Far(asyncio.Protocol):
    """Towards Central."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe

    def connection_made(self, transport: Any) -> None:
        self._pipe.far = transport
        early, self._pipe.early = self._pipe.early, []
        for data in early:
            self._pipe.carry(True, data)

    def data_received(self, data: bytes) -> None:
        self._pipe.carry(False, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pipe.end(at_far=True)
