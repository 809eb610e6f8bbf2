"""Registry credentials: the password text and the keys derived from it (SPEC §2).

A credential holds 32 random bytes. From them, with username, role and epoch, comes an X25519 key pair; the
registry stores the public half only, so whoever steals its file can impersonate nobody.
"""

from __future__ import annotations

import binascii
import hmac
from enum import IntEnum
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# Length of every key, secret and hash here, in bytes: X25519 and SHA-256. SPEC §2.1
KEY_SIZE = 32
# First characters of a password, so that people and secret scanners recognise one. SPEC §2.1
PASSWORD_PREFIX = "evc1_"  # noqa: S105 - a public prefix, no password
# 5 of the prefix, 43 of the secret, 6 of the check. SPEC §2.1
PASSWORD_LENGTH = 54
_SECRET_CHARS = 43
_CHECK_CHARS = 6
# Longest username and entity in bytes of UTF-8: AUTH has to fit in a 1,024-byte frame. SPEC §2.2
MAX_NAME = 64
# Epochs fill an unsigned 32-bit number. SPEC §2.2
MAX_EPOCH = 2**32 - 1
# Bytes of a key id: enough to choose among pinned keys, never used for security. SPEC §2.3
KEY_ID_SIZE = 8
# Longest JSON credential in bytes: names, password and two keys need under 600. SPEC §2.4
MAX_JSON = 4096


class Role(IntEnum):
    """Who a credential is for; in JSON its lower-case name."""

    CENTRAL = 0
    CP = 1
    MONITOR = 2
    DRIVER = 3
    DEBUG = 4
    GATEWAY = 5

    @property
    def label(self) -> str:
        """The role's name in JSON."""
        return self.name.lower()


ROLES = {role.label: role for role in Role}


class CredentialError(ValueError):
    """A password or credential that cannot be used; the sentence never quotes it."""


def b64url(data: bytes) -> str:
    """Base64url without padding, as all bytes in JSON are written (SPEC §2.1)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def b64url_decode(text: str) -> bytes:
    """Reverse of ``b64url``. Raises ValueError for any text that ``b64url`` would not have written."""
    raw = text.encode("ascii").translate(_FROM_URL)
    data = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


_TO_URL = bytes.maketrans(b"+/", b"-_")
# The plain alphabet's own two signs and the padding become invalid here.
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")


def encode_password(secret: bytes) -> str:
    """The password of 32 secret bytes: 54 characters (SPEC §2.1)."""
    if len(secret) != KEY_SIZE:
        raise CredentialError(f"A secret has {KEY_SIZE} bytes, not {len(secret)}.")
    return PASSWORD_PREFIX + b64url(secret) + _check(secret)


def decode_password(password: str) -> bytes:
    """The 32 secret bytes of a password; strict and canonical (SPEC §2.1).

    Raises CredentialError, which tells a typing error (the check does not fit) from what is no password.
    """
    if len(password) != PASSWORD_LENGTH or not password.startswith(PASSWORD_PREFIX):
        raise CredentialError(
            f"A password has {PASSWORD_LENGTH} characters and starts with {PASSWORD_PREFIX}: copy it whole."
        )
    try:
        secret = b64url_decode(password[len(PASSWORD_PREFIX) : -_CHECK_CHARS])
        check = password[-_CHECK_CHARS:].encode("ascii")
    except ValueError:
        raise CredentialError("The password holds a character that cannot be there: copy it again.") from None
    if not hmac.compare_digest(check, _check(secret).encode()):
        raise CredentialError("The password has a typing error, its check does not fit: copy it again.")
    return secret


def _check(secret: bytes) -> str:
    return b64url(sha256(b"evcharge/1 pw check" + secret).digest())[:_CHECK_CHARS]


def static_private_key(secret: bytes, username: str, role: Role, epoch: int) -> bytes:
    """The 32 bytes of the X25519 private key of a credential (SPEC §2.2)."""
    if len(secret) != KEY_SIZE:
        raise CredentialError(f"A secret has {KEY_SIZE} bytes, not {len(secret)}.")
    if not 1 <= epoch <= MAX_EPOCH:
        raise CredentialError(f"An epoch is a number from 1 to {MAX_EPOCH}.")
    name = check_name(username, "username")
    info = b"evcharge/1 static x25519" + lp(name) + bytes([role]) + epoch.to_bytes(4, "big")
    return HKDF(SHA256(), KEY_SIZE, salt=b"evcharge/1 credential", info=info).derive(secret)


def public_key(private: bytes) -> bytes:
    """The 32 bytes of the X25519 public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def key_id(public: bytes) -> bytes:
    """The 8 bytes that name a public key (SPEC §2.3)."""
    return sha256(b"evcharge/1 kid" + public).digest()[:KEY_ID_SIZE]


