"""A live channel through several epochs, PINGs and time-outs, without a network: Central is a bare Connection."""

from __future__ import annotations

import asyncio
import errno
import io
import os
from typing import Any

import pytest

from evcharge.console.lines import Say
from evcharge.console.live import Live
from evcharge.console.recording import Recorder
from evcharge.console.rows import Row
from evcharge.net.timers import TimerWheel
from protocol.connection import AuthPresented, Connection
from protocol.credentials import Role
from protocol.errors import CloseCode
from protocol.events import HelloReceived, Limits
from protocol.keylog import LeafKey
from protocol.messages import List, Reply
from tests.console.support import rows
from tests.support.clock import ManualClock
from tests.support.wire import CENTRAL, a_grant, credential, drain


class Wire(asyncio.Transport):
    """Takes what the console writes."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closing = False

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


class Kept(io.BytesIO):
    """A file whose content can be read after it was closed."""

    def close(self) -> None:
        self.kept = self.getvalue()
        super().close()


class Rig:
    """A console and a Central's connection, carried by hand."""

    def __init__(self, **limits: Any) -> None:
        self.clock = ManualClock()
        self.timers = self.clock.watch(TimerWheel(self.clock))
        self.rows: list[Row] = []
        self.keys: list[LeafKey] = []
        self.file = Kept()
        self.recorder = Recorder(self.file, started_ms=0, role="debug")
        self.wire = Wire()
        now = self.clock.monotonic()
        self.central = Connection.server(CENTRAL, now=now, entropy=os.urandom, limits=Limits(**limits))
        self.live = Live(
            credential(Role.DEBUG),
            clock=self.clock,
            timers=self.timers,
            boot_id=bytes(16),
            entropy=os.urandom,
            show=self.rows.append,
            recorder=self.recorder,
            key_log=self.keys.append,
        )
        self.live.connection_made(self.wire)

    def carry(self) -> None:
        """Until nobody has anything to say; Central answers each `list`."""
        while self.wire.sent or self.central.pending_bytes:
            data, self.wire.sent = bytes(self.wire.sent), bytearray()
            now = self.clock.monotonic()
            for event in drain(self.central, data, now)[0]:
                if isinstance(event, HelloReceived):
                    self.central.reply_hello(0, now)
                elif isinstance(event, AuthPresented):
                    self.central.accept(a_grant(), now)
                elif isinstance(message := getattr(event, "message", None), List):
                    self.central.send(Reply(re=message.id, next="x" * 40), now)
            if answer := self.central.data_to_send():
                self.live.data_received(answer)

    def ask(self, number: int) -> None:
        self.live.send(Say("list", b"", List(id=number), number))
        self.carry()

    def kinds(self, direction: str) -> list[str]:
        return [row.kind for row in self.rows if row.dir == direction and row.kind]


async def test_epochs_live_and_offline() -> None:
    rig = Rig(rekey_msgs=4)
    rig.carry()
    for number in range(1, 21):
        rig.ask(number)
    rig.live.leave()
    rig.recorder.close()
    for direction in ("c2s", "s2c"):
        assert rig.kinds(direction).count("KEY_UPDATE") >= 5
        assert rig.kinds(direction).count("APP") == 20
        epochs = [row.epoch for row in rig.rows if row.dir == direction and row.epoch is not None]
        assert epochs == sorted(epochs)
        assert epochs[-1] == [key.epoch for key in rig.keys if key.direction == direction][-1]
        # A live channel keeps the keys of two epochs, not of all.
        assert len([key for key in rig.live._keys._fernets if key.direction == direction]) <= 2
    assert not [row for row in rig.rows if row.text and "key" in row.text]
    offline = rows(rig.file.kept, *rig.keys)
    assert [row.message for row in offline if row.message] == [row.message for row in rig.rows if row.message]
    # One leaf key per epoch suffices, and opens that epoch only.
    (middle,) = [key for key in rig.keys if (key.direction, key.epoch) == ("s2c", 2)]
    opened = {(row.dir, row.epoch) for row in rows(rig.file.kept, middle) if row.epoch is not None}
    assert opened == {("s2c", 2)}
    assert not rig.live.open_requests


async def test_one_read_may_hold_several_epochs() -> None:
    rig = Rig(rekey_msgs=2)
    rig.carry()
    for number in range(10):
        rig.central.send(Reply(re=number), rig.clock.monotonic())
    rig.live.data_received(rig.central.data_to_send())
    assert [row.message for row in rig.rows if row.message] == [{"type": "reply", "re": n} for n in range(10)]
    assert rig.kinds("s2c").count("KEY_UPDATE") >= 9


async def test_silence_is_pinged_and_then_given_up() -> None:
    rig = Rig()
    rig.carry()
    rig.clock.advance(16.0)
    rig.carry()
    assert rig.kinds("c2s") == ["READY", "PING"]
    assert rig.kinds("s2c")[-1] == "PONG"
    for _ in range(10):
        rig.clock.advance(15.0)
    assert rig.live.failure == "The peer was silent for 45 s."
    assert rig.kinds("c2s")[-1] == "CLOSE"
    assert rig.wire.closing


async def test_a_handshake_that_nobody_answers_ends() -> None:
    rig = Rig()
    rig.clock.advance(11.0)
    assert rig.live.gone.is_set()
    assert rig.live.failure is not None
    assert "took too long" in rig.live.failure


async def test_a_close_of_central_is_named_and_a_bare_end_is_no_end() -> None:
    rig = Rig()
    rig.carry()
    rig.central.close(CloseCode.EXPIRED, rig.clock.monotonic())
    rig.live.data_received(rig.central.data_to_send())
    assert rig.live.failure == "the peer closed: EXPIRED"
    cut = Rig()
    cut.carry()
    cut.live.connection_lost(None)
    assert cut.live.failure == "the stream ended without CLOSE: the end is not authentic"
    assert cut.live.lost.is_set()


async def test_a_central_that_lies_is_named() -> None:
    rig = Rig()
    rig.live.data_received(b"\0\0\0\2\x04x")
    assert rig.live.failure is not None
    assert rig.live.failure.startswith("Central broke the protocol: Frame type 4")


async def test_a_full_disk_ends_the_recording_and_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    rig.carry()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rig.recorder, "piece", full)
    rig.ask(1)
    assert rig.live.failure is not None
    assert "No space left on device" in rig.live.failure
    assert rig.wire.closing
