"""The engine, given / when / then: one charge on the wire, leases, offline rules, faults, restarts."""

from __future__ import annotations

import pytest

from evcharge.cp.engine import EngineCore
from evcharge.cp.outbox import WINDOW
from evcharge.cp.slot import Now
from evcharge.cp.store import StoreError
from evcharge.cp.vehicle import Vehicle
from protocol.messages import (
    Boot,
    Drain,
    Heartbeat,
    Outbox,
    Plugged,
    Result,
    SetLimit,
    Status,
    SupplyEnded,
    SupplyPaused,
    SupplyResumed,
    SupplyStarted,
    SupplyUpdate,
    Unplugged,
)
from tests.cp.rig import SITE_MS, MemoryStore, Rig, kept, numbers, of, result

# --- one charge -----------------------------------------------------------------------------------


def test_a_channel_begins_with_boot_then_a_status_per_connector() -> None:
    rig = Rig(connectors=2)
    rig.plug(2)
    assert rig.connect() == [
        Boot(connectors=rig.ratings, model="evcharge simulated", firmware="test"),
        Status(connector=1, occupied=False),
        Status(connector=2, occupied=True),
    ]


def test_one_charge_from_authorize_to_its_end() -> None:
    rig = Rig()
    rig.connect()
    assert rig.authorize(energy_wh=1_000) == [Result(command_id=1, outcome="done", fence=2)]
    assert rig.plug() == [Plugged(connector=1)]
    assert rig.power_w == 0
    sent = rig.start(limit_w=7_200)
    assert sent == [
        Result(command_id=2, outcome="done", fence=2),
        Outbox(n=0, payload=SupplyStarted(session_id="S1", meter_wh=0, connector=1, at_ms=SITE_MS)),
    ]
    assert rig.power_w == 7_200
    rig.ack(0)
    sent = rig.wait(501)
    ended = SupplyEnded(session_id="S1", meter_wh=1_000, reason="target_reached", at_ms=SITE_MS + 500_000)
    assert of(SupplyEnded, sent) == [ended]
    assert numbers(sent) == [1]
    rig.ack(1)
    rig.wait(0.2)
    assert (rig.engine.waiting, kept(rig.store), rig.power_w) == (0, [], 0)


def test_heartbeat_and_supply_update_come_once_a_second() -> None:
    rig = Rig().charging()
    sent = rig.wait(10)
    # One at once, then one a second.
    assert len(of(Heartbeat, sent)) == 11
    updates = of(SupplyUpdate, sent)
    assert len(updates) == 11
    assert updates[-1].power_w == 7_360
    assert updates[-1].soc == 30
    assert updates[-1].meter_wh == 7_360 * 10 // 3_600
    rig.stop()
    assert of(SupplyUpdate, rig.wait(3)) == []


def test_beats_keep_their_rhythm_after_a_late_tick_without_catching_up() -> None:
    rig = Rig()
    rig.connect()
    assert len(of(Heartbeat, rig.wait(30, tick_s=30))) == 1
    assert len(of(Heartbeat, rig.wait(2))) in (2, 3)


