"""A pair of connections without a network, and helpers to cut, damage and choose bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from protocol.cipher import Entropy
from protocol.connection import Connection
from protocol.credentials import Credential, Role, encode_password, public_key, static_private_key
from protocol.errors import RemoteProtocolError
from protocol.events import AuthPresented, Established, Event, Grant, HelloReceived, Limits, MessageReceived
from protocol.frames import DATA, encode_frame
from protocol.messages import Message

T0_MS = 1_763_683_200_000
BOOT_ID = b"\x42" * 16


def seeded(seed: int) -> Entropy:
    """Entropy that repeats: the same seed gives the same bytes."""
    return random.Random(seed).randbytes


def scripted(*chunks: bytes) -> Entropy:
    """Entropy that gives these bytes, one chunk a call, zero bytes after each chunk's end."""
    waiting = list(chunks)
    return lambda size: (waiting.pop(0) if waiting else b"").ljust(size, b"\0")


def _credential(secret: bytes, username: str, role: Role, entity: str, central: bytes) -> Credential:
    return Credential(
        username=username,
        password=encode_password(secret),
        role=role,
        entity=entity,
        epoch=1,
        central_public_key=central,
    )


CENTRAL_SECRET = bytes(range(32, 64))
CENTRAL_KEY = public_key(static_private_key(CENTRAL_SECRET, "central", Role.CENTRAL, 1))
CENTRAL = _credential(CENTRAL_SECRET, "central", Role.CENTRAL, "", CENTRAL_KEY)


def credential(role: Role = Role.CP, number: int = 1, secret: bytes = bytes(range(32))) -> Credential:
    """A credential for one peer; the charge point's is that of the known answers."""
    return _credential(secret, f"{role.label}-{number}", role, f"{role.name}-{number}", CENTRAL_KEY)


def a_grant(**fields: Any) -> Grant:
    """What Central grants in tests."""
    values: dict[str, Any] = {"sid": b"\x44" * 16, "secret": b"\x33" * 32, "t0_ms": T0_MS}
    return Grant(**(values | fields))


class Pair:
    """Central and one peer, joined by hand. ``now`` is the time of both; nothing moves but by a call."""

    def __init__(
        self,
        role: Role = Role.CP,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        peer_limits: Limits | None = None,
        grant: Grant | None = None,
        binding: tuple[bytes, bytes] = (b"", b""),
        who: Credential | None = None,
        offered: tuple[int, ...] = (1,),
        **claims: Any,
    ) -> None:
        self.now = 1000.0
        self.grant = a_grant() if grant is None else grant
        self.central = Connection.server(CENTRAL, now=self.now, entropy=seeded(1), binding=binding[0], limits=limits)
        self.peer = Connection.client(
            who or credential(role),
            boot_id=claims.pop("boot_id", BOOT_ID),
            conn_no=claims.pop("conn_no", 1),
            now=self.now,
            entropy=seeded(2),
            binding=binding[1],
            limits=peer_limits or limits,
            offered=offered,
            **claims,
        )
        self.at_central: list[Event] = []
        self.at_peer: list[Event] = []
        self.wire: list[tuple[str, bytes]] = []

    def step(self) -> bool:
        """Carry what is queued, each way once; Central answers the handshake. False when nothing moved."""
        moved = False
        for name, source, target, events in (
            ("c2s", self.peer, self.central, self.at_central),
            ("s2c", self.central, self.peer, self.at_peer),
        ):
            data = source.data_to_send()
            if data:
                moved = True
                self.wire.append((name, data))
                target.receive_data(data, self.now)
                while (event := target.next_event()) is not None:
                    events.append(event)
                    if isinstance(event, HelloReceived):
                        self.central.reply_hello(T0_MS, self.now)
                    elif isinstance(event, AuthPresented):
                        self.central.accept(self.grant, self.now)
        return moved

    def pump(self) -> Pair:
        """Carry until nothing moves."""
        while self.step():
            pass
        return self

    def open(self) -> Pair:
        """Go through the whole handshake."""
        self.pump()
        assert self.central.ready and self.peer.ready
        assert isinstance(self.at_central.pop(), Established) and isinstance(self.at_peer.pop(), Established)
        self.at_central.clear()
        return self

    def say(self, message: Message) -> list[Message]:
        """The peer sends; what Central has received since the last call."""
        self.peer.send(message, self.now)
        self.pump()
        return taken(self.at_central)

    def tell(self, message: Message) -> list[Message]:
        """Central sends; what the peer has received since the last call."""
        self.central.send(message, self.now)
        self.pump()
        return taken(self.at_peer)

    def forge(self, source: Connection, kind: int, body: bytes) -> bytes:
        """A frame that ``source`` would never send, sealed with its keys."""
        channel = source._channel
        assert channel is not None
        return channel.seal(kind, body, self.now)


def taken(events: list[Event]) -> list[Message]:
    """The messages among ``events``, which is emptied."""
    messages = [event.message for event in events if isinstance(event, MessageReceived)]
    events.clear()
    return messages


def drain(conn: Connection, data: bytes, now: float) -> tuple[list[Event], RemoteProtocolError | None]:
    """Feed bytes; the events that come, and the error that ended it."""
    events: list[Event] = []
    conn.receive_data(data, now)
    try:
        while (event := conn.next_event()) is not None:
            events.append(event)
    except RemoteProtocolError as error:
        return events, error
    return events, None


def split_frames(data: bytes) -> list[bytes]:
    """Whole frames, as a sniffer would cut them; independent of FrameDecoder."""
    frames = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        frames.append(data[:end])
        data = data[end:]
    return frames


def token_of(frame: bytes) -> bytes:
    """The token in a DATA frame."""
    assert frame[4] == DATA
    return frame[5:]


def data_frame(token: bytes) -> bytes:
    """A DATA frame around a token."""
    return encode_frame(DATA, token)


def every_cut(data: bytes, read: Callable[[list[bytes]], Any]) -> None:
    """Run ``read`` with ``data`` whole, byte by byte, in two pieces at every place, and with a frame behind it.

    ``read`` gets the pieces and returns what it understood; all ways have to agree.
    """
    whole = read([data])
    assert read([data[i : i + 1] for i in range(len(data))]) == whole
    for at in range(1, len(data)):
        assert read([data[:at], data[at:]]) == whole
    assert read([data + b"\0\0"]) == whole, "bytes of the next frame changed this one"


def flips(data: bytes) -> Iterator[bytes]:
    """``data`` with one bit changed, for every bit."""
    for place in range(len(data)):
        for bit in range(8):
            yield data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
