"""Central dies between two records of one command: the next start makes good what is missing.

Which commands have several records, and what each of them may leave behind: ``audit/FORMAT.md`` §15.
"""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.decide import AnyCommand, decide
from evcharge.domain.state import ChargePoint, shown_state
from evcharge.domain.views import page_of_charge_points, page_of_sessions
from evcharge.domain.waiting_views import all_waiting, page_of_reservations, waiting_of_driver
from evcharge.domain.words import (
    RUNNING,
    Hold,
    LeftCause,
    LinkState,
    ReservationEnd,
    ReservationState,
    Role,
    SessionStatus,
    StopCause,
)
from evcharge.ids import ConnectorNo, Fence, SessionId
from tests.support.busy_days import busy_day
from tests.support.in_line import taken, wait
from tests.support.model_site import Site
from tests.support.model_steps import run
from tests.support.one_session import ended
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    Scenario,
    boot,
    canonical,
    charging,
    connected,
    engine_up,
    monitor_down,
    monitor_up,
    plug,
    reallocate,
    replayed,
    request,
    site,
    started,
)

PLACE = SessionId("s-2")
BOOKED = SessionId("r-1")


def torn(scenario: Scenario, command: AnyCommand, kept: int, restart: c.StartCentral | None = None) -> list[e.Event]:
    """Only the first ``kept`` records of a command survive; what the next start decides beside its own record."""
    events = decide(scenario.state, command, scenario.stamp())
    assert len(events) > kept, events
    for event in events[:kept]:
        scenario.apply(event)
    scenario.when(restart or site())
    first, *repairs = scenario.events
    assert isinstance(first, e.CentralStarted)
    again = Scenario()
    again.state, again.at_ms, again.clock_ms = replayed(scenario.log), scenario.at_ms, scenario.clock_ms
    assert canonical(again.state) == canonical(scenario.state)
    again.when(site()).then_kinds(e.CentralStarted)
    return repairs


def in_line() -> Scenario:
    """Anna charges, Ben waits for the only connector."""
    return taken().given(wait("s-2", BEN))


def offered() -> Scenario:
    """Anna has gone, and Ben has the connector for some minutes."""
    scenario = in_line().given(ended(2_000), plug(plugged=False), c.ServeWaiting())
    assert scenario.state.waiting[PLACE].offer == "s-2"
    return scenario


def booked() -> Scenario:
    """Ben's reservation has opened, and nobody is there."""
    scenario = Scenario().given(site(), *connected())
    scenario.given(
        c.Reserve(
            reservation_id=BOOKED,
            driver_id=BEN,
            cp_id=CP,
            connector=ConnectorNo(1),
            from_ms=scenario.at_ms + 1_000,
            until_ms=scenario.at_ms + 3_600_000,
            energy_wh=None,
        )
    )
    scenario.pass_time(2_000)
    return scenario


def back(scenario: Scenario) -> Scenario:
    """The charge point has found Central again."""
    return scenario.given(engine_up(fence=9), boot())


def test_an_authorization_that_was_not_offered_is_offered() -> None:
    scenario = in_line().given(ended(2_000), plug(plugged=False))
    (repair,) = torn(scenario, c.ServeWaiting(), 1)
    until_ms = scenario.session("s-2").expires_ms
    assert repair == e.ChargeOffered(waiting_id=PLACE, session_id=SessionId("s-2"), until_ms=until_ms)
    back(scenario).when(c.ServeWaiting()).then()


def test_a_second_offer_is_found_by_its_own_id() -> None:
    scenario = offered()
    scenario.pass_time(301_000)
    scenario.given(c.PassDeadline(session_id=PLACE))
    assert scenario.state.waiting[PLACE].offers == 1
    (repair,) = torn(scenario, c.ServeWaiting(), 1)
    assert isinstance(repair, e.ChargeOffered)
    assert repair.session_id == "s-2.2"


def test_an_offer_that_lapsed_is_over() -> None:
    scenario = offered()
    scenario.pass_time(301_000)
    (repair,) = torn(scenario, c.PassDeadline(session_id=PLACE), 1)
    assert repair == e.OfferEnded(waiting_id=PLACE, cause=StopCause.OTHER, missed=0)
    back(scenario).when(c.ServeWaiting()).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def test_an_offer_that_may_have_begun_unheard_ends_for_the_cause_that_is_known() -> None:
    scenario = offered().given(plug(), reallocate())
    scenario.pass_time(301_000)
    (repair,) = torn(scenario, c.PassDeadline(session_id=PLACE), 1)
    assert repair == e.OfferEnded(waiting_id=PLACE, cause=StopCause.EXPIRED, missed=1)


def test_an_offer_that_was_given_back_is_left() -> None:
    scenario = offered().given(plug(), reallocate())
    (repair,) = torn(scenario, c.LeaveQueue(driver_id=BEN, waiting_id=PLACE), 1)
    assert isinstance(repair, e.QueueLeft)
    assert repair.cause is LeftCause.LEFT


