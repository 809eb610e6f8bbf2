"""Records that the log writes for its own sake; they change no state. FORMAT.md §4."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from evcharge.audit.note import BadNote, Signer, Verifier
from evcharge.audit.record import MARK

KINDS = frozenset({"mark", "state", "signing_key"})
# How bodies of these kinds begin: a list of three, then the kind.
_STATE = b"\x93\xa5state"
SIGNING_KEY = b"\x93\xabsigning_key"


class StateSaid(msgspec.Struct, frozen=True):
    """What the state before a record was, by the rules of this number (``domain.digest.RULES``)."""

    rules: int
    hash: bytes


class _SigningKey(msgspec.Struct, frozen=True):
    key: str
    signature: bytes = b""


class SigningKey(NamedTuple):
    """From here on checkpoints are signed by this key; ``signature`` is the key's before it, empty for the first."""

    key: Verifier
    signature: bytes

    def follows(self, before: Verifier | None) -> bool:
        """Has the key before it said so?"""
        if before is None:
            return not self.signature
        return before.holds(_sentence(before, self.key), self.signature)


def state_body(rules: int, state_hash: bytes) -> bytes:
    """A record that says what the state before it was."""
    return msgspec.msgpack.encode(("state", 1, StateSaid(rules, state_hash)))


def state_said(body: bytes) -> StateSaid | None:
    """What a ``state`` record says; None for any other. Raises msgspec.DecodeError."""
    if not body.startswith(_STATE):
        return None
    return msgspec.msgpack.decode(body, type=tuple[str, int, StateSaid])[2]


def signing_key_body(key: Verifier, signed_by: Signer | None) -> bytes:
    """A record that names the log's key; ``signed_by`` is the one that it replaces."""
    signature = b"" if signed_by is None else signed_by.sign(_sentence(signed_by.verifier, key))
    return msgspec.msgpack.encode(("signing_key", 1, _SigningKey(str(key), signature)))


def signing_key(body: bytes) -> SigningKey | None:
    """What a ``signing_key`` record says; None for any other. Raises msgspec.DecodeError, BadNote."""
    if not body.startswith(SIGNING_KEY):
        return None
    said = msgspec.msgpack.decode(body, type=tuple[str, int, _SigningKey])[2]
    return SigningKey(Verifier.parse(said.key), said.signature)


def _sentence(before: Verifier, key: Verifier) -> str:
    return f"evcharge log key 1\n{before}\n{key}\n"


__all__ = [
    "KINDS",
    "MARK",
    "SIGNING_KEY",
    "BadNote",
    "SigningKey",
    "StateSaid",
    "signing_key",
    "signing_key_body",
    "state_body",
    "state_said",
]
