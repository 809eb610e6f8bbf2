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
from tests.support import model_steps
from tests.support.model_site import Site
from tests.support.model_steps import run
from tests.support.scenario import canonical, replayed

# Steps by name, so that a day of them is full of what this is about.
BUSY = tuple(
    getattr(model_steps, name)
    for name in (
        *("_recover",) * 6,
        *("_wait",) * 6,
        *("_free",) * 4,
        *("_reserve",) * 3,
        *("_await_reservation",) * 3,
        *("_settle", "_short", "_short", "_long", "_leave", "_cancel", "_operator", "_monitor", "_restart_central"),
        *("_broken", "_cut", "_connect", "_plug", "_plug", "_request", "_end", "_allocate"),
        *("_announce", "_let_pass", "_let_pass"),
    )
)
DAYS = 150


def busy_day(program: bytes, kind: type[Site] = Site) -> Site:
    # Enough for everybody, or for the smallest currents of two.
    site = kind(capacity_w=(16_000, 4_300)[program[-1] % 2])
    for i in range(0, len(program) - 2, 3):
        what, where, how = program[i : i + 3]
        BUSY[what % len(BUSY)](site, list(site.cps)[where % len(site.cps)], how)
    return site


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
