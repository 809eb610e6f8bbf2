"""Mistakes in a site file: each is one sentence that names the file, the line, the table and the field."""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from evcharge.text import did_you_mean, escaped

# Keys from the top of the file to a table or a field; numbers count the entries of a list from 0.
TomlPath = tuple[str | int, ...]
# Makes the error of a field of one table, from its name ("": the table itself) and the rest of the sentence.
Bad = Callable[[str, str], "BadSite"]

# Characters of a wrong value that a sentence repeats.
_SHOWN: Final = 40
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
# Characters of a file, and lines of a value in it, up to which a line number is looked for: what people write by hand.
_SEARCHED: Final = 100_000
_VALUE_LINES: Final = 100
_WORDS: Final = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}

_Tables = dict[str, Any]
# Which keys are tables; ``*``: any name. A feeder has no feeders, but people may try.
_FEEDER: Final[_Tables] = {"feeders": {"*": {}}}
_TABLES: Final[_Tables] = {
    "site": {},
    "substations": {"*": {"feeders": {"*": _FEEDER}}},
    "charge_points": {"*": {}},
    "tariff": {},
    "energy": {"battery": {}},
    "weather": {},
    "derating": {},
}


class BadSite(ValueError):
    """The site file or its flags cannot be used: one sentence that says what to mend."""


class Mistake(NamedTuple):
    """What does not fit the types: ``label_of(path)`` and ``what`` make the sentence."""

    path: TomlPath
    what: str
    place: TomlPath
    """Where to look: the field itself, where it stands in the file."""


class Source(NamedTuple):
    """A site file as text and as the table that it is."""

    name: str
    text: str
    table: Mapping[str, Any]

    def sentence(self, path: TomlPath, what: str, place: TomlPath | None = None) -> str:
        """A sentence about what stands at ``path``; ``place``: the line is that of something else."""
        line = self.line_of(path if place is None else place)
        label = label_of(path)
        where = f"the site file {self.name}" + ("" if line is None else f", line {line}")
        end = "" if what.endswith((".", "?")) else "."
        return f"{where}: {label}{' ' if label else ''}{what}{end}"

    def bad(self, path: TomlPath, what: str) -> BadSite:
        """The error for what stands at ``path``."""
        return BadSite(self.sentence(path, what))

    def at(self, *path: str | int) -> Bad:
        """Makes the errors of one table."""

        def make(field: str, what: str) -> BadSite:
            return self.bad((*path, field) if field else path, what)

        return make

    def line_of(self, path: TomlPath) -> int | None:
        """The line, from 1, on which what stands at ``path`` begins; None: it is not there, or that takes too long.

        The first lines of a TOML file are TOML as well, unless they end within a value. So, whatever way of writing
        tables and keys was chosen, it begins after the longest such beginning that does not have it.
        """
        if not path or len(self.text) > _SEARCHED or not _has(self.table, path):
            return None
        lines = self.text.split("\n")
        try:
            return bisect_left(range(len(lines) + 1), True, key=lambda count: _has(_table_from(lines, count), path))
        except _Lost:
            return None


class _Lost(Exception):
    """A value is too long to look for its end."""


def _table_from(lines: list[str], count: int) -> Mapping[str, Any]:
    """What the first ``count`` lines say, with as many more as it takes to end a value. Raises _Lost."""
    for more in range(_VALUE_LINES):
        with suppress(ValueError):
            return tomllib.loads("\n".join(lines[: count + more]))
    raise _Lost


def _has(value: Any, path: TomlPath) -> bool:
    for key in path:
        if isinstance(value, Mapping) and key in value:
            value = value[str(key)]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return False
    return True


def label_of(path: TomlPath) -> str:
    """A path as people find it in the file: ``[substations.north] backup, number 2``."""
    tables, depth = _TABLES, 0
    for key in path:
        inner = tables.get(str(key), tables.get("*"))
        if inner is None:
            break
        tables, depth = inner, depth + 1
    header = ".".join(map(_key, path[:depth]))
    fields = [f"number {key + 1}" if isinstance(key, int) else _key(key) for key in path[depth:]]
    return " ".join(part for part in (f"[{header}]" if header else "", ", ".join(fields)) if part)


def _key(key: str | int) -> str:
    text = str(key)
    return text if _BARE_KEY.fullmatch(text) else escaped(json.dumps(text, ensure_ascii=False))


def first_mistake(value: Any, kind: Any, path: TomlPath = ()) -> Mistake | None:
    """The first place, in the order of the file, at which ``value`` is no ``kind``; None: it is one all over."""
    kind = _without_none(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _mistake_in_table(value, kind, path)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is dict:
        if not isinstance(value, dict):
            return _no(path, "a table", value)
        return _first((each, inner[1], (*path, key)) for key, each in value.items())
    if origin is list:
        if not isinstance(value, list):
            return _no(path, "a list", value)
        return _first((each, inner[0], (*path, number)) for number, each in enumerate(value))
    if origin is tuple:
        if not isinstance(value, list) or len(value) != len(inner):
            return _no(path, f"a list of {len(inner)}", value)
        return _first((each, inner[number], (*path, number)) for number, each in enumerate(value))
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return _no(path, _WORDS[kind], value)
    return None


def _first(parts: Iterable[tuple[Any, Any, TomlPath]]) -> Mistake | None:
    return next((found for part in parts if (found := first_mistake(*part)) is not None), None)


def _mistake_in_table(value: Any, kind: type[msgspec.Struct], path: TomlPath) -> Mistake | None:
    if not isinstance(value, dict):
        return _no(path, "a table", value)
    hints = get_type_hints(kind)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, each in value.items():
        if key not in fields:
            no = "has no field" if path else "there is no table"
            return Mistake(path, f"{no} `{escaped(key)[:_SHOWN]}`{did_you_mean(key, fields)}", (*path, key))
        found = first_mistake(each, hints[fields[key].name], (*path, key))
        if found is not None:
            return found
    missing = next((name for name, field in fields.items() if field.required and name not in value), None)
    if missing is None:
        return None
    return Mistake(path, f"needs {missing}", path)


def _no(path: TomlPath, wanted: str, value: Any) -> Mistake:
    if isinstance(value, (dict, list)):
        shown = "a table" if isinstance(value, dict) else f"a list of {len(value)}"
    elif isinstance(value, (str, bool, int, float)):
        shown = escaped(json.dumps(value, ensure_ascii=False))
    else:
        shown = str(value)
    return Mistake(path, f"has to be {wanted}, not {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}", path)


def _without_none(kind: Any) -> Any:
    if get_origin(kind) is UnionType:
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    return kind
