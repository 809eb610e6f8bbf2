"""The life of one session: its ticket, its meter, its pauses, and reports that come twice or wrong."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.sessions import MAX_REGISTER_WH
from evcharge.domain.state import Ticket
from evcharge.domain.words import COMPLETING, Role, SessionStatus, StopCause
from evcharge.units import Millis, WattHours, Watts
from tests.support.one_session import (
    S1,
    authorized,
    ended,
    expired_unheard,
    paused,
    sample,
    settled,
    start_sent,
    supplying,
    ticket,
)
from tests.support.scenario import (
    ANNA,
    CP,
    MAIN,
    OTHER,
    SITE_MS,
    Scenario,
    connected,
    site,
    started,
)

# --- the ticket -------------------------------------------------------------------------------------------------------


def test_one_whole_charge() -> None:
    scenario = supplying()
    scenario.pass_time(3_600_000)
    scenario.when(ended(8_550, StopCause.TARGET_REACHED)).then_kinds(e.SupplyEnded, e.TicketIssued)
    assert ticket(scenario) == Ticket(
        ticket_id="t-s-1",
        session_id=S1,
        cp_id=CP,
        driver_id=ANNA,
        substation_id=MAIN,
        start_ms=SITE_MS,
        end_ms=SITE_MS + 3_600_000,
        energy_wh=7_550,
        price_e4=3_000,
        amount_minor=227,
        currency="EUR",
        status=SessionStatus.COMPLETED,
        reason=StopCause.TARGET_REACHED,
        average_w=7_550,
        co2_g=2_265,
        final_meter_wh=8_550,
    )
    state = scenario.state
    assert not state.sessions
    assert not state.drivers[ANNA].open_sessions
    assert not state.nodes[MAIN].sessions
    assert state.nodes[MAIN].reserved_w == 0
    assert scenario.cp().connectors[1].session_id is None
    assert (state.totals.tickets, state.totals.energy_wh, state.totals.amount_minor) == (1, 7_550, 227)


@pytest.mark.parametrize("reason", StopCause)
def test_status_follows_the_cause(reason: StopCause) -> None:
    made = ticket(supplying().given(ended(reason=reason)))
    assert made.reason is reason
    assert made.status is (SessionStatus.COMPLETED if reason in COMPLETING else SessionStatus.INTERRUPTED)
    assert {
        StopCause.TARGET_REACHED,
        StopCause.VEHICLE_FULL,
        StopCause.UNPLUGGED,
        StopCause.DRIVER_ENDED,
    } == COMPLETING


def test_centrals_own_cause_counts_unless_the_session_completed() -> None:
    scenario = supplying().given(c.StopChargePoints(cp_id=CP), ended(reason=StopCause.ENGINE_RESTART))
    assert ticket(scenario).reason is StopCause.STOPPED
    scenario = supplying().given(c.StopChargePoints(cp_id=CP), ended(reason=StopCause.TARGET_REACHED))
    assert ticket(scenario).reason is StopCause.TARGET_REACHED


@pytest.mark.parametrize(
    ("at_ms", "end_ms"), [(None, 5_000), (SITE_MS + 4_000, 4_000), (SITE_MS - 1, 0), (SITE_MS + 5_001, 5_000)]
)
def test_the_end_lies_between_the_start_and_now(at_ms: int | None, end_ms: int) -> None:
    scenario = supplying()
    scenario.pass_time(5_000)
    assert ticket(scenario.given(ended(at_ms=at_ms))).end_ms == SITE_MS + end_ms


@pytest.mark.parametrize(("at_ms", "start_ms"), [(None, 9), (SITE_MS - 1, 0), (SITE_MS + 4, 4), (SITE_MS + 10, 9)])
def test_the_start_lies_between_the_authorization_and_now(at_ms: int | None, start_ms: int) -> None:
    scenario = start_sent()
    scenario.pass_time(9)
    scenario.when(
        c.ReportStarted(cp_id=CP, session_id=S1, meter_wh=WattHours(0), at_ms=None if at_ms is None else Millis(at_ms))
    )
    assert scenario.session().start_ms == SITE_MS + start_ms


def test_no_time_no_average() -> None:
    made = ticket(supplying().given(ended(8_000)))
    assert (made.energy_wh, made.average_w) == (7_000, 0)


def test_a_ticket_is_sent_until_it_is_confirmed() -> None:
    driver = c.PeerReady(role=Role.DRIVER, entity=ANNA, username="a", fence=5, boot_id=b"")
    scenario = supplying().when(ended()).told(fx.TicketNews, fx.Dirty)
    scenario.when(driver).told(fx.TicketNews)
    scenario.when(c.ConfirmTicket(driver_id=ANNA, ticket_id=ticket(scenario).ticket_id)).then_kinds(e.TicketDelivered)
    scenario.when(driver).told()
    scenario.when(c.ConfirmTicket(driver_id=ANNA, ticket_id=ticket(scenario).ticket_id)).then()
    scenario.when(c.ConfirmTicket(driver_id=OTHER, ticket_id=ticket(scenario).ticket_id)).then()
    assert scenario.state.drivers[ANNA].tickets


# --- meters -----------------------------------------------------------------------------------------------------------


def test_samples_only_rise() -> None:
    scenario = supplying()
    scenario.when(sample(1_500)).then(e.MeterSampled(session_id=S1, meter_wh=WattHours(1_500), power_w=Watts(7_000)))
    scenario.when(sample(1_499)).then()
    scenario.when(sample(1_500)).then_kinds(e.MeterSampled)
    scenario.when(sample(MAX_REGISTER_WH + 1)).then()
    scenario.when(sample(2_000, OTHER)).then()
    assert scenario.session().energy_wh == 500


def test_samples_of_a_session_that_does_not_run_are_dropped() -> None:
    authorized().when(sample(2_000)).then()
    settled().when(sample(9_000)).then()


def test_the_final_meter_decides_even_below_the_last_sample() -> None:
    scenario = supplying().given(sample(5_000)).when(ended(4_000))
    scenario.then_kinds(e.AnomalySeen, e.SupplyEnded, e.TicketIssued)
    assert ticket(scenario).energy_wh == 3_000


def test_a_meter_below_its_start_bills_nothing() -> None:
    assert ticket(supplying().given(ended(999))).energy_wh == 0


def test_an_absurd_final_meter_is_not_believed() -> None:
    """2^53 Wh in a millisecond would not even fit into a record."""
    scenario = supplying().given(sample(5_000))
    scenario.pass_time(1)
    scenario.when(ended(2**53 - 1)).then_kinds(e.AnomalySeen, e.SupplyEnded, e.TicketIssued)
    assert ticket(scenario).energy_wh == 4_000


def test_the_largest_register_that_is_believed_fits_into_a_record() -> None:
    scenario = supplying()
    scenario.pass_time(1)
    scenario.given(ended(MAX_REGISTER_WH))
    assert ticket(scenario).energy_wh == MAX_REGISTER_WH - 1_000


def test_an_absurd_meter_at_the_start() -> None:
    scenario = start_sent().when(started(meter_wh=2**53 - 1)).then_kinds(e.AnomalySeen, e.SupplyStarted)
    assert scenario.session().start_meter_wh == MAX_REGISTER_WH
    assert ticket(scenario.given(ended(2**53 - 1))).energy_wh == 0


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_pause_and_resume() -> None:
    scenario = supplying().when(paused(meter_wh=1_200)).then_kinds(e.SupplyPaused).told(fx.SessionNews)
    assert (scenario.session().status, scenario.session().meter_wh) == (SessionStatus.PAUSED, 1_200)
    scenario.when(paused(meter_wh=1_300)).then()
    scenario.when(paused(paused=False, meter_wh=1_100)).then(e.SupplyResumed(session_id=S1, meter_wh=None))
    assert (scenario.session().status, scenario.session().meter_wh) == (SessionStatus.SUPPLYING, 1_200)
    scenario.when(paused(paused=False)).then()


def test_a_pause_with_an_absurd_meter_keeps_the_known_one() -> None:
    supplying().when(paused(meter_wh=MAX_REGISTER_WH + 1)).then(e.SupplyPaused(session_id=S1, meter_wh=None))


def test_pauses_of_what_does_not_run_are_dropped() -> None:
    authorized().when(paused()).then()
    Scenario().given(site(), *connected()).when(paused()).then()


def test_a_paused_session_ends_like_any_other() -> None:
    assert ticket(supplying().given(paused(), ended())).status is SessionStatus.COMPLETED


# --- reports that repeat, or name what is not there -------------------------------------------------------------------


def test_a_second_start_report_is_a_retry() -> None:
    supplying().when(started(meter_wh=2_000)).then()
    settled().when(started(meter_wh=2_000)).then()


@pytest.mark.parametrize("session_id", ["s-1", "s-9"])
def test_supply_for_a_session_that_is_not_open_is_stopped(session_id: str) -> None:
    """Over, or never there: its energy would be nobody's, its power uncounted."""
    scenario = supplying().given(ended()) if session_id == "s-1" else authorized()
    last = scenario.state.last_command
    scenario.when(started(session_id)).then_kinds(e.AnomalySeen, e.StraySupplyStopped).told(fx.StopSupply)
    order = scenario.effect(fx.StopSupply)
    assert (order.cp_id, order.connector, order.session_id, order.command_id) == (CP, 0, session_id, last + 1)
    assert scenario.state.last_command == last + 1


def test_naming_another_charge_points_session() -> None:
    scenario = start_sent().given(*connected(OTHER, fence=5))
    scenario.when(started(cp_id=OTHER)).then_kinds(e.AnomalySeen, e.StraySupplyStopped)
    assert scenario.effect(fx.StopSupply).cp_id == OTHER
    assert scenario.session().status is SessionStatus.AUTHORIZED
    scenario.given(started()).when(ended(cp_id=OTHER)).then_kinds(e.AnomalySeen)
    assert scenario.session().status is SessionStatus.SUPPLYING


def test_an_end_without_a_start() -> None:
    authorized().when(ended()).then_kinds(e.AnomalySeen)
    expired_unheard().when(ended()).then_kinds(e.AnomalySeen)
    authorized().when(ended(cp_id=OTHER)).then_kinds(e.AnomalySeen)
