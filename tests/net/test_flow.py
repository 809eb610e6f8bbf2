from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.net.backoff import reconnect_delay
from evcharge.net.flow import MAX_WAITING, MAX_WAITING_BYTES, Bucket, Rate, Waiting
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
    waiting = Waiting()
    ack = m.Ack(n=1)
    for message in (update("a", 1), ack, update("b", 1), ack, update("a", 2)):
        waiting.put(message)
    assert len(waiting) == 4
    assert waiting.size == sum(len(encode(message)) for message in (ack, update("b", 1), ack, update("a", 2)))
    assert [waiting.take() for _ in range(4)] == [ack, update("b", 1), ack, update("a", 2)]
    assert waiting.size == 0
    assert not waiting


def test_too_much_is_a_number_and_a_size() -> None:
    waiting = Waiting()
    for number in range(MAX_WAITING):
        waiting.put(m.Ack(n=number))
    assert not waiting.over(0)
    assert waiting.over(MAX_WAITING_BYTES)
    assert not waiting.over(MAX_WAITING_BYTES - waiting.size)
    waiting.put(m.Ack(n=0))
    assert waiting.over(0)
    waiting.clear()
    assert not waiting.over(0)
