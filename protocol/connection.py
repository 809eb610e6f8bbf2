"""One connection, either side, without any I/O: bytes in, events out, bytes to send, the next deadline (SPEC §4-§7).

The owner's loop: ``receive_data``, then ``next_event`` until it returns None, then write ``data_to_send``, then ask
``get_timer`` and call ``handle_timer`` when that moment has come. Whatever may have made an event (``reply_hello``,
``handle_timer``, ``receive_eof``) is followed by ``next_event`` too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from protocol import channel as token
from protocol import codec
from protocol.channel import Channel
from protocol.cipher import Entropy, max_body
from protocol.credentials import KEY_SIZE, Credential, Role
from protocol.dialogue import Dialogue
from protocol.errors import (
    CloseCode,
    LocalProtocolError,
    MalformedMessage,
    RefuseCode,
    RemoteProtocolError,
    TimedOut,
    UnexpectedMessage,
)
from protocol.events import (
    AuthPresented,
    ChannelClosed,
    CheckpointSeen,
    Established,
    Event,
    Grant,
    HelloReceived,
    Limits,
    MessageReceived,
    RefusedByCentral,
)
from protocol.frames import DATA, HEAD_SIZE, FrameDecoder
from protocol.handshake import MAX_CHECKPOINT, SUPPORTED, Claims, ClientHandshake
from protocol.keylog import KeyLog
from protocol.messages import Error, Message
from protocol.opening import ClientOpening, ServerOpening

__all__ = [
    "AuthPresented",
    "ChannelClosed",
    "CheckpointSeen",
    "Connection",
    "Established",
    "Event",
    "Grant",
    "HelloReceived",
    "Limits",
    "MessageReceived",
    "RefusedByCentral",
]

_DEFAULTS = Limits()


class Connection:
    """Made by ``client`` or ``server``. Times are seconds of one monotonic clock.

    ``role``, ``username`` and ``entity`` are the peer's on the server (from AuthPresented on; a claim until the
    owner has compared it with the record) and one's own on the client.
    """

    __slots__ = (
        "_asked",
        "_channel",
        "_checkpoint",
        "_client",
        "_dialogue",
        "_event",
        "_expires",
        "_frames",
        "_limits",
        "_now",
        "_opening",
        "_out",
        "_pinged",
        "closed",
        "entity",
        "last_received",
        "pending_bytes",
        "role",
        "tokens_received",
        "username",
    )

    def __init__(self, opening: ClientOpening | ServerOpening, now: float) -> None:
        self._client = isinstance(opening, ClientOpening)
        # Exactly one of these is there while the connection lives: the opening until READY, then the dialogue.
        self._opening: ClientOpening | ServerOpening | None = opening
        self._dialogue: Dialogue | None = None
        self._channel: Channel | None = None
        self._limits = opening.limits
        self._frames = FrameDecoder(opening.limits.handshake_frame)
        self._event: Event | RemoteProtocolError | None = None
        self._out: list[bytes] = []
        self._now = self._pinged = self._asked = self._expires = now
        self._checkpoint = _nothing
        self.closed = False
        """Nothing more will come or go, but for what ``data_to_send`` still holds."""
        self.pending_bytes = 0
        """Bytes that ``data_to_send`` would give."""
        self.last_received = now
        """When the last authentic token came; before READY, when the connection began."""
        self.tokens_received = 0
        """Tokens of every kind opened since READY, PING and KEY_UPDATE included: what a rate limit should count."""
        self.role = Role.CENTRAL
        self.username = ""
        self.entity = ""

    @classmethod
    def client(
        cls,
        credential: Credential,
        *,
        boot_id: bytes,
        conn_no: int,
        now: float,
        entropy: Entropy,
        outbox_epoch: int | None = None,
        checkpoint: bytes | None = None,
        binding: bytes = b"",
        limits: Limits = _DEFAULTS,
        use_next_key: bool = False,
        offered: tuple[int, ...] = SUPPORTED,
        key_log: KeyLog | None = None,
    ) -> Self:
        """The connecting side; HELLO is in ``data_to_send`` at once.

        ``boot_id`` is 16 random bytes of this process, ``conn_no`` counts its connections, ``binding`` is
        SHA-256 of the TLS certificate around it, if any. ``use_next_key``: expect the key that Central announced
        as its next. ``key_log`` is told the key of each direction and epoch (SPEC §8);
        Central has no such thing. Raises LocalProtocolError.
        """
        if credential.role is Role.CENTRAL:
            raise LocalProtocolError("Central connects to nobody: use a peer's credential.")
        key = credential.central_next if use_next_key else credential.central_public_key
        if key is None:
            raise LocalProtocolError("The credential knows no next key of Central.")
        shake = ClientHandshake(credential, key, entropy(KEY_SIZE), binding=binding, offered=offered)
        claims = Claims(boot_id, conn_no, checkpoint, outbox_epoch)
        opening = ClientOpening(shake, claims, now=now, entropy=entropy, limits=limits, key_log=key_log)
        self = cls(opening, now)
        self.role, self.username, self.entity = credential.role, credential.username, credential.entity
        self._collect(opening)
        return self

    @classmethod
    def server(
        cls,
        credential: Credential,
        *,
        now: float,
        entropy: Entropy,
        binding: bytes = b"",
        limits: Limits = _DEFAULTS,
        checkpoint: Callable[[], bytes] | None = None,
    ) -> Self:
        """Central's side of an accepted connection, with Central's own credential.

        ``checkpoint`` gives the newest checkpoint of its log for PONGs.
        """
        self = cls(ServerOpening(credential, now=now, entropy=entropy, binding=binding, limits=limits), now)
        if checkpoint is not None:
            self._checkpoint = checkpoint
        return self

    # --- state ---

    @property
    def ready(self) -> bool:
        """READY went both ways and nothing ended it: ``send`` works."""
        return self._dialogue is not None

    def channel_ms(self, now: float) -> int:
        """The channel clock in UTC milliseconds; runs on after the end. LocalProtocolError before SESSION."""
        if self._channel is None:
            raise LocalProtocolError("There is no channel clock before SESSION.")
        return self._channel.clock_ms(now)

    # --- bytes ---

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the stream, cut anywhere. Call ``next_event`` until None before the next call."""
        if not self.closed:
            self._now = now
            self._frames.feed(data)

    def receive_eof(self, now: float) -> None:
        """The stream has ended. Without a CLOSE before it that is truncation (SPEC §4.9)."""
        if not self.closed:
            self._now = now
            why = "the stream ended without CLOSE" if self.ready else "the stream ended during the handshake"
            self._end()
            self._event = ChannelClosed(None, False, why)

    def data_to_send(self) -> bytes:
        """Take the bytes that are to be written now."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self.pending_bytes = 0
        return data

    def next_event(self) -> Event | None:
        """The next event, or None when more bytes are needed.

        Raises RemoteProtocolError once; the connection is closed then, and ``data_to_send`` holds the CLOSE or
        ALERT if one is due.
        """
        waiting = self._event
        if waiting is not None:
            self._event = None
            if isinstance(waiting, RemoteProtocolError):
                raise waiting
            return waiting
        try:
            while (frame := self._frames.next_frame()) is not None:
                event = self._shake(*frame) if self._dialogue is None else self._token(*frame)
                if event is not None:
                    return event
        except RemoteProtocolError as error:
            self._fail(error)
            raise
        return None

    def send(self, message: Message, now: float) -> None:
        """Seal a message. Raises LocalProtocolError if the channel is not open or the message is not legal."""
        if self._dialogue is None:
            raise LocalProtocolError(f"`{codec.tag_of(type(message))}` needs an open channel.")
        body = self._dialogue.write(message)
        if len(body) > max_body(self._limits.max_frame):
            raise LocalProtocolError(f"`{codec.tag_of(type(message))}` of {len(body)} bytes fits in no frame.")
        self._seal(token.APP, body, now)

    def close(self, code: CloseCode, now: float) -> None:
        """End it now, with an authenticated CLOSE where a channel exists. No event follows."""
        if not self.closed:
            if self._channel is not None:
                self._seal(token.CLOSE, token.close_body(code), now)
            self._end()

    # --- time ---

    def expire_by(self, moment: float) -> None:
        """Close with EXPIRED at this monotonic second at the latest: the peer's credential ends then."""
        self._expires = min(self._expires, moment)

    def get_timer(self) -> float | None:
        """Monotonic second at which ``handle_timer`` has to be called; None when closed."""
        if self._opening is not None:
            return self._opening.deadline()
        if self._dialogue is None:
            return None
        limits, last = self._limits, self.last_received
        due = min(max(last, self._pinged) + limits.ping_s, last + limits.dead_s, self._expires)
        return min(due, self._asked + limits.witness_s) if self._client else due

    def handle_timer(self, now: float) -> None:
        """Do what is due: PING a silent peer, give up a dead one, end a handshake or channel that is too old."""
        due = self.get_timer()
        if due is None or now < due:
            return
        self._now = now
        if self._opening is not None:
            self._event = TimedOut(CloseCode.TIMEOUT, f"The peer's {self._opening.waits_for} took too long.")
            self._fail(self._event)
        elif now >= self._expires:
            self.close(CloseCode.EXPIRED, now)
            self._event = ChannelClosed(CloseCode.EXPIRED, True, "the channel is due for a fresh handshake")
        elif now >= self.last_received + self._limits.dead_s:
            self._event = TimedOut(CloseCode.TIMEOUT, f"The peer was silent for {self._limits.dead_s:g} s.")
            self._fail(self._event)
        else:
            self._pinged = self._asked = now
            self._seal(token.PING, b"", now)

    # --- Central's answers ---

    def reply_hello(self, central_time_ms: int, now: float) -> None:
        """After HelloReceived: verify HELLO and answer. A bad one closes; ``next_event`` then raises why."""
        opening = self._central()
        self._now = now
        try:
            opening.reply(central_time_ms)
        except RemoteProtocolError as error:
            self._collect(opening)
            self._end()
            self._event = error
        else:
            self._collect(opening)

    def accept(self, grant: Grant, now: float) -> None:
        """After AuthPresented: open the channel. Established follows when the peer's READY is verified."""
        opening = self._central()
        self._now = now
        opening.accept(grant, now)
        self._collect(opening)

    def refuse(self, code: RefuseCode, retry_after_s: int, now: float) -> None:
        """Say no, and close. Authenticated after AuthPresented; before it an ALERT, which is a hint only."""
        opening = self._central()
        self._now = now
        opening.refuse(code, retry_after_s)
        self._collect(opening)
        self._end()

    # --- inside ---

    def _central(self) -> ServerOpening:
        if not isinstance(self._opening, ServerOpening):
            raise LocalProtocolError("Only Central answers a handshake, and only before READY.")
        return self._opening

    def _shake(self, kind: int, body: bytes) -> Event | None:
        """One frame before READY."""
        opening = self._opening
        assert opening is not None
        event = opening.receive(kind, body, self._now)
        self._collect(opening)
        if isinstance(event, AuthPresented):
            self.role, self.username, self.entity = event.role, event.username, event.entity
        elif isinstance(event, Established):
            self.last_received = self._pinged = self._asked = self._now
            self._dialogue = Dialogue(self.role, central=not self._client)
            self._opening = None
        elif isinstance(event, RefusedByCentral | ChannelClosed):
            self._end()
        return event

    def _collect(self, opening: ClientOpening | ServerOpening) -> None:
        """Take over what a step of the opening has made."""
        if opening.out:
            self._write(opening.out)
            opening.out = b""
        if self._channel is None and opening.channel is not None:
            self._channel = opening.channel
            self._limits = opening.limits
            self._frames.limit = opening.limits.max_frame
            self._expires = self._now + opening.limits.channel_s

    def _token(self, frame: int, body: bytes) -> Event | None:
        """One frame of an open channel."""
        channel, dialogue, now = self._channel, self._dialogue, self._now
        assert channel is not None and dialogue is not None
        if frame != DATA:
            raise UnexpectedMessage(CloseCode.PROTOCOL, f"A frame of type {frame} inside the channel.")
        kind, data = channel.open(body, now)
        self.last_received = now
        self.tokens_received += 1
        if kind == token.APP:
            try:
                return MessageReceived(dialogue.read(data), len(body) + HEAD_SIZE)
            except codec.UnknownType as unknown:
                if not self._client:
                    self._complain("unknown_type", str(unknown), unknown.re)
                return None
        if kind == token.CLOSE:
            self._end()
            return token.closed_by(data)
        if kind == token.PING:
            self._seal(token.PONG, self._checkpoint(), now)
        elif kind == token.PONG:
            if data and self._client and len(data) <= MAX_CHECKPOINT:
                return CheckpointSeen(data)
        elif kind != token.KEY_UPDATE:
            raise UnexpectedMessage(CloseCode.PROTOCOL, f"A token of kind {kind} inside the channel.")
        return None

    def _seal(self, kind: int, body: bytes, now: float) -> None:
        assert self._channel is not None
        self._write(self._channel.seal(kind, body, now))

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        self.pending_bytes += len(data)

    def _complain(self, code: str, sentence: str, re: int | str | None) -> None:
        self._seal(token.APP, codec.encode(Error(code=code, sentence=sentence, re=re)), self._now)

    def _fail(self, error: RemoteProtocolError) -> None:
        """The peer's fault. A peer that has not proven itself to Central gets no reply (SPEC §5.2)."""
        if self._channel is not None and (self._client or self.ready):
            # Only Central has the message `error`; a client's objection is its CLOSE.
            if not self._client and isinstance(error, MalformedMessage):
                self._complain("malformed", error.message, error.re)
            elif not self._client and isinstance(error, UnexpectedMessage):
                self._complain("unexpected", error.message, error.re)
            self._seal(token.CLOSE, token.close_body(error.code), self._now)
        self._end()

    def _end(self) -> None:
        self.closed = True
        self._frames.clear()
        # The channel stays for its clock: leases run on after the link is cut.
        self._dialogue = self._opening = None


def _nothing() -> bytes:
    """No checkpoint."""
    return b""
