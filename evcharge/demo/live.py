"""What the demo shows while it runs: a live table on a terminal, plain lines everywhere else.

All figures come over the wire, by an operator's credential, like anybody's who may ask; the plan and the reasons come
from the log, in the words that ``evcharge-audit why`` has for them.
"""

from __future__ import annotations

from collections import Counter, deque
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

from evcharge.demo.story import Story, Told
from evcharge.driver.places import OFFERED, WAITS_FOR
from evcharge.energy.model import Plan
from evcharge.units import MS_PER_HOUR
from protocol.messages import (
    ChargePointView,
    ConnectorView,
    Message,
    Query,
    Reply,
    SubstationView,
    TotalsView,
    WaitingView,
)

# Order and colour of the charge points' states.
STATES = {
    "ACTIVATED": ("free", "green"),
    "SUPPLYING": ("charging", "cyan"),
    "STOPPED": ("stopped", "yellow"),
    "PAUSED": ("held at 0", "yellow"),
    "OUT_OF_ORDER": ("out of order", "red"),
    "DISCONNECTED": ("disconnected", "magenta"),
}
# A session that is given nothing for now: Central calls it SUPPLYING, a person does not call it charging.
PAUSED = "PAUSED"
# Wall seconds between two plain lines: a day of two minutes gives some thirty.
PLAIN_EVERY_S = 5.0
# Wall seconds between two looks of the live table.
LIVE_EVERY_S = 0.5
# Lines of the terminal that are not rows of charge points.
_FRAME_LINES = 14
# What flowed is a mean over so long, ms of site time, where a look comes after more than the second figure: meters tell
# once in two seconds of wall time, which may be an hour.
MEAN_MS, FRESH_MS = 2 * MS_PER_HOUR, 60_000
# The health of a substation that needs no word.
WELL = "UP"
# Of those who wait so many are shown at most; the queue takes no more than this share of the rows.
MOST_WAITING, WAITING_SHARE = 8, 0.3


class Asks(Protocol):
    """The part of a client that is needed here."""

    async def request(self, message: Message, timeout_s: float = 10.0) -> Message: ...


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What Central said at one moment; instants in site time."""

    site_ms: int
    charge_points: tuple[ChargePointView, ...]
    totals: TotalsView
    substations: tuple[SubstationView, ...]
    waiting: tuple[WaitingView, ...] = ()
    """In the fair order; who has an offer comes first."""
    plan: Plan | None = None
    plans: int = 0
    """How many there were."""
    told: dict[str, Told] = {}
    """Session → its newest set-point."""
    mean_w: int | None = None
    """What flowed over the last while, by the meters' energy; None: it is too early to say, or readings are fresh."""

    @property
    def states(self) -> Counter[str]:
        return Counter(_state(point) for point in self.charge_points)

    @property
    def power_w(self) -> int:
        """The mean of the last while, where site time runs fast and a reading is minutes old; else by the newest
        readings. One from before a set-point was lowered counts as that: what was given to others since would count
        twice.
        """
        if self.mean_w is not None:
            return self.mean_w
        return sum(_power_w(connector) for point in self.charge_points for connector in point.connectors)

    @property
    def capacity_w(self) -> int:
        """Of all that hangs on the grid by itself."""
        return sum(substation.capacity_w for substation in self.substations if substation.parent is None)

    @property
    def open_sessions(self) -> int:
        return sum(substation.sessions for substation in self.substations if substation.parent is None)

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


class Pace:
    """How fast energy flowed, over the last two hours of site time. Looks at one snapshot after the other."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()

    def look(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with its mean."""
        seen = self._seen
        seen.append((snapshot.site_ms, snapshot.energy_wh))
        while len(seen) > 2 and seen[1][0] <= snapshot.site_ms - MEAN_MS:
            seen.popleft()
        span_ms = snapshot.site_ms - seen[0][0]
        # Between two looks on a real clock the readings say it better.
        if span_ms < MEAN_MS or snapshot.site_ms - seen[-2][0] < FRESH_MS:
            return snapshot
        mean_w = max(0, snapshot.energy_wh - seen[0][1]) * MS_PER_HOUR // span_ms
        return msgspec.structs.replace(snapshot, mean_w=mean_w)


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


