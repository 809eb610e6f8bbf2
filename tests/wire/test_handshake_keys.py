"""Keys and versions of a handshake: whoever has the wrong ones learns nothing, and only hints come unsealed."""

from __future__ import annotations

import msgpack
import msgspec
import pytest

from protocol import channel as token
from protocol import frames, handshake
from protocol.connection import AuthPresented, Connection, HelloReceived
from protocol.credentials import Role, key_id, public_key
from protocol.errors import (
    AuthenticationFailed,
    LocalProtocolError,
    MalformedMessage,
    RefuseCode,
    UnexpectedMessage,
    UnsupportedVersion,
)
from protocol.handshake import ClientHandshake, ServerHandshake, parse_hello
from protocol.noise import HandshakeState, key_pair
from tests.support.opening import NOW, central_after, new_central, new_peer, peer_after, server_noise
from tests.support.wire import BOOT_ID, CENTRAL, CENTRAL_KEY, T0_MS, Pair, credential, drain, seeded
from tests.wire.golden import E_CENTRAL, E_CLIENT

# --- keys ---


def test_wrong_secret_and_wrong_role_show_another_key() -> None:
    """XK proves a key; that it is not the record's is for Central to see, so the key has to differ."""
    known = credential().public_key()
    for who in (
        credential(secret=bytes(32)),
        msgspec.structs.replace(credential(), epoch=2),
        msgspec.structs.replace(credential(Role.DRIVER), username="cp-1"),
    ):
        pair = Pair(who=who).pump()
        auth = pair.at_central[1]
        assert isinstance(auth, AuthPresented) and auth.public_key != known


def test_central_of_another_site_is_not_answered() -> None:
    other = msgspec.structs.replace(credential(), central_public_key=public_key(bytes([7]) * 32))
    pair = Pair(who=other)
    with pytest.raises(AuthenticationFailed):
        pair.pump()
    assert pair.at_central == [], "a slot would have been spent on it"
    assert pair.central.data_to_send() == b""


def test_false_central_is_found_out(flights: dict[str, bytes]) -> None:
    """Someone without Central's key cannot write a REPLY; a wrong one ends the client without AUTH."""
    false = HandshakeState(initiator=False, prologue=b"", s=key_pair(bytes([7]) * 32), e=key_pair(E_CENTRAL))
    false._symmetric.mix_key(bytes(32))
    body = key_pair(E_CENTRAL)[1] + false._symmetric.encrypt_and_hash(b"\x82\x01\x01\x02\x00")
    peer = peer_after(flights)
    _, error = drain(peer, frames.encode_frame(frames.REPLY, body), NOW)
    assert isinstance(error, AuthenticationFailed) and peer.data_to_send() == b""


def test_next_key_of_central() -> None:
    successor = msgspec.structs.replace(CENTRAL, epoch=2, central_public_key=b"")
    who = msgspec.structs.replace(credential(), central_public_key=CENTRAL_KEY, central_next=successor.public_key())
    peer = new_peer(who=who, use_next_key=True)
    central = Connection.server(successor, now=NOW, entropy=seeded(1))
    assert drain(central, peer.data_to_send(), NOW) == ([HelloReceived()], None)
    with pytest.raises(LocalProtocolError, match="next key"):
        new_peer(use_next_key=True)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_points_of_small_order(flights: dict[str, bytes], point: bytes) -> None:
    central = new_central()
    changed = flights["m1"][:20] + point + flights["m1"][52:]
    events, error = drain(central, changed, NOW)
    assert events == [HelloReceived()] and error is None
    central.reply_hello(T0_MS, NOW)
    with pytest.raises(AuthenticationFailed):
        central.next_event()
    assert central.closed and central.data_to_send() == b""


@pytest.mark.parametrize("size", [0, 1, 31, 32, 47])
def test_short_replies(flights: dict[str, bytes], size: int) -> None:
    peer = peer_after(flights)
    _, error = drain(peer, frames.encode_frame(frames.REPLY, flights["m2"][5 : 5 + size]), NOW)
    assert isinstance(error, AuthenticationFailed)


def test_central_cannot_be_a_client() -> None:
    with pytest.raises(LocalProtocolError, match="connects to nobody"):
        new_peer(who=CENTRAL)


# --- HELLO and versions ---


