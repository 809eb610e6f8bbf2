"""From the domain to the wire: effects become orders, answers and news; views become what a reply shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from evcharge.domain import effects as fx
from evcharge.domain import views
from evcharge.domain.headroom import Row, limit_of
from evcharge.domain.reasons import objection_sentence
from evcharge.domain.reasons import sentence as basis_sentence
from evcharge.domain.refusals import sentence
from evcharge.domain.state import Alert, State, Ticket, Totals
from evcharge.domain.waiting_views import ReservationView, WaitingView
from evcharge.energy.model import Policy
from evcharge.energy.rules import Optimization
from evcharge.ids import NodeId
from evcharge.units import WattHours, amount_of
from protocol import messages as m


class Live(msgspec.Struct):
    """The newest telemetry of a session; not in the log, not in the state."""

    energy_wh: int
    power_w: int
    soc: int | None
    heard_s: float
    """When it came, monotonic seconds."""
    logged_w: int
    """Power in the last meter value that became a record."""
    logged_s: float
    """When that was, monotonic seconds."""
    due_s: float
    """When the next one is due at the latest."""


def order_of(effect: fx.ToEngine, clock_ms: int, site_ms: int) -> m.Message:
    """What an engine is told."""
    match effect:
        case fx.Authorize():
            return m.Authorize(
                command_id=effect.command_id,
                fence=effect.fence,
                session_id=effect.session_id,
                connector=effect.connector,
                energy_wh=effect.energy_wh,
                depart_by_ms=effect.depart_by_ms,
                expires_ms=effect.expires_ms,
            )
        case fx.SetPoint() if effect.start_valid_ms is not None:
            return m.StartSupply(
                command_id=effect.command_id,
                fence=effect.fence,
                session_id=effect.session_id,
                connector=effect.connector,
                limit_w=effect.limit_w,
                expires_ms=effect.expires_ms,
                fallback_w=effect.fallback_w,
                reason=effect.reason.value,
                valid_until_ms=effect.start_valid_ms,
            )
        case fx.SetPoint():
            return m.SetLimit(
                command_id=effect.command_id,
                fence=effect.fence,
                session_id=effect.session_id,
                connector=effect.connector,
                limit_w=effect.limit_w,
                expires_ms=effect.expires_ms,
                fallback_w=effect.fallback_w,
                reason=effect.reason.value,
            )
        case fx.StopSupply():
            return m.StopSupply(
                command_id=effect.command_id,
                fence=effect.fence,
                session_id=effect.session_id,
                connector=effect.connector,
                reason=effect.cause.value,
            )
        case fx.OutboxAck():
            return m.Ack(n=effect.n, time_ms=site_ms, clock_ms=clock_ms)
        case _:
            raise AssertionError(f"{type(effect).__name__} is no order")


def refusal(effect: fx.Denied, re: int | str | None) -> m.Refused:
    """No, with its code and a sentence."""
    said = sentence(effect.reason, effect.subject, effect.retry_after_s)
    if effect.against:
        said = f"{said} {'; '.join(objection_sentence(one) for one in effect.against)}."
    if effect.basis is not None:
        said = f"{said} Now {basis_sentence(effect.basis)}."
    return m.Refused(re=re, reason=effect.reason.value, sentence=said[: m.MAX_TEXT], retry_after_s=effect.retry_after_s)


def ticket_message(ticket: Ticket) -> m.Ticket:
    """A ticket for its driver."""
    return m.Ticket(**_ticket_fields(ticket))


def ticket_view(ticket: Ticket) -> m.TicketView:
    """A ticket in a list."""
    return m.TicketView(**_ticket_fields(ticket))


def _ticket_fields(ticket: Ticket) -> dict[str, Any]:
    return {
        "ticket_id": ticket.ticket_id,
        "session_id": ticket.session_id,
        "cp_id": ticket.cp_id,
        "driver_id": ticket.driver_id,
        "substation_id": ticket.substation_id,
        "start_ms": ticket.start_ms,
        "end_ms": ticket.end_ms,
        "duration_s": (ticket.end_ms - ticket.start_ms) // 1000,
        "energy_wh": ticket.energy_wh,
        "price_e4": ticket.price_e4,
        "amount_minor": ticket.amount_minor,
        "currency": ticket.currency,
        "status": ticket.status.value,
        "reason": ticket.reason.value,
        "average_w": ticket.average_w,
        "co2_g": ticket.co2_g,
        "adjustments": list(ticket.adjustments),
    }


def session_fields(view: views.SessionView, live: Live | None = None) -> dict[str, Any]:
    """A session for the wire; live telemetry, where there is some, is newer than the last logged meter value."""
    energy_wh = view.energy_wh if live is None else max(view.energy_wh, live.energy_wh)
    return {
        "session_id": view.session_id,
        "state": view.status,
        "cp_id": view.cp_id,
        "connector": view.connector,
        "driver_id": view.driver_id,
        "requested_wh": view.requested_wh,
        "depart_by_ms": view.depart_by_ms,
        "expires_ms": view.expires_ms,
        "energy_wh": energy_wh,
        "power_w": 0 if live is None else live.power_w,
        "limit_w": view.limit_w,
        "reason": view.reason,
        "amount_minor": amount_of(WattHours(energy_wh), view.price_e4),
        "currency": view.currency,
    }


def charge_point_view(
    view: views.ChargePointView,
    live_of: Callable[[str], Live | None],
    last_seen_ms: int | None,
    *,
    viewer: str | None,
    waiting: int = 0,
) -> m.ChargePointView:
    """A charge point for the wire. ``viewer``: the driver who looks and sees only its own sessions; None: operator."""
    return m.ChargePointView(
        cp_id=view.cp_id,
        state=view.state,
        substation_id=view.substation_id,
        holds=list(view.holds),
        engine=view.engine,
        monitor=view.monitor,
        last_seen_ms=last_seen_ms,
        connectors=[_connector_view(connector, live_of, viewer=viewer) for connector in view.connectors],
        waiting=waiting,
        limit_w=view.limit_w,
    )


def _connector_view(
    view: views.ConnectorView, live_of: Callable[[str], Live | None], *, viewer: str | None
) -> m.ConnectorView:
    session = view.session
    plain = m.ConnectorView(
        connector=view.connector, state=view.state, occupied=view.occupied, min_w=view.min_w, max_w=view.max_w
    )
    if session is None:
        return plain
    if viewer is not None and viewer != session.driver_id:
        return msgspec.structs.replace(plain, driver=mask(session.driver_id))
    fields = session_fields(session, live_of(session.session_id))
    return msgspec.structs.replace(
        plain,
        session_id=session.session_id,
        driver=session.driver_id,
        limit_w=fields["limit_w"],
        power_w=fields["power_w"],
        energy_wh=fields["energy_wh"],
        reason=fields["reason"],
    )


def mask(driver_id: str) -> str:
    """A driver as others see it: the first letter and a star, whatever the length."""
    return f"{driver_id[:1]}*"


def substation_view(
    view: views.SubstationView, load_w: int, measured: tuple[int, int] | None = None
) -> m.SubstationView:
    """A node for the wire; ``measured``: the load that it reports itself, W, and its age, ms."""
    return m.SubstationView(
        substation_id=view.substation_id,
        parent=view.parent,
        capacity_w=view.capacity_w,
        base_w=view.base_w,
        worst_case_w=view.worst_case_w,
        load_w=load_w,
        sessions=view.sessions,
        health=view.health,
        since_ms=view.since_ms,
        home_sessions=view.home_sessions,
        utilisation=view.utilisation,
        limit_w=view.limit_w if view.limit_w < view.capacity_w else None,
        measured_w=None if measured is None else measured[0],
        measured_age_ms=None if measured is None else measured[1],
        offered_w=view.offered_w,
        fallback_w=view.fallback_w,
    )


def plan_views(state: State, after: str, now_ms: int) -> list[m.PlanView]:
    """What plans that hold give each node, in the order of the nodes' ids, beginning behind ``after``."""
    rows = []
    for plan in state.plans.values():
        if plan.holds(now_ms):
            rows += [
                m.PlanView(
                    substation_id=node_id,
                    made_ms=plan.made_ms,
                    until_ms=plan.made_ms + plan.life_ms,
                    starts_ms=list(plan.starts_ms),
                    target_w=list(target_w),
                    limit_w=limit_of(state, Row(NodeId(node_id))),
                )
                for node_id, target_w in plan.target_w.items()
                if node_id > after and node_id in state.nodes
            ]
    return sorted(rows, key=lambda row: row.substation_id)