def test_fast_site_time_ends_at_the_exact_instant() -> None:
    rig = Rig(speed=1_200)
    rig.charging(energy_wh=6_000)
    sent = rig.wait(4)
    (ended,) = of(SupplyEnded, sent)
    assert ended.meter_wh == 6_000
    assert ended.at_ms == SITE_MS + -(-6_000 * 3_600_000 // 7_360)
    assert rig.trace[-1] == (ended.at_ms, 1, 0)


def test_the_vehicle_may_come_first() -> None:
    rig = Rig()
    rig.plug()
    rig.connect()
    rig.authorize()
    assert result(rig.start()) == "done"


def test_unplugging_ends_the_session_before_central_hears_that_the_vehicle_has_gone() -> None:
    rig = Rig().charging()
    rig.wait(3_600)
    sent = rig.unplug()
    assert [type(message) for message in sent] == [Outbox, Unplugged]
    (ended,) = of(SupplyEnded, sent)
    assert (ended.reason, ended.meter_wh) == ("unplugged", 7_360)
    assert rig.unplug() == []


def test_a_new_vehicle_drives_the_old_one_away() -> None:
    rig = Rig().charging()
    sent = rig.plug()
    assert [type(message) for message in sent] == [Outbox, Unplugged, Plugged]
    assert rig.power_w == 0


def test_a_full_vehicle_ends_its_session_at_the_start() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize()
    rig.plug(vehicle=Vehicle(60_000, 60_000, 7_360))
    sent = rig.start()
    assert [type(payload) for payload in of(SupplyStarted, sent) + of(SupplyEnded, sent)] == [
        SupplyStarted,
        SupplyEnded,
    ]
    assert of(SupplyEnded, sent)[0].reason == "vehicle_full"
    assert of(SupplyPaused, sent) == []


def test_a_stop_names_the_reason_and_frees_the_connector() -> None:
    rig = Rig().charging()
    rig.wait(60)
    sent = rig.stop("driver_ended")
    assert result(sent) == "done"
    (ended,) = of(SupplyEnded, sent)
    assert (ended.reason, ended.at_ms) == ("driver_ended", SITE_MS + 60_000)
    rig.authorize("S2")
    assert result(rig.start("S2")) == "done"


def test_a_stop_of_an_authorized_session_cancels_it_and_leaves_no_trace_in_the_outbox() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize()
    rig.plug()
    sent = rig.stop(session_id="S1")
    assert (result(sent), numbers(sent)) == ("done", [])
    assert result(rig.start()) == "rejected"
    assert rig.store.saved.authorized == {}


def test_a_stop_for_another_session_leaves_this_one_alone() -> None:
    rig = Rig().charging()
    assert result(rig.stop(session_id="other")) == "done"
    assert rig.power_w > 0
    rig = Rig()
    rig.connect()
    rig.authorize()
    rig.stop(session_id="other")
    assert "S1" in str(rig.store.saved.authorized)


def test_a_stop_of_connector_0_stops_all_of_them() -> None:
    rig = Rig(connectors=2)
    rig.connect()
    for connector in (1, 2):
        rig.authorize(f"S{connector}", connector=connector)
        rig.plug(connector)
        rig.start(f"S{connector}", connector=connector)
    sent = rig.stop("stopped", connector=0)
    assert [ended.session_id for ended in of(SupplyEnded, sent)] == ["S1", "S2"]


def test_two_connectors_have_meters_of_their_own() -> None:
    rig = Rig(connectors=2)
    rig.connect()
    rig.authorize("S2", connector=2)
    rig.plug(2)
    rig.start("S2", connector=2)
    rig.wait(3_600)
    assert rig.engine.meters() == {1: 0, 2: 7_360}


# --- what may not start ---------------------------------------------------------------------------


def test_no_start_without_authorization_vehicle_or_for_another_session() -> None:
    rig = Rig()
    rig.connect()
    rig.plug()
    assert result(rig.start()) == "rejected"
    rig.authorize("S1")
    assert result(rig.start("S2")) == "rejected"
    rig.unplug()
    assert result(rig.start("S1")) == "rejected"
    assert rig.power_w == 0
    assert kept(rig.store) == []


def test_a_start_is_valid_until_its_instant_on_the_channel_clock() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize()
    rig.plug()
    valid_until_ms = rig.channel_ms + 10_000
    rig.wait(10.001, tick_s=10.001)
    assert result(rig.start(valid_until_ms=valid_until_ms)) == "expired"
    assert rig.power_w == 0
    assert result(rig.start(valid_until_ms=rig.channel_ms)) == "done"


def test_a_start_whose_set_point_is_over_is_expired_too() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize()
    rig.plug()
    assert result(rig.start(lease_s=0)) == "expired"


def test_an_ended_session_does_not_start_again() -> None:
    rig = Rig().charging()
    rig.stop()
    assert result(rig.start()) == "rejected"


def test_while_a_session_runs_no_other_is_authorized_or_started() -> None:
    rig = Rig().charging()
    assert result(rig.authorize("S2")) == "rejected"
    assert result(rig.start("S2")) == "rejected"
    assert result(rig.authorize("S1")) == "done"


def test_an_authorization_lapses_at_its_instant_of_site_time() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize(expires_ms=SITE_MS + 60_000)
    rig.wait(60)
    assert rig.store.saved.authorized == {}
    rig.plug()
    assert result(rig.start()) == "rejected"


def test_an_authorization_holds_while_a_vehicle_waits_for_power_and_lapses_when_it_leaves() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize(expires_ms=SITE_MS + 60_000)
    rig.plug()
    rig.wait(61)
    assert rig.store.saved.authorized != {}
    rig.unplug()
    assert rig.store.saved.authorized == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"session_id": ""},
        {"session_id": "x" * 65},
        {"energy_wh": -1},
        {"energy_wh": 2**60},
        {"expires_ms": -5},
        {"depart_by_ms": 2**64},
        {"connector": 2},
        {"connector": 0},
    ],
)
def test_an_authorize_that_makes_no_sense_is_rejected(fields: dict[str, object]) -> None:
    rig = Rig()
    rig.connect()
    assert result(rig.authorize(**fields)) == "rejected"


