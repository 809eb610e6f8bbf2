"""The open channel: order, keys, time, legality, the end, and any bytes at all."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import channel as token
from protocol import frames
from protocol import messages as m
from protocol.cipher import max_body
from protocol.connection import (
    ChannelClosed,
    CheckpointSeen,
    Connection,
    Event,
    HelloReceived,
    Limits,
    MessageReceived,
)
from protocol.credentials import Role
from protocol.errors import (
    CloseCode,
    FrameTooLarge,
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
    ReplayedMessage,
    TimedOut,
    UnexpectedMessage,
    UnreadableToken,
)
from protocol.states import ALLOWED, FROM_CENTRAL, State, allowed
from tests.support.wire import (
    CENTRAL,
    T0_MS,
    Pair,
    data_frame,
    drain,
    every_cut,
    seeded,
    split_frames,
    taken,
)
from tests.wire.golden import SAMPLES

BOOT = m.Boot(connectors=[m.ConnectorInfo(connector=1, min_w=1380, max_w=22_000)])
BEAT = m.Heartbeat(id=1)
BY_TYPE = {type(one): one for one in SAMPLES}


def booted() -> Pair:
    pair = Pair().open()
    assert pair.say(BOOT) == [BOOT]
    return pair


def ends(events: list[Event]) -> list[ChannelClosed]:
    return [event for event in events if isinstance(event, ChannelClosed)]


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


def assert_closes(pair: Pair, code: CloseCode) -> None:
    """Central's last words are an authenticated CLOSE."""
    events, error = drain(pair.peer, pair.central.data_to_send(), pair.now)
    assert error is None and [(one.code, one.clean) for one in ends(events)] == [(code, True)]
    assert pair.peer.closed


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


# --- keys ---


def test_rekey_in_both_directions_under_load() -> None:
    pair = Pair(limits=Limits(rekey_msgs=7, rekey_bytes=2000)).open()
    pair.say(BOOT)
    keys = set()
    for number in range(200):
        pair.peer.send(m.Heartbeat(id=number), pair.now)
        pair.central.send(m.Ack(re=number), pair.now)
        if number % 3 == 0:
            pair.pump()
        assert pair.peer._channel is not None
        keys.add(pair.peer._channel._sealer._secret)
    pair.pump()
    assert [one.id for one in taken(pair.at_central) if isinstance(one, m.Heartbeat)] == list(range(200))
    assert [one.re for one in taken(pair.at_peer) if isinstance(one, m.Ack)] == list(range(200))
    assert len(keys) > 30


@pytest.mark.parametrize(
    ("limits", "step_s", "per_epoch"),
    [
        # READY and 3 heartbeats, then KEY_UPDATE as the fifth token; later epochs have no READY.
        (Limits(rekey_msgs=5), 0.0, [3, 4, 4]),
        # READY has 100 bytes, a heartbeat 120 or 140: the key changes when 300 are passed.
        (Limits(rekey_bytes=300), 0.0, [2, 3, 3]),
        (Limits(rekey_s=10, ping_s=1e6, dead_s=1e6), 4.0, [3, 3, 3]),
    ],
)
def test_key_update_ends_the_epoch(limits: Limits, step_s: float, per_epoch: list[int]) -> None:
    """Heartbeats under one key, and after which of them the KEY_UPDATE comes."""
    pair = Pair(limits=limits).open()
    channel = pair.peer._channel
    assert channel is not None
    counts = [0]
    while len(counts) <= len(per_epoch):
        secret = channel._sealer._secret
        pair.peer.send(BEAT, pair.now)
        data = pair.peer.data_to_send()
        if channel._sealer._secret != secret:
            counts.append(0)
            assert len(split_frames(data)) == 2
        counts[-1] += 1
        assert taken(drain(pair.central, data, pair.now)[0]) == [BEAT]
        pair.now += step_s
    assert counts[:-1] == per_epoch


def test_rekey_by_the_peer_alone() -> None:
    pair = Pair().open()
    update = pair.forge(pair.peer, token.KEY_UPDATE, b"")
    channel = pair.peer._channel
    assert channel is not None
    channel._sealer.next_epoch()
    pair.peer.send(BEAT, pair.now)
    events, error = drain(pair.central, update + pair.peer.data_to_send(), pair.now)
    assert error is None and taken(events) == [BEAT]
    assert pair.tell(m.Ack(re=1)) == [m.Ack(re=1)]


