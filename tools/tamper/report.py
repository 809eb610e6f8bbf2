"""The rows of a run as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tools.tamper.made import Made
from tools.tamper.row import Row
from tools.tamper.run import Settings

_COLUMNS = ("tried", "found", "place exact", "harmless", "by witness", "not covered", "silent")
_WIDTHS = (9, 9, 13, 10, 12, 13, 8)


def silent(rows: Mapping[str, Row]) -> int:
    """Changes that gave another past, unseen."""
    return sum(row.silent for row in rows.values())


def table(rows: Mapping[str, Row], made: Made, settings: Settings) -> str:
    """A row for each kind of change, why harmless ones are, and how to reproduce what is silent."""
    shown = [row for row in rows.values() if row.tried]
    widest = max((len(row.what) for row in shown), default=0)
    lines = [
        f"seed {settings.seed}: {len(made.spots)} records in {len(made.segments)} segments of {made.segment_bytes} "
        f"bytes, {len(made.kept)} checkpoints",
        "",
        " " * widest + "".join(f"{column:>{width}}" for column, width in zip(_COLUMNS, _WIDTHS, strict=True)),
    ]
    lines += [_line(row, widest) for row in shown]
    whole = Row("", "all")
    for row in shown:
        whole.add(row)
    lines += [_line(whole, widest), ""]
    lines += _notes(shown, whole)
    for row in shown:
        lines += [
            f"SILENT {why}: --seed {settings.seed} --records {settings.records} --only {only}"
            for only, why in row.reproduce
        ]
    lines.append("nothing is silent" if not whole.silent else f"{whole.silent} changes are SILENT")
    return "\n".join(lines)


def _line(row: Row, widest: int) -> str:
    figures = (row.tried, row.found, row.exact, row.harmless.total(), row.witness, row.uncovered, row.silent)
    return f"{row.what:{widest}}" + "".join(
        f"{figure:>{width},}" for figure, width in zip(figures, _WIDTHS, strict=True)
    )


def _notes(shown: list[Row], whole: Row) -> list[str]:
    lines = []
    for why in whole.harmless:
        names = ", ".join(f"{row.harmless[why]:,} of {row.name}" for row in shown if row.harmless[why])
        lines.append(f"harmless: {why} ({names})")
    lines += [
        f"not covered: {row.uncovered:,} of {row.name}: above the last checkpoint, up to {row.concerned} records"
        for row in shown
        if row.uncovered
    ]
    lines.append(
        f"{whole.restarts:,} starts of Central on changed logs: {whole.refused:,} refused, "
        f"{whole.restarts - whole.refused:,} went on, {whole.alarms:,} of them with a false alarm when witnesses came"
    )
    return lines


def as_json(rows: Mapping[str, Row], made: Made, settings: Settings) -> str:
    """The same as one object."""
    answer: dict[str, Any] = {
        "seed": settings.seed,
        "records": len(made.spots),
        "segments": len(made.segments),
        "segment_bytes": made.segment_bytes,
        "checkpoints": len(made.kept),
        "kept": not silent(rows),
        "rows": [row for row in rows.values() if row.tried],
    }
    return msgspec.json.encode(answer).decode()
