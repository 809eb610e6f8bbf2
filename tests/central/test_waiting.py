"""Waiting and reservations over the real wire: what a driver asks, hears and gets, also across a restart."""

from __future__ import annotations

import pytest

from evcharge.domain import events as e
from evcharge.domain.words import LeftCause, ReservationEnd
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import EnginePeer, Site, WirePeer, turns

HOUR_MS = 3_600_000

pytestmark = pytest.mark.usefixtures("renewing")


async def waiting(site: Site) -> tuple[EnginePeer, WirePeer, str, WirePeer, m.WaitingView]:
    """Anna charges; Ben waits for her connector."""
    engine, anna, session_id = await site.charging()
    ben = await site.driver("ben")
    reply = await ben.ask(m.ChargeRequest(id=0, cp_id="CP-1", wait=True))
    assert reply.session is None
    return engine, anna, session_id, ben, reply.waiting


async def free(engine: EnginePeer, session_id: str, meter_wh: int = 5_000) -> None:
    """The vehicle leaves."""
    await engine.end(session_id, meter_wh=meter_wh, reason="unplugged")
    engine.send(m.Unplugged(connector=1))
    await engine.heard()


async def test_from_the_line_to_the_ticket(site: Site) -> None:
    engine, _, session_id, ben, place = await waiting(site)
    assert (place.state, place.cp_id, place.place, place.driver_id, place.reason) == (
        "WAITING",
        "CP-1",
        1,
        "ben",
        "busy",
    )
    assert place.eta_ms is not None and place.eta_ms > site.clock.site_ms()
    (row,) = (await ben.ask(m.List(id=0))).charge_points
    assert row.waiting == 1
    await free(engine, session_id)
    offer = await ben.next(m.Waiting, lambda news: news.state == "OFFERED")
    assert offer.offered_until_ms == site.clock.site_ms() + 300_000
    news = await ben.next(m.Update, lambda update: update.session_id == offer.session_id)
    assert (news.state, news.expires_ms) == ("AUTHORIZED", offer.offered_until_ms)
    engine.send(m.Plugged(connector=1))
    await engine.start(offer.session_id, meter_wh=5_000)
    assert (await ben.next(m.Waiting, lambda news: news.state == "LEFT")).reason == "served"
    await engine.end(offer.session_id, meter_wh=6_000)
    assert (await ben.next(m.Ticket)).energy_wh == 1_000
    kinds = (e.ChargeQueued, e.ChargeOffered, e.QueueLeft)
    assert [len(site.logged(kind)) for kind in kinds] == [1, 1, 1]
    site.history.check()


async def test_a_place_survives_a_restart_and_is_told_again(site: Site) -> None:
    _, _, _, ben, place = await waiting(site)
    await site.restart(killed=True)
    await ben.up(2)
    again = await ben.next(m.Waiting)
    assert (again.waiting_id, again.state) == (place.waiting_id, "WAITING")
    (own,) = (await ben.ask(m.Queue(id=0))).queue
    assert own.waiting_id == place.waiting_id


async def test_leaving_the_line_and_what_operators_see(site: Site) -> None:
    _, anna, _, ben, place = await waiting(site)
    operator = await site.operator()
    (row,) = (await operator.ask(m.Query(id=0, what="waiting"))).queue
    assert (row.driver_id, row.waiting_id) == ("ben", place.waiting_id)
    assert (await anna.ask(m.Queue(id=0))).queue == [], "others' places are not shown"
    with pytest.raises(RequestRefused) as no:
        await anna.ask(m.LeaveQueue(id=0, waiting_id=place.waiting_id))
    assert no.value.reason == "unknown_waiting"
    await ben.ask(m.LeaveQueue(id=0, waiting_id=place.waiting_id))
    assert (await ben.next(m.Waiting, lambda news: news.state == "LEFT")).reason == "left"
    assert site.logged(e.QueueLeft)[0].cause is LeftCause.LEFT


