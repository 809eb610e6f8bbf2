"""Weeks of a busy site as Central would log them: written with the log's own codec, by a seed, in order of time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from evcharge.audit.event_codec import encode
from evcharge.domain import events as e
from evcharge.domain.words import Stamp
from evcharge.units import PriceE4, WattHours, amount_of, co2_of

BEGIN_MS = 1_780_272_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
POINTS = 200
SUBSTATIONS = ("north", "south", "east", "west")
DRIVERS = 3_000
# Minutes between two meter values of a session that are logged, and between two looks at its limit.
SAMPLE_MIN = 10
LOOK_MIN = 30
PRICE, CO2 = PriceE4(3_900), 290

Dated = tuple[int, int, e.Event, str]
"""When, a number that keeps what happens at one moment in its order, what, and by whom."""


def bodies(count: int, seed: int) -> Iterator[bytes]:
    """So many bodies of records."""
    streams = [_point(_name(number), number, seed) for number in range(POINTS)]
    merged = heapq.merge(_site(seed), *streams, key=lambda dated: dated[:2])
    for (at_ms, _, event, actor), _ in zip(merged, range(count), strict=False):
        yield encode(event, Stamp(at_ms=at_ms, clock_ms=at_ms, actor=actor, source="10.0.0.7"))


def _name(number: int) -> str:
    return f"CP-{number:04}"


def _node(number: int) -> str:
    return SUBSTATIONS[number % len(SUBSTATIONS)]


def _made(kind: type[e.Event], **fields: Any) -> e.Event:
    return msgspec.convert(fields, kind)


def _site(seed: int) -> Iterator[Dated]:
    """The site itself: its start, refusals, weather, a substation that fails."""
    rng, at_ms, order = Random(seed), BEGIN_MS, 0
    nodes = {name: {"parent": "site"} for name in SUBSTATIONS}
    capacities = {"site": 1_400_000, **dict.fromkeys(SUBSTATIONS, 400_000)}
    site = {"capacities": capacities, "nodes": nodes, "assignments": {_name(n): _node(n) for n in range(POINTS)}}
    yield at_ms, order, _made(e.CentralStarted, site=site), "central"
    while True:
        order += 1
        at_ms += round(rng.expovariate(1 / (20 * MINUTE_MS)))
        cp_id, node = f"CP-{rng.randrange(POINTS):04}", rng.choice(SUBSTATIONS)
        happened = rng.random()
        if happened < 0.9:
            driver = f"driver-{rng.randrange(DRIVERS)}"
            against = [{"obstacle": "in_use", "at": cp_id, "age_ms": rng.randrange(HOUR_MS)}]
            refused = _made(e.ChargeRefused, driver_id=driver, cp_id=cp_id, reason="busy", against=against)
            yield at_ms, order, refused, f"driver:{driver}"
        elif happened < 0.95:
            yield at_ms, order, _made(e.HoldPlaced, cp_id=cp_id, hold="FAULT", detail="door open"), f"monitor:{cp_id}"
            yield at_ms + HOUR_MS, order, _made(e.HoldLifted, cp_id=cp_id, hold="FAULT"), f"monitor:{cp_id}"
            at_ms += HOUR_MS
        else:
            yield at_ms, order, _made(e.NodeLost, node_id=node, cause="reported"), "central"
            yield at_ms + MINUTE_MS, order, _made(e.NodeRecovered, node_id=node), "central"
            at_ms += MINUTE_MS


def _point(cp_id: str, number: int, seed: int) -> Iterator[Dated]:
    """A charge point with two or three sessions a day, one after the other."""
    rng, at_ms, meter_wh = Random(f"{seed}:{cp_id}"), BEGIN_MS + number, 1_000
    who = f"engine:{cp_id}"
    rating = {"connector": 1, "min_w": 1_400, "max_w": 11_000}
    yield at_ms, number, _made(e.ChargePointBooted, cp_id=cp_id, connectors=[rating]), who
    count = 0
    while True:
        at_ms += round(rng.expovariate(1 / (5 * HOUR_MS)))
        count += 1
        session_id = f"{cp_id}-{count:06}"
        for dated in _session(rng, cp_id, number, session_id, at_ms, meter_wh):
            yield dated
            at_ms = dated[0]
            if isinstance(dated[2], e.SupplyEnded):
                meter_wh = dated[2].meter_wh


def _session(rng: Random, cp_id: str, number: int, session_id: str, at_ms: int, meter_wh: int) -> Iterator[Dated]:
    driver, who, node = f"driver-{rng.randrange(DRIVERS)}", f"engine:{cp_id}", _node(number)

    def at(kind: type[e.Event], actor: str | None = None, **fields: Any) -> Dated:
        return at_ms, number, _made(kind, **fields), actor or who

    place: dict[str, Any] = {"cp_id": cp_id, "connector": 1}
    yield at(
        e.ChargeAuthorized,
        f"driver:{driver}",
        session_id=session_id,
        **place,
        driver_id=driver,
        substation_id=node,
        min_w=1_400,
        max_w=11_000,
        energy_wh=40_000,
        depart_by_ms=None,
        expires_ms=at_ms + MINUTE_MS,
        command_id=1,
    )
    yield at(e.AuthorizationAcknowledged, session_id=session_id)
    if rng.random() < 0.05:
        at_ms += MINUTE_MS
        gone: dict[str, Any] = {"driver_id": driver, "substation_id": node, "cause": "expired", "command_id": 2}
        yield at(e.AuthorizationExpired, "central", session_id=session_id, **place, **gone)
        return
    at_ms += rng.randrange(5_000, 40_000)
    yield at(e.ConnectorChanged, **place, occupied=True)
    start_ms, start_wh, limit_w = at_ms, meter_wh, 0
    yield at(e.SupplyStarted, session_id=session_id, meter_wh=meter_wh, at_ms=at_ms)
    yield at(e.OutboxApplied, cp_id=cp_id, n=1)
    steps = rng.randrange(3, 36)
    for step in range(steps):
        if step % (LOOK_MIN // SAMPLE_MIN) == 0:
            limit_w = rng.choice((3_700, 5_500, 7_400, 11_000))
            yield at(e.SetPointIssued, "central", session_id=session_id, **_set_point(node, limit_w, at_ms))
            yield at(e.SetPointAcknowledged, session_id=session_id, command_id=3)
        at_ms += SAMPLE_MIN * MINUTE_MS + rng.randrange(900)
        meter_wh += limit_w * SAMPLE_MIN // 60
        yield at(e.MeterSampled, session_id=session_id, meter_wh=meter_wh, power_w=limit_w)
    at_ms += rng.randrange(MINUTE_MS)
    yield at(e.SupplyEnded, session_id=session_id, meter_wh=meter_wh, cause="unplugged", at_ms=at_ms)
    energy_wh = WattHours(meter_wh - start_wh)
    ticket = {
        "ticket_id": f"t-{session_id}",
        "session_id": session_id,
        "cp_id": cp_id,
        "driver_id": driver,
        "substation_id": node,
        "start_ms": start_ms,
        "end_ms": at_ms,
        "energy_wh": energy_wh,
        "price_e4": PRICE,
        "amount_minor": amount_of(energy_wh, PRICE),
        "currency": "EUR",
        "status": "COMPLETED",
        "reason": "unplugged",
        "average_w": energy_wh * HOUR_MS // max(1, at_ms - start_ms),
        "co2_g": co2_of(energy_wh, CO2),
        "final_meter_wh": meter_wh,
    }
    yield at(e.TicketIssued, ticket=ticket)
    yield at(e.OutboxApplied, cp_id=cp_id, n=2)
    yield at(e.ConnectorChanged, **place, occupied=False)
    yield at(e.TicketDelivered, f"driver:{driver}", driver_id=driver, ticket_id=f"t-{session_id}")


def _set_point(node: str, limit_w: int, at_ms: int) -> dict[str, Any]:
    grant = {"command_id": 3, "limit_w": limit_w, "fallback_w": 1_400, "expires_ms": at_ms + 30_000}
    bound = {"constraint": "capacity", "node": node, "limit_w": 400_000, "others_w": 300_000, "sharing": 20}
    inputs = [{"name": f"base load of {node}", "age_ms": 4_000}]
    return {"grant": grant, "reason": "shared", "basis": {"bound": bound, "inputs": inputs}}
