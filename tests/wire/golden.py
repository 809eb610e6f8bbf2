"""Builds every golden vector of protocol/vectors from fixed inputs, through the code that Central and peers run.

``python -m tests.wire.golden`` writes the files; test_vectors compares them. A change of a file that exists is a
change of the wire and needs a new version (SPEC §4.2).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from protocol import channel as token
from protocol import codec, frames
from protocol import messages as m
from protocol.channel import close_body
from protocol.cipher import BLOCK, Sealer, fernet_key, next_secret
from protocol.credentials import ROLES, Role, b64url, encode_password, key_id, public_key, static_private_key
from protocol.errors import CloseCode, RefuseCode
from protocol.events import AuthPresented, Grant, Limits
from protocol.handshake import Claims, ClientHandshake, Secrets, ServerHandshake, parse_hello
from protocol.records import RegistryRecord, sign_record
from protocol.states import ALLOWED, FROM_CENTRAL
from tests.support.wire import BOOT_ID, CENTRAL, CENTRAL_KEY, T0_MS, a_grant, credential
from tests.wire.golden_samples import SAMPLES

FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"
CLOCK_S = T0_MS // 1000
E_CLIENT, E_CENTRAL = b"\x11" * 32, b"\x22" * 32
IV = b"\x55" * 16


class ChosenIv:
    """Entropy for a Sealer that makes its next token have a chosen IV.

    The sealer encrypts a block R and uses the ciphertext as IV, so R = AES⁻¹(IV) xor the ciphertext block before.
    """

    def __init__(self, secret: bytes) -> None:
        self._previous = bytes(BLOCK)
        self._iv = IV
        self.sealer = Sealer(secret, self._block, chunk=BLOCK)
        self._secret = secret

    def _block(self, size: int) -> bytes:
        assert size == BLOCK
        return block_for(self._secret, self._iv, self._previous)

    def seal(self, kind: int, body: bytes, iv: bytes = IV) -> bytes:
        self._iv = iv
        sealed = self.sealer.seal(kind, body, CLOCK_S)
        self._previous = base64.urlsafe_b64decode(sealed)[-32 - BLOCK : -32]
        return sealed

    def next_epoch(self) -> None:
        self.sealer.next_epoch()
        self._secret = next_secret(self._secret)
        self._previous = bytes(BLOCK)


def block_for(secret: bytes, iv: bytes, previous: bytes = bytes(BLOCK)) -> bytes:
    """The random block that makes ``iv`` come out."""
    key = base64.urlsafe_b64decode(fernet_key(secret))[16:]
    decryptor = Cipher(AES(key), ECB()).decryptor()
    plain = decryptor.update(iv) + decryptor.finalize()
    return bytes(a ^ b for a, b in zip(plain, previous, strict=True))


def data(sealed: bytes) -> str:
    return frames.encode_frame(frames.DATA, sealed).hex()


def pretty(message: m.Message) -> Any:
    return in_hex(msgspec.to_builtins(message, builtin_types=(bytes,)))


def in_hex(value: Any) -> Any:
    """Byte strings in hex, as JSON has none."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: in_hex(each) for key, each in value.items()}
    return [in_hex(each) for each in value] if isinstance(value, list) else value


def directions(kind: type[m.Message]) -> tuple[list[str], list[str]]:
    """Who may send a message, and who may get it from Central; role names in order."""
    senders = {role for (role, _), legal in ALLOWED.items() if kind in legal}
    readers = {role for role, legal in FROM_CENTRAL.items() if kind in legal}
    return [role.label for role in sorted(senders)], [role.label for role in sorted(readers)]


def handshake(claims: Claims, grant: Grant) -> tuple[dict[str, bytes], Secrets, ServerHandshake]:
    """The frames of one handshake with fixed keys."""
    client = ClientHandshake(credential(Role.CP), CENTRAL_KEY, E_CLIENT)
    hello = client.hello()
    server = ServerHandshake(CENTRAL, parse_hello(hello, key_id(CENTRAL_KEY)), E_CENTRAL)
    reply = server.reply(T0_MS)
    auth = client.auth(reply, claims)
    assert isinstance(server.auth(auth), AuthPresented)
    session, secrets = server.session(grant, Limits())
    bodies = {"hello": hello, "reply": reply, "auth": auth, "session": session}
    kinds = {"hello": frames.HELLO, "reply": frames.REPLY, "auth": frames.AUTH, "session": frames.SESSION}
    return {name: frames.encode_frame(kinds[name], body) for name, body in bodies.items()}, secrets, server


