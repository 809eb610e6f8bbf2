"""Weather that closes charge points: what an alert covers, what goes on in it, and what its end lifts."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.alerts import covering
from evcharge.domain.objections import MOST_PLACE
from evcharge.domain.openings import unable
from evcharge.domain.reasons import Obstacle, objection_sentence
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import ChargePoint
from evcharge.domain.stations import find_stations
from evcharge.domain.views import view_charge_point
from evcharge.domain.words import (
    Hold,
    LeftCause,
    LinkState,
    ReservationEnd,
    Role,
    SessionStatus,
    Shown,
    StopCause,
    WeatherKind,
)
from evcharge.ids import ANYWHERE, ChargePointId, ConnectorNo, Fence, NodeId, SessionId
from evcharge.units import WattHours, Watts
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    MAIN,
    OTHER,
    Domain,
    Scenario,
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

COLD, HEAT, WIND, STORM = WeatherKind
TOP, ROW = NodeId("top"), NodeId("row")


def alert(
    kind: WeatherKind = COLD,
    cp_id: ChargePointId | None = None,
    node_id: NodeId | None = None,
    *,
    active: bool = True,
    milli_c: int | None = None,
    detail: str = "",
    simulated: bool = False,
) -> c.ReportWeather:
    """A source says how the weather is."""
    return c.ReportWeather(
        kind=kind,
        active=active,
        cp_id=cp_id,
        node_id=node_id,
        milli_c=milli_c,
        detail=detail,
        simulated=simulated,
    )


def over(
    kind: WeatherKind = COLD, cp_id: ChargePointId | None = None, node_id: NodeId | None = None
) -> c.ReportWeather:
    """It says that an alert is over."""
    return alert(kind, cp_id, node_id, active=False)


def ended(reason: StopCause = StopCause.UNPLUGGED) -> c.ReportEnded:
    """The contactor is open."""
    return c.ReportEnded(cp_id=CP, session_id=SessionId("s-1"), meter_wh=WattHours(3_000), reason=reason)


def tree() -> c.StartCentral:
    """CP stands in a row below main, OTHER at top, above it."""
    nodes = {MAIN: NodeConfig(parent=TOP), ROW: NodeConfig(parent=MAIN)}
    capacities = {node_id: Watts(50_000) for node_id in (TOP, MAIN, ROW)}
    return site(capacities=capacities, nodes=nodes, assignments={CP: ROW, OTHER: TOP})


def weathered(scenario: Domain) -> set[ChargePointId]:
    return {one.cp_id for one in scenario.state.charge_points.values() if Hold.WEATHER in one.holds}


# --- the table of states ----------------------------------------------------------------------------------------------


def test_an_idle_charge_point_is_out_of_order_and_free_again() -> None:
    scenario = Scenario().given(site(), *connected())
    scenario.when(alert(milli_c=-3_200, detail="Munich", simulated=True)).then(
        e.WeatherAlerted(kind=COLD, milli_c=-3_200, detail="Munich", simulated=True)
    )
    assert scenario.shown() is Shown.OUT_OF_ORDER
    scenario.when(over()).then(e.WeatherCleared(kind=COLD))
    assert scenario.shown() is Shown.ACTIVATED


def test_one_that_supplies_goes_on_and_is_out_of_order_at_the_end() -> None:
    scenario = Scenario().given(site(), *connected(), *charging()).when(alert()).then_kinds(e.WeatherAlerted)
    assert scenario.shown() is Shown.SUPPLYING
    scenario.pass_time(20_000)
    scenario.when(reallocate()).then_kinds(e.SetPointIssued)
    scenario.given(ended())
    assert scenario.shown() is Shown.OUT_OF_ORDER
    (ticket,) = scenario.state.drivers[ANNA].tickets
    assert ticket.status is SessionStatus.COMPLETED


def test_beside_a_session_that_goes_on_a_free_connector_is_out_of_order() -> None:
    scenario = Scenario().given(site(), *connected(connectors=2), *charging(), alert())
    view = view_charge_point(scenario.state, scenario.cp())
    assert [one.state for one in view.connectors] == [Shown.SUPPLYING.value, Shown.OUT_OF_ORDER.value]
    assert view.holds == ("WEATHER",)


def test_where_the_site_has_it_so_sessions_end_at_once() -> None:
    scenario = Scenario().given(site(weather_stops=True), *connected(), *charging())
    scenario.when(alert()).then_kinds(e.WeatherAlerted, e.StopOrdered)
    assert scenario.effect(fx.StopSupply).cause is StopCause.WEATHER
    scenario.given(ended(StopCause.WEATHER))
    (ticket,) = scenario.state.drivers[ANNA].tickets
    assert (ticket.status, ticket.reason) == (SessionStatus.INTERRUPTED, StopCause.WEATHER)
    assert scenario.shown() is Shown.OUT_OF_ORDER


def test_all_sessions_of_the_site_end_with_numbers_of_their_own() -> None:
    ids = [ChargePointId(f"cp-{i}") for i in range(3)]
    scenario = Scenario().given(site(10**6, weather_stops=True))
    for i, cp_id in enumerate(ids):
        scenario.given(*connected(cp_id), *charging(f"s-{i}", cp_id))
    first = scenario.state.last_command + 1
    scenario.when(alert(STORM))
    stops = [event for event in scenario.events if isinstance(event, e.StopOrdered)]
    assert [event.command_id for event in stops] == [first, first + 1, first + 2]


def test_an_authorization_that_has_not_begun_is_taken_back() -> None:
    scenario = Scenario().given(site(), *connected(), request())
    scenario.when(alert()).then_kinds(e.WeatherAlerted, e.AuthorizationExpired)
    (event,) = scenario.events[1:]
    assert isinstance(event, e.AuthorizationExpired) and event.cause is StopCause.WEATHER
    assert not scenario.state.sessions
    scenario.given(plug())
    assert scenario.when(reallocate()).events == []


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ([c.StopChargePoints(cp_id=CP)], Shown.OUT_OF_ORDER),
        ([c.ReportFault(cp_id=CP, code="ko")], Shown.OUT_OF_ORDER),
        ([monitor_up(), monitor_down()], Shown.DISCONNECTED),
    ],
)
def test_which_state_is_shown_beside_other_reasons(more: list[c.Command], shown: Shown) -> None:
    assert Scenario().given(site(), *connected(), *more, alert()).shown() is shown  # type: ignore[arg-type]  # commands


# --- kinds, scopes, repeats -------------------------------------------------------------------------------------------


def test_a_refresh_changes_nothing() -> None:
    scenario = Scenario().given(site(), *connected(), alert(milli_c=-1_000, detail="here"))
    before = canonical(scenario.state)
    scenario.pass_time(600_000)
    scenario.when(alert(milli_c=-9_000, detail="there", simulated=True)).then()
    assert canonical(scenario.state) == before


def test_the_end_of_what_is_not_on_changes_nothing() -> None:
    scenario = Scenario().given(site(), *connected(), alert(COLD, CP))
    scenario.when(over(STORM)).then()
    scenario.when(over(COLD)).then()
    scenario.when(over(COLD, node_id=MAIN)).then()
    assert weathered(scenario) == {CP}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (alert(cp_id=ChargePointId("nowhere")), RefusalReason.UNKNOWN_CHARGE_POINT),
        (over(cp_id=ChargePointId("nowhere")), RefusalReason.UNKNOWN_CHARGE_POINT),
        (alert(node_id=NodeId("nowhere")), RefusalReason.UNKNOWN_SUBSTATION),
        (over(node_id=NodeId("nowhere")), RefusalReason.UNKNOWN_SUBSTATION),
    ],
)
def test_where_there_is_nothing_it_is_refused(command: c.ReportWeather, reason: RefusalReason) -> None:
    scenario = Scenario().given(site(), *connected()).when(command).then_kinds(e.RequestRefused)
    (event,) = scenario.events
    assert isinstance(event, e.RequestRefused)
    assert (event.request, event.reason) == ("weather_alert", reason)
    assert not scenario.state.alerts


@pytest.mark.parametrize(("node_id", "covered"), [(ROW, {CP}), (MAIN, {CP}), (TOP, {CP, OTHER}), (None, {CP, OTHER})])
def test_a_node_covers_what_stands_at_it_and_below(node_id: NodeId | None, covered: set[ChargePointId]) -> None:
    scenario = Scenario().given(tree(), *connected(), *connected(OTHER), alert(node_id=node_id))
    assert weathered(scenario) == covered
    assert not weathered(scenario.given(over(node_id=node_id)))


@pytest.mark.parametrize("scope", [{}, {"node_id": MAIN}])
def test_who_comes_later_is_covered_too(scope: dict[str, NodeId]) -> None:
    scenario = Scenario().given(tree(), alert(STORM, **scope), *connected())  # type: ignore[arg-type]  # the scope
    assert scenario.shown() is Shown.OUT_OF_ORDER


def test_another_feed_has_no_other_weather() -> None:
    """A charge point that is fed from a backup still stands where it stood."""
    zoo = NodeId("zoo")
    capacities = {MAIN: Watts(22_000), zoo: Watts(22_000)}
    scenario = Scenario().given(site(capacities=capacities, nodes={MAIN: NodeConfig(backups=(zoo,))}), *connected())
    scenario.given(e.ChargePointMoved(cp_id=CP, from_id=MAIN, to_id=zoo, cause="main is lost"))
    assert weathered(scenario.given(alert(node_id=zoo))) == set()
    assert weathered(scenario.given(alert(node_id=MAIN))) == {CP}


SCOPES = st.sampled_from([(None, None), (CP, None), (OTHER, None), (None, MAIN), (None, ROW), (None, TOP)])
REPORTS = st.lists(
    st.tuples(
        st.sampled_from(WeatherKind),
        SCOPES,
        st.booleans(),
        st.sampled_from([None, c.StopChargePoints(cp_id=CP), c.ReportFault(cp_id=CP, code="ko"), tree()]),
    ),
    max_size=25,
)


@given(reports=REPORTS)
def test_held_while_any_kind_covers_it_and_no_other_hold_is_touched(
    reports: list[tuple[WeatherKind, tuple[ChargePointId | None, NodeId | None], bool, c.Command | None]],
) -> None:
    """Compared with plain sets: which kinds are on where."""
    domain = Domain()
    for command in (tree(), *connected(), *connected(OTHER)):
        domain.execute(command)
    on: set[tuple[WeatherKind, ChargePointId | None, NodeId | None]] = set()
    placed: set[Hold] = set()
    for kind, (cp_id, node_id), active, other in reports:
        if other is not None:
            domain.execute(other)  # type: ignore[arg-type]  # a command
            placed |= {Hold.ADMIN} if isinstance(other, c.StopChargePoints) else set()
            placed |= {Hold.FAULT} if isinstance(other, c.ReportFault) else set()
        domain.execute(alert(kind, cp_id, node_id, active=active))
        (on.add if active else on.discard)((kind, cp_id, node_id))
        for at, stands in ((CP, {None, ROW, MAIN, TOP}), (OTHER, {None, TOP})):
            closed = any(one == at or (one is None and below in stands) for _, one, below in on)
            charge_point = domain.state.charge_points[at]
            assert (Hold.WEATHER in charge_point.holds) == closed
            assert charge_point.holds - {Hold.WEATHER} == (placed if at == CP else set())
            assert len(list(covering(domain.state.alerts, domain.state.site, at))) == sum(
                one == at or (one is None and below in stands) for _, one, below in on
            )
    assert canonical(replayed(domain.log)) == canonical(domain.state)


def test_fine_weather_lifts_no_other_hold_and_nothing_else_lifts_it() -> None:
    scenario = Scenario().given(site(), *connected(), monitor_up(), c.StopChargePoints(cp_id=CP))
    scenario.given(c.ReportFault(cp_id=CP, code="ko"), alert(), alert(STORM))
    scenario.given(over())
    assert scenario.cp().holds == {Hold.WEATHER, Hold.ADMIN, Hold.FAULT}
    scenario.given(c.ResumeChargePoints(cp_id=None), c.ReportRecovery(cp_id=CP))
    assert scenario.cp().holds == {Hold.WEATHER}
    scenario.given(c.StopChargePoints(cp_id=CP), over(STORM))
    assert scenario.cp().holds == {Hold.ADMIN}
    assert scenario.shown() is Shown.STOPPED


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(scenario: Scenario) -> e.ChargeRefused:
    scenario.then_kinds(e.ChargeRefused)
    (event,) = scenario.events
    assert isinstance(event, e.ChargeRefused)
    return event


def test_a_request_is_told_which_weather_it_is() -> None:
    scenario = Scenario().given(site(), *connected(), alert(milli_c=-3_250, detail="Munich", simulated=True))
    scenario.given(alert(STORM, CP))
    scenario.pass_time(60_000)
    event = refused(scenario.when(request()))
    assert event.reason is RefusalReason.WEATHER
    assert "closed for the weather" in sentence(event.reason, CP)
    said = [objection_sentence(one) for one in event.against]
    assert said == [
        "cp-1 is closed for the weather: cold, -3.2 °C, Munich (simulated), for 60 s",
        "cp-1 is closed for the weather: storm, for 60 s",
    ]
    assert [one.obstacle for one in scenario.effect(fx.Denied).against] == [Obstacle.WEATHER] * 2


def test_a_long_text_is_not_repeated_in_each_refusal() -> None:
    scenario = Scenario().given(site(), *connected(), alert(detail="x" * 512))
    (against,) = refused(scenario.when(request())).against
    assert against.detail == f"cold, {'x' * MOST_PLACE}"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ([c.ReportFault(cp_id=CP, code="ko")], RefusalReason.OUT_OF_ORDER),
        ([c.StopChargePoints(cp_id=CP)], RefusalReason.WEATHER),
        ([monitor_up(), monitor_down()], RefusalReason.DISCONNECTED),
        ([c.RaiseDuplicate(role=Role.ENGINE, entity=CP)], RefusalReason.DUPLICATE_ID),
    ],
)
def test_a_worse_reason_is_said_first(more: list[c.Command], reason: RefusalReason) -> None:
    scenario = Scenario().given(site(), *connected(), *more, alert())  # type: ignore[arg-type]  # commands
    assert unable(scenario.state, scenario.cp()) is reason


def test_nobody_is_sent_there() -> None:
    scenario = Scenario().given(site(), *connected(), *connected(OTHER), request("s-0", ANYWHERE, BEN))
    assert scenario.session("s-0").cp_id == CP
    scenario.given(c.EndCharge(driver_id=BEN, session_id=SessionId("s-0")), alert(HEAT, CP))
    scenario.given(request("s-1", ANYWHERE))
    assert scenario.session().cp_id == OTHER
    scenario.given(alert(HEAT))
    assert refused(scenario.when(request("s-2", ANYWHERE, BEN))).reason is RefusalReason.BUSY


def test_one_alert_about_many_is_seen_by_whoever_is_sent_anywhere() -> None:
    """Free connectors are remembered from one request to the next."""
    scenario = Scenario().given(site(), *connected(), *connected(OTHER), request("s-0", ANYWHERE, BEN))
    scenario.given(c.EndCharge(driver_id=BEN, session_id=SessionId("s-0")), alert(STORM, node_id=MAIN))
    assert refused(scenario.when(request("s-1", ANYWHERE))).reason is RefusalReason.BUSY
    scenario.given(over(STORM, node_id=MAIN))
    scenario.when(request("s-2", ANYWHERE)).then_kinds(e.ChargeAuthorized)


def test_nobody_is_advised_to_go_there() -> None:
    scenario = Scenario().given(site(), *connected(), *connected(OTHER), alert(WIND, CP))
    found = find_stations(scenario.state, scenario.stamp(), {}, None, None)
    free = {one.station_id for one in found.stations if any(each.occupancy.value == "free" for each in one.connectors)}
    assert free == {OTHER}


# --- those who wait, and reservations ---------------------------------------------------------------------------------


def in_line() -> Scenario:
    """Anna charges at the only connector, Ben waits for it."""
    return Scenario().given(site(), *connected(), *charging(), request("w-1", driver_id=BEN, wait=True))


def test_who_waits_keeps_his_place_and_gets_his_turn_when_it_is_over() -> None:
    scenario = in_line().given(alert(), ended(), plug(plugged=False))
    scenario.when(c.ServeWaiting()).then()
    assert list(scenario.state.waiting) == ["w-1"]
    scenario.when(over()).then_kinds(e.WeatherCleared)
    assert fx.Dirty(node_id=MAIN) in scenario.effects, "somebody has to look at the line"
    scenario.when(c.ServeWaiting()).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def test_an_offer_is_taken_back_and_missed_by_nobody() -> None:
    scenario = in_line().given(ended(), plug(plugged=False), c.ServeWaiting())
    scenario.when(alert()).then_kinds(e.WeatherAlerted, e.AuthorizationExpired, e.OfferEnded)
    (last,) = (event for event in scenario.events if isinstance(event, e.OfferEnded))
    assert (last.cause, last.missed) == (StopCause.WEATHER, 0)
    scenario.given(over())
    scenario.when(c.ServeWaiting()).then_kinds(e.ChargeAuthorized, e.ChargeOffered)


def test_a_reservation_is_late_with_the_weather_as_its_reason() -> None:
    scenario = Scenario().given(site(), *connected())
    from_ms = scenario.at_ms + 600_000
    reserve = c.Reserve(
        reservation_id=SessionId("r-1"),
        driver_id=ANNA,
        cp_id=CP,
        connector=ConnectorNo(1),
        from_ms=from_ms,
        until_ms=from_ms + 3_600_000,
        energy_wh=None,
    )
    scenario.given(reserve, alert())
    scenario.pass_time(600_000)
    scenario.when(c.ServeWaiting()).then(
        e.ReservationDelayed(reservation_id=SessionId("r-1"), reason=RefusalReason.WEATHER)
    )
    scenario.given(over())
    scenario.when(c.ServeWaiting()).then_kinds(e.ChargeAuthorized, e.ReservationOpened)
    scenario.when(alert()).then_kinds(e.WeatherAlerted, e.AuthorizationExpired, e.ReservationEnded)
    assert isinstance(scenario.events[-1], e.ReservationEnded)
    assert scenario.events[-1].cause is ReservationEnd.UNAVAILABLE


def test_no_reservation_is_made_there_meanwhile() -> None:
    scenario = Scenario().given(site(), *connected(), alert(STORM))
    from_ms = scenario.at_ms + 600_000
    reserve = c.Reserve(
        reservation_id=SessionId("r-1"),
        driver_id=ANNA,
        cp_id=CP,
        connector=ConnectorNo(1),
        from_ms=from_ms,
        until_ms=from_ms + 3_600_000,
        energy_wh=None,
    )
    scenario.when(reserve).then_kinds(e.RequestRefused)
    denied = scenario.effect(fx.Denied)
    assert denied.reason is RefusalReason.WEATHER
    assert [one.obstacle for one in denied.against] == [Obstacle.WEATHER]


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_an_alert_outlives_a_restart() -> None:
    scenario = Scenario().given(site(), *connected(), alert(COLD, node_id=MAIN, milli_c=-1_000))
    scenario.state = replayed(scenario.log)
    scenario.when(site()).then_kinds(e.CentralStarted)
    assert weathered(scenario) == {CP}
    scenario.when(alert(COLD, node_id=MAIN)).then()
    scenario.given(over(COLD, node_id=MAIN))
    assert not weathered(scenario)


def test_by_another_file_a_charge_point_stands_in_other_weather() -> None:
    scenario = Scenario().given(tree(), *connected(), *connected(OTHER), alert(node_id=MAIN))
    assert weathered(scenario) == {CP}
    moved = tree().site
    scenario.given(c.StartCentral(site=msgspec.structs.replace(moved, assignments={CP: TOP, OTHER: ROW})))
    assert weathered(scenario) == {OTHER}


def test_a_start_finishes_an_alert_that_a_crash_cut_off() -> None:
    """The alert is in the log, and nothing of what follows from it."""
    scenario = Scenario().given(site(), *connected(), request())
    scenario.given(e.WeatherAlerted(kind=COLD))
    scenario.when(site()).then_kinds(e.CentralStarted, e.AuthorizationExpired)
    scenario.when(site()).then_kinds(e.CentralStarted)


def test_a_start_ends_running_sessions_by_what_the_new_file_says() -> None:
    scenario = Scenario().given(site(), *connected(), *charging(), alert())
    scenario.when(site()).then_kinds(e.CentralStarted)
    scenario.when(site(weather_stops=True)).then_kinds(e.CentralStarted, e.StopOrdered)
    assert scenario.session().stop is StopCause.WEATHER


def test_a_place_in_the_line_outlives_a_crash_and_a_file_that_moves_it_into_the_weather() -> None:
    scenario = Scenario().given(tree(), *connected(), *connected(OTHER), alert(node_id=MAIN), *charging("s-2", OTHER))
    scenario.given(request("w-1", OTHER, BEN, wait=True))
    scenario.given(
        c.ReportEnded(cp_id=OTHER, session_id=SessionId("s-2"), meter_wh=WattHours(3_000), reason=StopCause.UNPLUGGED),
        plug(OTHER, plugged=False),
    )
    scenario.when(c.ServeWaiting()).then_kinds(e.ChargeAuthorized, e.ChargeOffered)
    scenario.state = replayed(scenario.log[:-1])
    moved = msgspec.structs.replace(tree().site, assignments={CP: ROW, OTHER: ROW})
    scenario.when(c.StartCentral(site=moved)).then_kinds(e.CentralStarted, e.AuthorizationExpired)
    assert list(scenario.state.waiting) == ["w-1"]
    scenario.given(engine_up(OTHER, 9), c.BootChargePoint(cp_id=OTHER, connectors=()), over(node_id=MAIN))
    assert not any(event.cause is LeftCause.HELD for event in scenario.events if isinstance(event, e.QueueLeft))


def test_a_session_that_began_unheard_is_stopped_all_the_same() -> None:
    scenario = Scenario().given(site(), *connected(), request(), plug(), reallocate())
    scenario.when(alert()).then_kinds(e.WeatherAlerted, e.AuthorizationExpired)
    assert scenario.effect(fx.StopSupply).session_id == "s-1"
    scenario.given(started())
    assert scenario.session().stop is StopCause.WEATHER


def test_without_a_source_there_is_no_alert() -> None:
    scenario = Scenario().given(site(), *connected(), *charging())
    scenario.pass_time(90_000_000)
    scenario.given(site(), engine_up(fence=3))
    assert scenario.state.alerts == {} and not weathered(scenario)


def test_central_ends_none_by_itself() -> None:
    scenario = Scenario().given(site(), *connected(), alert())
    for _ in range(10):
        scenario.pass_time(90_000_000)
        scenario.given(c.ServeWaiting(), reallocate(), site())
    assert weathered(scenario) == {CP}


def test_links_know_no_weather() -> None:
    scenario = Scenario().given(site(), alert(), *connected())
    assert scenario.cp().engine.state is LinkState.UP
    assert isinstance(scenario.cp(), ChargePoint)
    scenario.given(c.PeerGone(role=Role.ENGINE, entity=CP, fence=Fence(1), cause="eof"), engine_up(fence=2))
    assert weathered(scenario) == {CP}


def test_the_default_site_goes_on_in_any_weather() -> None:
    assert SiteConfig(capacities={MAIN: Watts(1)}).weather_stops is False