def alert_view(alert_id: str, alert: Alert) -> m.AlertView:
    """A weather alert that is on."""
    return m.AlertView(
        alert_id=alert_id,
        kind=alert.kind.value,
        since_ms=alert.since_ms,
        cp_id=alert.cp_id,
        substation_id=alert.node_id,
        temperature_c=None if alert.milli_c is None else alert.milli_c / 1000,
        detail=alert.detail,
        simulated=alert.simulated,
    )


def optimization_view(found: Optimization, instead: Policy | None = None) -> m.OptimizationView:
    """The rules' answer for the wire. ``instead``: what shares the power at this site, where the rules limit nobody."""
    reason = found.reason
    if instead is not None:
        reason = (
            f"The rules are not in force here, the policy {instead.value} shares the power; they would say: {reason}"
        )
    return m.OptimizationView(
        solar_w=None if found.solar_output_kw is None else round(found.solar_output_kw * 1000),
        battery_percent=found.battery_level_percent,
        grid_percent=found.grid_load_percent,
        mode=found.charging_mode.value,
        power_w=round(found.charging_power_kw * 1000),
        rule=found.rule.value,
        reason=reason,
        in_force=instead is None,
        age_ms=found.input_age_ms,
        fault={name: fault.value for name, fault in found.input_fault.items()},
    )


