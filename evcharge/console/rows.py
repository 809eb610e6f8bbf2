"""One thing that happened on the wire, as a JSON object for scripts and as a line for people.

Whatever the peer wrote is escaped here and nowhere else: in JSON everything outside ASCII is ``\\uXXXX``, in lines
everything that a terminal would obey.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from evcharge.text import escaped
from protocol import frames
from protocol.errors import close_code
from protocol.keylog import C2S, S2C

FRAME_NAMES: Final = {
    frames.HELLO: "HELLO",
    frames.REPLY: "REPLY",
    frames.AUTH: "AUTH",
    frames.SESSION: "SESSION",
    frames.REFUSE: "REFUSE",
    frames.DATA: "DATA",
    frames.ALERT: "ALERT",
}
KIND_NAMES: Final = ("APP", "KEY_UPDATE", "PING", "PONG", "CLOSE", "READY")
ARROWS: Final = {C2S: "→", S2C: "←", "": "·"}
# Deepest nesting of a message that is shown; SPEC §7.1 lets a reader refuse more.
MAX_DEPTH = 100
# Bytes of one block that are shown in hex; a frame has up to 65,540. Sixteen lines fill half a terminal.
HEX_BYTES = 256
_PER_LINE = 16
# Characters of one line for people; what is longer is cut and says so. JSON lines are whole.
MAX_LINE = 2_000


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``t``: seconds since the start; ``dir``: c2s, s2c, or empty for what is no frame."""

    t: float
    dir: str = ""
    what: str
    """``frame``, ``message`` (a frame with a message in it), ``open``, ``end``, ``raw``, ``note`` or ``bad``."""
    frame: str | None = None
    size: int | None = None
    """Bytes on the wire."""
    at: int | None = None
    """Where the frame starts in its direction's stream, in bytes."""
    link: int | None = None
    """Number of the TCP connection in a capture."""
    kind: str | None = None
    epoch: int | None = None
    seq: int | None = None
    stamp_s: int | None = None
    """When the token was sealed, on the channel clock in UTC seconds; readable without a key."""
    message: dict[str, Any] | None = None
    fields: dict[str, Any] | None = None
    """What is known besides."""
    text: str | None = None
    """A sentence."""
    blocks: list[tuple[str, bytes]] | None = None
    """Name and bytes of what ``--hex`` shows."""


def to_json(row: Row) -> str:
    """One line of ASCII."""
    given: dict[str, Any] = {}
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if value is None or (name == "dir" and not value) or name == "blocks":
            continue
        given[name] = round(value, 6) if name == "t" else value
    for name, data in row.blocks or ():
        given[f"{name}_hex"] = data.hex()
    return json.dumps(given, separators=(",", ":"), ensure_ascii=True)


def to_lines(row: Row, *, hexdump: bool = False) -> Iterator[str]:
    """One line for people, then the bytes."""
    link = "" if row.link is None else f"#{row.link} "
    head = f"{link}{row.t:9.3f} {ARROWS.get(row.dir, '?')} "
    line = head + (" ".join(filter(None, _words(row))))
    yield line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}… ({len(line)} characters)"
    if hexdump:
        for name, data in row.blocks or ():
            yield from dump(name, data)


def _words(row: Row) -> Iterator[str]:
    if row.message is not None:
        fields = dict(row.message)
        kind = fields.pop("type", "?")
        yield f"{escaped(str(kind)):<15}"
        yield " ".join(f"{escaped(name)}={value_text(value)}" for name, value in fields.items())
    elif row.frame is not None:
        yield f"{row.kind or row.frame:<15}"
    elif row.what in ("open", "end", "bad"):
        yield row.what
    yield "" if row.fields is None else " ".join(f"{name}={value_text(value)}" for name, value in row.fields.items())
    yield "" if row.text is None else escaped(row.text)
    where = [] if row.seq is None else [f"seq {row.seq}"]
    where += [f"epoch {row.epoch}"] if row.epoch else []
    where += [f"{row.size} B"] if row.size is not None else []
    yield f"[{', '.join(where)}]" if where else ""


def value_text(value: object) -> str:
    """A value as compact JSON that a terminal can be shown."""
    if isinstance(value, str) and value and value.isascii() and value.replace("-", "").replace("_", "").isalnum():
        return value
    return escaped(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def dump(name: str, data: bytes, most: int = HEX_BYTES) -> Iterator[str]:
    """``data`` as in ``hexdump -C``, at most ``most`` bytes of it."""
    for start in range(0, min(len(data), most), _PER_LINE):
        part = data[start : min(start + _PER_LINE, most)]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"    {name if not start else '':<7} {start:04x}  {part.hex(' '):<{_PER_LINE * 3 - 1}}  |{shown}|"
    if len(data) > most:
        yield f"            … {len(data) - most} more of {len(data)} bytes"


def jsonable(value: object, depth: int = MAX_DEPTH) -> Any:
    """What msgpack decoded, as JSON has it. Bytes become ``{"hex": …}``, keys become text, NaN becomes text.

    Raises ValueError for more than ``depth`` levels.
    """
    if depth < 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): jsonable(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item, depth - 1) for item in value]
    return str(value)


def close_name(body: bytes) -> str:
    """The code of a CLOSE in words (SPEC §4.9)."""
    if not body:
        return "NORMAL"
    code = close_code(body[0])
    return f"code {body[0]}, which this version does not know" if code is None else code.name
