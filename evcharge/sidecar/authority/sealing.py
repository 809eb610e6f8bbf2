"""Drivers' tokens at rest: as a keyed hash where they are compared, sealed where a callback still has to carry them.

Tokens are chosen by others and may be short, so a bare hash of one could be guessed from a stolen database. The keys
are no part of the database.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec
from cryptography.fernet import Fernet, InvalidToken

# Shortest pepper, in bytes: as long as the hash.
PEPPER_BYTES = 32
# Of a hash, as people see it: enough to tell entries apart.
HINT_CHARS = 12
_PURPOSE = b"evcharge driver token\0"


class Unsealable(Exception):
    """Sealed with another key, for another request, or damaged."""


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What may not lie about."""

    request_id: str
    """So that what was sealed for one request opens for no other."""
    driver_token: str
    callback_url: str
    """May have a secret of the receiver's in its path."""


class Sealer:
    """Hashes and seals with the keys of one sidecar."""

    def __init__(self, pepper: bytes, seal_key: bytes) -> None:
        """``seal_key`` as ``Fernet.generate_key`` makes it.

        Raises:
            ValueError: a key is too short, or none.
        """
        if len(pepper) < PEPPER_BYTES:
            raise ValueError(f"the pepper has {PEPPER_BYTES} bytes at least")
        self._pepper = pepper
        self._fernet = Fernet(seal_key)

    def hashed(self, driver_token: str) -> bytes:
        """32 bytes by which a token is known again."""
        return hmac.digest(self._pepper, _PURPOSE + driver_token.encode(), hashlib.sha256)

    def seal(self, secrets: Secrets) -> bytes:
        """For the database or a queue."""
        return self._fernet.encrypt(msgspec.msgpack.encode(secrets))

    def open(self, sealed: bytes, request_id: str) -> Secrets:
        """
        Raises:
            Unsealable
        """
        try:
            secrets = msgspec.msgpack.decode(self._fernet.decrypt(sealed), type=Secrets)
        except (InvalidToken, msgspec.DecodeError, ValueError):
            raise Unsealable("cannot be opened with this key") from None
        if secrets.request_id != request_id:
            raise Unsealable("belongs to another request")
        return secrets


def hint(token_hash: bytes) -> str:
    """The beginning of a hash, for people."""
    return token_hash.hex()[:HINT_CHARS]
