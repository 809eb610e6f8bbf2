"""Charge points as a driver compares them: where, at what price, with how much power, and how soon one is free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from itertools import islice
from typing import NamedTuple

import msgspec

from evcharge.domain.demand import UNKNOWN_NEED_WH
from evcharge.domain.feeds import feeds_of
from evcharge.domain.health import closed_on
from evcharge.domain.limits import most_at, too_low
from evcharge.domain.openings import TYPICAL_STAY_MS
from evcharge.domain.prospects import Prospects
from evcharge.domain.state import ChargePoint, Session, State, shown_state
from evcharge.domain.waiting_views import waiting_counts
from evcharge.domain.words import Shown, Stamp
from evcharge.energy import recommend as en
from evcharge.energy.legacy import LegacyStation
from evcharge.ids import ChargePointId, ConnectorNo
from evcharge.units import MS_PER_HOUR

# Charge points that one question looks at: a screenful for a person, and its answer fits into one frame.
MOST_STATIONS = 100
EARTH_KM = 6_371.0
# Roads are longer than the straight way by about this much (Ballou et al., Transportation Research A 36, 2002: 1.2 to
# 1.5 in most countries), and in towns one drives about so many km in an hour.
ROAD_FACTOR = 1.3
KM_PER_H = 40.0
# The plug of a charge point of which nobody said what it has.
ANY_PLUG = ""
_IN_SERVICE = (Shown.ACTIVATED, Shown.SUPPLYING)


class Place(msgspec.Struct, frozen=True):
    """What the site file says of a charge point that the charge point cannot say of itself."""

    at: tuple[float, float] | None = None
    """Latitude and longitude in degrees."""
    plug: str = ANY_PLUG


Places = Mapping[ChargePointId, Place]


class Found(NamedTuple):
    """The stations to choose from, nearest first."""

    stations: list[en.Station]
    plugs: frozenset[str]
    """What the vehicle fits: its own plug and those of which nobody knows; all, when it did not say."""
    left_out: int
    """Charge points that were not looked at: farther away, or with nothing free."""
    located: bool
    """Whether any distance was counted."""


def find_stations(
    state: State, stamp: Stamp, places: Places, here: tuple[float, float] | None, plug: str | None
) -> Found:
    """The nearest ``MOST_STATIONS``; where no distance is known, those with something free come first.

    ``here``: where the vehicle is; None, or a charge point whose position nobody knows: no way at all.
    """
    far_km: dict[ChargePointId, float] = {}
    if here is not None and places:
        far_km = {cp_id: _way_km(here, places.get(cp_id)) for cp_id in state.charge_points}
        near = [
            state.charge_points[cp_id] for cp_id in nsmallest(MOST_STATIONS, far_km, lambda one: (far_km[one], one))
        ]
    else:
        near = _free_first(state)
    prospects = Prospects(state, stamp)
    waiting = waiting_counts(state)
    tariff = state.site.tariff
    stations = []
    for charge_point in near:
        place = places.get(charge_point.cp_id, Place())
        in_service = _in_service(state, charge_point)
        outlets = charge_point.connectors
        connectors = [_connector(state, stamp, charge_point, no, place, in_service=in_service) for no in outlets]
        power_w = max([prospects.watts(charge_point, one) for one in outlets.values()], default=0)
        distance_km = far_km.get(charge_point.cp_id, 0.0)
        stations.append(
            en.Station(
                station_id=charge_point.cp_id,
                distance_km=distance_km,
                drive_s=distance_km / KM_PER_H * 3_600,
                connectors=tuple(connectors),
                waiting=waiting[charge_point.cp_id],
                mean_stay_s=_next_stay_s(connectors),
                periods=(en.Period(tariff.price_e4 / 10_000, tariff.co2_g_per_kwh / 1_000, power_w),),
            )
        )
    located = here is not None and any(places.get(one.cp_id, Place()).at is not None for one in near)
    known = {places.get(one.cp_id, Place()).plug for one in near} if plug is None else {plug}
    return Found(stations, frozenset({ANY_PLUG, *known}), len(state.charge_points) - len(near), located)


def legacy_stations(state: State, found: Found) -> list[LegacyStation]:
    """The same for the older formula: all power comes from the grid; what cannot serve has no supply."""
    tariff = state.site.tariff
    rows = []
    for station in found.stations:
        ratings = [one.max_w for one in _fitting(station, found.plugs)]
        power_w = min(max(ratings, default=0), int(station.periods[0].power_w))
        rows.append(
            LegacyStation(
                station_id=station.station_id,
                solar_supply_kw=0.0,
                grid_supply_kw=power_w / 1_000,
                carbon_intensity=tariff.co2_g_per_kwh / 1_000,
                price_per_kwh=tariff.price_e4 / 10_000,
                queue_length=_queue(station, found.plugs),
            )
        )
    return rows


def _fitting(station: en.Station, plugs: frozenset[str]) -> list[en.Connector]:
    """The connectors in service that a vehicle with one of these plugs can use."""
    return [one for one in station.connectors if one.plug in plugs and one.occupancy is not en.Occupancy.OUT]


def _queue(station: en.Station, plugs: frozenset[str]) -> int:
    """The vehicles that have all of them, and those that wait; 0 where one is free."""
    taken = [one.occupancy is not en.Occupancy.FREE for one in _fitting(station, plugs)]
    return len(taken) + station.waiting if all(taken) else 0


def remaining_s(session: Session, now_ms: int) -> float:
    """How long it is expected to stay: until its declared departure, else until it has its energy at its set-point."""
    if session.depart_by_ms is not None and session.depart_by_ms > now_ms:
        return (session.depart_by_ms - now_ms) / 1_000
    need_wh = UNKNOWN_NEED_WH if session.requested_wh is None else max(0, session.requested_wh - session.energy_wh)
    newest = session.lease.newest
    # Who waits for power now gets the smallest current at least before long.
    power_w = max(1, session.min_w, 0 if newest is None else newest.limit_w)
    return need_wh * MS_PER_HOUR / power_w / 1_000


def _connector(
    state: State, stamp: Stamp, charge_point: ChargePoint, no: ConnectorNo, place: Place, *, in_service: bool
) -> en.Connector:
    connector = charge_point.connectors[no]
    session = None if connector.session_id is None else state.sessions.get(connector.session_id)
    left_s = None
    if not in_service or connector.error is not None or too_low(charge_point, connector):
        occupancy = en.Occupancy.OUT
    elif session is not None:
        occupancy, left_s = en.Occupancy.BUSY, remaining_s(session, stamp.at_ms)
    else:
        # A vehicle that stands there and does not charge: nobody knows for how long.
        occupancy = en.Occupancy.BUSY if connector.occupied else en.Occupancy.FREE
    return en.Connector(
        connector_id=f"{no:02}",
        plug=place.plug,
        max_w=most_at(charge_point, connector),
        min_w=connector.min_w,
        occupancy=occupancy,
        remaining_s=left_s,
    )


def _next_stay_s(connectors: Sequence[en.Connector]) -> float | None:
    """How long those stay who come before: as the line reckons; None where a vehicle stands of which nobody knows."""
    known = all(one.occupancy is not en.Occupancy.BUSY or one.remaining_s is not None for one in connectors)
    return TYPICAL_STAY_MS / 1_000 if known else None


def _in_service(state: State, charge_point: ChargePoint) -> bool:
    """Whether something could begin there, were it free. Below a lost node nothing does."""
    shown = not charge_point.holds and shown_state(state, charge_point) in _IN_SERVICE
    return shown and closed_on(state, feeds_of(state, charge_point.cp_id)) is None


def _free_first(state: State) -> list[ChargePoint]:
    """In order of id; of a large site no more is looked at than is needed."""
    ordered = [state.charge_points[cp_id] for cp_id in state.cp_order]
    found = list(islice((one for one in ordered if _has_free(state, one)), MOST_STATIONS))
    if len(found) < MOST_STATIONS:
        found += islice((one for one in ordered if not _has_free(state, one)), MOST_STATIONS - len(found))
    return found


def _has_free(state: State, charge_point: ChargePoint) -> bool:
    free = any(
        one.session_id is None and one.error is None and not one.occupied and not too_low(charge_point, one)
        for one in charge_point.connectors.values()
    )
    return free and _in_service(state, charge_point)


def _way_km(here: tuple[float, float] | None, place: Place | None) -> float:
    """By road, from the great circle (haversine, which is exact for short ways too)."""
    if here is None or place is None or place.at is None:
        return 0.0
    (north, east), (to_north, to_east) = ([math.radians(degrees) for degrees in at] for at in (here, place.at))
    chord = (
        math.sin((to_north - north) / 2) ** 2
        + math.cos(north) * math.cos(to_north) * math.sin((to_east - east) / 2) ** 2
    )
    return ROAD_FACTOR * 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(chord)))
