"""What is shown while the day runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from evcharge.demo.live import Screen, Snapshot, ask, plain_line, render, take_snapshot
from protocol.messages import (
    ChargePointView,
    ConnectorView,
    Message,
    Query,
    Reply,
    SubstationView,
    TotalsView,
)

NOW_MS = 1_556_892_300_000  # 2019-05-03 14:05 UTC


def point(name: str, state: str = "ACTIVATED", **connector: object) -> ChargePointView:
    base: dict[str, object] = {"connector": 1, "state": state}
    return ChargePointView(cp_id=name, state=state, connectors=[ConnectorView(**{**base, **connector})])  # type: ignore[arg-type]  # a table of keywords


CHARGING = point("B", "SUPPLYING", session_id="s1", power_w=6600, limit_w=7000, energy_wh=1500, reason="shared")
# Its session is over; the energy it shows is in a ticket already.
FREE = point("A", energy_wh=9000)
SNAPSHOT = Snapshot(
    site_ms=NOW_MS,
    charge_points=(FREE, CHARGING, point("C", "OUT_OF_ORDER"), point("D", "NEW_STATE")),
    totals=TotalsView(authorized=3, refused=1, started=2, expired=1, tickets=1, energy_wh=9000, amount_minor=270),
    substations=(SubstationView(substation_id="site", capacity_w=80_000, worst_case_w=7000, load_w=6600, sessions=1),),
)


class Central:
    """Answers queries in pages of one row."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    async def request(self, message: Message, timeout_s: float = 10.0) -> Message:
        assert isinstance(message, Query)
        if message.what == "totals":
            return Reply(re=1, totals=self._snapshot.totals)
        if message.what == "substations":
            return Reply(re=1, substations=list(self._snapshot.substations))
        place = int(message.after or 0)
        rows = self._snapshot.charge_points
        following = str(place + 1) if place + 1 < len(rows) else None
        return Reply(re=1, charge_points=[rows[place]], next=following)


async def test_a_snapshot_has_every_page() -> None:
    assert await take_snapshot(Central(SNAPSHOT), NOW_MS) == SNAPSHOT
    assert len(await ask(Central(SNAPSHOT), "charge_points")) == 4


def test_the_figures_are_sums_over_the_site() -> None:
    assert (SNAPSHOT.power_w, SNAPSHOT.capacity_w, SNAPSHOT.open_sessions) == (6600, 80_000, 1)
    assert SNAPSHOT.energy_wh == 10_500


def test_the_plain_line_says_it_all_in_local_time() -> None:
    assert plain_line(SNAPSHOT, -7 * 3600) == (
        "Fri 07:05  1 free, 1 charging, 1 out of order  |  1 open, 2 started, 1 tickets  |  6.6 of 80 kW  |  10.5 kWh"
    )


def test_a_site_without_charge_points_can_be_shown() -> None:
    empty = Snapshot(site_ms=0, charge_points=(), totals=TotalsView(), substations=())
    assert "no charge points" in plain_line(empty, 0)
    Console(file=io.StringIO()).print(render(empty, title="t", hint="h", utc_offset_s=0, width=100, height=24))


@pytest.mark.parametrize(("height", "more"), [(40, False), (10, True)])
def test_the_table_shows_charging_points_first_and_no_more_than_fit(height: int, more: bool) -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(
        render(SNAPSHOT, title="demo", hint="Ctrl-C", utc_offset_s=0, width=100, height=height)
    )
    text = out.getvalue()
    assert ("… and 1 more" in text) is more
    assert text.index(" B ") < text.index(" A ")
    for part in ("Fri 14:05", "6.6 of 80 kW", "shared", "10.5 kWh", "1 new_state", "3 authorized", "2.70", "demo"):
        assert part in text


def test_without_a_terminal_there_are_lines() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=40), title="demo", utc_offset_s=0) as screen:
        slow = screen.every_s
        screen.show(SNAPSHOT)
        screen.say("[bold]not markup[/bold]")
    assert out.getvalue() == plain_line(SNAPSHOT, 0) + "\n[bold]not markup[/bold]\n"
    terminal = Screen(Console(file=io.StringIO(), force_terminal=True), title="demo", utc_offset_s=0)
    assert terminal.every_s < slow


def test_on_a_terminal_there_is_a_table_that_leaves_nothing_behind() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=30)
    with Screen(console, title="demo", utc_offset_s=0) as screen:
        screen.show(SNAPSHOT)
        assert "charging" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h") or "\x1b[2K" in out.getvalue()