async def take_snapshot(client: Asks, site_ms: int, story: Story | None = None) -> Snapshot:
    """Ask Central for everything that is shown. Raises what ``client.request`` raises."""
    waiting = await ask(client, "waiting")
    points = await ask(client, "charge_points")
    substations = await ask(client, "substations")
    totals = await ask(client, "totals")
    return Snapshot(
        site_ms=site_ms,
        charge_points=tuple(point for page in points for point in page.charge_points or ()),
        totals=totals[0].totals or TotalsView(),
        substations=tuple(row for page in substations for row in page.substations or ()),
        waiting=tuple(row for page in waiting for row in page.queue or ()),
        plan=None if story is None else story.plan,
        plans=0 if story is None else story.plans,
        told={} if story is None else dict(story.told),
    )


def _power_w(connector: ConnectorView) -> int:
    return connector.power_w if connector.limit_w is None else min(connector.power_w, connector.limit_w)


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
        f"{_flow(snapshot)}  |  "
        f"{snapshot.energy_wh / 1000:.1f} kWh"
        f"{_lost_words(snapshot)}{_queue_words(snapshot)}{_plan_words(snapshot, utc_offset_s)}"
    )


def _flow(snapshot: Snapshot) -> str:
    about = "" if snapshot.mean_w is None else "about "
    return f"{about}{snapshot.power_w / 1000:.1f} of {snapshot.capacity_w / 1000:g} kW"


def _lost_words(snapshot: Snapshot) -> str:
    return "".join(
        f"  |  {each.substation_id} {each.health.lower()}" for each in snapshot.substations if each.health != WELL
    )


def _queue_words(snapshot: Snapshot) -> str:
    return f"  |  {len(snapshot.waiting)} wait" if snapshot.waiting else ""


def _plan_words(snapshot: Snapshot, utc_offset_s: int) -> str:
    return f"  |  plan {plan_text(snapshot, utc_offset_s)}" if snapshot.plan is not None else ""


def plan_text(snapshot: Snapshot, utc_offset_s: int) -> str:
    """The plan that rules: which one, how old, how far it reaches, and what it gives the site now."""
    plan = snapshot.plan
    if plan is None:
        return "none: the allocator shares alone"
    age = _span(snapshot.site_ms - plan.made_ms)
    if not plan.holds(snapshot.site_ms):
        return f"number {snapshot.plans} is {age} old, too old: the allocator shares alone"
    # A plan may count on roof and battery beside the connection; what is given never does.
    most_w = {substation.substation_id: substation.capacity_w for substation in snapshot.substations}
    targets = {node: plan.target_at(node, snapshot.site_ms) or 0 for node in plan.target_w}
    gives = sum(min(target, most_w.get(node, target)) for node, target in targets.items())
    until = site_time(plan.starts_ms[-1] if plan.starts_ms else plan.made_ms, utc_offset_s)
    return f"number {snapshot.plans}, {age} old, to {until}, gives {gives / 1000:.1f} kW now"


def _span(ms: int) -> str:
    minutes = max(0, ms) // 60_000
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
        Text(_flow(snapshot)),
    )
    head.add_row("site time", Text(site_time(snapshot.site_ms, utc_offset_s), style="bold"))
    head.add_row("charge points", states)
    head.add_row("power", power)
    head.add_row("plan", plan_text(snapshot, utc_offset_s))
    if any(substation.parent is not None for substation in snapshot.substations):
        head.add_row("substations", _substations(snapshot))
    head.add_row(
        "sessions",
        f"{snapshot.open_sessions} open, {totals.authorized} authorized, {totals.refused} refused, "
        f"{totals.started} started, {totals.expired} expired",
    )
    head.add_row(
        "energy",
        f"{snapshot.energy_wh / 1000:.1f} kWh, {totals.tickets} tickets over {totals.amount_minor / 100:.2f}",
    )
    rows = max(3, height - _FRAME_LINES)
    parts: list[RenderableType] = [head, Text()]
    if snapshot.waiting:
        places = max(1, min(MOST_WAITING, int(rows * WAITING_SHARE), len(snapshot.waiting)))
        parts += [_queue(snapshot, places, utc_offset_s), Text()]
        # Its head, its rows, the line that says how many more there are, and the empty one below it.
        rows = max(3, rows - places - 3)
    return Panel(
        Group(*parts, _points(snapshot, rows)),
        title=title,
        subtitle=hint,
        border_style="dim",
        # Room for the ^C that the terminal shows: at the edge it would wrap and shift everything by a line.
        width=width - 4,
    )