def hello(offered: tuple[int, ...], layout: int = 1, count: int | None = None, tail: bytes = b"") -> bytes:
    head = b"EVCH" + bytes([layout, len(offered) if count is None else count, *offered])
    return head + key_id(CENTRAL_KEY) + bytes(48) + tail


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", MalformedMessage),
        (b"EVCH\x01", MalformedMessage),
        (b"EVCI" + hello((1,))[4:], MalformedMessage),
        (hello((1,), layout=0), UnsupportedVersion),
        (hello((1,), layout=2), UnsupportedVersion),
        (hello(()), MalformedMessage),
        (hello((1, 2)), MalformedMessage),
        (hello((2, 2)), MalformedMessage),
        (hello((3, 1, 2)), MalformedMessage),
        (hello(tuple(range(9, 0, -1))), MalformedMessage),
        (hello((1,), count=2), MalformedMessage),
        (hello((1,), tail=b"\0"), MalformedMessage),
        (hello((1,))[:-1], MalformedMessage),
        (b"EVCH\x01\xff", MalformedMessage),
    ],
)
def test_illegal_hellos(body: bytes, why: type[Exception]) -> None:
    central = new_central()
    events, error = drain(central, frames.encode_frame(frames.HELLO, body), NOW)
    assert events == [] and type(error) is why
    assert central.data_to_send() == b"" and central.closed


def test_hello_of_eight_versions_is_legal() -> None:
    assert parse_hello(hello(tuple(range(8, 0, -1))), key_id(CENTRAL_KEY)).offered == (8, 7, 6, 5, 4, 3, 2, 1)


@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [((1,), (1,), 1), ((3, 2, 1), (1,), 1), ((3, 2, 1), (2, 1), 2), ((3, 1), (2, 1), 1), ((200, 3), (3, 1), 3)],
)
def test_highest_common_version(offered: tuple[int, ...], supported: tuple[int, ...], chosen: int) -> None:
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT, offered=offered)
    hello_body = parse_hello(client.hello(), key_id(CENTRAL_KEY))
    server = ServerHandshake(CENTRAL, hello_body, E_CENTRAL, supported=supported)
    client.auth(server.reply(T0_MS), handshake.Claims(BOOT_ID, 1))
    assert client.version == chosen


def test_no_common_version_gets_a_hint() -> None:
    pair = Pair(offered=(3, 2))
    with pytest.raises(UnsupportedVersion):
        pair.pump()
    assert pair.central.closed
    alert = pair.central.data_to_send()
    assert alert == frames.encode_frame(frames.ALERT, bytes([RefuseCode.VERSION]))
    _, error = drain(pair.peer, alert, NOW)
    assert isinstance(error, UnsupportedVersion) and pair.peer.data_to_send() == b""


def test_downgraded_offer_is_refused() -> None:
    """Somebody on the way removes the better version from the offer: the prologue no longer agrees."""
    peer = new_peer(offered=(2, 1))
    sent = peer.data_to_send()
    body = sent[5:].replace(b"EVCH\x01\x02\x02\x01", b"EVCH\x01\x01\x01")
    central = new_central()
    assert drain(central, frames.encode_frame(frames.HELLO, body), NOW) == ([HelloReceived()], None)
    central.reply_hello(T0_MS, NOW)
    with pytest.raises(AuthenticationFailed):
        central.next_event()
    assert central.data_to_send() == b""


def test_version_that_was_not_offered() -> None:
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT, offered=(2, 1))
    server = server_noise(client.hello())
    with pytest.raises(UnsupportedVersion):
        client.auth(server.write_message(msgpack.packb({1: 3, 2: 0})), handshake.Claims(BOOT_ID, 1))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (bytes([RefuseCode.BUSY]), UnexpectedMessage),
        (b"", UnexpectedMessage),
        (b"\xff", UnexpectedMessage),
        (b"\x09", UnsupportedVersion),
    ],
)
def test_alert_is_a_hint(code: bytes, error: type[Exception]) -> None:
    peer = new_peer()
    peer.data_to_send()
    _, raised = drain(peer, frames.encode_frame(frames.ALERT, code), NOW)
    assert type(raised) is error and "hint" in str(raised)


def test_alert_after_session_is_out_of_turn(flights: dict[str, bytes]) -> None:
    peer = peer_after(flights, "m2", "m4")
    _, raised = drain(peer, frames.encode_frame(frames.ALERT, bytes([RefuseCode.VERSION])), NOW)
    assert type(raised) is UnexpectedMessage and "hint" not in str(raised)


@pytest.mark.parametrize("kind", [token.APP, token.KEY_UPDATE, token.PING, token.PONG, 6])
def test_centrals_first_token_is_ready_or_close(flights: dict[str, bytes], kind: int) -> None:
    central, peer = central_after(flights, "m1", "m3"), peer_after(flights, "m2", "m4")
    channel = central._channel
    assert channel is not None
    events, error = drain(peer, channel.seal(kind, b"", NOW), NOW)
    assert events == [] and isinstance(error, UnexpectedMessage) and not peer.ready
