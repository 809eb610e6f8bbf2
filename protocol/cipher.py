"""The sealed channel's tokens: Fernet, one key per direction and epoch (SPEC §4.7, §4.8).

Any Fernet opens what ``Sealer`` makes and the reverse; the tests prove it against ``cryptography.fernet``.
Three things make it four times as fast. One CBC encryptor keeps running: a random block is fed before the
message, and its ciphertext, which nobody can predict, is the IV. One CBC decryptor keeps running: the IV is fed
before the message and what it decrypts to is dropped. The keyed HMAC state is copied instead of made anew.
"""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Callable
from struct import Struct

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from protocol.errors import CloseCode, ReplayedMessage, UnreadableToken
from protocol.frames import MAX_FRAME

Entropy = Callable[[int], bytes]
"""``entropy(n)`` gives n unpredictable bytes."""

# AES block, and so IV and padding unit, in bytes.
BLOCK = 16
# Random bytes drawn at once: 16 tokens for one system call, and 256 bytes held per connection. SPEC §4.8
ENTROPY_CHUNK = 16 * BLOCK
# Clock difference into the future that Fernet tolerates, in seconds. SPEC §4.8
MAX_SKEW_S = 60
# Version, time, IV and HMAC of a token, in bytes.
_TOKEN_OVERHEAD = 1 + 8 + BLOCK + 32
_FERNET_VERSION = 0x80
# Sequence number and kind before the body.
_INNER = 9

