"""Tokens, sources and the throttle's promises."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.auth import Scope, Throttle, Tokens, new_token, source_of, token_hash


def test_a_token_is_known_by_its_hash_alone() -> None:
    operator, service = new_token(Scope.OPERATOR, os.urandom), new_token(Scope.SERVICE, os.urandom)
    assert (operator[:5], service[:5], len(operator)) == ("evo1_", "evs1_", 48)
    tokens = Tokens({Scope.OPERATOR: token_hash(operator), Scope.SERVICE: token_hash(service)})
    assert token_hash(operator) == hashlib.sha256(operator.encode()).digest()
    assert tokens.scope_of(f"Bearer {operator}") is Scope.OPERATOR
    assert tokens.scope_of(f"bearer  {service} ") is Scope.SERVICE
    for header in (None, "", "Bearer", "Bearer ", operator, f"Basic {operator}", f"Bearer {operator}x"):
        assert tokens.scope_of(header) is None
    assert tokens.scope_of(f"Bearer {operator}" + " " * 300) is None
    assert tokens.scope_of("Bearer \udcff") is None


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("unix", "unknown"),
    ],
)
def test_an_ipv6_customer_is_one_source(remote: str | None, source: str) -> None:
    assert source_of(remote) == source


# Steps of time in seconds, and which of three sources asks.
ASKS = st.lists(st.tuples(st.floats(0, 20), st.sampled_from("abc")), max_size=60)


@given(ASKS, st.integers(1, 5), st.floats(0.05, 3))
def test_a_source_never_gets_more_than_its_rate(asks: list[tuple[float, str]], burst: int, per_s: float) -> None:
    throttle = Throttle(burst, per_s, sources=10)
    now = 0.0
    passed: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for step, source in asks:
        now += step
        if throttle.take(source, now):
            passed[source].append(now)
    for times in passed.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                allowed = burst + (times[last] - times[first]) * per_s
                assert last - first + 1 <= allowed + 1e-3


@given(ASKS, st.integers(1, 5), st.floats(0.05, 3))
def test_who_waits_as_told_passes(asks: list[tuple[float, str]], burst: int, per_s: float) -> None:
    throttle = Throttle(burst, per_s, sources=10)
    now = 0.0
    for step, source in asks:
        now += step
        if not throttle.take(source, now):
            now += throttle.wait_s(source, now)
            assert throttle.take(source, now)


@given(st.lists(st.integers(0, 50), max_size=200))
def test_memory_is_bounded_and_the_latest_sources_are_kept(sources: list[int]) -> None:
    throttle = Throttle(1, 0.01, sources=5)
    for source in sources:
        throttle.take(str(source), 0.0)
        assert len(throttle) <= 5
    for source in dict.fromkeys(reversed(sources)).keys() if len(set(sources)) <= 5 else sources[-1:]:
        assert not throttle.take(str(source), 0.0)
