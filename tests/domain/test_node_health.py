"""Nodes that are lost, on trial and well again: who says so, and whom they admit."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.health import EJECTED_MS, FAILED_WITHIN_MS, FAILURES, MOST_EJECTED_MS, QUIET_MS
from evcharge.domain.reasons import Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.site import NodeConfig
from evcharge.domain.words import Health
from evcharge.ids import ChargePointId, NodeId, SessionId
from evcharge.units import WattHours, Watts
from tests.support.failing_site import NORTH, SOUTH, THIRD, TOP, Power, a_site, begin, charging
from tests.support.scenario import CP, boot, connected, engine_down, plug, report, request

# --- health -----------------------------------------------------------------------------------------------------------


def test_the_first_report_makes_silence_mean_something() -> None:
    power = Power().given(a_site())
    power.when(report(NORTH, ok=True)).then(e.NodeWatched(node_id=NORTH))
    power.when(report(NORTH, ok=True)).then()


def test_lost_on_trial_and_well_again() -> None:
    power = charging(CP, backups={SOUTH: (NORTH,)})
    power.given(report(NORTH, ok=True))
    power.when(report(NORTH, ok=False, cause="breaker")).then(e.NodeLost(node_id=NORTH, cause="breaker"))
    assert power.effects[0] == fx.Dirty(node_id=NORTH, now=True)
    (news,) = power.effects[1:]
    assert isinstance(news, fx.NodeNews) and news.health is Health.LOST
    power.when(report(NORTH, ok=False, cause="breaker")).then()
    power.when(report(NORTH, ok=True)).then(e.NodeProbing(node_id=NORTH))
    power.when(report(NORTH, ok=True)).then()
    power.settle()
    power.supplied("s-1", 0)
    assert power.health() is Health.PROBING, "no power flows"
    power.supplied("s-1")
    assert power.health() is Health.UP


def test_an_unknown_node() -> None:
    power = Power().given(a_site()).when(report(NodeId("nowhere"), ok=False)).then_kinds(e.RequestRefused)
    (event,) = power.events
    assert isinstance(event, e.RequestRefused)
    assert event.reason is RefusalReason.UNKNOWN_SUBSTATION
    assert event.against[0].obstacle is Obstacle.UNKNOWN


def fail(power: Power, number: int, cp_id: ChargePointId) -> list[e.Event]:
    """A session that ends in a fault, and the fault is mended."""
    session_id = f"f-{number}"
    begin(power, session_id, cp_id)
    power.given(c.ReportFault(cp_id=cp_id, code="ko"))
    power.when(c.ReportEnded(cp_id=cp_id, session_id=SessionId(session_id), meter_wh=1_000, reason=e.StopCause.FAULT))
    events = power.events
    power.given(c.ReportRecovery(cp_id=cp_id), plug(cp_id, plugged=False))
    return events


def test_sessions_that_fail_one_after_the_other_eject_their_node() -> None:
    power = charging()
    for number, cp_id in enumerate((CP, THIRD)):
        assert not any(isinstance(event, e.NodeLost) for event in fail(power, number, cp_id))
    (lost,) = (event for event in fail(power, 2, CP) if isinstance(event, e.NodeLost))
    assert lost == e.NodeLost(
        node_id=NORTH, cause="3 sessions in a row failed", until_ms=power.at_ms + EJECTED_MS, ejections=1
    )
    # Its own word does not end the ejection, time does.
    power.when(report(NORTH, ok=True)).then(e.NodeWatched(node_id=NORTH))
    power.pass_time(EJECTED_MS - 1)
    power.look()
    assert power.health() is Health.LOST
    power.pass_time(1)
    power.when(c.Reallocate(node_id=NORTH)).then(e.NodeProbing(node_id=NORTH))


def test_one_broken_charge_point_is_not_its_node() -> None:
    power = charging()
    for number in range(FAILURES + 2):
        fail(power, number, CP)
    assert power.health() is Health.UP


def test_a_session_that_is_supplied_makes_up_for_those_that_failed() -> None:
    power = charging()
    fail(power, 0, CP)
    fail(power, 1, THIRD)
    begin(power, "s-1", CP)
    power.supplied("s-1")
    fail(power, 2, THIRD)
    assert power.health() is Health.UP


def test_failures_of_long_ago_do_not_count() -> None:
    power = charging()
    fail(power, 0, CP)
    fail(power, 1, THIRD)
    power.pass_time(FAILED_WITHIN_MS)
    fail(power, 2, CP)
    assert power.health() is Health.UP


def test_a_trial_that_fails_doubles_the_time_and_a_long_one_is_cut() -> None:
    power = charging(backups={SOUTH: (NORTH,)})
    for number, cp_id in enumerate((CP, THIRD, CP)):
        fail(power, number, cp_id)
    waits = []
    for number in range(3, 10):
        until_ms = power.state.nodes[NORTH].until_ms
        assert until_ms is not None
        waits.append(until_ms - power.at_ms)
        power.pass_time(waits[-1])
        power.look()
        assert power.health() is Health.PROBING
        fail(power, number, CP)
        assert power.health() is Health.LOST
    assert waits[:6] == [30_000, 60_000, 120_000, 240_000, 480_000, MOST_EJECTED_MS]
    assert waits[6] == MOST_EJECTED_MS


# --- admission --------------------------------------------------------------------------------------------------------


def test_what_is_lost_admits_nothing_new_nor_does_what_is_below_it() -> None:
    power = Power().given(
        a_site(
            capacities={TOP: Watts(60_000), NORTH: Watts(30_000), SOUTH: Watts(30_000)},
            nodes={NORTH: NodeConfig(parent=TOP), SOUTH: NodeConfig(parent=TOP)},
        ),
        *connected(),
        report(TOP, ok=False),
    )
    power.pass_time(4_000)
    power.when(request()).then_kinds(e.ChargeRefused)
    (refused,) = power.events
    assert isinstance(refused, e.ChargeRefused)
    assert refused.reason is RefusalReason.SUBSTATION_LOST
    ((obstacle, at, detail, age_ms),) = ((o.obstacle, o.at, o.detail, o.age_ms) for o in refused.against)
    assert (obstacle, at, detail, age_ms) == (Obstacle.LOST, TOP, "LOST", 4_000)


def test_one_session_at_a_time_on_trial() -> None:
    power = charging(backups={SOUTH: (NORTH,)}).given(report(NORTH, ok=False), report(NORTH, ok=True))
    power.given(request("s-1", CP))
    power.when(request("s-2", THIRD)).then_kinds(e.ChargeRefused)
    # One that nobody came for says nothing about the node; then it is another one's turn.
    power.pass_time(60_000)
    power.given(c.PassDeadline(session_id=SessionId("s-1")))
    assert power.health() is Health.PROBING
    begin(power, "s-2", THIRD)
    power.supplied("s-2")
    assert power.health() is Health.UP
    power.given(request("s-3", CP))


@pytest.mark.parametrize("how", ["full", "unheard"])
def test_who_cannot_show_that_a_node_is_well_keeps_nobody_out(how: str) -> None:
    power = charging(CP, backups={SOUTH: (NORTH,)})
    full = c.ReportPaused(cp_id=CP, session_id=SessionId("s-1"), paused=True, meter_wh=WattHours(9_000))
    power.given(full if how == "full" else engine_down(CP, 1))
    power.given(report(NORTH, ok=False), report(NORTH, ok=True))
    assert power.health() is Health.PROBING
    power.given(boot(THIRD, connectors=2), request("s-2", THIRD, connector=1))
    (refused,) = power.when(request("s-3", THIRD, connector=2)).events
    assert isinstance(refused, e.ChargeRefused)
    assert refused.reason is RefusalReason.SUBSTATION_LOST, "one at a time"


def test_a_trial_that_nothing_fails_at_ends() -> None:
    power = charging(CP, backups={SOUTH: (NORTH,)}).given(report(NORTH, ok=False), report(NORTH, ok=True))
    began_ms = power.at_ms
    power.settle(QUIET_MS // 1_000 - 10)
    assert power.health() is Health.PROBING, "the car draws nothing, and nothing failed"
    power.when(request("s-2", THIRD)).then_kinds(e.ChargeRefused)
    power.settle(20)
    assert power.health() is Health.UP
    assert power.at_ms - began_ms >= QUIET_MS
    power.given(request("s-2", THIRD))
