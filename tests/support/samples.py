"""One sample of each kind of event, with every field set to something else than its default."""

from __future__ import annotations

from evcharge.domain import events as e
from evcharge.domain.commands import ConnectorRating
from evcharge.domain.reasons import Basis, Bound, Constraint, Objection, Obstacle, Rejected
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.site import NodeConfig, SiteConfig, Tariff
from evcharge.domain.state import Ruled, RuleInput, Ticket
from evcharge.domain.words import Hold, LeftCause, LimitReason, ReservationEnd, Role, SessionStatus, StopCause
from evcharge.energy.leases import Grant
from evcharge.energy.model import Input, Plan, Policy
from evcharge.energy.rules import ChargingMode, Fault, Rule
from evcharge.ids import (
    ChargePointId,
    CommandId,
    ConnectorNo,
    DriverId,
    Fence,
    NodeId,
    SessionId,
    TicketId,
)
from evcharge.units import Grams, Millis, MinorUnits, PriceE4, WattHours, Watts

CP, S, ANNA, MAIN = ChargePointId("cp-1"), SessionId("s-1"), DriverId("anna"), NodeId("main")
T0 = Millis(1_700_000_000_000)

TICKET = Ticket(
    ticket_id=TicketId("t-s-1"),
    session_id=S,
    cp_id=CP,
    driver_id=ANNA,
    substation_id=MAIN,
    start_ms=T0,
    end_ms=Millis(T0 + 3_600_000),
    energy_wh=WattHours(7_550),
    price_e4=PriceE4(3_000),
    amount_minor=MinorUnits(227),
    currency="EUR",
    status=SessionStatus.INTERRUPTED,
    reason=StopCause.SILENT,
    average_w=Watts(7_550),
    co2_g=Grams(2_265),
    final_meter_wh=WattHours(8_550),
    provisional=True,
)

