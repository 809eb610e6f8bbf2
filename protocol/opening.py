"""The way from the first byte to READY, for both sides (SPEC §4): which frame is due, and what answers it.

A connection drops its opening when READY went both ways, so an idle one carries no handshake state.
"""

from __future__ import annotations

from enum import Enum, auto

from protocol import channel as token
from protocol import frames
from protocol.channel import Channel
from protocol.cipher import Entropy
from protocol.credentials import KEY_SIZE, Credential, key_id
from protocol.errors import (
    CloseCode,
    LocalProtocolError,
    RefuseCode,
    RemoteProtocolError,
    UnexpectedMessage,
    UnsupportedVersion,
    refuse_code,
)
from protocol.events import Established, Event, Grant, HelloReceived, Limits, RefusedByCentral
from protocol.handshake import Claims, ClientHandshake, Hello, ServerHandshake, parse_hello
from protocol.keylog import EpochKeys, KeyLog


class Phase(Enum):
    """What an opening waits for."""

    HELLO = auto()
    """Server: a HELLO."""
    SLOT = auto()
    """Server: ``reply`` of its owner."""
    REPLY = auto()
    """Client: a REPLY."""
    AUTH = auto()
    """Server: an AUTH."""
    VERDICT = auto()
    """Server: ``accept`` or ``refuse`` of its owner."""
    SESSION = auto()
    """Client: SESSION or REFUSE."""
    READY = auto()
    """Both: the peer's READY."""


class Opening:
    """What both sides share. ``out`` collects the frames to write; ``channel`` appears with SESSION."""

    __slots__ = ("_entropy", "_grant", "_phase", "_since", "channel", "limits", "out")

    def __init__(self, phase: Phase, now: float, entropy: Entropy, limits: Limits) -> None:
        self._phase = phase
        self._since = now
        self._entropy = entropy
        self._grant: Grant | None = None
        self.limits = limits
        self.channel: Channel | None = None
        self.out = b""

    @property
    def waits_for(self) -> str:
        """What is due next, in words."""
        return self._phase.name

    def deadline(self) -> float:
        """Monotonic second at which the patience ends; absolute, no trickle of bytes extends it (SPEC §5.1)."""
        hello = self._phase is Phase.HELLO
        return self._since + (self.limits.hello_s if hello else self.limits.handshake_s)

    def receive(self, kind: int, body: bytes, now: float) -> Event | None:
        """Take one frame. Raises RemoteProtocolError for every frame but the one that is due."""
        raise NotImplementedError

    def _frame(self, kind: int, body: bytes) -> None:
        self.out += frames.encode_frame(kind, body)

    def _start(self, grant: Grant, sending: bytes, receiving: bytes, now: float) -> Channel:
        """SESSION was written or read: the channel and its clock exist from now on."""
        self.channel = Channel(
            sending=sending,
            receiving=receiving,
            t0_ms=grant.t0_ms,
            now=now,
            limits=self.limits,
            entropy=self._entropy,
        )
        # Nobody needs Central's part of the keys any more.
        self._grant = Grant(
            sid=grant.sid,
            secret=b"",
            t0_ms=grant.t0_ms,
            fence=grant.fence,
            next_n=grant.next_n,
            checkpoint=grant.checkpoint,
        )
        self._phase = Phase.READY
        return self.channel


class ClientOpening(Opening):
    """The connecting side; HELLO is in ``out`` at once."""

    __slots__ = ("_claims", "_key_log", "_shake")

    def __init__(
        self,
        shake: ClientHandshake,
        claims: Claims,
        *,
        now: float,
        entropy: Entropy,
        limits: Limits,
        key_log: KeyLog | None = None,
    ) -> None:
        super().__init__(Phase.REPLY, now, entropy, limits)
        self._key_log = key_log
        self._shake = shake
        self._claims = claims
        self._frame(frames.HELLO, shake.hello())

    def receive(self, kind: int, body: bytes, now: float) -> Event | None:
        """Take one frame: None, Established or RefusedByCentral."""
        phase = self._phase
        if phase is Phase.REPLY and kind == frames.REPLY:
            self._frame(frames.AUTH, self._shake.auth(body, self._claims))
            self._phase = Phase.SESSION
            return None
        if phase is Phase.SESSION and kind in (frames.SESSION, frames.REFUSE):
            outcome = self._shake.finish(kind, body, self.limits)
            if isinstance(outcome, RefusedByCentral):
                return outcome
            grant, secrets, self.limits = outcome
            channel = self._start(grant, secrets.c2s, secrets.s2c, now)
            if self._key_log is not None:
                channel.log_keys(EpochKeys(grant.sid, self._key_log))
            self.out += channel.seal(token.READY, b"", now)
            return None
        if phase is Phase.READY and kind == frames.DATA:
            assert self.channel is not None and self._grant is not None
            opened, rest = self.channel.open(body, now)
            if opened == token.CLOSE:
                # Central may change its mind between SESSION and READY, when it drains for example.
                return token.closed_by(rest)
            if opened == token.READY:
                return Established(self._grant)
        if phase is not Phase.READY and kind == frames.ALERT:
            raise _hint(body)
        raise UnexpectedMessage(CloseCode.PROTOCOL, f"Frame type {kind} while {self.waits_for} is due.")


