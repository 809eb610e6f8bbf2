"""Without a backup, and home again: who waits, who goes first, and what is shown of it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from evcharge.domain.failover import STEADY_MS, SWITCH_MS
from evcharge.domain.headroom import BadTree, check_tree
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.views import view_substations
from evcharge.domain.words import Health
from evcharge.ids import NodeId
from evcharge.units import Watts
from tests.support.failing_site import NORTH, ROW, SOUTH, THIRD, TOP, a_site, charging, moves
from tests.support.scenario import CP, MIN_W, OTHER, canonical, connected, replayed, report

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