async def test_a_place_that_changes_is_told_at_most_once_in_ten_seconds(site: Site) -> None:
    engine, _, _, ben, _ = await waiting(site)
    carla = await site.driver("carla")
    behind = (await carla.ask(m.ChargeRequest(id=0, cp_id="CP-1", wait=True))).waiting
    assert behind.place == 2
    await site.beat(1.5, engine)
    await turns()
    await ben.ask(m.LeaveQueue(id=0, waiting_id=(await ben.ask(m.Queue(id=0))).queue[0].waiting_id))
    await site.beat(5, engine)
    await turns()
    assert not carla.got(m.Waiting), "too soon after the last that she heard"
    await site.beat(10, engine)
    assert (await carla.next(m.Waiting)).place == 1
    await site.beat(5, engine)
    await turns()
    assert not carla.got(m.Waiting), "nothing has changed"


async def test_a_reservation_from_the_promise_to_the_charge(site: Site) -> None:
    engine, ben = await site.engine(plugged=False), await site.driver("ben")
    anna = await site.driver()
    from_ms = site.clock.site_ms() + 60_000
    reply = await ben.ask(m.Reserve(id=0, cp_id="CP-1", from_ms=from_ms, until_ms=from_ms + HOUR_MS, energy_wh=9_000))
    made = reply.reservation
    assert (made.state, made.connector, made.driver_id) == ("PLANNED", 1, "ben")
    with pytest.raises(RequestRefused) as no:
        await anna.ask(m.ChargeRequest(id=0, cp_id="CP-1", wait=True))
    assert no.value.reason == "reserved"
    with pytest.raises(RequestRefused) as no:
        await anna.ask(m.Reserve(id=0, cp_id="CP-1", from_ms=from_ms, until_ms=from_ms + HOUR_MS))
    assert no.value.reason == "reserved"
    assert "CP-1/1 is reserved from" in no.value.sentence
    assert "ben" not in no.value.sentence
    (own,) = (await ben.ask(m.Reservations(id=0))).reservations
    assert own == made
    assert (await anna.ask(m.Reservations(id=0))).reservations == []
    operator = await site.operator()
    (row,) = (await operator.ask(m.Query(id=0, what="reservations"))).reservations
    assert row.driver_id == "ben"
    await site.restart(killed=True)
    await engine.up(2)
    await engine.boot()
    await ben.up(2)
    assert (await ben.next(m.Reservation)).state == "PLANNED"
    await site.beat(61, engine)
    opened = await ben.next(m.Reservation, lambda news: news.state == "OPEN")
    assert opened.session_id == made.reservation_id
    engine.send(m.Plugged(connector=1))
    await engine.start(opened.session_id)
    assert (await ben.next(m.Reservation, lambda news: news.state == "ENDED")).reason == "kept"
    assert site.logged(e.ReservationEnded)[0].cause is ReservationEnd.KEPT


async def test_a_reservation_is_cancelled(site: Site) -> None:
    await site.engine(plugged=False)
    ben = await site.driver("ben")
    from_ms = site.clock.site_ms() + HOUR_MS
    reply = await ben.ask(m.Reserve(id=0, cp_id="CP-1", from_ms=from_ms, until_ms=from_ms + HOUR_MS))
    await ben.ask(m.CancelReservation(id=0, reservation_id=reply.reservation.reservation_id))
    assert (await ben.next(m.Reservation)).reason == "cancelled"
    assert (await ben.ask(m.Reservations(id=0))).reservations == []


async def test_a_central_that_is_low_on_disk_offers_and_promises_nothing(site: Site) -> None:
    engine, _, session_id, ben, _ = await waiting(site)
    site.central._engine.low_on_disk = True
    await free(engine, session_id)
    with pytest.raises(RequestRefused) as no:
        await ben.ask(m.Reserve(id=0, cp_id="CP-1", from_ms=1, until_ms=2))
    assert no.value.reason == "disk_low"
    await turns()
    assert not site.logged(e.ChargeOffered)
    site.central._engine.low_on_disk = False
    await ben.next(m.Waiting, lambda news: news.state == "OFFERED")
