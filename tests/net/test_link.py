"""The sidecar's channel asks and is answered; each way not to be answered is an exception of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from evcharge.net.answers import BadAnswer, CentralAway, RequestRefused, TooManyRequests, Unanswered
from evcharge.net.backoff import CAP_S
from evcharge.net.client import MAX_REQUESTS, Client
from evcharge.net.link import ANSWER_S, LONGEST_S, CentralLink
from evcharge.net.ports import held_port
from protocol import messages as m
from protocol.credentials import Role
from protocol.errors import CloseCode
from tests.net.support import Site, a_site, until
from tests.support.link import FlakyLink
from tests.support.wire import credential, seeded
from tests.support.wire_peers import turns


@asynccontextmanager
async def linked(site: Site, port: int = 0) -> AsyncIterator[CentralLink]:
    """A link whose channel is open, and a Central that does not answer by itself."""
    site.desk.on_message = lambda _adapter, _message: None
    link = CentralLink(
        credential(Role.GATEWAY),
        "127.0.0.1",
        port or site.port,
        clock=site.clock,
        entropy=seeded(1),
        make_client=partial(Client, timers=site.timers, rng=lambda: 0.5),
    )
    site.runs.append(asyncio.create_task(link.run()))
    await until(lambda: link.state == "connected" and site.desk.up)
    yield link


async def test_answers_find_their_questions() -> None:
    async with a_site() as site, linked(site) as link:
        asked = [asyncio.create_task(link.ask(m.Query(id=0, what="totals"))) for _ in range(3)]
        await until(lambda: len(site.desk.got) == 3)
        ids = [message.id for message in site.desk.got if isinstance(message, m.Query)]
        assert len(set(ids)) == 3
        adapter = site.desk.up[-1]
        adapter.send(m.Reply(re=ids[2], session_id="third"))
        adapter.send(m.Refused(re=ids[1], reason="busy", sentence="It is taken.", retry_after_s=7))
        adapter.send(m.Ack(re=ids[0]))
        first, second, third = await asyncio.gather(*asked, return_exceptions=True)
        assert first == m.Reply(re=0)
        assert isinstance(second, RequestRefused)
        assert (second.reason, second.sentence, second.retry_after_s) == ("busy", "It is taken.", 7)
        assert isinstance(third, m.Reply) and third.session_id == "third"


async def test_without_a_channel_it_fails_at_once() -> None:
    async with a_site() as site, linked(site) as link:
        site.desk.up[-1].close(CloseCode.NORMAL)
        await until(lambda: link.state == "disconnected")
        with pytest.raises(CentralAway):
            await link.ask(m.Query(id=0, what="totals"))
        assert not link.send(m.SensorReading(name="solar_w", value=1.0))


async def test_without_an_answer_it_fails_after_its_time() -> None:
    async with a_site() as site, linked(site) as link:
        asked = asyncio.create_task(link.ask(m.Query(id=0, what="totals")))
        await until(lambda: site.desk.got)
        site.clock.advance(ANSWER_S - 0.1)
        await turns()
        assert not asked.done()
        site.clock.advance(0.2)
        with pytest.raises(Unanswered):
            await asked


async def test_a_channel_that_breaks_meanwhile_leaves_it_unanswered() -> None:
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as wire, linked(site, wire.port) as link:
        asked = asyncio.create_task(link.ask(m.Query(id=0, what="totals")))
        await until(lambda: site.desk.got)
        wire.cut()
        with pytest.raises(Unanswered):
            await asked


async def test_a_mistake_is_one() -> None:
    async with a_site() as site, linked(site) as link:
        asked = asyncio.create_task(link.ask(m.Query(id=0, what="totals")))
        await until(lambda: site.desk.got)
        (message,) = site.desk.got
        assert isinstance(message, m.Query)
        site.desk.up[-1].send(m.Error(code="malformed", sentence="Not so.", re=message.id))
        with pytest.raises(BadAnswer):
            await asked


async def test_questions_under_way_are_bounded() -> None:
    async with a_site() as site, linked(site) as link:
        asked = [asyncio.create_task(link.ask(m.Query(id=0, what="totals"))) for _ in range(MAX_REQUESTS)]
        await turns()
        with pytest.raises(TooManyRequests):
            await link.ask(m.Query(id=0, what="totals"))
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_whoever_has_to_repeat_something_hears_of_each_channel() -> None:
    async with a_site() as site, linked(site) as link:
        told: list[str] = []
        link.on_up(lambda: told.append(link.state))
        assert told == ["connected"], "there is one already"
        for channels in (2, 3):
            site.desk.up[-1].close(CloseCode.NORMAL)
            await until(lambda: link.state == "disconnected")

            def again(channels: int = channels) -> bool:
                site.clock.advance(0.05)
                return len(told) == channels

            await until(again)
        assert told == ["connected"] * 3


async def test_however_long_nobody_listened_it_is_tried_again_soon() -> None:
    """People look through such a channel: what it would draw for its eighth attempt is half a minute."""
    site = Site()
    with held_port("127.0.0.1") as site.port:
        client, _ = site.client(longest_s=LONGEST_S)
        for failed in range(1, 9):
            await until(lambda failed=failed: client._attempt == failed)
            site.clock.advance(LONGEST_S)
        await until(lambda: client._attempt == 9)
        await site.start()
    site.clock.advance(LONGEST_S)
    await until(lambda: client.connected)
    await site.stop()


async def test_who_takes_the_connection_and_lets_nobody_in_is_not_asked_more_often() -> None:
    """Each time may be a record in Central's log, as where its key is not the one that this program knows."""
    async with a_site() as site, FlakyLink(("127.0.0.1", site.port)) as wire, linked(site, wire.port) as link:
        client = link._asking._client
        wire.refuse = True
        wire.cut()
        for failed in range(1, 9):
            await until(lambda failed=failed: client._attempt == failed)
            site.clock.advance(CAP_S)
        await until(lambda: client._attempt == 9)
        site.clock.advance(LONGEST_S)
        await turns()
        assert client._attempt == 9
        site.clock.advance(CAP_S)
        await until(lambda: client._attempt == 10)
