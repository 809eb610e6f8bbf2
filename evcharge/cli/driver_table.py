"""Tables of ``evcharge-driver``: as wide as the terminal lets them be, and nothing in them is ever cut.

Whoever reads them has to type what stands there: an id that ends in an ellipsis is no id.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import click
from rich.cells import cell_len

# Between two columns.
GAP = "  "
# Before what belongs to the line above.
INDENT = "    "


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """On a terminal a table that fits it; elsewhere tab-separated lines, the first of them the heads. ``empty`` goes to
    stderr where there are no rows.
    """
    if not rows:
        click.echo(empty, err=True)
        return
    if not sys.stdout.isatty():
        for row in (heads, *rows):
            click.echo("\t".join(row))
        return
    for line in table_lines(heads, rows, shutil.get_terminal_size().columns):
        click.echo(line)


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The lines on a terminal of ``width`` columns: a table; where it is too wide, with the last column under each row;
    where that is still too wide, each row as lines of its own. A cell that is wider than the terminal runs on.
    """
    if _width(heads, rows) <= width:
        return _table(heads, rows)
    if _width(heads[:-1], [row[:-1] for row in rows]) <= width:
        first, *lines = _table(heads[:-1], [row[:-1] for row in rows])
        under = [f"{INDENT}{heads[-1]}{GAP}{row[-1]}" if row[-1] else "" for row in rows]
        return [first, *[line for pair in zip(lines, under, strict=True) for line in pair if line]]
    named = max(map(cell_len, heads))
    blocks = [
        [_padded(head, named) + GAP + cell for head, cell in zip(heads, row, strict=True) if cell] for row in rows
    ]
    return [line for place, block in enumerate(blocks) for line in ([""] if place else []) + block]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = _widths(heads, rows)
    lines = [GAP.join(map(_padded, row, widths)).rstrip() for row in (heads, *rows)]
    return [click.style(lines[0], bold=True), *lines[1:]]


def _width(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(_widths(heads, rows)) + len(GAP) * (len(heads) - 1)


def _widths(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
