"""What is shown, page by page."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import views
from evcharge.domain.words import Hold, StopCause
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, SessionId
from evcharge.units import WattHours
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    MAIN,
    OTHER,
    Scenario,
    charging,
    connected,
    engine_down,
    monitor_up,
    plug,
    reallocate,
    request,
    site,
    started,
)


def busy() -> Scenario:
    """Connector 1 charges, 2 is broken, 3 is free."""
    broken = c.ReportStatus(cp_id=CP, connector=ConnectorNo(2), occupied=True, error="hot")
    return Scenario().given(site(), *connected(connectors=3), monitor_up(), *charging(), broken)


def test_a_charge_point_with_its_connectors() -> None:
    scenario = busy()
    view = views.view_charge_point(scenario.state, scenario.cp())
    assert (view.cp_id, view.state, view.engine, view.monitor, view.holds) == (CP, "SUPPLYING", "up", "up", ())
    assert view.substation_id == MAIN
    assert [(k.connector, k.state, k.occupied) for k in view.connectors] == [
        (1, "SUPPLYING", True),
        (2, "OUT_OF_ORDER", True),
        (3, "ACTIVATED", False),
    ]
    assert [k.session is None for k in view.connectors] == [False, True, True]
    assert (view.connectors[0].min_w, view.connectors[0].max_w) == (1_380, 11_040)


def test_the_whole_charge_points_state_rules_its_connectors() -> None:
    scenario = busy().given(c.ReportFault(cp_id=CP, code="ko"), c.StopChargePoints(cp_id=CP))
    view = views.view_charge_point(scenario.state, scenario.cp())
    assert {k.state for k in view.connectors} == {"OUT_OF_ORDER"}
    assert view.holds == (Hold.ADMIN.value, Hold.FAULT.value)


def test_a_session() -> None:
    scenario = Scenario().given(site(), *connected(), request(energy_wh=5_000))
    view = views.view_session(scenario.state, scenario.session())
    assert (view.status, view.limit_w, view.reason, view.energy_wh) == ("AUTHORIZED", None, None, 0)
    assert view.expires_ms == scenario.at_ms + 60_000
    scenario.given(plug(), reallocate(), started())
    scenario.given(c.ReportMeter(cp_id=CP, session_id=SessionId("s-1"), meter_wh=WattHours(1_500), power_w=7_000))
    view = views.view_session(scenario.state, scenario.session())
    assert (view.status, view.limit_w, view.reason) == ("SUPPLYING", 11_040, "connector_rating")
    assert (view.energy_wh, view.expires_ms, view.price_e4, view.currency) == (500, None, 3_000, "EUR")
    scenario.given(c.StopChargePoints(cp_id=CP))
    assert views.view_session(scenario.state, scenario.session()).reason == "stopped"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_pages_of_charge_points_are_complete_and_in_order(size: int) -> None:
    scenario = Scenario().given(site())
    for i in (3, 1, 5, 0, 4, 2, 6):
        scenario.given(*connected(ChargePointId(f"cp-{i}"), fence=i))
    seen: list[str] = []
    while page := views.page_of_charge_points(scenario.state, seen[-1] if seen else "", size):
        assert len(page) <= size
        seen += [view.cp_id for view in page]
    assert seen == [f"cp-{i}" for i in range(7)]


def test_pages_of_sessions() -> None:
    scenario = Scenario().given(site(), *connected(connectors=5))
    for i in (2, 0, 1):
        scenario.given(request(f"s-{i}"))
    page = views.page_of_sessions(scenario.state, "", 2)
    assert [view.session_id for view in page] == ["s-0", "s-1"]
    assert [view.session_id for view in views.page_of_sessions(scenario.state, "s-1", 2)] == ["s-2"]


def test_pages_of_tickets_are_newest_first() -> None:
    scenario = Scenario().given(site(), *connected(), plug())
    for i in range(3):
        session_id = SessionId(f"s-{i}")
        scenario.given(request(session_id), reallocate(), started(session_id))
        scenario.given(
            c.ReportEnded(cp_id=CP, session_id=session_id, meter_wh=WattHours(2_000), reason=StopCause.UNPLUGGED)
        )

    def page(after: str, count: int = 2, driver_id: DriverId = ANNA) -> list[str]:
        return [ticket.ticket_id for ticket in views.page_of_tickets(scenario.state, driver_id, after, count)]

    assert page("") == ["t-s-2", "t-s-1"]
    assert page("t-s-1") == ["t-s-0"]
    assert page("t-s-0") == []
    assert page("t-unknown") == []
    assert page("", driver_id=BEN) == []
    everybodys = views.page_of_all_tickets(scenario.state, "", 2)
    assert [ticket.ticket_id for ticket in everybodys] == ["t-s-0", "t-s-1"]
    assert [ticket.ticket_id for ticket in views.page_of_all_tickets(scenario.state, "t-s-1", 2)] == ["t-s-2"]


def test_substations_show_what_could_flow_at_worst() -> None:
    scenario = Scenario().given(site(9_000), *connected(), *connected(OTHER, fence=4), *charging(), engine_down())
    (view,) = views.view_substations(scenario.state, scenario.clock_ms, 10)
    assert (view.substation_id, view.capacity_w, view.reserved_w, view.worst_case_w) == (MAIN, 9_000, 1_380, 8_970)
    assert view.sessions == 1
    (later,) = views.view_substations(scenario.state, scenario.clock_ms + 60_000, 10)
    assert later.worst_case_w == 1_380
    assert views.view_substations(scenario.state, scenario.clock_ms, 0) == []


def test_totals_are_a_copy() -> None:
    scenario = Scenario().given(site(), *connected())
    totals = views.view_totals(scenario.state)
    scenario.given(request())
    assert (totals.authorized, views.view_totals(scenario.state).authorized) == (0, 1)
