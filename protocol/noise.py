"""Noise_XK_25519_ChaChaPoly_SHA256, unmodified (SPEC §4.3; the Noise Protocol Framework, revision 34).

Names follow that paper, section 5, so that a reader can compare line by line. Nothing here knows evcharge.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocol.errors import AuthenticationFailed, CloseCode

PROTOCOL_NAME = b"Noise_XK_25519_ChaChaPoly_SHA256"
# Bytes of a Curve25519 public key, and of the authentication tag of ChaChaPoly.
DH_SIZE = 32
TAG_SIZE = 16

KeyPair = tuple[X25519PrivateKey, bytes]
"""Private key and the 32 bytes of its public key."""

_PATTERN = (("e", "es"), ("e", "ee"), ("s", "se"))
# Who holds the first key of a DH token: e in "es" is the initiator's.
_OURS = {"ee": ("e", "e"), "es": ("e", "s"), "se": ("s", "e")}


def key_pair(private: bytes) -> KeyPair:
    """Key pair of 32 private bytes."""
    key = X25519PrivateKey.from_private_bytes(private)
    return key, key.public_key().public_bytes_raw()


class CipherState:
    """ChaChaPoly with a counting nonce (§5.1 of the paper)."""

    __slots__ = ("_aead", "_nonce")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._nonce = 0

    def encrypt(self, ad: bytes, plaintext: bytes) -> bytes:
        return self._aead.encrypt(self._take_nonce(), plaintext, ad)

    def decrypt(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Raises AuthenticationFailed unless these bytes were sealed with this key, nonce and ``ad``."""
        try:
            return self._aead.decrypt(self._take_nonce(), ciphertext, ad)
        except InvalidTag:
            raise _failed() from None

    def _take_nonce(self) -> bytes:
        nonce = bytes(4) + self._nonce.to_bytes(8, "little")
        self._nonce += 1
        return nonce


class SymmetricState:
    """Chaining key, hash and the cipher made from them (§5.2 of the paper)."""

    __slots__ = ("_cipher", "ck", "h")

    def __init__(self, name: bytes) -> None:
        self.h = name.ljust(32, b"\0") if len(name) <= DH_SIZE else sha256(name).digest()
        self.ck = self.h
        self._cipher: CipherState | None = None

    def mix_key(self, material: bytes) -> None:
        self.ck, key = _hkdf(self.ck, material)
        self._cipher = CipherState(key)

    def mix_hash(self, data: bytes) -> None:
        self.h = sha256(self.h + data).digest()

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = plaintext if self._cipher is None else self._cipher.encrypt(self.h, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = ciphertext if self._cipher is None else self._cipher.decrypt(self.h, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Ciphers of initiator → responder and responder → initiator."""
        first, second = _hkdf(self.ck, b"")
        return CipherState(first), CipherState(second)


class HandshakeState:
    """One side of XK (§5.3 and §7.5 of the paper): three messages, written and read in turn.

    The responder's static key is known to the initiator (``rs``); the initiator's is in the third message.
    """

    __slots__ = ("_e", "_initiator", "_re", "_s", "_step", "_symmetric", "rs")

    def __init__(self, *, initiator: bool, prologue: bytes, s: KeyPair, e: KeyPair, rs: bytes | None = None) -> None:
        self._initiator = initiator
        self._s, self._e = s, e
        self._re = b""
        self.rs = b"" if rs is None else rs
        self._step = 0
        self._symmetric = SymmetricState(PROTOCOL_NAME)
        self._symmetric.mix_hash(prologue)
        self._symmetric.mix_hash(self.rs if initiator else s[1])

    @property
    def ck(self) -> bytes:
        """Chaining key so far."""
        return self._symmetric.ck

    @property
    def h(self) -> bytes:
        """Handshake hash so far."""
        return self._symmetric.h

    def write_message(self, payload: bytes) -> bytes:
        """The next message, with ``payload`` sealed as far as the pattern allows at this point."""
        symmetric, out = self._symmetric, b""
        for step in _PATTERN[self._step]:
            if step == "e":
                symmetric.mix_hash(self._e[1])
                out += self._e[1]
            elif step == "s":
                out += symmetric.encrypt_and_hash(self._s[1])
            else:
                symmetric.mix_key(self._dh(step))
        self._step += 1
        return out + symmetric.encrypt_and_hash(payload)

    def read_message(self, message: bytes) -> bytes:
        """The payload of the peer's next message. Raises AuthenticationFailed."""
        symmetric = self._symmetric
        for step in _PATTERN[self._step]:
            if step == "e":
                self._re, message = message[:DH_SIZE], message[DH_SIZE:]
                symmetric.mix_hash(self._re)
            elif step == "s":
                sealed, message = message[: DH_SIZE + TAG_SIZE], message[DH_SIZE + TAG_SIZE :]
                self.rs = symmetric.decrypt_and_hash(sealed)
            else:
                symmetric.mix_key(self._dh(step))
        self._step += 1
        return symmetric.decrypt_and_hash(message)

    def split(self) -> tuple[CipherState, CipherState]:
        """Transport ciphers, initiator → responder first; after the third message."""
        return self._symmetric.split()

    def _dh(self, step: str) -> bytes:
        ours, theirs = _OURS[step] if self._initiator else reversed(_OURS[step])
        private = self._e[0] if ours == "e" else self._s[0]
        public = self._re if theirs == "e" else self.rs
        try:
            return private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            # Too short a key, or a point of small order, whose shared secret everybody knows.
            raise _failed() from None


def _failed() -> AuthenticationFailed:
    return AuthenticationFailed(CloseCode.PROTOCOL, "A handshake message does not verify: wrong key, or changed.")


def _hkdf(ck: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF of the paper, §4.3, with two outputs."""
    key = hmac.digest(ck, material, "sha256")
    first = hmac.digest(key, b"\x01", "sha256")
    return first, hmac.digest(key, first + b"\x02", "sha256")
