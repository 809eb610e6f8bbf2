"""The front door on real sockets of loopback."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from typing import Any

import pytest

from evcharge.net import server as server_module
from evcharge.net.server import Server, ServerLimits
from evcharge.net.timers import TimerWheel
from protocol import messages as m
from protocol.credentials import Role
from protocol.errors import CloseCode, FrameTooLarge, TimedOut
from tests.net.support import Desk, Site, a_site, until
from tests.support.clock import ManualClock
from tests.support.link import FlakyLink
from tests.support.wire import CENTRAL, credential


async def stranger(site: Site, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP connection that is no client of ours, seen by Central."""
    before = site.server.counts.accepted
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(data)
    await until(lambda: site.server.counts.accepted > before)
    return reader, writer


async def test_counts_follow_a_peer_through_its_life() -> None:
    async with a_site() as site:
        await site.joined()
        counts = site.server.counts
        assert (counts.accepted, counts.established, counts.open, counts.unauthenticated) == (1, 1, 1, 0)
        (adapter,) = site.server.adapters
        assert adapter.address == "127.0.0.1"
        site.runs[0].cancel()
        await until(lambda: counts.open == 0)
        assert counts.unauthenticated == 0
        assert [(end.code, end.clean) for end in site.desk.ends] == [(CloseCode.NORMAL, True)]


@pytest.mark.parametrize("piece", [1, 7, 1000])
async def test_any_cut_of_the_stream(piece: int) -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        link.piece = piece
        client, _, _ = await site.joined(port=link.port)
        answers = await asyncio.gather(*(client.request(m.List(id=0)) for _ in range(5)))
        assert len(answers) == 5


async def test_a_silent_stranger_is_closed_after_two_seconds_without_a_word() -> None:
    async with a_site() as site:
        reader, writer = await stranger(site)
        site.clock.advance(1.9)
        assert site.server.counts.open == 1
        site.clock.advance(0.2)
        assert await reader.read() == b""
        writer.close()
        await until(lambda: site.server.counts.open == site.server.counts.unauthenticated == 0)
        assert isinstance(site.desk.ends[0].error, TimedOut)


async def test_a_slow_trickle_does_not_extend_the_handshake() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        site.desk.answer_auth = False
        site.client(port=link.port)
        await until(lambda: site.desk.auths)
        for _ in range(9):
            site.clock.advance(1)
        assert not site.desk.ends
        site.clock.advance(1.1)
        await until(lambda: site.desk.ends)
        assert isinstance(site.desk.ends[0].error, TimedOut)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x00", b"\x00\x00\x04\x01", b"\x00\x00\x00\x02\x10x", b"\xff" * 64],
)
async def test_garbage_is_closed_without_a_reply(data: bytes) -> None:
    async with a_site() as site:
        reader, writer = await stranger(site, data)
        assert await reader.read() == b""
        writer.close()
        await until(lambda: site.desk.ends)
        assert site.desk.ends[0].error is not None


async def test_an_oversize_length_is_fatal_after_four_bytes() -> None:
    async with a_site() as site:
        reader, writer = await stranger(site, (1025).to_bytes(4, "big"))
        assert await reader.read() == b""
        writer.close()
        await until(lambda: site.desk.ends)
        assert isinstance(site.desk.ends[0].error, FrameTooLarge)


async def test_bytes_from_elsewhere_inside_a_channel_end_it() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        _, ear, adapter = await site.joined(port=link.port)
        link.inject(b"\x00\x00\x00\x05\x10abcd")
        await until(lambda: site.desk.ends and ear.downs)
        assert site.desk.ends[0].adapter is adapter
        assert site.desk.ends[0].code is CloseCode.PROTOCOL


async def test_a_half_open_peer_is_given_up_after_45_seconds() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        await site.joined(port=link.port)
        link.hole = True
        for _ in range(44):
            site.clock.advance(1)
        assert not site.desk.ends
        for _ in range(3):
            site.clock.advance(1)
        await until(lambda: site.desk.ends)
        assert isinstance(site.desk.ends[0].error, TimedOut)


