"""Tables for a person: whole on any terminal, with their heads in a pipe too."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from evcharge.cli.driver_places import QUEUE_HEADS, RESERVATION_HEADS, queue_rows, reservation_rows
from evcharge.cli.driver_table import show_table, table_lines
from evcharge.cli.driver_view import TICKET_HEADS, ticket_rows
from protocol import messages as m
from tests.driver.test_view import TICKET

PLACE_ID, TICKET_ID = "s-47609c8504e54f1fb4d1a2b3c4d5e6f7", "t-47609c8504e54f1fb4d1a2b3c4d5e6f7"
PLACE = m.WaitingView(
    waiting_id=PLACE_ID,
    state="WAITING",
    cp_id="CP-1",
    connector=0,
    driver_id="anna",
    place=1,
    eta_ms=1_763_683_200_000,
    inputs_age_ms=3_000,
    reason="busy",
)
RESERVATION = m.ReservationView(
    reservation_id=PLACE_ID,
    state="LATE",
    cp_id="CP-1",
    connector=1,
    driver_id="anna",
    from_ms=1_763_683_200_000,
    until_ms=1_763_690_400_000,
    reason="no_capacity",
)
TABLES = {
    "queue": (QUEUE_HEADS, queue_rows([PLACE]), PLACE_ID),
    "reservations": (RESERVATION_HEADS, reservation_rows([RESERVATION]), PLACE_ID),
    "tickets": (TICKET_HEADS, ticket_rows([msgspec.structs.replace(TICKET, ticket_id=TICKET_ID)]), TICKET_ID),
}
cells = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=30)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", [40, 80, 132, 300])
def test_what_has_to_be_typed_is_whole(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    heads, rows, must = TABLES[name]
    show_table(heads, rows, "none")
    out = capsys.readouterr().out
    assert must in out
    widest = len("charge point  ") + max(cell_len(cell) for cell in rows[0])
    assert all(cell_len(line) <= max(width, widest) for line in _bare(out).splitlines())
    assert all(head in out for head in heads)


@pytest.mark.parametrize("name", TABLES)
def test_a_pipe_gets_the_heads_first_and_all_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    heads, rows, must = TABLES[name]
    show_table(heads, rows, "none")
    first, second = capsys.readouterr().out.splitlines()
    assert first.split("\t") == list(heads)
    assert must in second.split("\t")


def test_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("id",), [], "There is none.")
    assert capsys.readouterr() == ("", "There is none.\n")


def test_markup_of_somebody_else_is_text() -> None:
    assert "CP-1          [red]ACTIVATED" in table_lines(("charge point", "state"), [("CP-1", "[red]ACTIVATED")], 80)


def test_the_last_column_comes_under_its_row_before_all_rows_are_taken_apart() -> None:
    heads, rows = ("place", "id"), [("1", "a" * 20), ("2", "")]
    assert [_bare(line) for line in table_lines(heads, rows, 27)] == ["place  id", f"1      {'a' * 20}", "2"]
    assert [_bare(line) for line in table_lines(heads, rows, 26)] == ["place", "1", f"    id  {'a' * 20}", "2"]
    assert table_lines(heads, rows, 4) == ["place  1", f"id     {'a' * 20}", "", "place  2"]


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=4), st.integers(1, 120))
def test_no_cell_is_ever_cut(rows: list[tuple[str, ...]], width: int) -> None:
    lines = table_lines(("one", "two", "three"), rows, width)
    assert all(any(cell in line for line in lines) for row in rows for cell in row if cell)


def _bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9]*m", "", text)
