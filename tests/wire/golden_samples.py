"""One message of each kind, as the golden vectors have it."""

from __future__ import annotations

from typing import Any

from protocol import messages as m
from tests.support.wire import T0_MS

VIEW: dict[str, Any] = {
    "session_id": "s-1",
    "state": "SUPPLYING",
    "cp_id": "CP-1",
    "connector": 1,
    "driver_id": "d-1",
    "requested_wh": 9000,
    "depart_by_ms": T0_MS + 3_600_000,
    "expires_ms": T0_MS + 60_000,
    "energy_wh": 1234,
    "power_w": 7000,
    "limit_w": 7400,
    "reason": "feeder",
    "amount_minor": 37,
    "currency": "EUR",
}
TICKET: dict[str, Any] = {
    "ticket_id": "t-1",
    "session_id": "s-1",
    "cp_id": "CP-1",
    "driver_id": "d-1",
    "substation_id": "sub-1",
    "start_ms": T0_MS,
    "end_ms": T0_MS + 3_600_000,
    "duration_s": 3600,
    "energy_wh": 7000,
    "price_e4": 3000,
    "amount_minor": 210,
    "currency": "EUR",
    "status": "COMPLETED",
    "reason": "target_reached",
    "average_w": 7000,
    "co2_g": 1400,
    "adjustments": [-5],
}
PLACE: dict[str, Any] = {
    "waiting_id": "s-2",
    "state": "WAITING",
    "cp_id": "CP-1",
    "connector": 1,
    "driver_id": "d-1",
    "place": 2,
    "eta_ms": T0_MS + 1_800_000,
    "inputs_age_ms": 4000,
    "since_ms": T0_MS,
    "session_id": "s-2",
    "offered_until_ms": T0_MS + 300_000,
    "reason": "busy",
}
RESERVATION: dict[str, Any] = {
    "reservation_id": "s-3",
    "state": "LATE",
    "cp_id": "CP-1",
    "connector": 1,
    "from_ms": T0_MS,
    "until_ms": T0_MS + 3_600_000,
    "driver_id": "d-1",
    "requested_wh": 9000,
    "session_id": "s-3",
    "reason": "busy",
}
COMMAND: dict[str, Any] = {"command_id": 7, "fence": 3, "session_id": "s-1", "connector": 1}
POINT: dict[str, Any] = {"limit_w": 7400, "expires_ms": T0_MS + 30_000, "fallback_w": 1400, "reason": "share"}
STARTED = m.SupplyStarted(session_id="s-1", meter_wh=10_000, connector=1, at_ms=T0_MS)

SUPPLYING = m.ConnectorView(
    connector=1,
    state="SUPPLYING",
    occupied=True,
    session_id="s-1",
    driver="anna",
    min_w=1380,
    max_w=11_000,
    limit_w=7400,
    power_w=7000,
    energy_wh=1234,
    reason="shared",
    why="Three share sub-1.",
    decided_ms=T0_MS,
    inputs_ms=T0_MS - 900,
)
RECOMMENDATION = m.RecommendationView(
    mode="pareto",
    vehicle=m.VehicleView(
        battery_percent=35.5,
        capacity_wh=60_000,
        target_percent=80.0,
        need_wh=26_700,
        max_w=11_000,
        range_m=118_333,
        plug="type2",
    ),
    sentence="CP-1 suits best.",
    cp_id="CP-1",
    connector=1,
    weights=m.Weights(cost=0.5, time=0.25, carbon=0.125, queue=0.125),
    stations=[
        m.StationView(
            cp_id="CP-1",
            rank=1,
            connector=1,
            score=0.25,
            front=True,
            parts=m.Weights(cost=0.25),
            cost_minor=801,
            time_s=8739,
            carbon_g=8010,
            queue_s=60,
            power_w=11_000,
            distance_m=1_200,
        ),
        m.StationView(cp_id="CP-2", excluded="out_of_service"),
    ],
    legacy=[
        m.LegacyView(
            station_id="CP-1",
            energy_needed_kwh=30.0,
            carbon_emission_kg=25.5,
            explanation="30.00 kWh in 0.60 h",
            score=125.5,
            charging_time_hours=0.6,
        )
    ],
    left_out=4,
    located=True,
    currency="EUR",
)
WHY = m.WhyView(
    session_id="s-1",
    cp_id="CP-1",
    connector=1,
    state="SUPPLYING",
    sentence="sub-1 has 150 kW, 150 kW of it shared by 3",
    at_ms=T0_MS,
    limit_w=7400,
    reason="shared",
    constraint="capacity",
    node="sub-1",
    node_limit_w=150_000,
    node_rated_w=200_000,
    others_w=14_800,
    sharing=3,
    inputs=[m.InputView(name="meter", age_ms=900)],
    rejected=[m.RejectedView(limit_w=11_000, constraint="capacity")],
)

