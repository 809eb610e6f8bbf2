"""Sessions of a lost node on its backup: who is fed from where, with how much, and that nothing is given twice."""

from __future__ import annotations

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.headroom import worst_case_w
from evcharge.domain.site import NodeConfig
from evcharge.domain.words import LimitReason
from evcharge.energy.model import Plan
from evcharge.ids import ANYWHERE, CommandId, NodeId
from evcharge.units import Watts
from tests.support.failing_site import NORTH, ROW, SOUTH, THIRD, Power, a_site, begin, charging, moves
from tests.support.scenario import CP, MIN_W, OTHER, boot, connected, engine_down, engine_up, report, request

# --- with a backup ----------------------------------------------------------------------------------------------------


def test_lower_first_then_move_then_raise() -> None:
    power = charging(CP, OTHER, north_w=12_000, south_w=14_000)
    assert (power.limit_w("s-1"), power.limit_w("s-2")) == (11_040, 11_040)
    power.given(report(NORTH, ok=False))
    first = power.look(acknowledge=False)
    issued = {event.session_id: event for event in first if isinstance(event, e.SetPointIssued)}
    assert issued["s-1"].grant.limit_w == MIN_W, "the smallest there is to move"
    assert issued["s-1"].reason is LimitReason.NODE_LOST
    assert issued["s-2"].grant.limit_w < 11_040, "room is made for it"
    assert moves(first) == [("cp-3", SOUTH)], "who has no session is in nobody's way"
    assert moves(power.look(acknowledge=False)) == [], "nothing was confirmed"
    for event in issued.values():
        session = power.session(event.session_id)
        power.given(c.ReportResult(cp_id=session.cp_id, command_id=event.grant.command_id, outcome="done"))
    assert moves(power.look()) == [("cp-1", SOUTH)]
    assert power.session().node_id == SOUTH
    power.settle()
    assert power.limit_w("s-1") > MIN_W
    assert power.limit_w("s-1") + power.limit_w("s-2") <= 14_000


def test_nobody_gets_what_a_switch_that_is_late_still_gives_away() -> None:
    """Going home: both cars at their full power on the backup would be twice what it has."""
    power = charging(CP, OTHER, north_w=11_040, south_w=11_040).given(report(NORTH, ok=False))
    power.settle(120)
    power.given(report(NORTH, ok=True))
    while not (found := moves(power.look())):
        power.pass_time(1_000)
    assert found == [(CP, NORTH)]
    told_ms = power.clock_ms
    while power.clock_ms < told_ms + 57_000:
        power.pass_time(3_000)
        power.look()
        both_w = [power.session(each).lease.worst_w(power.clock_ms) for each in ("s-1", "s-2")]
        assert sum(both_w) <= 11_040, "the switch may have either feed"
    power.settle(120)
    assert power.limit_w("s-2") == 11_040


def test_one_that_counts_at_a_full_node_too_keeps_nobody_from_another() -> None:
    """The one that is away is the strongest, and needs least, and its old node has no room even for that."""
    power = Power().given(a_site(30_000, 900, {SOUTH: (NORTH,)}), *connected(CP, 1), engine_up(OTHER, 2))
    power.given(boot(OTHER, min_w=1_000, max_w=22_000), report(SOUTH, ok=False))
    power.settle()
    power.given(report(SOUTH, ok=True))
    assert (power.cp(OTHER).node_id, power.cp(OTHER).leaving_id) == (NORTH, SOUTH)
    (authorized,) = power.when(request("s-1", ANYWHERE)).events
    assert isinstance(authorized, e.ChargeAuthorized)
    assert authorized.cp_id == CP


def test_it_counts_at_both_until_nothing_from_before_rules() -> None:
    power = charging(CP).given(report(NORTH, ok=False))
    power.look()
    power.look(acknowledge=False)
    moved_w = worst_case_w(power.state, power.clock_ms)
    assert moved_w == {NORTH: MIN_W, SOUTH: MIN_W}
    assert power.state.nodes[NORTH].reserved_w == power.state.nodes[SOUTH].reserved_w == MIN_W
    assert e.MoveCompleted(cp_id=CP) not in power.look(acknowledge=False), "told, and nobody knows whether it arrived"
    assert e.MoveCompleted(cp_id=CP) not in power.look(acknowledge=False)
    newest = power.session().lease.newest
    assert newest is not None
    power.given(c.ReportResult(cp_id=CP, command_id=CommandId(newest.command_id), outcome="done"))
    power.settle(50)
    assert power.cp().leaving_id == NORTH, "its transfer switch may not have followed yet"
    assert worst_case_w(power.state, power.clock_ms) == {NORTH: 11_040, SOUTH: 11_040}
    assert e.MoveCompleted(cp_id=CP) in power.settle(12)
    now_w = worst_case_w(power.state, power.clock_ms)
    assert now_w == {NORTH: 0, SOUTH: 11_040}
    assert power.state.nodes[NORTH].reserved_w == 0