def test_token_of_the_old_key_after_key_update() -> None:
    pair = Pair().open()
    stream = pair.forge(pair.peer, token.KEY_UPDATE, b"") + pair.forge(pair.peer, token.PING, b"")
    _, error = drain(pair.central, stream, pair.now)
    assert isinstance(error, UnreadableToken)


def test_peer_that_never_changes_its_key() -> None:
    pair = Pair(limits=Limits(epoch_msgs_max=5)).open()
    for _ in range(4):
        assert pair.say(BEAT) == [BEAT]
    pair.peer.send(BEAT, pair.now)
    _, error = drain(pair.central, pair.peer.data_to_send(), pair.now)
    assert isinstance(error, UnexpectedMessage) and "too many" in str(error)


def test_tokens_received_counts_every_kind() -> None:
    pair = Pair()
    assert pair.central.tokens_received == 0
    pair.open()
    assert pair.central.tokens_received == 0
    drain(pair.central, pair.forge(pair.peer, token.PING, b""), pair.now)
    pair.say(BEAT)
    assert pair.central.tokens_received == 2


# --- time ---


def test_channel_clock_is_centrals_and_needs_no_wall_clock() -> None:
    pair = Pair()
    for conn in (pair.central, pair.peer):
        with pytest.raises(LocalProtocolError):
            conn.channel_ms(0.0)
    pair.open()
    assert pair.peer.channel_ms(pair.now) == pair.central.channel_ms(pair.now) == T0_MS
    assert pair.peer.channel_ms(pair.now + 1.5) == T0_MS + 1500
    pair.peer.close(CloseCode.NORMAL, pair.now)
    assert pair.peer.channel_ms(pair.now + 2) == T0_MS + 2000


@pytest.mark.parametrize(("late_s", "legal"), [(0, True), (60, True), (61, False)])
def test_held_back_tokens_expire(late_s: int, legal: bool) -> None:
    pair = Pair().open()
    pair.peer.send(BEAT, pair.now)
    events, error = drain(pair.central, pair.peer.data_to_send(), pair.now + late_s)
    assert (taken(events) == [BEAT]) is legal and isinstance(error, UnreadableToken) is not legal


def test_silence_ping_pong() -> None:
    pair = Pair().open()
    start = pair.now
    for conn in (pair.central, pair.peer):
        assert conn.get_timer() == start + 15
    pair.central.handle_timer(start + 14.9)
    assert pair.central.data_to_send() == b""
    pair.now = start + 15
    pair.central.handle_timer(pair.now)
    assert pair.central.pending_bytes > 0 and pair.central.get_timer() == start + 30
    pair.pump()
    assert pair.at_central == pair.at_peer == []
    for conn in (pair.central, pair.peer):
        assert conn.last_received == start + 15 and conn.get_timer() == start + 30


def test_any_token_is_a_sign_of_life() -> None:
    pair = Pair().open()
    pair.now += 14
    pair.say(BEAT)
    assert pair.central.get_timer() == pair.now + 15
    pair.central.handle_timer(pair.now + 1)
    assert pair.central.data_to_send() == b""


def test_trickle_of_bytes_is_no_sign_of_life() -> None:
    pair = Pair().open()
    timer = pair.central.get_timer()
    drain(pair.central, b"\0\0", pair.now + 10)
    assert pair.central.get_timer() == timer


def test_dead_after_three_pings() -> None:
    pair = Pair().open()
    start = pair.now
    pings = 0
    while not pair.central.closed:
        due = pair.central.get_timer()
        assert due is not None
        pair.central.handle_timer(due)
        pings += len(split_frames(pair.central.data_to_send())) if due < start + 45 else 0
    assert due == start + 45 and pings == 2
    with pytest.raises(TimedOut) as caught:
        pair.central.next_event()
    assert caught.value.code is CloseCode.TIMEOUT


def test_dead_peer_gets_a_close_in_case_it_listens() -> None:
    pair = Pair().open()
    pair.central.handle_timer(pair.now + 45)
    pair.now += 45
    assert_closes(pair, CloseCode.TIMEOUT)


@pytest.mark.parametrize("side", ["central", "peer"])
def test_channel_of_a_day_expires(side: str) -> None:
    pair = Pair(limits=Limits(ping_s=1e6, dead_s=2e6, witness_s=1e6)).open()
    conn: Connection = getattr(pair, side)
    other = pair.peer if side == "central" else pair.central
    assert conn.get_timer() == pair.now + 86_400
    pair.now += 86_400
    conn.handle_timer(pair.now)
    assert conn.closed
    assert [(one.code, one.clean) for one in [conn.next_event()] if isinstance(one, ChannelClosed)] == [
        (CloseCode.EXPIRED, True)
    ]
    events, _ = drain(other, conn.data_to_send(), pair.now)
    assert ends(events)[0].code is CloseCode.EXPIRED


