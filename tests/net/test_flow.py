from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.net.backoff import reconnect_delay
from evcharge.net.flow import Bucket, Rate, Waiting, WaitLimits
from protocol import messages as m
from protocol.codec import encode


def test_back_off_is_full_jitter_up_to_a_minute() -> None:
    tops = [reconnect_delay(attempt, 1.0) for attempt in range(9)]
    assert tops == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert reconnect_delay(10_000, 1.0) == 60
    assert reconnect_delay(3, 0.25) == 1.0
    assert reconnect_delay(5, 0.0) == 0.0


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    bucket = Bucket(Rate(50.0, 200.0), 10.0)
    assert all(bucket.take(1, 10.0) for _ in range(199))
    assert not bucket.take(1, 10.0)
    assert bucket.refilled_s() == pytest.approx(10.2)
    assert bucket.take(8, 10.2)


def test_what_came_at_once_is_a_debt() -> None:
    bucket = Bucket(Rate(50.0, 200.0), 0.0)
    assert not bucket.take(450, 0.0)
    assert bucket.refilled_s() == pytest.approx((250 + 10) / 50)


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 10)), max_size=30))
def test_whoever_obeys_the_bucket_stays_below_burst_and_rate(steps: list[tuple[int, float]]) -> None:
    rate = Rate(50.0, 200.0)
    bucket, now, taken = Bucket(rate, 0.0), 0.0, 0
    for count, pause in steps:
        now += pause
        taken += count
        if not bucket.take(count, now):
            now = max(now, bucket.refilled_s())
            assert taken <= rate.burst + rate.per_s * now + 1e-6


def update(session: str, energy_wh: int = 0) -> m.Update:
    return m.Update(session_id=session, state="SUPPLYING", cp_id="cp", energy_wh=energy_wh)


def test_only_telemetry_is_replaced_and_moves_to_the_end() -> None:
    waiting = Waiting(WaitLimits())
    ack = m.Ack(n=1)
    for message in (update("a", 1), ack, update("b", 1), ack, update("a", 2)):
        waiting.put(message)
    assert len(waiting) == 4
    assert waiting.size == sum(len(encode(message)) for message in (ack, update("b", 1), ack, update("a", 2)))
    assert [waiting.take() for _ in range(4)] == [ack, update("b", 1), ack, update("a", 2)]
    assert waiting.size == 0
    assert not waiting


def test_too_much_is_a_number_and_a_size() -> None:
    waiting = Waiting(WaitLimits())
    for number in range(256):
        waiting.put(m.Ack(n=number))
    assert not waiting.over(0)
    assert waiting.over(1 << 20)
    assert not waiting.over((1 << 20) - waiting.size)
    waiting.put(m.Ack(n=0))
    assert waiting.over(0)
    waiting.clear()
    assert not waiting.over(0)


@given(
    st.lists(
        st.one_of(
            st.builds(update, st.sampled_from("abc"), st.integers(0, 9)),
            st.builds(lambda n: m.Ack(n=n), st.integers(0, 9)),
            st.builds(lambda n: m.Refused(reason="r", sentence="s", re=n), st.integers(0, 9)),
            st.none(),
        ),
        max_size=60,
    )
)
def test_commands_and_acks_are_never_dropped_and_of_telemetry_the_newest_comes(steps: list[m.Message | None]) -> None:
    """None: the peer takes one message."""
    waiting = Waiting(WaitLimits())
    put: list[m.Message] = []
    got: list[m.Message] = []
    for step in steps:
        if step is not None:
            waiting.put(step)
            put.append(step)
        elif waiting:
            got.append(waiting.take())
        assert waiting.size == sum(size for _, size in waiting._messages.values())
    while waiting:
        got.append(waiting.take())
    assert [each for each in got if not isinstance(each, m.Update)] == [
        each for each in put if not isinstance(each, m.Update)
    ]
    for session in "abc":
        last = [each for each in put if isinstance(each, m.Update) and each.session_id == session][-1:]
        assert [each for each in got if isinstance(each, m.Update) and each.session_id == session][-1:] == last


def test_the_limits_are_settings() -> None:
    waiting = Waiting(WaitLimits(messages=2, size=100))
    waiting.put(m.Ack(n=1))
    waiting.put(m.Ack(n=2))
    assert not waiting.over(0)
    assert waiting.over(100)
    waiting.put(m.Ack(n=3))
    assert waiting.over(0)
