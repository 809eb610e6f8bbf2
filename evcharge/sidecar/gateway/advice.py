"""Central's advice and its rules' answer, as clients get them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from evcharge.sidecar.gateway import schemas as s
from evcharge.sidecar.web.problem import Problem
from protocol import messages as m

# Why a station is left out; a newer Central may have codes that are not here.
_EXCLUDED = {
    "bad_data": "It is known by figures that make no sense.",
    "out_of_reach": "The vehicle does not get there with a reserve.",
    "no_fitting_connector": "It has no connector that fits.",
    "out_of_service": "It is out of service.",
    "wait_unknown": "It is taken, and nobody knows for how long.",
    "no_power": "It has no power to spare.",
}
# In the order of the wire's names.
READINGS = {"solar": "solar_w", "battery": "battery_percent", "grid": "grid_percent"}


def wish_of(asked: s.RecommendQuery) -> m.Recommend:
    """The question for Central. Raises Problem: the vehicle needs nothing."""
    if asked.mode == "pareto" and asked.target_percent <= asked.battery_percent:
        detail = "The vehicle has target_percent already; ask with a target above battery_percent."
        raise Problem(HTTPStatus.CONFLICT, "charged_enough", detail)
    given = (asked.w_cost, asked.w_time, asked.w_carbon, asked.w_queue)
    weights = None
    if (whole := sum(share or 0.0 for share in given)) > 0:
        cost, time, carbon, queue = ((share or 0.0) / whole for share in given)
        weights = m.Weights(cost=cost, time=time, carbon=carbon, queue=queue)
    place = [float(degrees) for degrees in asked.position.split(",")] if asked.position else None
    return m.Recommend(
        id=0,
        battery_percent=asked.battery_percent,
        mode=asked.mode,
        capacity_wh=round(asked.capacity_kwh * 1000),
        target_percent=asked.target_percent,
        max_w=round(asked.max_kw * 1000),
        plug=asked.plug,
        consumption_wh_per_km=asked.consumption_wh_per_km,
        latitude=place[0] if place else None,
        longitude=place[1] if place else None,
        weights=weights,
        max_results=asked.max_results,
    )


def recommendation_of(told: m.RecommendationView, chosen: str) -> s.Recommendation:
    """The answer with a ``chosen`` station, as clients get it."""
    if told.mode == "legacy":
        rows = [_legacy_row(row) for row in told.legacy]
    else:
        rows = [_row(row, told) for row in told.stations]
    vehicle = told.vehicle
    return s.Recommendation(
        vehicle=s.Vehicle(
            battery_percent=vehicle.battery_percent,
            capacity_kwh=vehicle.capacity_wh / 1000,
            target_percent=vehicle.target_percent,
            energy_needed_kwh=vehicle.need_wh / 1000,
            max_kw=vehicle.max_w / 1000,
            range_km=vehicle.range_m / 1000,
            plug=vehicle.plug,
        ),
        decision=s.Decision(
            recommended_station=chosen,
            metrics=next((row for row in rows if row.station_id == chosen), None),
            all_station_analysis=rows,
            system_message=told.sentence,
            mode="legacy" if told.mode == "legacy" else "pareto",
            weights=_figures(told.weights),
            located=told.located,
            left_out=told.left_out,
            currency=told.currency,
        ),
    )


def _legacy_row(row: m.LegacyView) -> s.StationRow:
    return s.StationRow(
        station_id=row.station_id,
        score=row.score,
        energy_needed_kwh=row.energy_needed_kwh,
        charging_time_hours=row.charging_time_hours,
        carbon_emission_kg=row.carbon_emission_kg,
        explanation=row.explanation,
    )


def _row(row: m.StationView, told: m.RecommendationView) -> s.StationRow:
    need_wh = told.vehicle.need_wh
    if row.score is None or row.power_w <= 0:
        code = row.excluded or "no_power"
        return s.StationRow(
            station_id=row.cp_id,
            score=None,
            energy_needed_kwh=need_wh / 1000,
            charging_time_hours=None,
            carbon_emission_kg=None,
            explanation=_EXCLUDED.get(code, f"It is left out: {code}."),
            distance_m=row.distance_m if told.located else None,
            excluded=code,
        )
    hours, carbon_kg = round(need_wh / row.power_w, 2), row.carbon_g / 1000
    wait = "free now" if row.queue_s == 0 else f"free in about {-(-row.queue_s // 60)} min"
    way = f", {row.distance_m / 1000:.1f} km away" if told.located else ""
    return s.StationRow(
        station_id=row.cp_id,
        score=row.score,
        energy_needed_kwh=need_wh / 1000,
        charging_time_hours=hours,
        carbon_emission_kg=carbon_kg,
        explanation=(
            f"{need_wh / 1000:.2f} kWh at {row.power_w / 1000:g} kW in {hours:.2f} h, {carbon_kg:.2f} kg CO2, "
            f"{row.cost_minor / 100:.2f} {told.currency} to pay, {wait}{way}."
        ),
        rank=row.rank,
        connector=row.connector,
        pareto_front=row.front,
        contributions=_figures(row.parts),
        cost_minor=row.cost_minor,
        drive_and_charge_s=row.time_s,
        wait_s=row.queue_s,
        power_w=row.power_w,
        distance_m=row.distance_m if told.located else None,
    )


def _figures(weights: m.Weights | None) -> s.Figures | None:
    if weights is None:
        return None
    return s.Figures(cost=weights.cost, time=weights.time, carbon=weights.carbon, queue=weights.queue)


def optimization_of(told: m.OptimizationView) -> s.Optimization:
    """What the rules say.

    Raises:
        msgspec.ValidationError: a mode or a fault that is not known here.
    """
    return msgspec.convert(
        {
            "solar_output_kW": None if told.solar_w is None else told.solar_w / 1000,
            "battery_level_percent": told.battery_percent,
            "grid_load_percent": told.grid_percent,
            "charging_mode": told.mode,
            "charging_power_kW": told.power_w / 1000,
            "rule": told.rule,
            "reason": told.reason,
            "in_force": told.in_force,
            "inputs": {name: _input(told, name) for name in READINGS},
        },
        s.Optimization,
    )


def _input(told: m.OptimizationView, name: str) -> dict[str, Any]:
    known = getattr(told, READINGS[name]) is not None
    return {"age_ms": told.age_ms.get(name), "status": told.fault.get(name, "ok" if known else "missing")}


def why_of(told: m.WhyView) -> s.Why:
    """A decision, as clients get it."""
    fields = msgspec.structs.asdict(told)
    inputs = [s.WhyInput(name=one.name, age_ms=one.age_ms) for one in fields.pop("inputs")]
    rejected = [s.Rejected(limit_w=one.limit_w, constraint=one.constraint) for one in fields.pop("rejected")]
    return s.Why(inputs=inputs, rejected=rejected, **fields)
