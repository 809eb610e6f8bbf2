"""What a driver sees: units, reasons in words, nothing that a terminal would obey."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evcharge.cli.driver_view import (
    JsonShow,
    LineShow,
    LiveShow,
    duration,
    lost_text,
    money,
    picture,
    plain,
    power_text,
    state_text,
    ticket_text,
)
from protocol import messages as m

SESSION = m.SessionView(
    session_id="s-1",
    state="SUPPLYING",
    cp_id="CP-1",
    connector=2,
    requested_wh=8000,
    depart_by_ms=1_763_683_200_000,
    energy_wh=2000,
    power_w=6900,
    limit_w=7400,
    reason="shared",
    amount_minor=60,
    currency="EUR",
)
TICKET = m.TicketView(
    ticket_id="t-1",
    session_id="s-1",
    cp_id="CP-1",
    driver_id="anna",
    substation_id="main",
    start_ms=0,
    end_ms=3_723_000,
    duration_s=3723,
    energy_wh=8000,
    price_e4=3000,
    amount_minor=240,
    currency="EUR",
    status="COMPLETED",
    reason="target_reached",
    average_w=7700,
    co2_g=2400,
)


def console() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=100, color_system=None), out


def test_the_picture_shows_energy_power_cost_and_why_the_power_is_limited() -> None:
    screen, out = console()
    screen.print(picture(SESSION))
    shown = out.getvalue()
    for words in ("CP-1 #2", "charging", "2.000 kWh of 8.000 kWh", "25 %", "6.90 kW", "limit 7.40 kW", "0.60 EUR"):
        assert words in shown
    assert "shared with the others who charge there" in shown
    screen, out = console()
    waiting = msgspec.structs.replace(SESSION, state="AUTHORIZED", requested_wh=None, limit_w=None, expires_ms=5)
    screen.print(picture(waiting, "connection to Central lost"))
    shown = out.getvalue()
    assert "waiting for the vehicle" in shown
    assert "plug in by" in shown
    assert "connection to Central lost" in shown
    assert "%" not in shown


def test_a_target_that_is_passed_shows_full() -> None:
    screen, out = console()
    screen.print(picture(msgspec.structs.replace(SESSION, energy_wh=9000)))
    assert "100 %" in out.getvalue()


def test_the_live_view_paints_one_session_and_keeps_lines() -> None:
    screen, out = console()
    show = LiveShow(screen)
    show.link(up=True, why="")
    show.update(SESSION)
    show.watch(SESSION)
    show.update(msgspec.structs.replace(SESSION, energy_wh=4000))
    show.update(msgspec.structs.replace(SESSION, session_id="s-2", cp_id="OTHER"))
    show.watch(SESSION)
    show.link(up=False, why="no answer")
    assert show.ticket(TICKET)
    show.close()
    show.close()
    shown = out.getvalue()
    assert "OTHER" not in shown
    assert "8.000 kWh at CP-1 for 2.40 EUR in 1:02:03" in shown
    show.link(up=False, why="no\x1banswer")
    assert "charging goes on" in out.getvalue()
    assert "\x1banswer" not in out.getvalue()


def test_plain_lines_only_for_changes(capsys: pytest.CaptureFixture[str]) -> None:
    show = LineShow()
    for energy in (2000, 2100, 2499, 2500, 2999):
        show.update(msgspec.structs.replace(SESSION, energy_wh=energy))
    show.update(msgspec.structs.replace(SESSION, energy_wh=2999, state="PAUSED", reason="no_capacity", limit_w=0))
    show.link(up=True, why="")
    show.link(up=False, why="gone")
    show.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "paused" in lines[2]
    assert "it waits for its turn" in lines[2]
    assert lines[3].startswith("connection to Central lost (gone)")
    assert "another program uses your credential now" in lost_text("the peer closed: SUPERSEDED")


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show = JsonShow()
    show.link(up=True, why="")
    show.link(up=False, why="gone")
    show.update(SESSION)
    assert show.ticket(TICKET)
    show.say("a sentence")
    show.close()
    said = capsys.readouterr()
    lines = [msgspec.json.decode(line) for line in said.out.splitlines()]
    assert [line["what"] for line in lines] == ["connected", "disconnected", "update", "ticket"]
    assert lines[3]["amount_minor"] == 240
    assert said.err == "a sentence\n"


def test_words_for_people() -> None:
    assert (money(1234, "EUR"), money(5, "EUR"), money(-150, "EUR"), money(0, "")) == (
        "12.34 EUR",
        "0.05 EUR",
        "-1.50 EUR",
        "0.00",
    )
    assert duration(3723) == "1:02:03"
    assert power_text(SESSION).endswith("limited: shared with the others who charge there")
    assert power_text(msgspec.structs.replace(SESSION, limit_w=None, reason="new_reason")) == "6.90 kW, new_reason"
    assert state_text(msgspec.structs.replace(SESSION, state="NEW")) == "new"
    assert "adjusted by +5, -3 Wh" in ticket_text(msgspec.structs.replace(TICKET, adjustments=[5, -3]))


@given(st.text())
def test_no_text_reaches_the_terminal_as_a_command(text: str) -> None:
    session = msgspec.structs.replace(SESSION, cp_id=text, reason=text, state=text, session_id=text)
    assert all(character.isprintable() for character in plain(text) + power_text(session) + state_text(session))
    screen, out = console()
    screen.print(picture(session, plain(text)))
    assert "\x1b" not in out.getvalue().replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
