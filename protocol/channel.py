"""The channel after SESSION: sealed tokens both ways, their epochs, the channel clock (SPEC §4.7, §4.8)."""

from __future__ import annotations

from typing import Final

from protocol.cipher import Entropy, Opener, Sealer
from protocol.errors import CloseCode, UnexpectedMessage, close_code
from protocol.events import ChannelClosed, Limits
from protocol.frames import DATA, encode_frame
from protocol.keylog import EpochKeys

# Kinds of token. SPEC §4.8
APP: Final = 0
KEY_UPDATE: Final = 1
PING: Final = 2
PONG: Final = 3
CLOSE: Final = 4
READY: Final = 5


class Channel:
    """Seals and opens; knows when a key has to change.

    ``sending`` and ``receiving`` are the traffic secrets of epoch 0, ``t0_ms`` the channel clock at monotonic
    second ``now``. No wall clock enters: both sides run on from ``t0_ms``.
    """

    __slots__ = ("_keys", "_limits", "_opener", "_rekey_at", "_sealer", "_t0_ms", "_t0_s")

    def __init__(
        self, *, sending: bytes, receiving: bytes, t0_ms: int, now: float, limits: Limits, entropy: Entropy
    ) -> None:
        self._limits = limits
        self._sealer = Sealer(sending, entropy)
        self._opener = Opener(receiving, limits.ttl_s)
        self._t0_ms = t0_ms
        self._t0_s = now
        self._rekey_at = now + limits.rekey_s
        self._keys: EpochKeys | None = None

    def log_keys(self, keys: EpochKeys) -> None:
        """Client only: tell the keys of this epoch now and those of later ones when they begin (SPEC §8)."""
        self._keys = keys
        keys.sending(self._sealer.key)
        keys.receiving(self._opener.key)

    def clock_ms(self, now: float) -> int:
        """The channel clock in UTC milliseconds."""
        return self._t0_ms + int((now - self._t0_s) * 1000)

    def seal(self, kind: int, body: bytes, now: float) -> bytes:
        """The frame of the next token; when the epoch is used up, a KEY_UPDATE frame stands before it."""
        sealer, limits = self._sealer, self._limits
        clock_s = (self._t0_ms + int((now - self._t0_s) * 1000)) // 1000
        if sealer.count + 1 >= limits.rekey_msgs or sealer.size >= limits.rekey_bytes or now >= self._rekey_at:
            farewell = encode_frame(DATA, sealer.seal(KEY_UPDATE, b"", clock_s))
            sealer.next_epoch()
            if self._keys is not None:
                self._keys.sending(sealer.key)
            self._rekey_at = now + limits.rekey_s
            return farewell + encode_frame(DATA, sealer.seal(kind, body, clock_s))
        return encode_frame(DATA, sealer.seal(kind, body, clock_s))

    def open(self, token: bytes, now: float) -> tuple[int, bytes]:
        """Kind and body of the next token; a KEY_UPDATE has taken effect when this returns.

        Raises UnreadableToken, ReplayedMessage, or UnexpectedMessage for a peer that never changes its key.
        """
        opener = self._opener
        if opener.seq - opener.began >= self._limits.epoch_msgs_max:
            raise UnexpectedMessage(CloseCode.PROTOCOL, "The peer sent too many tokens under one key.")
        opened = opener.open(token, (self._t0_ms + int((now - self._t0_s) * 1000)) // 1000)
        if opened[0] == KEY_UPDATE:
            opener.next_epoch()
            if self._keys is not None:
                self._keys.receiving(opener.key)
        return opened


def close_body(code: CloseCode) -> bytes:
    """Body of a CLOSE; the map after the code is empty in this version (SPEC §4.9)."""
    return bytes([code]) + b"\x80"


def closed_by(body: bytes) -> ChannelClosed:
    """The event for the peer's CLOSE. A code of a later version is None."""
    number = body[0] if body else CloseCode.NORMAL
    code = close_code(number)
    return ChannelClosed(code, True, f"the peer closed: {number if code is None else code.name}")
