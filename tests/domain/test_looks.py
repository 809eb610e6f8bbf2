"""One look at the line for all who ask: it is made once, it is right, and it does not outlive what it shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import events as e
from evcharge.domain import looks as module
from evcharge.domain.feeds import above
from evcharge.domain.line import Eta, Forecast, Line
from evcharge.domain.looks import SHOWN_MS, look_now, look_shown
from evcharge.domain.openings import TYPICAL_STAY_MS
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import State, Waiting
from evcharge.domain.waiting_views import all_waiting, page_of_waiting, view_waiting, waiting_of_driver
from evcharge.domain.words import Role
from evcharge.energy.queueing import Turns
from evcharge.ids import ANYWHERE, ChargePointId, DriverId, Fence, NodeId, SessionId
from tests.support.busy_days import busy_day
from tests.support.in_line import CARLA, DORA, taken, wait
from tests.support.scenario import BEN, CP, OTHER, Scenario, boot, engine_down, engine_up, plug, request


def in_line() -> Scenario:
    """Anna charges, Ben and Carla wait."""
    return taken().given(wait("s-2", BEN), wait("s-3", CARLA))


class Counted:
    """How many looks were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        made = module.Line

        def line(state: State, now_ms: int) -> Line:
            self.count += 1
            return made(state, now_ms)

        monkeypatch.setattr(module, "Line", line)


def test_forty_questions_cost_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, looks = in_line(), Counted(monkeypatch)
    connects = e.PeerConnected(role=Role.DRIVER, entity=BEN, username="b", fence=Fence(9), boot_id=b"")
    refused = e.ChargeRefused(driver_id=BEN, cp_id=CP, reason=RefusalReason.ENERGY_OUT_OF_RANGE)
    for _ in range(40):
        assert [view.place for view in waiting_of_driver(scenario.state, BEN, scenario.at_ms)] == [1]
        assert view_waiting(scenario.state, SessionId("s-3"), scenario.at_ms) is not None
        assert len(page_of_waiting(scenario.state, "", 10, scenario.at_ms)) == 2
        scenario.pass_time(SHOWN_MS // 50)
        # What anybody may cause as often as he likes costs no look.
        scenario.given(refused, connects)
    assert looks.count == 1


def test_whatever_happens_to_those_who_wait_is_seen_at_once() -> None:
    scenario = in_line()
    assert [view.waiting_id for view in all_waiting(scenario.state, scenario.at_ms)] == ["s-2", "s-3"]
    scenario.given(request("s-4", CP, DriverId("dora"), wait=True))
    assert [view.place for view in all_waiting(scenario.state, scenario.at_ms)] == [1, 2, 3]
    scenario.given(engine_down())
    assert {view.reason for view in all_waiting(scenario.state, scenario.at_ms)} == {"disconnected"}


def test_a_look_is_shown_for_a_second_and_decides_at_its_own_instant_only() -> None:
    scenario = in_line()
    look = look_shown(scenario.state, scenario.at_ms)
    assert look_shown(scenario.state, scenario.at_ms + SHOWN_MS - 1) is look
    assert look_now(scenario.state, scenario.at_ms) is look
    assert look_now(scenario.state, scenario.at_ms + 1) is not look
    later = look_now(scenario.state, scenario.at_ms + SHOWN_MS)
    assert look_shown(scenario.state, scenario.at_ms) is not later, "a clock that was set back"


def test_a_newcomer_is_in_nobody_elses_look() -> None:
    scenario = in_line().given(engine_up(OTHER, 5), boot(OTHER))
    scenario.when(request("s-5", CP, DORA, wait=True))
    (event,) = scenario.events
    assert isinstance(event, e.ChargeQueued) and event.place == 3
    assert len(all_waiting(scenario.state, scenario.at_ms)) == 3
    scenario.given(plug(OTHER))


# --- the same as by sums over everybody -------------------------------------------------------------------------------


def sums(state: State, line: Line, now_ms: int) -> dict[str, Eta]:
    """Places and times worked out for each one from all those before it."""
    found: dict[str, Eta] = {}
    passed: list[Waiting] = []
    for one in line.order:
        found[one.waiting_id] = _eta(state, line, now_ms, one, passed)
        passed.append(one)
    return found


def _eta(state: State, line: Line, now_ms: int, one: Waiting, passed: list[Waiting]) -> Eta:
    blocked = line.blocked.get(one.waiting_id)
    before = sum(1 for other in passed if _rivals(state, one, other))
    if blocked is None:
        return Eta(before + 1, now_ms, None)
    forecast = Forecast(state, line, now_ms)
    if blocked.node_id is not None:
        short = 0
        for other in passed:
            its = line.blocked.get(other.waiting_id)
            if its is not None and its.node_id is not None:
                at = its.node_id if other.cp_id == ANYWHERE else state.charge_points[other.cp_id].node_id
                short += blocked.node_id in above(state, at)
        before = max(before, short)
        turns, age_ms = forecast._under(blocked.node_id)
    elif blocked.reason.value == "busy":
        turns, age_ms = forecast._under(one.node_id) if one.cp_id == ANYWHERE else forecast._at(one)
    else:
        return Eta(before + 1, None, None)
    wait_s = turns.wait_s(before)
    return Eta(before + 1, None if wait_s is None else now_ms + round(wait_s * 1000), age_ms)


def _rivals(state: State, one: Waiting, other: Waiting) -> bool:
    if one.cp_id != ANYWHERE:
        return other.cp_id == one.cp_id and (0 in (one.connector, other.connector) or one.connector == other.connector)
    if other.cp_id == ANYWHERE or one.node_id is None:
        return True
    return one.node_id in above(state, state.charge_points[other.cp_id].node_id)


@given(st.binary(min_size=60, max_size=300))
def test_running_counts_are_the_sums(program: bytes) -> None:
    world = busy_day(program)
    crowd(world.state)
    line = Line(world.state, world.at_ms)
    told = {one.waiting_id: eta for one, _, eta in Forecast(world.state, line, world.at_ms).etas()}
    assert told == sums(world.state, line, world.at_ms)


def crowd(state: State) -> None:
    """Some at every charge point and connector, and some for any below each node, whatever the day left."""
    places: list[tuple[str, int, NodeId | None]] = [(ANYWHERE, 0, None), *((ANYWHERE, 0, node) for node in state.nodes)]
    for cp_id, charge_point in state.charge_points.items():
        places += [(cp_id, no, None) for no in (0, *charge_point.connectors)]
    for turn, (cp_id, no, node_id) in enumerate(places * 2, 10_000):
        name = SessionId(f"w-{turn}")
        state.waiting[name] = Waiting(
            waiting_id=name,
            driver_id=DriverId(f"d-{turn}"),
            cp_id=ChargePointId(cp_id),
            connector=no,  # type: ignore[arg-type]  # a number in a test
            requested_wh=None,
            depart_by_ms=None,
            since_ms=0,  # type: ignore[arg-type]
            turn=turn,
            node_id=node_id,
        )


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=8), st.lists(st.integers(0, 60), min_size=1))
def test_turns_are_the_smallest_of_all_that_get_free(remaining_s: list[float], asked: list[int]) -> None:
    stay_s = TYPICAL_STAY_MS / 1000
    turns = Turns(remaining_s, stay_s)
    free_s = sorted(first + stay_s * time for first in remaining_s for time in range(61))
    for ahead in asked:
        assert turns.wait_s(ahead) == pytest.approx(free_s[ahead])
