"""What happened, one short sentence for each row: made when it is shown, so better words need no rebuild. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from evcharge.sidecar.history.kinds import LASTING
from evcharge.sidecar.history.reasons import (
    age_text,
    basis_sentence,
    clock,
    kw,
    kwh,
    objection_sentence,
    read_basis,
    read_objections,
)

Name = Callable[[str], str]

_STOPPED = {
    "target_reached": "the energy that was asked for is in the vehicle",
    "vehicle_full": "the vehicle takes no more",
    "unplugged": "the vehicle was unplugged",
    "driver_ended": "the driver ended it",
    "stopped": "an operator stopped the charge point",
    "fault": "the charge point reported a fault",
    "weather": "the weather closed the charge point",
    "monitor_lost": "the monitor of the charge point was lost",
    "revoked": "the charge point's credential was revoked",
    "expired": "no vehicle was plugged in in time",
    "rejected": "the charge point rejected it",
    "duplicate_id": "two programs used the charge point's credential",
    "engine_restart": "the charge point restarted",
    "engine_shutdown": "the charge point was shut down",
    "outbox_lost": "the charge point lost its memory",
    "silent": "the charge point was not heard of for too long",
    "other": "the charge point gave no reason",
}
_LEFT = {
    "served": "it charges",
    "left": "its driver left",
    "no_show": "nobody plugged in, twice",
    "rejected": "the charge point did not take the session, twice",
    "held": "the charge point may not charge any more",
    "revoked": "the driver's credential was revoked",
    "departed": "the departure that was declared has come",
    "too_long": "it has waited for a day",
}
_ENDED = {
    "kept": "its driver charges there",
    "cancelled": "its driver cancelled it",
    "no_show": "nobody plugged in in time",
    "passed": "its time is over, and the connector or the power was never there",
    "unavailable": "the charge point was lost or held, or did not take the session",
    "revoked": "a credential was revoked",
}
# Why a set-point has no basis in old logs, and what the reasons of set-points mean.
_LIMITED = {
    "shared": "the capacity is shared",
    "connector_rating": "the connector takes no more",
    "no_capacity": "the smallest current does not fit: it waits for its turn",
    "waiting_for_others": "others have to confirm less first",
    "plan": "the plan leaves power for later",
    "rule": "a rule of the site",
    "need": "it needs no more",
    "steady": "raises are not given too often",
    "ramp": "it is on its way up",
    "operator": "an operator allows no more",
    "substation_lost": "a node above it is lost",
    "equal_share": "the capacity is shared equally",
}


class Told(NamedTuple):
    """A row for people."""

    text: str
    why: str | None = None
    """Of a set-point: what bound it."""


class Entry(NamedTuple):
    """What is told of: a row of the tables."""

    kind: str
    data: bytes
    """MessagePack of the record's fields."""


