"""One charge from authorize to its end, given / when / then, and all that may not start."""

from __future__ import annotations

import pytest

from evcharge.cp.vehicle import Vehicle
from protocol.messages import (
    Boot,
    Heartbeat,
    Outbox,
    Plugged,
    Result,
    Status,
    SupplyEnded,
    SupplyPaused,
    SupplyStarted,
    SupplyUpdate,
    Unplugged,
)
from tests.cp.rig import SITE_MS, Rig, kept, numbers, of, result

# --- one charge -----------------------------------------------------------------------------------------------------


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


# --- what may not start ---------------------------------------------------------------------------------------------


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


def test_an_ended_session_does_not_start_again_in_the_next_process_either() -> None:
    rig = Rig().charging()
    rig.boot()
    rig.connect()
    rig.plug()
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


def test_an_authorization_that_central_forgot_unheard_does_not_stay_for_ever() -> None:
    """Found by the simulation, seed 141: the line was dark when Central let it expire."""
    rig = Rig()
    rig.connect()
    rig.authorize(expires_ms=SITE_MS + 60_000)
    rig.plug()
    rig.disconnect()
    rig.wait(119)
    assert rig.store.saved.authorized != {}
    rig.wait(1)
    assert rig.store.saved.authorized == {}
    rig.connect()
    assert result(rig.start()) == "rejected"


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
