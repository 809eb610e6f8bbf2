"""Sessions whose charge point answers late, wrong or never: deadlines, provisional tickets, adjustments, lost disks."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.words import SessionStatus, StopCause
from evcharge.ids import CommandId, SessionId
from tests.support.one_session import (
    DAY_MS,
    DEADLINE,
    S1,
    authorized,
    ended,
    expired_unheard,
    newest,
    result,
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
    boot,
    charging,
    connected,
    engine_down,
    engine_up,
    reallocate,
    request,
    site,
    started,
)

# --- it lapses before it begins ---------------------------------------------------------------------------------------


def test_the_driver_changes_his_mind() -> None:
    scenario = authorized().when(c.EndCharge(driver_id=ANNA, session_id=S1)).then_kinds(e.AuthorizationExpired)
    scenario.told(fx.StopSupply, fx.Granted, fx.SessionNews, fx.Dirty)
    assert scenario.effect(fx.Granted).session.status == "EXPIRED"
    assert not scenario.state.sessions
    assert scenario.state.totals.expired == 1


def test_lapsed_with_a_start_under_way_it_keeps_its_share_until_the_charge_point_says_off() -> None:
    """The start may have been obeyed and the news be held up: hours later its car still draws the fallback."""
    scenario = expired_unheard().given(engine_down())
    assert scenario.session().status is SessionStatus.EXPIRED
    scenario.pass_time(10 * DAY_MS)
    scenario.when(DEADLINE).then().told()
    assert scenario.worst_w() == 1_380
    assert not scenario.state.drivers[ANNA].open_sessions
    assert scenario.cp().connectors[1].session_id == S1

    scenario.given(engine_up(fence=3)).when(boot()).told(fx.BootAck, fx.StopSupply, fx.Dirty)
    order = scenario.effect(fx.StopSupply)
    scenario.when(result(order.command_id)).then_kinds(e.StopConfirmed).told(fx.Dirty, fx.Wake)
    assert scenario.worst_w() == 0
    assert scenario.cp().connectors[1].session_id is None
    assert scenario.state.nodes[MAIN].reserved_w == 0
    scenario.when(result(order.command_id)).then()

    scenario.pass_time(DAY_MS - 1)
    scenario.when(DEADLINE).then()
    scenario.pass_time(1)
    scenario.when(DEADLINE).then(e.SessionForgotten(session_id=S1))
    assert not scenario.state.sessions


def test_lapsed_but_it_had_begun() -> None:
    """The report comes late: it is a session after all, its end is ordered already, it gets its ticket."""
    scenario = expired_unheard()
    totals = scenario.state.totals
    assert (totals.expired, totals.started) == (1, 0)
    scenario.when(started(meter_wh=500)).then_kinds(e.SupplyStarted).told(fx.SessionNews, fx.Wake)
    assert (totals.expired, totals.started) == (0, 1)
    assert scenario.session().status is SessionStatus.SUPPLYING
    assert scenario.session().stop is StopCause.EXPIRED
    assert S1 in scenario.state.drivers[ANNA].open_sessions
    scenario.given(ended(700, StopCause.EXPIRED))
    assert (ticket(scenario).energy_wh, ticket(scenario).status) == (200, SessionStatus.INTERRUPTED)
    assert not scenario.state.sessions


def test_lapsed_and_off_and_only_then_the_report_that_it_had_begun() -> None:
    """Its connector is another's already; it must not take it back."""
    scenario = expired_unheard()
    scenario.given(result(scenario.session().stop_command), request("s-2"))
    scenario.given(started(meter_wh=500))
    assert scenario.cp().connectors[1].session_id == "s-2"
    assert scenario.state.nodes[MAIN].reserved_w == 1_380
    assert scenario.worst_w() == 0
    scenario.given(ended(700))
    assert ticket(scenario).energy_wh == 200
    assert list(scenario.state.sessions) == ["s-2"]


def test_lapsed_and_off_and_begun_and_then_nothing_more() -> None:
    scenario = expired_unheard()
    scenario.given(result(scenario.session().stop_command), started(meter_wh=500))
    scenario.pass_time(DAY_MS)
    scenario.when(DEADLINE).then_kinds(e.TicketIssued).told(fx.TicketNews, fx.Dirty, fx.Wake)
    assert ticket(scenario).provisional
    scenario.when(DEADLINE).then(e.SessionForgotten(session_id=S1))
    assert not scenario.state.provisional


