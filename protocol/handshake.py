"""The four messages from HELLO to SESSION or REFUSE, on top of Noise XK (SPEC §4).

``ClientHandshake`` and ``ServerHandshake`` turn bodies of frames into bodies of frames and raise
RemoteProtocolError for anything else; neither knows a socket, a clock or a registry.
"""

from __future__ import annotations

import hmac
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec

from protocol.cipher import traffic_secret
from protocol.credentials import KEY_ID_SIZE, KEY_SIZE, MAX_NAME, Credential, Role, key_id, lp
from protocol.errors import (
    AuthenticationFailed,
    CloseCode,
    LocalProtocolError,
    MalformedMessage,
    RefuseCode,
    UnexpectedMessage,
    UnsupportedVersion,
    refuse_code,
)
from protocol.events import AuthPresented, Grant, Limits, RefusedByCentral
from protocol.frames import MAX_FRAME, MAX_HANDSHAKE_FRAME, REFUSE, SESSION
from protocol.noise import DH_SIZE, TAG_SIZE, CipherState, HandshakeState, key_pair

# Versions of the protocol that this code speaks, best first. SPEC §4.2
SUPPORTED: Final = (1,)
_MAGIC = b"EVCH"
# Layout of HELLO itself; never changes with the versions offered in it. SPEC §4.2
_HELLO_LAYOUT = 1
# Most versions in one offer. SPEC §4.2
MAX_OFFERED = 8
# Bytes of boot_id and sid. SPEC §4.4
ID_SIZE = 16
# Longest log checkpoint in AUTH and SESSION: a signed note has about 250 bytes. SPEC §4.4
MAX_CHECKPOINT = 512
# Largest count and instant: exact in every JSON reader. SPEC §4.4
MAX_INT = 2**53 - 1
# Largest outbox_epoch: 64 random bits. SPEC §4.4
MAX_OUTBOX_EPOCH = 2**64 - 1
# Longest retry_after_s: a week. SPEC §4.6
MAX_RETRY_S = 604_800
# Most entries of one payload map, known and unknown. SPEC §4.4
_MAX_FIELDS = 16

Payload = dict[int, Any]


class Secrets(NamedTuple):
    """Traffic secrets of epoch 0; nothing in here is ever printed."""

    c2s: bytes
    s2c: bytes

    def __repr__(self) -> str:
        return "Secrets(hidden)"


class Claims(NamedTuple):
    """What a client says of itself in AUTH, beside its key."""

    boot_id: bytes
    conn_no: int
    checkpoint: bytes | None = None
    outbox_epoch: int | None = None


class Hello(NamedTuple):
    """A HELLO taken apart; nothing is verified yet."""

    clear: bytes
    offered: tuple[int, ...]
    noise: bytes


def parse_hello(body: bytes, kid: bytes) -> Hello:
    """Take a HELLO to the key ``kid`` apart; no key is computed (SPEC §4.2).

    Raises MalformedMessage, UnsupportedVersion, AuthenticationFailed.
    """
    if len(body) < 6 or body[:4] != _MAGIC:
        raise MalformedMessage(CloseCode.PROTOCOL, "The peer does not speak this protocol.")
    if body[4] != _HELLO_LAYOUT:
        raise UnsupportedVersion(CloseCode.PROTOCOL, f"HELLO has layout {body[4]}; known is {_HELLO_LAYOUT}.")
    count = body[5]
    end = 6 + count
    offered = tuple(body[6:end])
    descending = all(a > b for a, b in pairwise(offered))
    if not 1 <= count <= MAX_OFFERED or not descending:
        raise MalformedMessage(CloseCode.PROTOCOL, "HELLO does not offer 1 to 8 versions in falling order.")
    if len(body) != end + KEY_ID_SIZE + DH_SIZE + TAG_SIZE:
        raise MalformedMessage(CloseCode.PROTOCOL, "HELLO has a wrong length.")
    clear, noise = body[: end + KEY_ID_SIZE], body[end + KEY_ID_SIZE :]
    if clear[end:] != kid:
        raise AuthenticationFailed(CloseCode.PROTOCOL, "The peer pins another key of Central.")
    return Hello(clear, offered, noise)


def prologue(hello_clear: bytes, binding: bytes) -> bytes:
    """What both sides have to agree on before Noise starts (SPEC §4.3)."""
    return b"evcharge/1 prologue\0" + lp(hello_clear) + lp(binding)


def exporter(ck: bytes, h: bytes) -> bytes:
    """ek: the handshake's own secret, bound to everything that was said (SPEC §4.7)."""
    return hmac.digest(ck, b"evcharge/1 exporter\0" + h, "sha256")


def traffic_secrets(ek: bytes, grant: Grant) -> Secrets:
    """Traffic secrets from the handshake's secret and Central's (SPEC §4.7)."""
    prk = hmac.digest(ek, grant.secret, "sha256")
    return Secrets(traffic_secret(prk, "c2s", grant.sid), traffic_secret(prk, "s2c", grant.sid))