def tell(entry: Entry, name: Name, *, whole: bool = True, least_w: int = 0) -> Told:
    """The sentence. ``name`` shows drivers; ``whole``: details that may name anybody are shown too.

    A kind that is not known is told by its own name; fields that are not as they should be are left out.
    """
    try:
        decoded = msgspec.msgpack.decode(entry.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        decoded = None
    data = _Data(decoded if isinstance(decoded, dict) else {}, name, whole=whole, least_w=least_w)
    if entry.kind == "set_point_issued":
        return _set_point(data)
    sentence = _SENTENCES.get(entry.kind)
    return Told(entry.kind.replace("_", " ") if sentence is None else sentence(data))


class _Data:
    """The fields of a record, of which each may be missing."""

    def __init__(self, fields: Mapping[str, Any], name: Name, *, whole: bool, least_w: int) -> None:
        self.fields = dict(fields)
        self.name = name
        self.whole = whole
        self.least_w = least_w

    def text(self, field: str, otherwise: str = "?") -> str:
        value = self.fields.get(field)
        return value if isinstance(value, str) else otherwise

    def number(self, field: str) -> int | None:
        value = self.fields.get(field)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def amount(self, field: str) -> int:
        return self.number(field) or 0

    def inner(self, field: str) -> _Data:
        value = self.fields.get(field)
        inner = value if isinstance(value, dict) else {}
        return _Data(inner, self.name, whole=self.whole, least_w=self.least_w)

    @property
    def driver(self) -> str:
        return self.name(self.text("driver_id"))

    @property
    def entity(self) -> str:
        """Of a peer: a charge point by its name, anybody else as a driver is shown."""
        entity = self.text("entity")
        return entity if self.fields.get("role") in LASTING else self.name(entity)

    @property
    def place(self) -> str:
        connector = self.number("connector")
        cp_id = self.text("cp_id")
        where = "any charge point" if cp_id == "*" else cp_id
        return f"{where}/{connector}" if connector else where

    @property
    def stopped(self) -> str:
        cause = self.text("cause", "other")
        return _STOPPED.get(cause, cause.replace("_", " "))

    @property
    def missing(self) -> str:
        """What was short, or spoke against it."""
        said = [objection_sentence(one, self._shown) for one in read_objections(self.fields)]
        basis = read_basis(self.fields)
        if basis is not None:
            said.append(basis_sentence(basis, self.least_w))
        return "; ".join(said) or self.text("reason").replace("_", " ")

    def _shown(self, at: str) -> str:
        """A driver's id is one where no charge point and no connector can be meant."""
        return self.name(at) if at == self.fields.get("driver_id") or not self.whole else at

    def detail(self, field: str, before: str = " ") -> str:
        """A free text, for those who may read names."""
        said = self.text(field, "")
        return f"{before}{said}" if said and self.whole else ""


def _set_point(data: _Data) -> Told:
    grant = data.inner("grant")
    basis = read_basis(data.fields)
    reason = data.text("reason", "")
    why = _LIMITED.get(reason, reason.replace("_", " ")) if basis is None else basis_sentence(basis, data.least_w)
    limits = f"{kw(grant.amount('limit_w'))} ({kw(grant.amount('fallback_w'))} if Central is lost)"
    return Told(f"set-point {limits}: {why}", why)


def _authorized(data: _Data) -> str:
    energy_wh = data.number("energy_wh")
    wanted = "as much as it takes" if energy_wh is None else kwh(energy_wh)
    return f"{data.driver} was authorized at {data.place} for {wanted}"


def _queued(data: _Data) -> str:
    eta_ms = data.number("eta_ms")
    turn = "nobody could tell for how long" if eta_ms is None else f"expected {clock(eta_ms)}"
    age_ms = data.number("inputs_age_ms")
    if eta_ms is not None and age_ms is not None:
        turn += f" from readings up to {age_text(age_ms)} old"
    return f"{data.driver} waits at {data.place}, place {data.amount('place')}, {turn}: {data.missing}"


def _offer_ended(data: _Data) -> str:
    moved = ", and lets the next one pass first" if data.fields.get("behind") is not None else ""
    return f"the offer ended: {data.stopped}; it waits on{moved}"


def _started(data: _Data) -> str:
    return f"the supply began at {kwh(data.amount('meter_wh'))} on the meter"


def _meter(data: _Data) -> str:
    meter_wh = data.number("meter_wh")
    return "" if meter_wh is None else f" at {kwh(meter_wh)} on the meter"


def _ticket(data: _Data) -> str:
    ticket = data.inner("ticket")
    amount = f"{ticket.amount('amount_minor') / 100:.2f} {ticket.text('currency')}"
    provisional = ", provisional: the final meter is still awaited" if ticket.fields.get("provisional") else ""
    return f"ticket: {kwh(ticket.amount('energy_wh'))}, {amount}{provisional}"


def _connector(data: _Data) -> str:
    occupied = "a vehicle is plugged in" if data.fields.get("occupied") else "no vehicle is plugged in"
    error = data.text("error", "")
    return f"{data.place}: {occupied}{f', error {error}' if error else ''}"


def _node_lost(data: _Data) -> str:
    until_ms = data.number("until_ms")
    until = "until it is reported well" if until_ms is None else f"tried again at {clock(until_ms)}"
    if data.fields.get("silent"):
        until += ", or an operator says that it reports no more"
    return f"{data.text('node_id')} was lost ({data.text('cause')}), {until}"


def _weather(data: _Data) -> str:
    milli_c = data.number("milli_c")
    parts = [data.text("kind"), *([] if milli_c is None else [f"{milli_c / 1_000:.1f} °C"])]
    if data.text("detail", ""):
        parts.append(data.text("detail"))
    simulated = " (simulated)" if data.fields.get("simulated") else ""
    return f"the weather closed {_scope(data)}: {', '.join(parts)}{simulated}"


def _scope(data: _Data) -> str:
    return data.text("cp_id", "") or data.text("node_id", "") or "the site"


def _derated(data: _Data) -> str:
    derated = data.inner("derated")
    milli_c = derated.number("milli_c")
    hot = "because nobody says how hot it is" if milli_c is None else f"at {milli_c / 1_000:g} °C"
    return f"the limits of all nodes are {derated.amount('share') / 10:g} % of theirs, {hot}"


def _limited(data: _Data) -> str:
    limit_w = data.number("limit_w")
    if limit_w is None:
        return f"an operator lifted the limit of {data.text('cp_id')}"
    return f"an operator limits each connector of {data.text('cp_id')} to {kw(limit_w)}"


def _ruling(data: _Data) -> str:
    ruling = data.inner("ruling")
    return f"the rule {ruling.text('rule')} allows each vehicle {kw(ruling.amount('ceiling_w'))}"


_SENTENCES: dict[str, Callable[[_Data], str]] = {
    "central_started": lambda _: "Central started",
    "central_stopped": lambda _: "Central was stopped",
    "peer_connected": lambda d: f"the {d.text('role')} of {d.entity} connected",
    "peer_disconnected": lambda d: f"the {d.text('role')} of {d.entity} was lost: {d.text('cause')}",
    "peer_refused": lambda d: f"somebody was turned away: {d.text('code').replace('_', ' ')}",
    "peer_revoked": lambda d: f"the credential of a {d.text('role')} was revoked{d.detail('entity', ': ')}",
    "incident_raised": lambda d: f"incident {d.text('code').replace('_', ' ')}{d.detail('detail', ': ')}",
    "anomaly_seen": lambda d: f"{d.text('cp_id')} reported what cannot be: {d.text('code').replace('_', ' ')}",
    "stray_supply_stopped": lambda d: f"{d.text('cp_id')} supplied for a session that is not open, and was stopped",
    "charge_point_booted": lambda d: f"{d.text('cp_id')} booted",
    "connector_changed": _connector,
    "hold_placed": lambda d: f"{d.text('cp_id')} may not charge: {d.text('hold')}{d.detail('detail')}",
    "hold_lifted": lambda d: f"{d.text('cp_id')} is free of {d.text('hold')}",
    "charge_point_limited": _limited,
    "weather_alerted": _weather,
    "weather_cleared": lambda d: f"the weather alert of {_scope(d)} is over: {d.text('kind')}",
    "charge_authorized": _authorized,
    "charge_refused": lambda d: f"{d.driver} was refused at {d.place}: {d.missing}",
    "request_refused": lambda d: f"{d.text('request').replace('_', ' ')} was refused: {d.missing}",
    "charge_queued": _queued,
    "charge_offered": lambda d: f"it was its turn: the connector is held until {clock(d.number('until_ms'))}",
    "offer_ended": _offer_ended,
    "queue_left": lambda d: (
        f"{d.driver} no longer waits at {d.place}: {_LEFT.get(d.text('cause'), d.text('cause').replace('_', ' '))}"
    ),
    "reservation_made": lambda d: (
        f"{d.driver} reserved {d.place} from {clock(d.number('from_ms'))} until {clock(d.number('until_ms'))}"
    ),
    "reservation_opened": lambda _: "the time of the reservation has come: the connector is held for it",
    "reservation_delayed": lambda d: (
        f"the time of the reservation has come, and it has to wait: {d.text('reason').replace('_', ' ')}"
    ),
    "reservation_ended": lambda d: (
        f"the reservation of {d.driver} at {d.place} ended: "
        f"{_ENDED.get(d.text('cause'), d.text('cause').replace('_', ' '))}"
    ),
    "authorization_expired": lambda d: f"it lapsed: {d.stopped}",
    "set_point_rejected": lambda d: f"the charge point did not apply a set-point: {d.text('outcome')}",
    "supply_started": _started,
    "supply_paused": lambda d: f"the supply paused{_meter(d)}",
    "supply_resumed": lambda d: f"the supply went on{_meter(d)}",
    "session_online": lambda _: "the link to the charge point is back",
    "stop_ordered": lambda d: f"Central ordered the end: {d.stopped}",
    "stop_confirmed": lambda _: "the charge point says that its contactor is open",
    "supply_ended": lambda d: f"the supply ended{_meter(d)}: {d.stopped}",
    "ticket_issued": _ticket,
    "ticket_adjusted": lambda d: (
        f"the ticket was adjusted by {d.amount('energy_wh')} Wh, from the meter that came late"
    ),
    "capacity_changed": lambda d: f"{d.text('substation_id')} was given {kw(d.amount('capacity_w'))}",
    "node_watched": lambda d: f"{d.text('node_id')} reports its health: silence is a loss from now on",
    "node_unwatched": lambda d: f"{d.text('node_id')} reports its health no more: silence is no loss",
    "node_lost": _node_lost,
    "node_probing": lambda d: f"{d.text('node_id')} is on trial: one session at a time may show that it is well",
    "node_recovered": lambda d: f"{d.text('node_id')} is well again: a session is supplied there",
    "base_load_rose": lambda d: (
        f"the base load of {d.text('node_id')} counts as {kw(d.amount('most_w'))} while its meter is silent"
    ),
    "base_load_forgotten": lambda d: f"what the meter of {d.text('node_id')} showed of its base load counts no longer",
    "peak_rose": lambda d: (
        f"{d.text('node_id')} drew {kw(d.amount('peak_w'))} over a quarter of an hour, the most of {d.text('month')}"
    ),
    "charge_point_moved": lambda d: (
        f"{d.text('cp_id')} is fed from {d.text('to_id')} instead of {d.text('from_id')}: {d.text('cause')}"
    ),
    "move_completed": lambda d: f"nothing from before its move rules at {d.text('cp_id')} any more",
    "plan_failed": lambda d: f"there is no new plan: {d.text('cause')}",
    "ruling_changed": _ruling,
    "derating_changed": _derated,
}
