"""The key log of a client (SPEC §8): one leaf key for each direction and epoch, and no way to get one from Central."""

from __future__ import annotations

import inspect
import os
import traceback

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from protocol.connection import Connection, Established
from protocol.credentials import Role
from protocol.events import Limits
from protocol.frames import DATA
from protocol.keylog import BadKeyLine, LeafKey, parse_key_line
from protocol.messages import Heartbeat
from protocol.opening import ServerOpening
from tests.support.wire import CENTRAL, a_grant, credential, drain, split_frames

LINE = "EVC1 " + "4" * 32 + " c2s 0 qxpXUbWexxN90VcpRCSwoItY_lTp2z4DjyqhP2lFkEI="
KEY = parse_key_line(LINE)


class Traffic:
    """A client with a key log and its Central; remembers every token of both directions."""

    def __init__(self, limits: Limits) -> None:
        self.keys: list[LeafKey] = []
        self.client = Connection.client(
            credential(Role.MONITOR),
            boot_id=bytes(16),
            conn_no=1,
            now=0.0,
            entropy=os.urandom,
            key_log=self.keys.append,
        )
        self.server = Connection.server(CENTRAL, now=0.0, entropy=os.urandom, limits=limits)
        self.grant = a_grant()
        self.tokens: dict[str, list[bytes]] = {"c2s": [], "s2c": []}

    def run(self) -> None:
        """Carry bytes until neither side has any."""
        while True:
            up, down = self.client.data_to_send(), None
            self.note("c2s", up)
            for event in drain(self.server, up, 0.0)[0]:
                name = type(event).__name__
                if name == "HelloReceived":
                    self.server.reply_hello(0, 0.0)
                elif name == "AuthPresented":
                    self.server.accept(self.grant, 0.0)
            down = self.server.data_to_send()
            self.note("s2c", down)
            events, error = drain(self.client, down, 0.0)
            assert error is None
            if any(isinstance(event, Established) for event in events):
                return
            if not up and not down:
                return

    def note(self, direction: str, data: bytes) -> None:
        self.tokens[direction] += [frame[5:] for frame in split_frames(data) if frame[4] == DATA]


def test_a_key_for_each_direction_and_epoch_and_stock_fernet_opens_all_with_them() -> None:
    traffic = Traffic(Limits(rekey_msgs=4))
    traffic.run()
    assert [(key.direction, key.epoch) for key in traffic.keys] == [("c2s", 0), ("s2c", 0)]
    for _ in range(9):
        traffic.client.send(Heartbeat(), 0.0)
        traffic.run()
    assert {key.sid for key in traffic.keys} == {traffic.grant.sid}
    epochs = [key.epoch for key in traffic.keys if key.direction == "c2s"]
    assert epochs == [0, 1, 2, 3]
    fernets = {key.epoch: Fernet(key.key) for key in traffic.keys if key.direction == "c2s"}
    epoch = 0
    for number, token in enumerate(traffic.tokens["c2s"]):
        plain = fernets[epoch].decrypt(token)
        assert plain[:8] == number.to_bytes(8, "big")
        epoch += plain[8] == 1
    assert epoch == 3


def test_central_s_epochs_are_told_when_its_key_update_is_read() -> None:
    traffic = Traffic(Limits(rekey_msgs=3))
    traffic.run()
    for _ in range(4):
        traffic.server.handle_timer(now := (traffic.server.get_timer() or 0.0))
        data = traffic.server.data_to_send()
        traffic.note("s2c", data)
        assert drain(traffic.client, data, now)[1] is None
        assert drain(traffic.server, traffic.client.data_to_send(), now)[1] is None
    received = [key for key in traffic.keys if key.direction == "s2c"]
    assert [key.epoch for key in received] == [0, 1, 2]
    epoch = 0
    for token in traffic.tokens["s2c"]:
        epoch += Fernet(received[epoch].key).decrypt(token)[8] == 1
    assert epoch == 2


def test_central_has_no_key_log() -> None:
    for maker in (Connection.server, Connection.__init__, ServerOpening.__init__):
        assert "key_log" not in inspect.signature(maker).parameters


def test_a_line_is_what_the_text_says_and_reads_back() -> None:
    assert KEY.line() == LINE
    assert (KEY.direction, KEY.epoch, KEY.sid.hex()) == ("c2s", 0, "4" * 32)
    secret = KEY.key.decode()
    assert secret not in repr(KEY)
    assert secret not in str(KEY)


@given(st.binary(min_size=16, max_size=16), st.sampled_from(["c2s", "s2c"]), st.integers(0, 10**9), st.binary())
def test_every_key_reads_back(sid: bytes, direction: str, epoch: int, seed: bytes) -> None:
    from base64 import urlsafe_b64encode

    key = LeafKey(sid, direction, epoch, urlsafe_b64encode(seed.ljust(32, b"\0")[:32]))
    assert parse_key_line(key.line()) == key


@pytest.mark.parametrize(
    "line",
    [
        "",
        LINE + " ",
        LINE.replace("EVC1", "EVC2"),
        LINE.replace("c2s", "up"),
        LINE.replace("4" * 32, "4" * 31),
        LINE.replace("4" * 32, "G" * 32),
        LINE.replace("4" * 32, "A" * 32),
        LINE.replace(" 0 ", " -1 "),
        LINE.replace(" 0 ", " 00 "),
        LINE.replace(" 0 ", " ٣ "),
        LINE[:-1],
        LINE.replace("_", "/"),
        LINE.replace("kEI=", "kEJ="),
        LINE.replace(" ", "\t"),
    ],
)
def test_a_damaged_line_is_refused_without_being_quoted(line: str) -> None:
    with pytest.raises(BadKeyLine) as caught:
        parse_key_line(line)
    shown = "".join(traceback.format_exception(caught.value))
    assert "qxpXUbWexxN90VcpRCSwoItY" not in shown