def refusal(code: RefuseCode, retry_after_s: int) -> bytes:
    """A REFUSE frame in place of SESSION, after the same handshake."""
    client = ClientHandshake(credential(Role.CP), CENTRAL_KEY, E_CLIENT)
    server = ServerHandshake(CENTRAL, parse_hello(client.hello(), key_id(CENTRAL_KEY)), E_CENTRAL)
    server.auth(client.auth(server.reply(T0_MS), Claims(BOOT_ID, 1, b"")))
    return frames.encode_frame(frames.REFUSE, server.refuse(code, retry_after_s))


def build() -> dict[str, Any]:
    """File name without ``.json`` → content."""
    vectors: dict[str, Any] = {"credentials": _credentials(), "record": _record()}
    sent, secrets, _ = handshake(Claims(BOOT_ID, 1, b""), a_grant())
    full, _, _ = handshake(
        Claims(BOOT_ID, 2**53 - 1, b"checkpoint", 2**64 - 1),
        a_grant(fence=3, next_n=4, checkpoint=b"checkpoint"),
    )
    keys = {
        "central_static_private": static_private_key(bytes(range(32, 64)), "central", Role.CENTRAL, 1).hex(),
        "client_static_private": static_private_key(bytes(range(32)), "cp-1", Role.CP, 1).hex(),
        "client_ephemeral_private": E_CLIENT.hex(),
        "central_ephemeral_private": E_CENTRAL.hex(),
        "binding": "",
    }
    auth = {"1": "cp-1", "2": 1, "3": "CP-1", "4": BOOT_ID.hex(), "5": 1, "6": ""}
    params = {"1": 65536, "2": 900, "3": 60, "4": 65536}
    session = {"0": 4, "1": "44" * 16, "2": "33" * 32, "3": T0_MS, "4": params}
    vectors["handshake-hello"] = {"meaning": "M1, client to Central", **keys, "frame": sent["hello"].hex()}
    vectors["handshake-reply"] = {
        "meaning": "M2, Central to client, answers handshake-hello",
        "payload": {"1": 1, "2": T0_MS},
        "frame": sent["reply"].hex(),
    }
    vectors["handshake-auth"] = {
        "meaning": "M3, client to Central, answers handshake-reply; byte strings of the payload in hex",
        "payload": auth,
        "frame": sent["auth"].hex(),
    }
    vectors["handshake-auth-full"] = {
        "meaning": "M3 with every optional field and the largest numbers, answers handshake-reply",
        "payload": auth | {"5": 2**53 - 1, "6": b"checkpoint".hex(), "7": 2**64 - 1},
        "frame": full["auth"].hex(),
    }
    vectors["handshake-session"] = {
        "meaning": "M4, Central to client, answers handshake-auth",
        "payload": session,
        "frame": sent["session"].hex(),
    }
    vectors["handshake-session-full"] = {
        "meaning": "M4 with every optional field, answers handshake-auth-full",
        "payload": session | {"5": 3, "6": 4, "7": b"checkpoint".hex()},
        "frame": full["session"].hex(),
    }
    vectors["handshake-refuse"] = {
        "meaning": "REFUSE in place of M4: REVOKED, come back in an hour; answers handshake-auth",
        "payload": {"0": 5, "1": 2, "2": 3600},
        "frame": refusal(RefuseCode.REVOKED, 3600).hex(),
    }
    vectors["alert"] = {
        "meaning": "the clear hint VERSION, instead of M2",
        "frame": frames.encode_frame(frames.ALERT, bytes([RefuseCode.VERSION])).hex(),
    }
    vectors |= _channel(secrets)
    return vectors


