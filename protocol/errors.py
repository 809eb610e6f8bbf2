"""What can go wrong on the wire, and the codes that say so (SPEC §5.4, §5.5).

Two families: ``LocalProtocolError`` is our own bug or misuse; ``RemoteProtocolError`` is the peer's fault,
carries the code that is counted and logged, and always ends the connection. No text holds a secret.
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a channel ends, in an authenticated CLOSE (SPEC §5.4)."""

    NORMAL = 0
    SUPERSEDED = 1
    REVOKED = 2
    SLOW = 3
    DRAIN = 4
    PROTOCOL = 5
    INTERNAL = 6
    TIMEOUT = 7
    DUPLICATE_ID = 8
    EXPIRED = 9
    """The channel is 24 hours old: a fresh handshake is due."""


class RefuseCode(IntEnum):
    """Why Central opens no channel, in an authenticated REFUSE or as the hint of an ALERT (SPEC §5.5)."""

    UNKNOWN = 1
    REVOKED = 2
    EXPIRED = 3
    BUSY = 4
    DRAINING = 5
    UNAVAILABLE = 6
    WRONG_ROLE = 7
    DUPLICATE_ID = 8
    VERSION = 9


def close_code(number: int) -> CloseCode | None:
    """The code of ``number``, None for one of a later version."""
    try:
        return CloseCode(number)
    except ValueError:
        return None


def refuse_code(number: int) -> RefuseCode | None:
    """The code of ``number``, None for one of a later version."""
    try:
        return RefuseCode(number)
    except ValueError:
        return None


class ProtocolError(Exception):
    """Base of both families."""


class LocalProtocolError(ProtocolError):
    """This side asked for something that the protocol does not allow: our bug; the connection is unharmed."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the connection is over. ``code`` is what a CLOSE would say."""

    def __init__(self, code: CloseCode, message: str, re: int | str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.re = re
        """The ``id`` of the request that was at fault, where there is one."""

    def __str__(self) -> str:
        return self.message


class FrameTooLarge(RemoteProtocolError):
    """A frame's length is 0 or above the limit (SPEC §3.1)."""


class UnreadableToken(RemoteProtocolError):
    """A token is not canonical, not authentic, or too old or too new (SPEC §4.8)."""


class ReplayedMessage(RemoteProtocolError):
    """An authentic token has the wrong sequence number: repeated, reordered or missing (SPEC §4.8)."""


class MalformedMessage(RemoteProtocolError):
    """The bytes are authentic but are no legal value: bad msgpack, a missing field, a value out of range."""


class UnexpectedMessage(RemoteProtocolError):
    """A legal frame or message at the wrong time or from the wrong role (SPEC §7.2)."""


class UnsupportedVersion(RemoteProtocolError):
    """The two sides have no version in common, or Central chose one that was not offered (SPEC §4.2)."""


class AuthenticationFailed(RemoteProtocolError):
    """A handshake message does not verify: wrong key, or changed on the way (SPEC §4)."""


class TimedOut(RemoteProtocolError):
    """The peer was silent for too long (SPEC §5.1)."""
