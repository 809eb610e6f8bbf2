"""Files of requests for the automated driver, and what a run of them came to.

A file of points has one charge point a line, then the energy in kWh if it is to be limited; ``#`` starts a
comment::

    CP-1 7.5    # two hours
    CP-2

A file of sessions is JSON lines ``{"session", "cp_id", "connector", "arrive_ms", "depart_ms", "energy_wh"}``
in site time; ``session`` is a label. ``"wait": true``: stands in line instead of asking again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.messages import MAX_CONNECTORS, MAX_COUNT, MAX_ID, MAX_TEXT

# Largest file in bytes and most lines of one; a year of a large site's sessions has 100,000.
MAX_FILE = 64 * 1024 * 1024
MAX_LINES = 100_000
# Largest energy of a line, in kWh; Central judges what is sensible, this keeps a slipped decimal point out.
MAX_KWH = Decimal(1_000_000)


class ScriptError(ValueError):
    """A file cannot be used; the sentence names file and line."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a file of points."""

    cp_id: str
    energy_wh: int | None = None
    line: int = 0


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """One car of a file of sessions; instants are site time in UTC milliseconds. ``session`` is a label."""

    session: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    cp_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    arrive_ms: Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    depart_ms: Annotated[int, Meta(ge=0, le=MAX_COUNT)]
    energy_wh: Annotated[int, Meta(ge=1, le=MAX_COUNT)] | None = None
    connector: Annotated[int, Meta(ge=0, le=MAX_CONNECTORS)] = 0
    wait: bool = False
    """Stand in line where a connector or power is missing."""


class Summary(msgspec.Struct, kw_only=True):
    """What a run came to, printed as one JSON line; energies in Wh, money in minor units."""

    sessions: int = 0
    authorized: int = 0
    refused: int = 0
    started: int = 0
    """Sessions with a ticket: every session that starts gets one."""
    expired: int = 0
    """Authorized, and ended before supply began."""
    tickets: int = 0
    energy_wh: int = 0
    amount_minor: int = 0
    refusals: dict[str, str] = {}
    """Label → the reason's code."""


def read_points(path: Path) -> list[Wish]:
    """The requests of a file of points, in order.

    Raises:
        ScriptError: names file and line.
    """
    wishes = []
    for number, line in _lines(path):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) > 2:
            raise ScriptError(f"{path}:{number}: expected a charge point and at most one energy in kWh.")
        if len(words[0]) > MAX_ID:
            raise ScriptError(f"{path}:{number}: a charge point's id has at most {MAX_ID} characters.")
        energy_wh = None if len(words) == 1 else _energy(f"{path}:{number}", words[1])
        wishes.append(Wish(cp_id=words[0], energy_wh=energy_wh, line=number))
    if not wishes:
        raise ScriptError(f"{path} names no charge point; write one id a line.")
    return wishes


def read_sessions(path: Path) -> list[Stay]:
    """The stays of a file of sessions, by arrival.

    Raises:
        ScriptError: names file and line.
    """
    decoder = msgspec.json.Decoder(Stay)
    stays: list[Stay] = []
    labels: dict[str, int] = {}
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            stay = decoder.decode(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ScriptError(f"{path}:{number}: not a session: {error}.") from error
        if stay.depart_ms <= stay.arrive_ms:
            raise ScriptError(f"{path}:{number}: depart_ms is not after arrive_ms.")
        if stay.session in labels:
            first = labels[stay.session]
            raise ScriptError(f"{path}:{number}: session {stay.session!r} stands in line {first} too.")
        labels[stay.session] = number
        stays.append(stay)
    if not stays:
        raise ScriptError(f"{path} has no session; write one JSON object a line.")
    return sorted(stays, key=lambda stay: (stay.arrive_ms, stay.session))


def check_labels(path: Path, stays: Iterable[Stay], drivers: Set[str]) -> None:
    """With several drivers each session's label has to name one of them; a single one takes all.

    Raises:
        ScriptError: names file and label.
    """
    strangers = [stay.session for stay in stays if stay.session not in drivers]
    if len(drivers) > 1 and strangers:
        raise ScriptError(f"{path}: session {strangers[0]!r} names none of the drivers in --credentials.")


def energy_wh(text: str) -> int:
    """Watt-hours of a text in kWh, to the nearest one. Raises ValueError."""
    try:
        kwh = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number of kWh") from None
    if not kwh.is_finite() or abs(kwh) > MAX_KWH:
        raise ValueError(f"{text} kWh is out of range")
    return round(kwh * 1000)


def _energy(where: str, text: str) -> int:
    try:
        value = energy_wh(text)
    except ValueError as error:
        raise ScriptError(f"{where}: {error}.") from None
    if value < 1:
        raise ScriptError(f"{where}: {text} kWh is not more than 0.")
    return value


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    """Numbered lines of a UTF-8 file of bounded size."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise ScriptError(f"Cannot read {path}: {error.strerror}.") from error
    if len(data) > MAX_FILE:
        raise ScriptError(f"{path} is larger than {MAX_FILE // 2**20} MiB; split it.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScriptError(f"{path}:{line}: not UTF-8 text.") from None
    lines = text.split("\n")
    if len(lines) > MAX_LINES + 1:
        raise ScriptError(f"{path} has more than {MAX_LINES} lines; split it.")
    return enumerate((line.rstrip("\r") for line in lines), start=1)