class ServerOpening(Opening):
    """Central's side. Nothing is written that a stranger could use: a bad frame raises and gets no reply."""

    __slots__ = ("_binding", "_credential", "_hello", "_shake")

    def __init__(self, credential: Credential, *, now: float, entropy: Entropy, binding: bytes, limits: Limits) -> None:
        super().__init__(Phase.HELLO, now, entropy, limits)
        self._credential = credential
        self._binding = binding
        self._hello: Hello | None = None
        self._shake: ServerHandshake | None = None

    def receive(self, kind: int, body: bytes, now: float) -> Event | None:
        """Take one frame: HelloReceived, AuthPresented or Established."""
        phase = self._phase
        if phase is Phase.HELLO and kind == frames.HELLO:
            self._hello = parse_hello(body, key_id(self._credential.public_key()))
            self._phase = Phase.SLOT
            return HelloReceived()
        if phase is Phase.AUTH and kind == frames.AUTH and self._shake is not None:
            presented = self._shake.auth(body)
            self._phase = Phase.VERDICT
            return presented
        if phase is Phase.READY and kind == frames.DATA:
            assert self.channel is not None and self._grant is not None
            opened, _ = self.channel.open(body, now)
            if opened == token.READY:
                self.out += self.channel.seal(token.READY, b"", now)
                return Established(self._grant)
        raise UnexpectedMessage(CloseCode.PROTOCOL, f"Frame type {kind} while {self.waits_for} is due.")

    def reply(self, central_time_ms: int) -> None:
        """Verify HELLO and answer it. Raises AuthenticationFailed, or UnsupportedVersion with an ALERT."""
        if self._phase is not Phase.SLOT or self._hello is None:
            raise LocalProtocolError("There is no HELLO to answer.")
        ephemeral = self._entropy(KEY_SIZE)
        self._shake = ServerHandshake(self._credential, self._hello, ephemeral, binding=self._binding)
        try:
            self._frame(frames.REPLY, self._shake.reply(central_time_ms))
        except UnsupportedVersion:
            # The offer is authentic, so this is an honest peer of another version: it may know why.
            self._frame(frames.ALERT, bytes([RefuseCode.VERSION]))
            raise
        self._hello = None
        self._phase = Phase.AUTH

    def accept(self, grant: Grant, now: float) -> None:
        """Write SESSION. Raises LocalProtocolError unless AUTH waits for an answer."""
        body, secrets = self._presented().session(grant, self.limits)
        self._frame(frames.SESSION, body)
        self._start(grant, secrets.s2c, secrets.c2s, now)
        self._shake = None

    def refuse(self, code: RefuseCode, retry_after_s: int) -> None:
        """Write REFUSE; before AUTH an ALERT, which is a hint only. Raises LocalProtocolError after SESSION."""
        if self._phase is Phase.VERDICT:
            self._frame(frames.REFUSE, self._presented().refuse(code, retry_after_s))
        elif self._phase is Phase.READY:
            raise LocalProtocolError("It is too late to refuse: close the channel instead.")
        else:
            self._frame(frames.ALERT, bytes([code]))

    def _presented(self) -> ServerHandshake:
        if self._phase is not Phase.VERDICT or self._shake is None:
            raise LocalProtocolError("No AUTH waits for an answer.")
        return self._shake


def _hint(body: bytes) -> RemoteProtocolError:
    """An ALERT in words. Anybody on the way can write one, so it must change no policy (SPEC §3.2)."""
    code = refuse_code(body[0]) if len(body) == 1 else None
    sentence = f"Central, or somebody on the way, hints: {'nothing known' if code is None else code.name}."
    if code is RefuseCode.VERSION:
        return UnsupportedVersion(CloseCode.PROTOCOL, sentence)
    return UnexpectedMessage(CloseCode.PROTOCOL, sentence)
