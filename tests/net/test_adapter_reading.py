"""How an adapter reads: no faster than the rate, not while its side is busy, and what silence means."""

from __future__ import annotations

import pytest

from evcharge.net.adapter import GRACE_S
from evcharge.net.flow import QUESTION_WEIGHT, Rate
from protocol import codec
from protocol import messages as m
from protocol.credentials import Role
from protocol.errors import CloseCode, TimedOut
from protocol.events import Limits
from tests.net.bench import Bench


async def test_above_the_rate_reading_stops_and_nothing_is_lost() -> None:
    bench = Bench(rate=Rate(50.0, 200.0)).open()
    now = bench.clock.monotonic()
    for number in range(450):
        bench.peer.send(m.List(id=number), now)
    bench.adapter.data_received(bench.peer.data_to_send())
    assert not bench.pipe.reading and not bench.adapter.reading
    first = len(bench.desk.got)
    assert 195 <= first <= 200
    bench.clock.advance(0.25)
    assert 10 <= len(bench.desk.got) - first <= 14
    for _ in range(12):
        bench.clock.advance(0.5)
        bench.hear()
    assert [message.id for message in bench.desk.got if isinstance(message, m.List)] == list(range(450))
    bench.hear()
    assert len(bench.heard) == 450
    bench.clock.advance(5)
    assert bench.pipe.reading


async def test_pings_count_too() -> None:
    bench = Bench(rate=Rate(50.0, 200.0)).open()
    for _ in range(300):
        bench.peer._seal(2, b"", bench.clock.monotonic())
    bench.carry()
    assert not bench.pipe.reading
    bench.clock.advance(3)
    assert bench.pipe.reading


@pytest.mark.parametrize(
    "question",
    [
        m.Queue(id=1),
        m.Recommend(id=1, battery_percent=50.0),
        m.Reserve(id=1, cp_id="CP-1", from_ms=1, until_ms=2),
        m.Why(id=1, session_id="s-1"),
        m.Assign(id=1),
        m.AuditPage(id=1),
        m.AuditProof(id=1, seq=1),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_what_costs_more_counts_more_and_nothing_is_lost(question: m.Message) -> None:
    of_driver = type(question) in codec.of_role(Role.DRIVER)
    bench = Bench(role=Role.DRIVER if of_driver else Role.GATEWAY, rate=Rate(50.0, 200.0)).open()
    bench.say(*[question] * 40)
    assert len(bench.desk.got) - 200 // QUESTION_WEIGHT in (0, 1), "tokens are counted in batches"
    assert not bench.pipe.reading
    bench.clock.advance(1.0)
    assert len(bench.desk.got) <= (200 + 50) // QUESTION_WEIGHT + 1
    bench.clock.advance(40 * QUESTION_WEIGHT / 50)
    for _ in range(40):
        bench.clock.advance(0.5)
    assert len(bench.desk.got) == 40
    assert bench.pipe.reading


async def test_another_rate_by_record() -> None:
    bench = Bench(rate=Rate(50.0, 10.0)).open()
    bench.say(*[m.List(id=number) for number in range(30)])
    assert not bench.pipe.reading
    bench.adapter.set_rate(Rate(1000.0, 1000.0))
    assert bench.pipe.reading
    assert len(bench.desk.got) == 30
    bench.adapter.set_rate(None)
    bench.say(*[m.List(id=number) for number in range(2000)])
    assert bench.pipe.reading


async def test_the_handler_may_stop_the_reading_in_the_middle_of_a_batch() -> None:
    bench = Bench(rate=Rate()).open()
    bench.desk.on_message = lambda adapter, message: adapter.pause_reading()
    bench.say(m.List(id=1), m.List(id=2), m.List(id=3))
    assert len(bench.desk.got) == 1
    assert not bench.pipe.reading
    bench.adapter.resume_reading()
    assert len(bench.desk.got) == 2
    bench.desk.on_message = bench.desk.answer
    bench.adapter.resume_reading()
    bench.adapter.resume_reading()
    assert len(bench.desk.got) == 3
    assert bench.pipe.reading


async def test_both_reasons_have_to_go_before_reading_goes_on() -> None:
    bench = Bench(rate=Rate(50.0, 10.0)).open()
    bench.adapter.pause_reading()
    bench.say(*[m.List(id=number) for number in range(15)])
    assert not bench.desk.got
    bench.adapter.resume_reading()
    assert 0 < len(bench.desk.got) < 15
    bench.adapter.pause_reading()
    bench.clock.advance(10)
    assert not bench.pipe.reading
    bench.adapter.resume_reading()
    assert bench.pipe.reading
    assert len(bench.desk.got) == 15


async def test_silence_does_not_count_while_this_side_does_not_read() -> None:
    bench = Bench().open()
    bench.adapter.pause_reading()
    bench.clock.advance(1000)
    assert bench.adapter.ready and not bench.pipe.closing
    bench.adapter.resume_reading()
    bench.clock.advance(GRACE_S - 0.1)
    assert bench.adapter.ready, "its bytes may still be in the kernel"
    bench.say(m.Tickets(id=1))
    bench.clock.advance(1)
    assert bench.adapter.ready


async def test_silence_counts_from_the_end_of_a_pause_of_ours() -> None:
    bench = Bench(rate=Rate(50.0, 200.0)).open()
    bench.clock.advance(3)
    assert bench.adapter.silent_s(bench.clock.monotonic()) == pytest.approx(3)
    bench.say(*[m.List(id=number) for number in range(700)])
    for _ in range(8):
        assert not bench.adapter.reading
        assert bench.adapter.silent_s(bench.clock.monotonic()) == 0.0, "it is this side that does not listen"
        bench.clock.advance(1)
    bench.clock.advance(4)
    assert bench.adapter.reading
    assert bench.adapter.silent_s(bench.clock.monotonic()) < 4
    bench.clock.advance(7)
    assert bench.adapter.silent_s(bench.clock.monotonic()) >= 7


async def test_a_silent_peer_is_pinged_then_given_up() -> None:
    bench = Bench().open()
    bench.clock.advance(15.1)
    assert len(bench.pipe.writes) == 1
    bench.carry()
    bench.carry()
    for _ in range(5):
        bench.clock.advance(10)
    assert bench.pipe.closing
    assert isinstance(bench.desk.ends[0].error, TimedOut)


async def test_an_answered_ping_keeps_the_channel_for_as_long_as_it_may_live() -> None:
    bench = Bench(limits=Limits(channel_s=200.0)).open()
    for _ in range(19):
        bench.clock.advance(10)
        bench.carry()
        bench.carry()
    assert bench.adapter.ready
    bench.clock.advance(10.1)
    bench.hear()
    assert bench.ended is not None and bench.ended.code is CloseCode.EXPIRED
    assert bench.desk.ends[0].code is CloseCode.EXPIRED


async def test_the_hot_path_leaves_the_timers_alone() -> None:
    bench = Bench().open()
    timer = bench.adapter._timer
    for _ in range(5):
        bench.say(m.List(id=1))
    assert bench.adapter._timer is timer
    assert len(bench.timers) == 1
