"""What may be said by whom and when, and any bytes at all."""

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
from protocol.connection import ChannelClosed, Connection, HelloReceived
from protocol.credentials import Role
from protocol.errors import CloseCode, LocalProtocolError, MalformedMessage, RemoteProtocolError, UnexpectedMessage
from protocol.states import ALLOWED, FROM_CENTRAL, State, allowed
from tests.support.open_channel import BEAT, BOOT, ends
from tests.support.wire import CENTRAL, T0_MS, Pair, drain, seeded, taken
from tests.wire.golden_samples import SAMPLES

BY_TYPE = {type(one): one for one in SAMPLES}


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
