"""One request a poll, ever fewer while the provider fails, and a failure that says since when and why."""

from __future__ import annotations

from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.weather.observation import ProviderFailed, Where
from evcharge.sidecar.weather.watch import AGAIN_MAX_S, Watch
from tests.sidecar.weather.samples import Scripted, seen
from tests.support.driven import DrivenClock

HERE = Where("Berlin")


def made(random: float = 0.0, **more: Any) -> tuple[Watch, Scripted, DrivenClock]:
    provider, clock = Scripted(), DrivenClock()
    provider.says["Berlin"] = seen(-3.0)
    given = {"poll_s": 600.0, "old_s": 3_600.0, **more}
    return Watch(HERE, provider, clock=clock, random=lambda: random, **given), provider, clock


async def test_a_poll_every_ten_minutes() -> None:
    watch, provider, clock = made()
    assert watch.state == "starting"
    assert watch.due
    assert await watch.poll() == seen(-3.0)
    assert watch.state == "ok"
    clock.advance(599.9)
    assert not watch.due
    clock.advance(0.1)
    assert watch.due
    assert provider.asked == ["Berlin"]


async def test_a_failure_is_a_state_of_its_own_and_keeps_what_was_seen() -> None:
    watch, provider, clock = made()
    await watch.poll()
    clock.advance(600)
    provider.fails = ProviderFailed("timeout", "It is slow.")
    assert await watch.poll() is None
    since_ms = clock.site_ms()
    clock.advance(100)
    await watch.poll()
    assert (watch.state, watch.trouble, watch.why) == ("unavailable", "timeout", "It is slow.")
    assert watch.since_ms == since_ms
    assert watch.observation == seen(-3.0)
    provider.fails = None
    provider.says["Berlin"] = seen(-2.0, at_s=700)
    assert await watch.poll() == seen(-2.0, at_s=700)
    assert (watch.state, watch.trouble, watch.why, watch.since_ms) == ("ok", None, "", clock.site_ms())


async def waits(watch: Watch, clock: DrivenClock, times: int) -> list[float]:
    said = []
    for _ in range(times):
        await watch.poll()
        start_s = clock.monotonic()
        while not watch.due:
            clock.advance(0.5)
        said.append(clock.monotonic() - start_s)
    return said


async def test_ever_longer_waits_half_of_which_are_random() -> None:
    watch, provider, clock = made(random=0.0)
    provider.fails = ProviderFailed("timeout", "x")
    assert await waits(watch, clock, 8) == [7.5, 15, 30, 60, 120, 240, 450, 450]
    watch, provider, clock = made(random=0.999_999)
    provider.fails = ProviderFailed("timeout", "x")
    assert await waits(watch, clock, 3) == [15, 30, 60]


async def test_a_wrong_key_is_tried_rarely_and_said_once() -> None:
    watch, provider, clock = made(random=1.0)
    provider.fails = ProviderFailed("bad_key", "wrong")
    with structlog.testing.capture_logs() as logs:
        assert await waits(watch, clock, 3) == [AGAIN_MAX_S] * 3
        provider.fails = ProviderFailed("timeout", "slow")
        await watch.poll()
        provider.fails = ProviderFailed("bad_key", "wrong")
        await watch.poll()
        provider.fails = None
        provider.says["Berlin"] = seen(at_s=2_700)
        await watch.poll()
    assert [(log["event"], log.get("trouble")) for log in logs] == [
        ("weather.unavailable", "bad_key"),
        ("weather.unavailable", "timeout"),
        ("weather.unavailable", "bad_key"),
        ("weather.available", None),
    ]


async def test_a_provider_that_names_a_time_is_obeyed() -> None:
    watch, provider, clock = made()
    provider.fails = ProviderFailed("bad_answer", "x", retry_after_s=60)
    assert await waits(watch, clock, 1) == [60]


async def test_an_old_observation_is_a_failure() -> None:
    watch, provider, clock = made(old_s=3_600.0)
    clock.advance(3_600)
    assert await watch.poll() is not None
    clock.advance(0.001)
    assert await watch.poll() is None
    assert (watch.state, watch.trouble) == ("unavailable", "old")
    provider.says["Berlin"] = seen(at_s=3_600 + 601)
    assert await watch.poll() is None
    assert watch.trouble == "implausible", "its clock is wrong by more than ten minutes"
    provider.says["Berlin"] = seen(at_s=3_600 + 300)
    ahead = await watch.poll()
    assert ahead is not None
    assert ahead.observed_ms == clock.site_ms(), "ahead by less is now"


async def test_an_observation_is_in_site_time() -> None:
    watch, _, clock = made()
    clock.speed = 60.0
    clock.advance(10.0)
    one = await watch.poll()
    assert one is not None
    assert one.observed_ms == clock.site_ms() - 600_000


@given(st.lists(st.booleans(), max_size=20), st.floats(0, 1))
def test_waits_are_bounded_whatever_fails(fails: list[bool], random: float) -> None:
    import asyncio

    async def run() -> None:
        watch, provider, clock = made(random, old_s=1e9)
        for fail in fails:
            provider.fails = ProviderFailed("timeout", "x") if fail else None
            await watch.poll()
            clock.advance(7.4)
            assert not watch.due
            clock.advance(AGAIN_MAX_S)
            assert watch.due

    asyncio.run(run())
