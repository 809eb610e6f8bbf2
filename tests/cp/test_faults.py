"""Faults of connectors and of the disk: stop first, say so, lose nothing."""

from __future__ import annotations

import pytest

from evcharge.cp.engine import EngineCore
from evcharge.cp.store import StoreError
from protocol.messages import (
    Heartbeat,
    Status,
    SupplyEnded,
)
from tests.cp.rig import Rig, numbers, of, result

# --- faults ---------------------------------------------------------------------------------------------------------


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


# --- the disk -------------------------------------------------------------------------------------------------------


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
