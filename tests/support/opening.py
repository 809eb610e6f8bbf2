"""Both ends of a handshake, stopped wherever a test wants them."""

from __future__ import annotations

from typing import Any

from protocol import handshake
from protocol.connection import AuthPresented, Connection, Event, HelloReceived
from protocol.credentials import Role, key_id
from protocol.handshake import parse_hello
from protocol.noise import HandshakeState, key_pair
from tests.support.wire import BOOT_ID, CENTRAL, CENTRAL_KEY, T0_MS, a_grant, credential, drain, seeded
from tests.wire.golden import E_CENTRAL

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


def server_noise(hello_body: bytes) -> HandshakeState:
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
