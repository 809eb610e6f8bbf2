"""Lists and tables: who sees what, page by page, in frames that fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from evcharge.domain import events as e
from evcharge.domain.state import ChargePoint, Connector, Driver, Node, Session, Ticket
from evcharge.domain.words import SessionStatus, StopCause
from evcharge.ids import ChargePointId, CommandId, ConnectorNo, DriverId, NodeId, SessionId, TicketId
from evcharge.units import Grams, Millis, MinorUnits, PriceE4, WattHours, Watts
from protocol import messages as m
from tests.support.central import Site, WirePeer, until
from tests.support.clock import START_MS

LONG = "n" * (m.MAX_ID - 4)


async def pages(peer: WirePeer, request: m.Message, rows: str) -> AsyncIterator[list[Any]]:
    """All pages of an answer."""
    after: str | None = None
    while True:
        reply = await peer.ask(type(request)(**{**_fields(request), "after": after}))
        yield getattr(reply, rows)
        after = reply.next
        if after is None:
            return


def _fields(request: m.Message) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


async def all_rows(peer: WirePeer, request: m.Message, rows: str) -> list[Any]:
    found = []
    async for page in pages(peer, request, rows):
        assert 1 <= len(page) <= m.MAX_ROWS
        found += page
    return found


def add_charge_points(site: Site, count: int, connectors: int = 1) -> list[str]:
    ids = [ChargePointId(f"{LONG}{i:04}") for i in range(count)]
    for cp_id in ids:
        outlets = {ConnectorNo(no): Connector(Watts(1_400), Watts(22_000)) for no in range(1, connectors + 1)}
        site.state.charge_points[cp_id] = ChargePoint(cp_id=cp_id, node_id=NodeId("site"), connectors=outlets)
    site.state.cp_order[:] = sorted(site.state.charge_points)
    return [str(cp_id) for cp_id in ids]


def a_ticket(number: int, driver: str) -> Ticket:
    return Ticket(
        ticket_id=TicketId(f"t-{LONG}{number:02}"),
        session_id=SessionId(f"s-{LONG}{number:02}"),
        cp_id=ChargePointId(LONG),
        driver_id=DriverId(driver),
        substation_id=NodeId(LONG),
        start_ms=Millis(START_MS),
        end_ms=Millis(START_MS + 3_600_000),
        energy_wh=WattHours(5_000),
        price_e4=PriceE4(3_000),
        amount_minor=MinorUnits(150),
        currency="EUR",
        status=SessionStatus.COMPLETED,
        reason=StopCause.TARGET_REACHED,
        average_w=Watts(5_000),
        co2_g=Grams(1_500),
        final_meter_wh=WattHours(9_000),
    )


async def test_a_site_of_many_charge_points_comes_in_pages(site: Site) -> None:
    driver, operator = await site.driver(), await site.operator()
    expected = add_charge_points(site, 230)
    for peer, request in ((driver, m.List(id=0)), (operator, m.Query(id=0, what="charge_points"))):
        assert [row.cp_id for row in await all_rows(peer, request, "charge_points")] == expected


async def test_a_page_never_outgrows_a_frame(site: Site) -> None:
    """100 charge points with 32 connectors each would need 200 KiB."""
    driver = await site.driver()
    expected = add_charge_points(site, 120, connectors=m.MAX_CONNECTORS)
    rows = await all_rows(driver, m.List(id=0), "charge_points")
    assert [row.cp_id for row in rows] == expected
    assert {len(row.connectors) for row in rows} == {m.MAX_CONNECTORS}
    assert not site.central.failure.done()


async def test_a_list_of_exactly_one_page_ends(site: Site) -> None:
    driver = await site.driver()
    add_charge_points(site, m.MAX_ROWS)
    sizes = [len(page) async for page in pages(driver, m.List(id=0), "charge_points")]
    assert sizes == [m.MAX_ROWS]


async def test_tickets_are_the_drivers_own_newest_first(site: Site) -> None:
    anna, ben = await site.driver(), await site.driver("ben")
    operator, console = await site.operator(), await site.console()
    site.state.drivers[DriverId("anna")] = Driver(tickets=[a_ticket(i, "anna") for i in range(100)])
    site.state.drivers[DriverId("ben")] = Driver(tickets=[a_ticket(i + 100, "ben") for i in range(3)])
    mine = await all_rows(anna, m.Tickets(id=0), "tickets")
    assert [ticket.ticket_id for ticket in mine] == [f"t-{LONG}{i:02}" for i in reversed(range(100))]
    assert {ticket.driver_id for ticket in await all_rows(ben, m.Tickets(id=0), "tickets")} == {"ben"}
    for peer in (operator, console):
        everything = await all_rows(peer, m.Query(id=0, what="tickets"), "tickets")
        assert len({ticket.ticket_id for ticket in everything}) == 103
    assert (await ben.ask(m.Tickets(id=0, after="t-gone"))).tickets == []


async def test_an_operator_sees_sessions_substations_and_sums(site: Site) -> None:
    engine, _, session_id = await site.charging()
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=4_000, power_w=10_500))
    await engine.heard()
    operator = await site.operator()
    (row,) = (await operator.ask(m.Query(id=0, what="sessions"))).sessions
    assert (row.session_id, row.driver_id, row.energy_wh, row.power_w) == (session_id, "anna", 3_000, 10_500)
    (node,) = (await operator.ask(m.Query(id=0, what="substations"))).substations
    assert (node.capacity_w, node.worst_case_w, node.load_w, node.sessions) == (22_000, 11_000, 10_500, 1)
    totals = (await operator.ask(m.Query(id=0, what="totals"))).totals
    assert (totals.sessions, totals.authorized, totals.started, totals.tickets) == (1, 1, 1, 0)
    ((outlet,),) = (point.connectors for point in (await operator.ask(m.List(id=0))).charge_points)
    assert (outlet.driver, outlet.session_id, outlet.power_w) == ("anna", session_id, 10_500)


async def test_substations_come_in_pages_that_fit(site: Site) -> None:
    operator = await site.operator()
    # Four bytes a character, each name twice in a row: 100 of them fill more than a frame.
    names = [f"{i:03}{'𠮷' * (m.MAX_ID - 3)}" for i in range(250)]
    site.state.nodes.update({NodeId(name): Node(capacity_w=Watts(1), parent=NodeId(names[0])) for name in names})
    site.state.nodes[NodeId(names[0])].parent = None
    rows = await all_rows(operator, m.Query(id=0, what="substations"), "substations")
    assert [row.substation_id for row in rows] == [*names, "site"]
    assert not site.central.failure.done()


async def test_an_answer_that_fits_in_no_frame_ends_that_peer_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, driver = await site.operator(), await site.driver()
    monkeypatch.setattr("evcharge.central.translate.tables.ROOM", 1 << 20)
    monkeypatch.setattr("evcharge.central.translate.tables._fitting", lambda rows, _room=0: rows[: m.MAX_ROWS])
    add_charge_points(site, 100, connectors=32)
    # An answer that waits for the disk is released by the engine, for everybody.
    site.disk.hold()
    operator.send(m.SetCapacity(id=1, substation_id="site", capacity_w=1), m.List(id=2))
    await until(lambda: site.central._engine.backlog >= 2)
    site.disk.release()
    await until(lambda: site.central.failure.done() or site.logged(e.PeerDisconnected))
    assert not site.central.failure.done()
    monkeypatch.undo()
    assert (await driver.ask(m.Queue(id=0))).queue == []


async def test_sessions_come_in_pages(site: Site) -> None:
    operator = await site.operator()
    for i in range(150):
        session_id = SessionId(f"s-{i:04}")
        site.state.sessions[session_id] = Session(
            session_id=session_id,
            cp_id=ChargePointId(LONG),
            connector=ConnectorNo(1),
            driver_id=DriverId(LONG),
            node_id=NodeId("site"),
            status=SessionStatus.AUTHORIZED,
            min_w=Watts(1_400),
            max_w=Watts(11_000),
            requested_wh=None,
            depart_by_ms=None,
            authorized_ms=Millis(0),
            expires_ms=Millis(0),
            authorize_command=CommandId(1),
        )
    rows = await all_rows(operator, m.Query(id=0, what="sessions"), "sessions")
    assert [row.session_id for row in rows] == sorted(site.state.sessions)


async def test_when_an_engine_was_last_heard(site: Site) -> None:
    engine, driver = await site.engine(), await site.driver()
    site.clock.advance(1.5)

    async def last_seen_ms() -> int | None:
        (row,) = (await driver.ask(m.List(id=0))).charge_points
        assert row.last_seen_ms is None or isinstance(row.last_seen_ms, int)
        return row.last_seen_ms

    assert await last_seen_ms() == site.central._engine.clock_ms() - 1_500
    await engine.leave()
    await site.line(e.PeerDisconnected, entity="CP-1")
    assert await last_seen_ms() is None


async def test_the_console_looks_and_does_not_act(site: Site) -> None:
    console = await site.console()
    await site.engine()
    (row,) = (await console.ask(m.List(id=0))).charge_points
    assert row.cp_id == "CP-1"
