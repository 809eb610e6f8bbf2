"""The automated driver over a file of points: order, pauses, faults, and what the summary says."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.driver.auto import Collector, FaultKind, Faults, PointsRun
from evcharge.driver.client import Refusal
from evcharge.driver.scripted import Summary, Wish
from protocol import messages as m
from protocol.errors import RefuseCode
from tests.driver.conftest import driver
from tests.support.fake_central import FakeCentral


class Told:
    """What was said, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, what: str, **fields: Any) -> None:
        self.all.append((what, fields))

    def kinds(self) -> list[str]:
        return [what for what, _ in self.all]


async def run(
    central: FakeCentral, wishes: list[Wish], *, fault: FaultKind | None = None, told: Told | None = None
) -> tuple[Summary, list[float], Told]:
    told = told or Told()
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        await asyncio.sleep(0)

    collector = Collector(told)
    faults = Faults() if fault is None else Faults(1.0, (fault,))
    async with driver(central, collector) as client:
        points = PointsRun(client, collector, told, faults=faults, dice=random.Random(1), sleep=sleep, pause_s=4.0)
        return await points.run(wishes), naps, told


def deliver(central: FakeCentral, energy_wh: int = 1000) -> None:
    """Every session starts and ends at once."""

    def at_once(_driver: str, session: m.SessionView) -> None:
        central.start(session.session_id)
        central.finish(session.session_id, session.requested_wh or energy_wh)

    central.on_request = at_once


async def test_one_after_the_other_with_pauses(central: FakeCentral) -> None:
    deliver(central)
    central.refusals["CP-2"] = ["busy"]
    central.silent = ["CP-4"]
    wishes = [Wish(cp_id=f"CP-{number}", energy_wh=500 * number or None) for number in range(5)]
    summary, naps, told = await run(central, wishes)
    assert naps == [4.0] * 4
    assert summary == Summary(
        sessions=5,
        authorized=3,
        refused=2,
        started=3,
        expired=0,
        tickets=3,
        energy_wh=1000 + 500 + 1500,
        amount_minor=30 + 15 + 45,
        refusals={"3:CP-2": "busy", "5:CP-4": "no_answer"},
    )
    assert [request.cp_id for request in central.got(m.ChargeRequest)] == [wish.cp_id for wish in wishes]
    assert told.kinds()[:2] == ["connected", "request"]
    assert told.kinds().index("ticket") < told.kinds().index("request", 2)
    assert sorted(central.confirmed) == sorted(ticket["ticket_id"] for what, ticket in told.all if what == "ticket")


async def test_a_session_that_never_starts_is_expired(central: FakeCentral) -> None:
    central.on_request = lambda _driver, session: central.expire(session.session_id)
    summary, _, told = await run(central, [Wish(cp_id="CP-1")])
    assert (summary.authorized, summary.started, summary.expired, summary.tickets) == (1, 0, 1, 0)
    assert [fields["why"] for what, fields in told.all if what == "expired"] == ["expired"]


async def test_disconnect_loses_nothing(central: FakeCentral) -> None:
    held: list[str] = []
    central.on_request = lambda _driver, session: held.append(session.session_id)
    told = Told()
    running = asyncio.create_task(run(central, [Wish(cp_id="CP-1")], fault=FaultKind.DISCONNECT, told=told))
    await central.until(lambda: central.connections == 2 and bool(central.links))
    central.start(held[0])
    central.finish(held[0], 800)
    summary, _, _ = await running
    assert (summary.tickets, summary.energy_wh) == (1, 800)
    assert told.kinds().count("connected") == 2


async def test_vanish_does_not_wait_and_the_ticket_comes_later(central: FakeCentral) -> None:
    held: list[str] = []

    def hold(_driver: str, session: m.SessionView) -> None:
        for other in held:
            if other in central.sessions:
                central.finish(other, 700)
        held.append(session.session_id)

    central.on_request = hold
    summary, naps, _ = await run(
        central, [Wish(cp_id="CP-1"), Wish(cp_id="CP-2"), Wish(cp_id="CP-3")], fault=FaultKind.VANISH
    )
    assert central.connections == 4
    assert len(naps) == 5
    assert (summary.authorized, summary.refused) == (3, 0)
    assert summary.started == summary.tickets == 2
    assert summary.energy_wh == 1400