# Where the body begins in what the running decryptor gives: after the dropped block and seq and kind.
_BODY_AT = BLOCK + _INNER
# Names of this module instead of attributes of others: seal and open run for every message.
_write_stamp, _read_stamp = Struct(">BQ").pack, Struct(">BQ").unpack_from
_write_head, _read_head = Struct(">16sQB").pack, Struct(">16xQB").unpack_from
_encode, _decode = binascii.b2a_base64, binascii.a2b_base64
_same = hmac.compare_digest
# Last byte → what the plaintext has to end with: PKCS #7 for 1 to 16, and else what it cannot end with.
_PADS = [bytes([n]) * n if 0 < n <= BLOCK else bytes([n ^ 255]) for n in range(256)]
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")
_PADDING = ord("=")
# Last characters of canonical base64 when 1 or 2 bytes are over: the unused bits are zero.
_LAST_OF_1 = frozenset(b"AQgw")
_LAST_OF_2 = frozenset(b"AEIMQUYcgkosw048")
# Length of a token's text → its length in bytes, for one block of ciphertext up to the largest frame.
_SIZES = {(size + 2) // 3 * 4: size for size in range(_TOKEN_OVERHEAD + BLOCK, MAX_FRAME * 3 // 4 + BLOCK, BLOCK)}


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand of RFC 5869 with SHA-256 and L = 32, which is one HMAC."""
    return hmac.digest(key, info + b"\x01", "sha256")


def traffic_secret(prk: bytes, direction: str, sid: bytes) -> bytes:
    """T of epoch 0; ``direction`` is "c2s" or "s2c" (SPEC §4.7)."""
    return expand(prk, b"evcharge/1 traffic " + direction.encode() + sid)


def next_secret(secret: bytes) -> bytes:
    """T of the next epoch."""
    return expand(secret, b"evcharge/1 next")


def leaf_key(secret: bytes) -> bytes:
    """The 32 raw bytes of an epoch's Fernet key: 16 for HMAC, then 16 for AES."""
    return expand(secret, b"evcharge/1 fernet")


def fernet_key(secret: bytes) -> bytes:
    """An epoch's Fernet key as ``cryptography.fernet.Fernet`` takes it: base64url of 44 characters."""
    return binascii.b2a_base64(leaf_key(secret), newline=False).translate(_TO_URL)


def max_body(max_frame: int) -> int:
    """Longest body of a token that fits in a frame: 49,078 bytes for 65,536 (SPEC §3.1)."""
    token = (max_frame - 1) // 4 * 3
    return (token - _TOKEN_OVERHEAD) // BLOCK * BLOCK - 1 - _INNER


class Sealer:
    """Makes the tokens of one direction. ``count`` and ``size`` are tokens and bytes of the running epoch."""

    __slots__ = ("_at", "_chunk", "_entropy", "_mac", "_pool", "_secret", "_update", "count", "seq", "size")

    def __init__(self, secret: bytes, entropy: Entropy, chunk: int = ENTROPY_CHUNK) -> None:
        self._entropy = entropy
        self._chunk = chunk
        self._pool = b""
        self._at = 0
        self.seq = 0
        self._start(secret)

    def _start(self, secret: bytes) -> None:
        key = leaf_key(secret)
        self._secret = secret
        self._mac = HMAC(key[:BLOCK], SHA256())
        # Any first IV will do: it only enters the ciphertext of a random block.
        self._update = Cipher(AES(key[BLOCK:]), CBC(bytes(BLOCK))).encryptor().update
        self.count = 0
        self.size = 0

    @property
    def key(self) -> bytes:
        """Fernet key of the running epoch, for a key log (SPEC §8)."""
        return fernet_key(self._secret)

    def seal(self, kind: int, body: bytes, clock_s: int) -> bytes:
        """The next token, stamped ``clock_s`` (seconds of the channel clock)."""
        at = self._at
        if at == len(self._pool):
            self._pool = self._entropy(self._chunk)
            at = 0
        self._at = end = at + BLOCK
        seq = self.seq
        padding = _PADS[BLOCK - (_INNER + len(body)) % BLOCK]
        sealed = self._update(_write_head(self._pool[at:end], seq, kind) + body + padding)
        signed = _write_stamp(_FERNET_VERSION, clock_s) + sealed
        mac = self._mac.copy()
        mac.update(signed)
        token = _encode(signed + mac.finalize(), newline=False).translate(_TO_URL)
        self.seq = seq + 1
        self.count += 1
        self.size += len(token)
        return token

    def next_epoch(self) -> None:
        """Go on with the next key; the old secret is dropped. ``seq`` runs on."""
        self._start(next_secret(self._secret))


class Opener:
    """Opens the tokens of one direction. ``began`` is the first ``seq`` of the running epoch.

    Any failure leaves the running decryptor in an unknown state: the connection is over, as SPEC wants it.
    """

    __slots__ = ("_mac", "_secret", "_ttl_s", "_update", "began", "seq")

    def __init__(self, secret: bytes, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        self.seq = 0
        self._start(secret)

    def _start(self, secret: bytes) -> None:
        key = leaf_key(secret)
        self._secret = secret
        self._mac = HMAC(key[:BLOCK], SHA256())
        self._update = Cipher(AES(key[BLOCK:]), CBC(bytes(BLOCK))).decryptor().update
        self.began = self.seq

    @property
    def key(self) -> bytes:
        """Fernet key of the running epoch, for a key log (SPEC §8)."""
        return fernet_key(self._secret)

    def open(self, token: bytes, clock_s: int) -> tuple[int, bytes]:
        """Kind and body of the next token. Raises UnreadableToken or ReplayedMessage; both are fatal.

        The order of the checks is the order of SPEC §4.8; nothing is decrypted before it is authentic.
        """
        try:
            raw = _decode(token.translate(_FROM_URL), strict_mode=True)
        except binascii.Error:
            raise _unreadable("is not base64url") from None
        # The strict decoder still takes padding behind text that needs none: the two lengths tell.
        if _SIZES.get(len(token)) != len(raw):
            raise _unreadable("has an impossible length")
        # Fernet ignores these bits, so that several texts would be one token.
        if token[-1] == _PADDING and _spare_bits(token):
            raise _unreadable("is not canonical")
        signed = raw[:-32]
        mac = self._mac.copy()
        mac.update(signed)
        if not _same(mac.finalize(), raw[-32:]):
            raise _unreadable("is not authentic")
        version, stamp_s = _read_stamp(signed)
        if version != _FERNET_VERSION:
            raise _unreadable("has an unknown version")
        if not clock_s - self._ttl_s <= stamp_s <= clock_s + MAX_SKEW_S:
            raise _unreadable("is too old or too new")
        plain = self._update(signed[9:])
        pad = plain[-1]
        if not plain.endswith(_PADS[pad]) or len(plain) - pad < _BODY_AT:
            raise _unreadable("has a wrong padding")
        seq, kind = _read_head(plain)
        if seq != self.seq:
            raise ReplayedMessage(CloseCode.PROTOCOL, f"Token {seq} came where {self.seq} was due.")
        self.seq = seq + 1
        return kind, plain[_BODY_AT:-pad]

    def next_epoch(self) -> None:
        """Go on with the next key; the old secret is dropped. ``seq`` runs on."""
        self._start(next_secret(self._secret))


def _spare_bits(token: bytes) -> bool:
    """Whether the last character before the padding has bits set that decode to nothing."""
    if token[-2] == _PADDING:
        return token[-3] not in _LAST_OF_1
    return token[-2] not in _LAST_OF_2


def _unreadable(why: str) -> UnreadableToken:
    return UnreadableToken(CloseCode.PROTOCOL, f"A token {why}.")