def test_an_offer_that_was_taken_is_served() -> None:
    scenario = offered().given(plug(), reallocate())
    (repair,) = torn(scenario, started("s-2"), 1)
    assert isinstance(repair, e.QueueLeft)
    assert repair.cause is LeftCause.SERVED


def test_a_reservation_whose_session_was_authorized_is_open() -> None:
    scenario = booked()
    assert torn(scenario, c.ServeWaiting(), 1) == [e.ReservationOpened(reservation_id=BOOKED)]
    assert scenario.state.reservations[BOOKED].status is ReservationState.OPEN


def test_a_reservation_whose_session_lapsed_is_over() -> None:
    scenario = booked().given(c.ServeWaiting())
    scenario.pass_time(901_000)
    (repair,) = torn(scenario, c.PassDeadline(session_id=BOOKED), 1)
    assert isinstance(repair, e.ReservationEnded)
    assert repair.cause is ReservationEnd.UNAVAILABLE


def test_a_reservation_whose_session_began_is_kept() -> None:
    scenario = booked().given(c.ServeWaiting(), plug(), reallocate())
    (repair,) = torn(scenario, started("r-1"), 1)
    assert isinstance(repair, e.ReservationEnded)
    assert repair.cause is ReservationEnd.KEPT


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (c.ReportFault(cp_id=CP, code="smoke"), StopCause.FAULT),
        (c.StopChargePoints(cp_id=CP), StopCause.STOPPED),
        (c.RevokePeer(role=Role.ENGINE, entity=CP, username="u"), StopCause.REVOKED),
        (monitor_down(), StopCause.MONITOR_LOST),
    ],
)
@pytest.mark.parametrize("kept", [1, 2])
def test_whatever_runs_where_nothing_may_is_stopped(command: AnyCommand, cause: StopCause, kept: int) -> None:
    scenario = Scenario().given(site(), *connected(connectors=2), monitor_up(), *charging())
    scenario.given(*charging("s-2", CP, 2, BEN))
    repairs = torn(scenario, command, kept)
    assert [(repair.session_id, repair.cause) for repair in repairs if isinstance(repair, e.StopOrdered)] == [
        (session_id, cause) for session_id in ("s-1", "s-2")[kept - 1 :]
    ]
    assert len(repairs) == 3 - kept
    assert all(session.stop is cause for session in scenario.state.sessions.values())


def test_whoever_waits_where_nothing_may_charge_hears_of_it() -> None:
    scenario = in_line()
    repairs = torn(scenario, c.StopChargePoints(cp_id=CP), 1)
    assert [type(repair) for repair in repairs] == [e.StopOrdered, e.QueueLeft]


def test_whoever_had_an_offer_where_nothing_may_charge_waits_no_longer() -> None:
    scenario = offered()
    (repair,) = torn(scenario, c.StopChargePoints(cp_id=CP), 2)
    assert isinstance(repair, e.QueueLeft)
    assert repair.cause is LeftCause.HELD


def test_an_authorization_under_a_duplicate_id_ends_and_what_runs_goes_on() -> None:
    scenario = Scenario().given(site(), *connected(connectors=2), *charging(), request("s-2", CP, BEN, 2))
    (repair,) = torn(scenario, c.RaiseDuplicate(role=Role.ENGINE, entity=CP), 2)
    assert isinstance(repair, e.AuthorizationExpired)
    assert repair.cause is StopCause.DUPLICATE_ID
    assert scenario.session("s-1").stop is None


def test_a_connector_that_an_older_program_bound_to_a_session_elsewhere_is_stopped_once() -> None:
    scenario = Scenario().given(site(), *connected(connectors=2), *charging())
    scenario.cp().connectors[ConnectorNo(2)].session_id = SessionId("s-1")
    scenario.apply(e.HoldPlaced(cp_id=CP, hold=Hold.FAULT, detail=""))
    scenario.when(site()).then_kinds(e.CentralStarted, e.StopOrdered)


@pytest.mark.parametrize("kept", [1, 2])
def test_what_went_down_with_an_outbox_is_settled_at_the_next_connection(kept: int) -> None:
    """Its first record is not the connection: with that the old outbox would be forgotten."""
    scenario = Scenario().given(site(), *connected(connectors=2), *charging(), *charging("s-2", CP, 2, BEN))
    assert torn(scenario, engine_up(fence=9, epoch=8), kept) == []
    scenario.given(engine_up(fence=10, epoch=8))
    assert not scenario.state.sessions
    assert scenario.state.totals.tickets == 2


@pytest.mark.parametrize("kept", [1, 2])
def test_a_report_is_delivered_again_and_gives_one_ticket(kept: int) -> None:
    scenario = Scenario().given(site(), *connected(), *charging())
    assert torn(scenario, ended(2_000, n=0), kept) == []
    scenario.given(engine_up(fence=9), boot()).when(ended(2_000, n=0))
    assert scenario.cp().next_n == 1
    assert scenario.state.totals.tickets == 1
    assert not scenario.state.sessions


