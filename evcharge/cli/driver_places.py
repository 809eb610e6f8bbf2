"""Places in the line and reservations as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from evcharge.cli.driver_text import local_time, plain
from evcharge.driver.places import OFFERED, WAITS_FOR
from protocol.messages import ReservationView, WaitingView

QUEUE_HEADS = ("charge point", "connector", "place", "expected", "waits for", "id")
RESERVATION_HEADS = ("charge point", "connector", "from", "until", "state", "id")

# Why a place is over.
LEFT_BECAUSE = {
    "served": "you are served",
    "left": "you left",
    "no_show": "nobody plugged in, twice",
    "rejected": "the charge point did not take the session",
    "held": "the charge point is out of service; try another one",
    "revoked": "your credential was revoked",
    "departed": "the departure that you declared has come",
    "too_long": "you have waited for a day",
    "gone": "it ended while the connection was down; 'evcharge-driver tickets' and 'list' show whether you were served",
}
ENDED_BECAUSE = {
    "kept": "kept: you charge",
    "cancelled": "cancelled",
    "no_show": "released: nobody plugged in",
    "passed": "its time is over, and the connector or the power was never there",
    "unavailable": "the charge point was lost or went out of service",
    "revoked": "a credential was revoked",
}
STATES = {
    "PLANNED": "reserved",
    "OPEN": "it is your time: plug in",
    "LATE": "late: you are the next one to get it",
}


def place_text(view: WaitingView) -> str:
    """A place in the line, for people."""
    at = f"{plain(view.cp_id)}{f' #{view.connector}' if view.connector else ''}"
    if view.state == OFFERED:
        by = "" if view.offered_until_ms is None else f" by {local_time(view.offered_until_ms)}"
        return f"your turn at {at}: plug in{by}"
    if view.state == "LEFT":
        reason = view.reason or ""
        return f"no longer waiting at {at}: {LEFT_BECAUSE.get(reason, plain(reason))}"
    return f"waiting at {at}: place {view.place}, {expected(view)}{_for(view)}"


def expected(view: WaitingView) -> str:
    """When it is one's turn, and how old what that rests on is."""
    if view.eta_ms is None:
        return "nobody can tell when"
    age_s = (view.inputs_age_ms or 0) // 1000
    old = f" (from readings up to {age_s} s old)" if view.inputs_age_ms is not None else ""
    return f"expected {local_time(view.eta_ms)}{old}"


def _for(view: WaitingView) -> str:
    return "" if not view.reason else f"; waits for {WAITS_FOR.get(view.reason, plain(view.reason))}"


def place_picture(view: WaitingView, lost: str = "") -> Group:
    """The live view of one place in the line."""
    head = Text(f"{plain(view.cp_id)}  waiting, place {view.place}", style="bold")
    body = Table.grid(padding=(0, 2))
    body.add_column(style="dim")
    body.add_column(overflow="fold")
    body.add_row("your turn", expected(view))
    if view.reason:
        body.add_row("waits for", WAITS_FOR.get(view.reason, plain(view.reason)))
    if view.since_ms is not None:
        body.add_row("since", local_time(view.since_ms))
    body.add_row("place", Text(plain(view.waiting_id)))
    rows: list[Any] = [head, body]
    if lost:
        rows.append(Text(lost, style="yellow"))
    return Group(*rows)


def reservation_text(view: ReservationView) -> str:
    """A reservation, for people."""
    at = f"{plain(view.cp_id)} #{view.connector}"
    span = f"{local_time(view.from_ms)} to {local_time(view.until_ms)}"
    return f"reservation {plain(view.reservation_id)}: {at}, {span}, {reservation_state(view)}"


def reservation_state(view: ReservationView) -> str:
    """The state in words."""
    if view.state == "ENDED":
        return ENDED_BECAUSE.get(view.reason or "", plain(view.reason or "ended"))
    waits = f", waits for {WAITS_FOR.get(view.reason, plain(view.reason))}" if view.reason else ""
    return STATES.get(view.state, plain(view.state).lower()) + waits


def _when(row: WaitingView) -> str:
    """For a column whose head says "expected" already."""
    if row.offered_until_ms is not None:
        return f"plug in by {local_time(row.offered_until_ms)}"
    return expected(row).removeprefix("expected ")


def queue_rows(rows: Sequence[WaitingView]) -> list[tuple[str, ...]]:
    """One line per place."""
    return [
        (
            plain(row.cp_id),
            f"#{row.connector}" if row.connector else "any",
            "your turn" if row.state == OFFERED else str(row.place),
            _when(row),
            WAITS_FOR.get(row.reason or "", plain(row.reason or "")),
            plain(row.waiting_id),
        )
        for row in rows
    ]


def reservation_rows(rows: Sequence[ReservationView]) -> list[tuple[str, ...]]:
    """One line per reservation."""
    return [
        (
            plain(row.cp_id),
            f"#{row.connector}",
            local_time(row.from_ms),
            local_time(row.until_ms),
            reservation_state(row),
            plain(row.reservation_id),
        )
        for row in rows
    ]