def _state(point: ChargePointView) -> str:
    return PAUSED if _paused(point) else point.state


def _paused(point: ChargePointView) -> bool:
    begun = [row.limit_w for row in point.connectors if row.session_id is not None]
    return point.state == "SUPPLYING" and bool(begun) and all(limit_w == 0 for limit_w in begun)


def _word(state: str) -> tuple[str, str]:
    return STATES.get(state, (state.lower(), "white"))


def _substations(snapshot: Snapshot) -> Text:
    return Text("   ").join(
        Text(f"{each.substation_id} {each.load_w / 1000:.1f} of {each.capacity_w / 1000:g} kW")
        if each.health == WELL
        else Text(f"{each.substation_id} {each.health.lower()}", style="red")
        for each in snapshot.substations
        if each.parent is not None
    )


def _queue(snapshot: Snapshot, rows: int, utc_offset_s: int) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    for name, right in (("place", True), ("charge point", False), ("driver", False), ("turn", False), ("for", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in snapshot.waiting[:rows]:
        offered = row.state == OFFERED
        expected = "nobody can tell" if row.eta_ms is None else f"expected {site_time(row.eta_ms, utc_offset_s)}"
        table.add_row(
            "now" if offered else str(row.place),
            Text(row.cp_id),
            Text(row.driver_id),
            "now: plugs in" if offered else expected,
            Text("" if offered else WAITS_FOR.get(row.reason or "", row.reason or ""), style="yellow"),
        )
    if len(snapshot.waiting) > rows:
        table.add_row("", Text(f"… and {len(snapshot.waiting) - rows} more wait", style="dim"))
    return table


def _why(snapshot: Snapshot, point: ChargePointView) -> str:
    """The reason in words, as far as the log has been read; else the code that came over the wire."""
    for row in point.connectors:
        told = None if row.session_id is None else snapshot.told.get(row.session_id)
        # The log may be a moment ahead of the wire, or behind it: a sentence about another limit explains nothing.
        if told is not None and told.limit_w == row.limit_w and told.sentence:
            return told.sentence
    codes = [row.reason for row in point.connectors if row.reason]
    return codes[0].replace("_", " ") if codes else ""


def _points(snapshot: Snapshot, rows: int) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    for name, right in (
        ("charge point", False),
        ("state", False),
        ("kW", True),
        ("limit", True),
        ("kWh", True),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    # What is left of the width: sentences are cut before figures are.
    table.add_column("why", ratio=1, no_wrap=True, overflow="ellipsis")
    order = sorted(snapshot.charge_points, key=lambda point: (point.state != "SUPPLYING", point.cp_id))
    for point in order[:rows]:
        word, colour = _word(_state(point))
        limits = [row.limit_w for row in point.connectors if row.limit_w is not None]
        busy = any(row.session_id is not None for row in point.connectors)
        table.add_row(
            Text(point.cp_id),
            Text(word, style=colour),
            Text(f"{sum(map(_power_w, point.connectors)) / 1000:.1f}" if busy else ""),
            Text(f"{sum(limits) / 1000:.1f}" if busy and limits else ""),
            Text(f"{sum(row.energy_wh for row in point.connectors) / 1000:.1f}" if busy else ""),
            Text(_why(snapshot, point) if busy else "", style="dim"),
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
