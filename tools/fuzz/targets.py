"""What is fuzzed: three functions that take an input and raise if the protocol's code breaks a promise.

The promises (SPEC §3, §4, §7): any bytes give messages or RemoteProtocolError and nothing else; a reader holds less
than one frame; a connection that failed is closed, stays closed and holds nothing. Each function counts in ``reached``
how deep its inputs came, so that a run can tell whether it tested more than the first length check.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import channel as token
from protocol import codec
from protocol.channel import Channel
from protocol.cipher import Sealer, max_body, traffic_secret
from protocol.connection import Connection
from protocol.credentials import Credential, CredentialError, Role, b64url, decode_password, key_id
from protocol.dialogue import Dialogue
from protocol.errors import RemoteProtocolError
from protocol.events import AuthPresented, ChannelClosed, Established, Grant, HelloReceived, Limits, MessageReceived
from protocol.frames import DATA, MAX_FRAME, MAX_HANDSHAKE_FRAME, FrameDecoder, encode_frame
from protocol.handshake import _claims, _unpack, parse_hello
from protocol.opening import ClientOpening, ServerOpening
from protocol.records import BadRecord, SignedRecord, open_record
from tools.fuzz.grammar import message_like
from tools.fuzz.reading import Choices
from tools.fuzz.wire import CENTRAL, CLOCK_MS, NOW, PEER, constant, recorded

# A decoder may hold all of a frame but its last byte, and the length before it.
_SLACK = 4
# Most steps on one channel: the time of an input is to be the protocol's, not that of sealing a thousand tokens here.
_STEPS = 32
# The peers' roles; Central is nobody's client.
_ROLES: Final = [Role.CP, Role.MONITOR, Role.DRIVER, Role.DEBUG, Role.GATEWAY]
_LIMITS: Final = Limits()
# Secrets of the fuzzed channel; any would do.
_PRK, _SID = bytes(range(32)), bytes(16)
_C2S, _S2C = traffic_secret(_PRK, "c2s", _SID), traffic_secret(_PRK, "s2c", _SID)
_KID = key_id(CENTRAL.public_key())
# The fuzzed registry's signing key, and what Central pins of it.
_SIGNING = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_REGISTRY = _SIGNING.public_key().public_bytes_raw()


class Broken(AssertionError):
    """A promise was broken."""


reached: set[str] = set()
"""How far the input came; cleared before each by whoever counts."""


def promise(kept: bool, what: str) -> None:
    """Raise Broken with ``what`` unless it was kept."""
    if not kept:
        raise Broken(what)


def decoder(data: bytes) -> None:
    """Frames in any cut; messages of every role in both directions; payloads, credentials and records."""
    choices = Choices(data)
    kind = choices.byte() % 16
    if kind < 4:
        _frames(choices, (MAX_FRAME, MAX_HANDSHAKE_FRAME, 64, 3)[kind])
    elif kind < 8:
        _message(choices, choices.rest)
    elif kind < 12:
        _message(choices, lambda: message_like(choices))
    elif kind == 12:
        _expect(RemoteProtocolError, lambda: _claims(_unpack(choices.rest()), bytes(32)), "claims")
    elif kind == 13:
        _expect(RemoteProtocolError, lambda: parse_hello(choices.rest(), _KID), "hello")
    elif kind == 14:
        _expect(CredentialError, lambda: Credential.from_json(choices.rest()), "credential")
        _expect(CredentialError, lambda: decode_password(data[1:].decode("latin-1")), "password")
    else:
        _expect((BadRecord, *codec.UNDECODABLE), lambda: _record(choices), "record")


def _expect(errors: type[Exception] | tuple[type[Exception], ...], act: Callable[[], object], what: str) -> None:
    try:
        act()
    except errors:
        reached.add(f"{what} refused")
    else:
        reached.add(what)


def _record(choices: Choices) -> None:
    """A record of any bytes, or one that the right key has signed over any bytes."""
    if choices.byte() % 2:
        open_record(msgspec.json.decode(choices.rest(), type=SignedRecord), _REGISTRY)
    else:
        text = choices.rest()
        signature = _SIGNING.sign(b"evcharge/1 record\0" + text)
        open_record(SignedRecord(b64url(text), b64url(signature)), _REGISTRY)


def _stretched(choices: Choices) -> bytes:
    """The rest, perhaps many times over: more than a frame of the longest kind has to come by."""
    times = (1, 1, 2, 300)[choices.byte() % 4]
    return choices.rest() * times


def _frames(choices: Choices, limit: int) -> None:
    cutter = Choices(choices.take(4))
    frames = FrameDecoder(limit)
    stream = _stretched(choices)
    taken = 0
    try:
        for piece in cutter.cut(stream):
            frames.feed(piece)
            while (frame := frames.next_frame()) is not None:
                taken += 5 + len(frame[1])
                reached.add("whole frame")
            promise(frames.held <= limit + _SLACK, f"{frames.held} bytes are held at a limit of {limit}")
    except RemoteProtocolError:
        promise(frames.held == 0, "after an error something is still held")
    else:
        promise(taken + frames.held == len(stream), "bytes were lost or invented")


def _message(choices: Choices, body_of: Callable[[], bytes]) -> None:
    role = _ROLES[choices.byte() % len(_ROLES)]
    central = bool(choices.byte() % 2)
    dialogue = Dialogue(role, central=central)
    body = body_of()
    try:
        message = dialogue.read(body)
    except codec.UnknownType:
        reached.add("unknown type")
    except RemoteProtocolError:
        reached.add("message refused")
    else:
        reached.add("message")
        again = codec.encode(message)
        promise(len(again) <= MAX_FRAME, "a message has grown beyond a frame")
        promise(Dialogue(role, central=central).read(again) == message, "a message is not what it was, written again")


def handshake(data: bytes) -> None:
    """A whole handshake against either side, its frames changed, cut, repeated, swapped; or any bytes instead."""
    choices = Choices(data)
    central = bool(choices.byte() % 2)
    conn = _server() if central else _client()
    frames = list(recorded().from_peer if central else recorded().from_central)
    raw = choices.byte() % 8 == 0
    if raw:
        frames = [choices.rest()]
    else:
        _damage(frames, choices)
    _feed(conn, frames, choices, central=central)


def _damage(frames: list[bytes], choices: Choices) -> None:
    """A few changes to the frames of a real handshake."""
    for _ in range(1 + choices.byte() % 3):
        at = choices.byte() % len(frames)
        frame = frames[at]
        how = choices.byte() % 8
        place = choices.number() % max(1, len(frame))
        if how <= 2 and frame:
            frames[at] = frame[:place] + bytes([frame[place] ^ (choices.byte() or 1)]) + frame[place + 1 :]
        elif how == 3:
            frames[at] = frame[:place]
        elif how == 4:
            frames[at] = frame[:place] + choices.take(choices.byte()) + frame[place:]
        elif how == 5:
            frames.insert(at, frame)
        elif how == 6:
            frames[at], frames[-1] = frames[-1], frames[at]
        # 7: nothing, so that whole handshakes are among the inputs.


def _server() -> Connection:
    return Connection.server(CENTRAL, now=NOW, entropy=constant(b"\x22"))


def _client() -> Connection:
    return Connection.client(PEER, boot_id=b"\x42" * 16, conn_no=1, now=NOW, entropy=constant(b"\x11"))


def _feed(conn: Connection, frames: list[bytes], choices: Choices, *, central: bool) -> None:
    conn.data_to_send()
    try:
        for frame in frames:
            for piece in choices.cut(frame):
                conn.receive_data(piece, NOW)
                _drain(conn, central=central)
    except RemoteProtocolError:
        _closed(conn)
        reached.add("handshake refused")
    if conn.ready:
        reached.add("channel opened")


def _drain(conn: Connection, *, central: bool) -> None:
    while (event := conn.next_event()) is not None:
        if isinstance(event, HelloReceived):
            reached.add("hello")
            conn.reply_hello(CLOCK_MS, NOW)
        elif isinstance(event, AuthPresented):
            reached.add("auth")
            conn.accept(Grant(sid=b"\x44" * 16, secret=b"\x33" * 32, t0_ms=CLOCK_MS), NOW)
        else:
            reached.add(type(event).__name__)
        conn.data_to_send()
    promise(central or not conn.closed or conn.get_timer() is None, "a closed connection waits for a moment")


def _closed(conn: Connection) -> None:
    """After an error: closed, empty, and deaf."""
    promise(conn.closed and not conn.ready, "an error does not close the connection")
    promise(conn._frames.held == 0, "a closed connection holds bytes")
    conn.data_to_send()
    conn.receive_data(b"\0\0\0\x01\x10", NOW)
    promise(conn.next_event() is None, "a closed connection still listens")
    promise(not conn.data_to_send() and conn.get_timer() is None, "a closed connection still speaks")


def channel(data: bytes) -> None:
    """An open channel of any role on either side: frames of any bytes, sealed tokens of any kind, body and order."""
    choices = Choices(data)
    central = bool(choices.byte() % 2)
    conn, sealer = _open(_ROLES[choices.byte() % len(_ROLES)], central=central)
    now = NOW
    try:
        for _ in range(_STEPS):
            if conn.closed or not choices:
                break
            now = _step(conn, sealer, choices, now)
            conn.data_to_send()
        if not conn.closed:
            promise(conn.get_timer() is not None, "an open channel has no next moment")
    except RemoteProtocolError:
        _closed(conn)
        reached.add("channel refused")


def _open(role: Role, *, central: bool) -> tuple[Connection, Sealer]:
    """A connection as it is after READY, and what the other side seals with."""
    # An opening made anew for each input would cost more than all that is tested here; nothing of it is used.
    conn = Connection(_SERVER_OPENING if central else _client_opening(), NOW)
    sending, receiving = (_S2C, _C2S) if central else (_C2S, _S2C)
    conn._channel = Channel(
        sending=sending, receiving=receiving, t0_ms=CLOCK_MS, now=NOW, limits=_LIMITS, entropy=constant(b"\x55")
    )
    conn._dialogue, conn._opening = Dialogue(role, central=central), None
    conn._frames.limit = MAX_FRAME
    conn._expires = NOW + _LIMITS.channel_s
    conn.role = role
    conn.data_to_send()
    return conn, Sealer(receiving, constant(b"\x66"))


@cache
def _client_opening() -> ClientOpening:
    opening = _client()._opening
    assert isinstance(opening, ClientOpening)
    opening.out = b""
    return opening


_SERVER_OPENING = ServerOpening(CENTRAL, now=NOW, entropy=constant(b"\x22"), binding=b"", limits=_LIMITS)


def _step(conn: Connection, sealer: Sealer, choices: Choices, now: float) -> float:
    how = choices.byte() % 16
    kind, clock_s = token.APP, CLOCK_MS // 1000 + int(now - NOW)
    if how == 0:
        data = choices.take(choices.byte())
    elif how == 1:
        now += choices.byte()
        conn.handle_timer(now)
        data = b""
    elif how == 2:
        sealer.seq += choices.byte() % 3 - 1 if sealer.seq else 1
        data = encode_frame(DATA, sealer.seal(kind, choices.take(choices.byte()), clock_s))
    elif how == 3:
        clock_s = max(0, clock_s + choices.number() - 32_768)
        data = encode_frame(DATA, sealer.seal(kind, choices.take(choices.byte()), clock_s))
    elif how == 4:
        data = encode_frame(DATA, sealer.seal(token.KEY_UPDATE, b"", clock_s))
        sealer.next_epoch()
    elif how == 5:
        data = encode_frame(DATA, sealer.seal(choices.byte() % 8, choices.take(choices.byte()), clock_s))
    elif how == 6:
        sealed = bytearray(sealer.seal(kind, choices.take(choices.byte()), clock_s))
        sealed[choices.number() % len(sealed)] ^= choices.byte()
        data = encode_frame(DATA, bytes(sealed))
    elif how == 7:
        data = encode_frame(choices.byte(), choices.take(choices.byte()))
    elif how == 8:
        # Longer than an input can be: up to the longest body, and one beyond.
        body = (choices.take(16) or b"x") * 4_096
        data = encode_frame(DATA, sealer.seal(kind, body[: max_body(MAX_FRAME) + choices.byte() % 2], clock_s))
    elif how < 12:
        data = encode_frame(DATA, sealer.seal(kind, message_like(choices), clock_s))
    else:
        data = encode_frame(DATA, sealer.seal(kind, choices.take(choices.byte()), clock_s))
    before = conn.tokens_received
    for piece in choices.cut(data):
        conn.receive_data(piece, now)
        while (event := conn.next_event()) is not None:
            _count(event)
        if conn.tokens_received > before:
            reached.add("token opened")
        promise(conn._frames.held <= MAX_FRAME + _SLACK, "more than a frame is held")
    return now


def _count(event: object) -> None:
    if isinstance(event, MessageReceived):
        reached.add("message")
    elif isinstance(event, ChannelClosed):
        reached.add("closed by the peer")
    promise(not isinstance(event, Established | HelloReceived), "a handshake inside a channel")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"decoder": decoder, "handshake": handshake, "channel": channel}
"""Name → function."""