class ClientHandshake:
    """The connecting side: ``hello``, then ``auth`` with REPLY's body, then ``finish`` with the last frame."""

    __slots__ = ("_clear", "_credential", "_noise", "_offered", "_transport", "version")

    def __init__(
        self,
        credential: Credential,
        central_key: bytes,
        ephemeral: bytes,
        *,
        binding: bytes = b"",
        offered: tuple[int, ...] = SUPPORTED,
    ) -> None:
        self._credential = credential
        self._offered = offered
        head = _MAGIC + bytes([_HELLO_LAYOUT, len(offered), *offered])
        self._clear = head + key_id(central_key)
        self._noise = HandshakeState(
            initiator=True,
            prologue=prologue(self._clear, binding),
            s=credential.key_pair,
            e=key_pair(ephemeral),
            rs=central_key,
        )
        self._transport: CipherState | None = None
        self.version = 0

    def hello(self) -> bytes:
        """Body of HELLO."""
        return self._clear + self._noise.write_message(b"")

    def auth(self, reply: bytes, claims: Claims) -> bytes:
        """Body of AUTH, for the body of REPLY. Raises AuthenticationFailed, UnsupportedVersion."""
        payload = _unpack(self._noise.read_message(reply))
        self.version = _int(payload, 1, 1, 255)
        _int(payload, 2, 0, MAX_INT)
        if self.version not in self._offered:
            raise UnsupportedVersion(CloseCode.PROTOCOL, "Central chose a version that was not offered.")
        own = self._credential
        fields: Payload = {1: own.username, 2: int(own.role), 3: own.entity, 4: claims.boot_id}
        fields[5] = claims.conn_no
        if claims.checkpoint is not None:
            fields[6] = claims.checkpoint
        if claims.outbox_epoch is not None:
            fields[7] = claims.outbox_epoch
        # Checked by the reader's own rules, so that a bug shows here and not as a silent close.
        try:
            _claims(fields, b"")
        except MalformedMessage as error:
            raise LocalProtocolError(f"AUTH would be refused. {error}") from None
        body = self._noise.write_message(_pack(fields))
        self._transport = self._noise.split()[1]
        return body

    def finish(self, kind: int, body: bytes, limits: Limits) -> tuple[Grant, Secrets, Limits] | RefusedByCentral:
        """Read SESSION or REFUSE. Raises AuthenticationFailed, MalformedMessage, UnexpectedMessage."""
        assert self._transport is not None
        payload = _unpack(self._transport.decrypt(b"", body))
        if _int(payload, 0, 0, 255) != kind:
            # The frame's type is in the clear; the one in the payload is Central's.
            raise UnexpectedMessage(CloseCode.PROTOCOL, "SESSION and REFUSE were exchanged on the way.")
        if kind == REFUSE:
            code = refuse_code(_int(payload, 1, 1, 255)) or RefuseCode.UNAVAILABLE
            return RefusedByCentral(code, _int(payload, 2, 0, MAX_RETRY_S))
        grant = Grant(
            sid=_bytes(payload, 1, ID_SIZE, ID_SIZE),
            secret=_bytes(payload, 2, KEY_SIZE, KEY_SIZE),
            t0_ms=_int(payload, 3, 0, MAX_INT),
            fence=_int(payload, 5, 0, MAX_INT) if 5 in payload else None,
            next_n=_int(payload, 6, 0, MAX_INT) if 6 in payload else None,
            checkpoint=(_bytes(payload, 7, 0, MAX_CHECKPOINT) or None) if 7 in payload else None,
        )
        params = payload.get(4)
        if type(params) is not dict:
            raise _malformed(4)
        limits = msgspec.structs.replace(
            limits,
            rekey_msgs=_int(params, 1, 2, 65_536),
            rekey_s=_int(params, 2, 1, 86_400),
            ttl_s=_int(params, 3, 1, 3_600),
            max_frame=_int(params, 4, MAX_HANDSHAKE_FRAME, MAX_FRAME),
        )
        return grant, traffic_secrets(exporter(self._noise.ck, self._noise.h), grant), limits


