"""What it costs to decide everything when a substation is lost: CPU time of one loss and of the shares that follow."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import click
import msgspec
from rich.console import Console
from rich.table import Table

from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.consequences import effects_of
from evcharge.domain.decide import AnyCommand, decide
from evcharge.domain.evolve import evolve
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import State
from evcharge.domain.words import Role, Stamp
from evcharge.energy.model import Policy
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, Fence, NodeId, SessionId
from evcharge.units import Millis, WattHours, Watts
from tools.bench.log import Figure

NORTH, SOUTH = NodeId("north"), NodeId("south")
# From the loss to the new set-points, ms of CPU time for 100 charge points.
GOAL_MS = 10.0
# One connector, W: 16 A on three phases.
MIN_W, MAX_W = Watts(4_140), Watts(11_040)
# One charge point's share of its substation, W: all charge, none at its rating.
SHARE_W = 8_000


class _Central:
    """The domain alone; nothing is written."""

    def __init__(self) -> None:
        self.state = State()
        self.now_ms = 1_700_000_000_000

    def obey(self, command: AnyCommand) -> list[e.Event]:
        """decide → evolve → effects."""
        stamp = Stamp(at_ms=self.now_ms, clock_ms=self.now_ms)
        events = decide(self.state, command, stamp)
        for event in events:
            evolve(self.state, event, stamp)
            effects_of(event, self.state, stamp)
        return events

    def settle(self) -> None:
        """Share until nothing changes; all is acknowledged."""
        while issued := [ev for ev in self.obey(c.Reallocate(node_id=NORTH)) if isinstance(ev, e.SetPointIssued)]:
            for event in issued:
                cp_id = self.state.sessions[event.session_id].cp_id
                self.obey(c.ReportResult(cp_id=cp_id, command_id=event.grant.command_id, outcome="done"))  # type: ignore[arg-type]


def busy_site(count: int, *, policy: Policy = Policy.PLAN) -> _Central:
    """``count`` charge points, half of them at each of two substations that stand in for each other; all charge."""
    capacity_w = Watts(count * SHARE_W // 2)
    names = [ChargePointId(f"cp-{number:05}") for number in range(count)]
    site = SiteConfig(
        capacities={NORTH: capacity_w, SOUTH: capacity_w},
        nodes={NORTH: NodeConfig(backups=(SOUTH,)), SOUTH: NodeConfig(backups=(NORTH,))},
        assignments={cp_id: (NORTH, SOUTH)[place % 2] for place, cp_id in enumerate(names)},
        policy=policy,
    )
    central = _Central()
    central.obey(c.StartCentral(site=site))
    for number, cp_id in enumerate(names):
        ready = c.PeerReady(role=Role.ENGINE, entity=cp_id, username=cp_id, fence=Fence(number + 1), boot_id=b"")
        central.obey(ready)
        central.obey(c.BootChargePoint(cp_id=cp_id, connectors=(c.ConnectorRating(ConnectorNo(1), MIN_W, MAX_W),)))
        central.obey(c.ReportPlug(cp_id=cp_id, connector=ConnectorNo(1), plugged=True))
        central.obey(
            c.RequestCharge(
                session_id=SessionId(f"s-{number:05}"),
                driver_id=DriverId(f"d-{number}"),
                cp_id=cp_id,
                connector=ConnectorNo(1),
                energy_wh=20_000 + 100 * number,
                depart_by_ms=central.now_ms + 14_400_000 + 60_000 * number,
            )
        )
    central.settle()
    for number, cp_id in enumerate(names):
        central.obey(
            c.ReportStarted(
                cp_id=cp_id,
                session_id=SessionId(f"s-{number:05}"),
                meter_wh=WattHours(0),
                at_ms=Millis(central.now_ms),
            )
        )
    for _ in range(5):
        central.now_ms += 61_000
        central.settle()
    return central


def lose(central: _Central) -> tuple[float, list[e.Event]]:
    """North is lost: CPU time until all new set-points are decided, ms, and what happened."""
    began = time.process_time()
    happened = central.obey(c.ReportNode(node_id=NORTH, ok=False, cause="bench"))
    happened += central.obey(c.Reallocate(node_id=NORTH))
    return (time.process_time() - began) * 1_000, happened


def measure(count: int, repeats: int, say: Callable[[str], None]) -> list[Figure]:
    """Median and worst of ``repeats`` losses, each of a site of its own."""
    took_ms, told = [], 0
    for number in range(repeats):
        say(f"loss {number + 1} of {repeats}")
        milliseconds, happened = lose(busy_site(count))
        took_ms.append(milliseconds)
        told = sum(isinstance(event, e.SetPointIssued) for event in happened)
    return [
        Figure("median", f"from the loss to {told} new set-points", statistics.median(took_ms), "<=", GOAL_MS, "ms"),
        Figure("worst", "… the worst of them", max(took_ms), "<=", GOAL_MS, "ms"),
    ]


@click.command()
@click.option("--charge-points", "count", type=click.IntRange(2, 10_000), default=100, show_default=True)
@click.option("--repeats", type=click.IntRange(1, 1_000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(*, count: int, repeats: int, as_json: bool) -> None:
    """What a lost substation costs: from the loss to the new set-points of everybody, in CPU time.

    Half of the charge points stand at the lost one. The goal is that of 100 charge points.
    """
    errors = Console(stderr=True)
    with errors.status("") as status:
        figures = measure(count, repeats, status.update)
    if as_json:
        said = {each.name: {"value": each.value, "goal": each.goal, "kept": each.met} for each in figures}
        click.echo(msgspec.json.format(msgspec.json.encode({"charge_points": count, "figures": said})).decode())
        return
    table = Table(title=f"A substation is lost, {count:,} charge points", title_justify="left")
    for name in ("what", "goal", "measured", ""):
        table.add_column(name)
    for each in figures:
        mark = "ok" if each.met else "not reached"
        table.add_row(each.what, f"{each.sense} {each.goal:g} {each.unit}", f"{each.value:.2f} {each.unit}", mark)
    Console().print(table)
