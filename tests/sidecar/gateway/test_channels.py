"""Drivers' channels: opened when needed, kept while used, closed when idle, and never more than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from evcharge.net.answers import CentralAway, RequestRefused, TooManyRequests
from evcharge.net.client import Client, Refusal
from evcharge.sidecar.gateway.channels import DriverChannels, NoCredential
from evcharge.sidecar.gateway.settings import GatewaySettings
from protocol import messages as m
from protocol.credentials import Credential, Role
from protocol.errors import CloseCode, RefuseCode
from tests.net.support import Site, a_site, until
from tests.sidecar.gateway.test_site import a_ticket
from tests.support.wire import credential, seeded
from tests.support.wire_peers import turns

LIST = m.List(id=0)
CredentialOf = Callable[[str], Awaitable[Credential | None]]


async def of_anybody(driver_id: str) -> Credential | None:
    if driver_id == "nobody":
        return None
    return msgspec.structs.replace(credential(Role.DRIVER), entity=driver_id)


@asynccontextmanager
async def channels(
    site: Site, credential_of: CredentialOf = of_anybody, **settings: Any
) -> AsyncIterator[DriverChannels]:
    made = DriverChannels(
        credential_of,
        ("127.0.0.1", site.port),
        clock=site.clock,
        timers=site.timers,
        entropy=seeded(2),
        settings=GatewaySettings(**settings),
        make_client=partial(Client, timers=site.timers, rng=lambda: 0.5),
    )
    run = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        # Whatever a test left open is closed when the sidecar ends.
        assert len(made) == 0
        await until(lambda: site.server.counts.open == 0)


def silent(site: Site) -> None:
    site.desk.on_message = lambda _adapter, _message: None


def drivers(site: Site) -> list[str]:
    """Whose channels were opened, in order."""
    return [event.entity for _, event in site.desk.auths]


async def test_one_channel_for_each_driver_and_it_is_kept() -> None:
    async with a_site() as site, channels(site) as made:
        for name in ("anna", "ben", "anna", "ben"):
            assert (await made.ask(name, LIST)).charge_points == []
        assert drivers(site) == ["anna", "ben"]
        assert (len(made), site.server.counts.open) == (2, 2)
        assert {event.role for _, event in site.desk.auths} == {Role.DRIVER}


async def test_many_at_once_share_the_one_that_opens() -> None:
    async with a_site() as site, channels(site) as made:
        await asyncio.gather(*(made.ask("anna", LIST) for _ in range(20)))
        assert drivers(site) == ["anna"]


async def test_what_a_channel_logs_later_is_not_the_request_that_opened_it() -> None:
    async with a_site() as site, channels(site) as made:
        with capture_logs(processors=[merge_contextvars]) as logs:
            with bound_contextvars(request_id="first"):
                await made.ask("anna", LIST)
            adapter, _ = site.desk.auths[0]
            adapter.close(CloseCode.INTERNAL, "the test")
            await until(lambda: any(entry["event"] == "gateway.driver_disconnected" for entry in logs))
    told = {entry["event"]: entry.get("request_id") for entry in logs}
    assert (told["gateway.driver_connected"], told["gateway.driver_disconnected"]) == (None, None)


async def test_who_was_not_used_for_long_is_closed_and_who_was_is_not() -> None:
    async with a_site() as site, channels(site, idle_s=300) as made:
        await made.ask("anna", LIST)
        await made.ask("ben", LIST)
        # The channel itself is pinged meanwhile, so time goes in small steps.
        for step in range(31):
            site.clock.advance(10)
            await turns(4)
            if step == 20:
                await made.ask("ben", LIST)
        await until(lambda: site.server.counts.open == 1)
        assert len(made) == 1
        assert site.desk.ends[0].code is CloseCode.NORMAL
        await made.ask("ben", LIST)
        await made.ask("anna", LIST)
        assert drivers(site) == ["anna", "ben", "anna"]


async def test_the_one_unused_for_longest_makes_room() -> None:
    async with a_site() as site, channels(site, channels=2) as made:
        for name in ("anna", "ben", "anna", "carl"):
            await made.ask(name, LIST)
        await until(lambda: site.server.counts.open == 2)
        await made.ask("anna", LIST)
        assert drivers(site) == ["anna", "ben", "carl"]
        await made.ask("ben", LIST)
        assert drivers(site) == ["anna", "ben", "carl", "ben"]
        assert len(made) == 2


async def test_no_room_while_all_are_in_use() -> None:
    async with a_site() as site, channels(site, channels=2) as made:
        silent(site)
        asked = [asyncio.create_task(made.ask(name, LIST)) for name in ("anna", "ben")]
        await until(lambda: len(site.desk.got) == 2)
        with pytest.raises(TooManyRequests):
            await made.ask("carl", LIST)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_a_driver_without_a_credential_leaves_nothing_behind() -> None:
    async with a_site() as site, channels(site) as made:
        with pytest.raises(NoCredential):
            await made.ask("nobody", LIST)
        assert (len(made), drivers(site)) == (0, [])


@pytest.mark.parametrize("wrong", [{"entity": "ben"}, {"role": Role.GATEWAY}])
async def test_a_credential_of_somebody_else_is_not_used(wrong: dict[str, Any]) -> None:
    async def of_another(_driver_id: str) -> Credential:
        right = await of_anybody("anna")
        assert right is not None
        return msgspec.structs.replace(right, **wrong)

    async with a_site() as site, channels(site, of_another) as made:
        with pytest.raises(NoCredential):
            await made.ask("anna", LIST)
        assert (len(made), drivers(site)) == (0, [])


async def test_a_driver_whom_central_refuses_is_asked_for_anew_each_time() -> None:
    async with a_site() as site, channels(site) as made:
        site.desk.refuse = (RefuseCode.REVOKED, 0)
        for _ in range(2):
            with pytest.raises(Refusal):
                await made.ask("anna", LIST)
            assert len(made) == 0
        site.desk.refuse = None
        await made.ask("anna", LIST)
        site.desk.on_message = lambda adapter, _message: adapter.close(CloseCode.REVOKED)
        with pytest.raises(Refusal):
            await made.ask("anna", LIST)
        site.desk.on_message = site.desk.answer
        assert (await made.ask("anna", LIST)).charge_points == []
        assert len(drivers(site)) == 4


async def test_a_channel_that_was_lost_is_opened_at_once_not_after_its_back_off() -> None:
    async with a_site() as site, channels(site) as made:
        await made.ask("anna", LIST)
        site.desk.up[-1].close(CloseCode.DRAIN)
        await until(lambda: site.server.counts.open == 0)
        assert (await made.ask("anna", LIST)).charge_points == [], "no time went by"
        assert drivers(site) == ["anna", "anna"]


async def test_one_that_does_not_open_is_given_up_in_time_with_all_who_wait_for_it() -> None:
    async with a_site() as site, channels(site, open_s=5) as made:
        site.desk.answer_auth = False
        asked = [asyncio.create_task(made.ask("anna", LIST)) for _ in range(3)]
        await until(lambda: drivers(site))
        site.clock.advance(4.9)
        await turns()
        assert not any(task.done() for task in asked)
        site.clock.advance(0.2)
        for task in asked:
            with pytest.raises(CentralAway):
                await task
        assert len(made) == 0
        site.desk.answer_auth = True
        assert (await made.ask("anna", LIST)).charge_points == []


async def test_a_no_goes_through_and_tickets_are_not_confirmed() -> None:
    async with a_site() as site, channels(site) as made:

        def refuse(adapter: Any, message: Any) -> None:
            adapter.send(m.Ticket(**msgspec.structs.asdict(a_ticket("s"))))
            adapter.send(m.Refused(re=message.id, reason="busy", sentence="Taken.", retry_after_s=3))

        site.desk.on_message = refuse
        with pytest.raises(RequestRefused) as caught:
            await made.ask("anna", m.EndCharge(id=0, session_id="s"))
        assert (caught.value.reason, caught.value.retry_after_s) == ("busy", 3)
        assert [type(message) for message in site.desk.got] == [m.EndCharge]
