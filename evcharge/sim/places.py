"""Real charging stations from files: where they are, with how many connectors of how much power.

Such lists are made by hand. A station that cannot be true, or that does not say enough, is left out with the reason:
nothing is guessed for it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from evcharge.sim.replay import ReplayError
from evcharge.sim.vehicle import Place, distance_km

# Power of a connector that is believed, kW: from a household socket to the strongest of the megawatt standard.
LEAST_KW, MOST_KW = 1.0, 4_000.0
# Most connectors of one kind at one station: more is a slip of the keyboard.
MOST_CONNECTORS = 1_000
# A station of a town's list that is farther from the middle of the list than this, km, has wrong coordinates.
FAR_KM = 300.0
# Open Charge Map's codes of stations that work; 0 and none: nobody said.
_WORKING = {None, 0, 50}
# kW of the connectors of the Shenzhen list, which only says fast and slow: one direct current, one alternating current
# on a single phase.
FAST_KW, SLOW_KW = 60.0, 7.0


class Site(NamedTuple):
    """One station."""

    station_id: str
    name: str
    place: Place
    connectors: int
    connector_w: int
    """Of the strongest kind there, which the connectors are counted of."""


class Sites(NamedTuple):
    """A list, and what was left out of it."""

    sites: tuple[Site, ...]
    left_out: dict[str, str]
    """Station id → why, a few words."""


def open_charge_map(path: Path) -> Sites:
    """Points of interest as Open Charge Map gives them (JSON). Raises ReplayError when it is no such list."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReplayError(f"cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise ReplayError(f"{path} is not JSON: {error}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "ID" in row for row in rows):
        raise ReplayError(f"{path} is no list of stations with an ID each.")
    return _sorted_out((str(row["ID"]), row) for row in rows)


def shenzhen(path: Path) -> Sites:
    """Stations of the Shenzhen study (CSV): ``station_id, latitude, longitude, fast, slow``. Raises ReplayError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise ReplayError(f"cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"{path} is not CSV: {error}.") from error
    missing = {"station_id", "latitude", "longitude", "fast", "slow"} - set(rows[0] if rows else ())
    if missing:
        raise ReplayError(f"{path}:1: the column {min(missing)} is missing.")
    return _sorted_out((row["station_id"], _as_point(row)) for row in rows)


def _as_point(row: dict[str, str]) -> dict[str, Any]:
    """A row in the form of the other list, so that one set of rules judges both."""
    kinds = ((FAST_KW, row["fast"]), (SLOW_KW, row["slow"]))
    return {
        "AddressInfo": {"Title": "", "Latitude": row["latitude"], "Longitude": row["longitude"]},
        "Connections": [{"PowerKW": power, "Quantity": count} for power, count in kinds if count not in ("", "0")],
    }


def _sorted_out(rows: Iterable[tuple[str, dict[str, Any]]]) -> Sites:
    found: dict[str, Site] = {}
    left_out: dict[str, str] = {}
    for station_id, row in rows:
        if station_id in found:
            left_out[f"{station_id} again"] = "there is another one with this id"
            continue
        try:
            found[station_id] = _site(station_id, row)
        except (KeyError, TypeError) as error:
            left_out[station_id] = f"it says no {error}"
        except ValueError as error:
            left_out[station_id] = str(error)
    places = [site.place for site in found.values()]
    if places:
        # The middle by medians: a few wrong ones do not move it.
        middle = Place(_median([place.latitude for place in places]), _median([place.longitude for place in places]))
        for station_id, site in list(found.items()):
            away_km = distance_km(middle, site.place)
            if away_km > FAR_KM:
                left_out[station_id] = f"its coordinates are {away_km:,.0f} km away from the others"
                del found[station_id]
    return Sites(tuple(found.values()), left_out)


def _site(station_id: str, row: dict[str, Any]) -> Site:
    """Raises KeyError, TypeError, ValueError."""
    if row.get("StatusTypeID") not in _WORKING:
        raise ValueError("it is not in service")
    address = row["AddressInfo"]
    place = Place(float(address["Latitude"]), float(address["Longitude"]))
    if not (-90 <= place.latitude <= 90 and -180 <= place.longitude <= 180) or place == (0, 0):
        raise ValueError("its coordinates are nowhere on land")
    counts: dict[float, int] = {}
    for kind in row.get("Connections") or ():
        power_kw, count = kind.get("PowerKW"), kind.get("Quantity")
        if power_kw is None or count is None:
            continue
        if not LEAST_KW <= float(power_kw) <= MOST_KW or not 1 <= int(count) <= MOST_CONNECTORS:
            raise ValueError(f"{count} connectors of {power_kw} kW cannot be")
        counts[float(power_kw)] = counts.get(float(power_kw), 0) + int(count)
    if not counts:
        raise ValueError("it does not say how many connectors of how much power it has")
    power_kw = max(counts)
    name = str(address.get("Title") or station_id)
    return Site(station_id, name, place, counts[power_kw], round(power_kw * 1000))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
