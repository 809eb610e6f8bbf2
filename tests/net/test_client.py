"""The peer's end: connecting for ever, back-off, refusals, requests."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from evcharge.net.answers import BadAnswer, CentralAway, RequestRefused, TooManyRequests, Unanswered
from evcharge.net.client import MAX_REQUESTS, REVOKED_S, Client, Refusal
from evcharge.net.clock import SystemClock
from evcharge.net.ports import held_port
from protocol import messages as m
from protocol.credentials import Role, public_key
from protocol.errors import CloseCode, LocalProtocolError, RefuseCode
from tests.net.support import Ear, Site, a_site, until
from tests.support.link import FlakyLink
from tests.support.wire import BOOT_ID, CENTRAL_KEY, credential


async def turns() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_channel_brings_its_facts() -> None:
    async with a_site() as site:
        site.desk.checkpoint = b"evcharge.example\n7\nroot"
        client, ear, adapter = await site.joined(outbox_epoch=99)
        assert client.connected
        (info,) = ear.ups
        assert (info.fence, info.next_n, len(info.sid)) == (1, 7, 16)
        event = site.desk.auths[0][1]
        assert (event.username, event.role, event.boot_id, event.conn_no) == ("driver-1", Role.DRIVER, BOOT_ID, 1)
        assert (event.outbox_epoch, event.checkpoint) == (99, None)
        assert client.channel_ms() == adapter.channel_ms()
        site.clock.advance(12.5)
        assert client.channel_ms() == adapter.channel_ms()


async def test_it_comes_back_after_a_cut_with_what_it_has_learned() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        site.desk.checkpoint = b"evcharge.example\n7\nroot"
        client, ear, _ = await site.joined(port=link.port)
        link.cut()
        await site.idle(client)
        assert len(ear.downs) == 1
        assert not client.connected
        assert not client.send(m.List(id=1))
        before = client.channel_ms()
        site.clock.advance(0.2)
        assert client.channel_ms() == before + 200, "the clock of the leases runs on"
        await turns()
        assert link.connections == 1, "0.5 of the first half second is 0.25 s"
        site.clock.advance(0.1)
        await until(lambda: client.connected)
        assert [info.fence for info in ear.ups] == [1, 2]
        event = site.desk.auths[1][1]
        assert (event.conn_no, event.checkpoint) == (2, b"evcharge.example\n7\nroot")


async def test_back_off_doubles_while_nobody_answers_and_starts_again_after_a_channel() -> None:
    site = Site()
    with held_port("127.0.0.1") as site.port, capture_logs() as logs:
        client, _ = site.client()
        for attempt, delay_s in enumerate([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0], 1):
            await until(lambda attempt=attempt: len(logs) == attempt)
            await turns()
            site.clock.advance(delay_s - 0.06)
            await turns()
            assert len(logs) == attempt, "not before its time"
            site.clock.advance(0.12)
        await until(lambda: len(logs) == 10)
        await site.start()
    site.clock.advance(31)
    await until(lambda: client.connected)
    site.desk.up[-1].close(CloseCode.NORMAL)
    await site.idle(client)
    site.clock.advance(0.31)
    await until(lambda: client.connected)
    await site.stop()


async def test_connecting_gives_up_after_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_site() as site:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fill = [socket.socket() for _ in range(4)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        with capture_logs() as logs:
            site.client(port=port)
            await turns()
            site.clock.advance(4.9)
            await turns()
            assert not logs
            site.clock.advance(0.2)
            await until(lambda: logs)
        assert logs[0]["why"] == "no answer in 5 s"
        for sock in [listener, *fill]:
            sock.close()


async def test_a_name_that_does_not_resolve_is_tried_again() -> None:
    site = Site()
    ear = Ear()
    client = Client(
        credential(Role.DRIVER),
        "no-such-host.invalid",
        1,
        clock=site.clock,
        listener=ear,
        boot_id=BOOT_ID,
        timers=site.timers,
    )
    with capture_logs() as logs:
        run = asyncio.create_task(client.run())
        await until(lambda: logs)
        assert logs[0]["event"] == "central.left"
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_a_server_that_accepts_and_says_nothing_is_left_after_ten_seconds() -> None:
    site = Site()
    held: list[Any] = []
    mute = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    with capture_logs() as logs:
        site.client(port=mute.sockets[0].getsockname()[1])
        await until(lambda: held)
        await turns()
        site.clock.advance(9.9)
        await turns()
        assert not logs
        site.clock.advance(0.2)
        await until(lambda: logs)
    assert "took too long" in logs[0]["why"]
    await site.stop()
    for writer in held:
        writer.close()
    mute.close()


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [RefuseCode.UNKNOWN, RefuseCode.REVOKED, RefuseCode.EXPIRED, RefuseCode.WRONG_ROLE, RefuseCode.VERSION]
)
async def test_give_up_ends_at_a_permanent_refusal_with_a_sentence(code: RefuseCode) -> None:
    async with a_site() as site:
        site.desk.refuse = (code, 0)
        site.client(give_up=True)
        with pytest.raises(Refusal) as caught:
            await asyncio.wait_for(asyncio.shield(site.runs[0]), 20)
        assert caught.value.code is code
        assert ":" in caught.value.sentence
        assert str(caught.value) == caught.value.sentence


@pytest.mark.parametrize(
    ("refusal", "delay_s"),
    [
        ((RefuseCode.BUSY, 3), 3.25),
        ((RefuseCode.DRAINING, 7), 7.25),
        ((RefuseCode.UNAVAILABLE, 0), 0.25),
        ((RefuseCode.UNKNOWN, 0), 60.0),
        ((RefuseCode.REVOKED, 0), REVOKED_S),
    ],
)
async def test_after_a_refusal_it_waits_as_long_as_it_was_told(refusal: tuple[RefuseCode, int], delay_s: float) -> None:
    async with a_site() as site:
        site.desk.refuse = refusal
        client, ear = site.client()
        await until(lambda: site.server.counts.accepted == 1)
        await site.idle(client)
        site.desk.refuse = None
        site.clock.advance(delay_s - 0.06)
        await turns()
        assert site.server.counts.accepted == 1
        site.clock.advance(0.12)
        await until(lambda: client.connected)
        assert not ear.downs


@pytest.mark.parametrize(
    ("code", "delay_s"),
    [
        (CloseCode.NORMAL, 0.25),
        (CloseCode.EXPIRED, 0.25),
        (CloseCode.REVOKED, REVOKED_S),
        (CloseCode.SUPERSEDED, 10.0),
        (CloseCode.DUPLICATE_ID, 10.0),
    ],
)
async def test_after_a_close_it_waits_as_the_code_says(code: CloseCode, delay_s: float) -> None:
    async with a_site() as site:
        client, _, adapter = await site.joined()
        adapter.close(code)
        await site.idle(client)
        site.clock.advance(delay_s - 0.06)
        await turns()
        assert site.server.counts.accepted == 1
        site.clock.advance(0.12)
        await until(lambda: client.connected)


async def test_a_revoked_channel_ends_a_client_that_gives_up() -> None:
    async with a_site() as site:
        _, _, adapter = await site.joined(give_up=True)
        adapter.close(CloseCode.REVOKED)
        with pytest.raises(Refusal, match="revoked"):
            await asyncio.wait_for(asyncio.shield(site.runs[0]), 20)


async def test_a_hint_in_the_clear_slows_nothing_down() -> None:
    """Anybody on the way can write an ALERT."""
    site = Site()

    async def hint(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x00\x02\x7f\x09")
        writer.close()

    mute = await asyncio.start_server(hint, "127.0.0.1", 0)
    with capture_logs() as logs:
        site.client(port=mute.sockets[0].getsockname()[1])
        await until(lambda: logs)
        await turns()
        site.clock.advance(0.31)
        await until(lambda: len(logs) == 2)
    assert "VERSION" in logs[0]["why"]
    with capture_logs():
        site.client(port=mute.sockets[0].getsockname()[1], give_up=True)
        with pytest.raises(Refusal, match="another version"):
            await asyncio.wait_for(asyncio.shield(site.runs[1]), 20)
    await site.stop()
    mute.close()


async def test_the_moment_that_a_drain_assigned_is_kept_exactly() -> None:
    async with a_site() as site:
        client, ear, _ = await site.joined()

        async def finish() -> None:
            await until(lambda: ear.got)

        await site.server.drain(finish, return_per_s=0.25)
        await site.idle(client)
        assert ear.got == [m.Drain(retry_after_s=4.0)]
        site.server.draining = False
        await site.start()
        site.clock.advance(3.9)
        await turns()
        assert site.server.counts.accepted == 1
        site.clock.advance(0.2)
        await until(lambda: client.connected)


@pytest.mark.parametrize("announced", [False, True])
async def test_the_next_key_is_tried_when_the_pinned_one_fails_and_then_kept(announced: bool) -> None:
    other = public_key(b"\x07" * 32)
    who = msgspec.structs.replace(
        credential(Role.DRIVER), central_public_key=other, central_next=CENTRAL_KEY if announced else None
    )
    async with a_site() as site:
        client, ear = site.client(who)
        for attempt in range(1, 2 if announced else 5):
            await until(lambda attempt=attempt: site.server.counts.accepted == attempt)
            await site.idle(client)
            assert not ear.ups
            site.clock.advance(10)
        if not announced:
            return
        await until(lambda: client.connected)
        assert site.desk.auths[0][1].conn_no == 2
        site.desk.up[0].close(CloseCode.NORMAL)
        await site.idle(client)
        site.clock.advance(1)
        await until(lambda: client.connected)
        assert site.desk.auths[1][1].conn_no == 3, "no attempt with the old key in between"


async def test_where_nobody_listens_nothing_is_learned_of_keys() -> None:
    site = Site()
    with held_port("127.0.0.1") as site.port:
        client, _ = site.client(msgspec.structs.replace(credential(Role.DRIVER), central_next=public_key(b"\x07" * 32)))
        await until(lambda: client._attempt == 1)
        await site.start()
    site.clock.advance(1)
    await until(lambda: site.desk.auths)
    assert site.server.counts.accepted == 1
    await site.stop()


async def test_a_credential_of_central_is_misuse() -> None:
    async with a_site() as site:
        who = msgspec.structs.replace(credential(Role.DRIVER), role=Role.CENTRAL)
        site.client(who)
        with pytest.raises(LocalProtocolError, match="peer's credential"):
            await asyncio.wait_for(asyncio.shield(site.runs[0]), 20)


# --- requests -----------------------------------------------------------------------------------------------------


async def test_answers_find_their_requests_in_any_order() -> None:
    async with a_site() as site:
        client, ear, adapter = await site.joined()
        asked: list[Any] = []
        site.desk.on_message = lambda _adapter, message: asked.append(message)
        requests = [asyncio.create_task(client.request(m.List(id=0))) for _ in range(4)]
        await until(lambda: len(asked) == 4)
        assert len({message.id for message in asked}) == 4
        adapter.send(m.Refused(reason="busy", sentence="The connector is taken.", re=asked[3].id, retry_after_s=9))
        adapter.send(m.Error(code="c", sentence="Malformed.", re=asked[2].id))
        adapter.send(m.Ack(re=asked[1].id))
        adapter.send(m.Reply(re=asked[0].id, session_id="s"))
        adapter.send(m.Reply(re=asked[0].id, session_id="again"))
        adapter.send(m.Ack(re="of-nobody"))
        done = await asyncio.gather(*requests, return_exceptions=True)
        assert done[0] == m.Reply(re=asked[0].id, session_id="s")
        assert done[1] == m.Ack(re=asked[1].id)
        assert isinstance(done[2], BadAnswer) and done[2].sentence == "Malformed."
        assert isinstance(done[3], RequestRefused)
        assert (done[3].reason, done[3].sentence, done[3].retry_after_s) == ("busy", "The connector is taken.", 9)
        await until(lambda: ear.got)
        assert ear.got[-1] == m.Ack(re="of-nobody")
        assert not client._requests


async def test_a_request_without_an_answer_ends_in_time() -> None:
    async with a_site() as site:
        client, _, _ = await site.joined()
        site.desk.on_message = lambda _adapter, _message: None
        asked = asyncio.create_task(client.request(m.List(id=0), timeout_s=3))
        await until(lambda: site.desk.got)
        site.clock.advance(2.9)
        await turns()
        assert not asked.done()
        site.clock.advance(0.2)
        with pytest.raises(Unanswered, match="did not answer in 3 s"):
            await asked
        assert len(site.timers) == 2, "one for each end of the connection"


async def test_a_request_fails_at_once_when_the_channel_breaks_or_is_not_there() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as link:
        client, _, _ = await site.joined(port=link.port)
        site.desk.on_message = lambda _adapter, _message: None
        asked = asyncio.create_task(client.request(m.List(id=0)))
        await until(lambda: site.desk.got)
        link.cut()
        with pytest.raises(Unanswered, match="was lost"):
            await asked
        with pytest.raises(CentralAway, match="no connection"):
            await client.request(m.List(id=0))


async def test_open_requests_are_bounded() -> None:
    async with a_site() as site:
        client, _, _ = await site.joined()
        site.desk.on_message = lambda _adapter, _message: None
        asked = [asyncio.create_task(client.request(m.List(id=0))) for _ in range(MAX_REQUESTS)]
        await turns()
        with pytest.raises(TooManyRequests, match="wait for an answer already"):
            await client.request(m.List(id=0))
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert not client._requests


async def test_messages_that_answer_nothing_go_to_the_listener() -> None:
    async with a_site() as site:
        client, ear, adapter = await site.joined()
        assert client.send(m.TicketReceived(ticket_id="t"))
        await until(lambda: site.desk.got)
        news = m.Update(session_id="s", state="SUPPLYING", cp_id="cp")
        adapter.send(news)
        adapter.send(m.Error(code="c", sentence="s"))
        await until(lambda: len(ear.got) == 2)
        assert ear.got == [news, m.Error(code="c", sentence="s")]


# --- the end ------------------------------------------------------------------------------------------------------


async def test_cancelled_it_closes_the_channel_cleanly_and_tells_its_listener() -> None:
    async with a_site() as site:
        client, ear, _ = await site.joined()
        site.runs[0].cancel()
        await until(lambda: site.desk.ends)
        assert (site.desk.ends[0].code, site.desk.ends[0].clean) == (CloseCode.NORMAL, True)
        assert ear.downs == ["this program ends"]
        assert not client.connected


async def test_cancelled_while_it_waits_it_just_ends() -> None:
    site = Site()
    with held_port("127.0.0.1") as site.port:
        client, ear = site.client()
        await turns()
        await site.stop()
    assert not ear.ups and not ear.downs
    with pytest.raises(RuntimeError, match="no channel yet"):
        client.channel_ms()


async def test_a_bug_of_the_listener_closes_the_channel_and_it_comes_back() -> None:
    async with a_site() as site:
        client, ear, adapter = await site.joined()
        kept = ear.message

        def broken(_message: m.Message) -> None:
            ear.message = kept  # type: ignore[method-assign]  # a listener with a bug, once
            raise ZeroDivisionError

        ear.message = broken  # type: ignore[method-assign]  # a listener with a bug, once
        with capture_logs() as logs:
            adapter.send(m.Error(code="c", sentence="s"))
            await until(lambda: site.desk.ends)
        assert "peer.handler_failed" in [entry["event"] for entry in logs]
        assert site.desk.ends[0].code is CloseCode.INTERNAL
        await site.idle(client)
        site.clock.advance(1)
        await until(lambda: client.connected)


async def test_it_runs_on_the_real_clock() -> None:
    async with a_site() as site:
        ear = Ear()
        client = Client(credential(Role.CP), "127.0.0.1", site.port, clock=SystemClock(), listener=ear, boot_id=BOOT_ID)
        run = asyncio.create_task(client.run())
        async with asyncio.timeout(20):
            await client.wait_connected()
        assert client.send(m.Heartbeat(id=1))
        await until(lambda: ear.got)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        client.timers.close()
