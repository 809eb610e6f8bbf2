"""Those who wait and reservations on random days of a model site: the rules of ``tests.support.waiting_rules`` hold.

They are asked after every command of every model site (``Site.command``); here the days are made of little else.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.event_codec import decode
from evcharge.domain import events as e
from tests.support.busy_days import busy_day
from tests.support.model_site import Site
from tests.support.model_steps import run
from tests.support.scenario import canonical, replayed

DAYS = 150


@given(program=st.binary(min_size=90, max_size=360))
def test_the_rules_hold_on_a_busy_day(program: bytes) -> None:
    site = busy_day(program)
    assert canonical(replayed(site.log)) == canonical(site.state)


@given(program=st.binary(min_size=90, max_size=240))
def test_everybody_is_served_or_told_in_the_end(program: bytes) -> None:
    """Charge points well, vehicles gone, nobody plugs in: a week later nobody waits and nothing is reserved."""
    site = busy_day(program)
    site.reconnect()
    for _ in range(12):
        site.heal()
        site.allocate(everywhere=True)
    assert not site.state.waiting
    site.advance(7 * 86_400_000)
    for _ in range(3):
        site.heal()
        site.allocate(everywhere=True)
    assert not site.state.reservations


def test_the_days_are_of_every_kind() -> None:
    """A test of the test."""
    kinds: Counter[str] = Counter()
    for seed in range(DAYS):
        for body in busy_day(random.Random(seed).randbytes(240)).log:
            logged = decode(body)
            assert logged is not None
            cause = getattr(logged.event, "cause", "")
            kinds[f"{type(logged.event).__name__} {cause}".strip()] += 1
    wanted = (
        *(kind.__name__ for kind in (e.ChargeQueued, e.ChargeOffered, e.ReservationMade, e.ReservationOpened)),
        *("ReservationDelayed", "OfferEnded expired", "QueueLeft served", "QueueLeft no_show", "QueueLeft held"),
        *("ReservationEnded kept", "ReservationEnded no_show", "ReservationEnded passed"),
    )
    assert not [kind for kind in wanted if not kinds[kind]], kinds


@pytest.mark.parametrize("seed", range(3))
def test_an_ordinary_day_has_them_too(seed: int) -> None:
    site = Site()
    run(site, random.Random(seed).randbytes(2_400))
    assert site.state.last_turn > 0
