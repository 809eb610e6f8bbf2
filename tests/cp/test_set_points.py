"""Set-points with their leases, repeats and fences."""

from __future__ import annotations

from evcharge.cp.slot import Now
from protocol.messages import (
    Drain,
    Outbox,
    SetLimit,
    SupplyEnded,
    SupplyPaused,
    SupplyResumed,
    SupplyStarted,
)
from tests.cp.rig import SITE_MS, Rig, kept, numbers, of, result

# --- set-points and leases ------------------------------------------------------------------------------------------


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


# --- repeats and fences ---------------------------------------------------------------------------------------------


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
    assert rig.authorize("S2") == []
    assert rig.store.saved.authorized[1].session_id == "S1"
    assert rig.power_w == 0
    assert rig.wait(3) == []
