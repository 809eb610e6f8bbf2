"""From JSON, a query or a path to a typed struct, with everything that is wrong named at once.

``msgspec`` stops at the first mistake; who fills in a form wants to hear of all. So each field is judged for itself.
"""

from __future__ import annotations

import difflib
import functools
import operator
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import FieldInfo
from msgspec.structs import fields as fields_of

from evcharge.sidecar.web.problem import bad_fields, bad_request

T = TypeVar("T", bound=msgspec.Struct)

# Most bad fields that an answer names: whoever sends more did not mean them.
NAMED = 20
# Longest name of a field that is said again, in characters.
NAME_CHARS = 40


def decode_object(data: bytes) -> dict[str, object]:
    """A JSON object.

    Raises:
        Problem: it is no JSON, no object, or nested deeper than anything that is asked for here.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise bad_request('The body is not JSON; send an object like {"name": "value"}.') from None
    if not isinstance(value, dict):
        raise bad_request("The body is JSON, but not an object.")
    return value


def read(given: Mapping[str, object], kind: type[T], *, text: bool = False) -> T:
    """``given`` as a ``kind``; with ``text`` its values are words of a query or a path.

    Raises:
        Problem: names every bad, missing and unknown field.
    """
    known = _fields(kind)
    bad: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name not in given:
            if field.required:
                bad[name] = "is missing."
            continue
        try:
            values[field.name] = _convert(given[name], field.type, text=text)
        except msgspec.ValidationError as error:
            bad[name] = _why(error, field.type)
    for name in given:
        if name not in known and len(bad) < NAMED:
            bad[_safe(name)] = _unknown(name, known)
    if bad:
        raise bad_fields(dict(list(bad.items())[:NAMED]))
    try:
        return kind(**values)
    except ValueError as error:
        # Rules between fields (``__post_init__``) begin with the name of the field that they are about.
        name, _, why = str(error).partition(" ")
        raise bad_fields({name: f"{why}."}) from None


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    """By the names that they have outside; a handful of types, each looked at once."""
    return {field.encode_name: field for field in fields_of(kind)}


def _convert(value: object, kind: Any, *, text: bool) -> Any:
    """Raises ValidationError."""
    if text:
        # A query has no null: "null" is a word like any other.
        return _whole(msgspec.convert(value, without_none(kind), strict=False), kind)
    if isinstance(value, float) and value.is_integer():
        # To JSON 1.0 is a whole number like 1 (JSON Schema 2020-12 §4.2.3).
        try:
            return msgspec.convert(int(value), kind)
        except msgspec.ValidationError:
            pass
    return _whole(msgspec.convert(value, kind), kind)


def _whole(value: Any, kind: Any) -> Any:
    """A text that fits its pattern to the end: ``$`` alone lets one line break more pass. Raises ValidationError."""
    if isinstance(value, str) and value.endswith("\n") and "pattern" in repr(kind):
        raise msgspec.ValidationError("Expected a text that does not end in a line break")
    return value


def without_none(kind: Any) -> Any:
    """The type without the None that says "may be left out"."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    rest = [part for part in typing.get_args(kind) if part is not type(None)]
    return functools.reduce(operator.or_, rest)


def _why(error: msgspec.ValidationError, kind: Any) -> str:
    """What msgspec says, as the end of a sentence that begins with the field's name."""
    said, _, where = str(error).partition(" - at ")
    if choices := _choices(kind):
        return f"is one of {', '.join(choices)}."
    if wanted := _described(kind):
        return f"is {wanted}."
    said = said.removeprefix("Expected ").replace("`", "").replace(", got ", ", not ")
    place = "" if where in ("", "`$`") else f" (at {where.strip('`')})"
    return f"has to be {said}{place}."


def _choices(kind: Any) -> list[str]:
    """The words of a ``Literal``, also where None is allowed."""
    if typing.get_origin(kind) is typing.Literal:
        return [str(word) for word in typing.get_args(kind)]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [word for part in typing.get_args(kind) for word in _choices(part)]
    return []


def _described(kind: Any) -> str:
    """What the declaration says in words, in place of a regular expression."""
    for one in typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,):
        for note in getattr(one, "__metadata__", ()):
            if isinstance(note, msgspec.Meta) and note.description:
                return str(note.description)
    return ""


def _unknown(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name[:NAME_CHARS], known, 1)
    return f"is not known; did you mean {close[0]}?" if close else "is not known."


def _safe(name: str) -> str:
    """A name that a stranger chose, as it may stand in an answer."""
    shown = "".join(char if char.isprintable() else "?" for char in name[:NAME_CHARS])
    return shown or "(empty)"