AUDIT = m.AuditView(
    rows=[
        m.RecordView(
            seq=12,
            kind="charge_authorized",
            leaf_hash="ab" * 32,
            body_bytes=212,
            version=2,
            at_ms=T0_MS,
            clock_ms=T0_MS,
            actor="driver:d-1",
            source="192.0.2.7",
            details='{"session_id":"s-1"}',
        )
    ],
    next_seq=12,
    first_seq=1,
    newest_seq=40,
)
PROOF = m.ProofView(
    type="evcharge inclusion 1",
    seq=12,
    durable=11,
    body="k6RtYXJrAYA=",
    proof=["q6s=", "zc0="],
    checkpoint="evcharge/1\n40\nq6s=\n\n— evcharge/1 zc0=\n",
    next_from=40_000,
)
AUDIT_STATE = m.AuditStateView(
    newest_seq=40,
    first_seq=1,
    verified_from=1,
    verified_to=30,
    suspect=True,
    checkpoint=m.CheckpointView(
        size=39, root="cd" * 32, note=PROOF.checkpoint, key="evcharge/1+00000000+AA==", key_id="00000000"
    ),
)
ASSIGNMENT = m.AssignmentView(
    substation_id="sub-1",
    cp_id="CP-1",
    connector=1,
    utilisation=40,
    headroom_w=9_000,
    power_w=7_360,
    reason="sub-1: of those with room it is used least, 40 % reserved with this one; it would get 7.36 kW now.",
    alternatives=[
        m.AlternativeView(
            substation_id="sub-2",
            reason="It has room, 60 % reserved with one more.",
            cp_id="CP-2",
            connector=1,
            utilisation=60,
        ),
        m.AlternativeView(substation_id="sub-3", reason="sub-3 is lost or on trial."),
    ],
)

