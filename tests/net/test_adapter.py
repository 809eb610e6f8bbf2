"""One adapter on a transport that the test controls, with a real peer behind it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from structlog.testing import capture_logs

from evcharge.net.adapter import GRACE_S, Adapter
from evcharge.net.flow import QUESTION_WEIGHT, Rate, WaitLimits
from evcharge.net.timers import TimerWheel
from evcharge.net.writer import LINGER_S
from protocol import messages as m
from protocol.connection import Connection
from protocol.credentials import Role
from protocol.errors import CloseCode, LocalProtocolError, RefuseCode, RemoteProtocolError, TimedOut
from protocol.events import ChannelClosed, Established, Limits, MessageReceived
from tests.net.support import Desk
from tests.support.clock import ManualClock
from tests.support.wire import BOOT_ID, CENTRAL, credential

LIMITS = WaitLimits()


class Pipe(asyncio.Transport):
    """A transport that keeps what is written and does what the test says."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 4711)})
        self.writes: list[bytes] = []
        self.buffered = 0
        self.reading = True
        self.closing = self.aborted = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None and low is not None and low < high

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class Bench:
    """A server's adapter, its pipe, and a peer's connection on the other side."""

    def __init__(
        self,
        *,
        role: Role = Role.DRIVER,
        rate: Rate | None = None,
        limits: Limits | None = None,
        wait_limits: WaitLimits = LIMITS,
    ) -> None:
        self.clock = ManualClock()
        self.timers = self.clock.watch(TimerWheel(self.clock))
        self.desk = Desk(self.clock)
        self.made: list[Adapter] = []
        self.authed: list[Adapter] = []
        self.lost: list[Adapter] = []
        self.readied: list[Adapter] = []
        now = self.clock.monotonic()
        server = Connection.server(CENTRAL, now=now, entropy=os.urandom, limits=limits or Limits())
        self.adapter = Adapter(
            server, self.desk, self, clock=self.clock, timers=self.timers, rate=rate, wait_limits=wait_limits
        )
        self.peer = Connection.client(
            credential(role), boot_id=BOOT_ID, conn_no=1, now=now, entropy=os.urandom, limits=limits or Limits()
        )
        self.pipe = Pipe()
        self.heard: list[m.Message] = []
        self.ended: ChannelClosed | None = None

    # Owner
    def adapter_made(self, adapter: Adapter) -> None:
        self.made.append(adapter)

    def adapter_hello(self, adapter: Adapter) -> None:
        adapter.answer_hello()

    def adapter_auth(self, adapter: Adapter) -> None:
        self.authed.append(adapter)

    def adapter_ready(self, adapter: Adapter) -> None:
        self.readied.append(adapter)

    def adapter_lost(self, adapter: Adapter) -> None:
        self.lost.append(adapter)

    def open(self) -> Bench:
        self.adapter.connection_made(self.pipe)
        while not (self.adapter.ready and self.peer.ready):
            self.carry()
        self.pipe.writes.clear()
        return self

    def carry(self) -> None:
        """Carry what is under way, both ways, once."""
        data = self.peer.data_to_send()
        if data:
            self.adapter.data_received(data)
        self.hear()

    def hear(self) -> None:
        """The peer reads what was written."""
        now = self.clock.monotonic()
        while self.pipe.writes:
            self.peer.receive_data(self.pipe.writes.pop(0), now)
            while (event := self.peer.next_event()) is not None:
                if isinstance(event, MessageReceived):
                    self.heard.append(event.message)
                elif isinstance(event, ChannelClosed):
                    self.ended = event
                else:
                    assert isinstance(event, Established)

    def say(self, *messages: m.Message) -> None:
        """The peer sends these in one piece."""
        for message in messages:
            self.peer.send(message, self.clock.monotonic())
        self.carry()

    def lose(self, error: Exception | None = None) -> None:
        self.adapter.connection_lost(error)


def update(session: str, **fields: Any) -> m.Update:
    return m.Update(session_id=session, state="SUPPLYING", cp_id="cp", **fields)


async def test_the_peer_is_known_and_its_messages_arrive() -> None:
    bench = Bench().open()
    adapter = bench.adapter
    assert (adapter.role, adapter.username, adapter.entity) == (Role.DRIVER, "driver-1", "DRIVER-1")
    assert (adapter.address, adapter.port) == ("192.0.2.7", 4711)
    assert adapter.established and bench.readied == [adapter]
    assert adapter.channel_ms() == bench.clock.steady_ms()
    bench.say(m.List(id=1))
    assert bench.heard == [m.Reply(re=1, charge_points=[])]


async def test_what_a_batch_of_frames_makes_is_one_write() -> None:
    bench = Bench().open()
    for number in range(20):
        bench.peer.send(m.List(id=number), bench.clock.monotonic())
    bench.adapter.data_received(bench.peer.data_to_send())
    assert len(bench.pipe.writes) == 1
    bench.hear()
    assert [message.re for message in bench.heard if isinstance(message, m.Reply)] == list(range(20))


