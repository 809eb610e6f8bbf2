"""Sessions of a day in site time: arrivals, retries until the departure, many at once, nothing doubled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from evcharge.driver import replay as module
from evcharge.driver.auto import Collector
from evcharge.driver.client import Refusal
from evcharge.driver.replay import SessionsRun
from evcharge.driver.scripted import Stay, Summary
from protocol import messages as m
from protocol.credentials import Role
from protocol.errors import CloseCode, RefuseCode
from tests.driver.conftest import driver
from tests.driver.test_auto import Told, deliver
from tests.support.fake_central import FakeCentral, charge_point
from tests.support.wire import credential


class SiteClock:
    """Site time that naps move; a nap of a frozen one only waits."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self.now_ms = 0
        self.frozen = False
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.now_ms / 1000

    def steady_ms(self) -> int:
        return self.now_ms

    def site_ms(self) -> int:
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if not self.frozen:
            self.now_ms += round(seconds * 1000 * self.speed)
        await asyncio.sleep(0)


def stay(
    label: str, cp_id: str, arrive_ms: int = 1000, depart_ms: int = 9000, energy_wh: int = 500, *, wait: bool = False
) -> Stay:
    return Stay(
        session=label,
        cp_id=cp_id,
        connector=1,
        arrive_ms=arrive_ms,
        depart_ms=depart_ms,
        energy_wh=energy_wh,
        wait=wait,
    )


async def run(central: FakeCentral, stays: list[Stay], clock: SiteClock, told: Told | None = None) -> Summary:
    told = told or Told()
    collector = Collector(told)
    async with driver(central, collector) as client:
        return await SessionsRun({"all": client}, collector, told, clock=clock, sleep=clock.sleep).run(stays)


async def test_each_car_asks_when_it_arrives_with_its_departure(central: FakeCentral) -> None:
    deliver(central)
    clock = SiteClock()
    asked_ms: list[int] = []
    at_once = central.on_request

    def note(name: str, session: m.SessionView) -> None:
        asked_ms.append(clock.now_ms)
        at_once(name, session)

    central.on_request = note
    summary = await run(central, [stay("a", "CP-1", 1000), stay("b", "CP-2", 3000, energy_wh=700)], clock)
    assert summary == Summary(
        sessions=2, authorized=2, started=2, tickets=2, energy_wh=1200, amount_minor=15 + 21, refusals={}
    )
    requests = central.got(m.ChargeRequest)
    assert [(request.cp_id, request.depart_by_ms, request.energy_wh) for request in requests] == [
        ("CP-1", 9000, 500),
        ("CP-2", 9000, 700),
    ]
    assert asked_ms[0] >= 1000
    assert asked_ms[1] >= 3000
    assert max(clock.naps) <= module.NAP_S


async def test_many_are_in_flight_at_once(central: FakeCentral) -> None:
    def all_together(_driver: str, _session: m.SessionView) -> None:
        if len(central.sessions) == 12:
            for session_id in list(central.sessions):
                central.finish(session_id, 100)

    central.on_request = all_together
    summary = await run(central, [stay(f"s{number}", f"CP-{number}") for number in range(12)], SiteClock())
    assert (summary.tickets, summary.energy_wh, summary.refused) == (12, 1200, 0)


async def test_a_car_asks_again_until_the_bay_is_free(central: FakeCentral) -> None:
    deliver(central)
    central.refusals["CP-1"] = ["busy", "no_capacity", "disconnected", "unknown_charge_point", "overloaded"]
    clock = SiteClock()
    summary = await run(central, [stay("a", "CP-1")], clock)
    assert (summary.authorized, summary.refused, summary.refusals) == (1, 0, {})
    assert clock.naps.count(module.RETRY_S) >= 5


async def test_a_car_that_must_leave_is_refused_with_the_last_reason(central: FakeCentral) -> None:
    deliver(central)
    central.refusals["CP-1"] = ["busy"] * 1000
    central.refusals["CP-2"] = ["energy_out_of_range"]
    clock = SiteClock()
    summary = await run(central, [stay("a", "CP-1", 0, 3000), stay("b", "CP-2", 0, 3000)], clock)
    assert summary.refusals == {"a": "busy", "b": "energy_out_of_range"}
    assert (summary.sessions, summary.authorized, summary.refused) == (2, 0, 2)
    asked = [request.cp_id for request in central.got(m.ChargeRequest)]
    assert asked.count("CP-1") == 3000 / (module.RETRY_S * 1000)
    assert asked.count("CP-2") == 1


async def test_a_car_whose_time_is_over_is_not_asked_for(central: FakeCentral) -> None:
    clock = SiteClock()
    clock.now_ms = 10_000
    summary = await run(central, [stay("late", "CP-1", 1000, 9000)], clock)
    assert summary.refusals == {"late": "departed"}
    assert not central.got(m.ChargeRequest)


async def test_a_frozen_clock_is_waited_for(central: FakeCentral) -> None:
    deliver(central)
    clock = SiteClock(speed=1000.0)
    clock.frozen = True
    running = asyncio.create_task(run(central, [stay("a", "CP-1", 60_000, 600_000)], clock))
    await central.until(lambda: bool(central.links))
    while len(clock.naps) < 50:
        await asyncio.sleep(0)
    assert not central.got(m.ChargeRequest)
    clock.frozen = False
    assert (await running).tickets == 1


async def test_a_lost_answer_is_not_a_second_session(central: FakeCentral) -> None:
    central.silent = ["CP-1"]
    clock = SiteClock(speed=0.001)
    clock.now_ms = 1000
    told = Told()
    running = asyncio.create_task(run(central, [stay("a", "CP-1")], clock, told))
    await central.until(lambda: central.connections == 2 and bool(central.got(m.List)))
    (session_id,) = central.sessions
    central.start(session_id)
    central.finish(session_id, 400)
    summary = await running
    assert (summary.authorized, summary.tickets, summary.energy_wh) == (1, 1, 400)
    assert len(central.got(m.ChargeRequest)) == 1


