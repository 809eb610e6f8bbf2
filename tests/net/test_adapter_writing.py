"""How an adapter writes: to a peer that reads slowly, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from evcharge.net.flow import WaitLimits
from protocol import messages as m
from protocol.errors import CloseCode, LocalProtocolError
from tests.net.bench import LIMITS, Bench, update


async def test_while_the_peer_reads_slowly_messages_wait_unsealed_and_only_telemetry_is_replaced() -> None:
    bench = Bench().open()
    bench.adapter.pause_writing()
    for number in range(100):
        assert bench.adapter.send(update("s-1", energy_wh=number))
        assert bench.adapter.send(update("s-2", energy_wh=number))
    assert bench.adapter.send(m.Refused(reason="r", sentence="s", re=1))
    assert bench.adapter.send(m.Refused(reason="r", sentence="s", re=1))
    assert not bench.pipe.writes
    assert bench.adapter.waiting == 4
    bench.clock.advance(LIMITS.slow_s - 0.1)
    bench.adapter.resume_writing()
    assert bench.adapter.waiting == 0
    bench.hear()
    refused = m.Refused(reason="r", sentence="s", re=1)
    assert bench.heard == [update("s-1", energy_wh=99), update("s-2", energy_wh=99), refused, refused]
    bench.clock.advance(1)
    assert not bench.pipe.closing, "the peer caught up in time"


async def test_order_is_kept_between_what_waits_and_what_comes() -> None:
    bench = Bench().open()
    pauses = iter([True, False, False, False, False])
    write = bench.pipe.write

    def fill(data: Any) -> None:
        write(data)
        if next(pauses, False):
            bench.adapter.pause_writing()

    bench.adapter.pause_writing()
    for number in range(4):
        bench.adapter.send(m.Refused(reason="r", sentence="s", re=number))
    bench.pipe.write = fill  # type: ignore[method-assign]  # fills up again at the first write
    bench.adapter.resume_writing()
    assert bench.adapter.waiting == 3
    bench.adapter.send(m.Refused(reason="r", sentence="s", re=4))
    bench.adapter.resume_writing()
    bench.hear()
    assert [message.re for message in bench.heard if isinstance(message, m.Refused)] == [0, 1, 2, 3, 4]


async def test_too_many_waiting_messages_are_slow() -> None:
    bench = Bench().open()
    bench.adapter.pause_writing()
    for number in range(LIMITS.messages):
        assert bench.adapter.send(m.Ack(n=number))
    assert not bench.adapter.send(m.Ack(n=0))
    assert bench.pipe.aborted
    bench.lose()
    assert bench.desk.ends[0].code is CloseCode.SLOW


async def test_too_many_waiting_bytes_are_slow_and_the_transport_counts() -> None:
    bench = Bench().open()
    bench.adapter.pause_writing()
    big = m.Reply(re=1, sessions=[m.SessionView(session_id="s", state="x" * 40_000, cp_id="c")])
    bench.pipe.buffered = LIMITS.size // 2
    sent = 0
    while bench.adapter.send(big):
        sent += 1
    assert 11 <= sent <= 14
    assert bench.pipe.aborted


async def test_a_peer_that_takes_nothing_for_ten_seconds_is_slow() -> None:
    bench = Bench().open()
    bench.adapter.pause_writing()
    bench.clock.advance(LIMITS.slow_s - 0.1)
    assert not bench.pipe.aborted
    bench.clock.advance(0.2)
    assert bench.pipe.aborted
    bench.lose()
    assert bench.desk.ends[0].code is CloseCode.SLOW


async def test_how_much_may_wait_and_how_long_are_settings() -> None:
    bench = Bench(wait_limits=WaitLimits(messages=2, slow_s=3.0)).open()
    bench.adapter.pause_writing()
    assert bench.adapter.send(m.Ack(n=1)) and bench.adapter.send(m.Ack(n=2))
    bench.clock.advance(2.9)
    assert not bench.pipe.aborted
    assert not bench.adapter.send(m.Ack(n=3))
    assert bench.pipe.aborted
    bench = Bench(wait_limits=WaitLimits(slow_s=3.0)).open()
    bench.adapter.pause_writing()
    bench.clock.advance(3.1)
    assert bench.pipe.aborted
    bench.lose()
    assert bench.desk.ends[0].why == "the peer took nothing for 3 s"


async def test_answers_to_pings_of_a_peer_that_does_not_read_are_bounded() -> None:
    bench = Bench().open()
    bench.adapter.pause_writing()
    bench.pipe.buffered = LIMITS.size + 1
    bench.clock.advance(5)
    bench.peer._seal(2, b"", bench.clock.monotonic())
    bench.carry()
    assert bench.pipe.aborted


async def test_an_illegal_message_raises_at_once_or_closes_when_it_had_to_wait() -> None:
    bench = Bench().open()
    with pytest.raises(LocalProtocolError):
        bench.adapter.send(
            m.SetLimit(command_id=1, fence=1, connector=1, limit_w=0, expires_ms=0, fallback_w=0, reason="r")
        )
    assert bench.adapter.ready
    bench.adapter.pause_writing()
    bench.adapter.send(m.List(id=1))
    bench.adapter.send(m.Ack(n=1))
    with capture_logs() as logs:
        bench.adapter.resume_writing()
    assert [entry["event"] for entry in logs] == ["peer.illegal_message"]
    bench.lose()
    assert bench.desk.ends[0].code is CloseCode.INTERNAL


async def test_sending_before_the_channel_is_open_is_our_bug() -> None:
    bench = Bench()
    bench.adapter.connection_made(bench.pipe)
    with pytest.raises(LocalProtocolError):
        bench.adapter.send(m.Ack(n=1))
