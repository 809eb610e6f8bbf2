"""What the demo shows while it runs: a live table on a terminal, plain lines everywhere else.

All figures come over the wire, by an operator's credential, like anybody's who may ask.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Protocol

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from protocol.messages import ChargePointView, Message, Query, Reply, SubstationView, TotalsView

# Order and colour of the charge points' states.
STATES = {
    "ACTIVATED": ("free", "green"),
    "SUPPLYING": ("charging", "cyan"),
    "STOPPED": ("stopped", "yellow"),
    "OUT_OF_ORDER": ("out of order", "red"),
    "DISCONNECTED": ("disconnected", "magenta"),
}
# Wall seconds between two plain lines: a day of two minutes gives some thirty.
PLAIN_EVERY_S = 5.0
# Wall seconds between two looks of the live table.
LIVE_EVERY_S = 0.5
# Lines of the terminal that are not rows of charge points.
_FRAME_LINES = 12


class Asks(Protocol):
    """The part of a client that is needed here."""

    async def request(self, message: Message, timeout_s: float = 10.0) -> Message: ...


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What Central said at one moment; instants in site time."""

    site_ms: int
    charge_points: tuple[ChargePointView, ...]
    totals: TotalsView
    substations: tuple[SubstationView, ...]

    @property
    def states(self) -> Counter[str]:
        return Counter(point.state for point in self.charge_points)

    @property
    def power_w(self) -> int:
        return sum(connector.power_w for point in self.charge_points for connector in point.connectors)

    @property
    def capacity_w(self) -> int:
        return sum(substation.capacity_w for substation in self.substations)

    @property
    def open_sessions(self) -> int:
        return sum(substation.sessions for substation in self.substations)

    @property
    def energy_wh(self) -> int:
        """Of all tickets and of the sessions that run."""
        running = (
            connector.energy_wh
            for point in self.charge_points
            for connector in point.connectors
            if connector.session_id is not None
        )
        return self.totals.energy_wh + sum(running)


async def ask(client: Asks, what: str) -> list[Reply]:
    """All pages of a query. Raises what ``client.request`` raises."""
    pages = []
    after: str | None = None
    while True:
        query = msgspec.convert({"id": 0, "what": what, "after": after}, Query)
        reply = await client.request(query)
        assert isinstance(reply, Reply)
        pages.append(reply)
        after = reply.next
        if after is None:
            return pages


async def take_snapshot(client: Asks, site_ms: int) -> Snapshot:
    """Ask Central for everything that is shown. Raises what ``client.request`` raises."""
    points = await ask(client, "charge_points")
    substations = await ask(client, "substations")
    totals = await ask(client, "totals")
    return Snapshot(
        site_ms=site_ms,
        charge_points=tuple(point for page in points for point in page.charge_points or ()),
        totals=totals[0].totals or TotalsView(),
        substations=tuple(row for page in substations for row in page.substations or ()),
    )


def site_time(site_ms: int, utc_offset_s: int) -> str:
    """``Fri 14:05`` at the site."""
    instant = datetime.fromtimestamp(site_ms / 1000, UTC) + timedelta(seconds=utc_offset_s)
    return f"{instant:%a %H:%M}"


def plain_line(snapshot: Snapshot, utc_offset_s: int) -> str:
    """One line that says how things stand."""
    states = snapshot.states
    points = ", ".join(f"{states[name]} {word}" for name, (word, _) in STATES.items() if states[name])
    totals = snapshot.totals
    return (
        f"{site_time(snapshot.site_ms, utc_offset_s)}  {points or 'no charge points'}  |  "
        f"{snapshot.open_sessions} open, {totals.started} started, {totals.tickets} tickets  |  "
        f"{snapshot.power_w / 1000:.1f} of {snapshot.capacity_w / 1000:g} kW  |  "
        f"{snapshot.energy_wh / 1000:.1f} kWh"
    )


