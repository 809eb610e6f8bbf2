"""What ``evcharge-driver`` shows: a live view on a terminal, plain lines elsewhere, JSON lines for scripts.

Texts of Central are cleaned before they meet a terminal; numbers get units for people.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evcharge.cli.common import print_json
from evcharge.cli.driver_places import place_picture, place_text, reservation_text
from evcharge.cli.driver_text import local_time, plain
from protocol import messages as m
from protocol.errors import CloseCode

# Pictures per second of the live view; Central has news once a second.
REFRESH_PER_S = 4
# Columns of the progress bar.
BAR_WIDTH = 40
# Without a terminal a line is written at each change of state or limit, and when this much energy was added, in Wh.
LINE_EACH_WH = 500

# Heads of the tables.
CHARGE_POINT_HEADS = ("charge point", "connector", "state", "power", "who")
TICKET_HEADS = ("end", "charge point", "energy", "amount", "time", "how", "ticket")

# Why the power is what it is, for people.
REASONS = {
    "shared": "limited: shared with the others who charge there",
    "connector_rating": "full power of the connector",
    "no_capacity": "paused: it waits for its turn, there is not enough for all",
    "waiting_for_others": "limited: more as soon as others have confirmed less",
    "plan": "limited: the plan leaves power for later, or for others",
    "rule": "limited by a rule of the site (grid, sun, battery)",
    "need": "all that the vehicle still needs",
    "steady": "limited: there is more, and it comes within a minute",
    "ramp": "on its way up",
    "equal_share": "limited: the substation's capacity is shared equally",
    "operator": "limited by the operator of the charge point",
    "substation_lost": "held down: the substation has failed, it goes on when another one takes over or it is back",
}
STATES = {
    "AUTHORIZED": "authorized, waiting for the vehicle and for power",
    "SUPPLYING": "charging",
    "PAUSED": "paused",
    "OFFLINE": "charging, the charge point is out of contact",
    "COMPLETED": "completed",
    "INTERRUPTED": "interrupted",
    "EXPIRED": "expired",
}


# Close codes of a channel that a second program with the same credential has taken.
_OTHER_PROGRAM = (CloseCode.SUPERSEDED.name, CloseCode.DUPLICATE_ID.name)


def kwh(energy_wh: int) -> str:
    """Energy for people."""
    return f"{energy_wh / 1000:.3f} kWh"


def kw(power_w: int) -> str:
    """Power for people."""
    return f"{power_w / 1000:.2f} kW"


def money(minor: int, currency: str) -> str:
    """Money for people; minor units are hundredths."""
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100}.{abs(minor) % 100:02d} {plain(currency)}".rstrip()


def duration(seconds: int) -> str:
    """``1:02:03``."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def state_text(view: m.SessionView) -> str:
    """The state in words."""
    return STATES.get(view.state, plain(view.state).lower())


def power_text(view: m.SessionView) -> str:
    """Power, limit and, when it is limited, why."""
    words = [kw(view.power_w)]
    if view.limit_w is not None:
        words.append(f"limit {kw(view.limit_w)}")
    if view.reason:
        words.append(REASONS.get(view.reason, plain(view.reason)))
    return ", ".join(words)


def lost_text(why: str) -> str:
    """What a person needs to know when the link is down."""
    if any(code in why for code in _OTHER_PROGRAM):
        return "another program uses your credential now: nothing is lost, this view comes back when it is done"
    return f"connection to Central lost ({plain(why)}); charging goes on, connecting again"


def authorized_text(session: m.SessionView) -> str:
    """A granted charge in one line."""
    by = "" if session.expires_ms is None else f"; plug in by {local_time(session.expires_ms)}, if not yet"
    return f"authorized at {plain(session.cp_id)} #{session.connector}, session {plain(session.session_id)}{by}"


def ticket_text(ticket: m.TicketView) -> str:
    """A ticket in one line."""
    late = f" (adjusted by {', '.join(f'{item:+d}' for item in ticket.adjustments)} Wh)" if ticket.adjustments else ""
    return (
        f"ticket {plain(ticket.ticket_id)}: {kwh(ticket.energy_wh)}{late} at {plain(ticket.cp_id)} for "
        f"{money(ticket.amount_minor, ticket.currency)} in {duration(ticket.duration_s)}, "
        f"{plain(ticket.status).lower()} ({plain(ticket.reason).replace('_', ' ')}), {ticket.co2_g} g CO2"
    )


