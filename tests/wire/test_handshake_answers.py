"""Central's yes and no: sealed, in turn, within bounds, and in time."""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
import pytest

from protocol import frames, handshake
from protocol.connection import AuthPresented, Limits, RefusedByCentral
from protocol.credentials import key_id
from protocol.errors import CloseCode, LocalProtocolError, RefuseCode, RemoteProtocolError, UnexpectedMessage
from protocol.handshake import ClientHandshake, ServerHandshake, parse_hello
from tests.support.opening import NOW, central_after, new_central, new_peer, peer_after
from tests.support.wire import BOOT_ID, CENTRAL, CENTRAL_KEY, T0_MS, Pair, a_grant, credential, drain, flips
from tests.wire.golden import E_CENTRAL, E_CLIENT


def test_exchanged_type_of_the_last_frame(flights: dict[str, bytes]) -> None:
    peer = peer_after(flights, "m2")
    _, error = drain(peer, frames.encode_frame(frames.REFUSE, flights["m4"][5:]), NOW)
    assert isinstance(error, UnexpectedMessage)


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