def totals_view(totals: Totals) -> m.TotalsView:
    """Sums for the wire; every authorized or refused request counts as one session asked for."""
    return m.TotalsView(
        sessions=totals.authorized + totals.refused,
        authorized=totals.authorized,
        refused=totals.refused,
        started=totals.started,
        expired=totals.expired,
        tickets=totals.tickets,
        energy_wh=totals.energy_wh,
        amount_minor=totals.amount_minor,
    )


def update(view: views.SessionView, live: Live | None) -> m.Update:
    """How a session goes, for its driver."""
    return m.Update(**session_fields(view, live))


def waiting_fields(view: WaitingView) -> dict[str, Any]:
    """A place in the line for the wire."""
    return msgspec.structs.asdict(view)


def reservation_fields(view: ReservationView) -> dict[str, Any]:
    """A reservation for the wire."""
    return msgspec.structs.asdict(view)


def waiting_message(view: WaitingView) -> m.Waiting:
    """News about a place in the line."""
    return m.Waiting(**waiting_fields(view))


def reservation_message(view: ReservationView) -> m.Reservation:
    """News about a reservation."""
    return m.Reservation(**reservation_fields(view))


def answer(
    effect: fx.Granted | fx.Queued | fx.Booked, re: m.RequestId, live_of: Callable[[str], Live | None]
) -> m.Reply:
    """The answer to a request that was not refused."""
    match effect:
        case fx.Granted():
            return session_reply(re, effect.session, live_of(effect.session.session_id))
        case fx.Queued():
            return m.Reply(re=re, waiting=m.WaitingView(**waiting_fields(effect.waiting)))
        case fx.Booked():
            return m.Reply(re=re, reservation=m.ReservationView(**reservation_fields(effect.reservation)))


def session_reply(re: m.RequestId, view: views.SessionView, live: Live | None) -> m.Reply:
    """The answer to a charge request, or to its end."""
    return m.Reply(re=re, session_id=view.session_id, session=m.SessionView(**session_fields(view, live)))


def done(re: m.RequestId | None, clock_ms: int, site_ms: int, *, engine: bool) -> m.Message:
    """The answer to a request that has nothing to show; an engine's is short and tells the time."""
    return m.Ack(re=re, time_ms=site_ms, clock_ms=clock_ms) if engine or re is None else m.Reply(re=re)