SAMPLES: tuple[e.Event, ...] = (
    e.CentralStarted(
        site=SiteConfig(
            capacities={NodeId("zoo"): Watts(9_000), MAIN: Watts(22_000)},
            assignments={CP: MAIN},
            nodes={
                NodeId("zoo"): NodeConfig(
                    parent=MAIN,
                    base_w=Watts(500),
                    phase_w=(Watts(1), Watts(2), Watts(3)),
                    backups=(NodeId("annex"),),
                )
            },
            phases={CP: (0, 2)},
            policy=Policy.SLLF,
            rules=True,
            tariff=Tariff(price_e4=PriceE4(3_150), currency="CHF", co2_g_per_kwh=99),
            authorization_ms=61_000,
            settle_ms=86_000_000,
            lease_ms=31_000,
            start_ms=11_000,
            handover_ms=301_000,
        )
    ),
    e.CentralStopped(),
    e.PeerConnected(
        role=Role.ENGINE,
        entity=CP,
        username="u-1",
        fence=Fence(5),
        boot_id=bytes(range(16)),
        outbox_epoch=7,
        stale_record=True,
    ),
    e.PeerDisconnected(role=Role.MONITOR, entity=CP, fence=Fence(5), cause="silent"),
    e.PeerRefused(code="unknown", username="mallory", authentication=True, count=3),
    e.IncidentRaised(code="failed_authentications", detail="5 from 10.0.0.1"),
    e.AnomalySeen(code="meter_absurd", cp_id=CP, detail="session s-1"),
    e.StraySupplyStopped(cp_id=CP, session_id=S, command_id=CommandId(9)),
    e.PeerRevoked(role=Role.DRIVER, entity=ANNA, username="a-1"),
    e.ChargePointBooted(
        cp_id=CP,
        connectors=(ConnectorRating(ConnectorNo(1), Watts(1_400), Watts(11_000)),),
        model="m",
        firmware="f",
    ),
    e.ConnectorChanged(cp_id=CP, connector=ConnectorNo(1), occupied=True, error="hot"),
    e.HoldPlaced(cp_id=CP, hold=Hold.FAULT, detail="ko"),
    e.HoldLifted(cp_id=CP, hold=Hold.FAULT),
    e.OutboxApplied(cp_id=CP, n=3),
    e.ChargeAuthorized(
        session_id=S,
        cp_id=CP,
        connector=ConnectorNo(1),
        driver_id=ANNA,
        substation_id=MAIN,
        min_w=Watts(1_400),
        max_w=Watts(11_000),
        energy_wh=WattHours(5_000),
        depart_by_ms=Millis(T0 + 9),
        expires_ms=Millis(T0 + 60_000),
        command_id=CommandId(1),
        on_the_way=True,
    ),
    e.ChargeRefused(
        driver_id=ANNA,
        cp_id=CP,
        reason=RefusalReason.NO_CAPACITY,
        connector=ConnectorNo(2),
        energy_wh=5,
        depart_by_ms=6,
        capacity_w=7,
        reserved_w=8,
        basis=Basis(Bound(Constraint.MINIMA, "main", 7, 8, 2)),
        against=(Objection(Obstacle.COUNT, "driver anna", "detail", 9, 100, 100),),
    ),
    e.ChargeQueued(
        waiting_id=S,
        cp_id=CP,
        connector=ConnectorNo(1),
        driver_id=ANNA,
        energy_wh=WattHours(5_000),
        depart_by_ms=Millis(T0 + 9),
        reason=RefusalReason.BUSY,
        place=2,
        eta_ms=Millis(T0 + 3_600_000),
        inputs_age_ms=1_500,
        basis=Basis(Bound(Constraint.MINIMA, "main", 7, 8, 2)),
        against=(Objection(Obstacle.IN_USE, "cp-1/1", age_ms=9),),
        node_id=MAIN,
        power_w=11_000,
    ),
    e.ChargeOffered(waiting_id=S, session_id=S, until_ms=Millis(T0 + 300_000)),
    e.OfferEnded(waiting_id=S, cause=StopCause.EXPIRED, missed=1, behind=SessionId("s-2")),
    e.QueueLeft(waiting_id=S, cp_id=CP, connector=ConnectorNo(1), driver_id=ANNA, cause=LeftCause.NO_SHOW),
    e.ReservationMade(
        reservation_id=S,
        driver_id=ANNA,
        cp_id=CP,
        connector=ConnectorNo(1),
        from_ms=Millis(T0 + 3_600_000),
        until_ms=Millis(T0 + 7_200_000),
        energy_wh=WattHours(5_000),
        min_w=Watts(1_400),
    ),
    e.ReservationOpened(reservation_id=S),
    e.ReservationDelayed(reservation_id=S, reason=RefusalReason.BUSY),
    e.ReservationEnded(
        reservation_id=S,
        cp_id=CP,
        connector=ConnectorNo(1),
        driver_id=ANNA,
        from_ms=Millis(T0 + 3_600_000),
        until_ms=Millis(T0 + 7_200_000),
        cause=ReservationEnd.UNAVAILABLE,
    ),
    e.RequestRefused(
        request="stop",
        subject=CP,
        reason=RefusalReason.UNKNOWN_CHARGE_POINT,
        against=(Objection(Obstacle.UNKNOWN, CP),),
    ),
    e.AuthorizationExpired(
        session_id=S,
        cp_id=CP,
        connector=ConnectorNo(1),
        driver_id=ANNA,
        substation_id=MAIN,
        cause=StopCause.EXPIRED,
        command_id=CommandId(4),
        start_pending=True,
    ),
    e.SessionForgotten(session_id=S),
    e.AuthorizationAcknowledged(session_id=S),
    e.SetPointIssued(
        session_id=S,
        grant=Grant(command_id=2, limit_w=7_000, fallback_w=1_400, expires_ms=50_030_000),
        reason=LimitReason.SHARED,
        start_valid_ms=50_010_000,
        basis=Basis(
            Bound(Constraint.CAPACITY, "main", 22_000, 8_000, 2),
            (Input("meter", 1_200),),
            (Rejected(11_000, Constraint.CAPACITY),),
        ),
    ),
    e.SetPointAcknowledged(session_id=S, command_id=CommandId(2)),
    e.SetPointRejected(session_id=S, command_id=CommandId(2), outcome="failed", detail="disk"),
    e.SupplyStarted(session_id=S, meter_wh=WattHours(1_000), at_ms=T0),
    e.MeterSampled(session_id=S, meter_wh=WattHours(1_500), power_w=Watts(7_000)),
    e.SupplyPaused(session_id=S, meter_wh=WattHours(1_600)),
    e.SupplyResumed(session_id=S, meter_wh=WattHours(1_600)),
    e.SessionOnline(session_id=S),
    e.StopOrdered(session_id=S, cause=StopCause.STOPPED, command_id=CommandId(3)),
    e.StopConfirmed(session_id=S),
    e.SupplyEnded(session_id=S, meter_wh=WattHours(8_550), cause=StopCause.UNPLUGGED, at_ms=T0),
    e.TicketIssued(ticket=TICKET),
    e.TicketAdjusted(
        ticket_id=TicketId("t-s-1"),
        session_id=S,
        driver_id=ANNA,
        energy_wh=-50,
        amount_minor=-2,
        co2_g=-15,
        final_meter_wh=WattHours(8_500),
    ),
    e.TicketDelivered(driver_id=ANNA, ticket_id=TicketId("t-s-1")),
    e.CapacityChanged(substation_id=MAIN, capacity_w=Watts(9_000)),
    e.NodeWatched(node_id=MAIN),
    e.NodeUnwatched(node_id=MAIN),
    e.NodeLost(node_id=MAIN, cause="silent for 10.0 s", until_ms=Millis(T0 + 30_000), ejections=2, silent=True),
    e.NodeProbing(node_id=MAIN),
    e.NodeRecovered(node_id=MAIN),
    e.BaseLoadRose(node_id=MAIN, most_w=Watts(63_000)),
    e.BaseLoadForgotten(node_id=MAIN, most_w=Watts(1_230)),
    e.PeakRose(node_id=MAIN, month="2026-11", peak_w=Watts(41_200)),
    e.ChargePointMoved(cp_id=CP, from_id=MAIN, to_id=NodeId("zoo"), cause="main is lost"),
    e.MoveCompleted(cp_id=CP),
    e.PlanAdopted(
        root_id=MAIN,
        plan=Plan(
            made_ms=T0,
            starts_ms=(T0, T0 + 300_000),
            target_w={MAIN: (9_000, 4_000)},
            battery_w=(-500, 0),
            short_wh={S: 700},
            life_ms=901_000,
            inputs=(Input("price", 7),),
        ),
    ),
    e.PlanFailed(cause="time limit reached"),
    e.RulingChanged(
        ruling=Ruled(
            mode=ChargingMode.NORMAL,
            rule=Rule.SOLAR_MEDIUM,
            ceiling_w=8_000,
            wanted_w=11_000,
            inputs=(RuleInput(name="solar_w", milli=40_000_000, age_ms=20), RuleInput(name="x", fault=Fault.MISSING)),
        )
    ),
)