@pytest.mark.parametrize(
    "fields", [{"limit_w": -1}, {"fallback_w": -1}, {"limit_w": 10**9}, {"expires_ms": -1}, {"connector": 7}]
)
def test_a_set_point_that_makes_no_sense_is_rejected(fields: dict[str, object]) -> None:
    rig = Rig().charging()
    assert result(rig.limit(**{"limit_w": 2_000, **fields})) == "rejected"
    assert rig.power_w == 7_360
    rig.stop()
    rig.authorize("S2")
    assert result(rig.start("S2", **fields)) in ("rejected", "expired")
    assert rig.power_w == 0


def test_a_stop_for_a_connector_that_is_not_there_is_rejected() -> None:
    rig = Rig().charging()
    assert result(rig.stop(connector=9)) == "rejected"


def test_numbers_that_cannot_be_answered_are_ignored_but_a_stop_stops() -> None:
    rig = Rig()
    rig.connect()
    assert rig.authorize(command_id=-1) == []
    assert rig.authorize(command_id=2**64 - 1) == []
    rig.charging()
    sent = rig.stop("stopped", command_id=2**63)
    assert of(Result, sent) == []
    assert of(SupplyEnded, sent)[0].reason == "stopped"


# --- set-points and leases ------------------------------------------------------------------------


def test_a_set_point_applies_at_once_and_the_meter_shows_both_powers() -> None:
    rig = Rig().charging(lease_s=600)
    rig.wait(1_800)
    assert result(rig.limit(3_600, lease_s=3_600)) == "done"
    assert rig.power_w == 3_600
    rig.wait(1_800)
    # 600 s of lease at 7.36 kW, 1,200 s at the fallback of 1.38 kW, 1,800 s at 3.6 kW.
    assert rig.register_wh == (600 * 7_360 + 1_200 * 1_380 + 1_800 * 3_600) // 3_600


def test_a_lease_holds_until_its_instant_then_the_fallback_rules() -> None:
    rig = Rig().charging()
    rig.limit(5_000, lease_s=30)
    rig.wait(29.9)
    assert rig.power_w == 5_000
    rig.wait(0.1)
    assert rig.power_w == 1_380
    assert rig.trace[-1][0] in (SITE_MS + 29_999, SITE_MS + 30_000)


def test_a_lease_ends_at_its_own_instant_inside_a_long_tick() -> None:
    rig = Rig(speed=1_200)
    rig.charging(capacity_wh=1_000_000, soc=0)
    rig.limit(5_000, lease_s=30)
    rig.wait(60, tick_s=50)
    at_ms, _, power_w = rig.trace[-1]
    assert power_w == 1_380
    assert abs(at_ms - (SITE_MS + 30_000 * 1_200)) <= 1


def test_a_session_that_ends_before_its_lease_does_not_fall_back() -> None:
    rig = Rig(speed=1_200)
    rig.charging(energy_wh=1_000)
    rig.limit(5_000, lease_s=30)
    sent = rig.wait(40, tick_s=40)
    assert of(SupplyEnded, sent)[0].reason == "target_reached"
    assert rig.trace[-1][2] == 0


def test_without_a_channel_the_lease_runs_on_and_ends() -> None:
    rig = Rig().charging()
    rig.limit(5_000, lease_s=30)
    rig.wait(10)
    rig.disconnect()
    rig.wait(19)
    assert rig.power_w == 5_000
    rig.wait(1.2)
    assert rig.power_w == 1_380


