"""Nodes that are lost and come back: who is fed from where, with how much, and that nothing is given twice."""

from __future__ import annotations

from itertools import pairwise

import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.digest import Digest, fingerprint
from evcharge.domain.failover import STEADY_MS, SWITCH_MS
from evcharge.domain.headroom import BadTree, check_tree, worst_case_w
from evcharge.domain.health import EJECTED_MS, FAILED_WITHIN_MS, FAILURES, MOST_EJECTED_MS, QUIET_MS
from evcharge.domain.reasons import Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.views import view_substations
from evcharge.domain.words import Health, LimitReason, Stamp
from evcharge.energy.model import Plan
from evcharge.ids import ANYWHERE, ChargePointId, CommandId, NodeId, SessionId
from evcharge.units import WattHours, Watts
from tests.support.scenario import (
    CP,
    MIN_W,
    OTHER,
    Scenario,
    boot,
    canonical,
    connected,
    engine_down,
    engine_up,
    plug,
    replayed,
    report,
    request,
    started,
)

NORTH, SOUTH, ROW, TOP = NodeId("north"), NodeId("south"), NodeId("row"), NodeId("top")
THIRD = ChargePointId("cp-3")


def a_site(
    north_w: int = 30_000,
    south_w: int = 30_000,
    backups: dict[NodeId, tuple[NodeId, ...]] | None = None,
    **more: object,
) -> c.StartCentral:
    """CP and THIRD at north, OTHER at south; unless told otherwise, south stands in for north."""
    config = {
        "capacities": {NORTH: Watts(north_w), SOUTH: Watts(south_w)},
        "assignments": {CP: NORTH, THIRD: NORTH, OTHER: SOUTH},
        "nodes": {name: NodeConfig(backups=by) for name, by in (backups or {NORTH: (SOUTH,)}).items()},
    }
    return c.StartCentral(site=SiteConfig(**{**config, **more}))  # type: ignore[arg-type]


class Power(Scenario):
    """Looks at nodes, acknowledges what is sent, and checks the sum at every node at every step, and after every event
    that its fingerprint is that of the whole state.
    """

    def apply(self, event: e.Event, stamp: Stamp | None = None) -> list[fx.Effect]:
        digest = Digest(self.state)
        digest.value()
        digest.touch(event)
        effects = super().apply(event, stamp)
        assert digest.value() == fingerprint(self.state), event
        return effects

    def execute(self, command, source=""):  # type: ignore[no-untyped-def]
        done = super().execute(command, source)
        for node_id, watts in worst_case_w(self.state, self.clock_ms).items():
            node = self.state.nodes[node_id]
            assert watts <= node.capacity_w - node.base_w, f"{watts} W at {node_id}"
        return done

    def look(self, node_id: NodeId = NORTH, *, acknowledge: bool = True) -> list[e.Event]:
        """Share anew once; what is sent is applied."""
        self.when(c.Reallocate(node_id=node_id))
        events = self.events
        for event in events if acknowledge else ():
            if isinstance(event, e.SetPointIssued):
                session = self.state.sessions[event.session_id]
                self.given(c.ReportResult(cp_id=session.cp_id, command_id=event.grant.command_id, outcome="done"))
        return events

    def settle(self, seconds: int = 0) -> list[e.Event]:
        """Share anew every 3 s, until nothing changes and ``seconds`` have passed; all that happened."""
        found: list[e.Event] = []
        until_ms = self.at_ms + seconds * 1_000
        while True:
            happened = self.look()
            found += happened
            if not happened and self.at_ms >= until_ms:
                return found
            if not happened:
                self.pass_time(3_000)

    def health(self, node_id: NodeId = NORTH) -> Health:
        return self.state.nodes[node_id].health

    def supplied(self, session_id: str, power_w: int = 5_000) -> None:
        """The meter shows power."""
        session = self.session(session_id)
        self.given(
            c.ReportMeter(
                cp_id=session.cp_id, session_id=SessionId(session_id), meter_wh=session.meter_wh, power_w=Watts(power_w)
            )
        )

    def limit_w(self, session_id: str) -> int:
        newest = self.session(session_id).lease.newest
        return 0 if newest is None else newest.limit_w


def moves(events: list[e.Event]) -> list[tuple[str, str]]:
    return [(event.cp_id, event.to_id) for event in events if isinstance(event, e.ChargePointMoved)]


def begin(power: Power, session_id: str, cp_id: ChargePointId) -> None:
    """A session that is supplied."""
    power.given(request(session_id, cp_id), plug(cp_id))
    power.settle()
    power.given(started(session_id, cp_id=cp_id))


def charging(*session_cps: ChargePointId, **site: object) -> Power:
    """One session at each of these, s-1, s-2 …, all supplied; all three charge points are up."""
    power = Power().given(a_site(**site))  # type: ignore[arg-type]
    for fence, cp_id in enumerate((CP, OTHER, THIRD), 1):
        power.given(*connected(cp_id, fence))
    for number, cp_id in enumerate(session_cps, 1):
        begin(power, f"s-{number}", cp_id)
    power.settle(120)
    return power  # type: ignore[return-value]


# --- health -----------------------------------------------------------------------------------------------------------


def test_the_first_report_makes_silence_mean_something() -> None:
    power = Power().given(a_site())
    power.when(report(NORTH, ok=True)).then(e.NodeWatched(node_id=NORTH))
    power.when(report(NORTH, ok=True)).then()


def test_lost_on_trial_and_well_again() -> None:
    power = charging(CP, backups={SOUTH: (NORTH,)})
    power.given(report(NORTH, ok=True))
    power.when(report(NORTH, ok=False, cause="breaker")).then(e.NodeLost(node_id=NORTH, cause="breaker"))
    assert power.effects == [fx.Dirty(node_id=NORTH, now=True)]
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


