"""What a Connection tells its owner, what it is told, and its limits (SPEC §4, §5)."""

from __future__ import annotations

from typing import Any

import msgspec

from protocol.credentials import Role
from protocol.errors import CloseCode, RefuseCode
from protocol.frames import MAX_FRAME, MAX_HANDSHAKE_FRAME
from protocol.messages import Message


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every limit that a connection enforces by itself; times in seconds (SPEC §5.1).

    ``rekey_msgs``, ``rekey_s``, ``ttl_s`` and ``max_frame`` are Central's to set: SESSION tells the client.
    """

    hello_s: float = 2.0
    """From accept to a whole HELLO."""
    handshake_s: float = 10.0
    """From accept, or connect, to READY; absolute, so a slow trickle does not extend it."""
    handshake_frame: int = MAX_HANDSHAKE_FRAME
    """Longest frame before SESSION, in bytes."""
    max_frame: int = MAX_FRAME
    """Longest frame after SESSION, in bytes."""
    ttl_s: int = 60
    """Oldest token that is opened, on the channel clock."""
    rekey_msgs: int = 65_536
    """Tokens of one sending epoch, its KEY_UPDATE included."""
    rekey_bytes: int = 2**30
    """Bytes of tokens after which a sender changes its key."""
    rekey_s: int = 900
    """Age of a sending epoch after which the next token is a KEY_UPDATE."""
    epoch_msgs_max: int = 131_072
    """Tokens of one epoch that a receiver opens: twice ``rekey_msgs``; only a broken peer gets there."""
    ping_s: float = 15.0
    """Silence after which a PING is sent."""
    dead_s: float = 45.0
    """Silence after which the peer counts as dead: three PINGs."""
    witness_s: float = 60.0
    """Client: how often Central is asked for its newest checkpoint, with a PING, whatever else is said."""
    channel_s: float = 86_400.0
    """Age at which a channel is closed with EXPIRED: a fresh handshake brings fresh keys."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What Central grants with SESSION (SPEC §4.5). ``repr`` hides the secret."""

    sid: bytes
    """16 bytes, random: the channel's id."""
    secret: bytes
    """32 bytes, random: Central's part of the traffic keys. Empty in events, where nobody needs it."""
    t0_ms: int
    """Channel clock at this moment, UTC milliseconds."""
    fence: int | None = None
    """Rises with every channel of this username; commands and reports carry it."""
    next_n: int | None = None
    """The outbox item that Central expects next."""
    checkpoint: bytes | None = None
    """Central's newest log checkpoint, at most 512 bytes."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("sid", self.sid.hex()), ("t0_ms", self.t0_ms), ("fence", self.fence)]

    def __repr__(self) -> str:
        return f"Grant(sid={self.sid.hex()}, t0_ms={self.t0_ms}, fence={self.fence}, next_n={self.next_n})"


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of what ``next_event`` returns."""


class HelloReceived(Event, frozen=True):
    """Server: a whole HELLO is here. No key was computed yet: answer with ``reply_hello`` or ``refuse``."""


class AuthPresented(Event, frozen=True):
    """Server: the peer proved that it owns ``public_key``; the rest is its claim.

    Compare all with the registry's record, in constant time the key, then ``accept`` or ``refuse``.
    """

    username: str
    role: Role
    entity: str
    public_key: bytes
    boot_id: bytes
    conn_no: int
    checkpoint: bytes | None
    outbox_epoch: int | None


class Established(Event, frozen=True):
    """READY went both ways: ``send`` is open. Server: only now does the newcomer replace an older channel."""

    grant: Grant


class MessageReceived(Event, frozen=True):
    """A legal message; ``size`` is its frame's length on the wire in bytes."""

    message: Message
    size: int


class RefusedByCentral(Event, frozen=True):
    """Client: Central authenticated itself and said no. Come back after ``retry_after_s``."""

    code: RefuseCode
    retry_after_s: int


class CheckpointSeen(Event, frozen=True):
    """Client: Central's PONG carried its newest log checkpoint, at most 512 bytes; not looked at yet (SPEC §4.8)."""

    note: bytes


class ChannelClosed(Event, frozen=True):
    """The end. ``clean`` only for an authenticated CLOSE; a bare end of the stream is truncation (SPEC §4.9).

    ``code`` is None for a bare end and for a code that this version does not know.
    """

    code: CloseCode | None
    clean: bool
    why: str