SAMPLES: tuple[m.Message, ...] = (
    m.Boot(connectors=[m.ConnectorInfo(connector=1, min_w=1380, max_w=22_000)], model="Säule", firmware="1.0", id=1),
    m.Heartbeat(id=2),
    m.Status(connector=1, occupied=True, error="E01"),
    m.Plugged(connector=1),
    m.Unplugged(connector=1),
    STARTED,
    m.SupplyUpdate(session_id="s-1", meter_wh=11_234, power_w=7000, soc=55),
    m.SupplyPaused(session_id="s-1", meter_wh=11_234, at_ms=T0_MS),
    m.SupplyResumed(session_id="s-1", meter_wh=11_234, at_ms=T0_MS),
    m.SupplyEnded(session_id="s-1", meter_wh=17_000, reason="target_reached", at_ms=T0_MS),
    m.Outbox(n=4, payload=STARTED),
    m.Result(command_id=7, outcome="done", fence=3, detail="closed"),
    m.Health(engine_ok=True, latency_ms=3),
    m.Fault(code="ENGINE_SILENT", detail="3 checks missed"),
    m.Recovery(),
    m.List(id="a", after="CP-1"),
    m.ChargeRequest(id=3, cp_id="CP-1", connector=1, energy_wh=-5, depart_by_ms=T0_MS, on_the_way=True),
    m.LeaveQueue(id=10, waiting_id="s-2"),
    m.Queue(id=11),
    m.Reserve(id=12, cp_id="CP-1", from_ms=T0_MS, until_ms=T0_MS + 3_600_000, connector=1, energy_wh=9000),
    m.CancelReservation(id=13, reservation_id="s-3"),
    m.Reservations(id=14),
    m.EndCharge(id=4, session_id="s-1"),
    m.Tickets(id=5, after="t-1"),
    m.TicketReceived(ticket_id="t-1"),
    m.Recommend(
        id=10,
        battery_percent=35.5,
        capacity_wh=77_000,
        target_percent=90.0,
        max_w=22_000,
        plug="type2",
        consumption_wh_per_km=160,
        latitude=48.5,
        longitude=-9.25,
        weights=m.Weights(cost=0.5, time=0.25, carbon=0.125, queue=0.125),
        max_results=2,
    ),
    m.Why(id=11, session_id="s-1"),
    m.Stop(id=6, cp_id="CP-1", by="office", trace="4b1d0c2e9f6a7788"),
    m.Resume(id=7, cp_id="CP-1"),
    m.SetCapacity(id=8, substation_id="sub-1", capacity_w=150_000),
    m.LimitChargePoint(id=19, cp_id="CP-1", limit_w=7_000),
    m.WeatherAlert(
        id=13,
        kind="cold",
        active=True,
        substation_id="sub-1",
        temperature_c=-3.25,
        detail="Munich",
        simulated=True,
    ),
    m.SensorReading(name="base_w", value=12_500.5, substation_id="sub-1", at_ms=T0_MS, id=10),
    m.SetForecast(id=11, name="price", start_ms=T0_MS, step_ms=900_000, values=[0.12, -0.01]),
    m.SubstationHealth(id=10, substation_id="sub-1", ok=False, detail="breaker open", load_w=0),
    m.Unwatch(id=12, substation_id="sub-1", what="base_w"),
    m.Query(id=9, what="sessions", after="s-1", one="s-1"),
    m.AuditPage(
        id=15, after_seq=10, before_seq=40, tail=True, limit=20, cp_id="CP-1", session_id="s-1", kind="meter_reported"
    ),
    m.AuditProof(id=16, seq=12, body_from=40_000),
    m.AuditState(id=17),
    m.Assign(id=18, power_w=22_000, energy_wh=9000, substation_id="sub-1"),
    m.Follow(id=19, after_seq=11, body_from=48_000, wait_ms=10_000),
    m.Changes(id=20, run="0011223344556677", since=42),
    m.Authorize(**COMMAND, energy_wh=9000, depart_by_ms=T0_MS, expires_ms=T0_MS + 60_000),
    m.StartSupply(**COMMAND, **POINT, valid_until_ms=T0_MS + 10_000),
    m.StopSupply(**COMMAND, reason="driver_ended"),
    m.SetLimit(**COMMAND, **POINT),
    m.Ack(re=2, n=4, time_ms=T0_MS, clock_ms=T0_MS),
    m.Reply(
        re=3,
        session_id="s-1",
        session=m.SessionView(**VIEW),
        charge_points=[
            m.ChargePointView(
                cp_id="CP-1",
                state="ACTIVATED",
                holds=["FAULT"],
                connectors=[m.ConnectorView(connector=1, state="free")],
            )
        ],
        tickets=[m.TicketView(**TICKET)],
        substations=[
            m.SubstationView(
                substation_id="sub-1",
                capacity_w=150_000,
                worst_case_w=7400,
                load_w=7000,
                sessions=1,
                offered_w=7400,
                fallback_w=1400,
            )
        ],
        totals=m.TotalsView(sessions=1),
        optimization=m.OptimizationView(
            mode="NORMAL_CHARGING",
            power_w=11_000,
            rule="solar_medium",
            reason="40 kW of sun",
            solar_w=40_500,
            age_ms={"solar": 20, "battery": None},
            fault={"battery": "missing"},
        ),
        recommendation=RECOMMENDATION,
        why=WHY,
        audit=AUDIT,
        proof=PROOF,
        audit_state=AUDIT_STATE,
        assignment=ASSIGNMENT,
        tail=m.TailView(
            rows=[m.StoredView(seq=12, durable=11, body=bytes.fromhex("93a46d61726b0180"))], first_seq=1, newest_seq=12
        ),
        changes=m.ChangesView(
            run="0011223344556677",
            upto=44,
            rows=[m.ChargePointView(cp_id="CP-2", state="SUPPLYING", connectors=[SUPPLYING], limit_w=7400)],
            meters=[m.MeterView(cp_id="CP-1", connector=1, power_w=7000, energy_wh=1234)],
            more=True,
        ),
        plan=[
            m.PlanView(
                substation_id="sub-1",
                made_ms=T0_MS,
                until_ms=T0_MS + 3_600_000,
                starts_ms=[T0_MS, T0_MS + 900_000],
                target_w=[9000, 11_000],
                limit_w=150_000,
            )
        ],
        alerts=[
            m.AlertView(
                alert_id="cold below sub-1",
                kind="cold",
                since_ms=T0_MS,
                substation_id="sub-1",
                temperature_c=-3.25,
                detail="Munich",
                simulated=True,
            )
        ],
        next="CP-1",
    ),
    m.Refused(reason="CP_BUSY", sentence="Another vehicle charges there.", re=3),
    m.Ticket(**TICKET),
    m.Update(**VIEW),
    m.Waiting(**PLACE),
    m.Reservation(**RESERVATION),
    m.Drain(retry_after_s=2.5),
    m.Error(code="unknown_type", sentence="This type of message is not known here.", re=9),
)