def test_a_backup_without_room_for_the_smallest_current_takes_turns_and_loses_nobody() -> None:
    power = charging(CP, OTHER, THIRD, south_w=3_000)
    power.given(report(NORTH, ok=False))
    power.settle(60)
    limits = [power.limit_w(f"s-{number}") for number in (1, 2, 3)]
    assert sorted(limits) == [0, MIN_W, MIN_W + 230]
    assert {session.node_id for session in power.state.sessions.values()} == {SOUTH}
    assert len(power.state.sessions) == 3
    power.when(request("s-4", OTHER, connector=1)).then_kinds(e.ChargeRefused)


def test_a_session_that_cannot_be_told_waits_for_its_lease() -> None:
    """Its worst case is 11 kW until its lease is over; then its fallback moves."""
    power = charging(CP, OTHER, south_w=14_000).given(engine_down(CP, 1), report(NORTH, ok=False))
    power.settle(30)
    assert power.session().node_id == NORTH
    power.settle(30)
    assert power.session().node_id == SOUTH


def test_two_that_cannot_be_told_do_not_take_the_same_room() -> None:
    power = charging(CP, THIRD, south_w=2_000).given(engine_down(CP, 1), engine_down(THIRD, 3), report(NORTH, ok=False))
    power.settle(90)
    assert sorted(session.node_id for session in power.state.sessions.values()) == [NORTH, SOUTH]


def test_a_plan_of_before_the_loss_does_not_hold() -> None:
    """South was to leave its power for later, when nobody was to be fed from it."""
    power = charging(CP)
    plan = Plan(made_ms=power.at_ms, starts_ms=(power.at_ms,), target_w={SOUTH: (0,)})
    power.given(c.AdoptPlan(root_id=SOUTH, plan=plan))
    power.pass_time(1_000)
    power.given(report(NORTH, ok=False))
    power.settle(120)
    assert (power.session().node_id, power.limit_w("s-1")) == (SOUTH, 11_040)
    newer = Plan(made_ms=power.at_ms, starts_ms=(power.at_ms,), target_w={SOUTH: (4_000,)})
    power.given(c.AdoptPlan(root_id=SOUTH, plan=newer))
    power.settle()
    assert power.limit_w("s-1") == 3_910


def test_the_second_backup_when_the_first_is_lost_too() -> None:
    third = NodeId("third")
    power = charging(
        CP,
        capacities={NORTH: Watts(30_000), SOUTH: Watts(30_000), third: Watts(30_000)},
        backups={NORTH: (SOUTH, third)},
    )
    power.given(report(NORTH, ok=False), report(SOUTH, ok=False))
    power.settle()
    assert power.session().node_id == third


def test_two_that_stand_in_for_each_other_and_are_both_lost() -> None:
    power = charging(CP, OTHER, backups={NORTH: (SOUTH,), SOUTH: (NORTH,)})
    power.given(report(NORTH, ok=False), report(SOUTH, ok=False))
    events = power.settle()
    assert moves(events) == []
    assert (power.limit_w("s-1"), power.limit_w("s-2")) == (0, 0)
    power.given(report(SOUTH, ok=True))
    power.settle()
    power.supplied("s-2")
    power.settle()
    assert (power.session("s-1").node_id, power.session("s-2").node_id) == (SOUTH, SOUTH)
    assert min(power.limit_w("s-1"), power.limit_w("s-2")) > 0


def test_the_backup_is_lost_later() -> None:
    """Back home when that is well, else nowhere; never sooner than a minute after the last move."""
    power = charging(CP, THIRD).given(report(NORTH, ok=False))
    power.settle()
    power.given(report(SOUTH, ok=False), report(NORTH, ok=True))
    assert moves(power.settle(30)) == []
    assert power.limit_w("s-1") == 0
    power.settle(60)
    assert power.limit_w("s-1") == 0, "home is on trial, and nobody is there to show anything"


def test_a_backup_of_what_is_above_the_lost_one_cannot_help() -> None:
    """South stands in for north, and the way from north to the charge point is what is lost."""
    power = Power().given(
        a_site(
            capacities={NORTH: Watts(30_000), SOUTH: Watts(30_000), ROW: Watts(7_000)},
            nodes={NORTH: NodeConfig(backups=(SOUTH,)), ROW: NodeConfig(parent=NORTH)},
            assignments={CP: ROW, OTHER: SOUTH},
        ),
        *connected(),
    )
    begin(power, "s-1", CP)
    power.given(report(ROW, ok=False), report(NORTH, ok=False))
    assert moves(power.settle(120)) == []
    assert power.limit_w("s-1") == 0


def test_own_feeders_count_on_the_way_to_a_backup() -> None:
    power = Power().given(
        a_site(
            capacities={NORTH: Watts(30_000), SOUTH: Watts(30_000), ROW: Watts(7_000)},
            nodes={NORTH: NodeConfig(backups=(SOUTH,)), ROW: NodeConfig(parent=NORTH)},
            assignments={CP: ROW, OTHER: SOUTH},
        ),
        *connected(),
        *connected(OTHER, 2),
    )
    begin(power, "s-1", CP)
    power.settle(120)
    assert power.limit_w("s-1") == 6_900
    power.given(report(NORTH, ok=False))
    power.settle(120)
    assert power.session().node_id == SOUTH
    assert power.limit_w("s-1") == 6_900, "the feeder carries it still"
    assert worst_case_w(power.state, power.clock_ms) == {NORTH: 0, SOUTH: 6_900, ROW: 6_900}
