"""A recommendation is given again for a quarter of a second, and no longer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.gateway.fresh import Fresh
from tests.sidecar.conftest import HandClock
from tests.sidecar.gateway.support import FakeLink, served
from tests.sidecar.gateway.test_recommend import advice

ASK = "/orchestrator/recommend?battery_percent=35"


async def test_the_same_question_is_asked_once_in_a_while() -> None:
    link, clock = FakeLink(), HandClock()
    link.say(recommendation=advice())
    async with served(link, None, clock) as http:
        first = await http.get(ASK)
        assert await http.get(ASK) == first
        assert len(link.asked) == 1
        await http.get(ASK + "&max_kw=22")
        assert len(link.asked) == 2, "another vehicle is another question"
        clock.advance(0.25)
        await http.get(ASK)
        assert len(link.asked) == 3


async def test_a_refusal_is_not_given_again() -> None:
    link = FakeLink()
    link.say(recommendation=advice(cp_id=None))
    async with served(link, None) as http:
        for _ in range(2):
            assert await http.refusal("GET", ASK) == (409, "no_feasible_station")
        assert len(link.asked) == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.4)), max_size=60))
def test_nothing_old_is_ever_given_and_never_too_much_kept(steps: list[tuple[int, float]]) -> None:
    fresh, now_s, said = Fresh(0.25, 3), 0.0, dict[int, float]()
    for question, wait_s in steps:
        now_s += wait_s
        found = fresh.get(question, now_s)
        if found is not None:
            assert now_s - said[question] < 0.25
        else:
            fresh.put(question, b"x", now_s)
            said[question] = now_s
        assert len(fresh) <= 3
