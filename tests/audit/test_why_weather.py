"""``evcharge-audit why`` about the weather: who hears of an alert, and of the heat."""

from __future__ import annotations

from evcharge.domain import commands as c
from evcharge.domain.state import Derated
from evcharge.domain.words import WeatherKind
from evcharge.energy.rules import Fault
from evcharge.ids import NodeId, SessionId
from evcharge.units import Millis
from tests.audit.test_why_waiting import told
from tests.domain.test_weather import ROW, TOP, alert, over, tree
from tests.support.scenario import BEN, CP, MAIN, OTHER, SITE_MS, Scenario, charging, connected, request, site

COLD, HEAT, WIND, STORM = WeatherKind


def test_a_session_is_told_of_the_weather_it_had() -> None:
    scenario = Scenario().given(tree(), *connected(), *connected(OTHER), alert(WIND), *connected(), over(WIND))
    scenario.given(*charging("s-2", OTHER), *charging())
    scenario.given(alert(milli_c=-3_200, detail="Munich", simulated=True), alert(HEAT, CP))
    scenario.given(alert(STORM, node_id=MAIN), alert(WIND, OTHER), over(), over(STORM, node_id=MAIN))
    said = [line for line in told(scenario, SessionId("s-1")) if "weather" in line]
    assert said == [
        "the weather closed the site: cold, -3.2 °C, Munich (simulated)",
        "the weather closed cp-1: heat",
        "the weather closed main: storm",
        "the weather alert of the site is over: cold",
        "the weather alert of main is over: storm",
    ]
    assert [line for line in told(scenario, SessionId("s-2")) if "weather" in line] == [
        "the weather closed the site: cold, -3.2 °C, Munich (simulated)",
        "the weather closed cp-2: wind",
        "the weather alert of the site is over: cold",
    ], "it stands above main"


def test_a_node_is_told_of_what_covers_it() -> None:
    scenario = Scenario().given(tree(), *connected(), alert(node_id=MAIN), alert(HEAT), alert(STORM, node_id=ROW))
    assert told(scenario, MAIN) == ["the weather closed main: cold", "the weather closed the site: heat"]
    assert told(scenario, TOP) == ["the weather closed the site: heat"]
    assert len(told(scenario, ROW)) == 3


def test_an_authorization_that_was_taken_back() -> None:
    scenario = Scenario().given(site(), *connected(), request(), alert())
    assert "it lapsed: the weather closed the charge point" in told(scenario, SessionId("s-1"))
    scenario.when(request("s-2", driver_id=BEN))
    (line,) = told(scenario, BEN)
    assert "closed for the weather: cold" in line


def test_what_the_heat_left() -> None:
    scenario = Scenario().given(site(assumed_share=500), *connected(), *charging())
    for derated in (Derated(870, 45_200, Millis(SITE_MS)), Derated(500, fault=Fault.STALE)):
        scenario.given(c.Derate(derated=derated))
    expected = [
        "the limits of all nodes are 87 % of theirs, at 45.2 °C",
        "the limits of all nodes are 50 % of theirs, because nobody says how hot it is (stale)",
    ]
    assert told(scenario, MAIN) == expected
    assert [line for line in told(scenario, SessionId("s-1")) if "limits" in line] == expected
    assert told(scenario, NodeId("zoo")) == []
