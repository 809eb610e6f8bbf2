"""The prompt: keys and words that a person types, in any state of the link."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from evcharge.cli.driver_prompt import HELP, Lines, Prompt
from evcharge.cli.driver_view import LiveShow
from evcharge.driver.client import Refusal
from protocol import messages as m
from protocol.errors import CloseCode, RefuseCode
from tests.driver.conftest import driver
from tests.driver.test_advice import NONE
from tests.driver.test_view import console
from tests.support.fake_central import FakeCentral

DEPART_MS = 1_800_000_000_000


class Person:
    """A prompt with a live view, typed at by the test."""

    def __init__(self, central: FakeCentral) -> None:
        screen, self.out = console()
        self.show = LiveShow(screen)
        self.lines = Lines()
        self.client = driver(central, self.show)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Person:
        await self.client.__aenter__()
        self._task = asyncio.create_task(
            Prompt(self.client, self.show, self.lines, lambda _text, _since=0: DEPART_MS).run()
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.client.__aexit__()

    def type(self, *lines: str | None) -> None:
        for line in lines:
            self.lines.feed(line)

    async def ended(self) -> None:
        assert self._task is not None
        await self._task

    @property
    def seen(self) -> str:
        return self.out.getvalue()


def hold(central: FakeCentral) -> None:
    central.on_request = lambda _driver, session: (central.start(session.session_id), None)[1]


async def test_ctrl_c_leaves_the_view_and_then_the_program(central: FakeCentral) -> None:
    hold(central)
    async with Person(central) as person:
        person.type("charge CP-1 5")
        await central.until(lambda: bool(central.sessions))
        person.lines.interrupt()
        person.lines.interrupt()
        await person.ended()
        (session_id,) = central.sessions
        assert f"Still charging: {session_id}" in person.seen
        assert not central.got(m.EndCharge)


async def test_a_view_can_be_left_and_taken_up_until_the_ticket(central: FakeCentral) -> None:
    hold(central)
    async with Person(central) as person:
        person.type("charge CP-1 5 12:30", "", "watch ")
        await central.until(lambda: bool(central.sessions))
        (session_id,) = central.sessions
        central.update(session_id, energy_wh=2500)
        central.finish(session_id, 5000)
        await central.until(lambda: bool(central.confirmed))
        person.type("end", None)
        await person.ended()
        assert "5.000 kWh at CP-1" in person.seen
        assert "No charge of this window runs" in person.seen
        assert "Still charging" not in person.seen
        assert central.got(m.ChargeRequest)[0].depart_by_ms == DEPART_MS


async def test_a_session_that_expires_in_the_view(central: FakeCentral) -> None:
    central.on_request = lambda _driver, session: central.expire(session.session_id)
    async with Person(central) as person:
        person.type("charge CP-1")
        while "ended before it began: expired" not in person.seen:
            await asyncio.sleep(0)
        person.type("quit")
        await person.ended()


async def test_a_command_typed_into_the_view_is_done(central: FakeCentral) -> None:
    hold(central)
    async with Person(central) as person:
        person.type("charge CP-1", "end", "quit")
        await person.ended()
        await central.until(lambda: bool(central.got(m.EndCharge)))


async def test_words_that_are_too_many_or_too_few(central: FakeCentral) -> None:
    async with Person(central) as person:
        person.type("list all", "charge", "tickets now", "HELP", "   ", "exit")
        await person.ended()
        usage = [line for line in HELP.splitlines() if line.startswith(("list", "charge", "tickets"))]
        assert all(person.seen.count(line.split("  ")[0]) >= 2 for line in usage)
        assert not central.got(m.ChargeRequest)


async def test_the_end_of_input_leaves_a_view_too(central: FakeCentral) -> None:
    hold(central)
    async with Person(central) as person:
        person.type("charge CP-1", None)
        await person.ended()
        assert "Still charging" in person.seen


async def test_who_waits_sees_his_place_and_then_the_charge(central: FakeCentral) -> None:
    central.sessions["s-other"] = m.SessionView(
        session_id="s-other", state="SUPPLYING", cp_id="CP-1", connector=1, driver_id="ben"
    )

    def offer(place: m.WaitingView) -> None:
        hold(central)
        central.offer(place.waiting_id)

    central.on_wait = offer
    async with Person(central) as person:
        person.type("wait CP-1 7", "quit")
        await person.ended()
        assert "waiting at CP-1" in person.seen
        (asked,) = central.got(m.ChargeRequest)
        assert (asked.wait, asked.energy_wh) == (True, 7_000)


async def test_the_other_verbs_do_what_the_commands_do(
    central: FakeCentral, capsys: pytest.CaptureFixture[str]
) -> None:
    central.recommendation = NONE
    async with Person(central) as person:
        person.type("reserve CP-1 14:00 +2h", "reservations", "queue", "recommend 35%", "recommend 95", "quit")
        await person.ended()
        (made,) = central.got(m.Reserve)
        assert made.cp_id == "CP-1"
        assert "'cancel r0' gives it" in person.seen
        assert "below 80" in person.seen
        shown = capsys.readouterr()
        assert "reserved" in shown.out and "You wait nowhere" in shown.err
        assert "out of service" in shown.out
        assert len(central.got(m.Recommend)) == 1


async def test_a_revocation_ends_the_prompt(central: FakeCentral) -> None:
    hold(central)
    async with Person(central) as person:
        person.type("charge CP-1")
        await central.until(lambda: bool(central.sessions))
        central.refuse = RefuseCode.REVOKED
        central.close_links(CloseCode.REVOKED)
        with pytest.raises(Refusal):
            await person.ended()


async def test_lines_are_read_from_a_descriptor_in_pieces() -> None:
    read, write = os.pipe()
    lines = Lines()
    lines.start(read)
    got: list[Any] = []
    for piece in (b"li", b"st\nticke", b"ts\n\xff\nquit"):
        os.write(write, piece)
    os.close(write)
    while (line := await lines.next()) is not None:
        got.append(line)
    os.close(read)
    assert got == ["list", "tickets", "\ufffd", "quit"]


async def test_a_descriptor_that_is_gone_is_the_end_of_input() -> None:
    read, write = os.pipe()
    os.close(write)
    os.close(read)
    lines = Lines()
    lines.start(read)
    assert await lines.next() is None
