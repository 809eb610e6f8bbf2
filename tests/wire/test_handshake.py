"""HELLO to READY: who gets in, every cut, every changed bit, and nothing before its turn."""

from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from protocol import frames, handshake
from protocol.connection import AuthPresented, Connection, Established, Event, Limits
from protocol.credentials import Role
from protocol.errors import AuthenticationFailed, FrameTooLarge, RemoteProtocolError, UnexpectedMessage
from tests.support.opening import NOW, answer, central_after, new_central, peer_after
from tests.support.wire import BOOT_ID, CENTRAL, Pair, a_grant, credential, drain, every_cut, flips, seeded

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
