"""What the two sides of an open channel may say to each other: legality, then msgpack (SPEC §7.1, §7.2)."""

from __future__ import annotations

from protocol import codec
from protocol.credentials import Role
from protocol.errors import LocalProtocolError
from protocol.messages import Message
from protocol.states import FROM_CENTRAL, TURNS, State, allowed


class Dialogue:
    """Reads and writes messages for one side; ``role`` is the peer's that talks with Central."""

    __slots__ = ("_central", "_decode", "_incoming", "_outgoing", "_role")

    def __init__(self, role: Role, *, central: bool) -> None:
        self._role = role
        self._central = central
        self._incoming = allowed(role, State.READY)
        self._outgoing = FROM_CENTRAL[role]
        if not central:
            self._incoming, self._outgoing = self._outgoing, self._incoming
        self._decode = (codec.FROM_PEER if central else codec.FROM_SERVER)[role]

    def read(self, data: bytes) -> Message:
        """The message in ``data``. Raises MalformedMessage, UnexpectedMessage, or UnknownType, which is not fatal."""
        try:
            message = self._decode(data)
        except codec.UNDECODABLE as error:
            legal = codec.of_role(self._role) if self._central else self._incoming
            raise codec.explain(data, error, legal) from None
        kind = type(message)
        if kind not in self._incoming:
            raise codec.unexpected(codec.tag_of(kind), codec.request_id(getattr(message, "id", None)))
        if kind in TURNS and self._central:
            self._incoming = allowed(self._role, TURNS[kind])
        return message

    def write(self, message: Message) -> bytes:
        """The bytes of ``message``. Raises LocalProtocolError if this side may not send it now."""
        kind = type(message)
        if kind not in self._outgoing:
            raise LocalProtocolError(f"`{codec.tag_of(kind)}` is not legal here now (SPEC §7.2).")
        data = codec.encode(message)
        if kind in TURNS and not self._central:
            self._outgoing = allowed(self._role, TURNS[kind])
        return data