def _credentials() -> Any:
    rows = []
    for secret, username, role, epoch in (
        (bytes(range(32)), "cp-1", "cp", 1),
        (bytes(range(32, 64)), "central", "central", 1),
        (b"\xff" * 32, "Zähler 7", "monitor", 2),
        (bytes(32), "d" * 64, "driver", 2**32 - 1),
    ):
        private = static_private_key(secret, username, ROLES[role], epoch)
        rows.append(
            {
                "secret": secret.hex(),
                "password": encode_password(secret),
                "username": username,
                "role": role,
                "epoch": epoch,
                "static_private": private.hex(),
                "static_public": public_key(private).hex(),
                "kid": key_id(public_key(private)).hex(),
            }
        )
    return {
        "meaning": "passwords and the keys derived from them",
        "rows": rows,
        "json": json.loads(credential().to_json()),
    }


def _record() -> Any:
    record = RegistryRecord(
        username="cp-1",
        role=Role.CP,
        entity="CP-1",
        keys={1: credential().public_key(), 2: CENTRAL_KEY},
        status="active",
        rev=7,
        not_after_ms=T0_MS,
        station_id="3e1f9dc6-9f4b-4f0e-8d0c-000000000001",
    )
    signed = sign_record(record, b"\x77" * 32)
    return {
        "meaning": "a record signed by the registry; its text is canonical",
        "signing_key": "77" * 32,
        "record": {
            "username": "cp-1",
            "role": "cp",
            "entity": "CP-1",
            "keys": {str(epoch): b64url(key) for epoch, key in record.keys.items()},
            "status": "active",
            "rev": 7,
            "not_after_ms": T0_MS,
            "station_id": record.station_id,
        },
        "signed": signed.signed,
        "signature": signed.signature,
    }


def _channel(secrets: Secrets) -> dict[str, Any]:
    """Everything after SESSION, sealed with the keys of handshake-session."""
    vectors: dict[str, Any] = {}
    common = {"time_s": CLOCK_S, "iv": IV.hex()}
    vectors["ready"] = {
        "meaning": "READY of both sides: the first token of each direction",
        **common,
        "c2s_key": fernet_key(secrets.c2s).decode(),
        "s2c_key": fernet_key(secrets.s2c).decode(),
        "c2s_frame": data(ChosenIv(secrets.c2s).seal(token.READY, b"")),
        "s2c_frame": data(ChosenIv(secrets.s2c).seal(token.READY, b"")),
    }
    vectors |= {"rekey": {"meaning": "READY, KEY_UPDATE, heartbeat under the next key", **common, **_rekey(secrets)}}
    control = (
        ("ping", token.PING, b""),
        ("pong", token.PONG, b""),
        *((f"close-{code.name.lower()}", token.CLOSE, close_body(code)) for code in CloseCode),
    )
    rows = []
    for name, kind, body in control:
        chosen = ChosenIv(secrets.c2s)
        chosen.seal(token.READY, b"")
        rows.append({"name": name, "kind": kind, "body": body.hex(), "frame": data(chosen.seal(kind, body))})
    vectors["control"] = {
        "meaning": "PING, PONG and every CLOSE as token 1 after READY, client to Central",
        **common,
        "key": fernet_key(secrets.c2s).decode(),
        "rows": rows,
    }
    for message in SAMPLES:
        senders, readers = directions(type(message))
        direction, secret = ("c2s", secrets.c2s) if senders else ("s2c", secrets.s2c)
        chosen = ChosenIv(secret)
        chosen.seal(token.READY, b"")
        body = codec.encode(message)
        name = codec.tag_of(type(message))
        vectors[f"message-{name}"] = {
            "meaning": pretty(message),
            "from": senders or ["central"],
            "to": readers or ["central"],
            "msgpack": body.hex(),
            **common,
            "key": fernet_key(secret).decode(),
            "direction": direction,
            "seq": 1,
            "frame": data(chosen.seal(token.APP, body)),
        }
    return vectors


def _rekey(secrets: Secrets) -> Any:
    chosen = ChosenIv(secrets.c2s)
    ready = chosen.seal(token.READY, b"")
    update = chosen.seal(token.KEY_UPDATE, b"")
    chosen.next_epoch()
    beat = chosen.seal(token.APP, codec.encode(m.Heartbeat()))
    return {
        "key_0": fernet_key(secrets.c2s).decode(),
        "key_1": fernet_key(next_secret(secrets.c2s)).decode(),
        "frames": [data(ready), data(update), data(beat)],
    }


def text(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for file_name, content in build().items():
        (FOLDER / f"{file_name}.json").write_text(text(content), encoding="utf-8")
