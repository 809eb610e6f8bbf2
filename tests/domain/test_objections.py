"""What stands in the log when a charge request is refused for anything but power: typed, whole, with its age."""

from __future__ import annotations

import pytest

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.reasons import Objection, Obstacle, objection_sentence
from evcharge.domain.words import Role
from evcharge.ids import ConnectorNo
from tests.support.one_session import ready, supplying
from tests.support.scenario import ANNA, BEN, CP, OTHER, SITE_MS, Scenario, request


def against(scenario: Scenario) -> tuple[Objection, ...]:
    (event,) = scenario.events
    assert isinstance(event, e.ChargeRefused)
    return event.against


def test_nothing_by_that_name() -> None:
    assert against(ready().when(request(cp_id=OTHER))) == (Objection(Obstacle.UNKNOWN, OTHER),)
    assert against(ready().when(request(connector=9))) == (Objection(Obstacle.UNKNOWN, f"{CP}/9"),)


def test_what_was_asked_for_and_the_last_that_there_is() -> None:
    (objection,) = against(ready().when(request(energy_wh=1_000_001)))
    assert objection == Objection(Obstacle.RANGE, "energy_wh", value=1_000_001, limit=1_000_000)
    (objection,) = against(ready().when(request(depart_by_ms=SITE_MS)))
    assert objection == Objection(Obstacle.RANGE, "depart_by_ms", value=SITE_MS, limit=SITE_MS)


def test_every_connector_that_was_looked_at_says_what_is_against_it_and_since_when() -> None:
    scenario = ready(connectors=3).given(request())
    scenario.given(c.ReportStatus(cp_id=CP, connector=ConnectorNo(2), occupied=True, error="GroundFailure"))
    scenario.given(request("s-3", connector=3, driver_id=BEN))
    scenario.pass_time(5_000)
    assert against(scenario.when(request("s-4"))) == (
        Objection(Obstacle.OWN, f"{CP}/1", age_ms=5_000),
        Objection(Obstacle.ERROR, f"{CP}/2", "GroundFailure", 5_000),
        Objection(Obstacle.IN_USE, f"{CP}/3", age_ms=5_000),
    )
    assert against(scenario.when(request("s-4", connector=2))) == (
        Objection(Obstacle.ERROR, f"{CP}/2", "GroundFailure", 5_000),
    )


def test_a_hold_and_a_lost_link() -> None:
    scenario = ready().given(c.StopChargePoints(cp_id=CP))
    assert against(scenario.when(request())) == (Objection(Obstacle.HOLD, CP, "ADMIN"),)
    fence = scenario.cp().engine.fence
    scenario.given(c.PeerGone(role=Role.ENGINE, entity=CP, fence=fence, cause="cut"))
    scenario.pass_time(90_000)
    assert against(scenario.when(request())) == (
        Objection(Obstacle.LINK, CP, "engine", 90_000),
        Objection(Obstacle.HOLD, CP, "ADMIN"),
    )


def test_a_monitor_that_was_lost_is_told_and_one_that_never_came_is_not() -> None:
    scenario = ready().given(c.PeerGone(role=Role.MONITOR, entity=CP, fence=ready().cp().monitor.fence, cause="cut"))
    assert against(scenario.when(request()))[0] == Objection(Obstacle.LINK, CP, "monitor", 0)


def test_whose_session_it_is_stays_out_of_it() -> None:
    scenario = supplying()
    (event,) = scenario.when(request("s-2", CP, BEN)).events
    assert isinstance(event, e.ChargeRefused)
    assert all(ANNA not in (one.at, one.detail) for one in event.against)


@pytest.mark.parametrize(
    ("objection", "said"),
    [
        (Objection(Obstacle.UNKNOWN, "CP-9"), "there is no CP-9"),
        (Objection(Obstacle.LINK, "CP-1", "engine", 90_000), "the engine of CP-1 is not connected, for 90 s"),
        (Objection(Obstacle.HOLD, "CP-1", "ADMIN"), "CP-1 is held: ADMIN"),
        (Objection(Obstacle.IN_USE, "CP-1/2", age_ms=10), "CP-1/2 is in use, for 10 ms"),
        (Objection(Obstacle.OWN, "CP-1/2", age_ms=10), "CP-1/2 has a session of the same driver, for 10 ms"),
        (Objection(Obstacle.ERROR, "CP-1/2", "GroundFailure"), "CP-1/2 reports GroundFailure"),
        (Objection(Obstacle.RANGE, "n", value=4, limit=2), "n is 4, and the last that there is is 2"),
        (Objection(Obstacle.COUNT, "driver anna", value=100, limit=100), "driver anna has 100 of at most 100"),
        (Objection(Obstacle.FOREIGN, "session s-1"), "session s-1 belongs to somebody else"),
    ],
)
def test_sentences(objection: Objection, said: str) -> None:
    assert objection_sentence(objection) == said


def test_every_obstacle_has_its_sentence() -> None:
    for obstacle in Obstacle:
        assert objection_sentence(Objection(obstacle, "here"))
