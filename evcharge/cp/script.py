"""Scripts: what the world does to charge points and monitors, one JSON object a line, on site time."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from evcharge.cp.vehicle import VehicleSpec
from protocol.messages import MAX_CONNECTORS, MAX_COUNT

# Longest line of a script in bytes; an action needs under 300.
MAX_LINE = 4096


class ScriptError(ValueError):
    """A script that cannot be used; the sentence names file and line."""


class _Timed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``at_ms`` in site time, or ``after_s`` of site time since the start of the process."""

    cp_id: str
    at_ms: Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None = None
    after_s: Annotated[float, Meta(ge=0, le=1e9)] | None = None


class Action(_Timed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happens to a charge point. Faults without a connector hit all of them, plugs the first."""

    do: Literal["plug", "unplug", "fail", "recover", "emergency_stop"]
    connector: Annotated[int, Meta(ge=0, le=MAX_CONNECTORS)] | None = None
    vehicle: VehicleSpec = VehicleSpec()
    code: Annotated[str, Meta(min_length=1, max_length=64)] = "simulated_fault"


class MonitorAction(_Timed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault that a monitor reports although its engine is well, and the end of it."""

    do: Literal["fault", "recover"]
    code: Annotated[str, Meta(min_length=1, max_length=64)] = "simulated_fault"


Entry = TypeVar("Entry", Action, MonitorAction)


def read_script(path: Path, shape: type[Entry], cp_ids: Collection[str], connectors: int = 1) -> list[Entry]:
    """All actions of a file; blank lines and lines that begin with # are skipped.

    Raises ScriptError with file, line and what is wrong.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ScriptError(f"cannot read {path}: {error.strerror}") from error
    actions = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        try:
            actions.append(_parse(text, shape, cp_ids, connectors))
        except ValueError as error:
            raise ScriptError(f"{path}:{number}: {error}") from error
    return actions


def _parse(text: bytes, shape: type[Entry], cp_ids: Collection[str], connectors: int) -> Entry:
    if len(text) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} bytes")
    action = msgspec.json.decode(text, type=shape)
    if (action.at_ms is None) == (action.after_s is None):
        raise ValueError("give either at_ms or after_s")
    if action.cp_id not in cp_ids:
        raise ValueError(f"charge point {action.cp_id!r} is not hosted here")
    if isinstance(action, Action):
        lowest = 1 if action.do in ("plug", "unplug") else 0
        if action.connector is not None and not lowest <= action.connector <= connectors:
            raise ValueError(f"connector {action.connector} is none of {lowest} to {connectors}")
    return action


class Schedule(Generic[Entry]):
    """Actions in order of site time; equal instants keep the order of the file."""

    def __init__(self, actions: Iterable[Entry], start_ms: int) -> None:
        self._heap: list[tuple[int, int, Entry]] = [
            (
                action.at_ms if action.at_ms is not None else start_ms + int((action.after_s or 0) * 1000),
                number,
                action,
            )
            for number, action in enumerate(actions)
        ]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def due(self, site_ms: int) -> Iterable[tuple[int, Entry]]:
        """Take out, one by one, what is due up to this instant, with the instant at which it was due."""
        while self._heap and self._heap[0][0] <= site_ms:
            at_ms, _, action = heapq.heappop(self._heap)
            yield at_ms, action
