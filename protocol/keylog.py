"""The key log of a client: leaf keys, one line for each direction and epoch (SPEC §8).

For looking into one's own traffic. A leaf key opens one epoch of one direction and leads to no other key; Central has
no key log at all.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Final, NamedTuple

# First word of a line; another layout gets another word. SPEC §8
TAG: Final = "EVC1"
# Client to Central, and back. SPEC §4.7
C2S: Final = "c2s"
S2C: Final = "s2c"
# Characters of a channel's id in hex, and of a Fernet key. SPEC §4.5, §4.7
_SID_CHARS = 32
_KEY_CHARS = 44
# Bytes of a Fernet key.
_KEY_BYTES = 32
# Digits of the largest epoch that is read: a channel of 24 h that changes its key each second has 86,400.
_EPOCH_DIGITS = 10
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")


class LeafKey(NamedTuple):
    """The Fernet key of one direction and epoch. ``repr`` hides it; ``line`` is the only way out."""

    sid: bytes
    direction: str
    epoch: int
    key: bytes
    """44 characters of base64url, as ``cryptography.fernet.Fernet`` takes it."""

    def line(self) -> str:
        """The line of a key log, without a line end."""
        return f"{TAG} {self.sid.hex()} {self.direction} {self.epoch} {self.key.decode('ascii')}"

    def __repr__(self) -> str:
        return f"LeafKey(sid={self.sid.hex()}, direction={self.direction}, epoch={self.epoch})"


KeyLog = Callable[[LeafKey], None]
"""What a client may be given: called when an epoch of a direction begins."""


class BadKeyLine(ValueError):
    """A line is none of a key log; the sentence never quotes it, because it may hold a key."""


def parse_key_line(text: str) -> LeafKey:
    """Reverse of ``LeafKey.line``; strict. Raises BadKeyLine."""
    words = text.split(" ")
    if len(words) != 5 or words[0] != TAG:
        raise BadKeyLine(f"is not `{TAG} sid direction epoch key`.")
    _, sid, direction, epoch, key = words
    if direction not in (C2S, S2C):
        raise BadKeyLine(f"has a direction other than {C2S} and {S2C}.")
    if len(sid) != _SID_CHARS or sid.strip("0123456789abcdef"):
        raise BadKeyLine(f"has a sid that is not {_SID_CHARS} lower-case hex digits.")
    if not epoch.isascii() or not epoch.isdigit() or len(epoch) > _EPOCH_DIGITS or str(int(epoch)) != epoch:
        raise BadKeyLine("has an epoch that is not a number.")
    if not _is_key(key):
        raise BadKeyLine(f"has a key that is not {_KEY_CHARS} characters of base64url.")
    return LeafKey(bytes.fromhex(sid), direction, int(epoch), key.encode("ascii"))


def _is_key(text: str) -> bool:
    if len(text) != _KEY_CHARS or not text.isascii():
        return False
    try:
        raw = binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL), strict_mode=True)
    except binascii.Error:
        return False
    # The bits that no byte needs are zero, so that a key has one text only.
    return len(raw) == _KEY_BYTES and binascii.b2a_base64(raw, newline=False).translate(_TO_URL) == text.encode()


class EpochKeys:
    """Counts the epochs of one channel's two directions, seen from the client, and tells ``sink`` each key."""

    __slots__ = ("_received", "_sent", "_sid", "_sink")

    def __init__(self, sid: bytes, sink: KeyLog) -> None:
        self._sid = sid
        self._sink = sink
        self._sent = self._received = 0

    def sending(self, key: bytes) -> None:
        """The client's next epoch began."""
        self._sink(LeafKey(self._sid, C2S, self._sent, key))
        self._sent += 1

    def receiving(self, key: bytes) -> None:
        """Central's next epoch began."""
        self._sink(LeafKey(self._sid, S2C, self._received, key))
        self._received += 1