# --- witnesses ---


def asked_for_checkpoint(pair: Pair) -> list[Event]:
    """What the peer hears after the time to ask for a checkpoint, though both have spoken all along."""
    pair.now += 60
    pair.peer.last_received = pair.central.last_received = pair.now
    assert pair.peer.get_timer() == pair.now
    pair.peer.handle_timer(pair.now)
    events, error = drain(pair.central, pair.peer.data_to_send(), pair.now)
    assert (events, error) == ([], None)
    answer = pair.central.data_to_send()
    events, error = drain(pair.peer, answer, pair.now)
    assert error is None and answer
    return events


def test_a_client_asks_for_the_newest_checkpoint_every_minute() -> None:
    pair = Pair().open()
    pair.central._checkpoint = lambda: b"the newest"
    for _ in range(2):
        assert asked_for_checkpoint(pair) == [CheckpointSeen(b"the newest")]
    assert pair.central.get_timer() != pair.now + 60, "Central asks nobody"


@pytest.mark.parametrize("body", [b"", b"x" * 513])
def test_a_pong_without_a_checkpoint_is_only_a_sign_of_life(body: bytes) -> None:
    pair = Pair().open()
    pair.central._checkpoint = lambda: body
    assert asked_for_checkpoint(pair) == []


def test_central_draws_nothing_from_a_pong() -> None:
    pair = Pair().open()
    assert pair.peer._channel is not None
    pong = pair.peer._channel.seal(token.PONG, b"a checkpoint", pair.now)
    assert drain(pair.central, pong, pair.now) == ([], None)


# --- the end ---


@pytest.mark.parametrize("code", list(CloseCode))
def test_close_is_authenticated(code: CloseCode) -> None:
    pair = Pair().open()
    pair.central.close(code, pair.now)
    assert pair.central.closed and pair.central.next_event() is None
    events, _ = drain(pair.peer, pair.central.data_to_send(), pair.now)
    (end,) = ends(events)
    assert end.clean and end.code is code and code.name in end.why
    assert pair.peer.closed and not pair.peer.ready
    pair.peer.receive_eof(pair.now)
    assert pair.peer.next_event() is None


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"\x04", CloseCode.DRAIN), (b"\x04\x81\x01\x02", CloseCode.DRAIN), (b"\xc8\x80", None), (b"", CloseCode.NORMAL)],
)
def test_close_of_other_versions(body: bytes, code: CloseCode | None) -> None:
    pair = Pair().open()
    events, _ = drain(pair.central, pair.forge(pair.peer, token.CLOSE, body), pair.now)
    assert ends(events)[0].clean and ends(events)[0].code is code


def test_bare_end_is_truncation() -> None:
    pair = Pair().open()
    pair.peer.send(BEAT, pair.now)
    drain(pair.central, pair.peer.data_to_send()[:-1], pair.now)
    pair.central.receive_eof(pair.now)
    event = pair.central.next_event()
    assert isinstance(event, ChannelClosed) and not event.clean and event.code is None
    assert pair.central.data_to_send() == b""


def test_nothing_after_close_counts() -> None:
    pair = Pair().open()
    late = pair.forge(pair.peer, token.CLOSE, b"\0\x80") + pair.forge(pair.peer, token.APP, b"")
    events, error = drain(pair.central, late, pair.now)
    assert len(events) == 1 and error is None


def test_close_twice_and_before_the_channel() -> None:
    pair = Pair()
    pair.central.close(CloseCode.DRAIN, pair.now)
    pair.central.close(CloseCode.DRAIN, pair.now)
    assert pair.central.closed and pair.central.data_to_send() == b""


def test_central_may_close_between_session_and_ready() -> None:
    pair = Pair()
    while pair.central._channel is None:
        pair.step()
    pair.central.close(CloseCode.DRAIN, pair.now)
    while pair.step():
        pass
    assert [event.code for event in ends(pair.at_peer)] == [CloseCode.DRAIN] and pair.peer.closed


# --- legality ---


