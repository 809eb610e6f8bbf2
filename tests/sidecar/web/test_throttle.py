"""Exact windows: never more than allowed in any of them, and Retry-After is the truth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.web.route import Limit
from evcharge.sidecar.web.throttle import Windows, headers

TEN = Limit("gateway", 10)


def test_ten_pass_and_the_eleventh_hears_when() -> None:
    windows = Windows(100)
    for second in range(10):
        assert windows.take("a", TEN, second).remaining == 9 - second
    refused = windows.take("a", TEN, 10.5)
    assert not refused.allowed
    assert refused.reset_s == 50, "the first was counted at 0 s and is forgotten at 60 s"
    assert headers(TEN, refused) == {
        "RateLimit-Policy": '"gateway";q=10;w=60',
        "RateLimit": '"gateway";r=0;t=50',
        "Retry-After": "50",
    }
    assert windows.take("b", TEN, 10.5).allowed, "another client has a window of its own"
    assert windows.take("a", TEN, 60.5).allowed
    assert not windows.take("a", TEN, 60.6).allowed


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5), st.integers(1, 60))
def test_never_more_in_any_window_and_who_waits_as_told_passes(gaps: list[float], requests: int, seconds: int) -> None:
    limit, windows, now = Limit("x", requests, seconds), Windows(10), 1_000.0
    passed: list[float] = []
    for gap in gaps:
        now += gap
        verdict = windows.take("a", limit, now)
        if verdict.allowed:
            passed.append(now)
            assert len([at for at in passed if at > now - seconds + 1e-3]) <= requests
        else:
            assert 1 <= verdict.reset_s <= seconds
            now += verdict.reset_s
            assert windows.take("a", limit, now).allowed, "it waited as long as it was told"
            passed.append(now)


def test_memory_is_bounded_by_forgetting_who_was_away_longest() -> None:
    windows = Windows(3)
    for name in "abca":
        windows.take(name, TEN, 0.0)
    windows.take("d", TEN, 1.0)
    assert len(windows) == 3
    assert windows.take("a", TEN, 1.0).remaining == 7, "a was seen after b"
    assert windows.take("b", TEN, 1.0).remaining == 9
