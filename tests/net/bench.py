"""An adapter on a transport that the test controls, with a real peer behind it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from evcharge.net.adapter import Adapter
from evcharge.net.flow import Rate, WaitLimits
from evcharge.net.timers import TimerWheel
from protocol import messages as m
from protocol.connection import Connection
from protocol.credentials import Role
from protocol.events import ChannelClosed, Established, Limits, MessageReceived
from tests.net.support import Desk
from tests.support.clock import ManualClock
from tests.support.wire import BOOT_ID, CENTRAL, credential

LIMITS = WaitLimits()


class Pipe(asyncio.Transport):
    """A transport that keeps what is written and does what the test says."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 4711)})
        self.writes: list[bytes] = []
        self.buffered = 0
        self.reading = True
        self.closing = self.aborted = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None and low is not None and low < high

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class Bench:
    """A server's adapter, its pipe, and a peer's connection on the other side."""

    def __init__(
        self,
        *,
        role: Role = Role.DRIVER,
        rate: Rate | None = None,
        limits: Limits | None = None,
        wait_limits: WaitLimits = LIMITS,
    ) -> None:
        self.clock = ManualClock()
        self.timers = self.clock.watch(TimerWheel(self.clock))
        self.desk = Desk(self.clock)
        self.made: list[Adapter] = []
        self.authed: list[Adapter] = []
        self.lost: list[Adapter] = []
        self.readied: list[Adapter] = []
        now = self.clock.monotonic()
        server = Connection.server(CENTRAL, now=now, entropy=os.urandom, limits=limits or Limits())
        self.adapter = Adapter(
            server, self.desk, self, clock=self.clock, timers=self.timers, rate=rate, wait_limits=wait_limits
        )
        self.peer = Connection.client(
            credential(role), boot_id=BOOT_ID, conn_no=1, now=now, entropy=os.urandom, limits=limits or Limits()
        )
        self.pipe = Pipe()
        self.heard: list[m.Message] = []
        self.ended: ChannelClosed | None = None

    # Owner
    def adapter_made(self, adapter: Adapter) -> None:
        self.made.append(adapter)

    def adapter_hello(self, adapter: Adapter) -> None:
        adapter.answer_hello()

    def adapter_auth(self, adapter: Adapter) -> None:
        self.authed.append(adapter)

    def adapter_ready(self, adapter: Adapter) -> None:
        self.readied.append(adapter)

    def adapter_lost(self, adapter: Adapter) -> None:
        self.lost.append(adapter)

    def open(self) -> Bench:
        self.adapter.connection_made(self.pipe)
        while not (self.adapter.ready and self.peer.ready):
            self.carry()
        self.pipe.writes.clear()
        return self

    def carry(self) -> None:
        """Carry what is under way, both ways, once."""
        data = self.peer.data_to_send()
        if data:
            self.adapter.data_received(data)
        self.hear()

    def hear(self) -> None:
        """The peer reads what was written."""
        now = self.clock.monotonic()
        while self.pipe.writes:
            self.peer.receive_data(self.pipe.writes.pop(0), now)
            while (event := self.peer.next_event()) is not None:
                if isinstance(event, MessageReceived):
                    self.heard.append(event.message)
                elif isinstance(event, ChannelClosed):
                    self.ended = event
                else:
                    assert isinstance(event, Established)

    def say(self, *messages: m.Message) -> None:
        """The peer sends these in one piece."""
        for message in messages:
            self.peer.send(message, self.clock.monotonic())
        self.carry()

    def lose(self, error: Exception | None = None) -> None:
        self.adapter.connection_lost(error)


def update(session: str, **fields: Any) -> m.Update:
    return m.Update(session_id=session, state="SUPPLYING", cp_id="cp", **fields)
