"""Every no that Central says, with its code, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from evcharge.audit.room import LOW_BYTES
from evcharge.central import engine as engine_module
from evcharge.central.takeovers import MOST
from evcharge.domain import events as e
from evcharge.domain import reservations, sessions, waiting
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.domain.words import Hold
from evcharge.ids import NodeId
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import Site, until

Case = Callable[[Site, pytest.MonkeyPatch], Awaitable[object]]
CASES: dict[RefusalReason, Case] = {}


def case(reason: RefusalReason) -> Callable[[Case], Case]:
    """The decorated function makes Central refuse for ``reason``."""

    def keep(function: Case) -> Case:
        CASES[reason] = function
        return function

    return keep


@case(RefusalReason.UNKNOWN_CHARGE_POINT)
async def _unknown_charge_point(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.charge(await site.driver(), "CP-9")


@case(RefusalReason.UNKNOWN_CONNECTOR)
async def _unknown_connector(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    await site.charge(await site.driver(), connector=5)


@case(RefusalReason.BUSY)
async def _busy(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.charging()
    await site.charge(await site.driver("ben"))


@case(RefusalReason.ALREADY_CHARGING)
async def _already_charging(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.charging()
    await (await site.driver()).ask(m.ChargeRequest(id=0, cp_id="CP-1", wait=True))


@case(RefusalReason.SUBSTATION_LOST)
async def _substation_lost(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    operator = await site.operator()
    await operator.ask(m.SubstationHealth(id=1, substation_id="site", ok=False))
    await site.charge(await site.driver())


async def _reserve(site: Site, name: str, hours: int = 1) -> None:
    """One hour at CP-1, so many hours from now."""
    driver = await site.driver(name)
    from_ms = site.clock.site_ms() + hours * 3_600_000
    await driver.ask(m.Reserve(id=0, cp_id="CP-1", from_ms=from_ms, until_ms=from_ms + 3_600_000))


@case(RefusalReason.RESERVED)
async def _reserved(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    await _reserve(site, "ben")
    await site.charge(await site.driver())


@case(RefusalReason.QUEUE_FULL)
async def _queue_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 0)
    await site.charging()
    await (await site.driver("ben")).ask(m.ChargeRequest(id=0, cp_id="CP-1", wait=True))


@case(RefusalReason.RESERVATION_OUT_OF_RANGE)
async def _reservation_out_of_range(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    await _reserve(site, "anna", hours=8 * 24)


@case(RefusalReason.TOO_MANY_RESERVATIONS)
async def _too_many_reservations(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "MAX_RESERVATIONS", 0)
    await site.engine()
    await _reserve(site, "anna")


@case(RefusalReason.UNKNOWN_WAITING)
async def _unknown_waiting(site: Site, _: pytest.MonkeyPatch) -> None:
    await (await site.driver()).ask(m.LeaveQueue(id=0, waiting_id="s-nowhere"))


@case(RefusalReason.UNKNOWN_RESERVATION)
async def _unknown_reservation(site: Site, _: pytest.MonkeyPatch) -> None:
    await (await site.driver()).ask(m.CancelReservation(id=0, reservation_id="s-nowhere"))


@case(RefusalReason.OUT_OF_ORDER)
async def _out_of_order(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    monitor = await site.monitor()
    monitor.send(m.Fault(code="smoke"))
    await monitor.heard()
    await site.charge(await site.driver())


@case(RefusalReason.DISK_LOW)
async def _disk_low(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    site.central._room.look(LOW_BYTES - 1)
    await site.charge(await site.driver())


@case(RefusalReason.STOPPED)
async def _stopped(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    await (await site.operator()).ask(m.Stop(id=0))
    await site.charge(await site.driver())


@case(RefusalReason.WEATHER)
async def _weather(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    await (await site.operator()).ask(m.WeatherAlert(id=0, kind="wind", active=True))
    await site.charge(await site.driver())


@case(RefusalReason.DISCONNECTED)
async def _disconnected(site: Site, _: pytest.MonkeyPatch) -> None:
    engine = await site.engine()
    await engine.leave()
    await site.line(e.PeerDisconnected, entity="CP-1")
    await site.charge(await site.driver())


@case(RefusalReason.DUPLICATE_ID)
async def _duplicate(site: Site, _: pytest.MonkeyPatch) -> None:
    engine = await site.engine()
    for _turn in range(MOST + 1):
        newer = site.join(engine.credential)
        await newer.up()
    await site.line(e.HoldPlaced, hold=Hold.DUPLICATE_ID)
    await site.charge(await site.driver())


@case(RefusalReason.ENERGY_OUT_OF_RANGE)
async def _energy(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    driver = await site.driver()
    for energy_wh in (0, 1_000_001, 2**53 - 1):
        with pytest.raises(RequestRefused, match="at most"):
            await site.charge(driver, energy_wh=energy_wh)
    await site.charge(driver, energy_wh=-5)


@case(RefusalReason.DEPARTURE_IN_PAST)
async def _departure(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    now_ms = site.clock.site_ms()
    await (await site.driver()).ask(m.ChargeRequest(id=0, cp_id="CP-1", depart_by_ms=now_ms))


@case(RefusalReason.TOO_MANY_SESSIONS)
async def _too_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_OPEN_SESSIONS", 1)
    driver = (await site.charging())[1]
    await site.engine("CP-2")
    await site.charge(driver, "CP-2")


@case(RefusalReason.NO_CAPACITY)
async def _no_capacity(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine(connectors=2, min_w=12_000, max_w=22_000)
    driver = await site.driver()
    await site.charge(driver)
    await site.charge(driver)


@case(RefusalReason.UNKNOWN_SESSION)
async def _unknown_session(site: Site, _: pytest.MonkeyPatch) -> None:
    await (await site.driver()).ask(m.EndCharge(id=0, session_id="s-none"))


@case(RefusalReason.NOT_YOUR_SESSION)
async def _not_yours(site: Site, _: pytest.MonkeyPatch) -> None:
    session_id = (await site.charging())[2]
    await (await site.driver("ben")).ask(m.EndCharge(id=0, session_id=session_id))


@case(RefusalReason.READING_OUT_OF_RANGE)
async def _reading_out_of_range(site: Site, _: pytest.MonkeyPatch) -> None:
    await (await site.operator()).ask(m.SensorReading(id=0, name="battery_percent", value=101.0))


@case(RefusalReason.UNKNOWN_SUBSTATION)
async def _unknown_substation(site: Site, _: pytest.MonkeyPatch) -> None:
    await (await site.operator()).ask(m.SetCapacity(id=0, substation_id="moon", capacity_w=1))


@case(RefusalReason.CAPACITY_OUT_OF_RANGE)
async def _capacity(site: Site, _: pytest.MonkeyPatch) -> None:
    operator = await site.operator()
    with pytest.raises(RequestRefused, match="between 0"):
        await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=-1))
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=1_000_000_001))


@case(RefusalReason.LIMIT_OUT_OF_RANGE)
async def _limit(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    operator = await site.operator()
    with pytest.raises(RequestRefused, match="between 0"):
        await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1", limit_w=-1))
    await operator.ask(m.LimitChargePoint(id=0, cp_id="CP-1", limit_w=10_000_001))


@case(RefusalReason.LIMITED)
async def _limited(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    await (await site.operator()).ask(m.LimitChargePoint(id=0, cp_id="CP-1", limit_w=1_000))
    await site.charge(await site.driver())


@case(RefusalReason.OUTBOX_GAP)
async def _outbox_gap(site: Site, _: pytest.MonkeyPatch) -> None:
    """An outbox item is no request, so its refusal comes without ``re``."""
    engine = await site.engine()
    engine.send(m.Outbox(n=1, payload=m.Status(connector=1, occupied=True)))
    refused = await engine.next(m.Refused)
    assert refused.re is None
    assert site.cp().next_n == 0
    raise RequestRefused(refused.reason, refused.sentence)


@case(RefusalReason.OVERLOADED)
async def _overloaded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.engine()
    driver = await site.driver()
    monkeypatch.setattr(engine_module, "FULL_MARK", 1)
    site.disk.hold()
    waiting = [asyncio.create_task(site.charge(driver, cp_id)) for cp_id in ("CP-1", "CP-8", "CP-9")]
    await until(lambda: site.central._engine.backlog >= 2)
    try:
        await driver.ask(m.EndCharge(id=0, session_id="s-none"))
    finally:
        site.disk.release()
        await asyncio.gather(*waiting, return_exceptions=True)


@case(RefusalReason.DRAINING)
async def _draining(site: Site, _: pytest.MonkeyPatch) -> None:
    await site.engine()
    driver = await site.driver()
    drained = asyncio.Event()
    drain = site.central._server.drain

    async def wait_for_the_test(finish: Callable[[], Awaitable[None]], *, return_per_s: float) -> None:
        async def wait_and_finish() -> None:
            await drained.wait()
            await finish()

        await drain(wait_and_finish, return_per_s=return_per_s)

    site.central._server.drain = wait_for_the_test  # type: ignore[method-assign,assignment]  # holds the drain open
    stopping = asyncio.create_task(site.stop())
    await driver.next(m.Drain)
    try:
        await site.charge(driver)
    finally:
        drained.set()
        await stopping


@case(RefusalReason.WEIGHTS_OUT_OF_RANGE)
async def _weights_out_of_range(site: Site, _: pytest.MonkeyPatch) -> None:
    driver = await site.driver()
    await driver.ask(m.Recommend(id=0, battery_percent=50.0, weights=m.Weights(cost=0.7)))


@case(RefusalReason.UNKNOWN_TICKET)
async def _unknown_ticket(site: Site, _: pytest.MonkeyPatch) -> None:
    await (await site.operator()).ask(m.Query(id=0, what="tickets", one="t-1"))


@case(RefusalReason.UNKNOWN_KIND)
async def _unknown_kind(site: Site, _: pytest.MonkeyPatch) -> None:
    await (await site.operator()).ask(m.AuditPage(id=0, kind="charge_authorised"))


@case(RefusalReason.UNKNOWN_RECORD)
async def _unknown_record(site: Site, _: pytest.MonkeyPatch) -> None:
    await (await site.operator()).ask(m.AuditProof(id=0, seq=1_000_000))


@case(RefusalReason.NOT_SIGNED)
async def _not_signed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = await site.operator()
    await site.settled()
    monkeypatch.setattr(site.central._attestor.checkpoints, "newest", b"")
    await operator.ask(m.AuditProof(id=0, seq=1))


@case(RefusalReason.LOG_UNREADABLE)
async def _log_unreadable(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = await site.operator()
    await site.settled()
    for path in site.central.log_dir.glob("audit-*.log"):
        path.rename(path.with_suffix(".elsewhere"))
    await operator.ask(m.AuditPage(id=0))


@pytest.mark.parametrize("reason", CASES, ids=lambda reason: reason.value)
async def test_the_refusal(reason: RefusalReason, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestRefused) as no:
        await CASES[reason](site, monkeypatch)
    assert no.value.reason == reason.value
    assert no.value.sentence.endswith(".") and "{" not in no.value.sentence
    assert site.central.failure.done() is False
    unlogged = (
        RefusalReason.OVERLOADED,
        RefusalReason.DRAINING,
        RefusalReason.DISK_LOW,
        RefusalReason.READING_OUT_OF_RANGE,
        # A question changes nothing.
        RefusalReason.WEIGHTS_OUT_OF_RANGE,
        RefusalReason.UNKNOWN_TICKET,
        RefusalReason.UNKNOWN_KIND,
        RefusalReason.UNKNOWN_RECORD,
        RefusalReason.NOT_SIGNED,
        RefusalReason.LOG_UNREADABLE,
    )
    logged = {it.reason for it in site.logged(e.ChargeRefused)} | {it.reason for it in site.logged(e.RequestRefused)}
    assert (reason in logged) == (reason not in unlogged)


def test_no_reason_is_forgotten_here() -> None:
    """A rolled back log is found by witnesses, which nobody asks yet."""
    assert set(RefusalReason) - set(CASES) == {RefusalReason.LOG_ROLLBACK}
    assert sentence(RefusalReason.LOG_ROLLBACK)


async def test_whatever_is_asked_for_cannot_write_into_the_sentence(site: Site) -> None:
    driver = await site.driver()
    with pytest.raises(RequestRefused) as no:
        await site.charge(driver, "{subject.__class__}")
    assert "{subject.__class__}" in no.value.sentence


async def test_who_repeats_himself_is_answered_each_time_and_fills_no_disk(site: Site) -> None:
    driver, operator = await site.driver(), await site.operator()
    for _ in range(260):
        # As fast as the wire lets it through.
        site.clock.advance(0.02)
        with pytest.raises(RequestRefused):
            await driver.ask(m.EndCharge(id=0, session_id="s-9"))
    assert 200 <= len(site.logged(e.RequestRefused)) <= 210
    with pytest.raises(RequestRefused):
        await driver.ask(m.EndCharge(id=0, session_id="s-10"))
    await site.line(e.RequestRefused, subject="s-10")
    capacity_w = site.state.nodes[NodeId("site")].capacity_w
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=capacity_w))
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=capacity_w + 1))
    await site.line(e.CapacityChanged)
    assert len(site.logged(e.CapacityChanged)) == 1


async def test_who_is_refused_for_want_of_power_is_told_the_figures(site: Site) -> None:
    await site.engine(connectors=2, min_w=12_000, max_w=22_000)
    driver = await site.driver()
    await site.charge(driver)
    with pytest.raises(RequestRefused) as refused:
        await site.charge(driver)
    assert "Now site has 22 kW, 12 kW of it taken; " in refused.value.sentence