@pytest.mark.parametrize("role", list(FROM_CENTRAL))
@pytest.mark.parametrize("state", list(State))
def test_the_whole_table_towards_central(role: Role, state: State) -> None:
    """Every pair of (role, state) with every message: exactly the table, at the sender and at the receiver."""
    if (role, state) not in ALLOWED:
        return
    for kind, message in BY_TYPE.items():
        pair = Pair(role).open()
        if state is State.BOOTED:
            pair.say(BOOT)
        if kind in ALLOWED[role, state]:
            assert pair.say(message) == [message]
            continue
        with pytest.raises(LocalProtocolError, match="not legal"):
            pair.peer.send(message, pair.now)
        body = msgspec.msgpack.encode(message)
        _, error = drain(pair.central, pair.forge(pair.peer, token.APP, body), pair.now)
        assert type(error) is UnexpectedMessage, kind
        events, _ = drain(pair.peer, pair.central.data_to_send(), pair.now)
        complaint = taken(events[:1])[0]
        assert isinstance(complaint, m.Error) and complaint.code == "unexpected"
        assert complaint.re == getattr(message, "id", None)
        assert ends(events)[0].code is CloseCode.PROTOCOL


@pytest.mark.parametrize("role", list(FROM_CENTRAL))
def test_the_whole_table_from_central(role: Role) -> None:
    for kind, message in BY_TYPE.items():
        pair = Pair(role).open()
        if kind in FROM_CENTRAL[role]:
            assert pair.tell(message) == [message]
            continue
        with pytest.raises(LocalProtocolError, match="not legal"):
            pair.central.send(message, pair.now)
        body = msgspec.msgpack.encode(message)
        _, error = drain(pair.peer, pair.forge(pair.central, token.APP, body), pair.now)
        assert type(error) is UnexpectedMessage, kind
        events, _ = drain(pair.central, pair.peer.data_to_send(), pair.now)
        assert [type(event) for event in events] == [ChannelClosed]


def test_boot_opens_the_rest() -> None:
    pair = Pair().open()
    with pytest.raises(LocalProtocolError):
        pair.peer.send(m.Plugged(connector=1), pair.now)
    pair.say(BOOT)
    assert pair.say(m.Plugged(connector=1)) == [m.Plugged(connector=1)]
    assert pair.say(BOOT) == [BOOT]


def test_nobody_may_speak_as_central() -> None:
    assert not any(allowed(Role.CENTRAL, state) for state in State)
    assert Role.CENTRAL not in FROM_CENTRAL
    assert not any(set(legal) & set(FROM_CENTRAL[role]) for (role, _), legal in ALLOWED.items())


def test_unknown_type_is_answered_and_survived() -> None:
    pair = Pair().open()
    for given_id, answered in ((5, 5), ("abc", "abc"), (-1, None), ([1], None), ("x" * 65, None), (None, None)):
        body = msgpack.packb({"type": "teleport", "id": given_id, "where": {"deep": [1]}})
        events, error = drain(pair.central, pair.forge(pair.peer, token.APP, body), pair.now)
        assert events == [] and error is None
        events, _ = drain(pair.peer, pair.central.data_to_send(), pair.now)
        (reply,) = taken(events)
        assert isinstance(reply, m.Error) and (reply.code, reply.re) == ("unknown_type", answered)
    assert pair.say(BEAT) == [BEAT]


def test_unknown_type_from_central_is_ignored() -> None:
    pair = Pair().open()
    body = msgpack.packb({"type": "teleport"})
    assert drain(pair.peer, pair.forge(pair.central, token.APP, body), pair.now) == ([], None)
    assert pair.peer.data_to_send() == b"" and pair.tell(m.Ack()) == [m.Ack()]


