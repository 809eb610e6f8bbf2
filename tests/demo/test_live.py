"""What is shown while the day runs."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evcharge.demo.live import Pace, Screen, Snapshot, ask, plain_line, render, take_snapshot
from evcharge.demo.story import Told
from evcharge.domain.reasons import Basis, Bound, Constraint, Rejected
from evcharge.energy.model import Input, Plan
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
        if message.what == "waiting":
            return Reply(re=1, queue=list(self._snapshot.waiting))
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


def test_where_time_runs_fast_power_is_what_the_meters_counted() -> None:
    """Readings are from before the last set-points; energy is not."""
    pace, hour = Pace(), 3_600_000
    totals = [msgspec.structs.replace(SNAPSHOT.totals, energy_wh=100_000 + 30_000 * n) for n in range(4)]
    looks = [
        pace.look(msgspec.structs.replace(SNAPSHOT, site_ms=NOW_MS + n * hour, totals=totals[n])) for n in range(4)
    ]
    assert [look.mean_w for look in looks] == [None, None, 30_000, 30_000]
    assert "about 30.0 of " in plain_line(looks[-1], 0)
    real = Pace()
    slow = [real.look(msgspec.structs.replace(SNAPSHOT, site_ms=NOW_MS + n * 1_000)) for n in range(4 * 3_600)]
    assert slow[-1].mean_w is None, "readings are fresh"


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


WAITING = (
    WaitingView(waiting_id="w1", state="OFFERED", cp_id="A", driver_id="anna", session_id="w1"),
    WaitingView(
        waiting_id="w2", state="WAITING", cp_id="B", driver_id="ben", place=1, eta_ms=NOW_MS + 600_000, reason="busy"
    ),
    WaitingView(waiting_id="w3", state="WAITING", cp_id="C", driver_id="carla", place=2, reason="no_capacity"),
)
PLAN = Plan(
    made_ms=NOW_MS - 5 * 60_000,
    life_ms=3_600_000,
    starts_ms=(NOW_MS - 5 * 60_000, NOW_MS, NOW_MS + 4 * 3_600_000),
    target_w={"site": (40_000, 30_000, 20_000)},
)
BASIS = Basis(
    Bound(Constraint.CAPACITY, "site", 80_000, 66_000, 2),
    (Input("meter", 1_200),),
    (Rejected(11_040, Constraint.CAPACITY),),
)
BUSY = msgspec.structs.replace(
    SNAPSHOT, waiting=WAITING, plan=PLAN, plans=7, told={"s1": Told(limit_w=7_000, basis=BASIS)}
)


def shown(snapshot: Snapshot, *, width: int = 140, height: int = 40) -> str:
    out = io.StringIO()
    view = render(snapshot, title="demo", hint="Ctrl-C", utc_offset_s=0, width=width, height=height)
    Console(file=out, width=width).print(view)
    return out.getvalue()


def test_the_screen_has_the_plan_the_queue_and_the_reasons_in_words() -> None:
    text = shown(BUSY)
    for part in (
        "number 7, 5 min old, to Fri 18:05, gives 30.0 kW now",
        "now: plugs in",
        "expected Fri 14:15",
        "a free connector",
        "nobody can tell",
        "power",
        "site has 80 kW, 14 kW of it shared by 2",
    ):
        assert part in text
    # The ages and what was rejected are for `evcharge-audit why`.
    assert "because of" not in text
    assert text.index("anna") < text.index("ben") < text.index("carla")
    assert plain_line(BUSY, 0).endswith("|  3 wait  |  plan number 7, 5 min old, to Fri 18:05, gives 30.0 kW now")


def test_a_plan_that_is_too_old_is_said_to_rule_nothing() -> None:
    old = msgspec.structs.replace(BUSY, site_ms=PLAN.made_ms + 3_600_000)
    assert "number 7 is 1 h 0 min old, too old: the allocator shares alone" in shown(old)
    assert "none: the allocator shares alone" in shown(SNAPSHOT)
    hopeful = msgspec.structs.replace(PLAN, target_w={"site": (120_000,) * 3})
    assert "gives 80.0 kW now" in shown(msgspec.structs.replace(BUSY, plan=hopeful)), "no more than the site has"
    empty = msgspec.structs.replace(PLAN, starts_ms=(), target_w={})
    assert "gives 0.0 kW now" in shown(msgspec.structs.replace(BUSY, plan=empty))


def test_a_reason_for_another_limit_is_not_shown() -> None:
    """The log is read a moment after the wire was asked: then the code of the wire has to do."""
    other = msgspec.structs.replace(BUSY, told={"s1": Told(limit_w=6_000, basis=BASIS)})
    assert "site has 80 kW" not in shown(other)
    assert "shared" in shown(other)


def test_a_session_at_0_w_is_not_called_charging_nor_an_old_reading_power() -> None:
    held = msgspec.structs.replace(
        SNAPSHOT, charge_points=(point("B", "SUPPLYING", session_id="s1", power_w=6_600, limit_w=0),)
    )
    assert held.power_w == 0
    assert "1 held at 0" in plain_line(held, 0) and "charging" not in plain_line(held, 0)
    lowered = point("B", "SUPPLYING", session_id="s1", power_w=6_600, limit_w=2_000)
    assert msgspec.structs.replace(SNAPSHOT, charge_points=(lowered,)).power_w == 2_000


def test_several_substations_are_shown_with_what_is_wrong_with_them() -> None:
    top = SubstationView(substation_id="site", capacity_w=90_000, worst_case_w=0, load_w=30_000, sessions=4)
    lower = [
        SubstationView(
            substation_id=name,
            capacity_w=45_000,
            worst_case_w=0,
            load_w=load_w,
            sessions=2,
            parent="site",
            health=health,
        )
        for name, load_w, health in (("sub-1", 0, "LOST"), ("sub-2", 30_000, "UP"))
    ]
    several = msgspec.structs.replace(BUSY, substations=(top, *lower))
    assert (several.capacity_w, several.open_sessions) == (90_000, 4), "nothing is counted twice"
    text = shown(several)
    assert "sub-1 lost" in text and "sub-2 30.0 of 45 kW" in text
    assert "|  sub-1 lost  |" in plain_line(several, 0) and "sub-2" not in plain_line(several, 0)
    assert "substations" not in shown(BUSY)


@given(points=st.integers(0, 60), waits=st.integers(0, 40), height=st.integers(24, 60))
def test_whatever_is_shown_fits_the_terminal(points: int, waits: int, height: int) -> None:
    rows = tuple(point(f"CP-{number:02}", "SUPPLYING", session_id=f"s{number}", limit_w=1) for number in range(points))
    line = tuple(msgspec.structs.replace(WAITING[1], place=number + 1) for number in range(waits))
    text = shown(msgspec.structs.replace(BUSY, charge_points=rows, waiting=line), height=height)
    assert len(text.splitlines()) <= height


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
