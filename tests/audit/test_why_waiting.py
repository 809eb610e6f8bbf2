"""``evcharge-audit why`` about those who wait and about reservations, told from records alone."""

from __future__ import annotations

import pytest

from evcharge.audit.event_codec import decode
from evcharge.audit.lines import about_of
from evcharge.audit.why import _ENDED, _LEFT, Inquiry, Step, lines_of
from evcharge.domain import commands as c
from evcharge.domain.words import LeftCause, ReservationEnd, StopCause
from evcharge.ids import SessionId
from evcharge.units import WattHours
from tests.support.in_line import CARLA, lapse, leaves, offered
from tests.support.one_session import ready
from tests.support.reserving import R, at, reserve
from tests.support.scenario import (
    ANNA,
    BEN,
    CP,
    OTHER,
    Scenario,
    charging,
    connected,
    engine_down,
    plug,
    reallocate,
    request,
    site,
    started,
)


def told(scenario: Scenario, subject: str) -> list[str]:
    inquiry = Inquiry(subject)
    found = []
    for seq, body in enumerate(scenario.log):
        logged = decode(body)
        assert logged is not None
        found += [step.told for step in inquiry.take(seq, logged)]
    return found


def test_from_the_line_to_the_end() -> None:
    scenario = lapse(offered(), "s-2")
    scenario.given(c.LeaveQueue(driver_id=CARLA, waiting_id=SessionId("s-3")), c.ServeWaiting())
    lapse(scenario, "s-2.2")
    said = told(scenario, "s-2")
    assert said[0] == (
        "ben waits at cp-1, place 1, expected 2023-11-15 00:13:20.000 from readings up to 0 ms old: "
        "cp-1/1 is in use, for 0 ms"
    )
    assert "it was its turn: the connector is held until 2023-11-14 22:18:20.000" in said
    assert "the offer ended: no vehicle was plugged in in time; it waits on, and lets s-3 pass first" in said
    assert said.count("it lapsed: no vehicle was plugged in in time") == 2, "the second offer is of this place as well"
    assert said[-1] == "ben no longer waits at cp-1: nobody plugged in, twice"
    assert not [line for line in said if "carla" in line]
    assert "carla no longer waits at cp-1: its driver left" in told(scenario, CP)


def test_a_reservation_that_was_kept_and_one_that_was_refused() -> None:
    scenario = ready().given(reserve()).when(reserve("r-2", CARLA, from_h=4))
    at(scenario, 3).given(c.ServeWaiting(), plug(), reallocate(), started(R))
    said = told(scenario, R)
    assert said[0] == (
        "ben reserved cp-1/1 from 2023-11-15 01:13:20.000 until 2023-11-15 03:13:20.000, 1.38 kW kept for it"
    )
    assert "the time of the reservation has come: the connector is held for it" in said
    assert "the reservation of ben at cp-1/1 ended: its driver charges there" in said
    assert "reserve was refused: cp-1/1 is reserved from 2023-11-15 01:13 UTC until 2023-11-15 03:13 UTC" in told(
        scenario, CP
    )


def test_a_reservation_that_is_late() -> None:
    scenario = ready().given(request(driver_id=ANNA, depart_by_ms=at(ready(), 3).at_ms), plug(), reallocate())
    scenario.given(started(), reserve())
    at(scenario, 3).given(c.ServeWaiting())
    assert "the time of the reservation has come, and it has to wait: it is in use" in told(scenario, R)
    gone = c.ReportEnded(
        cp_id=CP, session_id=SessionId("s-1"), meter_wh=WattHours(2_000), reason=StopCause.UNPLUGGED, at_ms=None
    )
    scenario.given(gone, plug(plugged=False), c.ServeWaiting())
    scenario.given(c.CancelReservation(driver_id=BEN, reservation_id=R))
    assert told(scenario, R)[-1] == "the reservation of ben at cp-1/1 ended: its driver cancelled it"


def test_every_end_has_words() -> None:
    assert set(_LEFT) == set(LeftCause)
    assert set(_ENDED) == set(ReservationEnd)


def test_records_of_a_place_and_of_a_reservation_are_found_by_the_id_of_their_session() -> None:
    assert about_of({"waiting_id": "s-2", "cause": "left"})["session_id"] == "s-2"
    assert about_of({"waiting_id": "s-2", "session_id": "s-2.2"})["session_id"] == "s-2.2"
    assert about_of({"reservation_id": "r-1"})["session_id"] == "r-1"


def test_a_drivers_story_has_his_refusals_and_his_session() -> None:
    scenario = Scenario().given(site(2_000), *connected(), *connected(OTHER), *charging())
    scenario.when(request("s-2", OTHER, BEN))
    leaves(scenario).given(request("s-3", OTHER, BEN), plug(OTHER), reallocate())
    said = told(scenario, BEN)
    assert said[0].startswith("ben was refused: The substation of cp-2 cannot serve one more vehicle now")
    assert "ben was authorized at cp-2/1 for as much as it takes" in said
    assert any(line.startswith("set-point 1.84 kW (1.38 kW if Central is lost): ") for line in said)
    assert not [line for line in said if "anna" in line]


def test_the_second_offer_ends_the_story_of_a_place_with_its_ticket() -> None:
    scenario = lapse(offered(), "s-2").given(c.LeaveQueue(driver_id=CARLA, waiting_id=SessionId("s-3")))
    scenario.given(c.ServeWaiting(), plug(), reallocate(), started("s-2.2", 2_000))
    leaves(scenario, "s-2.2", 3_000)
    before = told(scenario, "s-2")
    assert before[-1].startswith("ticket t-s-2.2: ")
    scenario.given(engine_down())
    assert told(scenario, "s-2") == before, "what happens at the charge point later is nobody's of this place"


@pytest.mark.parametrize(("times", "shown"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_of_refusals_in_a_row_the_first_and_the_last_are_told(times: int, shown: int) -> None:
    """Figures may differ; the reason does not."""
    refusals = [
        Step(seq, seq * 1_000, "ChargeRefused", f"ben was refused: no power. ({seq} kW)") for seq in range(times)
    ]
    other = [Step(99, 99_000, "ChargeAuthorized", "ben was authorized")]
    lines = list(lines_of([*refusals, *other]))
    assert len(lines) == shown + 1
    assert "(0 kW)" in lines[0] and f"({times - 1} kW)" in lines[shown - 1]
    assert (f"and {times - 2} times more" in "".join(lines)) == (times > 2)
