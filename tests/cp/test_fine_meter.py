"""A meter counts on whatever becomes of the process beside it: what flowed until the last look is on the ticket.

Found by ``python -m tools.drill charge-point-kills``: a kill in the middle of charging cost up to a second of energy.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.cp.store import StoreError
from evcharge.cp.vehicle import MJ_PER_WH
from protocol.messages import SupplyEnded, SupplyUpdate
from tests.cp.rig import Rig, of

# Power of the rig's connector, W.
POWER_W = 7_360


@given(ticks=st.integers(0, 40), fine=st.booleans())
def test_what_flowed_until_the_last_look_survives_a_kill(ticks: int, *, fine: bool) -> None:
    rig = Rig(fine_meter=fine).charging()
    rig.wait(ticks / 10)
    flowed_mj = rig.engine.slots[0].connector.register_mj
    assert flowed_mj == POWER_W * ticks * 100
    rig.boot()
    (ended,) = of(SupplyEnded, rig.connect())
    lost_mj = flowed_mj - rig.store.saved.meters[1]
    assert ended.meter_wh == (flowed_mj - lost_mj) // MJ_PER_WH
    assert lost_mj == 0 if fine else 0 <= lost_mj < POWER_W * 1_000


def test_looks_between_two_beats_cost_no_flush_and_beats_do() -> None:
    rig = Rig(fine_meter=True).charging()
    rig.wait(0.1)
    rig.store.writes.clear()
    rig.wait(2.0)
    metered = [batch.durable for batch in rig.store.writes if batch.meters]
    assert metered.count(True) == 2
    assert metered.count(False) == 18


def test_what_central_hears_is_durable_first() -> None:
    rig = Rig(fine_meter=True).charging()
    durable_wh = 0
    rig.store.writes.clear()
    for _ in range(50):
        for update in of(SupplyUpdate, rig.wait(0.1)):
            durable = [batch.meters[1] for batch in rig.store.writes if batch.meters and batch.durable]
            durable_wh = durable[-1] // MJ_PER_WH
            assert update.meter_wh <= durable_wh
    assert durable_wh > 0


def test_a_meter_that_stands_still_is_not_written() -> None:
    rig = Rig(fine_meter=True).charging()
    rig.limit(0, fallback_w=0)
    rig.wait(1.0)
    rig.store.writes.clear()
    rig.wait(3.0)
    assert rig.store.writes == []


@pytest.mark.parametrize("transient", [True, False])
def test_a_disk_that_fails_at_a_look_stops_the_supply(transient: bool) -> None:
    rig = Rig(fine_meter=True).charging()
    rig.wait(0.1)

    def refuse(batch: object) -> None:
        raise StoreError("the disk is full", transient=transient)

    rig.store.before = refuse
    rig.wait(0.1)
    assert rig.power_w == 0
    assert rig.engine.health() == "storage_failed"
