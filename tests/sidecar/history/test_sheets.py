"""Files for spreadsheets: RFC 4180, and no cell is a formula."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.history.sheets import cell, instant, lines, money

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30) | st.sampled_from(
    ["=1+1", "+49 30", "-2", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("http://x","y")', 'a"b', "a,b", "a\r\nb", "\n=1"]
)


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_is_written_is_read_and_never_a_formula(rows: list[list[str]]) -> None:
    found = list(csv.reader(io.StringIO(lines(rows).decode(), newline=""), strict=True))
    assert len(found) == len(rows)
    for row, seen in zip(rows, found, strict=True):
        for wrote, said in zip(row, seen or [""], strict=True):
            assert said in (wrote, "'" + wrote)
            assert not said.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_cells() -> None:
    assert cell("=1+1") == "'=1+1"
    assert cell('-1,"x"') == '"\'-1,""x"""'
    assert (cell(-5), cell(None), cell("CP-1"), cell(Decimal("-0.05"))) == ("-5", "", "CP-1", "-0.05")
    assert [str(money(amount)) for amount in (0, 5, -5, 12_300)] == ["0.00", "0.05", "-0.05", "123.00"]
    assert (money(None), instant(None), instant(1_700_000_000_123)) == (None, "", "2023-11-14T22:13:20Z")