def test_a_channel_clock_that_is_ahead_ends_the_lease_early_one_that_is_behind_not_later() -> None:
    rig = Rig().charging()
    rig.limit(5_000, lease_s=30)
    rig.disconnect()
    rig.channel_offset_ms += 60_000
    rig.connect()
    rig.wait(0.1)
    assert rig.power_w == 1_380
    rig = Rig().charging()
    rig.limit(5_000, lease_s=30)
    rig.disconnect()
    rig.channel_offset_ms -= 60_000
    rig.connect()
    rig.wait(30.1)
    assert rig.power_w == 1_380


def test_without_any_knowledge_of_the_channel_clock_the_fallback_rules_at_once() -> None:
    rig = Rig().charging()
    now = Now(rig.site_ms, rig.wall_s, None)
    order = SetLimit(
        command_id=99,
        fence=rig.fence,
        connector=1,
        limit_w=5_000,
        expires_ms=rig.channel_ms + 60_000,
        fallback_w=1_500,
        reason="x",
    )
    assert result(rig.engine.on_message(order, now)) == "done"
    assert rig.power_w == 1_500


def test_a_set_point_that_is_over_on_arrival_leaves_its_fallback() -> None:
    rig = Rig().charging()
    assert result(rig.limit(5_000, lease_s=-1)) == "done"
    assert rig.power_w == 1_380


def test_a_pause_and_its_end_are_facts_of_the_outbox() -> None:
    rig = Rig().charging()
    rig.wait(3_600)
    rig.limit(6_000)
    rig.wait(1)
    (paused,) = of(SupplyPaused, rig.limit(0, fallback_w=0))
    assert paused.meter_wh == rig.register_wh
    assert rig.power_w == 0
    assert of(SupplyPaused, rig.limit(1_379, fallback_w=0)) == []
    rig.wait(5)
    (resumed,) = of(SupplyResumed, rig.limit(1_380))
    assert resumed.at_ms == rig.site_ms
    assert rig.power_w == 1_380
    # One item each: started, resumed from no earlier pause is none.
    assert [type(item.payload).__name__ for item in kept(rig.store)] == [
        "SupplyStarted",
        "SupplyPaused",
        "SupplyResumed",
    ]


def test_a_start_under_no_power_is_a_session_that_is_paused() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize()
    rig.plug()
    sent = rig.start(limit_w=0, fallback_w=0)
    assert result(sent) == "done"
    assert [type(message.payload) for message in sent if isinstance(message, Outbox)] == [
        SupplyStarted,
        SupplyPaused,
    ]


def test_a_fallback_below_the_minimum_is_a_pause_when_the_lease_ends() -> None:
    rig = Rig().charging()
    rig.limit(5_000, lease_s=5, fallback_w=0)
    (paused,) = of(SupplyPaused, rig.wait(6))
    # The instant is rounded down to the millisecond: a lease never lasts longer.
    assert paused.at_ms in (SITE_MS + 4_999, SITE_MS + 5_000)


def test_a_set_point_needs_the_session_that_runs() -> None:
    rig = Rig()
    rig.connect()
    assert result(rig.limit(2_000)) == "rejected"
    rig.charging()
    assert result(rig.limit(2_000, session_id="other")) == "rejected"
    assert result(rig.limit(2_000, session_id="S1")) == "done"


# --- repeats and fences ---------------------------------------------------------------------------


def test_a_repeated_command_gets_the_kept_result_and_does_nothing() -> None:
    rig = Rig().charging()
    first = rig.limit(3_000, command_id=50)
    rig.limit(5_000, command_id=51)
    assert rig.limit(3_000, command_id=50) == first
    assert rig.power_w == 5_000
    assert result(rig.start("other", command_id=52)) == "rejected"
    rig.stop()
    assert result(rig.start("other", command_id=52)) == "rejected"


def test_a_second_start_of_a_running_session_is_a_retry_with_a_newer_set_point() -> None:
    rig = Rig().charging()
    sent = rig.start(limit_w=2_000, valid_until_ms=0)
    assert (result(sent), numbers(sent)) == ("done", [])
    assert rig.power_w == 2_000
    assert result(rig.start(limit_w=-2)) == "rejected"


def test_an_older_fence_is_ignored() -> None:
    rig = Rig().charging()
    old = rig.fence
    rig.disconnect()
    rig.connect()
    assert rig.stop(fence=old) == []
    assert rig.limit(2_000, fence=old) == []
    assert rig.power_w == 7_360


