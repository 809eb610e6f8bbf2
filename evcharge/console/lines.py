"""What a person or a script types: JSON objects are messages, ``!`` raw bytes, ``/`` asks the console itself.

A line that cannot be sent gets one sentence that names the possibilities. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from evcharge.console.rows import KIND_NAMES, value_text
from evcharge.text import did_you_mean, escaped
from protocol import codec
from protocol.cipher import max_body
from protocol.credentials import Role
from protocol.errors import LocalProtocolError
from protocol.frames import MAX_FRAME
from protocol.messages import Message
from protocol.states import TURNS, State, allowed

# Longest line that is read, in bytes: hex of the longest frame with its length field, and the command before it.
MAX_LINE = 2 * (MAX_FRAME + 4) + 64
# Longest body of a message or token. SPEC §3.1
MAX_BODY = max_body(MAX_FRAME)
# Characters of what was typed that a sentence repeats.
_SHOWN = 40

COMMANDS = {
    "/help": "this text",
    "/types": "what may be sent now; `/types charge_request` shows its fields",
    "/clock": "the channel clock",
    "/quit": "close the channel and leave (so does the end of input)",
}
HELP = """\
One JSON object a line is one message: {"type":"list"}. An `id` that is missing is filled in.
"""
RAW_HELP = """\
With --raw: any JSON value is sent as msgpack; `!hex 00000001…` writes bytes on the connection as they are;
`!token KIND HEX` seals a token of a kind (0 to 255, or a name like ping) with a body in hex.
"""


class LineError(Exception):
    """The line is not sent; one sentence, safe for a terminal."""


class Say(NamedTuple):
    """A message. ``legal`` is the message as the protocol has it; None: only ``--raw`` sends ``body``."""

    name: str
    body: bytes
    legal: Message | None
    request: int | str | None
    """The ``id`` under which an answer is awaited."""


class Wire(NamedTuple):
    """Bytes for the connection as they are."""

    data: bytes


class Token(NamedTuple):
    """A token of any kind."""

    kind: int
    body: bytes


class Ask(NamedTuple):
    """Something for the console itself."""

    command: str
    argument: str


Line = Say | Wire | Token | Ask


class Reader:
    """Reads lines for one channel: knows its role, its state, and the next free ``id``."""

    def __init__(self, role: Role, *, raw: bool) -> None:
        self.role = role
        self.raw = raw
        self.state = State.READY
        self._last_id = 0

    def read(self, text: str) -> Line | None:
        """The line's meaning; None for an empty one and for a comment (#). Raises LineError."""
        text = text.strip()
        if not text or text.startswith("#"):
            return None
        if text.startswith("/"):
            return self._ask(text)
        if text.startswith("!"):
            return self._bytes(text)
        return self._say(text)

    def sent(self, message: Message) -> None:
        """A legal message went out: it may change what is legal."""
        self.state = TURNS.get(type(message), self.state)

    def legal(self) -> list[str]:
        """The types that may be sent now."""
        return sorted(map(codec.tag_of, allowed(self.role, self.state)))

    # --- what a line may be -----------------------------------------------------------------------------------------

    def _ask(self, text: str) -> Ask:
        word, _, argument = text.partition(" ")
        found = [name for name in COMMANDS if name.startswith(word)] if len(word) > 1 else []
        if word in COMMANDS or len(found) == 1:
            return Ask(word if word in COMMANDS else found[0], argument.strip())
        raise LineError(f"There is no {_short(word)}; there are {', '.join(COMMANDS)}.")

    def _bytes(self, text: str) -> Wire | Token:
        if not self.raw:
            raise LineError("Lines with ! send raw bytes: start evcharge-nc with --raw for that.")
        word, _, rest = text.partition(" ")
        if word == "!hex":
            data = _hex(rest)
            if not data:
                raise LineError("`!hex` needs bytes, like `!hex 00000001 10`.")
            return Wire(data)
        if word == "!token":
            name, _, rest = rest.strip().partition(" ")
            body = _hex(rest)
            if len(body) > MAX_BODY:
                raise LineError(f"A body of {len(body)} bytes fits in no frame; at most {MAX_BODY} do.")
            return Token(_kind(name), body)
        raise LineError(f"There is no {_short(word)}; there are `!hex BYTES` and `!token KIND BYTES`.")

    def _say(self, text: str) -> Say:
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            why = "it is nested too deep" if isinstance(error, RecursionError) else escaped(str(error))
            raise LineError(f'This is no JSON ({why}); a message looks like {{"type":"list"}}.') from None
        try:
            message = self._typed(value)
        except LineError:
            if not self.raw:
                raise
            message = None
        if message is None:
            name = str(value.get("type", "?")) if isinstance(value, dict) else "?"
            request = codec.request_id(value.get("id")) if isinstance(value, dict) else None
            return Say(name, _checked(name, _pack(value)), None, request)
        name = codec.tag_of(type(message))
        try:
            body = codec.encode(message)
        except LocalProtocolError as error:
            raise LineError(escaped(str(error))) from None
        return Say(name, _checked(name, body), message, codec.request_id(getattr(message, "id", None)))

    def _typed(self, value: object) -> Message:
        """A message that the protocol allows here and now."""
        if not isinstance(value, dict):
            raise LineError('A message is a JSON object with a type, like {"type":"list"}.')
        name = value.get("type")
        if not isinstance(name, str):
            raise LineError(f"The object has no `type`. {self._possible()}")
        kind = codec.KNOWN.get(name)
        if kind is None:
            raise LineError(f"There is no type `{_short(name)}`{did_you_mean(name, codec.KNOWN)} {self._possible()}")
        if kind not in allowed(self.role, self.state):
            raise LineError(f"`{name}` is not legal now. {self._possible()}{self._hint()}")
        fields = [field.name for field in msgspec.structs.fields(kind)]
        for given in value:
            if given != "type" and given not in fields:
                near = did_you_mean(given, fields)
                raise LineError(f"`{name}` has no field `{_short(given)}`{near} It has {describe(kind)}.")
        if "id" in fields and "id" not in value:
            self._last_id += 1
            value = {**value, "id": self._last_id}
        try:
            message = msgspec.convert(value, kind)
        except (msgspec.ValidationError, RecursionError) as error:
            raise LineError(f"`{name}`: {escaped(str(error))}. It has {describe(kind)}.") from None
        number = getattr(message, "id", None)
        if isinstance(number, int):
            self._last_id = max(self._last_id, number)
        return message

    def _possible(self) -> str:
        return f"Role {self.role.label} may now send {', '.join(self.legal())}."

    def _hint(self) -> str:
        later = codec.of_role(self.role)
        more = len(later) > len(allowed(self.role, self.state))
        return (" Everything else of the role comes after boot." if more else "") + " --raw sends it all the same."