# --- answers of the charge point --------------------------------------------------------------------------------------


def test_an_authorization_is_acknowledged_once() -> None:
    scenario = authorized().when(result(1)).then(e.AuthorizationAcknowledged(session_id=S1)).told()
    scenario.when(result(1)).then()
    supplying().when(result(1)).then()
    supplying().when(result(1, "rejected")).then()


@pytest.mark.parametrize("outcome", ["rejected", "expired", "failed"])
def test_an_authorization_that_the_charge_point_refuses_ends_the_session(outcome: str) -> None:
    scenario = authorized().when(result(1, outcome)).then_kinds(e.AuthorizationExpired)
    assert scenario.effect(fx.SessionNews).session.reason == "rejected"
    assert not scenario.state.sessions


def test_a_start_that_came_too_late_is_sent_again() -> None:
    scenario = start_sent()
    scenario.when(result(2, "expired")).then_kinds(e.SetPointRejected).told(fx.Dirty, fx.Wake)
    assert scenario.session().start_valid_ms is None
    scenario.when(reallocate()).then_kinds(e.SetPointIssued)
    assert scenario.effect(fx.SetPoint).start_valid_ms == scenario.clock_ms + 10_000


@pytest.mark.parametrize("outcome", ["rejected", "failed"])
def test_a_start_that_the_charge_point_refuses_ends_the_session(outcome: str) -> None:
    scenario = start_sent().when(result(2, outcome)).then_kinds(e.SetPointRejected, e.AuthorizationExpired)
    assert scenario.session().status is SessionStatus.EXPIRED
    scenario.when(result(scenario.session().stop_command)).then_kinds(e.StopConfirmed)
    assert scenario.cp().connectors[1].session_id is None


@pytest.mark.parametrize("outcome", ["rejected", "failed", "expired"])
def test_a_running_session_that_refuses_its_set_point_is_ended(outcome: str) -> None:
    """A charge point that knows nothing of it would be told again and again, and the session never end."""
    scenario = supplying().given(result(2)).given(c.SetCapacity(node_id=MAIN, capacity_w=2_000), reallocate())
    number = newest(scenario.session())
    scenario.when(result(number, outcome)).then_kinds(e.SetPointRejected, e.StopOrdered)
    assert scenario.session().stop is StopCause.REJECTED
    scenario.when(reallocate()).then()
    scenario.given(result(scenario.session().stop_command))
    scenario.pass_time(DAY_MS)
    scenario.when(DEADLINE).then_kinds(e.TicketIssued)
    # It had said "off": nothing is kept for it but its account.
    assert scenario.cp().connectors[1].session_id is None
    assert scenario.state.nodes[MAIN].reserved_w == 0
    assert S1 in scenario.state.provisional


def test_set_points_are_acknowledged_once() -> None:
    scenario = supplying().when(result(2)).then(e.SetPointAcknowledged(session_id=S1, command_id=CommandId(2)))
    scenario.told(fx.Dirty)
    scenario.when(result(2)).then()


def test_answers_to_nothing() -> None:
    supplying().when(result(99)).then()
    supplying().when(result(2, cp_id=OTHER)).then()
    supplying().given(*connected(OTHER, fence=5)).when(result(2, cp_id=OTHER)).then()


def test_a_stop_that_was_not_done_is_not_confirmed() -> None:
    scenario = supplying().given(c.StopChargePoints(cp_id=CP))
    scenario.when(result(scenario.session().stop_command, "failed")).then()
    scenario.when(result(scenario.session().stop_command)).then_kinds(e.StopConfirmed)


def test_a_stop_is_ordered_once() -> None:
    scenario = supplying().given(c.StopChargePoints(cp_id=CP))
    scenario.when(c.EndCharge(driver_id=ANNA, session_id=S1)).then().told(fx.Granted)
    scenario.when(c.ReportFault(cp_id=CP, code="ko")).then_kinds(e.HoldPlaced)
    assert scenario.session().stop is StopCause.STOPPED


# --- it is never heard of again ---------------------------------------------------------------------------------------


