"""The open channel: messages there and back, in order, and nothing twice."""

from __future__ import annotations

import msgspec
import pytest

from protocol import channel as token
from protocol import frames
from protocol import messages as m
from protocol.cipher import max_body
from protocol.connection import HelloReceived, Limits, MessageReceived
from protocol.credentials import Role
from protocol.errors import (
    CloseCode,
    FrameTooLarge,
    LocalProtocolError,
    ReplayedMessage,
    UnexpectedMessage,
    UnreadableToken,
)
from tests.support.open_channel import BEAT, BOOT, assert_closes, booted
from tests.support.wire import T0_MS, Pair, data_frame, drain, every_cut, split_frames, taken

# --- messages ---


def test_there_and_back() -> None:
    pair = booted()
    assert pair.say(BEAT) == [BEAT]
    assert pair.tell(m.Ack(re=1, time_ms=5)) == [m.Ack(re=1, time_ms=5)]


def test_size_is_the_frame_on_the_wire() -> None:
    pair = Pair().open()
    pair.peer.send(BEAT, pair.now)
    data = pair.peer.data_to_send()
    events, _ = drain(pair.central, data, pair.now)
    assert events == [MessageReceived(BEAT, len(data))]


def test_pending_bytes() -> None:
    pair = Pair().open()
    assert pair.peer.pending_bytes == 0 and pair.peer.data_to_send() == b""
    for _ in range(3):
        pair.peer.send(BEAT, pair.now)
    pending = pair.peer.pending_bytes
    assert pending == len(pair.peer.data_to_send()) > 0 == pair.peer.pending_bytes


def test_every_cut_of_a_conversation() -> None:
    pair = Pair().open()
    for message in (BOOT, BEAT, m.Plugged(connector=1)):
        pair.peer.send(message, pair.now)
    data = pair.peer.data_to_send()

    def read(pieces: list[bytes]) -> list[m.Message]:
        central = Pair().open().central
        return taken([event for piece in pieces for event in drain(central, piece, pair.now)[0]])

    assert read([data]) == [BOOT, BEAT, m.Plugged(connector=1)]
    every_cut(data, read)


def test_longest_message_and_one_more() -> None:
    pair = Pair(Role.GATEWAY).open()
    empty = len(msgspec.msgpack.encode(m.Reply(re=1, next="")))
    room = max_body(65_536) - empty - 2
    longest = m.Reply(re=1, next="x" * room)
    assert pair.tell(longest) == [longest]
    with pytest.raises(LocalProtocolError, match="fits in no frame"):
        pair.central.send(m.Reply(re=1, next="x" * (room + 1)), pair.now)
    assert pair.tell(m.Reply(re=2)) == [m.Reply(re=2)]


def test_text_that_is_not_unicode_is_our_bug() -> None:
    pair = booted()
    with pytest.raises(LocalProtocolError, match="status"):
        pair.peer.send(m.Status(connector=1, error="\ud800"), pair.now)
    assert pair.say(BEAT) == [BEAT]


def test_nothing_is_sent_before_ready_or_after_the_end() -> None:
    pair = Pair()
    for conn, message in ((pair.peer, BOOT), (pair.central, m.Ack())):
        with pytest.raises(LocalProtocolError, match="open channel"):
            conn.send(message, pair.now)
    pair.open()
    pair.peer.close(CloseCode.NORMAL, pair.now)
    with pytest.raises(LocalProtocolError):
        pair.peer.send(BOOT, pair.now)


# --- order ---


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ([0, 0], ReplayedMessage),
        ([1], ReplayedMessage),
        ([1, 0], ReplayedMessage),
        ([0, 2], ReplayedMessage),
        ([0, 1, 2, 1], ReplayedMessage),
    ],
)
def test_replay_reorder_and_drop(order: list[int], error: type[Exception]) -> None:
    pair = Pair().open()
    for _ in range(3):
        pair.peer.send(BEAT, pair.now)
    sent = split_frames(pair.peer.data_to_send())
    _, raised = drain(pair.central, b"".join(sent[number] for number in order), pair.now)
    assert type(raised) is error and pair.central.closed
    assert_closes(pair, CloseCode.PROTOCOL)


def test_replay_into_another_channel() -> None:
    pair, other = Pair().open(), Pair(grant=None, boot_id=b"\x01" * 16).open()
    pair.peer.send(BEAT, pair.now)
    _, error = drain(other.central, pair.peer.data_to_send(), pair.now)
    assert isinstance(error, UnreadableToken)


def test_own_tokens_are_not_accepted_back() -> None:
    pair = Pair().open()
    pair.peer.send(BEAT, pair.now)
    _, error = drain(pair.peer, pair.peer.data_to_send(), pair.now)
    assert isinstance(error, UnreadableToken)


def test_error_is_raised_once_and_then_silence() -> None:
    pair = Pair().open()
    _, error = drain(pair.central, data_frame(b"junk"), pair.now)
    assert isinstance(error, UnreadableToken) and error.code is CloseCode.PROTOCOL
    assert pair.central.next_event() is None
    pair.central.receive_data(b"more", pair.now)
    assert pair.central.next_event() is None and pair.central.get_timer() is None
    pair.central.receive_eof(pair.now)
    assert pair.central.next_event() is None


@pytest.mark.parametrize("kind", [frames.HELLO, frames.SESSION, frames.ALERT, 0, 0x11, 255])
def test_other_frames_inside_the_channel(kind: int) -> None:
    pair = Pair().open()
    _, error = drain(pair.central, frames.encode_frame(kind, b"x"), pair.now)
    assert isinstance(error, UnexpectedMessage)
    events, _ = drain(pair.peer, pair.central.data_to_send(), pair.now)
    assert [type(event).__name__ for event in events] == ["MessageReceived", "ChannelClosed"]


def test_frame_limit_grows_with_authentication() -> None:
    pair = Pair(limits=Limits(max_frame=2048)).open()
    _, error = drain(pair.central, (2049).to_bytes(4, "big"), pair.now)
    assert isinstance(error, FrameTooLarge)
    assert_closes(pair, CloseCode.PROTOCOL)


@pytest.mark.parametrize("kind", [token.READY, 6, 77, 255])
def test_unknown_kinds_and_a_second_ready(kind: int) -> None:
    pair = Pair().open()
    _, error = drain(pair.central, pair.forge(pair.peer, kind, b""), pair.now)
    assert isinstance(error, UnexpectedMessage)


@pytest.mark.parametrize("kind", [token.APP, token.KEY_UPDATE, token.PING, token.CLOSE])
def test_first_token_is_ready(kind: int) -> None:
    """Keys alone do not open the channel: Central waits for READY and stays silent."""
    pair = Pair()
    while not (pair.peer._channel and pair.wire[-1][0] == "s2c"):
        pair.step()
    pair.peer.data_to_send()
    fresh = Pair()
    for name, data in pair.wire:
        if name == "c2s":
            events, _ = drain(fresh.central, data, pair.now)
            if isinstance(events[0], HelloReceived):
                fresh.central.reply_hello(T0_MS, pair.now)
            else:
                fresh.central.accept(pair.grant, pair.now)
    fresh.central.data_to_send()
    channel = pair.peer._channel
    assert channel is not None
    channel._sealer.seq = 0
    _, error = drain(fresh.central, channel.seal(kind, b"\0\x80", pair.now), pair.now)
    assert isinstance(error, UnexpectedMessage | UnreadableToken)
    assert fresh.central.closed and fresh.central.data_to_send() == b""
