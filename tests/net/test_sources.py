"""How many connections one address may open before anybody behind it has proved itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.net import sources as sources_module
from evcharge.net.sources import SEVERAL, SourceLimits, Sources, source_of

DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("not an address:", "not an address:"),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_network(address: str, source: str) -> None:
    assert source_of(address) == source


def entered(sources: Sources, source: str, times: int, now: float) -> int:
    return sum(sources.enter(source, now) for _ in range(times))


def test_a_stranger_may_open_thirty_at_once_then_ten_a_second_up_to_64() -> None:
    sources = Sources()
    assert entered(sources, "a", 100, 0.0) == 30
    assert entered(sources, "a", 100, 1.0) == 10
    assert entered(sources, "b", 100, 1.0) == 30, "another source has its own"
    assert entered(sources, "a", 100, 3.0) == 20
    assert entered(sources, "a", 100, 60.0) == 4, "64 at the same time"
    for _ in range(10):
        sources.leave("a", 60.0)
    assert entered(sources, "a", 100, 60.0) == 10


def test_whoever_is_turned_away_does_not_use_up_the_budget_of_its_neighbours() -> None:
    sources = Sources()
    entered(sources, "a", 30, 0.0)
    for step in range(9):
        assert not sources.enter("a", 0.01 * step)
    assert sources.enter("a", 0.1)


def test_a_source_that_succeeded_has_no_limit_for_a_day() -> None:
    sources = Sources()
    assert sources.enter("a", 0.0)
    sources.leave("a", 0.0)
    assert not sources.known("a", 0.0)
    sources.succeed("a", 0.0, 0.0)
    assert sources.known("a", 0.0) and not sources.known("b", 0.0)
    assert entered(sources, "a", 5_000, 1.0) == 5_000
    assert sources.known("a", DAY_S - 1)
    for _ in range(5_000):
        sources.leave("a", DAY_S - 1)
    assert not sources.known("a", DAY_S)
    assert entered(sources, "a", 100, DAY_S) == 30


def test_an_older_success_does_not_shorten_a_newer_one() -> None:
    """The log is replayed in order, but who was seen last may have been so on another channel."""
    sources = Sources()
    sources.succeed("a", 100.0, 100.0)
    sources.succeed("a", -500.0, 100.0)
    assert sources.known("a", DAY_S + 99)
    sources.succeed("b", -DAY_S - 1, 0.0)
    assert not sources.known("b", 0.0)


def test_refusals_are_counted_with_their_source_or_as_several() -> None:
    sources = Sources(SourceLimits(burst=1.0))
    assert sources.take_refused() == ("", 0)
    entered(sources, "a", 4, 0.0)
    assert sources.take_refused() == ("a", 3)
    assert sources.take_refused() == ("", 0)
    entered(sources, "a", 2, 0.0)
    entered(sources, "b", 3, 0.0)
    assert sources.take_refused() == (SEVERAL, 4)


def test_strangers_are_forgotten_oldest_first_and_never_with_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "MAX_UNKNOWN", 3)
    sources = Sources(SourceLimits(burst=2.0, per_s=0.01, connections=2))
    for name in ("held", "a", "b", "c"):
        assert sources.enter(name, 0.0)
    for name in ("a", "b", "c", "d", "e"):
        if name in "de":
            assert sources.enter(name, 0.0)
        sources.leave(name, 0.0)
    assert len(sources) == 4
    assert entered(sources, "a", 5, 0.0) == 2, "forgotten, so its bucket is full"
    assert entered(sources, "e", 5, 0.0) == 1, "remembered"
    assert entered(sources, "held", 5, 0.0) == 1, "remembered"


def test_strangers_cannot_push_a_known_source_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "MAX_UNKNOWN", 3)
    monkeypatch.setattr(sources_module, "MAX_KNOWN", 2)
    sources = Sources()
    sources.succeed("site", 0.0, 0.0)
    for number in range(50):
        assert sources.enter(f"stranger-{number}", 0.0)
        sources.leave(f"stranger-{number}", 0.0)
    assert sources.known("site", 1.0)
    for name in ("second", "third"):
        sources.succeed(name, 1.0, 1.0)
    assert not sources.known("site", 1.0)
    assert sources.known("second", 1.0) and sources.known("third", 1.0)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["enter", "leave", "succeed"]), st.floats(0, 3)),
        max_size=200,
    )
)
def test_a_stranger_never_has_more_than_its_share(steps: list[tuple[str, str, float]]) -> None:
    """Checked against the plain definition: counts and times of everything that happened."""
    limits = SourceLimits(connections=4, per_s=2.0, burst=3.0, known_s=5.0)
    sources, now = Sources(limits), 0.0
    open_now = dict.fromkeys("abcd", 0)
    known_until = dict.fromkeys("abcd", 0.0)
    taken: dict[str, list[float]] = {name: [] for name in "abcd"}
    for name, what, pause in steps:
        now += pause
        known = known_until[name] > now
        assert sources.known(name, now) is known
        if what == "leave" and open_now[name]:
            sources.leave(name, now)
            open_now[name] -= 1
        elif what == "succeed":
            sources.succeed(name, now, now)
            known_until[name] = now + limits.known_s
        elif what == "enter":
            let_in = sources.enter(name, now)
            open_now[name] += let_in
            assert let_in or not known
            if let_in and not known:
                taken[name].append(now)
                assert open_now[name] <= limits.connections
                for at, since in enumerate(taken[name]):
                    assert len(taken[name]) - at <= limits.burst + limits.per_s * (now - since) + 1e-6
