"""The small parts of Central's shell, each alone."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from evcharge.central import allocation
from evcharge.central.allocation import Allocation
from evcharge.central.deadlines import Deadlines
from evcharge.central.repeats import KINDS_KEPT, Repeats
from evcharge.central.tasks import Tasks
from evcharge.central.telemetry import SAMPLE_PAUSE_S, SAMPLE_S, Telemetry
from evcharge.central.translate.outgoing import mask, order_of
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import Node, Session, State
from evcharge.domain.words import SessionStatus
from evcharge.ids import ChargePointId, CommandId, ConnectorNo, DriverId, Fence, NodeId, SessionId
from evcharge.units import Millis, WattHours, Watts
from protocol import messages as m
from protocol.credentials import Role
from tests.support.bench import Bench
from tests.support.central import until
from tests.support.clock import ManualClock

CP, SID, MAIN = ChargePointId("CP-1"), SessionId("s-1"), NodeId("main")

# --- telemetry --------------------------------------------------------------------------------------------------------


def a_state(status: SessionStatus = SessionStatus.SUPPLYING) -> State:
    session = Session(
        session_id=SID,
        cp_id=CP,
        connector=ConnectorNo(1),
        driver_id=DriverId("anna"),
        node_id=MAIN,
        status=status,
        min_w=Watts(0),
        max_w=Watts(0),
        requested_wh=None,
        depart_by_ms=None,
        authorized_ms=Millis(0),
        expires_ms=Millis(0),
        authorize_command=CommandId(1),
        start_meter_wh=WattHours(500),
    )
    return State(sessions={SID: session}, nodes={MAIN: Node(Watts(1), sessions={SID: None})})


def test_a_reading_is_worth_a_record_at_first_then_every_30_s() -> None:
    telemetry, state = Telemetry(), a_state()
    began = 1_000.0

    def worth(now_s: float, power_w: int = 7_000) -> bool | None:
        return telemetry.update(state, CP, SID, 1_500, power_w, 40, now_s)

    assert worth(began) is True
    # The second one comes within 30 s, at this session's own place; from then on it is every 30 s.
    times = (began + step / 10 for step in range(1, int(SAMPLE_S * 10) + 1))
    second = next(now_s for now_s in times if worth(now_s))
    assert worth(second + SAMPLE_S - 0.1) is False
    assert worth(second + SAMPLE_S) is True
    last = second + SAMPLE_S
    assert worth(last + SAMPLE_PAUSE_S, 7_350) is False, "5 % are no change"
    assert worth(last + SAMPLE_PAUSE_S - 0.1, 0) is False, "too soon after the last one"
    assert worth(last + SAMPLE_PAUSE_S, 7_400) is True
    live = telemetry.live_of(SID)
    assert live is not None and (live.energy_wh, live.power_w, live.soc) == (1_000, 7_400, 40)
    assert telemetry.loads_w(state)[MAIN] == 7_400
    telemetry.forget(SID)
    assert telemetry.live_of(SID) is None
    assert telemetry.loads_w(state)[MAIN] == 0


def test_sessions_that_begin_together_do_not_stay_in_step() -> None:
    """After a restart of Central the first readings of ten thousand sessions come within a second."""
    telemetry, state = Telemetry(), a_state()
    sessions = [SessionId(f"s-{number}") for number in range(300)]
    for session_id in sessions:
        state.sessions[session_id] = msgspec.structs.replace(state.sessions[SID], session_id=session_id)
        telemetry.update(state, CP, session_id, 1_000, 7_000, None, 0.0)
    per_second = [
        sum(telemetry.update(state, CP, each, 1_000, 7_000, None, float(now)) is True for each in sessions)
        for now in range(1, int(SAMPLE_S) + 2)
    ]
    assert sum(per_second) >= len(sessions)
    assert max(per_second) < len(sessions) / 5


def test_a_meter_below_its_start_is_no_energy() -> None:
    telemetry = Telemetry()
    telemetry.update(a_state(), CP, SID, 3, 0, None, 0.0)
    live = telemetry.live_of(SID)
    assert live is not None and live.energy_wh == 0


@pytest.mark.parametrize("status", [SessionStatus.AUTHORIZED, SessionStatus.EXPIRED, SessionStatus.INTERRUPTED])
def test_only_running_sessions_have_readings(status: SessionStatus) -> None:
    telemetry = Telemetry()
    assert telemetry.update(a_state(status), CP, SID, 1, 1, None, 0.0) is None
    assert telemetry.update(a_state(), ChargePointId("CP-2"), SID, 1, 1, None, 0.0) is None
    assert telemetry.update(State(), CP, SID, 1, 1, None, 0.0) is None
    assert telemetry.live_of(SID) is None


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_deadlines_fire_in_order_when_they_are_due() -> None:
    clock, due = ManualClock(speed=10.0), list[str]()
    deadlines = Deadlines(clock, due.append)
    now_ms = clock.site_ms()
    for at_ms, name in ((5_000, "b"), (1_000, "a"), (60_000, "c")):
        deadlines.add(now_ms + at_ms, SessionId(name))
    assert deadlines.fire() == pytest.approx(0.005)
    assert due == []
    clock.advance(0.5)
    assert deadlines.fire() == pytest.approx(0.005), "never longer than the longest sleep"
    assert due == ["a", "b"]
    clock.advance(6.0)
    deadlines.fire()
    assert due == ["a", "b", "c"]


def test_a_frozen_clock_does_not_make_deadlines_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.central.deadlines._MAX_SLEEP_S", 1.0)
    clock = ManualClock(speed=1_200.0)
    deadlines = Deadlines(clock, lambda _: None)
    assert deadlines.fire() == 1.0
    deadlines.add(clock.site_ms() + 1, SID)
    assert deadlines.fire() == 0.01
    deadlines.add(clock.site_ms() + 600_000, SID)
    clock.advance_site(0.1)
    assert deadlines.fire() == pytest.approx(0.5, abs=0.01), "site time runs faster than the loop's"


def test_deadlines_of_what_is_over_do_not_pile_up() -> None:
    clock, due, alive = ManualClock(), list[str](), {SessionId("a"), SessionId("b")}
    deadlines = Deadlines(clock, due.append, alive.__contains__)
    for i in range(5_000):
        deadlines.add(clock.site_ms() + 7 * 86_400_000, SessionId(f"gone-{i}"))
        deadlines.add(clock.site_ms() + 1_000, SessionId("a"))
        deadlines.add(clock.site_ms() + 500, SessionId("b"))
    assert len(deadlines._heap) <= 1_025
    clock.advance(2.0)
    deadlines.fire()
    assert list(dict.fromkeys(due)) == ["b", "a"]


# --- refusals that repeat ---------------------------------------------------------------------------------------------


def _no(subject: str) -> e.RequestRefused:
    return e.RequestRefused(request="end_charge", subject=subject, reason=RefusalReason.UNKNOWN_SESSION)


def test_equal_refusals_are_recorded_200_times_and_then_once_a_second() -> None:
    repeats = Repeats()
    told = [repeats.needless("driver:anna", _no("s-1"), clock_ms) for clock_ms in range(0, 60_000, 20)]
    assert told[:200] == [False] * 200
    assert told.count(False) == 200 + 59
    assert not repeats.needless("driver:ben", _no("s-1"), 60_000), "another actor"
    assert not repeats.needless("driver:anna", _no("s-2"), 60_000), "another request"
    assert not repeats.needless("driver:anna", e.CentralStopped(), 60_000), "no refusal"
    assert not any(repeats.needless("driver:anna", _no("s-1"), 60_000 + 300_000) for _ in range(200))


def test_what_is_remembered_of_refusals_is_bounded() -> None:
    repeats = Repeats()
    for i in range(10_000):
        repeats.needless("driver:anna", _no(f"s-{i}"), i)
    assert len(repeats._left) == KINDS_KEPT


# --- allocation, tasks ------------------------------------------------------------------------------------------------


async def test_changes_are_gathered() -> None:
    done: list[NodeId] = []
    alloc = Allocation(done.append, list, lambda node_id: NodeId("a") if node_id == "child of a" else node_id)
    running = asyncio.create_task(alloc.run())
    for name in ("a", "b", "child of a", "a"):
        alloc.dirty(NodeId(name))
    await until(lambda: done)
    assert done == ["a", "b"]
    alloc.dirty(NodeId("c"))
    await until(lambda: len(done) == 3)
    running.cancel()


async def test_what_is_urgent_is_shared_in_the_next_turn_once() -> None:
    """Without ``run``, which gathers, and after what is released in this turn."""
    done: list[NodeId] = []
    alloc = Allocation(done.append, list, lambda node_id: node_id)
    for name in ("a", "b", "a"):
        alloc.urgent(NodeId(name))
    assert done == []
    await asyncio.sleep(0)
    assert done == ["a", "b"]
    alloc.urgent(NodeId("a"))
    await asyncio.sleep(0)
    assert done == ["a", "b", "a"]


async def test_all_are_looked_at_regularly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "REGULAR_S", 0.0)
    done: list[NodeId] = []
    alloc = Allocation(done.append, lambda: [NodeId("a"), NodeId("b")], lambda node_id: node_id)
    tasks = [asyncio.create_task(alloc.run()), asyncio.create_task(alloc.renew())]
    await until(lambda: {"a", "b"} <= set(done))
    for task in tasks:
        task.cancel()


async def test_a_bug_in_a_task_is_heard_of_and_an_end_is_not() -> None:
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)

    async def ends() -> None:
        pass

    async def breaks() -> None:
        raise ZeroDivisionError

    async def waits() -> None:
        await asyncio.Event().wait()

    tasks.start(ends())
    tasks.start(waits())
    await until(lambda: len(tasks._running) == 1)
    assert failures == []
    tasks.start(breaks())
    await until(lambda: failures)
    await tasks.stop()
    assert len(failures) == 1 and isinstance(failures[0], ZeroDivisionError)
    assert not tasks._running


# --- translate, inbound -----------------------------------------------------------------------------------------------


def test_a_masked_driver_tells_its_first_letter_only() -> None:
    assert [mask(name) for name in ("anna", "a", "")] == ["a*", "a*", "*"]


def test_what_is_no_order_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="BootAck"):
        order_of(fx.BootAck(cp_id=CP, fence=Fence(1)), 0, 0)


def test_the_console_has_no_commands() -> None:
    bench = Bench()
    console = bench.join(Role.DEBUG, "console")
    before = len(bench.log.bodies)
    bench.inbound.message(console, m.Fault(code="x"))
    assert len(bench.log.bodies) == before
