"""The two ends of the fuzzed handshake: fixed keys and entropy, so a recorded frame is right again in every run."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from protocol.cipher import Entropy
from protocol.connection import Connection
from protocol.credentials import Credential, Role, encode_password, public_key, static_private_key
from protocol.events import AuthPresented, Grant, HelloReceived
from protocol.messages import Heartbeat

# Monotonic second and channel clock at which everything happens.
NOW = 1_000.0
CLOCK_MS = 1_763_683_200_000


def constant(byte: bytes) -> Entropy:
    """Entropy that always gives the same: only for fuzzing."""
    return lambda size: byte * size


def _credential(secret: bytes, username: str, role: Role, entity: str, central: bytes) -> Credential:
    password = encode_password(secret)
    return Credential(
        username=username, password=password, role=role, entity=entity, epoch=1, central_public_key=central
    )


_SECRET = bytes(range(32, 64))
_KEY = public_key(static_private_key(_SECRET, "central", Role.CENTRAL, 1))
CENTRAL = _credential(_SECRET, "central", Role.CENTRAL, "", _KEY)
PEER = _credential(bytes(range(32)), "cp-1", Role.CP, "CP-1", _KEY)


class Recorded(NamedTuple):
    """The writes of a whole handshake and a first message, in order."""

    from_peer: list[bytes]
    from_central: list[bytes]


@cache
def recorded() -> Recorded:
    """A handshake between ``PEER`` and ``CENTRAL`` with the entropy that the targets use."""
    peer = Connection.client(PEER, boot_id=b"\x42" * 16, conn_no=1, now=NOW, entropy=constant(b"\x11"))
    central = Connection.server(CENTRAL, now=NOW, entropy=constant(b"\x22"))
    found = Recorded([], [])
    said = False
    while (data := peer.data_to_send()) or not said:
        if not data:
            said = True
            peer.send(Heartbeat(id=1), NOW)
            data = peer.data_to_send()
        found.from_peer.append(data)
        central.receive_data(data, NOW)
        while (event := central.next_event()) is not None:
            if isinstance(event, HelloReceived):
                central.reply_hello(CLOCK_MS, NOW)
            elif isinstance(event, AuthPresented):
                central.accept(Grant(sid=b"\x44" * 16, secret=b"\x33" * 32, t0_ms=CLOCK_MS), NOW)
        answer = central.data_to_send()
        if answer:
            found.from_central.append(answer)
            peer.receive_data(answer, NOW)
            while peer.next_event() is not None:
                pass
    return found
