"""Strangers from many addresses at a real door: what they may hold, whom they may keep waiting, and what it costs."""

from __future__ import annotations

import asyncio
import os

import pytest
from structlog.testing import capture_logs

from evcharge.net import server as server_module
from evcharge.net.adapter import Adapter
from evcharge.net.lanes import ANSWERS_PER_TURN, SlotLimits
from evcharge.net.server import ServerLimits
from evcharge.net.sources import SourceLimits
from protocol import messages as m
from protocol import opening
from protocol.connection import Connection
from protocol.credentials import Role
from protocol.errors import RefuseCode, RemoteProtocolError
from protocol.frames import ALERT, MAX_HANDSHAKE_FRAME, encode_frame
from tests.net.support import Site, a_site, until
from tests.support.wire import BOOT_ID, credential

BUSY = encode_frame(ALERT, bytes([RefuseCode.BUSY]))
HERE = "127.0.0.1"


class Stranger:
    """A TCP connection from an address of its own."""

    def __init__(self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.site = site
        self.reader = reader
        self.writer = writer

    @classmethod
    async def at(cls, site: Site, address: str, data: bytes = b"") -> Stranger:
        reader, writer = await asyncio.open_connection(HERE, site.port, local_addr=(address, 0))
        writer.write(data)
        return cls(site, reader, writer)

    async def dropped(self) -> bool:
        """The connection was cut, or ended without a word."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    async def replied(self) -> None:
        """Central's REPLY is here."""
        head = await self.reader.readexactly(5)
        assert head[4] == 2

    def leave(self) -> None:
        self.writer.transport.abort()


def hello(number: int = 1) -> bytes:
    """A good HELLO."""
    who = credential(Role.DRIVER, number)
    return Connection.client(who, boot_id=BOOT_ID, conn_no=1, now=0.0, entropy=os.urandom).data_to_send()


def slots(**limits: float) -> ServerLimits:
    return ServerLimits(slots=SlotLimits(**limits))  # type: ignore[arg-type]  # a test's own mixture


# --- sources --------------------------------------------------------------------------------------------------------


async def test_one_address_has_its_share_and_the_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_site(server_limits=ServerLimits(source=SourceLimits(burst=4.0))) as site:
        many = [await Stranger.at(site, "127.0.9.1") for _ in range(4)]
        await until(lambda: site.server.counts.accepted == 4)
        monkeypatch.setattr(server_module, "Adapter", None)
        for _ in range(3):
            assert await (await Stranger.at(site, "127.0.9.1")).dropped(), "before anything was made for it"
        monkeypatch.undo()
        assert site.server.sources.take_refused() == ("127.0.9.1", 3)
        assert (site.server.counts.accepted, site.server.counts.turned_away) == (4, 0)
        other = await Stranger.at(site, "127.0.9.2", hello())
        await other.replied()
        site.clock.advance(0.1)
        await Stranger.at(site, "127.0.9.1")
        await until(lambda: site.server.counts.accepted == 6)
        for each in (*many, other):
            each.leave()


async def test_a_stranger_that_left_makes_room() -> None:
    async with a_site(server_limits=ServerLimits(source=SourceLimits(connections=2))) as site:
        first, _second = [await Stranger.at(site, "127.0.9.1") for _ in range(2)]
        assert await (await Stranger.at(site, "127.0.9.1")).dropped()
        first.leave()
        await until(lambda: site.server.counts.open == 1)
        await Stranger.at(site, "127.0.9.1")
        await until(lambda: site.server.counts.open == 2)


async def test_a_site_behind_one_address_comes_back_at_once() -> None:
    limits = ServerLimits(source=SourceLimits(connections=3, burst=3.0))
    async with a_site(server_limits=limits) as site:
        client, _, _ = await site.joined()
        assert site.server.sources.known(HERE, site.clock.monotonic())
        held = [await Stranger.at(site, HERE) for _ in range(50)]
        await until(lambda: site.server.counts.open == 51)
        assert isinstance(await client.request(m.List(id=0)), m.Reply)
        for each in held:
            each.leave()


async def test_the_end_of_a_channel_counts_too() -> None:
    """The channels of a site are closed after a day, when its last success was a day ago: all come back at once."""
    async with a_site(server_limits=ServerLimits(source=SourceLimits(known_s=5.0))) as site:
        await site.joined()
        site.clock.advance(6)
        assert not site.server.sources.known(HERE, site.clock.monotonic())
        site.runs[0].cancel()
        await until(lambda: site.server.counts.open == 0)
        site.clock.advance(4)
        assert site.server.sources.known(HERE, site.clock.monotonic())


@pytest.mark.parametrize("limits", [{"unauthenticated": 8}, {"unauthenticated": 8, "connections": 9}])
async def test_strangers_leave_room_for_known_sources(limits: dict[str, int]) -> None:
    async with a_site(server_limits=ServerLimits(known_share=0.25, **limits)) as site:
        await site.joined()
        held = [await Stranger.at(site, f"127.0.9.{number}") for number in range(1, 7)]
        await until(lambda: site.server.counts.unauthenticated == 6)
        assert await (await Stranger.at(site, "127.0.9.7")).dropped()
        held += [await Stranger.at(site, HERE) for _ in range(2)]
        await until(lambda: site.server.counts.unauthenticated == 8)
        assert await (await Stranger.at(site, HERE)).dropped()
        assert site.server.counts.turned_away == 2
        for each in held:
            each.leave()


async def test_where_files_are_few_the_reserve_is_one_of_files() -> None:
    async with a_site(server_limits=ServerLimits(unauthenticated=1_000, connections=8, known_share=0.25)) as site:
        await site.joined()
        held = [await Stranger.at(site, f"127.0.9.{number}") for number in range(1, 7)]
        await until(lambda: site.server.counts.unauthenticated == 6)
        assert await (await Stranger.at(site, "127.0.9.7")).dropped()
        held.append(await Stranger.at(site, HERE))
        await until(lambda: site.server.counts.open == 8)
        for each in held:
            each.leave()


# --- slots ----------------------------------------------------------------------------------------------------------


async def test_a_hello_waits_for_a_slot_and_costs_nothing_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[object] = []
    compute = opening.ServerHandshake.reply
    monkeypatch.setattr(
        opening.ServerHandshake, "reply", lambda self, time_ms: (computed.append(self), compute(self, time_ms))[1]
    )
    async with a_site(server_limits=slots(unknown=2)) as site:
        first = [await Stranger.at(site, f"127.0.9.{number}", hello(number)) for number in (1, 2)]
        for each in first:
            await each.replied()
        third = await Stranger.at(site, "127.0.9.3", hello(3))
        await until(lambda: site.server.lanes.unknown.waiting == 1)
        site.clock.advance(0.09)
        assert len(computed) == 2 and site.server.lanes.unknown.waiting == 1
        site.clock.advance(0.02)
        await third.replied()
        assert len(computed) == 3
        for each in (*first, third):
            each.leave()
        await until(lambda: site.server.counts.open == 0)
        assert site.server.lanes.unknown.holding == 0


async def test_whoever_lost_its_slot_may_still_finish() -> None:
    async with a_site(server_limits=slots(unknown=1)) as site:
        site.desk.answer_hello = False
        client, _ = site.client()
        await until(lambda: site.server.lanes.unknown.holding == 1)
        other = await Stranger.at(site, "127.0.9.1", hello())
        await until(lambda: site.server.lanes.unknown.waiting == 1)
        (late,) = [adapter for adapter in site.server.adapters if adapter.address == HERE]
        site.desk.answer_hello = True
        site.clock.advance(0.11)
        await other.replied()
        assert late.reply_hello(site.clock.steady_ms())
        await client.wait_connected()
        other.leave()


async def test_auth_gives_the_slot_back() -> None:
    async with a_site(server_limits=slots(unknown=1, known=1)) as site:
        site.desk.answer_auth = False
        clients = [site.client(credential(Role.DRIVER, number))[0] for number in range(1, 6)]
        await until(lambda: len(site.desk.auths) == 5)
        for adapter, _ in site.desk.auths:
            site.desk.admit(adapter)
        await until(lambda: all(client.connected for client in clients))


async def test_whoever_waited_three_seconds_is_told_busy() -> None:
    async with a_site(server_limits=slots(unknown=1, slot_s=60.0)) as site:
        first = await Stranger.at(site, "127.0.9.1", hello(1))
        await first.replied()
        second = await Stranger.at(site, "127.0.9.2", hello(2))
        await until(lambda: site.server.lanes.unknown.waiting == 1)
        site.clock.advance(2.9)
        assert site.server.counts.busy == 0
        site.clock.advance(0.2)
        assert await second.reader.read() == BUSY
        assert site.server.counts.busy == 1
        await until(lambda: site.desk.ends)
        (end,) = site.desk.ends
        assert (end.adapter.refused, end.why, end.error) == (RefuseCode.BUSY, "refused: BUSY", None)
        first.leave()


async def test_busy_is_a_hint_and_the_client_comes_back_by_its_own_back_off() -> None:
    async with a_site(server_limits=slots(unknown=1, slot_s=2.0, busy_s=1.0)) as site:
        holder = await Stranger.at(site, "127.0.9.1", hello())
        await holder.replied()
        client, ear = site.client()
        await until(lambda: site.server.lanes.unknown.waiting == 1)
        site.clock.advance(1.01)
        await site_left(site, client)
        site.clock.advance(0.3)
        await until(lambda: site.server.lanes.unknown.waiting == 1)
        site.clock.advance(0.7)
        await client.wait_connected()
        assert len(ear.ups) == 1
        holder.leave()


async def site_left(site: Site, client: object) -> None:
    """The client was sent away and waits for its next attempt."""
    await until(lambda: client._visit is None)  # type: ignore[attr-defined]  # a Client's own state


async def test_who_vanishes_while_it_waits_takes_no_slot() -> None:
    async with a_site(server_limits=slots(unknown=1)) as site:
        asked: list[str] = []
        answer = site.desk.hello
        site.desk.hello = lambda adapter: (asked.append(adapter.address), answer(adapter))[1]  # type: ignore[method-assign]
        holder = await Stranger.at(site, "127.0.9.1", hello())
        await holder.replied()
        gone = [await Stranger.at(site, f"127.0.9.{number}", hello()) for number in range(2, 7)]
        await until(lambda: site.server.lanes.unknown.waiting == 5)
        stays = await Stranger.at(site, "127.0.9.9", hello())
        await until(lambda: site.server.lanes.unknown.waiting == 6)
        for place, each in enumerate(gone):
            # With RST and with FIN.
            each.leave() if place % 2 else each.writer.close()
        await until(lambda: site.server.counts.open == 2)
        site.clock.advance(0.11)
        await stays.replied()
        assert asked == ["127.0.9.1", "127.0.9.9"]
        holder.leave()
        stays.leave()


async def test_strangers_that_hold_their_hello_do_not_delay_known_sources() -> None:
    async with a_site(server_limits=slots(unknown=1, known=1)) as site:
        await site.joined(who=credential(Role.DRIVER, 1))
        strangers = [await Stranger.at(site, f"127.0.9.{number}", hello()) for number in range(1, 20)]
        await until(lambda: site.server.lanes.unknown.waiting == 18)
        await site.joined(who=credential(Role.DRIVER, 2))
        assert site.server.lanes.unknown.waiting == 18, "and time did not move"
        for each in strangers:
            each.leave()


async def test_many_who_wait_are_served_over_several_turns_of_the_loop() -> None:
    async with a_site(server_limits=slots(unknown=100)) as site:
        site.desk.answer_hello = False
        holder = site.server.lanes.unknown
        strangers = [await Stranger.at(site, f"127.0.9.{number}", hello()) for number in range(1, 101)]
        await until(lambda: holder.holding == 100)
        more = [await Stranger.at(site, f"127.0.8.{number}", hello()) for number in range(1, 101)]
        await until(lambda: holder.waiting == 100)
        site.clock.advance(0.11)
        assert holder.waiting == 100 - ANSWERS_PER_TURN, "the loop has other work too"
        await until(lambda: holder.waiting == 0)
        for each in (*strangers, *more):
            each.leave()


async def test_a_bad_hello_gives_its_slot_to_the_next_at_once() -> None:
    async with a_site(server_limits=slots(unknown=1, slot_s=60.0, busy_s=60.0)) as site:
        holder = await Stranger.at(site, "127.0.9.1", hello())
        await holder.replied()
        bad = hello()[:-1] + b"\0"
        strangers = [await Stranger.at(site, f"127.0.8.{number}", bad) for number in range(1, 80)]
        await until(lambda: site.server.lanes.unknown.waiting == 79)
        good = await Stranger.at(site, "127.0.9.2", hello())
        await until(lambda: site.server.lanes.unknown.waiting == 80)
        holder.leave()
        await good.replied()
        assert all([await each.dropped() for each in strangers])
        good.leave()


async def test_a_bug_that_answers_a_waiting_hello_ends_that_one_only() -> None:
    async with a_site(server_limits=slots(unknown=1)) as site:
        holder = await Stranger.at(site, "127.0.9.1", hello())
        await holder.replied()
        waits = await Stranger.at(site, "127.0.9.2", hello())
        await until(lambda: site.server.lanes.unknown.waiting == 1)

        def broken(_adapter: Adapter) -> None:
            raise ZeroDivisionError

        site.desk.hello = broken  # type: ignore[method-assign]  # a handler with a bug
        with capture_logs() as logs:
            site.clock.advance(0.11)
        assert [entry["event"] for entry in logs] == ["peer.handler_failed"]
        assert logs[0]["address"] == "127.0.9.2"
        assert await waits.dropped()
        assert site.server.counts.open == 1
        holder.leave()


# --- what a stranger may make us hold -------------------------------------------------------------------------------


def waiting_adapter(site: Site) -> Adapter:
    (adapter,) = [each for each in site.server.adapters if each.address == "127.0.9.2"]
    return adapter


@pytest.mark.parametrize(
    "more",
    [b"\xff" * (1 << 20), encode_frame(3, b"x" * 500) * 2_000, hello()],
    ids=["noise", "frames", "a second HELLO"],
)
async def test_who_says_more_while_its_hello_waits_is_closed_without_a_word(more: bytes) -> None:
    """Nothing is due from it until it has a REPLY."""
    async with a_site(server_limits=slots(unknown=1)) as site:
        holder = await Stranger.at(site, "127.0.9.1", hello())
        await holder.replied()
        waits = await Stranger.at(site, "127.0.9.2", hello())
        await until(lambda: site.server.lanes.unknown.waiting == 1)
        adapter = waiting_adapter(site)
        waits.writer.write(more)
        assert await waits.dropped()
        await until(lambda: site.server.lanes.unknown.waiting == 0)
        assert isinstance(site.desk.ends[0].error, RemoteProtocolError)
        assert adapter.conn._frames.held == 0
        holder.leave()


async def test_a_stranger_never_makes_us_hold_more_than_one_frame() -> None:
    async with a_site(server_limits=slots(unknown=1)) as site:
        holder = await Stranger.at(site, "127.0.9.1", hello())
        await holder.replied()
        part = encode_frame(3, b"x" * (MAX_HANDSHAKE_FRAME - 1))[:-1]
        waits = await Stranger.at(site, "127.0.9.2", hello() + part)
        await until(lambda: site.server.lanes.unknown.waiting == 1)
        adapter = waiting_adapter(site)
        await until(lambda: adapter.conn._frames.held == len(part))
        assert len(part) == MAX_HANDSHAKE_FRAME + 3
        waits.writer.write(b"x")
        assert await waits.dropped()
        holder.leave()


# --- drain ----------------------------------------------------------------------------------------------------------


async def test_two_hundred_clients_come_back_spread_after_a_drain() -> None:
    rate, count = 50.0, 200
    async with a_site() as site:
        await site.joined(who=credential(Role.DRIVER, 1))
        clients = [site.client(credential(Role.DRIVER, number))[0] for number in range(2, count + 1)]
        await until(lambda: len(site.desk.up) == count)

        async def finish() -> None:
            """Nothing is left to do."""

        draining = asyncio.create_task(site.server.drain(finish, return_per_s=rate))
        await draining
        await until(lambda: not any(client.connected for client in clients))
        await site.restart()
        passed_s = 0.0
        while site.server.counts.established < count:
            site.clock.advance(0.05)
            passed_s += 0.05
            due = min(count, int(rate * (passed_s - 0.1)))
            await until(lambda due=due: site.server.counts.established >= due)
            assert site.server.counts.accepted <= rate * passed_s + 1, "nobody comes before its moment"
            assert passed_s < count / rate + 0.3


async def test_engines_are_told_of_a_drain_first_and_come_back_first() -> None:
    async with a_site() as site:
        roles = [Role.DRIVER, Role.MONITOR, Role.CP, Role.DRIVER, Role.CP]
        ears = [(role, (await site.joined(who=credential(role, at)))[1]) for at, role in enumerate(roles, 1)]

        async def finish() -> None:
            await until(lambda: all(ear.got for _, ear in ears))

        await site.server.drain(finish, return_per_s=5.0)
        told = sorted((ear.got[0].retry_after_s, role) for role, ear in ears)  # type: ignore[attr-defined]  # a Drain
        assert [moment for moment, _ in told] == [0.2, 0.4, 0.6, 0.8, 1.0]
        assert [role for _, role in told] == [Role.CP, Role.CP, Role.MONITOR, Role.DRIVER, Role.DRIVER]