def test_settled_with_the_last_known_meter() -> None:
    scenario = settled(3_000)
    made = ticket(scenario)
    assert (made.energy_wh, made.final_meter_wh, made.end_ms) == (2_000, 3_000, SITE_MS)
    assert (made.status, made.reason, made.provisional) == (SessionStatus.INTERRUPTED, StopCause.SILENT, True)
    assert scenario.session().status is SessionStatus.INTERRUPTED
    assert not scenario.state.drivers[ANNA].open_sessions


def test_settled_it_keeps_its_share_as_long_as_it_may_draw() -> None:
    scenario = settled()
    scenario.pass_time(10 * DAY_MS)
    scenario.when(DEADLINE).then()
    assert scenario.worst_w() == 1_380
    assert scenario.cp().connectors[1].session_id == S1


@pytest.mark.parametrize(
    ("final_wh", "more_wh", "more_cents", "more_grams"),
    [(4_234, 1_234, 37, 370), (3_000, 0, 0, 0), (2_500, -500, -15, -150), (500, -2_000, -60, -600)],
)
def test_the_final_meter_comes_late(final_wh: int, more_wh: int, more_cents: int, more_grams: int) -> None:
    """An adjustment, up or down, never a second ticket; never more is given back than was billed."""
    scenario = settled(3_000).when(ended(final_wh))
    adjusted = scenario.events[-1]
    assert isinstance(adjusted, e.TicketAdjusted)
    assert (adjusted.energy_wh, adjusted.amount_minor, adjusted.co2_g) == (more_wh, more_cents, more_grams)
    assert [type(event) for event in scenario.events[:-1]] == ([e.AnomalySeen] if more_wh < 0 else [])
    scenario.told(fx.TicketNews, fx.Dirty)
    made = ticket(scenario)
    assert (made.energy_wh, made.adjustments, made.provisional) == (2_000, [more_wh], False)
    assert scenario.state.drivers[ANNA].undelivered == {made.ticket_id: made}
    totals = scenario.state.totals
    assert (totals.tickets, totals.energy_wh, totals.amount_minor) == (1, 2_000 + more_wh, 60 + more_cents)
    assert not scenario.state.sessions
    assert not scenario.state.provisional
    assert scenario.worst_w() == 0
    scenario.when(ended(final_wh)).then_kinds(e.AnomalySeen)


def test_an_absurd_late_meter_closes_the_account_without_a_change() -> None:
    scenario = settled(3_000).when(ended(2**53 - 1)).then_kinds(e.AnomalySeen, e.TicketAdjusted)
    assert ticket(scenario).adjustments == [0]


def test_another_charge_point_cannot_adjust() -> None:
    scenario = settled().given(*connected(OTHER, fence=5))
    scenario.when(ended(9_000, cp_id=OTHER)).then_kinds(e.AnomalySeen)
    assert S1 in scenario.state.provisional


def test_settled_and_back_it_has_to_stop() -> None:
    """It has its bill; nothing that could limit or end it may be left running."""
    scenario = settled().given(engine_up(fence=3)).when(boot())
    scenario.then_kinds(e.ChargePointBooted, e.StopOrdered)
    order = scenario.effect(fx.StopSupply)
    scenario.given(engine_down(fence=3), engine_up(fence=4)).when(boot()).then_kinds(e.ChargePointBooted)
    assert scenario.effect(fx.StopSupply).command_id == order.command_id
    scenario.when(result(order.command_id)).then_kinds(e.StopConfirmed).told(fx.Dirty, fx.Wake)
    assert scenario.worst_w() == 0
    assert scenario.cp().connectors[1].session_id is None
    scenario.when(ended(3_500)).then_kinds(e.TicketAdjusted)
    assert not scenario.state.sessions


def test_settled_and_back_but_its_report_never_comes() -> None:
    scenario = settled().given(engine_up(fence=3), boot())
    scenario.given(result(scenario.session().stop_command))
    scenario.pass_time(DAY_MS)
    scenario.when(DEADLINE).then(e.SessionForgotten(session_id=S1))
    assert not scenario.state.sessions
    assert not scenario.state.provisional
    scenario.when(ended(3_500)).then_kinds(e.AnomalySeen)


def test_a_fault_stops_what_was_settled_too() -> None:
    settled().when(c.ReportFault(cp_id=CP, code="ko")).then_kinds(e.HoldPlaced, e.StopOrdered)