def lp(data: bytes) -> bytes:
    """Length-prefixed: be16 length, then the bytes (SPEC §2.2)."""
    return len(data).to_bytes(2, "big") + data


def check_name(name: str, what: str) -> bytes:
    """UTF-8 of a username or entity. Raises CredentialError unless it is 1 to 64 bytes of printable text."""
    try:
        data = name.encode()
    except UnicodeEncodeError:
        raise CredentialError(f"The {what} is not valid text.") from None
    if not 1 <= len(data) <= MAX_NAME or not name.isprintable():
        raise CredentialError(f"The {what} needs 1 to {MAX_NAME} bytes of printable text.")
    return data


class _KeyJson(msgspec.Struct):
    kid: str
    public_key: str

    def key(self) -> bytes:
        """The public key; its kid has to be its own."""
        try:
            key = b64url_decode(self.public_key)
        except ValueError:
            key = b""
        if len(key) != KEY_SIZE or b64url(key_id(key)) != self.kid:
            raise CredentialError("Central's public key in the credential is damaged: fetch it again.")
        return key


class _CredentialJson(msgspec.Struct):
    username: str
    password: str
    role: str
    entity: str = ""
    epoch: int = 1
    central: _KeyJson | None = None
    central_next: _KeyJson | None = None


class Credential(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What the registry hands to one peer, once (SPEC §2.4). ``repr`` hides the password.

    ``central_public_key`` is Central's pinned static key; for Central itself it is its own.
    """

    username: str
    password: str
    role: Role
    entity: str
    epoch: int
    central_public_key: bytes
    central_next: bytes | None = None

    @classmethod
    def from_json(cls, data: bytes) -> Credential:
        """Read the registry's answer; extra fields are tolerated. Raises CredentialError."""
        if len(data) > MAX_JSON:
            raise CredentialError(f"A credential has at most {MAX_JSON} bytes: this is another file.")
        try:
            raw = msgspec.json.decode(data, type=_CredentialJson)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # The decoder's own words may quote the file, and the file holds a secret.
            raise CredentialError("This is no credential: expected the registry's JSON answer.") from None
        role = ROLES.get(raw.role)
        if role is None:
            raise CredentialError(f"The credential's role is none of {', '.join(ROLES)}.")
        check_name(raw.username, "username")
        if raw.entity or role is not Role.CENTRAL:
            check_name(raw.entity, "entity")
        secret = decode_password(raw.password)
        own = public_key(static_private_key(secret, raw.username, role, raw.epoch))
        if role is Role.CENTRAL:
            if raw.central is not None and raw.central.key() != own:
                raise CredentialError("Central's password does not make the public key beside it.")
            central = own
        elif raw.central is None:
            raise CredentialError("The credential lacks `central`, the key of Central: fetch it again.")
        else:
            central = raw.central.key()
        return cls(
            username=raw.username,
            password=raw.password,
            role=role,
            entity=raw.entity,
            epoch=raw.epoch,
            central_public_key=central,
            central_next=None if raw.central_next is None else raw.central_next.key(),
        )

    def to_json(self) -> bytes:
        """The registry's answer, exactly as ``from_json`` reads it. It holds the password."""
        answer: dict[str, object] = {
            "username": self.username,
            "password": self.password,
            "role": self.role.label,
            "entity": self.entity,
            "epoch": self.epoch,
            "central": _key_json(self.central_public_key),
        }
        if self.central_next is not None:
            answer["central_next"] = _key_json(self.central_next)
        return msgspec.json.encode(answer)

    @cached_property
    def key_pair(self) -> tuple[X25519PrivateKey, bytes]:
        """Private key object and public bytes; derived once: Central needs them for every connection."""
        key = X25519PrivateKey.from_private_bytes(self.private_key())
        return key, key.public_key().public_bytes_raw()

    def private_key(self) -> bytes:
        """The 32 bytes of the X25519 private key."""
        return static_private_key(decode_password(self.password), self.username, self.role, self.epoch)

    def public_key(self) -> bytes:
        """The 32 bytes of the X25519 public key."""
        return self.key_pair[1]

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("username", self.username), ("role", self.role.label), ("entity", self.entity)]

    def __repr__(self) -> str:
        who = f"{self.username!r}, role={self.role.label}, entity={self.entity!r}, epoch={self.epoch}"
        return f"Credential({who})"


def _key_json(key: bytes) -> _KeyJson:
    return _KeyJson(kid=b64url(key_id(key)), public_key=b64url(key))