def describe(kind: type[Message]) -> str:
    """The fields of a message class, those that are needed first."""
    fields = msgspec.structs.fields(kind)
    needed = [
        "id" if field.name == "id" else f"{field.name}{_choice(field.type)} (needed)"
        for field in fields
        if field.required
    ]
    others = [
        f"{field.name}={value_text(field.default)}"
        for field in fields
        if not field.required and field.default is not msgspec.NODEFAULT
    ]
    return ", ".join(needed + others) or "no fields"


def _choice(kind: object) -> str:
    """What a field may be, when that is one of a few words."""
    return f" ({'|'.join(map(str, get_args(kind)))})" if get_origin(kind) is Literal else ""


def help_lines(*, raw: bool) -> Iterable[str]:
    """What /help shows."""
    yield from HELP.splitlines()
    if raw:
        yield from RAW_HELP.splitlines()
    for name, what in COMMANDS.items():
        yield f"  {name:<8}{what}"


def type_lines(reader: Reader, name: str) -> Iterable[str]:
    """What /types shows, for all types that are legal now or for one. Raises LineError."""
    for legal in [name] if name else reader.legal():
        kind = codec.KNOWN.get(legal)
        if kind is None:
            raise LineError(f"There is no type `{_short(legal)}`{did_you_mean(legal, codec.KNOWN)}")
        yield f"  {legal:<17}{describe(kind)}"


def _pack(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, TypeError, ValueError, RecursionError):
        raise LineError(
            "This value cannot be written as msgpack: a number is too large, or it is nested deep."
        ) from None


def _checked(name: str, body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise LineError(f"`{_short(name)}` of {len(body)} bytes fits in no frame; at most {MAX_BODY} do.")
    return body


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise LineError(
            "After `!hex` and `!token KIND` come pairs of hex digits; blanks between them are fine."
        ) from None


def _kind(name: str) -> int:
    if name.upper() in KIND_NAMES:
        return KIND_NAMES.index(name.upper())
    if name.isascii() and name.isdigit() and len(name) <= 3 and int(name) < 256:
        return int(name)
    names = ", ".join(f"{number} {kind.lower()}" for number, kind in enumerate(KIND_NAMES))
    raise LineError(f"A kind of token is 0 to 255; known are {names}.")


def _short(text: str) -> str:
    shown = escaped(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