def test_a_deadline_moves_with_every_sign_of_life() -> None:
    """A wake-up that comes too early has to set the next one, or the session would stay for ever."""
    scenario = supplying().given(c.StopChargePoints(cp_id=CP))
    scenario.pass_time(5_000)
    scenario.given(sample(1_500))
    scenario.pass_time(DAY_MS - 5_000)
    scenario.when(DEADLINE).then().told(fx.Wake)
    wake = scenario.effect(fx.Wake)
    assert wake.at_ms == SITE_MS + 5_000 + DAY_MS
    scenario.pass_time(wake.at_ms - scenario.at_ms)
    scenario.when(DEADLINE).then_kinds(e.TicketIssued)


def test_a_running_session_has_no_deadline() -> None:
    scenario = supplying()
    scenario.pass_time(100 * DAY_MS)
    scenario.when(DEADLINE).then().told()
    scenario.when(c.PassDeadline(session_id=SessionId("s-9"))).then().told()


def test_all_deadlines_are_set_again_after_a_restart() -> None:
    scenario = Scenario().given(site(), *connected(connectors=3), *charging(), request("s-2", connector=2))
    scenario.when(site())
    wakes = {x.session_id: x.at_ms for x in scenario.effects if isinstance(x, fx.Wake)}
    assert wakes == {"s-1": SITE_MS + DAY_MS, "s-2": SITE_MS + 60_000}


# --- a lost disk ------------------------------------------------------------------------------------------------------


def test_a_new_outbox_settles_what_cannot_be_reported_any_more() -> None:
    scenario = supplying().given(sample(4_000), engine_down())
    scenario.when(engine_up(fence=3, epoch=8)).then_kinds(e.TicketIssued, e.PeerConnected)
    made = ticket(scenario)
    assert (made.energy_wh, made.reason, made.provisional) == (3_000, StopCause.OUTBOX_LOST, False)
    assert not scenario.state.sessions
    assert scenario.worst_w() == 0
    scenario.when(ended(9_000)).then_kinds(e.AnomalySeen)


def test_a_new_outbox_frees_what_was_settled_or_expired() -> None:
    for scenario in (settled(), expired_unheard()):
        scenario.when(engine_up(fence=3, epoch=8)).then_kinds(e.SessionForgotten, e.PeerConnected)
        assert not scenario.state.sessions
        assert not scenario.state.provisional
        assert scenario.cp().connectors[1].session_id is None


def test_a_new_outbox_leaves_a_waiting_session_and_other_charge_points() -> None:
    scenario = start_sent().given(*connected(OTHER, fence=5), *charging("s-2", OTHER))
    scenario.when(engine_up(fence=7, epoch=8)).then_kinds(e.PeerConnected)
    scenario.when(boot()).told(fx.BootAck, fx.Authorize, fx.SetPoint, fx.Dirty)
    assert scenario.session("s-2").status is SessionStatus.SUPPLYING


# --- reconnected ------------------------------------------------------------------------------------------------------


def test_boot_tells_the_desired_state_once_more() -> None:
    scenario = supplying().given(engine_up(fence=3)).when(boot())
    scenario.then_kinds(e.ChargePointBooted).told(fx.BootAck, fx.SetPoint, fx.Dirty)
    order = scenario.effect(fx.SetPoint)
    assert (order.fence, order.command_id, order.start_valid_ms) == (3, 2, None)


def test_a_set_point_that_ran_out_is_not_told_again() -> None:
    scenario = supplying().given(engine_down())
    scenario.pass_time(30_000)
    scenario.given(engine_up(fence=3)).when(boot())
    scenario.then_kinds(e.ChargePointBooted, e.SessionOnline).told(fx.BootAck, fx.Dirty, fx.SessionNews)
    scenario.when(reallocate()).then_kinds(e.SetPointIssued)


def test_the_end_comes_before_the_boot() -> None:
    """An outbox may be sent first: the session is over before it is online."""
    scenario = supplying().given(engine_down(), engine_up(fence=3)).when(ended())
    scenario.then_kinds(e.SupplyEnded, e.TicketIssued)
    scenario.when(boot()).then_kinds(e.ChargePointBooted).told(fx.BootAck, fx.Dirty)
