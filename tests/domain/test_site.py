"""Whole random days of a site: power, tickets, deadlines and replay, with everything that can go wrong going wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain.site import SiteConfig
from evcharge.domain.words import RUNNING, Health, LimitReason, SessionStatus
from tests.support import long_run
from tests.support.any_tree import any_site
from tests.support.model_shell import NORTH, SOUTH
from tests.support.model_site import Site
from tests.support.model_steps import run
from tests.support.scenario import canonical, replayed

PROGRAMS = st.binary(min_size=150, max_size=450)


@given(program=PROGRAMS)
def test_power_and_tickets_after_everything_healed(program: bytes) -> None:
    site = Site()
    run(site, program)
    site.heal()
    site.close_accounts()


@given(config=any_site(), program=PROGRAMS)
def test_no_limit_of_any_tree_is_ever_passed(config: SiteConfig, program: bytes) -> None:
    """``Site.check`` looks after every single event, sent or lost, applied or not."""
    site = Site(config)
    run(site, program)
    site.heal()
    site.close_accounts()


@given(program=PROGRAMS)
def test_power_and_tickets_after_everything_was_lost_for_days(program: bytes) -> None:
    site = Site()
    run(site, program)
    site.abandon()
    site.heal()
    site.close_accounts()


@given(program=PROGRAMS)
def test_when_all_is_well_again_everybody_charges(program: bytes) -> None:
    """Nothing that happened leaves a session waiting, or below what its connector can do."""
    site = Site()
    run(site, program)
    site.reconnect()
    for node_id in (NORTH, SOUTH):
        site.command(c.SetCapacity(node_id=node_id, capacity_w=200_000))
    site.measured_w.clear()
    for node_id in (NORTH, SOUTH):
        site.command(c.ForgetBaseLoad(node_id=node_id))
    # Until the last lease of the bad times has run out, every start was repeated, raises may be given again, and no
    # plan of the bad times holds any more.
    for _ in range(350):
        site.advance(3_000)
        for cp_id in site.cps:
            site.sample(cp_id)
        site.pump()
        site.allocate(everywhere=True)
        site.pump()
    # A node on trial stays so until somebody is supplied there; who is away from a node that is well is not.
    assert all(node.health is not Health.LOST for node in site.state.nodes.values())
    for cp_id in site.state.away:
        home = site.state.nodes[site.config.assignments.get(cp_id, NORTH)]
        assert home.health is Health.PROBING
    for session in site.state.sessions.values():
        connector = site.cps[session.cp_id].connectors[session.connector]
        assert session.status is not SessionStatus.AUTHORIZED or not connector.plugged
        if session.status in RUNNING and session.stop is None:
            assert connector.running is not None
            full = session.limit_reason is LimitReason.NEED
            assert full or connector.limit_w > session.max_w - session.min_w


@given(program=PROGRAMS)
def test_replay_gives_the_state_byte_for_byte(program: bytes) -> None:
    site = Site()
    run(site, program)
    assert canonical(replayed(site.log)) == canonical(site.state)


@pytest.mark.parametrize("seed", [20287])
def test_days_that_found_something(seed: int) -> None:
    """20287: a set-point was explained by a phase of a node that its session was only to move to."""
    long_run.one(seed)


@pytest.mark.tool
def test_many_trees_and_days() -> None:
    """A little of what ``python -m tests.support.long_run`` does for hours."""
    for seed in range(150):
        long_run.one(seed)