def test_the_same_number_on_a_new_fence_is_a_new_command() -> None:
    rig = Rig().charging()
    rig.limit(3_000, command_id=50)
    rig.disconnect()
    rig.connect()
    assert result(rig.limit(4_000, command_id=50)) == "done"
    assert rig.power_w == 4_000


def test_results_are_kept_for_the_newest_commands_only() -> None:
    rig = Rig().charging()
    rig.limit(3_000, command_id=1_000)
    for number in range(64):
        rig.limit(3_000 + number, command_id=1_001 + number)
    rig.limit(5_000, command_id=1_000)
    assert rig.power_w == 5_000


def test_messages_that_mean_nothing_to_an_engine_are_ignored() -> None:
    rig = Rig()
    rig.connect()
    assert rig.take(rig.engine.on_message(Drain(retry_after_s=1.0), rig.now)) == []


def test_nothing_is_said_and_nothing_starts_without_a_channel() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize()
    rig.disconnect()
    assert rig.plug() == []
    assert rig.start() == []
    assert rig.power_w == 0
    assert rig.wait(3) == []


# --- offline, outbox ------------------------------------------------------------------------------


def test_a_session_without_central_goes_on_to_its_normal_end_and_is_delivered_later() -> None:
    rig = Rig().charging(energy_wh=2_000, lease_s=600)
    rig.ack(0)
    rig.disconnect()
    assert rig.wait(3_600) == []
    assert rig.register_wh == 2_000
    rig.unplug()
    sent = rig.connect(next_n=1)
    assert [type(message) for message in sent] == [Boot, Status, Outbox]
    (ended,) = of(SupplyEnded, sent)
    assert (ended.reason, ended.meter_wh) == ("target_reached", 2_000)
    # 600 s at 7,360 W, then 1,380 W to the end.
    rest_mj = 2_000 * 3_600_000 - 600_000 * 7_360
    assert ended.at_ms == SITE_MS + 600_000 + -(-rest_mj // 1_380)


def test_after_a_reconnect_items_below_next_n_are_dropped_and_the_rest_comes_in_order() -> None:
    rig = Rig().charging()
    rig.limit(0, fallback_w=0)
    rig.limit(5_000)
    rig.stop()
    assert [item.n for item in kept(rig.store)] == [0, 1, 2, 3]
    rig.disconnect()
    assert numbers(rig.connect(next_n=2)) == [2, 3]
    rig.disconnect()
    assert numbers(rig.connect(next_n=2)) == [2, 3]
    rig.wait(0.1)
    assert [item.n for item in kept(rig.store)] == [2, 3]
    assert numbers(rig.ack(3)) == []
    rig.wait(0.1)
    assert kept(rig.store) == []


def test_an_ack_for_what_was_never_sent_is_ignored() -> None:
    rig = Rig().charging()
    rig.ack(5)
    rig.wait(0.2)
    assert [item.n for item in kept(rig.store)] == [0]


def test_only_a_window_of_items_is_in_flight() -> None:
    rig = Rig().charging()
    for _ in range(WINDOW):
        rig.limit(0, fallback_w=0)
        rig.limit(5_000)
    assert len(kept(rig.store)) == 2 * WINDOW + 1
    rig.disconnect()
    assert numbers(rig.connect()) == list(range(WINDOW))
    assert numbers(rig.wait(1)) == []
    assert numbers(rig.ack(9)) == list(range(WINDOW, WINDOW + 10))
    assert numbers(rig.ack(9)) == []


def test_when_central_knows_more_than_the_disk_items_get_free_numbers() -> None:
    store = MemoryStore()
    rig = Rig(store).charging()
    rig.stop()
    rig.disconnect()
    sent = rig.connect(next_n=100)
    assert numbers(sent) == [100, 101]
    assert [item.n for item in kept(store)] == [100, 101]
    rig.ack(101)
    rig.authorize("S2")
    assert numbers(rig.start("S2")) == [102]
    empty = Rig()
    empty.connect(next_n=7)
    empty.authorize()
    empty.plug()
    assert numbers(empty.start()) == [7]


def test_too_much_that_waits_stops_new_sessions_and_reports_of_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.cp.ledger.MAX_ITEMS", 2)
    rig = Rig().charging()
    rig.limit(0, fallback_w=0)
    assert numbers(rig.limit(5_000)) == []
    assert of(SupplyEnded, rig.stop()) != []
    rig.authorize("S2")
    assert result(rig.start("S2")) == "rejected"


# --- faults ---------------------------------------------------------------------------------------


def test_a_fault_stops_at_once_tells_central_and_keeps_the_energy() -> None:
    rig = Rig().charging()
    rig.wait(3_600)
    sent = rig.take(rig.engine.fail("ground_fault", rig.now, 1))
    assert rig.power_w == 0
    assert of(Status, sent) == [Status(connector=1, occupied=True, error="ground_fault")]
    (ended,) = of(SupplyEnded, sent)
    assert ended.reason == "fault"
    assert ended.meter_wh == rig.register_wh
    assert rig.engine.health() == "ground_fault"
    assert result(rig.authorize("S2")) == "rejected"


def test_a_fault_between_authorize_and_start_refuses_the_start() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize()
    rig.plug()
    rig.engine.fail("ground_fault", rig.now)
    assert result(rig.start()) == "rejected"
    sent = rig.take(rig.engine.recover(rig.now))
    assert of(Status, sent) == [Status(connector=1, occupied=True)]
    assert rig.engine.recover(rig.now) == []
    assert result(rig.start()) == "done"


def test_a_fault_while_offline_is_told_as_the_condition_at_the_reconnect() -> None:
    rig = Rig().charging()
    rig.disconnect()
    assert rig.engine.fail("ground_fault", rig.now) == []
    assert rig.power_w == 0
    sent = rig.connect()
    assert of(Status, sent)[0].error == "ground_fault"
    assert of(SupplyEnded, sent)[0].reason == "fault"


def test_one_broken_connector_of_two_leaves_the_charge_point_well() -> None:
    rig = Rig(connectors=2)
    rig.engine.fail("worn_out", rig.now, 2)
    assert rig.engine.health() is None
    rig.engine.fail("worn_out", rig.now, 1)
    assert rig.engine.health() == "worn_out"


def test_the_red_button() -> None:
    rig = Rig().charging()
    sent = rig.take(rig.engine.emergency_stop(rig.now))
    assert of(SupplyEnded, sent)[0].reason == "fault"
    assert of(Status, sent)[0].error == "emergency_stop"
    assert rig.engine.health() == "emergency_stop"


def test_a_connector_that_is_not_there_is_a_key_error() -> None:
    rig = Rig()
    with pytest.raises(KeyError):
        rig.engine.fail("x", rig.now, 4)
    with pytest.raises(KeyError):
        rig.engine.unplug(4, rig.now)


# --- the end of the process, and the next one -----------------------------------------------------


def test_a_planned_end_leaves_the_final_meter_and_starts_nothing_more() -> None:
    rig = Rig().charging()
    rig.wait(3_600)
    sent = rig.take(rig.engine.shutdown(rig.now))
    (ended,) = of(SupplyEnded, sent)
    assert (ended.reason, ended.meter_wh) == ("engine_shutdown", rig.register_wh)
    rig.store.saved.authorized.clear()
    assert result(rig.authorize("S2")) == "rejected"
    assert rig.engine.shutdown(rig.now) == []


def test_a_restart_ends_the_running_session_with_the_last_meter_on_disk() -> None:
    rig = Rig().charging()
    rig.wait(3_600.4)
    on_disk_wh = rig.store.saved.meters[1] // 3_600_000
    rig.boot()
    assert rig.register_wh == on_disk_wh
    # Not more than a second is missing, and nothing that Central was told.
    assert (rig.site_ms - rig.store.saved.meters_at_ms) <= 1_000
    told = max(update.meter_wh for update in of(SupplyUpdate, rig.sent))
    sent = rig.connect()
    (ended,) = of(SupplyEnded, sent)
    assert ended.reason == "engine_restart"
    assert ended.meter_wh == on_disk_wh >= told
    assert ended.at_ms == rig.store.saved.meters_at_ms
    assert rig.store.saved.running == {}
    rig.boot()
    assert len(of(SupplyEnded, rig.connect())) == 1


def test_an_authorization_survives_the_process() -> None:
    rig = Rig()
    rig.connect()
    rig.authorize(energy_wh=500)
    rig.boot()
    rig.connect()
    rig.plug()
    assert result(rig.start()) == "done"
    (ended,) = of(SupplyEnded, rig.wait(400))
    assert ended.meter_wh == 500


def test_the_register_goes_on_where_it_was_with_its_remainder() -> None:
    rig = Rig().charging()
    rig.wait(100)
    rig.stop()
    register_mj = rig.engine.slots[0].connector.register_mj
    assert register_mj % 3_600_000 != 0
    rig.boot()
    assert rig.engine.slots[0].connector.register_mj == register_mj


def test_results_of_commands_survive_the_process() -> None:
    rig = Rig()
    rig.connect(fence=9)
    rig.authorize(command_id=5)
    rig.boot()
    rig.connect(fence=9)
    assert rig.authorize("other", command_id=5) == [Result(command_id=5, outcome="done", fence=9)]


def test_a_session_on_a_connector_that_was_taken_away_is_settled_too() -> None:
    rig = Rig(connectors=2)
    rig.connect()
    rig.authorize("S2", connector=2)
    rig.plug(2)
    rig.start("S2", connector=2)
    rig.ratings = rig.ratings[:1]
    rig.boot()
    assert [ended.session_id for ended in of(SupplyEnded, rig.connect())] == ["S2"]


# --- the disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize("transient", [True, False])
def test_a_failing_disk_stops_the_supply_within_a_second_and_says_so(transient: bool) -> None:
    rig = Rig().charging()
    rig.wait(10)
    rig.store.fill_up(transient=transient)
    sent = rig.wait(1.1)
    assert rig.power_w == 0
    assert of(Status, sent) == [Status(connector=1, occupied=True, error="storage_failed")]
    assert numbers(sent) == []
    assert rig.engine.health() == "storage_failed"
    assert rig.engine.disk_error == "the disk is full"
    rig.store.empty()
    sent = rig.wait(1.1)
    if transient:
        (ended,) = of(SupplyEnded, sent)
        assert ended.reason == "fault"
        assert ended.meter_wh == rig.register_wh
        assert of(Status, sent) == [Status(connector=1, occupied=True)]
        assert rig.engine.health() is None
        rig.authorize("S2")
        assert result(rig.start("S2")) == "done"
    else:
        assert sent == [Heartbeat()]
        assert rig.engine.health() == "storage_failed"


def test_nothing_is_authorized_or_started_on_a_failing_disk() -> None:
    rig = Rig()
    rig.connect()
    rig.plug()
    rig.store.fill_up()
    assert result(rig.authorize()) == "failed"
    assert result(rig.authorize()) == "rejected"
    rig.store.empty()
    rig.wait(1.1)
    rig.authorize()
    rig.store.fill_up()
    sent = rig.start()
    assert (result(sent), numbers(sent), rig.power_w) == ("failed", [], 0)
    rig.store.empty()
    rig.wait(1.1)
    # The number that the failed start had taken is used again: no gap.
    assert numbers(rig.start()) == [0]


def test_a_stop_on_a_failing_disk_stops_and_its_result_waits_for_the_disk() -> None:
    rig = Rig().charging()
    rig.store.fill_up()
    sent = rig.stop()
    assert (result(sent), numbers(sent), rig.power_w) == ("done", [], 0)
    assert rig.engine.waiting == 2
    # Still full: it goes on waiting.
    assert numbers(rig.wait(2.2)) == []
    rig.store.empty()
    assert numbers(rig.wait(1.1)) == [1]


def test_a_disk_that_is_full_again_at_the_probe_stays_failed() -> None:
    rig = Rig().charging()
    rig.store.fill_up()
    rig.stop()
    refuse = rig.store.before
    rig.store.before = lambda batch: None if batch.items else refuse(batch)
    rig.wait(1.1)
    assert rig.engine.health() == "storage_failed"
    rig.store.empty()
    rig.wait(1.1)
    assert rig.engine.health() is None


def test_central_ahead_of_a_failing_disk_gets_nothing_under_wrong_numbers() -> None:
    rig = Rig().charging()
    rig.stop()
    rig.disconnect()
    rig.store.fill_up()
    assert numbers(rig.connect(next_n=50)) == []
    rig.disconnect()
    rig.store.empty()
    rig.wait(1.1)
    assert numbers(rig.connect(next_n=50)) == [50, 51]


def test_a_disk_that_fails_at_the_start_of_the_process_is_an_error() -> None:
    rig = Rig().charging()
    rig.store.fill_up()
    with pytest.raises(StoreError):
        EngineCore(rig.ratings, rig.store, rig.now)
