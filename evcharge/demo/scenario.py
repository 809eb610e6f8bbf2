"""A day as the programs of the demo want it: who is registered, what the cars do, what the drivers ask for.

Charge points get a script of cars that come and go (``evcharge-cp run --script``), drivers a list of
sessions (``evcharge-driver auto --sessions``). Each stay of the day is one car with one driver: the data
names no users.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from evcharge.demo.sessions import Day

# The site wakes up this long before the first car, in site time.
LEAD_MS = 5 * 60_000
# With a queue one driver in so many does not stand in line: it asks again and again, as people do who know of none.
IMPATIENT = 4
# Names that the demo itself needs.
SPARE_CHARGE_POINT = "SPARE-CP"
SPARE_DRIVER = "spare-driver"

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")

Item = TypeVar("Item")


class ScriptLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happens at a connector, at ``at_ms`` of site time."""

    at_ms: int
    cp_id: str
    connector: int
    do: str
    vehicle: dict[str, Any] | None = None


class DriverSession(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One charge that a driver wants; instants in site time."""

    session: str
    """The driver's name, which is its credential's entity as well."""
    cp_id: str
    connector: int
    arrive_ms: int
    depart_ms: int
    energy_wh: int
    wait: bool = False
    """Stands in line."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the demo's processes are told about the day."""

    start_ms: int
    end_ms: int
    charge_points: tuple[str, ...]
    drivers: tuple[str, ...]
    script: tuple[ScriptLine, ...]
    sessions: tuple[DriverSession, ...]


def make_scenario(day: Day, *, queue: bool = False) -> Scenario:
    """Turn the stays of a day into a script and requests, both by time.

    A car leaves before the next one comes when both happen in the same millisecond. With ``queue`` drivers stand in
    line from when they come, but for one in ``IMPATIENT``.
    """
    names = charge_point_ids(day.stations)
    width = max(3, len(str(len(day.stays))))
    script, sessions = [], []
    for number, stay in enumerate(day.stays, start=1):
        cp_id = names[stay.station_id]
        script.append(
            ScriptLine(at_ms=stay.arrival_ms, cp_id=cp_id, connector=1, do="plug", vehicle={"need_wh": stay.energy_wh})
        )
        script.append(ScriptLine(at_ms=stay.departure_ms, cp_id=cp_id, connector=1, do="unplug"))
        waits = queue and number % IMPATIENT != 0
        sessions.append(
            DriverSession(
                session=f"driver-{number:0{width}d}",
                cp_id=cp_id,
                connector=1,
                # Who stands in line does so from when it comes, not only from when its bay is free.
                arrive_ms=stay.arrival_ms - stay.waited_ms if waits else stay.arrival_ms,
                depart_ms=stay.departure_ms,
                energy_wh=stay.energy_wh,
                wait=waits,
            )
        )
    script.sort(key=lambda line: (line.at_ms, line.do == "plug", line.cp_id))
    return Scenario(
        start_ms=min(session.arrive_ms for session in sessions) - LEAD_MS,
        end_ms=max(stay.departure_ms for stay in day.stays),
        charge_points=tuple(names[station] for station in day.stations),
        drivers=tuple(session.session for session in sessions),
        script=tuple(script),
        sessions=tuple(sessions),
    )


def charge_point_ids(stations: Iterable[str]) -> dict[str, str]:
    """An id for each station: the station's own, cleaned to letters, digits, ".", "_" and "-".

    Stations whose cleaned names meet (in any case), or would be the demo's own, get a short hash of the
    original.
    """
    ids: dict[str, str] = {}
    taken = {SPARE_CHARGE_POINT.lower()}
    for station in sorted(set(stations)):
        clean = _UNFIT.sub("-", station)
        if not clean[0].isalnum():
            clean = f"CP{clean}"[:64]
        if clean.lower() in taken:
            clean = f"{clean[:55]}-{hashlib.sha256(station.encode()).hexdigest()[:8]}"
        taken.add(clean.lower())
        ids[station] = clean
    return ids


def deal(items: Sequence[Item], hands: int) -> list[tuple[Item, ...]]:
    """Deal items round the table to at most ``hands`` processes; none is left without work."""
    return [tuple(items[place::hands]) for place in range(min(hands, len(items)))]


def json_lines(items: Iterable[object]) -> bytes:
    """One JSON object a line."""
    return b"".join(msgspec.json.encode(item) + b"\n" for item in items)
