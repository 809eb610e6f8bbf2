"""The RSA keys that sign access tokens: one signs, older ones still verify, the next one is published before it signs.

A key has three times. From its making it stands in the JWKS. ``ANNOUNCE_S`` later it signs, so that whoever keeps the
JWKS for as long as its answer allows knows it by then. When a newer one has signed for longer than any token lives, it
is gone. Each key is a file of its own (0600), named by its thumbprint (RFC 7638), so that a second process can add one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from evcharge.sidecar.bootstrap import BootstrapError, read_private, write_private

log = structlog.get_logger()

# RSA modulus in bits: 112 bits of security, what RFC 7518 §3.3 asks at least and every library verifies fast.
KEY_BITS = 2048
# How long a verifier may keep the JWKS, and so how long a new key stands there before it signs, seconds.
ANNOUNCE_S = 600
# Longest life of an access token, seconds; settings may choose less.
TOKEN_LIFE_MAX_S = 86_400
# What clocks of two machines may differ by, seconds.
LEEWAY_S = 30
# Age at which a key is replaced by itself: 90 days, common practice for signing keys.
ROTATE_S = 90 * 86_400
# Keys in the folder that are read: far more than overlap.
KEYS = 16


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair with the time of its making. ``repr`` shows its name only."""

    kid: str
    created_ms: int
    key: RSAKey

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, created_ms={self.created_ms})"

    @property
    def public(self) -> dict[str, Any]:
        """As the JWKS shows it: exactly the members that RFC 7517 and 7518 name, none of the private ones."""
        whole = self.key.as_dict(private=False)
        return {"kty": "RSA", "n": whole["n"], "e": whole["e"], "kid": self.kid, "use": "sig", "alg": "RS256"}


class KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in a key's file."""

    created_ms: int
    jwk: dict[str, str]


def make_key(now_ms: int) -> SigningKey:
    """A new key pair. Its randomness is the operating system's: no generator of ours may make RSA primes."""
    key = RSAKey.generate_key(KEY_BITS, private=True)
    return SigningKey(kid=key.thumbprint(), created_ms=now_ms, key=key)


def signs(keys: Iterable[SigningKey], now_ms: int) -> SigningKey:
    """The newest key that was announced long enough; where none was, the oldest.

    Raises:
        ValueError: there is no key.
    """
    ordered = sorted(keys, key=_age)
    announced = [key for key in ordered if key.created_ms + ANNOUNCE_S * 1000 <= now_ms]
    return announced[-1] if announced else ordered[0] if ordered else _none()


def published(keys: Iterable[SigningKey], now_ms: int) -> list[SigningKey]:
    """What the JWKS shows and what verifies: all but those that signed nothing that may still live; oldest first."""
    ordered = sorted(keys, key=_age)
    over_ms = now_ms - (ANNOUNCE_S + TOKEN_LIFE_MAX_S + LEEWAY_S) * 1000
    return [
        key
        for place, key in enumerate(ordered)
        if not any(newer.created_ms <= over_ms for newer in ordered[place + 1 :])
    ]


class KeyFolder:
    """The keys of a folder; ``refresh`` sees what another process added."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, SigningKey] = {}
        self._seen: frozenset[str] = frozenset()

    @property
    def keys(self) -> Mapping[str, SigningKey]:
        """All of them by ``kid``."""
        return self._keys

    def refresh(self) -> None:
        """Read what is new, forget what was taken away.

        Raises:
            BootstrapError: a file is open to others or damaged.
        """
        try:
            files = sorted(self._folder.glob("*.json"))[-KEYS:]
        except OSError as error:
            raise BootstrapError(f"Cannot read {self._folder}: {error.strerror}.") from error
        names = frozenset(file.name for file in files)
        if names == self._seen:
            return
        self._keys = {key.kid: key for key in map(_read, files)}
        self._seen = names

    def add(self, now_ms: int) -> SigningKey:
        """Make a key, and drop the files of those that are not published any more."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        key = make_key(now_ms)
        write_private(
            self._folder / f"{now_ms:013d}-{key.kid}.json",
            msgspec.json.encode(KeyFile(created_ms=now_ms, jwk=_members(key))),
        )
        self.refresh()
        kept = {one.kid for one in published(self._keys.values(), now_ms)}
        for old in self._keys.values():
            if old.kid not in kept:
                (self._folder / f"{old.created_ms:013d}-{old.kid}.json").unlink(missing_ok=True)
                log.info("oauth.key_dropped", kid=old.kid)
        self.refresh()
        log.info("oauth.key_made", kid=key.kid)
        return key

    def due(self, now_ms: int) -> bool:
        """Whether a new key is wanted: there is none, or the newest is old."""
        newest = max((key.created_ms for key in self._keys.values()), default=None)
        return newest is None or newest + ROTATE_S * 1000 <= now_ms


def _members(key: SigningKey) -> dict[str, str]:
    """The key's members as they are kept, private ones too."""
    return {name: str(value) for name, value in key.key.as_dict(private=True).items()}


def _read(file: Path) -> SigningKey:
    try:
        kept = msgspec.json.decode(read_private(file), type=KeyFile)
        key = RSAKey.import_key({**kept.jwk})
        whole = key.is_private and key.thumbprint() == file.stem.partition("-")[2]
    except (msgspec.DecodeError, JoseError, ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise BootstrapError(f"{file} is damaged; restore it, or remove it and run keys rotate.")
    return SigningKey(kid=key.thumbprint(), created_ms=kept.created_ms, key=key)


def _age(key: SigningKey) -> tuple[int, str]:
    return key.created_ms, key.kid


def _none() -> SigningKey:
    raise ValueError("there is no signing key")
