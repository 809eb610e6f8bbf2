"""TCP in memory: bytes arrive in order and in other pieces, late, changed, or never.

What TCP promises holds: a stream without gaps, until its end. What it does not promise is drawn from the seed: how
long, in which pieces, whether the end is said or the line is silent for ever.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Callable
from contextvars import copy_context
from typing import Any
from zlib import crc32

from tools.simulate.loop import CURRENT, Process, VirtualLoop

Address = tuple[str, int]
Factory = Callable[[], asyncio.BaseProtocol]
# Bytes on the way in one direction at which the sender's protocol is told to pause, and to go on: kernel buffers.
HIGH_WATER, LOW_WATER = 128 << 10, 32 << 10
# Shortest and longest way of a piece, seconds: a room and a mobile network.
SHORTEST_S, LONGEST_S = 0.0002, 0.15
# A lost connection attempt is given up by the kernel after this time, seconds (Linux: 127).
SYN_S = 127.0
# Between two pieces of one stream, seconds.
PIECE_S = 0.00005


class Line:
    """The way between two machines, both directions."""

    def __init__(self) -> None:
        self.dark = False
        """Everything is swallowed."""
        self.slow = 1.0
        """Times as long as usual."""
        self.flips = 0
        """So many of the next pieces arrive with a bit changed."""


class Network:
    """All machines and their lines. ``note`` hears of everything that arrives, for the trace."""

    def __init__(self, loop: VirtualLoop, dice: random.Random, note: Callable[[str], None]) -> None:
        self.loop = loop
        self.dice = dice
        self.note = note
        self.transports: list[Wire] = []
        self.opaque: set[str] = set()
        """Machines of whose bytes only the number counts: HTTP says what time it really is."""
        self._listeners: dict[Address, _Listening] = {}
        self._ports: dict[str, int] = {}
        self._lines: dict[frozenset[str], Line] = {}
        self._dialled: dict[int, Address] = {}

    # --- what happens to it ---------------------------------------------------------------------------------------

    def line(self, one: str, other: str) -> Line:
        """Between two machines."""
        return self._lines.setdefault(frozenset((one, other)), Line())

    def cut(self, one: str, other: str) -> None:
        """Reset all connections between two machines."""
        for wire in list(self.transports):
            if {wire.local[0], wire.remote[0]} == {one, other}:
                wire.lose(ConnectionResetError(errno.ECONNRESET, "cut"))

    def died(self, process: Process, *, silent: bool) -> None:
        """Its sockets are gone; ``silent``: with the machine, so that nobody is told."""
        for address, listening in list(self._listeners.items()):
            if listening.process is process:
                del self._listeners[address]
        for wire in list(self.transports):
            if wire.process is process:
                self.transports.remove(wire)
                wire.dead = True
                if not silent and wire.peer is not None:
                    wire.peer.later(wire.peer.lose, ConnectionResetError(errno.ECONNRESET, "the process died"))

    def delivered(self, wire: Wire, data: bytes) -> None:
        """These bytes arrive now, whole or changed."""
        what = "" if wire.opaque else f" {crc32(data):08x}"
        self.note(f"{self.loop.now_s:.6f} {wire.local[0]}>{wire.remote[0]} {len(data)}{what}")

    # --- for the loop ---------------------------------------------------------------------------------------------

    def alias(self, address: Address, real: Address) -> None:
        """Who asks for ``address`` gets what listens at ``real``."""
        self._listeners[address] = self._listeners[real]

    def listen(self, factory: Factory, port: int | None, sock: socket.socket | None) -> _Listening:
        process = CURRENT.get()
        host = process.host if process is not None else "127.0.0.1"
        listening = _Listening(self, factory, (host, port or self._free_port(host)), process, sock)
        self._listeners[listening.address] = listening
        return listening

    def forget(self, listening: _Listening) -> None:
        for address in [one for one, it in self._listeners.items() if it is listening]:
            del self._listeners[address]

    def _free_port(self, host: str) -> int:
        self._ports[host] = self._ports.get(host, 40_000) + 1
        return self._ports[host]

    async def dial(self, sock: socket.socket, address: Address) -> None:
        await self._reach(address)
        self._dialled[sock.fileno()] = address

    def dialled(self, sock: socket.socket) -> Address:
        address = self._dialled.pop(sock.fileno())
        sock.close()
        return address

    async def _reach(self, address: Address) -> _Listening:
        """A SYN and its answer. Raises ConnectionRefusedError, TimeoutError."""
        here = _host()
        line = self.line(here, address[0])
        if line.dark:
            await asyncio.sleep(SYN_S)
            raise TimeoutError(errno.ETIMEDOUT, "no answer")
        await asyncio.sleep(2 * self.delay_s(line))
        listening = self._listeners.get(address)
        if listening is None or (listening.process is not None and not listening.process.alive):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
        return listening

    async def connect(self, factory: Factory, address: Address) -> tuple[Wire, asyncio.BaseProtocol]:
        listening = await self._reach(address)
        local = (_host(), self._free_port(_host()))
        protocol = factory()
        here = Wire(self, CURRENT.get(), local, address)
        there = Wire(self, listening.process, address, local)
        here.peer, there.peer = there, here
        self.transports += [here, there]
        here.use(protocol)
        listening.accept(there)
        protocol.connection_made(here)
        return here, protocol

    def delay_s(self, line: Line) -> float:
        """How long a piece takes now: mostly short, sometimes long."""
        return line.slow * min(LONGEST_S, SHORTEST_S + self.dice.expovariate(200.0))


def _host() -> str:
    process = CURRENT.get()
    return process.host if process is not None else "127.0.0.1"


class _Name:
    """As much of a listening socket as anybody asks for."""

    family = socket.AF_INET

    def __init__(self, address: Address) -> None:
        self._address = address

    def getsockname(self) -> Address:
        return self._address


class _Listening:
    """As ``asyncio.Server``."""

    def __init__(
        self, network: Network, factory: Factory, address: Address, process: Process | None, sock: socket.socket | None
    ) -> None:
        self.address = address
        self.process = process
        self.sockets = (_Name(address),)
        self._network = network
        self._factory = factory
        self._sock = sock
        self._context = copy_context()

    def accept(self, wire: Wire) -> None:
        """A connection came in: made in the listener's process."""
        wire.context = self._context.copy()
        self._network.loop.call_soon(self._make, wire, context=wire.context)

    def _make(self, wire: Wire) -> None:
        protocol = self._factory()
        wire.use(protocol)
        protocol.connection_made(wire)

    def is_serving(self) -> bool:
        return True

    def close(self) -> None:
        self._network.forget(self)
        if self._sock is not None:
            self._sock.close()

    async def wait_closed(self) -> None:
        """Nothing to wait for."""

    async def start_serving(self) -> None:
        """It does already."""