async def test_a_batch_that_makes_much_is_written_in_between() -> None:
    """Otherwise a peer could make this side hold an answer to each of 200 requests before the first is written."""
    bench = Bench().open()
    bench.desk.on_message = lambda adapter, message: (
        adapter.send(m.Reply(re=1, sessions=[m.SessionView(session_id="s", state="x" * 20_000, cp_id="c")])) and None
    )
    for number in range(30):
        bench.peer.send(m.List(id=number), bench.clock.monotonic())
    bench.adapter.data_received(bench.peer.data_to_send())
    assert 5 < len(bench.pipe.writes) < 30
    assert max(map(len, bench.pipe.writes)) < 128 * 1024
    bench.hear()
    assert len(bench.heard) == 30


async def test_garbage_is_told_once_and_closes_without_a_reply() -> None:
    bench = Bench()
    bench.adapter.connection_made(bench.pipe)
    bench.adapter.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert bench.pipe.closing and not bench.pipe.writes
    bench.lose()
    (end,) = bench.desk.ends
    assert isinstance(end.error, RemoteProtocolError)
    assert not end.clean
    assert bench.lost == [bench.adapter]


async def test_a_bug_of_a_handler_closes_that_peer_with_internal_and_no_details() -> None:
    bench = Bench().open()

    def broken(_adapter: Adapter, _message: m.Message) -> None:
        raise ZeroDivisionError("secret detail")

    bench.desk.on_message = broken
    with capture_logs() as logs:
        bench.say(m.List(id=1), m.List(id=2))
    assert [entry["event"] for entry in logs] == ["peer.handler_failed"]
    assert logs[0]["exc_info"]
    assert len(bench.desk.got) == 1, "what came behind it is not handled"
    assert bench.ended is not None and bench.ended.code is CloseCode.INTERNAL
    assert b"secret" not in b"".join(bench.pipe.writes)
    assert not bench.desk.ends, "closed is not called from inside close"
    bench.lose()
    assert [end.code for end in bench.desk.ends] == [CloseCode.INTERNAL]


async def test_a_bug_in_closed_is_logged_and_the_owner_still_counts() -> None:
    bench = Bench().open()

    def broken(*_args: object) -> None:
        raise ZeroDivisionError

    bench.desk.closed = broken  # type: ignore[method-assign]  # a handler with a bug
    with capture_logs() as logs:
        bench.lose()
    assert [entry["event"] for entry in logs] == ["peer.handler_failed"]
    assert bench.lost == [bench.adapter]


async def test_close_is_told_when_the_transport_is_gone_and_only_once() -> None:
    bench = Bench().open()
    bench.adapter.close(CloseCode.SUPERSEDED, "a newer one")
    bench.adapter.close(CloseCode.NORMAL)
    bench.hear()
    assert bench.ended is not None and bench.ended.code is CloseCode.SUPERSEDED
    assert bench.pipe.closing and not bench.desk.ends
    assert not bench.adapter.send(m.Ack(n=1))
    bench.lose()
    bench.adapter.close(CloseCode.NORMAL)
    (end,) = bench.desk.ends
    assert (end.code, end.clean, end.why, end.error) == (CloseCode.SUPERSEDED, True, "a newer one", None)
    assert len(bench.timers) == 0


async def test_a_peer_that_does_not_take_the_close_is_cut_after_the_linger_time() -> None:
    bench = Bench().open()
    bench.adapter.close(CloseCode.NORMAL)
    bench.clock.advance(LINGER_S - 0.1)
    assert not bench.pipe.aborted
    bench.clock.advance(0.2)
    assert bench.pipe.aborted


async def test_the_ends_that_a_peer_can_make() -> None:
    bench = Bench().open()
    bench.peer.close(CloseCode.NORMAL, bench.clock.monotonic())
    bench.carry()
    assert bench.pipe.closing
    bench = Bench().open()
    bench.adapter.eof_received()
    assert bench.pipe.closing
    (end,) = bench.desk.ends
    assert (end.code, end.clean) == (None, False)
    bench = Bench().open()
    bench.lose(ConnectionResetError())
    (end,) = bench.desk.ends
    assert (end.code, end.clean) == (None, False)


async def test_a_refusal_and_late_answers_to_a_peer_that_has_gone() -> None:
    bench = Bench()
    bench.desk.answer_auth = False
    bench.adapter.connection_made(bench.pipe)
    for _ in range(3):
        bench.carry()
    assert bench.desk.auths
    assert bench.adapter.refuse(RefuseCode.BUSY, 3)
    assert bench.pipe.closing
    bench.lose()
    assert bench.desk.ends[0].why == "refused: BUSY"
    assert not bench.adapter.refuse(RefuseCode.BUSY, 3)
    assert not bench.desk.admit(bench.adapter)
    assert not bench.adapter.reply_hello(0)
    bench.adapter.abort(CloseCode.NORMAL, "late")


async def test_an_answer_to_auth_may_come_later() -> None:
    bench = Bench()
    bench.desk.answer_auth = False
    bench.adapter.connection_made(bench.pipe)
    for _ in range(3):
        bench.carry()
    bench.clock.advance(1.9)
    assert bench.desk.admit(bench.adapter)
    bench.carry()
    bench.carry()
    assert bench.adapter.ready


# --- writing ------------------------------------------------------------------------------------------------------


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


# --- reading ------------------------------------------------------------------------------------------------------


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
    ],
    ids=lambda one: type(one).__name__,
)
async def test_what_costs_more_counts_more_and_nothing_is_lost(question: m.Message) -> None:
    bench = Bench(rate=Rate(50.0, 200.0)).open()
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