async def test_strangers_beyond_the_limit_are_dropped_and_peers_stay() -> None:
    async with a_site(server_limits=ServerLimits(unauthenticated=3)) as site:
        client, _, _ = await site.joined()
        held = [await stranger(site) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        with pytest.raises(ConnectionError):
            assert await reader.read() == b""
            raise ConnectionResetError
        writer.close()
        assert site.server.counts.turned_away == 1
        assert isinstance(await client.request(m.List(id=0)), m.Reply)
        held[0][1].close()
        await until(lambda: site.server.counts.unauthenticated == 2)
        _, writer = await stranger(site)
        writer.close()
        for _, other in held:
            other.close()


async def test_connections_beyond_the_limit_are_dropped() -> None:
    async with a_site(server_limits=ServerLimits(connections=2)) as site:
        await site.joined(who=credential(Role.DRIVER, 1))
        await site.joined(who=credential(Role.DRIVER, 2))
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        await until(lambda: site.server.counts.turned_away == 1)
        writer.close()
        assert site.server.counts.open == 2


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_out_of_descriptors_does_not_spin_and_service_comes_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio tries again after a second. (libuv accepts in C and has its own remedy.)"""
    monkeypatch.setattr("asyncio.constants.ACCEPT_RETRY_DELAY", 0.01)
    loop = asyncio.get_running_loop()
    calls = 0
    in_one_turn: list[int] = []
    accept = socket.socket.accept

    def full(self: socket.socket) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            loop.call_soon(lambda: in_one_turn.append(calls))
        if not in_one_turn:
            raise OSError(errno.EMFILE, "too many open files")
        return accept(self)

    async with a_site() as site:
        monkeypatch.setattr(socket.socket, "accept", full)
        with caplog.at_level(logging.CRITICAL):
            await site.joined()
        assert in_one_turn == [server_module.ACCEPTS_PER_TURN]


async def test_the_process_may_open_more_files_than_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, raised = [(100, 300)], []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _what, pair: raised.append(pair))
    assert server_module._files_allowed() == 300
    assert raised == [(300, 300)]
    limits.append((300, 300))
    assert server_module._files_allowed() == 300
    limits.append((1024, resource.RLIM_INFINITY))
    assert server_module._files_allowed() == server_module.MOST_FILES
    assert len(raised) == 1


async def test_an_address_in_use_says_what_to_do() -> None:
    async with a_site() as site:
        clock = ManualClock()
        other = Server(CENTRAL, Desk(clock), clock=clock)
        with pytest.raises(OSError, match="in use: stop the other process"):
            await other.start("127.0.0.1", site.port)
        with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1"):
            await other.start("192.0.2.1", 0)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_all_addresses_of_a_name_get_the_same_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()

    async def both(*_args: Any, **_kwargs: Any) -> Any:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]

    clock = ManualClock()
    server = Server(CENTRAL, Desk(clock), clock=clock, timers=TimerWheel(clock))
    monkeypatch.setattr(loop, "getaddrinfo", both)
    (first, port), (second, other) = await server.start("name", 0)
    assert (first, second) == ("127.0.0.1", "127.0.0.2")
    assert port == other != 0
    await server.close()


async def test_a_slow_consumer_is_closed_and_the_others_do_not_notice() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        good, _, _ = await site.joined(who=credential(Role.DRIVER, 1))
        _, _, slow = await site.joined(who=credential(Role.DRIVER, 2), port=link.port)
        link.stop_client_reading()
        big = m.Refused(reason="r", sentence="x" * 30_000)
        sent = 0
        while slow.send(big):
            sent += 1
            assert sent < 2000, "the queue has to be bounded"
            if sent % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: site.desk.ends)
        assert site.desk.ends[0].code is CloseCode.SLOW
        assert isinstance(await good.request(m.List(id=0)), m.Reply)


async def test_what_waited_for_a_slow_consumer_arrives_when_it_reads_again() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        _, ear, slow = await site.joined(port=link.port)
        link.stop_client_reading()
        number = 0
        while not slow.waiting:
            number += 1
            assert slow.send(m.Refused(reason=str(number), sentence="x" * 20_000))
            await asyncio.sleep(0)
        for _ in range(3):
            number += 1
            assert slow.send(m.Refused(reason=str(number), sentence=""))
        link.start_client_reading()
        await until(lambda: len(ear.got) == number)
        assert [message.reason for message in ear.got if isinstance(message, m.Refused)] == [
            str(place) for place in range(1, number + 1)
        ]


async def test_a_peer_that_sends_much_and_leaves_is_heard_to_its_end() -> None:
    """Its messages and its CLOSE wait in the kernel while the rate holds the reading; nothing is dropped."""
    async with a_site() as site:
        client, _, _ = await site.joined()
        # No answers: they would meet a closed socket, and its reset would throw away what waits here.
        site.desk.on_message = lambda _adapter, _message: None
        for number in range(1000):
            assert client.send(m.List(id=number))
        site.runs[0].cancel()
        await until(lambda: len(site.desk.got) >= 190)
        while not site.desk.ends:
            site.clock.advance(0.2)
            await asyncio.sleep(0.001)
        assert [message.id for message in site.desk.got if isinstance(message, m.List)] == list(range(1000))
        assert (site.desk.ends[0].code, site.desk.ends[0].clean) == (CloseCode.NORMAL, True)


async def test_a_full_inbox_stops_all_reading_and_only_until_it_has_room() -> None:
    async with a_site() as site:
        joined = [await site.joined(who=credential(Role.DRIVER, number)) for number in (1, 2)]
        site.desk.on_message = lambda _adapter, _message: [adapter.pause_reading() for adapter in site.desk.up] and None
        joined[0][0].send(m.List(id=1))
        await until(lambda: site.desk.got)
        for client, _, _ in joined:
            for number in range(2, 20):
                assert client.send(m.List(id=number))
        for _ in range(40):
            site.clock.advance(1)
            await asyncio.sleep(0)
        assert len(site.desk.got) == 1
        assert not any(adapter.reading for adapter in site.desk.up)
        site.desk.on_message = site.desk.answer
        for adapter in site.desk.up:
            adapter.resume_reading()
        await until(lambda: len(site.desk.got) == 37)
        assert not site.desk.ends


async def test_drain_goes_in_order_and_gives_every_peer_its_own_moment() -> None:
    async with a_site() as site:
        joined = [await site.joined(who=credential(Role.DRIVER, number)) for number in range(1, 5)]
        _, silent = await stranger(site)
        ears = [ear for _, ear, _ in joined]
        steps: list[str] = []

        async def finish() -> None:
            await until(lambda: all(ear.got for ear in ears))
            steps.append("told")
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", site.port)
            assert all(client.connected for client, _, _ in joined)
            joined[0][2].send(m.Refused(reason="last", sentence="word"))

        await site.server.drain(finish, return_per_s=0.5)
        assert steps == ["told"]
        assert site.server.counts.open == 0
        await until(lambda: all(ear.downs for ear in ears))
        moments = sorted(message.retry_after_s for ear in ears for message in ear.got if isinstance(message, m.Drain))
        assert moments == [2.0, 4.0, 6.0, 8.0]
        assert ears[0].got[-1] == m.Refused(reason="last", sentence="word"), "the last work is sent before the close"
        assert [end.code for end in site.desk.ends if end.adapter.established] == [CloseCode.DRAIN] * 4
        silent.close()


async def test_drain_cuts_a_peer_that_does_not_take_its_close() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        _, _, slow = await site.joined(port=link.port)
        link.stop_client_reading()
        while not slow.waiting:
            slow.send(m.Refused(reason="r", sentence="x" * 20_000))
            await asyncio.sleep(0)

        async def finish() -> None:
            return

        draining = asyncio.create_task(site.server.drain(finish))
        while not draining.done():
            site.clock.advance(0.5)
            await asyncio.sleep(0.001)
        await draining
        assert site.server.counts.open == 0


async def test_drain_closes_the_peers_even_when_the_work_fails() -> None:
    async with a_site() as site:
        await site.joined()

        async def finish() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await site.server.drain(finish)
        assert site.server.counts.open == 0


async def test_a_newcomer_during_the_drain_is_turned_away() -> None:
    async with a_site() as site:
        site.server.draining = True
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        await until(lambda: site.server.counts.turned_away == 1)
        writer.close()