def test_an_offer_whose_session_is_gone_can_be_looked_at_and_left() -> None:
    """Between the crash and the repair nobody looks; should one ever get so far, Central lives on."""
    scenario = offered()
    scenario.pass_time(301_000)
    scenario.apply(decide(scenario.state, c.PassDeadline(session_id=PLACE), scenario.stamp())[0])
    (view,) = all_waiting(scenario.state, scenario.at_ms)
    assert (view.waiting_id, view.state, view.session_id) == (PLACE, "WAITING", None)
    scenario.when(c.PeerReady(role=Role.DRIVER, entity=BEN, username="ben", fence=Fence(9), boot_id=b""))
    scenario.when(request("s-3", CP, BEN, wait=True)).then()
    scenario.when(c.LeaveQueue(driver_id=ANNA, waiting_id=PLACE)).then_kinds(e.RequestRefused)
    scenario.when(c.LeaveQueue(driver_id=BEN, waiting_id=PLACE)).then_kinds(e.QueueLeft)


def test_a_reservation_whose_session_is_gone_can_be_cancelled() -> None:
    scenario = booked().given(c.ServeWaiting())
    scenario.pass_time(901_000)
    scenario.apply(decide(scenario.state, c.PassDeadline(session_id=BOOKED), scenario.stamp())[0])
    scenario.when(c.CancelReservation(driver_id=BEN, reservation_id=BOOKED)).then_kinds(e.ReservationEnded)


# --- whole days, cut behind every record ------------------------------------------------------------------------------


class CutSite(Site):
    """A day in which each command of several records is also lived through with only the first of them durable."""

    def __init__(self, capacity_w: int = 16_000) -> None:
        self.shapes: set[tuple[str, ...]] = set()
        super().__init__(capacity_w=capacity_w)

    def __deepcopy__(self, memo: dict[int, object]) -> Site:
        twin = Site.__new__(Site)
        memo[id(self)] = twin
        twin.__dict__.update({name: deepcopy(value, memo) for name, value in self.__dict__.items()})
        return twin

    def command(self, command: AnyCommand) -> None:
        events = decide(self.state, command, self.stamp())
        shape = tuple(type(event).__name__ for event in events)
        if len(events) > 1 and shape not in self.shapes:
            self.shapes.add(shape)
            for kept in range(1, len(events)):
                self._live_on_from(events[:kept])
        super().command(command)

    def _live_on_from(self, kept: list[e.Event]) -> None:
        twin = deepcopy(self)
        for event in kept:
            twin.apply(event)
        twin.die(len(twin.log))
        check_whole(twin)
        twin.heal()
        twin.close_accounts()
        for _ in range(3):
            twin.heal()
            twin.allocate(everywhere=True)
        assert not twin.state.waiting


def check_whole(twin: Site) -> None:
    """Nothing that only half of a command leaves behind; all can be looked at, and a second start has nothing to do."""
    state = twin.state
    for one in state.waiting.values():
        if one.offer is not None:
            assert state.sessions[one.offer].status is SessionStatus.AUTHORIZED
    for reservation in state.reservations.values():
        session = state.sessions.get(reservation.reservation_id)
        is_open = reservation.status is ReservationState.OPEN
        assert (session is not None and session.status is SessionStatus.AUTHORIZED) == is_open
    for charge_point in state.charge_points.values():
        for no, connector in charge_point.connectors.items():
            if connector.session_id is not None:
                session = state.sessions[connector.session_id]
                assert (session.cp_id, session.connector) == (charge_point.cp_id, no)
                assert session.stop is not None or not _may_not_go_on(charge_point, session.status)
        shown_state(state, charge_point)
    all_waiting(state, twin.at_ms)
    for driver_id in state.drivers:
        waiting_of_driver(state, driver_id, twin.at_ms)
    page_of_charge_points(state, "", 100)
    page_of_sessions(state, "", 100)
    page_of_reservations(state, None, "", 100)
    _, *again = decide(state, c.StartCentral(site=twin.config), twin.stamp())
    assert not again, again


def _may_not_go_on(charge_point: ChargePoint, status: SessionStatus) -> bool:
    if charge_point.holds & {Hold.FAULT, Hold.ADMIN, Hold.REVOKED} or charge_point.monitor.state is LinkState.LOST:
        return True
    return Hold.DUPLICATE_ID in charge_point.holds and status not in RUNNING


@given(program=st.binary(min_size=150, max_size=450))
def test_a_day_can_be_cut_behind_each_of_its_records(program: bytes) -> None:
    run(CutSite(), program)


@given(program=st.binary(min_size=90, max_size=240))
def test_a_busy_day_can_be_cut_behind_each_of_its_records(program: bytes) -> None:
    busy_day(program, CutSite)