# --- without a backup, and back ---------------------------------------------------------------------------------------


def test_without_a_backup_all_wait_at_0_w_and_go_on_when_it_is_back() -> None:
    power = charging(CP, THIRD, backups={SOUTH: (NORTH,)}).given(report(NORTH, ok=False))
    power.settle(60)
    assert [power.limit_w(f"s-{n}") for n in (1, 2)] == [0, 0]
    power.given(report(NORTH, ok=True))
    power.settle()
    assert sorted(power.limit_w(f"s-{n}") for n in (1, 2)) == [0, 11_040], "one shows it"
    (shown,) = (f"s-{n}" for n in (1, 2) if power.limit_w(f"s-{n}"))
    power.supplied(shown)
    power.settle()
    assert [power.limit_w(f"s-{n}") for n in (1, 2)] == [11_040, 11_040]


def test_on_trial_the_next_one_begins_when_the_first_showed_nothing() -> None:
    power = charging(CP, THIRD, backups={SOUTH: (NORTH,)}).given(report(NORTH, ok=False))
    power.settle()
    power.given(report(NORTH, ok=True))
    power.settle(50)
    assert sorted(power.limit_w(f"s-{n}") for n in (1, 2))[0] == 0
    power.settle(20)
    assert min(power.limit_w(f"s-{n}") for n in (1, 2)) > 0


def test_home_again_one_by_one_a_minute_after_it_is_well() -> None:
    power = charging(CP, THIRD).given(report(NORTH, ok=False))
    power.settle(120)
    power.given(report(NORTH, ok=True))
    (probe,) = moves(power.settle())
    assert probe[1] == NORTH, "one goes ahead and shows that it is well"
    shown = next(s.session_id for s in power.state.sessions.values() if s.cp_id == probe[0])
    power.supplied(shown)
    assert power.health() is Health.UP
    well_ms = power.at_ms
    while not (found := moves(power.look())):
        power.pass_time(1_000)
    assert power.at_ms - well_ms >= STEADY_MS
    assert len(found) == 1 and found[0][1] == NORTH
    power.settle(60)
    assert not power.state.away
    assert [power.limit_w(f"s-{n}") for n in (1, 2)] == [11_040, 11_040]


def test_a_node_that_flaps_moves_a_charge_point_once_a_minute_at_most() -> None:
    power = charging(CP)
    moved_ms: list[int] = []
    for second in range(400):
        if second % 7 == 0:
            power.given(report(NORTH, ok=False))
        if second % 7 == 3:
            power.given(report(NORTH, ok=True))
            if power.limit_w("s-1"):
                power.supplied("s-1")
        moved_ms += [power.at_ms for cp_id, _ in moves(power.look()) if cp_id == CP]
        power.pass_time(1_000)
    assert len(moved_ms) >= 2
    assert all(later - sooner >= STEADY_MS for sooner, later in pairwise(moved_ms))


@pytest.mark.parametrize("looks", range(5))
def test_a_restart_in_the_middle(looks: int) -> None:
    """Whatever was decided holds, and what was not is decided then."""
    power = charging(CP, OTHER, north_w=12_000, south_w=14_000).given(report(NORTH, ok=False))
    for _ in range(looks):
        power.look()
    before = canonical(power.state)
    power.state = replayed(power.log)
    assert canonical(power.state) == before
    there = power.cp(THIRD).node_id
    power.given(a_site(12_000, 14_000))
    assert power.cp(THIRD).node_id == there, "a start brings nobody back to what is lost"
    for fence, cp_id in enumerate((CP, OTHER, THIRD), 11):
        power.given(*connected(cp_id, fence))
    power.settle(60)
    assert power.health() is Health.LOST
    assert power.session().node_id == SOUTH
    assert power.cp(THIRD).node_id == SOUTH, "nobody is there, and home is still lost"
    assert power.limit_w("s-1") >= MIN_W


# --- what is shown, what is refused -----------------------------------------------------------------------------------


def test_what_is_shown() -> None:
    power = charging(CP).given(report(NORTH, ok=False))
    lost_ms = power.at_ms
    power.settle(SWITCH_MS // 1_000)
    north, south = view_substations(power.state, power.clock_ms, 10)
    assert (north.health, north.since_ms, north.sessions, north.home_sessions) == ("LOST", lost_ms, 0, 1)
    assert (south.health, south.since_ms, south.sessions, south.home_sessions) == ("UP", None, 1, 0)
    assert (north.utilisation, south.utilisation) == (0, 5), "1,380 of 30,000 W, rounded up"


@pytest.mark.parametrize(
    ("node_id", "backups", "sentence"),
    [
        (NORTH, ("nowhere",), "which there is not"),
        (NORTH, (NORTH,), "feeds it anyway"),
        (NORTH, (TOP,), "feeds it anyway"),
        (NORTH, (ROW,), "feeds itself"),
        (NORTH, (SOUTH, SOUTH), "twice"),
    ],
)
def test_backups_that_are_none(node_id: NodeId, backups: tuple[NodeId, ...], sentence: str) -> None:
    site = SiteConfig(
        capacities=dict.fromkeys((TOP, NORTH, SOUTH, ROW), Watts(9_000)),
        nodes={NORTH: NodeConfig(parent=TOP), SOUTH: NodeConfig(parent=TOP), ROW: NodeConfig(parent=NORTH)},
    )
    check_tree(site)
    site.nodes[node_id] = NodeConfig(parent=site.nodes[node_id].parent, backups=backups)
    with pytest.raises(BadTree, match=sentence):
        check_tree(site)
