"""HELLO to READY: every cut, every changed bit, wrong keys, wrong versions, illegal payloads, and silence."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import msgpack
import msgspec
import pytest
from rich.pretty import pretty_repr

from protocol import channel as token
from protocol import frames, handshake
from protocol.connection import (
    AuthPresented,
    Connection,
    Established,
    Event,
    HelloReceived,
    Limits,
    RefusedByCentral,
)
from protocol.credentials import Role, key_id, public_key
from protocol.errors import (
    AuthenticationFailed,
    CloseCode,
    FrameTooLarge,
    LocalProtocolError,
    MalformedMessage,
    RefuseCode,
    RemoteProtocolError,
    UnexpectedMessage,
    UnsupportedVersion,
)
from protocol.handshake import ClientHandshake, ServerHandshake, parse_hello
from protocol.noise import CipherState, HandshakeState, key_pair
from tests.support.wire import (
    BOOT_ID,
    CENTRAL,
    CENTRAL_KEY,
    T0_MS,
    Pair,
    a_grant,
    credential,
    drain,
    every_cut,
    flips,
    seeded,
)
from tests.wire.golden import E_CENTRAL, E_CLIENT

NOW = 1000.0


def new_central(**more: Any) -> Connection:
    return Connection.server(CENTRAL, now=NOW, entropy=seeded(1), **more)


def new_peer(role: Role = Role.CP, **more: Any) -> Connection:
    return Connection.client(
        more.pop("who", credential(role)), boot_id=BOOT_ID, conn_no=1, now=NOW, entropy=seeded(2), **more
    )


def answer(central: Connection, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, HelloReceived):
            central.reply_hello(T0_MS, NOW)
        elif isinstance(event, AuthPresented):
            central.accept(a_grant(), NOW)


@pytest.fixture(scope="module")
def flights() -> dict[str, bytes]:
    """The bytes of one handshake. Entropy is seeded, so every connection below says exactly these."""
    pair = Pair().open()
    names = ["m1", "m2", "m3", "m4", "ready", "ready_back"]
    return dict(zip(names, (data for _, data in pair.wire), strict=True))


def central_after(flights: dict[str, bytes], *names: str) -> Connection:
    central = new_central()
    for name in names:
        events, error = drain(central, flights[name], NOW)
        assert error is None
        answer(central, events)
    central.data_to_send()
    return central


def peer_after(flights: dict[str, bytes], *names: str) -> Connection:
    peer = new_peer()
    for name in names:
        assert drain(peer, flights[name], NOW)[1] is None
    peer.data_to_send()
    return peer


# --- what should work ---


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.CENTRAL])
def test_every_role_gets_in(role: Role) -> None:
    pair = Pair(role, grant=a_grant(fence=3, next_n=4, checkpoint=b"note"), checkpoint=b"seen", outbox_epoch=2**64 - 1)
    pair.pump()
    auth = pair.at_central[1]
    assert isinstance(auth, AuthPresented)
    who = credential(role)
    assert (auth.username, auth.role, auth.entity) == (who.username, role, who.entity)
    assert auth.public_key == who.public_key()
    assert (auth.boot_id, auth.conn_no, auth.checkpoint, auth.outbox_epoch) == (BOOT_ID, 1, b"seen", 2**64 - 1)
    for conn, events in ((pair.central, pair.at_central), (pair.peer, pair.at_peer)):
        assert conn.ready and not conn.closed
        assert (conn.role, conn.username, conn.entity) == (role, who.username, who.entity)
        established = events[-1]
        assert isinstance(established, Established)
        assert established.grant == a_grant(fence=3, next_n=4, checkpoint=b"note", secret=b"")


def test_optional_fields_stay_away() -> None:
    pair = Pair().pump()
    auth, established = pair.at_central[1], pair.at_peer[-1]
    assert isinstance(auth, AuthPresented) and auth.checkpoint is None and auth.outbox_epoch is None
    assert isinstance(established, Established)
    assert established.grant == a_grant(secret=b"")


def test_secrets_are_not_printed() -> None:
    assert "33333" not in repr(a_grant()) and "\\x33" not in repr(a_grant())
    assert "33333" not in pretty_repr(a_grant()) and "\\x33" not in pretty_repr(a_grant())
    assert "hidden" in repr(handshake.Secrets(b"secret", b"secret"))


def test_idle_connection_holds_no_handshake() -> None:
    pair = Pair().open()
    assert pair.central._opening is None and pair.peer._opening is None
    assert not hasattr(pair.central, "__dict__")


def test_central_needs_the_peers_ready() -> None:
    """Only READY proves that the peer is alive now: before it nothing may be sent and nobody replaced."""
    pair = Pair()
    for _ in range(2):
        pair.step()
    assert pair.wire[-1][0] == "s2c" and not pair.central.ready
    assert not any(isinstance(event, Established) for event in pair.at_central)


def test_binding_must_agree() -> None:
    assert Pair(binding=(b"\x01" * 32, b"\x01" * 32)).open().central.ready
    pair = Pair(binding=(b"\x01" * 32, b"\x02" * 32))
    with pytest.raises(AuthenticationFailed):
        pair.pump()


def test_parameters_are_centrals() -> None:
    limits = Limits(rekey_msgs=5, rekey_s=7, ttl_s=9, max_frame=2048)
    peer = Pair(limits=limits, peer_limits=Limits()).open().peer
    assert (peer._limits.rekey_msgs, peer._limits.rekey_s, peer._limits.ttl_s) == (5, 7, 9)
    assert peer._limits.max_frame == 2048 and peer._limits.ping_s == Limits().ping_s


# --- cuts and changes ---


@pytest.mark.parametrize("name", ["m1", "m3", "ready"])
def test_every_cut_at_central(flights: dict[str, bytes], name: str) -> None:
    before = {"m1": (), "m3": ("m1",), "ready": ("m1", "m3")}[name]

    def read(pieces: list[bytes]) -> list[Event]:
        central = central_after(flights, *before)
        return [event for piece in pieces for event in drain(central, piece, NOW)[0]]

    every_cut(flights[name], read)


@pytest.mark.parametrize("name", ["m2", "m4", "ready_back"])
def test_every_cut_at_the_peer(flights: dict[str, bytes], name: str) -> None:
    before = {"m2": (), "m4": ("m2",), "ready_back": ("m2", "m4")}[name]

    def read(pieces: list[bytes]) -> tuple[list[Event], bytes]:
        peer = peer_after(flights, *before)
        events = [event for piece in pieces for event in drain(peer, piece, NOW)[0]]
        return events, peer.data_to_send()

    every_cut(flights[name], read)


@pytest.mark.parametrize("name", ["m1", "m3", "ready"])
def test_every_changed_bit_at_central_is_refused_in_silence(flights: dict[str, bytes], name: str) -> None:
    before = {"m1": (), "m3": ("m1",), "ready": ("m1", "m3")}[name]
    for changed in flips(flights[name]):
        central = central_after(flights, *before)
        events, _ = drain(central, changed, NOW)
        answer(central, events)
        assert not any(isinstance(event, AuthPresented | Established) for event in events)
        assert central.data_to_send() == b"", "a stranger got a reply"
        assert not central.ready
        if not central.closed:
            # A changed length waits for bytes that never come: the deadline ends it.
            assert int.from_bytes(changed[:4], "big") > len(changed) - 4
            central.handle_timer(NOW + 10)
            assert central.closed and central.data_to_send() == b""


@pytest.mark.parametrize("name", ["m2", "m4", "ready_back"])
def test_every_changed_bit_at_the_peer_is_refused(flights: dict[str, bytes], name: str) -> None:
    before = {"m2": (), "m4": ("m2",), "ready_back": ("m2", "m4")}[name]
    for changed in flips(flights[name]):
        peer = peer_after(flights, *before)
        events, error = drain(peer, changed, NOW)
        assert events == [] and not peer.ready
        if name != "ready_back":
            assert peer.data_to_send() == b""
        assert isinstance(error, RemoteProtocolError) or int.from_bytes(changed[:4], "big") > len(changed) - 4


@pytest.mark.parametrize("name", ["m1", "m3", "ready"])
def test_truncation_is_not_clean(flights: dict[str, bytes], name: str) -> None:
    before = {"m1": (), "m3": ("m1",), "ready": ("m1", "m3")}[name]
    central = central_after(flights, *before)
    assert drain(central, flights[name][:-1], NOW) == ([], None)
    central.receive_eof(NOW)
    event = central.next_event()
    assert event is not None and "handshake" in str(event)
    assert central.closed and central.next_event() is None


def test_replayed_hello_and_auth_lead_nowhere(flights: dict[str, bytes]) -> None:
    """A recorded first message gets a fresh REPLY; the recorded third one does not fit to it."""
    central = Connection.server(CENTRAL, now=NOW, entropy=seeded(99))
    events, _ = drain(central, flights["m1"], NOW)
    answer(central, events)
    assert central.data_to_send() != flights["m2"]
    events, error = drain(central, flights["m3"], NOW)
    assert events == [] and isinstance(error, AuthenticationFailed)


@pytest.mark.parametrize("early", ["m1", "m3", "ready"])
def test_frames_before_their_turn(flights: dict[str, bytes], early: str) -> None:
    """While Central looks something up, and at every other moment, one frame is legal at most."""
    for before in ((), ("m1",), ("m1", "m3")):
        if {"m1": (), "m3": ("m1",), "ready": ("m1", "m3")}[early] == before:
            continue
        central = central_after(flights, *before)
        events, error = drain(central, flights[early], NOW)
        assert events == [] and isinstance(error, UnexpectedMessage)
        assert central.closed and central.data_to_send() == b""


def test_bytes_while_central_decides(flights: dict[str, bytes]) -> None:
    for names in (["m1"], ["m1", "m3"]):
        central = central_after(flights, *names[:-1])
        assert len(drain(central, flights[names[-1]], NOW)[0]) == 1
        events, error = drain(central, flights[names[-1]], NOW)
        assert events == [] and isinstance(error, UnexpectedMessage) and central.closed


@pytest.mark.parametrize("kind", [k for k in range(256) if k != frames.HELLO])
def test_first_frame_must_be_hello(flights: dict[str, bytes], kind: int) -> None:
    central = new_central()
    _, error = drain(central, frames.encode_frame(kind, flights["m1"][5:]), NOW)
    assert isinstance(error, UnexpectedMessage) and central.data_to_send() == b""


def test_long_frames_before_authentication(flights: dict[str, bytes]) -> None:
    for names in ((), ("m1",)):
        central = central_after(flights, *names)
        _, error = drain(central, (1025).to_bytes(4, "big"), NOW)
        assert isinstance(error, FrameTooLarge) and central.data_to_send() == b""


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
    server = _server_noise(client.hello())
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


# --- payloads ---


def _server_noise(hello_body: bytes) -> HandshakeState:
    """The responder's Noise with nothing of evcharge's handshake on top."""
    taken = parse_hello(hello_body, key_id(CENTRAL_KEY))
    noise = HandshakeState(
        initiator=False,
        prologue=handshake.prologue(taken.clear, b""),
        s=CENTRAL.key_pair,
        e=key_pair(E_CENTRAL),
    )
    noise.read_message(taken.noise)
    return noise


def _to_server() -> tuple[ServerHandshake, HandshakeState]:
    """Central's handshake waiting for AUTH, and the initiator's bare Noise."""
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    server = ServerHandshake(CENTRAL, parse_hello(client.hello(), key_id(CENTRAL_KEY)), E_CENTRAL)
    client._noise.read_message(server.reply(T0_MS))
    return server, client._noise


def _to_client() -> tuple[ClientHandshake, CipherState]:
    """The client's handshake waiting for SESSION, and Central's bare transport cipher."""
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    server = ServerHandshake(CENTRAL, parse_hello(client.hello(), key_id(CENTRAL_KEY)), E_CENTRAL)
    server.auth(client.auth(server.reply(T0_MS), handshake.Claims(BOOT_ID, 1)))
    assert server._transport is not None
    return client, server._transport


AUTH = {1: "cp-1", 2: 1, 3: "CP-1", 4: BOOT_ID, 5: 1}
SESSION = {0: 4, 1: b"s" * 16, 2: b"S" * 32, 3: T0_MS, 4: {1: 65_536, 2: 900, 3: 60, 4: 65_536}}
REFUSE = {0: 5, 1: 4, 2: 30}
NOT_MAPS = [
    b"",
    b"\xc0",
    b"\x91\x01",
    b"\x01",
    b"\xc1",
    b"\xdf\xff\xff\xff\xff",
    b"\x81\x91\x01\x01",
    b"\x81\xa1a\x01",
    b"\x82\x01\x01",
]


def _bad(good: dict[int, Any], changes: dict[int, list[Any]], optional: set[int]) -> list[bytes]:
    """Payloads with one field missing or changed, and bytes that are no payload at all."""
    bad = [msgpack.packb({k: v for k, v in good.items() if k != field}) for field in good if field not in optional]
    bad += [msgpack.packb({**good, field: value}) for field, values in changes.items() for value in values]
    whole = msgpack.packb(good)
    twice = bytes([whole[0] + 1]) + whole[1:] + msgpack.packb(2) + msgpack.packb(1)
    deep = msgpack.packb({**good, 99: {1: {2: [1]}}})
    extension = msgpack.packb({**good, 99: msgpack.ExtType(1, b"x")})
    big = msgpack.packb({**good, 99: b"x" * 513})
    many = msgpack.packb({**good, **{100 + i: 0 for i in range(16)}})
    keys = [msgpack.packb({**good, key: 0}) for key in ("1", True, None, 1.5, b"1")]
    return [*bad, *NOT_MAPS, whole + b"\0", whole[:-1], twice, deep, extension, big, many, *keys]


NO_INT = [-1, 1.0, True, None, "1", b"1", [1]]

BAD_AUTH = _bad(
    AUTH,
    {
        1: ["", "a" * 65, "é" * 33, "a\0", "a\n", b"cp-1", 1, None],
        2: [*NO_INT, 0, 6, 255],
        3: ["", "a" * 65, b"x", None],
        4: [b"", b"x" * 15, b"x" * 17, "x" * 16, None],
        5: [*NO_INT, 2**53],
        6: [b"x" * 513, "x", None, 1],
        7: [*NO_INT],
    },
    set(),
)
BAD_SESSION = _bad(
    SESSION,
    {
        0: [*NO_INT, 5],
        1: [b"s" * 15, b"s" * 17, "s" * 16],
        2: [b"S" * 31, b"S" * 33, "S" * 32],
        3: [*NO_INT, 2**53],
        4: [
            None,
            1,
            {},
            {1: 1, 2: 900, 3: 60, 4: 65_536},
            {1: 65_537, 2: 900, 3: 60, 4: 65_536},
            {1: 65_536, 2: 0, 3: 60, 4: 65_536},
            {1: 65_536, 2: 86_401, 3: 60, 4: 65_536},
            {1: 65_536, 2: 900, 3: 0, 4: 65_536},
            {1: 65_536, 2: 900, 3: 3_601, 4: 65_536},
            {1: 65_536, 2: 900, 3: 60, 4: 1_023},
            {1: 65_536, 2: 900, 3: 60, 4: 65_537},
            {1: 65_536, 2: 900, 3: 60},
        ],
        5: [*NO_INT, 2**53],
        6: [*NO_INT, 2**53],
        7: [b"x" * 513, "x", None],
    },
    set(),
)
BAD_REFUSE = _bad(REFUSE, {1: [*NO_INT, 0, 256], 2: [*NO_INT, 604_801]}, set())


def refused(read: Callable[[], Any]) -> None:
    with pytest.raises((MalformedMessage, UnexpectedMessage)):
        read()


def test_illegal_auth() -> None:
    for payload in BAD_AUTH:
        server, noise = _to_server()
        refused(lambda: server.auth(noise.write_message(payload)))  # noqa: B023 - called at once


def test_illegal_session() -> None:
    for payload in BAD_SESSION:
        client, cipher = _to_client()
        refused(lambda: client.finish(frames.SESSION, cipher.encrypt(b"", payload), Limits()))  # noqa: B023


def test_illegal_refuse() -> None:
    for payload in BAD_REFUSE:
        client, cipher = _to_client()
        refused(lambda: client.finish(frames.REFUSE, cipher.encrypt(b"", payload), Limits()))  # noqa: B023


@pytest.mark.parametrize(
    "payload", [{1: 1}, {2: 0}, {1: 0, 2: 0}, {1: 256, 2: 0}, {1: 1, 2: -1}, {1: True, 2: 0}, {1: 1, 2: "0"}]
)
def test_illegal_reply(payload: dict[int, Any]) -> None:
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    noise = _server_noise(client.hello())
    refused(lambda: client.auth(noise.write_message(msgpack.packb(payload)), handshake.Claims(BOOT_ID, 1)))


def test_a_payload_has_sixteen_fields_at_most() -> None:
    for count, legal in ((16, True), (17, False)):
        server, noise = _to_server()
        message = noise.write_message(msgpack.packb({**AUTH, **{100 + i: 0 for i in range(count - len(AUTH))}}))
        if legal:
            assert server.auth(message).username == "cp-1"
        else:
            refused(lambda: server.auth(message))  # noqa: B023 - called at once


def test_unknown_fields_are_ignored() -> None:
    server, noise = _to_server()
    assert server.auth(noise.write_message(msgpack.packb({**AUTH, 99: "later"}))).username == "cp-1"
    client, cipher = _to_client()
    sealed = cipher.encrypt(b"", msgpack.packb({**SESSION, 99: {1: b"later"}}))
    assert isinstance(client.finish(frames.SESSION, sealed, Limits()), tuple)


def test_hello_with_a_payload_is_refused() -> None:
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    noise = client._noise.write_message(b"x")
    server = ServerHandshake(CENTRAL, handshake.Hello(client._clear, (1,), noise), E_CENTRAL)
    with pytest.raises(MalformedMessage, match="payload"):
        server.reply(T0_MS)


def test_exchanged_type_of_the_last_frame(flights: dict[str, bytes]) -> None:
    peer = peer_after(flights, "m2")
    _, error = drain(peer, frames.encode_frame(frames.REFUSE, flights["m4"][5:]), NOW)
    assert isinstance(error, UnexpectedMessage)


# --- yes and no ---


@pytest.mark.parametrize("code", list(RefuseCode))
def test_refusal_is_authenticated(flights: dict[str, bytes], code: RefuseCode) -> None:
    central, peer = central_after(flights, "m1"), peer_after(flights, "m2")
    assert isinstance(drain(central, flights["m3"], NOW)[0][0], AuthPresented)
    central.refuse(code, 30, NOW)
    assert central.closed
    refusal = central.data_to_send()
    assert drain(peer, refusal, NOW) == ([RefusedByCentral(code, 30)], None)
    assert peer.closed and peer.data_to_send() == b""
    for changed in flips(refusal):
        other = peer_after(flights, "m2")
        assert drain(other, changed, NOW)[0] == []


def test_refusal_of_a_later_version_is_temporary() -> None:
    client, cipher = _to_client()
    sealed = cipher.encrypt(b"", msgpack.packb({0: 5, 1: 77, 2: 1}))
    assert client.finish(frames.REFUSE, sealed, Limits()) == RefusedByCentral(RefuseCode.UNAVAILABLE, 1)


def test_refusing_before_hello_and_before_auth(flights: dict[str, bytes]) -> None:
    for central in (new_central(), central_after(flights, "m1")):
        central.refuse(RefuseCode.DRAINING, 5, NOW)
        assert central.data_to_send() == frames.encode_frame(frames.ALERT, b"\x05") and central.closed


def test_answers_out_of_turn_are_our_bug(flights: dict[str, bytes]) -> None:
    central = new_central()
    with pytest.raises(LocalProtocolError):
        central.reply_hello(T0_MS, NOW)
    with pytest.raises(LocalProtocolError):
        central.accept(a_grant(), NOW)
    central = central_after(flights, "m1", "m3")
    with pytest.raises(LocalProtocolError, match="too late"):
        central.refuse(RefuseCode.BUSY, 0, NOW)
    with pytest.raises(LocalProtocolError):
        central.accept(a_grant(), NOW)
    with pytest.raises(LocalProtocolError):
        new_peer().accept(a_grant(), NOW)


@pytest.mark.parametrize("fields", [{"sid": b""}, {"secret": b""}, {"checkpoint": b"x" * 513}])
def test_illegal_grants_are_our_bug(flights: dict[str, bytes], fields: dict[str, Any]) -> None:
    central = central_after(flights, "m1")
    drain(central, flights["m3"], NOW)
    with pytest.raises(LocalProtocolError):
        central.accept(a_grant(**fields), NOW)


@pytest.mark.parametrize(
    "fields", [{"boot_id": b""}, {"conn_no": -1}, {"checkpoint": b"x" * 513}, {"outbox_epoch": 2**64}]
)
def test_illegal_claims_are_our_bug(fields: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="AUTH"):
        Pair(**fields).pump()


def test_longest_auth_fits(flights: dict[str, bytes]) -> None:
    who = msgspec.structs.replace(credential(), username="u" * 64, entity="é" * 32)
    pair = Pair(who=who, checkpoint=b"x" * 512, outbox_epoch=2**64 - 1, conn_no=2**53 - 1).open()
    longest = max(len(data) - 4 for _, data in pair.wire)
    assert 700 < longest <= frames.MAX_HANDSHAKE_FRAME


@pytest.mark.parametrize(("names", "due"), [((), 2.0), (("m1",), 10.0), (("m1", "m3"), 10.0)])
def test_central_loses_patience_in_silence(flights: dict[str, bytes], names: tuple[str, ...], due: float) -> None:
    central = central_after(flights, *names)
    assert central.get_timer() == NOW + due
    central.handle_timer(NOW + due - 0.001)
    assert not central.closed
    central.receive_data(b"\0", NOW + due - 0.001)
    assert central.next_event() is None
    central.handle_timer(NOW + due)
    with pytest.raises(RemoteProtocolError) as caught:
        central.next_event()
    assert caught.value.code is CloseCode.TIMEOUT
    assert central.closed and central.data_to_send() == b"" and central.get_timer() is None


def test_client_loses_patience(flights: dict[str, bytes]) -> None:
    peer = peer_after(flights, "m2")
    assert peer.get_timer() == NOW + 10
    peer.handle_timer(NOW + 10)
    with pytest.raises(RemoteProtocolError):
        peer.next_event()
    assert peer.closed


@pytest.mark.parametrize(
    "changed",
    [
        {1: "x"},
        {1: "a" * 64},
        {2: 5},
        {3: "x"},
        {3: "a" * 64},
        {5: 0},
        {5: 2**53 - 1},
        {6: b""},
        {6: b"x" * 512},
        {7: 0},
        {7: 2**64 - 1},
    ],
)
def test_auth_at_its_bounds(changed: dict[int, Any]) -> None:
    server, noise = _to_server()
    said = server.auth(noise.write_message(msgpack.packb({**AUTH, **changed})))
    fields = {**AUTH, 6: None, 7: None, **changed}
    shown = [said.username, said.role, said.entity, said.boot_id, said.conn_no, said.checkpoint, said.outbox_epoch]
    assert shown == [fields[number] or (None if number == 6 else fields[number]) for number in range(1, 8)]


@pytest.mark.parametrize("params", [(2, 1, 1, 1_024), (65_536, 86_400, 3_600, 65_536)])
def test_session_at_its_bounds(params: tuple[int, int, int, int]) -> None:
    for number, name, values in (
        (3, "t0_ms", (0, 2**53 - 1)),
        (5, "fence", (0, 2**53 - 1)),
        (6, "next_n", (0, 2**53 - 1)),
        (7, "checkpoint", (b"", b"x", b"x" * 512)),
    ):
        for value in values:
            client, cipher = _to_client()
            fields = {**SESSION, 4: dict(enumerate(params, 1)), number: value}
            outcome = client.finish(frames.SESSION, cipher.encrypt(b"", msgpack.packb(fields)), Limits())
            assert isinstance(outcome, tuple)
            grant, _, limits = outcome
            assert getattr(grant, name) == (None if value == b"" else value)
            assert (limits.rekey_msgs, limits.rekey_s, limits.ttl_s, limits.max_frame) == params


@pytest.mark.parametrize(("code", "wait_s"), [(1, 0), (255, 0), (4, 604_800)])
def test_refuse_at_its_bounds(code: int, wait_s: int) -> None:
    client, cipher = _to_client()
    outcome = client.finish(frames.REFUSE, cipher.encrypt(b"", msgpack.packb({0: 5, 1: code, 2: wait_s})), Limits())
    assert outcome == RefusedByCentral(RefuseCode.UNAVAILABLE if code == 255 else RefuseCode(code), wait_s)


@pytest.mark.parametrize(("asked_s", "said_s"), [(-1, 0), (0, 0), (1, 1), (604_800, 604_800), (604_801, 604_800)])
def test_central_says_no_time_that_a_client_would_not_take(asked_s: int, said_s: int) -> None:
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    server = ServerHandshake(CENTRAL, parse_hello(client.hello(), key_id(CENTRAL_KEY)), E_CENTRAL)
    server.auth(client.auth(server.reply(T0_MS), handshake.Claims(BOOT_ID, 1)))
    body = server.refuse(RefuseCode.DRAINING, asked_s)
    assert client.finish(frames.REFUSE, body, Limits()) == RefusedByCentral(RefuseCode.DRAINING, said_s)


def test_a_grant_that_no_client_would_take_is_not_written() -> None:
    for changed in ({"sid": b"s" * 15}, {"secret": b"S" * 33}, {"checkpoint": b"x" * 513}):
        with pytest.raises(LocalProtocolError):
            Pair(grant=a_grant(**changed)).pump()
    assert Pair(grant=a_grant(checkpoint=b"x" * 512)).open().peer.ready


def test_the_two_directions_have_the_secrets_of_their_labels() -> None:
    """SPEC §4.7, from the standard library's HMAC alone."""
    ek, grant = b"e" * 32, a_grant()
    prk = hmac.digest(ek, grant.secret, "sha256")
    for label, secret in zip((b"c2s", b"s2c"), handshake.traffic_secrets(ek, grant), strict=True):
        assert secret == hmac.digest(prk, b"evcharge/1 traffic " + label + grant.sid + b"\x01", "sha256")