class Show(Protocol):
    """Where happenings go; also the client's ``Watcher``."""

    def link(self, *, up: bool, why: str) -> None: ...

    def update(self, session: m.SessionView) -> None: ...

    def place(self, view: m.WaitingView) -> None: ...

    def reservation(self, view: m.ReservationView) -> None: ...

    def ticket(self, ticket: m.TicketView) -> bool: ...

    def say(self, text: str) -> None:
        """A sentence for people."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class JsonShow:
    """One JSON object a line; sentences go to stderr."""

    def link(self, *, up: bool, why: str) -> None:
        print_json({"what": "connected"} if up else {"what": "disconnected", "why": why})

    def update(self, session: m.SessionView) -> None:
        print_json({"what": "update", **fields_of(session)})

    def place(self, view: m.WaitingView) -> None:
        print_json({"what": "waiting", **fields_of(view)})

    def reservation(self, view: m.ReservationView) -> None:
        print_json({"what": "reservation", **fields_of(view)})

    def ticket(self, ticket: m.TicketView) -> bool:
        print_json({"what": "ticket", **fields_of(ticket)})
        sys.stdout.flush()
        return True

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def close(self) -> None:
        return


class LineShow:
    """Plain lines, one for each change that matters."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[object, ...]] = {}

    def link(self, *, up: bool, why: str) -> None:
        if not up:
            self.say(lost_text(why))

    def update(self, session: m.SessionView) -> None:
        shown = (session.state, session.limit_w, session.reason, session.energy_wh // LINE_EACH_WH)
        if self._last.get(session.session_id) == shown:
            return
        self._last[session.session_id] = shown
        words = [f"{plain(session.cp_id)}: {state_text(session)}"]
        if session.state in ("SUPPLYING", "PAUSED", "OFFLINE"):
            words += [kwh(session.energy_wh), power_text(session), money(session.amount_minor, session.currency)]
        self.say("  ".join(words))

    def place(self, view: m.WaitingView) -> None:
        text = place_text(view)
        if self._last.get(view.waiting_id) != (text,):
            self._last[view.waiting_id] = (text,)
            self.say(text)

    def reservation(self, view: m.ReservationView) -> None:
        self.say(reservation_text(view))

    def ticket(self, ticket: m.TicketView) -> bool:
        self.say(ticket_text(ticket))
        sys.stdout.flush()
        return True

    def say(self, text: str) -> None:
        click.echo(text)

    def close(self) -> None:
        return


class LiveShow:
    """A picture of the running session that is painted anew, and lines that stay above it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live: Live | None = None
        self._lost = ""
        self._newest: m.SessionView | None = None
        self._place: m.WaitingView | None = None

    def link(self, *, up: bool, why: str) -> None:
        self._lost = "" if up else lost_text(why)
        if self._live is None and self._lost:
            self.say(self._lost)
        self._paint()

    def update(self, session: m.SessionView) -> None:
        if self._newest is None or session.session_id == self._newest.session_id:
            self._newest = session
        self._paint()

    def place(self, view: m.WaitingView) -> None:
        if view.state == "WAITING":
            self._place = view
            self._begin()
        else:
            self._place = None
            self.say(place_text(view))

    def reservation(self, view: m.ReservationView) -> None:
        self.say(reservation_text(view))

    def watch(self, session: m.SessionView) -> None:
        """From now on paint this session."""
        self._newest, self._place = session, None
        self._begin()

    def _begin(self) -> None:
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=REFRESH_PER_S, transient=True)
            self._live.start()
        self._paint()

    def ticket(self, ticket: m.TicketView) -> bool:
        self.say(ticket_text(ticket))
        return True

    def say(self, text: str) -> None:
        # Wrapped by the terminal itself: an id can be copied whole.
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Take the picture away."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._newest = self._place = None

    def _paint(self) -> None:
        if self._live is not None and self._place is not None:
            self._live.update(place_picture(self._place, self._lost))
        elif self._live is not None and self._newest is not None:
            self._live.update(picture(self._newest, self._lost))


def picture(view: m.SessionView, lost: str = "") -> Group:
    """The live view of one session."""
    head = Text(f"{plain(view.cp_id)} #{view.connector}  {state_text(view)}", style="bold")
    body = Table.grid(padding=(0, 2))
    body.add_column(style="dim")
    body.add_column(overflow="fold")
    if view.requested_wh:
        bar = ProgressBar(total=view.requested_wh, completed=min(view.energy_wh, view.requested_wh), width=BAR_WIDTH)
        percent = min(100, 100 * view.energy_wh // view.requested_wh)
        body.add_row("", bar)
        body.add_row("energy", f"{kwh(view.energy_wh)} of {kwh(view.requested_wh)}  ({percent} %)")
    else:
        body.add_row("energy", kwh(view.energy_wh))
    body.add_row("power", Text(power_text(view)))
    body.add_row("cost", money(view.amount_minor, view.currency))
    if view.expires_ms is not None:
        body.add_row("plug in by", local_time(view.expires_ms))
    if view.depart_by_ms is not None:
        body.add_row("departure", local_time(view.depart_by_ms))
    body.add_row("session", Text(plain(view.session_id)))
    rows: list[Any] = [head, body]
    if lost:
        rows.append(Text(lost, style="yellow"))
    return Group(*rows)


def charge_point_rows(rows: Sequence[m.ChargePointView]) -> list[tuple[str, ...]]:
    """One line per connector: charge point, connector, state, power, who."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        for view in row.connectors:
            who = "yours" if view.session_id else "in use" if view.driver else "vehicle there" if view.occupied else ""
            if view.session_id and view.state == "SUPPLYING" and view.limit_w == 0:
                who = "yours, paused: no power for it now"
            if row.waiting:
                who = f"{who}, {row.waiting} waiting".removeprefix(", ")
            rating = f"{view.min_w / 1000:g}-{view.max_w / 1000:g} kW"
            lines.append((plain(row.cp_id), f"#{view.connector}", plain(view.state), rating, who))
        if not row.connectors:
            lines.append((plain(row.cp_id), "", plain(row.state), "", ""))
    return lines


def ticket_rows(tickets: Sequence[m.TicketView]) -> list[tuple[str, ...]]:
    """One line per ticket, newest first."""
    return [
        (
            local_time(ticket.end_ms),
            plain(ticket.cp_id),
            kwh(ticket.energy_wh + sum(ticket.adjustments)),
            money(ticket.amount_minor, ticket.currency),
            duration(ticket.duration_s),
            f"{plain(ticket.status).lower()} ({plain(ticket.reason).replace('_', ' ')})",
            plain(ticket.ticket_id),
        )
        for ticket in tickets
    ]


def fields_of(view: msgspec.Struct) -> dict[str, Any]:
    """All fields of a view for JSON."""
    return msgspec.structs.asdict(view)
