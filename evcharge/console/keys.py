"""Leaf keys: those of a key log, and the one that opens a token (SPEC §8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography.fernet import Fernet, InvalidToken

from protocol.keylog import BadKeyLine, LeafKey, parse_key_line

# Keys that are kept. A token that no key is known for is tried with all of its direction, so this bounds the work.
MAX_KEYS = 4_096
# Longest line of a key log that is read, in characters; a key's line has 88.
MAX_KEY_LINE = 256


class KeyLogError(Exception):
    """A key log cannot be used; one sentence that quotes nothing of it."""


class Opened(NamedTuple):
    """A token's plaintext and the key that opened it."""

    plain: bytes
    key: LeafKey


class Keyring:
    """Leaf keys by channel and direction."""

    def __init__(self, keys: Iterable[LeafKey] = ()) -> None:
        self._fernets: dict[LeafKey, Fernet] = {}
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        return len(self._fernets)

    def add(self, key: LeafKey) -> None:
        """One more. Raises KeyLogError when there are too many."""
        if key not in self._fernets and len(self._fernets) >= MAX_KEYS:
            raise KeyLogError(f"There are more than {MAX_KEYS} keys; keep the lines of the channel in question.")
        self._fernets[key] = Fernet(key.key)

    def drop_before(self, key: LeafKey) -> None:
        """Forget the earlier epochs of this key's direction: a live channel does not come back to them."""
        for other in [it for it in self._fernets if it[:2] == key[:2] and it.epoch < key.epoch]:
            del self._fernets[other]

    def after(self, key: LeafKey) -> LeafKey | None:
        """The key of the next epoch of the same direction, if it is here."""
        for other in self._fernets:
            if other[:2] == key[:2] and other.epoch == key.epoch + 1:
                return other
        return None

    def open(self, token: bytes, first: LeafKey | None, sid: bytes | None, direction: str | None) -> Opened | None:
        """The token's plaintext; None when no key opens it. ``first`` is tried before all others.

        Only keys of ``sid`` and ``direction`` are tried where these are known.
        """
        if first is not None and (plain := self._try(token, first)) is not None:
            return Opened(plain, first)
        for key in self._fernets:
            if key is first or (sid or key.sid) != key.sid or (direction or key.direction) != key.direction:
                continue
            plain = self._try(token, key)
            if plain is not None:
                return Opened(plain, key)
        return None

    def _try(self, token: bytes, key: LeafKey) -> bytes | None:
        try:
            return self._fernets[key].decrypt(token)
        except InvalidToken:
            return None


def read_key_log(path: Path) -> Keyring:
    """The keys of a file. Raises KeyLogError, OSError."""
    return Keyring(_keys(path))


def _keys(path: Path) -> Iterator[LeafKey]:
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_KEY_LINE + 1):
            number += 1
            text = line.rstrip(b"\r\n").decode("ascii", "replace")
            if not text or text.startswith("#"):
                continue
            if len(line) > MAX_KEY_LINE:
                raise KeyLogError(f"{path}, line {number} is too long for a key log; is it another file?")
            try:
                yield parse_key_line(text)
            except BadKeyLine as error:
                raise KeyLogError(f"{path}, line {number} {error}") from None
