"""The writing half of an ``Adapter``: one write for a batch, a bounded queue for a peer that reads slowly."""

from __future__ import annotations

import asyncio

import structlog

from evcharge.net.clock import Clock
from evcharge.net.flow import Traffic, Waiting, WaitLimits
from protocol.connection import Connection
from protocol.errors import CloseCode, LocalProtocolError
from protocol.messages import Message

# Bytes in the transport at which messages begin to wait, and at which they go on. Sealed messages sit there, so few.
HIGH_WATER = 64 << 10
LOW_WATER = 16 << 10
# How long the last bytes (a CLOSE) may take to leave, in seconds, before the transport is cut.
LINGER_S = 2.0

log = structlog.get_logger(__name__)


class Writer(asyncio.Protocol):
    """Seals and writes what ``conn`` has to say. A base class, so that a message costs no further call."""

    __slots__ = (
        "_clock",
        "_code",
        "_linger_s",
        "_pumping",
        "_slow_s",
        "_traffic",
        "_transport",
        "_wait_limits",
        "_waiting",
        "_why",
        "_writable",
        "conn",
    )

    def __init__(self, conn: Connection, clock: Clock, limits: WaitLimits, traffic: Traffic) -> None:
        self.conn = conn
        self._traffic = traffic
        self._clock = clock
        self._wait_limits = limits
        self._transport: asyncio.Transport | None = None
        # While events are handled nothing is written: what they make leaves with one write.
        self._pumping = False
        self._code: CloseCode | None = None
        self._why = ""
        self._writable = True
        self._slow_s: float | None = None
        self._linger_s: float | None = None
        self._waiting: Waiting | None = None

    @property
    def waiting(self) -> int:
        """Messages that wait because the peer reads slowly."""
        return 0 if self._waiting is None else len(self._waiting)

    def send(self, message: Message) -> bool:
        """Seal and write, or queue while the peer reads slowly. False: the connection is over, the message is dropped.

        A telemetry message takes the place of an older one of its session in the queue. LocalProtocolError: the
        channel is not ready, or the message is not legal here.
        """
        conn = self.conn
        if conn.closed:
            return False
        now = self._clock.monotonic()
        if self._writable or not conn.ready:
            conn.send(message, now)
            self._traffic.frames_out += 1
            if not self._pumping or conn.pending_bytes > HIGH_WATER:
                self._flush()
        else:
            self._enqueue(message)
        return not conn.closed

    def close(self, code: CloseCode, why: str = "closed by this side") -> None:
        """End it with a CLOSE. ``closed`` is called when the transport is gone, never from inside this call."""
        if not self.conn.closed:
            self._code, self._why = code, why
            self.conn.close(code, self._clock.monotonic())
            self._flush()

    def abort(self, code: CloseCode, why: str) -> None:
        """``close`` for a peer that takes nothing: do not wait until the last bytes have left."""
        self.close(code, why)
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio ------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._writable = False
        self._slow_s = self._clock.monotonic() + self._wait_limits.slow_s
        self._arm()

    def resume_writing(self) -> None:
        self._writable = True
        self._slow_s = None
        self._drain()

    # --- inside -------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """One write of all that is sealed; close the transport when the connection is over."""
        transport = self._transport
        if transport is None:
            return
        data = self.conn.data_to_send()
        if data and not transport.is_closing():
            self._traffic.bytes_out += len(data)
            transport.write(data)
            if transport.get_write_buffer_size() > self._wait_limits.size:
                # Answers to its own PINGs, while it reads nothing.
                self.abort(CloseCode.SLOW, "the peer reads too slowly")
        if self.conn.closed and self._linger_s is None:
            self._linger_s = self._clock.monotonic() + LINGER_S
            transport.close()
            self._arm()

    def _enqueue(self, message: Message) -> None:
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = Waiting(self._wait_limits)
        waiting.put(message)
        if self._transport is None or waiting.over(self._transport.get_write_buffer_size()):
            self.abort(CloseCode.SLOW, "the peer reads too slowly")

    def _drain(self) -> None:
        """The transport takes bytes again: seal what waits, as long as it does."""
        now = self._clock.monotonic()
        while self._waiting and self._writable and not self.conn.closed:
            try:
                self.conn.send(self._waiting.take(), now)
                self._traffic.frames_out += 1
            except LocalProtocolError:
                log.exception("peer.illegal_message", peer=self.conn.username, role=self.conn.role.name)
                self.close(CloseCode.INTERNAL, "a bug of this side")
                return
            self._flush()

    def _arm(self) -> None:
        """A deadline has changed: see to a timer that fires in time."""
        raise NotImplementedError
