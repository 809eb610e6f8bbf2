"""docs/machines.md, typed word for word on machines that share nothing but a switch; then the links are cut.

The machines are network namespaces with a folder, /etc/hosts and shell of their own (``tests.support.machine``). What
is asserted is read back: from the audit log, from the charge point's own trace of its power, and from the ticket.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from evcharge.domain import events as e
from evcharge.domain.words import Hold, Role
from evcharge.ids import ChargePointId
from tests.support.history import History
from tests.support.machine import Machine, steps
from tests.support.machines import FULL_W, LEASE_S, MANUAL, Machines
from tests.support.processes import Timeline, until
from tests.support.shared import lacking
from tools.netns import Switched, missing

# Several sites one after the other, each with real seconds of charging and of links that are down.
pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

NAMES = ("a", "b", "c", "d")
# A link that is away for less than this is not missed: five seconds of silence are (`--silence-s`).
SHORT_S = 1.0


@pytest.fixture
def machines(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    lacks = missing()
    if lacks is not None:
        lacking(lacks)
    timeline = Timeline(request.node.name.removeprefix("test_").replace("_", " "))
    trace = tmp_path / "power.trace"
    variables = {"EVCHARGE_CENTRAL_LEASE_S": str(LEASE_S), "EVCHARGE_CP_RUN_TRACE": str(trace)}
    with Switched(NAMES) as network, ExitStack() as stack:
        hosts = {"site.example": network.address("a")}
        made = {
            name: stack.enter_context(Machine(name, network.command(name), tmp_path / name, hosts, variables))
            for name in NAMES
        }
        driver = "evcharge-driver {} --credentials anna.json --central site.example:7411"
        yield Machines(made, network, timeline, log=tmp_path / "a" / "central" / "log", trace=trace, driver=driver)


def test_the_manual_as_it_is_written_and_links_that_are_cut(machines: Machines) -> None:
    printed = machines.follow("With plain commands")
    assert "the page: 200" in printed
    (ticket,) = machines.history.tickets()
    assert ticket.energy_wh == 100
    assert any(line.startswith(f"ticket {ticket.ticket_id}") for line in printed), printed
    # It was there before Central, and tries again after a while: the charge may be over sooner.
    until(lambda: "operator:sidecar" in machines.sources(), machines.machine("A").tail)
    sources = machines.sources()
    assert sources["operator:sidecar"] == "127.0.0.1"
    assert sources["engine:CP-1"] == sources["monitor:CP-1"] == machines.network.address("b")
    assert sources["driver:anna"] == machines.network.address("c")
    # Who does not know the authority, or comes without TLS, gets nothing.
    machines.type(
        "C", "curl -s https://site.example:8443/ui/ && exit 1; curl -s http://site.example:8443/ui/ && exit 1; true"
    )

    # The link of the charge point is away for a second: nobody notices.
    machines.charge(0.6)
    machines.cut("b")
    machines.waited(SHORT_S)
    machines.mend("b")
    heard = len(machines.updates())
    until(lambda: len(machines.updates()) > heard + 1, machines.machine("B").tail)
    # And for longer than its lease: it goes on by its own rules.
    machines.interrupted(machines.cut_beyond_the_lease())
    lost = [found for found in machines.history.all(e.PeerDisconnected) if found.role in (Role.ENGINE, Role.MONITOR)]
    assert len(lost) == 2, "a second without a link is nothing"

    # The driver's link: the charge goes on without it, and its ticket waits for it.
    machines.charge(0.2)
    machines.cut("c")
    until(lambda: len(machines.history.tickets()) == 3)
    assert len(machines.tickets()) == 1
    machines.mend("c")
    until(lambda: len(machines.tickets()) == 2, machines.machine("C").tail)
    machines.say("the driver has its ticket")
    told = machines.tickets()[1]
    assert (told["energy_wh"], told["status"]) == (200, "COMPLETED")
    machines.history.check()


def test_a_charge_point_comes_and_goes_and_central_moves(machines: Machines) -> None:
    machines.follow("With plain commands")
    adding, removing = steps(MANUAL, "Adding and removing a charge point")
    machines.type(adding.machine, adding.commands)
    # From C, with the operator's token and the authority; without the authority it is refused before the token goes.
    machines.type("A", "scp registry/operator.token c.example:")
    words = "evcharge-cp register --registry https://site.example:8443 --token-file operator.token --id CP-3 --out keys"
    machines.type("C", f"! {words} 2> refused.txt\nSSL_CERT_FILE=$PWD/authority.pem {words}")
    assert "cannot be verified" in (machines.machine("C").directory / "refused.txt").read_text()

    # CP-2 and CP-3 begin on B, CP-2 is revoked while it is connected.
    machines.type("A", "scp keys/CP-2.cp.json b.example:")
    machines.type("C", "scp keys/CP-3.cp.json b.example:")
    for cp_id in ("CP-2", "CP-3"):
        door = f"--credentials {cp_id}.cp.json --central site.example:7411 --data-dir {cp_id}"
        machines.type("B", f"env -u EVCHARGE_CP_RUN_TRACE evcharge-cp run {door} &")
    until(lambda: {"CP-2", "CP-3"} <= set(machines.history.state().charge_points), machines.machine("B").tail)
    machines.type(removing.machine, removing.commands)
    until(lambda: machines.history.all(e.PeerRevoked), machines.machine("A").tail)
    assert {gone.entity for gone in machines.history.all(e.PeerRevoked)} == {"CP-2"}
    assert Hold.REVOKED in machines.history.state().charge_points[ChargePointId("CP-2")].holds
    machines.say("CP-2 is revoked")

    # Central moves while CP-1 charges.
    machines.charge(0.3)
    leaving, arriving = steps(MANUAL, "Moving Central to another machine")
    machines.type(leaving.machine, leaving.commands)
    machines.say("A has ended")
    before = machines.history.records
    for name in NAMES:
        machines.machine(name).knows({"site.example": machines.network.address("d")})
    machines.type(arriving.machine, arriving.commands)
    machines.machine("D").ready("central")
    machines.say("D has begun")
    moved = History(machines.machine("D").directory / "central" / "log")
    until(machines.tickets, machines.machine("C").tail)
    machines.say("the driver has its ticket")
    (told,) = machines.tickets()
    assert (told["status"], told["energy_wh"]) == ("COMPLETED", 300)
    assert moved.records[: len(before)] == before
    assert all(watts <= FULL_W for _, watts in machines.power())
    moved.check()
