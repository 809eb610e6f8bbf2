"""The driver's client against a Central over loopback: every session ends for its driver, every ticket once."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec
import pytest

from evcharge.driver import client as module
from evcharge.driver import following
from evcharge.driver.client import Refusal, RequestFailed, RequestRefused, Unreachable
from evcharge.net import asking
from protocol import messages as m
from protocol.credentials import Credential, Role
from protocol.errors import CloseCode, RefuseCode
from tests.driver.conftest import Notes, driver
from tests.support.fake_central import FakeCentral, charge_point
from tests.support.wire import credential


async def test_a_charge_from_request_to_ticket(central: FakeCentral) -> None:
    notes = Notes()
    async with driver(central, notes) as client:
        session = await client.charge("CP-1", 1, 7500, 9_999)
        assert (session.state, session.requested_wh, session.depart_by_ms) == ("AUTHORIZED", 7500, 9_999)
        seen: list[tuple[str, int]] = []
        central.start(session.session_id)
        async for view in client.watch(session.session_id):
            seen.append((view.state, view.energy_wh))
            if view.state == "SUPPLYING" and view.energy_wh == 0:
                central.update(session.session_id, energy_wh=4000)
            elif view.state == "SUPPLYING":
                central.finish(session.session_id, 7500)
        assert seen[-2:] == [("SUPPLYING", 0), ("SUPPLYING", 4000)]
        outcome = await client.outcome(session.session_id)
        assert outcome.ticket is not None
        assert (outcome.ticket.energy_wh, outcome.ticket.amount_minor) == (7500, 225)
        await central.until(lambda: bool(central.confirmed))
    assert central.confirmed == [outcome.ticket.ticket_id]
    assert [ticket.ticket_id for ticket in notes.tickets] == central.confirmed
    request = central.got(m.ChargeRequest)[0]
    assert (request.cp_id, request.connector, request.energy_wh, request.depart_by_ms) == ("CP-1", 1, 7500, 9_999)


async def test_lists_come_whole_over_pages(central: FakeCentral) -> None:
    central.rows = [charge_point(f"CP-{number}") for number in range(7)]
    central.page_rows = 3
    async with driver(central) as client:
        rows = await client.charge_points()
        assert [row.cp_id for row in rows] == [f"CP-{number}" for number in range(7)]
        assert await client.tickets() == []
    assert [request.after for request in central.got(m.List)] == [None, "3", "6"]


async def test_a_list_without_end_is_given_up(central: FakeCentral, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_PAGES", 3)
    central.rows = [charge_point(f"CP-{number}") for number in range(7)]
    central.page_rows = 1
    async with driver(central) as client:
        with pytest.raises(RequestFailed, match="did not end"):
            await client.charge_points()


async def test_a_ticket_that_comes_again_is_handed_over_once_and_confirmed_again(central: FakeCentral) -> None:
    notes = Notes()
    async with driver(central, notes) as client:
        session = await client.charge("CP-1")
        ticket = central.finish(session.session_id, 10)
        central.send_ticket(ticket)
        central.send_ticket(msgspec.structs.replace(ticket, adjustments=[5]))
        await central.until(lambda: len(central.confirmed) == 3)
    assert [ticket.adjustments for ticket in notes.tickets] == [[], [5]]


@pytest.mark.parametrize("watcher", [None, Notes(takes=False)])
async def test_a_ticket_that_nobody_takes_is_not_confirmed(central: FakeCentral, watcher: Any) -> None:
    async with driver(central, watcher) as client:
        session = await client.charge("CP-1")
        central.finish(session.session_id, 10)
        assert (await client.outcome(session.session_id)).ticket is not None
        # A request after it: whatever the client would have said before is there by now.
        await client.tickets()
        assert central.confirmed == []
    notes = Notes()
    async with driver(central, notes):
        await central.until(lambda: bool(central.confirmed))
    assert len(notes.tickets) == 1


@pytest.mark.parametrize("how", ["ticket", "expired", "running"])
async def test_what_happened_while_the_link_was_down_is_found_out(central: FakeCentral, how: str) -> None:
    notes = Notes()
    async with driver(central, notes) as client:
        session = await client.charge("CP-1")
        await client.leave()
        await central.until(lambda: not central.links)
        if how == "ticket":
            # Confirmed by another device of the same driver: it is not sent again, only the list has it.
            central.confirmed.append(central.finish(session.session_id, 10).ticket_id)
        elif how == "expired":
            central.expire(session.session_id)
        client.come_back()
        await central.until(lambda: bool(central.got(m.List)))
        if how == "running":
            await client.connected()
            central.finish(session.session_id, 20)
        outcome = await client.outcome(session.session_id)
    assert (outcome.ticket is None) == (how == "expired")
    assert notes.links == [True, False, True]


async def test_a_link_that_breaks_comes_back_by_itself(central: FakeCentral) -> None:
    notes = Notes()
    async with driver(central, notes) as client:
        session = await client.charge("CP-1")
        central.cut()
        await central.until(lambda: central.connections == 2 and bool(central.links))
        central.finish(session.session_id, 20)
        outcome = await client.outcome(session.session_id)
    assert outcome.ticket is not None
    assert [ticket.energy_wh for ticket in notes.tickets] == [20]


async def test_a_broken_answer_while_finding_out_is_asked_again(
    central: FakeCentral, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.02)
    async with driver(central, Notes()) as client:
        session = await client.charge("CP-1")
        waiting = asyncio.create_task(client.outcome(session.session_id))
        await central.until(lambda: bool(central.got(m.List)))
        del central.sessions[session.session_id]
        outcome = await waiting
    assert (outcome.ticket, outcome.why) == (None, "never started")
    assert not central.got(m.EndCharge)


async def test_an_expired_session_has_no_ticket(central: FakeCentral) -> None:
    async with driver(central) as client:
        session = await client.charge("CP-1")
        central.expire(session.session_id)
        outcome = await client.outcome(session.session_id)
        assert (outcome.ticket, outcome.why) == (None, "expired")
        assert client.has_ended(session.session_id)


async def test_a_ticket_that_overtakes_the_waiter_is_not_missed(central: FakeCentral) -> None:
    central.on_request = lambda _driver, session: (central.finish(session.session_id, 1), None)[1]
    async with driver(central, Notes()) as client:
        session = await client.charge("CP-1")
        outcome = await client.outcome(session.session_id)
        assert outcome.ticket is not None
        client.follow(session.session_id)
        assert (await client.outcome(session.session_id)).ticket is not None


async def test_refusals_and_ends(central: FakeCentral) -> None:
    central.refusals["CP-1"] = ["out_of_order"]
    async with driver(central) as client:
        with pytest.raises(RequestRefused) as refused:
            await client.charge("CP-1")
        assert (refused.value.reason, refused.value.sentence) == ("out_of_order", "No: out_of_order.")
        with pytest.raises(RequestRefused, match="unknown_session"):
            await client.end("s-unknown")
        session = await client.charge("CP-1")
        await client.end(session.session_id)
        assert (await client.outcome(session.session_id)).ticket is not None


async def test_a_grant_whose_answer_was_lost_is_found(central: FakeCentral) -> None:
    central.rows = [charge_point("CP-0"), charge_point("CP-1", connectors=2)]
    central.silent = ["CP-1"]
    async with driver(central) as client:
        with pytest.raises(RequestFailed):
            await client.charge("CP-1", 2)
        await client.connected()
        (session_id,) = central.sessions
        assert await client.own_session_at("CP-1", 1) is None
        assert await client.own_session_at("CP-0") is None
        assert await client.own_session_at("CP-1", 2) == session_id
        assert await client.own_session_at("CP-1") == session_id
        client.follow(session_id)
        assert await client.own_session_at("CP-1") is None


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (RefuseCode.UNKNOWN, "register again"),
        (RefuseCode.REVOKED, "revoked"),
        (RefuseCode.EXPIRED, "expired"),
        (RefuseCode.WRONG_ROLE, "another role"),
    ],
)
async def test_central_turns_the_driver_away(central: FakeCentral, code: RefuseCode, says: str) -> None:
    central.refuse = code
    with pytest.raises(Refusal) as refusal:
        async with driver(central):
            pytest.fail("connected")
    assert says in refusal.value.sentence


async def test_a_revocation_ends_every_wait(central: FakeCentral) -> None:
    async with driver(central) as client:
        session = await client.charge("CP-1")
        waits = [
            asyncio.ensure_future(client.outcome(session.session_id)),
            asyncio.ensure_future(anext(client.watch(session.session_id))),
        ]
        await asyncio.sleep(0)
        central.refuse = RefuseCode.REVOKED
        central.close_links(CloseCode.REVOKED)
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(result, Refusal | m.SessionView) for result in results)
        assert isinstance(results[0], Refusal)
        with pytest.raises(Refusal):
            await client.charge("CP-1")


async def test_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        unreachable = FakeCentral()
        unreachable.port = port
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}") as error:
            async with driver(unreachable, connect_s=0.05):
                pytest.fail("connected")
    assert "--central" in str(error.value)


async def test_a_central_with_another_key_is_not_trusted(central: FakeCentral) -> None:
    other = credential(Role.DRIVER, secret=bytes(range(1, 33)))
    fields: dict[str, Any] = {name: getattr(other, name) for name in other.__struct_fields__}
    stranger = Credential(**{**fields, "central_public_key": other.public_key()})
    with pytest.raises(Unreachable, match="does not prove"):
        async with driver(central, who=stranger, connect_s=0.2):
            pytest.fail("connected")


async def test_dropping_the_link_makes_a_new_one(central: FakeCentral) -> None:
    notes = Notes()
    async with driver(central, notes) as client:
        await client.drop()
        await client.charge("CP-1")
        client.come_back()
    assert central.connections == 2
    assert notes.links == [True, False, True]
    assert not client.confirm("t-1")


async def test_memory_of_tickets_is_bounded(central: FakeCentral, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "REMEMBERED", 2)
    notes = Notes()
    async with driver(central, notes) as client:
        for number in range(4):
            session = await client.charge(f"CP-{number}")
            central.finish(session.session_id, number)
            await client.outcome(session.session_id)
        assert len(client._following.ended) == len(client._handed) == 2
        client.forget("unknown")
    assert len(notes.tickets) == 4


async def test_a_late_start_overrules_an_expiry(central: FakeCentral) -> None:
    async with driver(central, Notes()) as client:
        session = await client.charge("CP-1")
        central.expire(session.session_id)
        central.sessions[session.session_id] = session
        central.finish(session.session_id, 30)
        await central.until(lambda: bool(central.confirmed))
        outcome = await client.outcome(session.session_id)
        assert outcome.ticket is not None
