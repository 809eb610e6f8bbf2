"""Messages to msgpack and back, with one validating decoder per role (SPEC §7.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, Final

import msgspec

from protocol.credentials import Role
from protocol.errors import CloseCode, LocalProtocolError, MalformedMessage, ProtocolError, UnexpectedMessage
from protocol.messages import MAX_COUNT, MAX_ID, Message
from protocol.states import ALLOWED, FROM_CENTRAL, Messages

# What msgspec raises for bytes that are no legal message; RecursionError is its answer to deep nesting.
UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# Longest part of the decoder's sentence that is passed on; it may quote the peer. SPEC §7.1
_MAX_DETAIL = 160

Decode = Callable[[bytes], Message]


class UnknownType(ProtocolError):
    """A well-formed message of a type that this version does not know: answered and survived (SPEC §7.1)."""

    def __init__(self, name: str, re: int | str | None) -> None:
        super().__init__(f"The type `{name}` is not known here.")
        self.re = re


class _Head(msgspec.Struct):
    """The two fields that decide what becomes of a message that could not be decoded."""

    type: str
    id: Any = None


_ENCODE = msgspec.msgpack.Encoder().encode
_HEAD = msgspec.msgpack.Decoder(_Head).decode


def tag_of(message: type[Message]) -> str:
    """The ``type`` of a message class on the wire."""
    return str(message.__struct_config__.tag)


def _decoder(messages: Messages) -> Decode:
    # Sorted, because the order of a set differs from run to run.
    ordered = sorted(messages, key=tag_of)
    union: Any = reduce(or_, ordered)
    decode: Decode = msgspec.msgpack.Decoder(union).decode
    return decode


def of_role(role: Role) -> Messages:
    """Everything that a peer of this role may ever send to Central."""
    return frozenset().union(*(legal for (who, _), legal in ALLOWED.items() if who is role))


# Decoder of what a peer of this role sends to Central, and of what Central sends to it.
FROM_PEER: Final[dict[Role, Decode]] = {role: _decoder(of_role(role)) for role in FROM_CENTRAL}
FROM_SERVER: Final[dict[Role, Decode]] = {role: _decoder(legal) for role, legal in FROM_CENTRAL.items()}

# Every type of this version, whoever may send it.
KNOWN: Final = {tag_of(kind): kind for kind in frozenset().union(*ALLOWED.values(), *FROM_CENTRAL.values())}


def encode(message: Message) -> bytes:
    """The msgpack bytes of a message. Raises LocalProtocolError for text that is not Unicode."""
    try:
        return _ENCODE(message)
    except (UnicodeEncodeError, OverflowError) as error:
        name = tag_of(type(message))
        raise LocalProtocolError(f"A field of `{name}` cannot be written: {error.__class__.__name__}.") from None


def explain(data: bytes, error: Exception, legal: Messages) -> ProtocolError:
    """The exception for ``data`` that could not be decoded; ``error`` is the decoder's (one of UNDECODABLE).

    UnknownType for a type that nobody knows, UnexpectedMessage for one that is not in ``legal``, else
    MalformedMessage.
    """
    try:
        head = _HEAD(data)
    except UNDECODABLE:
        return _malformed("it is no map with a type", error, None)
    re = request_id(head.id)
    kind = KNOWN.get(head.type)
    if kind is None:
        return UnknownType(head.type[:MAX_ID], re)
    if kind not in legal:
        return unexpected(head.type, re)
    return _malformed(f"`{head.type}`", error, re)


def unexpected(name: str, re: int | str | None) -> UnexpectedMessage:
    """The error for a legal message at the wrong time or from the wrong role."""
    return UnexpectedMessage(CloseCode.PROTOCOL, f"`{name}` is not legal from this peer now.", re)


def request_id(value: object) -> int | str | None:
    """``value`` if it can be the ``id`` of a request, else None."""
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    if type(value) is str and 1 <= len(value) <= MAX_ID:
        return value
    return None


def _malformed(what: str, error: Exception, re: int | str | None) -> MalformedMessage:
    detail = "nested too deep" if isinstance(error, RecursionError) else str(error)[:_MAX_DETAIL]
    return MalformedMessage(CloseCode.PROTOCOL, f"A message is malformed, {what}: {detail}", re)
