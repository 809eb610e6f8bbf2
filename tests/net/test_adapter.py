"""One adapter from the first message to the end, whichever end that is."""

from __future__ import annotations

from structlog.testing import capture_logs

from evcharge.net.adapter import Adapter
from evcharge.net.writer import LINGER_S
from protocol import messages as m
from protocol.credentials import Role
from protocol.errors import CloseCode, RefuseCode, RemoteProtocolError
from tests.net.bench import Bench


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
