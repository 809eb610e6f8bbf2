"""Whole random days of a site: power, tickets, deadlines and replay, with everything that can go wrong going wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.model_site import Site
from tests.support.scenario import canonical, replayed

PROGRAMS = st.binary(min_size=150, max_size=450)


@given(program=PROGRAMS)
def test_power_and_tickets_after_everything_healed(program: bytes) -> None:
    site = Site()
    site.run(program)
    site.heal()
    site.close_accounts()


@given(program=PROGRAMS)
def test_power_and_tickets_after_everything_was_lost_for_days(program: bytes) -> None:
    site = Site()
    site.run(program)
    site.abandon()
    site.heal()
    site.close_accounts()


@given(program=PROGRAMS)
def test_replay_gives_the_state_byte_for_byte(program: bytes) -> None:
    site = Site()
    site.run(program)
    assert canonical(replayed(site.log)) == canonical(site.state)
