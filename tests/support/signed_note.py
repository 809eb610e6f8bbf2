"""A second reader of signed notes and checkpoints, made from the text of c2sp.org/signed-note and
c2sp.org/tlog-checkpoint alone: no line of evcharge, another Ed25519 (libsodium), bytes where evcharge takes text.

Where the specification leaves a choice it is named here: a wrong signature of a known key refuses the whole note
(SHOULD), base64 has to be canonical (RFC 4648 §3.5: MAY), a checkpoint needs a verified key with its origin's name
(SHOULD). There is no limit to sizes and numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

EM_DASH = b"\xe2\x80\x94"
ED25519 = 1
# Unicode's property White_Space: PropList.txt.
WHITE_SPACE = frozenset(
    [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
)
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUE = {char: value for value, char in enumerate(_ALPHABET)}


class Refused(Exception):
    """Not what the specification says, or signed by nobody who is known."""


class Key(NamedTuple):
    """Of somebody who signs: its name, its id, what it verifies with."""

    name: bytes
    key_id: bytes
    public: bytes


class Head(NamedTuple):
    """What a checkpoint says, and which keys say it, in the order of their lines."""

    origin: bytes
    size: int
    root: bytes
    signed_by: tuple[Key, ...]


def read_key(text: str) -> Key:
    """``name+id+base64(type, public key)``."""
    name, key_id, encoded = text.encode().split(b"+", 2)
    raw = _unbase64(encoded)
    key = make_key(name, raw[1:])
    if raw[0] != ED25519 or key.key_id.hex().encode() != key_id:
        raise Refused("the key's id is not its own")
    return key


def make_key(name: bytes, public: bytes) -> Key:
    """With the id that the specification recommends."""
    digest = hashlib.sha256()
    for part in (name, b"\n", bytes([ED25519]), public):
        digest.update(part)
    return Key(name, digest.digest()[:4], public)


def write_line(name: bytes, key_id: bytes, signature: bytes) -> bytes:
    """A line under a note, right or wrong."""
    return b"%b %b %b\n" % (EM_DASH, name, _base64(key_id + signature))


def sign_line(name: bytes, seed: bytes, text: bytes) -> bytes:
    """The line that is right."""
    signing = SigningKey(seed)
    return write_line(name, make_key(name, bytes(signing.verify_key)).key_id, signing.sign(text).signature)


def open_note(note: bytes, keys: Sequence[Key]) -> tuple[bytes, tuple[Key, ...]]:
    """The text and which of ``keys`` signed it. Raises Refused."""
    try:
        note.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise Refused("valid UTF-8") from None
    if any(byte < 0x20 and byte != 0x0A for byte in note):
        raise Refused("ASCII control characters")
    blank = note.rfind(b"\n\n")
    if blank < 0 or note[-1:] != b"\n":
        raise Refused("a text, a blank line, lines")
    text, lines = note[: blank + 1], note[blank + 2 : -1].split(b"\n")
    verified: list[Key] = []
    for line in lines:
        name, key_id, signature = _read_line(line)
        for key in keys:
            if (key.name, key.key_id) == (name, key_id):
                _verify(key, text, signature)
                verified.append(key)
    if not verified:
        raise Refused("no known key")
    return text, tuple(dict.fromkeys(verified))


def open_checkpoint(note: bytes, keys: Sequence[Key]) -> Head:
    """A checkpoint of the log that one of ``keys`` is named after. Raises Refused."""
    text, verified = open_note(note, keys)
    lines = text.split(b"\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise Refused("at least three non-empty lines")
    origin, size, encoded = lines[:3]
    if not all(0x30 <= digit <= 0x39 for digit in size) or (size[:1] == b"0" and size != b"0"):
        raise Refused("ASCII decimal, no leading zeroes")
    root = _unbase64(encoded)
    if len(root) != hashlib.sha256().digest_size:
        raise Refused("the root of an RFC 6962 tree")
    if origin not in [key.name for key in verified]:
        raise Refused("the log's key name")
    return Head(origin, int(size), root, verified)


def _read_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ")
    if len(parts) != 3 or parts[0] != EM_DASH:
        raise Refused("em dash, space, key name, space, base64")
    name = parts[1]
    if not name or b"+" in name or any(ord(char) in WHITE_SPACE for char in name.decode()):
        raise Refused("key names: not empty, no Unicode spaces, no plus")
    raw = _unbase64(parts[2])
    if len(raw) < 5:
        raise Refused("4+n bytes")
    return name, raw[:4], raw[4:]


def _verify(key: Key, text: bytes, signature: bytes) -> None:
    try:
        VerifyKey(key.public).verify(text, signature)
    except (BadSignatureError, ValueError):
        raise Refused("a signature from a known key fails to verify") from None


def _base64(raw: bytes) -> bytes:
    """RFC 4648 §4."""
    bits = int.from_bytes(raw, "big") << -len(raw) * 8 % 6
    digits = -(-len(raw) * 8 // 6)
    found = bytes(_ALPHABET[bits >> 6 * place & 63] for place in reversed(range(digits)))
    return found + b"=" * (-digits % 4)


def _unbase64(text: bytes) -> bytes:
    digits = text.rstrip(b"=")
    if len(text) % 4 or len(text) - len(digits) > 2 or not all(char in _VALUE for char in digits):
        raise Refused("base64")
    bits = 0
    for char in digits:
        bits = bits << 6 | _VALUE[char]
    unused = len(digits) * 6 % 8
    raw = (bits >> unused).to_bytes(len(digits) * 6 // 8, "big")
    if _base64(raw) != text:
        raise Refused("canonical base64")
    return raw