class ServerHandshake:
    """The accepting side: ``reply``, then ``auth`` with AUTH's body, then ``session`` or ``refuse``.

    The expensive part of HELLO is done in here, and not in ``parse_hello``, because Central first has to have a
    handshake slot for it.
    """

    __slots__ = ("_hello", "_noise", "_supported", "_transport")

    def __init__(
        self,
        credential: Credential,
        hello: Hello,
        ephemeral: bytes,
        *,
        binding: bytes = b"",
        supported: tuple[int, ...] = SUPPORTED,
    ) -> None:
        self._hello = hello
        self._supported = supported
        self._noise = HandshakeState(
            initiator=False,
            prologue=prologue(hello.clear, binding),
            s=credential.key_pair,
            e=key_pair(ephemeral),
        )
        self._transport: CipherState | None = None

    def reply(self, central_time_ms: int) -> bytes:
        """Body of REPLY. Raises AuthenticationFailed, and UnsupportedVersion only for an authentic offer."""
        if self._noise.read_message(self._hello.noise):
            raise MalformedMessage(CloseCode.PROTOCOL, "HELLO carries a payload.")
        common = set(self._hello.offered) & set(self._supported)
        if not common:
            raise UnsupportedVersion(CloseCode.PROTOCOL, f"The peer offers {self._hello.offered}.")
        return self._noise.write_message(_pack({1: max(common), 2: central_time_ms}))

    def auth(self, body: bytes) -> AuthPresented:
        """Read AUTH: the key is proven, the rest is a claim. Raises AuthenticationFailed, MalformedMessage."""
        payload = _unpack(self._noise.read_message(body))
        self._transport = self._noise.split()[1]
        return _claims(payload, self._noise.rs)

    def session(self, grant: Grant, limits: Limits) -> tuple[bytes, Secrets]:
        """Body of SESSION and the traffic secrets."""
        if len(grant.sid) != ID_SIZE or len(grant.secret) != KEY_SIZE:
            raise LocalProtocolError(f"A grant needs a sid of {ID_SIZE} and a secret of {KEY_SIZE} bytes.")
        if grant.checkpoint is not None and len(grant.checkpoint) > MAX_CHECKPOINT:
            raise LocalProtocolError(f"A checkpoint has at most {MAX_CHECKPOINT} bytes.")
        params = {1: limits.rekey_msgs, 2: limits.rekey_s, 3: limits.ttl_s, 4: limits.max_frame}
        fields: Payload = {0: SESSION, 1: grant.sid, 2: grant.secret, 3: grant.t0_ms, 4: params}
        for number, value in ((5, grant.fence), (6, grant.next_n), (7, grant.checkpoint)):
            if value is not None:
                fields[number] = value
        return self._seal(fields), traffic_secrets(exporter(self._noise.ck, self._noise.h), grant)

    def refuse(self, code: RefuseCode, retry_after_s: int) -> bytes:
        """Body of REFUSE."""
        return self._seal({0: REFUSE, 1: int(code), 2: min(max(retry_after_s, 0), MAX_RETRY_S)})

    def _seal(self, fields: Payload) -> bytes:
        assert self._transport is not None
        return self._transport.encrypt(b"", _pack(fields))


def _claims(payload: Payload, public_key: bytes) -> AuthPresented:
    """Check AUTH's fields (SPEC §4.4)."""
    role = _int(payload, 2, Role.CP, Role.GATEWAY)
    return AuthPresented(
        username=_text(payload, 1),
        role=Role(role),
        entity=_text(payload, 3),
        public_key=public_key,
        boot_id=_bytes(payload, 4, ID_SIZE, ID_SIZE),
        conn_no=_int(payload, 5, 0, MAX_INT),
        checkpoint=(_bytes(payload, 6, 0, MAX_CHECKPOINT) or None) if 6 in payload else None,
        outbox_epoch=_int(payload, 7, 0, MAX_OUTBOX_EPOCH) if 7 in payload else None,
    )


def _pack(fields: Payload) -> bytes:
    packed: bytes = msgpack.packb(fields, use_bin_type=True)
    return packed


def _unpack(data: bytes) -> Payload:
    """A payload map: integer keys, no key twice, every size limited (SPEC §4.4). Raises MalformedMessage."""
    try:
        fields = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            object_pairs_hook=_unique,
            max_str_len=MAX_NAME,
            max_bin_len=MAX_CHECKPOINT,
            max_array_len=0,
            max_map_len=_MAX_FIELDS,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException):
        fields = None
    if type(fields) is not dict:
        raise MalformedMessage(CloseCode.PROTOCOL, "A handshake payload is no map with integer keys.")
    return fields


def _unique(pairs: list[tuple[Any, Any]]) -> Payload:
    fields: Payload = {}
    for key, value in pairs:
        if type(key) is not int or key in fields:
            raise ValueError
        fields[key] = value
    return fields


def _malformed(number: int) -> MalformedMessage:
    return MalformedMessage(CloseCode.PROTOCOL, f"Field {number} of a handshake payload is missing or illegal.")


def _int(payload: Payload, number: int, least: int, most: int) -> int:
    value = payload.get(number)
    # A bool is an int to Python, but not on the wire.
    if type(value) is not int or not least <= value <= most:
        raise _malformed(number)
    return value


def _bytes(payload: Payload, number: int, least: int, most: int) -> bytes:
    value = payload.get(number)
    if type(value) is not bytes or not least <= len(value) <= most:
        raise _malformed(number)
    return value


def _text(payload: Payload, number: int) -> str:
    value = payload.get(number)
    if type(value) is not str or not 1 <= len(value.encode()) <= MAX_NAME or not value.isprintable():
        raise _malformed(number)
    return value