def test_unknown_fields_are_ignored() -> None:
    pair = Pair().open()
    body = msgpack.packb({"type": "heartbeat", "id": 1, "mood": ["good"]})
    events, _ = drain(pair.central, pair.forge(pair.peer, token.APP, body), pair.now)
    assert taken(events) == [BEAT]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "boot"},
        {"type": "boot", "connectors": []},
        {"type": "boot", "connectors": [{"connector": 0, "min_w": 0, "max_w": 0}]},
        {"type": "boot", "connectors": [{"connector": 1, "min_w": -1, "max_w": 0}]},
        {"type": "boot", "connectors": [{"connector": 1, "min_w": 0, "max_w": 10_000_001}]},
        {"type": "boot", "connectors": [{"connector": 1, "min_w": 0, "max_w": 0}] * 33},
        {"type": "boot", "connectors": [{"connector": 1, "min_w": 0, "max_w": 0}], "model": "x" * 513},
        {"type": "heartbeat", "id": 1.0},
        {"type": "heartbeat", "id": True},
        {"type": "heartbeat", "id": ""},
        {"type": "heartbeat", "id": -1},
        {"type": "result", "command_id": 1, "outcome": "perhaps"},
        {"type": "outbox", "n": 0, "payload": {"type": "boot"}},
        {"type": "outbox", "n": 0, "payload": 1},
        {"type": "outbox", "n": -1, "payload": {"type": "status", "connector": 1}},
    ],
)
def test_malformed_messages_are_fatal(fields: dict[str, Any]) -> None:
    pair = Pair().open()
    _, error = drain(pair.central, pair.forge(pair.peer, token.APP, msgpack.packb(fields)), pair.now)
    assert type(error) is MalformedMessage
    events, _ = drain(pair.peer, pair.central.data_to_send(), pair.now)
    complaint = taken(events[:1])[0]
    assert isinstance(complaint, m.Error) and complaint.code == "malformed"
    assert ends(events)[0].code is CloseCode.PROTOCOL


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\xc1",
        b"\x80",
        b"\x81\xa4type\x01",
        b"\x81\xa4type\xa1\xff",
        b"\x82\xa4type\xa9heartbeat",
        msgpack.packb({"type": "heartbeat"}) + b"\0",
        b"\x82\xa4type\xa9heartbeat\xa1x" + b"\x91" * 40_000 + b"\xc0",
        b"\x91" * 40_000,
        b"\xdf\xff\xff\xff\xff",
    ],
)
def test_bytes_that_are_no_message(body: bytes) -> None:
    pair = Pair().open()
    _, error = drain(pair.central, pair.forge(pair.peer, token.APP, body), pair.now)
    assert type(error) is MalformedMessage and len(str(error)) < 300
    pair = Pair().open()
    _, error = drain(pair.peer, pair.forge(pair.central, token.APP, body), pair.now)
    assert type(error) is MalformedMessage


# --- any bytes ---


@pytest.fixture(scope="module")
def live() -> tuple[bytes, ...]:
    """Real bytes of each kind, to splice damage from."""
    pair = Pair().open()
    pair.peer.send(BOOT, pair.now)
    return (*(data for _, data in pair.wire), pair.peer.data_to_send())


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.tuples(st.integers(0, 255), st.binary(max_size=90)).map(lambda one: frames.encode_frame(*one)),
        st.integers(0, 6),
    ),
    max_size=6,
)


@settings(max_examples=150)
@given(PIECES, st.sampled_from(["new", "peer", "open"]))
def test_any_bytes_give_messages_or_remote_protocol_error(
    live: tuple[bytes, ...], pieces: list[bytes | int], stage: str
) -> None:
    if stage == "new":
        conn = Connection.server(CENTRAL, now=1000.0, entropy=seeded(1))
    else:
        pair = Pair()
        conn = pair.peer if stage == "peer" else pair.open().central
    limit = 1024 if stage != "open" else 65_536
    for piece in pieces:
        data = live[piece] if isinstance(piece, int) else piece
        events, error = drain(conn, data, 1000.0)
        for event in events:
            if isinstance(event, HelloReceived):
                conn.reply_hello(T0_MS, 1000.0)
        assert error is None or isinstance(error, RemoteProtocolError)
        assert conn._frames.held <= limit + 3
        if error is not None:
            assert conn.closed and conn._frames.held == 0


MSGPACK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from([one.__struct_config__.tag for one in BY_TYPE])
FIELDS = st.sampled_from(sorted({name for kind in BY_TYPE for name in kind.__struct_fields__}))


@settings(max_examples=300)
@given(
    st.sampled_from(list(FROM_CENTRAL)),
    st.one_of(
        st.binary(max_size=60),
        MSGPACK.map(msgpack.packb),
        st.builds(
            lambda kind, rest: msgpack.packb({"type": kind, **rest}),
            TYPES,
            st.dictionaries(FIELDS, MSGPACK, max_size=6),
        ),
    ),
)
def test_any_body_gives_a_message_or_remote_protocol_error(role: Role, body: bytes) -> None:
    for towards_central in (True, False):
        pair = Pair(role).open()
        source, target = (pair.peer, pair.central) if towards_central else (pair.central, pair.peer)
        events, error = drain(target, pair.forge(source, token.APP, body), pair.now)
        assert error is None or isinstance(error, MalformedMessage | UnexpectedMessage)
        legal = allowed(role, State.READY) if towards_central else FROM_CENTRAL[role]
        assert all(type(message) in legal for message in taken(events))
        assert target.closed == (error is not None)