def render(snapshot: Snapshot, *, title: str, hint: str, utc_offset_s: int, width: int, height: int) -> RenderableType:
    """The live view: the site's figures, then as many charge points as fit, the charging ones first."""
    totals = snapshot.totals
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(style="bold", no_wrap=True)
    head.add_column(ratio=1)
    states = Text("  ").join(
        Text(f"{snapshot.states[name]} {_word(name)[0]}", style=_word(name)[1])
        for name in sorted(snapshot.states, key=lambda name: (name not in STATES, name))
    )
    power = Table.grid(padding=(0, 1))
    power.add_row(
        ProgressBar(total=max(1, snapshot.capacity_w), completed=snapshot.power_w, width=30),
        Text(f"{snapshot.power_w / 1000:.1f} of {snapshot.capacity_w / 1000:g} kW"),
    )
    head.add_row("site time", Text(site_time(snapshot.site_ms, utc_offset_s), style="bold"))
    head.add_row("charge points", states)
    head.add_row("power", power)
    head.add_row(
        "sessions",
        f"{snapshot.open_sessions} open, {totals.authorized} authorized, {totals.refused} refused, "
        f"{totals.started} started, {totals.expired} expired",
    )
    head.add_row(
        "energy",
        f"{snapshot.energy_wh / 1000:.1f} kWh, {totals.tickets} tickets over {totals.amount_minor / 100:.2f}",
    )
    return Panel(
        Group(head, Text(), _points(snapshot, max(3, height - _FRAME_LINES))),
        title=title,
        subtitle=hint,
        border_style="dim",
        # Room for the ^C that the terminal shows: at the edge it would wrap and shift everything by a line.
        width=width - 4,
    )


def _word(state: str) -> tuple[str, str]:
    return STATES.get(state, (state.lower(), "white"))


def _points(snapshot: Snapshot, rows: int) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    for name, right in (
        ("charge point", False),
        ("state", False),
        ("kW", True),
        ("limit", True),
        ("kWh", True),
        ("why", False),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    order = sorted(snapshot.charge_points, key=lambda point: (point.state != "SUPPLYING", point.cp_id))
    for point in order[:rows]:
        word, colour = _word(point.state)
        limits = [row.limit_w for row in point.connectors if row.limit_w is not None]
        reasons = [row.reason for row in point.connectors if row.reason]
        busy = any(row.session_id is not None for row in point.connectors)
        table.add_row(
            Text(point.cp_id),
            Text(word, style=colour),
            Text(f"{sum(row.power_w for row in point.connectors) / 1000:.1f}" if busy else ""),
            Text(f"{sum(limits) / 1000:.1f}" if busy and limits else ""),
            Text(f"{sum(row.energy_wh for row in point.connectors) / 1000:.1f}" if busy else ""),
            Text(reasons[0].replace("_", " ") if busy and reasons else "", style="dim"),
        )
    if len(order) > rows:
        table.add_row(Text(f"… and {len(order) - rows} more", style="dim"))
    return table


class Screen:
    """Shows snapshots on a console, as a live table or as lines. Use as ``with``."""

    def __init__(self, console: Console, *, title: str, utc_offset_s: int) -> None:
        self._console = console
        self._title = title
        self._offset_s = utc_offset_s
        self.hint = "Ctrl-C ends it"
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    @property
    def every_s(self) -> float:
        """Wall seconds between two snapshots."""
        return PLAIN_EVERY_S if self._live is None else LIVE_EVERY_S

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """One line for the reader, above the table."""
        self._console.print(Text(sentence), soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Show how things stand now."""
        if self._live is None:
            self.say(plain_line(snapshot, self._offset_s))
            return
        view = render(
            snapshot,
            title=self._title,
            hint=self.hint,
            utc_offset_s=self._offset_s,
            width=self._console.width,
            height=self._console.height,
        )
        self._live.update(view, refresh=True)
