"""Without Central, and after the process: nothing is lost, doubled or reordered."""

from __future__ import annotations

import pytest

from evcharge.cp.outbox import WINDOW
from protocol.messages import (
    Boot,
    Outbox,
    Result,
    Status,
    SupplyEnded,
    SupplyUpdate,
)
from tests.cp.rig import SITE_MS, MemoryStore, Rig, kept, numbers, of, result

# --- offline, outbox ------------------------------------------------------------------------------------------------


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


# --- the end of the process, and the next one -----------------------------------------------------------------------


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