async def test_expired_sessions_are_counted(central: FakeCentral) -> None:
    def half(_driver: str, session: m.SessionView) -> None:
        if session.cp_id == "CP-1":
            central.expire(session.session_id)
        else:
            central.finish(session.session_id, 10)

    central.on_request = half
    summary = await run(central, [stay("a", "CP-1"), stay("b", "CP-2")], SiteClock())
    assert (summary.authorized, summary.started, summary.expired, summary.tickets) == (2, 1, 1, 1)


async def test_each_driver_speaks_for_its_own_session(central: FakeCentral) -> None:
    deliver(central)
    told, clock = Told(), SiteClock()
    collector = Collector(told)
    async with (
        driver(central, collector, credential(Role.DRIVER, 1, bytes(range(1, 33)))) as one,
        driver(central, collector, credential(Role.DRIVER, 2, bytes(range(2, 34)))) as two,
    ):
        clients = {one.driver_id: one, two.driver_id: two}
        stays = [stay("DRIVER-1", "CP-1"), stay("DRIVER-2", "CP-2")]
        summary = await SessionsRun(clients, collector, told, clock=clock, sleep=clock.sleep).run(stays)
    assert summary.tickets == 2
    spoke = {name: message.cp_id for name, message in central.received if isinstance(message, m.ChargeRequest)}
    assert spoke == {"DRIVER-1": "CP-1", "DRIVER-2": "CP-2"}


async def test_waiting_cars_do_not_flood_central() -> None:
    clock: Any = SiteClock()
    crowd = SessionsRun({"all": None}, None, Told(), clock=clock, sleep=clock.sleep)  # type: ignore[dict-item,arg-type]
    await asyncio.gather(*(crowd._pause() for _ in range(200)))
    assert clock.naps[0] == module.RETRY_S
    assert max(clock.naps) == pytest.approx(200 / module.RETRIES_PER_S)


async def test_a_revocation_ends_the_run(central: FakeCentral) -> None:
    running = asyncio.create_task(run(central, [stay("a", "CP-1"), stay("b", "CP-2")], SiteClock()))
    await central.until(lambda: len(central.sessions) == 2)
    central.refuse = RefuseCode.REVOKED
    central.close_links(CloseCode.REVOKED)
    with pytest.raises(ExceptionGroup) as group:
        await running
    assert group.group_contains(Refusal)


def taken(central: FakeCentral) -> None:
    """Somebody else charges at CP-1."""
    central.rows = [charge_point("CP-1")]
    central.sessions["other"] = m.SessionView(session_id="other", state="SUPPLYING", cp_id="CP-1", driver_id="eve")


async def test_who_waits_asks_once_and_is_served_in_turn(central: FakeCentral) -> None:
    taken(central)

    def serve(place: m.WaitingView) -> None:
        central.offer(place.waiting_id)
        central.start(place.waiting_id)
        central.finish(place.waiting_id, 400)

    central.on_wait = serve
    told = Told()
    summary = await run(central, [stay("a", "CP-1", wait=True)], SiteClock(), told)
    assert (summary.authorized, summary.started, summary.energy_wh, summary.refused) == (1, 1, 400, 0)
    assert [request.wait for request in central.got(m.ChargeRequest)] == [True]
    assert "waiting" in told.kinds()


async def test_who_waits_for_what_is_free_has_it_at_once(central: FakeCentral) -> None:
    deliver(central)
    told = Told()
    summary = await run(central, [stay("a", "CP-1", wait=True)], SiteClock(), told)
    assert (summary.tickets, summary.energy_wh) == (1, 500)
    assert "waiting" not in told.kinds()


async def test_whose_turn_does_not_come_is_refused_with_the_reason(central: FakeCentral) -> None:
    taken(central)
    central.on_wait = lambda place: [central.move(place.waiting_id, state="LEFT", reason="departed")].clear()
    summary = await run(central, [stay("a", "CP-1", wait=True)], SiteClock())
    assert (summary.authorized, summary.refused, summary.refusals) == (0, 1, {"a": "departed"})
    assert len(central.got(m.ChargeRequest)) == 1


async def test_an_offer_that_lapses_before_the_vehicle_is_there_is_not_the_end(central: FakeCentral) -> None:
    taken(central)

    def second_time(place: m.WaitingView) -> None:
        central.offer(place.waiting_id)
        if len(central.places) == 1:
            central.expire(place.waiting_id)
        else:
            central.start(place.waiting_id)
            central.finish(place.waiting_id, 300)

    central.on_wait = second_time
    summary = await run(central, [stay("a", "CP-1", wait=True)], SiteClock())
    assert (summary.authorized, summary.started, summary.energy_wh) == (1, 1, 300)
    assert (summary.refused, summary.expired) == (0, 0)


async def test_a_place_that_was_lost_with_the_link_is_asked_for_again(central: FakeCentral) -> None:
    taken(central)

    def lost_once(place: m.WaitingView) -> None:
        if len(central.places) == 1:
            central.move(place.waiting_id, state="LEFT", reason="gone")
            return
        central.offer(place.waiting_id)
        central.start(place.waiting_id)
        central.finish(place.waiting_id, 200)

    central.on_wait = lost_once
    summary = await run(central, [stay("a", "CP-1", wait=True)], SiteClock())
    assert (summary.authorized, summary.started, summary.energy_wh, summary.refused) == (1, 1, 200, 0)
