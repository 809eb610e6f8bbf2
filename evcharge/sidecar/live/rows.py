"""Rows of the picture: the wire's views with all of their fields, for each audience, and what changed between two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from evcharge.sidecar.gateway.site import masked
from evcharge.sidecar.live.sse import Audience
from protocol import messages as m


class Connector(m.ConnectorView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""


class ChargePoint(m.ChargePointView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""

    connectors: list[Connector] = []  # type: ignore[assignment]  # noqa: RUF012  # the same rows, as they are sent


class Substation(m.SubstationView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""


class Optimization(m.OptimizationView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""


class Totals(m.TotalsView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""


class Waiting(m.WaitingView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""


class Reservation(m.ReservationView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""


class Alert(m.AlertView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""


class Plan(m.PlanView, frozen=True, kw_only=True, omit_defaults=False):
    """With its defaults."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an operator has to look at, as the log has it."""

    seq: int
    at_ms: int | None
    code: str
    detail: str


# Part of the picture → what its value is made of; a part that is not here is sent as it is.
_KINDS: Mapping[str, Any] = {
    "substations": list[Substation],
    "optimization": Optimization,
    "totals": Totals,
    "waiting": list[Waiting],
    "reservations": list[Reservation],
    "alerts": list[Alert],
    "plan": list[Plan],
}


def shown(row: m.ChargePointView, audience: Audience) -> ChargePoint:
    """A charge point as it is sent."""
    whole: ChargePoint = msgspec.convert(row, ChargePoint, from_attributes=True)
    if audience is Audience.WHOLE or all(each.driver is None for each in whole.connectors):
        return whole
    connectors = [
        each if each.driver is None else msgspec.structs.replace(each, driver=masked(each.driver))
        for each in whole.connectors
    ]
    return msgspec.structs.replace(whole, connectors=connectors)


def shown_part(name: str, value: Any, audience: Audience) -> Any:
    """Another part of the picture as it is sent; None stays None."""
    if value is None or (name not in _KINDS and name != "incidents"):
        return value
    if name == "incidents":
        # An incident's words may name anybody.
        return value if audience is Audience.WHOLE else [msgspec.structs.replace(one, detail="") for one in value]
    whole = msgspec.convert(value, _KINDS[name], from_attributes=True)
    if audience is Audience.WHOLE or name not in ("waiting", "reservations"):
        return whole
    return [msgspec.structs.replace(row, driver_id=masked(row.driver_id) if row.driver_id else "") for row in whole]


def meters_between(old: m.ChargePointView, new: m.ChargePointView) -> list[m.MeterView] | None:
    """The meters that went on; None: something else changed as well, so the whole row is news.

    When it was last heard is no news while it is connected: that changes with every word of it.
    """
    if (
        old.state != new.state
        or old.waiting != new.waiting
        or old.limit_w != new.limit_w
        or old.holds != new.holds
        or old.engine != new.engine
        or old.monitor != new.monitor
        or old.substation_id != new.substation_id
        or (old.last_seen_ms is None) != (new.last_seen_ms is None)
        or len(old.connectors) != len(new.connectors)
    ):
        return None
    meters: list[m.MeterView] = []
    for before, after in zip(old.connectors, new.connectors, strict=True):
        if before == after:
            continue
        if before != msgspec.structs.replace(after, power_w=before.power_w, energy_wh=before.energy_wh):
            return None
        meters.append(m.MeterView(new.cp_id, after.connector, after.power_w, after.energy_wh))
    return meters


def with_meters(row: m.ChargePointView, meters: Iterable[m.MeterView]) -> m.ChargePointView:
    """The row with newer meters; those of connectors that it does not have are left out."""
    newer = {one.connector: one for one in meters}
    connectors = [
        each
        if (one := newer.get(each.connector)) is None
        else msgspec.structs.replace(each, power_w=one.power_w, energy_wh=one.energy_wh)
        for each in row.connectors
    ]
    return msgspec.structs.replace(row, connectors=connectors)