class Wire(asyncio.Transport):
    """One end of a connection. What it sends is delivered to ``peer``."""

    def __init__(self, network: Network, process: Process | None, local: Address, remote: Address) -> None:
        super().__init__({"peername": remote, "sockname": local})
        self.network = network
        self.process = process
        self.local, self.remote = local, remote
        self.peer: Wire | None = None
        self.opaque = local[0] in network.opaque or remote[0] in network.opaque
        self._line = network.line(local[0], remote[0])
        self.context = copy_context()
        self.dead = False
        """With its process, or over."""
        self._protocol: asyncio.BaseProtocol | None = None
        self._closing = False
        self._sent = bytearray()
        self._moving = False
        self._paused = False
        self._reading = True
        self._arrived: list[bytes] = []
        self._ended = False
        self._high, self._low = HIGH_WATER, LOW_WATER

    def later(self, callback: Callable[..., object], *arguments: Any) -> None:
        """After the way of a piece, unless the line is dark: then never."""
        line = self._line
        if not line.dark:
            self.network.loop.call_later(self.network.delay_s(line), callback, *arguments, context=self.context)

    # --- sending --------------------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._closing or self.dead:
            return
        self._sent += data
        if not self._paused and len(self._sent) > self._high:
            self._paused = True
            if isinstance(self._protocol, asyncio.Protocol | asyncio.streams.FlowControlMixin):
                self._protocol.pause_writing()
        self._move()

    def _move(self) -> None:
        """Have the next piece on its way."""
        if not self._moving and not self.dead and (self._sent or self._closing):
            self._moving = True
            self.network.loop.call_later(self.network.delay_s(self._line), self._piece, context=self.context)

    def _piece(self) -> None:
        """A piece arrives, or the end does."""
        self._moving = False
        peer, line = self.peer, self._line
        if self.dead or peer is None:
            return
        if line.dark:
            # TCP sends it again, until somebody gives up.
            self._moving = True
            self.network.loop.call_later(0.5, self._piece, context=self.context)
            return
        if peer.dead:
            self.lose(ConnectionResetError(errno.ECONNRESET, "nobody there"))
            return
        if self._sent:
            dice = self.network.dice
            size = len(self._sent) if dice.random() < 0.7 else dice.randint(1, len(self._sent))
            data = bytes(self._sent[:size])
            del self._sent[:size]
            if line.flips:
                line.flips -= 1
                place = dice.randrange(len(data))
                data = data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
            loop = self.network.loop
            self.network.delivered(self, data)
            loop.call_soon(peer.take, data, context=peer.context)
            if self._paused and len(self._sent) <= self._low:
                self._paused = False
                if isinstance(self._protocol, asyncio.Protocol | asyncio.streams.FlowControlMixin):
                    self._protocol.resume_writing()
            self._move()
            return
        if self._closing:
            self.network.loop.call_soon(peer.end, context=peer.context)
            self._gone(None)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._move()

    def abort(self) -> None:
        if not self.dead:
            self._closing = True
            self._sent.clear()
            if self.peer is not None:
                self.peer.later(self.peer.lose, ConnectionResetError(errno.ECONNRESET, "reset"))
            self.network.loop.call_soon(self._gone, None, context=self.context)

    def can_write_eof(self) -> bool:
        return False

    # --- receiving ------------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Bytes are here."""
        if self.dead:
            return
        if not self._reading or not isinstance(self._protocol, asyncio.Protocol):
            self._arrived.append(data)
            return
        self._protocol.data_received(data)

    def end(self) -> None:
        """The other side has said its last."""
        if self.dead:
            return
        if not self._reading:
            self._ended = True
            return
        keep = isinstance(self._protocol, asyncio.Protocol) and self._protocol.eof_received()
        if not keep:
            self._closing = True
            self._gone(None)

    def lose(self, error: OSError) -> None:
        """The connection is reset under both."""
        if not self.dead:
            self._closing = True
            self.network.loop.call_soon(self._gone, error, context=self.context)
            if self.peer is not None and not self.peer.dead and self.process is not None:
                self.peer.later(self.peer.lose, error)

    def _gone(self, error: OSError | None) -> None:
        if self.dead:
            return
        self.dead = True
        if self in self.network.transports:
            self.network.transports.remove(self)
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    # --- what asyncio wants ---------------------------------------------------------------------------------------

    def use(self, protocol: asyncio.BaseProtocol) -> None:
        """From now on this one is called; what came before is given to it."""
        self._protocol = protocol
        self._flush()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def _flush(self) -> None:
        waiting, self._arrived = self._arrived, []
        for data in waiting:
            self.network.loop.call_soon(self.take, data, context=self.context)
        if self._ended:
            self._ended = False
            self.network.loop.call_soon(self.end, context=self.context)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._flush()

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def is_closing(self) -> bool:
        return self._closing or self.dead

    def get_write_buffer_size(self) -> int:
        return len(self._sent)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low
