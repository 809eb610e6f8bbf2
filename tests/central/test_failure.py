"""The log dies, or Central finds a bug of its own: nothing is said any more, and it stops."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import pytest

from evcharge.audit.journal import JournalFailed
from evcharge.central import engine as engine_module
from evcharge.central import service
from evcharge.central.translate import outgoing
from evcharge.domain import events as e
from evcharge.net.client import RequestFailed
from protocol import messages as m
from tests.support.central import Site, canonical, turns, until


@pytest.fixture(autouse=True)
def no_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is what a test has written, and not what Central writes when it is quiet for a while."""
    monkeypatch.setattr(service, "MARK_AFTER_S", 3_600.0)


async def nothing_more(site: Site) -> None:
    """Give whatever could come the time to come."""
    await site.central.failure
    await turns()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
async def test_after_a_failed_write_nothing_is_acknowledged(call: str, number: int, site: Site) -> None:
    engine, driver, session_id = await site.charging()
    operator = await site.operator()
    for peer in (engine, operator, driver):
        await peer.heard()
    await until(lambda: site.central._journal.durable == site.central._journal.last)
    durable, before = site.central._journal.durable, canonical(site.history.state())
    driver.inbox.clear()
    site.disk.failing[call] = number
    n = engine.put(m.SupplyEnded(session_id=session_id, meter_wh=2_000, reason="vehicle_full"))
    asked = [
        asyncio.create_task(driver.ask(m.EndCharge(id=0, session_id="s"))),
        asyncio.create_task(operator.ask(m.Query(id=0, what="tickets"))),
    ]
    failure = await site.central.failure
    assert isinstance(failure, JournalFailed)
    assert isinstance(failure.__cause__, OSError) and failure.__cause__.errno == number
    asked.append(asyncio.create_task(operator.ask(m.Query(id=0, what="sessions"))))
    asked.append(asyncio.create_task(site.charge(driver, "CP-9")))
    await turns()
    assert not any(task.done() and task.exception() is None for task in asked), "no answer, not even to a question"
    assert not [ack for ack in engine.got(m.Ack) if ack.n == n]
    assert not driver.got(m.Ticket) and not driver.got(m.Update)
    await site.stop()
    assert "DRAIN" in await operator.down()
    for task in asked:
        with pytest.raises(RequestFailed):
            await task
    site.disk.failing.clear()
    for peer in site.peers:
        await peer.leave()
    await site.start()
    # What was not acknowledged may be there or not; all that was is.
    assert canonical(site.state_at(durable)) == before
    if call == "pwrite":
        assert not site.logged(e.TicketIssued)
    site.history.check()


async def test_a_question_after_a_dead_log_shows_nothing(site: Site) -> None:
    """The command was applied in memory and its record refused: the state must not be seen."""
    driver, operator = await site.driver(), await site.operator()
    # That they came would be what fails, and the request would find a log that is dead already.
    await site.settled()
    site.disk.failing["fdatasync"] = errno.EIO
    with_driver = asyncio.create_task(site.charge(driver, "CP-8"))
    await nothing_more(site)
    driver.send(m.ChargeRequest(id=99, cp_id="CP-9"))
    asked = asyncio.create_task(operator.ask(m.Query(id=0, what="totals")))
    await turns()
    assert not asked.done() and not with_driver.done()
    assert not driver.got(m.Refused)
    await site.stop()
    await asyncio.gather(asked, with_driver, return_exceptions=True)


async def test_an_append_to_a_dead_log_before_the_loop_has_heard_of_it(site: Site) -> None:
    driver, operator = await site.driver(), await site.operator()
    await operator.heard()
    site.central._journal._error = OSError(errno.EIO, "dead")
    driver.send(m.ChargeRequest(id=99, cp_id="CP-9"))
    failure = await site.central.failure
    assert isinstance(failure, JournalFailed) and isinstance(failure.__cause__, OSError)
    asked = asyncio.create_task(operator.ask(m.Query(id=0, what="totals")))
    await turns()
    assert not asked.done()
    assert not driver.got(m.Refused)
    site.central._journal._error = None
    await site.stop()
    await asyncio.gather(asked, return_exceptions=True)


def broken(*_: object) -> None:
    raise ZeroDivisionError("a bug")


async def test_a_bug_in_the_domain_stops_central(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, driver, session_id = await site.charging()
    operator = await site.operator()
    await operator.heard()
    await until(lambda: site.central._journal.durable == site.central._journal.last)
    last = site.central._engine._last_seq
    monkeypatch.setattr(engine_module, "decide", broken)
    driver.send(m.ChargeRequest(id=99, cp_id="CP-1"))
    assert isinstance(await site.central.failure, ZeroDivisionError)
    assert "INTERNAL" in await driver.down()
    monkeypatch.undo()
    asked = asyncio.create_task(operator.ask(m.Stop(id=0)))
    engine.put(m.SupplyEnded(session_id=session_id, meter_wh=2_000, reason="vehicle_full"))
    await turns()
    assert not asked.done() and not engine.got(m.Ack)
    assert site.central._engine._last_seq == last, "a state that cannot be trusted makes no more history"
    await site.stop()
    await asyncio.gather(asked, return_exceptions=True)
    assert not site.logged(e.CentralStopped)


Break = Callable[[Site, pytest.MonkeyPatch], None]


def break_the_grid(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a task that runs by itself."""
    monkeypatch.setattr(site.central._allocation, "_reallocate", broken)


def break_what_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In what is released when the log is durable."""
    monkeypatch.setattr(outgoing, "order_of", broken)


def break_the_registry(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the task that looks a newcomer up."""
    monkeypatch.setattr(site.central._registry, "find_kept", lambda *_: None)
    monkeypatch.setattr(site.central._registry, "look_up", broken)


@pytest.mark.parametrize("break_it", [break_the_grid, break_what_is_said, break_the_registry])
async def test_a_bug_anywhere_else_stops_central_as_well(
    break_it: Break, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.engine()
    driver = await site.driver()
    break_it(site, monkeypatch)
    driver.send(m.ChargeRequest(id=99, cp_id="CP-1"))
    site.join(site.registry.register(driver.credential.role, "ben"))
    assert isinstance(await site.central.failure, ZeroDivisionError)
    await site.stop()


async def test_a_bug_in_an_answer_closes_only_who_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question changes nothing, so the state can still be trusted."""
    driver, operator = await site.driver(), await site.operator()
    monkeypatch.setattr(outgoing, "totals_view", broken)
    with pytest.raises(RequestFailed):
        await operator.ask(m.Query(id=0, what="totals"))
    assert "INTERNAL" in operator.downs[0]
    await driver.heard()
    assert not site.central.failure.done()


async def test_only_the_first_failure_is_kept(site: Site) -> None:
    first, second = ValueError("first"), ValueError("second")
    site.central._fail(first)
    site.central._fail(second)
    assert await site.central.failure is first
