"""A channel as it grows old: new keys, its clock, silence, checkpoints, and the end."""

from __future__ import annotations

import pytest

from protocol import channel as token
from protocol import messages as m
from protocol.connection import ChannelClosed, CheckpointSeen, Connection, Event, Limits
from protocol.errors import CloseCode, LocalProtocolError, TimedOut, UnexpectedMessage, UnreadableToken
from tests.support.open_channel import BEAT, BOOT, assert_closes, ends
from tests.support.wire import T0_MS, Pair, drain, split_frames, taken

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