async def test_end_early_ends_once_it_runs(central: FakeCentral) -> None:
    central.on_request = lambda _driver, session: (central.start(session.session_id), None)[1]
    central.on_end = lambda session_id: (central.finish(session_id, 3, "driver_ended"), None)[1]
    summary, *_ = await run(central, [Wish(cp_id="CP-1", energy_wh=9000)], fault=FaultKind.END_EARLY)
    assert (summary.tickets, summary.energy_wh) == (1, 3)
    assert len(central.got(m.EndCharge)) == 1


@pytest.mark.parametrize("guarded", [True, False])
async def test_duplicate_is_refused_or_undone(central: FakeCentral, guarded: bool) -> None:
    held: list[str] = []
    count = 0

    def grant(_driver: str, session: m.SessionView) -> None:
        nonlocal count
        count += 1
        held.append(session.session_id)
        if count == 1 and not guarded:
            # A Central that lets the same place be taken twice.
            central.sessions[session.session_id] = session.__class__(
                **{**{name: getattr(session, name) for name in session.__struct_fields__}, "connector": 9}
            )

    central.on_request = grant
    told = Told()
    running = asyncio.create_task(run(central, [Wish(cp_id="CP-1")], fault=FaultKind.DUPLICATE, told=told))
    await central.until(lambda: len(central.got(m.ChargeRequest)) == 2)
    if not guarded:
        await central.until(lambda: bool(central.got(m.EndCharge)))
    central.start(held[0])
    central.finish(held[0], 50)
    summary, *_ = await running
    assert (summary.authorized, summary.tickets, summary.energy_wh) == (1, 1, 50)
    assert ("duplicate_refused" in told.kinds()) == guarded
    assert ("duplicate_granted" in told.kinds()) == (not guarded)


async def test_a_fault_that_fails_is_said_and_the_session_still_counts(central: FakeCentral) -> None:
    central.on_request = lambda _driver, session: (central.start(session.session_id), None)[1]
    told = Told()

    def gone(session_id: str) -> None:
        # The session ends by itself; nobody answers the order but with a no.
        central.finish(session_id, 60)

    central.on_end = gone
    wishes = [Wish(cp_id="CP-1")]
    original = central._answer

    def answer(link: Any, message: m.Message) -> None:
        if isinstance(message, m.EndCharge):
            central.sessions[message.session_id + "x"] = central.sessions.pop(message.session_id)
            original(link, message)
            central.sessions[message.session_id] = central.sessions.pop(message.session_id + "x")
            central.finish(message.session_id, 60)
        else:
            original(link, message)

    central._answer = answer  # type: ignore[method-assign]  # a Central that loses a race
    summary, *_ = await run(central, wishes, fault=FaultKind.END_EARLY, told=told)
    assert "fault_failed" in told.kinds()
    assert (summary.tickets, summary.energy_wh) == (1, 60)


async def test_a_revoked_driver_stops(central: FakeCentral) -> None:
    central.refuse = RefuseCode.REVOKED
    with pytest.raises(Refusal):
        await run(central, [Wish(cp_id="CP-1")])


@given(st.floats(0, 1), st.integers(0, 2**32), st.lists(st.sampled_from(FaultKind), min_size=1, unique=True))
def test_faults_are_repeatable_and_only_of_the_wanted_kinds(rate: float, seed: int, kinds: list[FaultKind]) -> None:
    runs = []
    for _ in range(2):
        dice = random.Random(seed)
        runs.append([Faults(rate, tuple(kinds)).draw(dice) for _ in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) <= {None, *kinds}
    if rate == 0:
        assert set(runs[0]) == {None}
    if rate == 1:
        assert None not in runs[0]
