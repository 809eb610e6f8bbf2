"""The line between monitor and engine: the monitor asks for a charge point, the engine's process says OK or KO.

Request: the charge point's id and a newline. Answer: ``OK`` or ``KO code`` and a newline. Any number of questions on
one connection. Both sides bound what they read and how long they wait; the answer comes from the same event loop that
runs the engine, so a process that hangs does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

# Longest question in bytes, without its newline: the longest id of the wire. SPEC §7.1
MAX_QUESTION = 64
# Longest answer in bytes, with its newline.
MAX_ANSWER = 128
# Seconds without a question after which a connection is closed; monitors ask once a second.
IDLE_S = 30.0
# Connections at a time: a monitor per charge point and as many again that reconnect, for a process of 1,000.
MAX_CONNECTIONS = 2048

HealthOf = Callable[[str], str | None]
"""The engine's view: None is well, a code is a fault. KeyError: no such charge point here."""


class HealthServer:
    """Answers for all engines of a process."""

    def __init__(self, health_of: HealthOf) -> None:
        self._health_of = health_of
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the real address. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=MAX_QUESTION + 1)
        address = self._server.sockets[0].getsockname()
        return address[0], address[1]

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    line = await _read_line(reader)
                    if not line:
                        return
                    writer.write(self._answer(line))
                    await writer.drain()
        except (TimeoutError, OSError):
            pass
        finally:
            writer.close()

    def _answer(self, line: bytes) -> bytes:
        try:
            code = self._health_of(line.decode().rstrip("\r\n"))
        except (UnicodeDecodeError, KeyError):
            code = "unknown_charge_point"
        if code is None:
            return b"OK\n"
        plain = "".join(character if character.isalnum() else "_" for character in code)
        return b"KO " + plain.encode("ascii", "replace")[: MAX_ANSWER - 4] + b"\n"


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """One whole line; empty at the end of the stream or when a line is too long."""
    try:
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return b""


class Check(msgspec.Struct, frozen=True):
    """Outcome of one check: well, broken by its own word (``code``), or no answer (neither)."""

    ok: bool
    code: str | None = None
    latency_ms: int = 0


MISSED = Check(ok=False)


class Probe:
    """The monitor's end of the line: one connection, opened again when it broke."""

    def __init__(self, host: str, port: int, monotonic: Callable[[], float]) -> None:
        self._host = host
        self._port = port
        self._monotonic = monotonic
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def check(self, cp_id: str, timeout_s: float) -> Check:
        """Ask once; whatever is not an answer within the time is a miss."""
        asked = self._monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._ask(cp_id)
        except (TimeoutError, OSError):
            answer = b""
        latency_ms = int((self._monotonic() - asked) * 1000)
        if answer == b"OK\n":
            return Check(ok=True, latency_ms=latency_ms)
        if answer.startswith(b"KO ") and answer.endswith(b"\n"):
            return Check(ok=False, code=answer[3:-1].decode("ascii", "replace"), latency_ms=latency_ms)
        # The line is in an unknown state: an answer that comes late would be taken for the next one.
        await self.close()
        return Check(ok=False, latency_ms=latency_ms)

    async def _ask(self, cp_id: str) -> bytes:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=MAX_ANSWER)
        self._writer.write(cp_id.encode() + b"\n")
        await self._writer.drain()
        return await _read_line(self._reader)

    async def close(self) -> None:
        """Drop the connection, if there is one."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
