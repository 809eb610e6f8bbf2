"""A node whose health is not reported any more: an operator ends the watch, and with it a loss by mere silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.evolve import evolve
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.words import Health
from evcharge.ids import NodeId
from evcharge.units import Millis
from tests.support.scenario import MAIN, Scenario, canonical, replayed, report, site

UNWATCH = c.UnwatchNode(node_id=MAIN)


def silence() -> c.ReportNode:
    """Central has heard nothing of it."""
    return c.ReportNode(node_id=MAIN, ok=False, cause="silent for 10.1 s", silent=True)


def health(scenario: Scenario) -> Health:
    return scenario.state.nodes[MAIN].health


def lost() -> e.NodeLost:
    return e.NodeLost(node_id=MAIN, cause="silent for 10.1 s", silent=True)


def test_a_watch_ends_and_silence_is_no_loss_any_more() -> None:
    scenario = Scenario().given(site(), report(ok=True))
    scenario.when(UNWATCH).then(e.NodeUnwatched(node_id=MAIN))
    scenario.when(silence()).then()
    scenario.when(UNWATCH).then()
    assert health(scenario) is Health.UP
    assert not replayed(scenario.log).nodes[MAIN].watched
    scenario.when(report(ok=True)).then(e.NodeWatched(node_id=MAIN))
    scenario.when(silence()).then(lost())


def test_a_loss_by_silence_ends_with_the_watch() -> None:
    scenario = Scenario().given(site(), report(ok=True)).when(silence()).then(lost())
    scenario.given(site())
    assert health(scenario) is Health.LOST, "a restart alone changes nothing"
    scenario.when(UNWATCH).then(e.NodeProbing(node_id=MAIN), e.NodeUnwatched(node_id=MAIN))
    assert fx.Dirty(node_id=MAIN, now=True) in scenario.effects
    assert health(scenario) is Health.PROBING
    assert not scenario.state.nodes[MAIN].silent
    assert canonical(replayed(scenario.log)) == canonical(scenario.state)


@pytest.mark.parametrize("silent_too", ["before", "after", "never"])
def test_what_was_reported_bad_stays_lost(silent_too: str) -> None:
    scenario = Scenario().given(site(), report(ok=True))
    if silent_too == "before":
        scenario.given(silence())
    scenario.when(report(ok=False, cause="breaker")).then(e.NodeLost(node_id=MAIN, cause="breaker"))
    if silent_too == "after":
        scenario.when(silence()).then()
    scenario.when(UNWATCH).then(e.NodeUnwatched(node_id=MAIN))
    assert health(scenario) is Health.LOST
    scenario.when(report(ok=True)).then(e.NodeWatched(node_id=MAIN), e.NodeProbing(node_id=MAIN))


def test_what_failed_stays_lost_until_its_time() -> None:
    scenario = Scenario().given(site(), report(ok=True))
    scenario.given(e.NodeLost(node_id=MAIN, cause="3 sessions in a row failed", until_ms=scenario.at_ms + 30_000))  # type: ignore[arg-type]  # an instant
    scenario.when(UNWATCH).then(e.NodeUnwatched(node_id=MAIN))
    assert health(scenario) is Health.LOST


def test_silence_does_not_end_the_time_of_what_failed() -> None:
    scenario = Scenario().given(site(), e.NodeWatched(node_id=MAIN))
    scenario.given(e.NodeLost(node_id=MAIN, cause="3 sessions failed", until_ms=Millis(10**15), ejections=1))
    scenario.when(silence()).then()
    scenario.when(c.UnwatchNode(node_id=MAIN)).then(e.NodeUnwatched(node_id=MAIN))
    assert health(scenario) is Health.LOST


def test_a_crash_in_the_middle_leaves_it_to_whoever_asked() -> None:
    scenario = Scenario().given(site(), report(ok=True), silence())
    scenario.when(UNWATCH)
    state = replayed(scenario.log[:-1])
    scenario.state, scenario.log = state, scenario.log[:-1]
    scenario.given(site())
    scenario.when(UNWATCH).then(e.NodeUnwatched(node_id=MAIN))
    assert health(scenario) is Health.PROBING


def test_a_loss_of_an_older_log_counts_as_reported() -> None:
    scenario = Scenario().given(site(), report(ok=True))
    evolve(scenario.state, e.NodeLost(node_id=MAIN, cause="silent for 10.1 s"), scenario.stamp())
    scenario.when(UNWATCH).then(e.NodeUnwatched(node_id=MAIN))
    assert health(scenario) is Health.LOST
    scenario.given(report(ok=True)).when(UNWATCH).then(e.NodeUnwatched(node_id=MAIN))
    assert health(scenario) is Health.PROBING


def test_an_unknown_node() -> None:
    scenario = Scenario().given(site()).when(c.UnwatchNode(node_id=NodeId("nowhere")))
    (refused,) = scenario.events
    assert isinstance(refused, e.RequestRefused)
    assert (refused.request, refused.reason) == ("unwatch", RefusalReason.UNKNOWN_SUBSTATION)


@given(told=st.lists(st.sampled_from([report(ok=True), report(ok=False), silence(), UNWATCH]), max_size=12))
def test_nothing_is_lost_by_silence_that_is_not_watched(told: list[c.ReportNode | c.UnwatchNode]) -> None:
    scenario = Scenario().given(site(), *told)
    node = scenario.state.nodes[MAIN]
    assert node.watched or not node.silent
    assert node.health is Health.LOST or not node.silent
    scenario.given(UNWATCH)
    said = [one.ok for one in told if isinstance(one, c.ReportNode) and not one.silent]
    assert (node.health is Health.LOST) == (bool(said) and not said[-1]), "lost as long as the last word was bad"
