"""Central, registry, charge point, monitor and driver on five hosts, and every resilience case of features.md.

The hosts are network namespaces with a cable between each two that talk; a case cuts a cable or kills a process with
SIGKILL. What is asserted is read back: from the audit log, from the charge point's meter register and from the tickets
that the driver's own process printed. Each test ends with the books balanced: one ticket for each session, Σ tickets =
Σ meters. ``python -m tests.e2e.namespaces`` shows what happens, line by line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evcharge.domain import events as e
from evcharge.domain.words import Hold, Role, SessionStatus, Shown, StopCause
from evcharge.ids import ChargePointId
from tests.support.netns import Network, missing
from tests.support.processes import Timeline, until
from tests.support.site import CP, DRIVER, MIN_KW, OTHER_DRIVER, SECOND_CP, Site

pytestmark = pytest.mark.netns

HOSTS = ("central", "sidecar", "cp", "monitor", "driver")
CABLES = (
    ("central", "sidecar"),
    ("central", "cp"),
    ("central", "monitor"),
    ("central", "driver"),
    ("cp", "monitor"),
    ("driver", "sidecar"),
)
# The shortest lease that Central grants, in seconds, so that its end is seen soon.
LEASE_S = 10
# Energy of a charge in whose middle something happens, in Wh: six seconds at 50 kW, so that it still runs when a busy
# machine gets to it.
LONG_WH = 80


@pytest.fixture(scope="session")
def registry(request: pytest.FixtureRequest) -> Path:
    lacking = missing()
    if lacking is not None and os.environ.get("CI") == "true":
        pytest.fail(lacking)
    if lacking is not None:
        pytest.skip(lacking)
    made: Path = request.getfixturevalue("made_registry")
    return made


@pytest.fixture
def site(tmp_path: Path, registry: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    timeline = Timeline(request.node.name.removeprefix("test_").replace("_", " "))
    with Network(HOSTS, CABLES) as network, Site(tmp_path, network, registry, timeline) as site:
        yield site


def cut(site: Site, one: str, other: str) -> None:
    assert isinstance(site.net, Network)
    site.net.cut(one, other)
    site.timeline.say(f"the cable between {one} and {other} is cut")


def mend(site: Site, one: str, other: str) -> None:
    assert isinstance(site.net, Network)
    site.net.mend(one, other)
    site.timeline.say(f"the cable between {one} and {other} is whole again")


def test_five_hosts_complete_a_charge_and_a_driver_may_vanish(site: Site) -> None:
    site.start()
    hosts = {os.readlink(f"/proc/{process.pid}/ns/net") for process in site.processes}
    assert len(hosts) == 4, "each process has a network of its own"

    # A newcomer registers over the network: never by accident without TLS.
    url = f"http://{site.net.address('sidecar', 'driver')}:{site.sidecar_port}"
    words = ["register", "--registry", url, "--token-file", site.registry / "operator.token", "--id", "carl"]
    carl = [*words, "--out", site.directory / "carl.json"]
    refused = site.run("driver", "driver", "driver", carl)
    assert refused.wait() == 1
    assert "--plain-http" in refused.errors
    assert site.run("driver", "driver", "driver", [*carl, "--plain-http"]).wait() == 0

    driver, session_id = site.charge(wh=20, running=False)
    assert os.readlink(f"/proc/{driver.pid}/ns/net") not in hosts, "the driver is on a fifth host"
    ticket = site.ticket(driver, session_id)
    assert (ticket["energy_wh"], ticket["status"], ticket["reason"]) == (20, "COMPLETED", "target_reached")
    # It was there before Central, and tries again after a while: the charge may be over sooner.
    until(lambda: "operator:sidecar" in sources(site), site.sidecar.tail)
    assert sources(site) == {
        f"engine:{CP}": site.net.address("cp", "central"),
        f"monitor:{CP}": site.net.address("monitor", "central"),
        f"driver:{DRIVER}": site.net.address("driver", "central"),
        "operator:sidecar": site.net.address("sidecar", "central"),
    }

    # The driver is killed: the session goes on, and its ticket waits for it.
    driver, session_id = site.charge(wh=LONG_WH)
    driver.kill()
    site.timeline.say("the driver is killed")
    (issued,) = until(lambda: site.history.tickets(session_id))
    assert (issued.energy_wh, issued.reason) == (LONG_WH, StopCause.TARGET_REACHED)
    assert issued.ticket_id in site.history.state().drivers[issued.driver_id].undelivered
    site.timeline.say("the session ended at its target without its driver")
    back = site.driver("tickets")
    assert back.wait() == 0, back.tail()
    assert f'"{issued.ticket_id}"' in back.out.read_text()
    until(lambda: not site.history.state().drivers[issued.driver_id].undelivered)
    site.timeline.say("the driver is back and has its ticket")

    # The driver's cable is cut for the rest of a session: the same process gets its ticket when it is whole again.
    driver, session_id = site.charge(wh=LONG_WH)
    cut(site, "central", "driver")
    (issued,) = until(lambda: site.history.tickets(session_id))
    assert not driver.said("ticket")
    mend(site, "central", "driver")
    assert site.ticket(driver, session_id)["energy_wh"] == LONG_WH
    site.settle()


def sources(site: Site) -> dict[str, str]:
    """Who is in the log, and from where each came."""
    return {logged.stamp.actor: logged.stamp.source for logged in site.history.logged if logged.stamp.source}


def ask_registry(site: Site, method: str, path: str, body: str = "") -> bytes:
    """The operator's request, made on the registry's own host; the answer."""
    assert isinstance(site.net, Network)
    token = (site.registry / "operator.token").read_text(encoding="ascii").strip()
    program = (
        "import sys, urllib.request as r; token, body = sys.stdin.read().split('\\n', 1); "
        f"q = r.Request('http://127.0.0.1:{site.sidecar_port}{path}', body.encode() or None, method='{method}'); "
        "q.add_header('Authorization', 'Bearer ' + token); q.add_header('Content-Type', 'application/json'); "
        "sys.stdout.buffer.write(r.urlopen(q).read())"
    )
    command = [*site.net.command("sidecar"), sys.executable, "-c", program]
    done = subprocess.run(command, input=f"{token}\n{body}".encode(), capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_without_its_monitor_a_charge_point_stops_safely(site: Site) -> None:
    site.start()
    driver, session_id = site.charge()
    site.monitor.kill()
    site.timeline.say("the monitor is killed")
    site.shown(Shown.DISCONNECTED)
    ticket = site.ticket(driver, session_id)
    assert (ticket["status"], ticket["reason"]) == ("INTERRUPTED", "monitor_lost")
    # The trace is written at the charge point's next step.
    until(lambda: site.power_now() == 0, "power flows behind the ticket")
    site.refused("is not connected at the moment")
    site.start_monitor()
    site.free()

    driver, session_id = site.charge()
    cut(site, "central", "monitor")
    site.shown(Shown.DISCONNECTED)
    ticket = site.ticket(driver, session_id)
    assert (ticket["status"], ticket["reason"]) == ("INTERRUPTED", "monitor_lost")
    # The trace is written at the charge point's next step.
    until(lambda: site.power_now() == 0, "power flows behind the ticket")
    mend(site, "central", "monitor")
    site.free()
    # The engine was there all the time, and it was well.
    assert not [lost for lost in site.history.all(e.PeerDisconnected) if lost.role is Role.ENGINE]
    assert not site.history.all(e.HoldPlaced)
    driver, session_id = site.charge(wh=5, running=False)
    assert site.ticket(driver, session_id)["status"] == "COMPLETED"
    site.settle()


def test_a_killed_engine_is_reported_and_loses_no_energy(site: Site) -> None:
    site.start()
    driver, session_id = site.charge()
    site.cp.kill()
    site.timeline.say("the engine is killed")
    register_wh = site.register_on_disk()
    assert register_wh > 0
    until(lambda: Hold.FAULT in site.history.state().charge_points[ChargePointId(CP)].holds)
    site.timeline.say("the monitor has reported the fault")
    until(lambda: any(update["reason"] == "fault" for update in driver.said("update")), driver.tail)
    site.timeline.say("the driver is told")
    assert not site.history.tickets(), "no ticket before the final meter is known"
    assert site.history.shown(CP) not in (Shown.ACTIVATED, Shown.SUPPLYING)

    site.cp = site.start_cp()
    site.timeline.say("the engine is started again")
    ticket = site.ticket(driver, session_id)
    assert (ticket["status"], ticket["energy_wh"]) == ("INTERRUPTED", register_wh)
    site.free()
    driver, session_id = site.charge(wh=5, running=False)
    assert site.ticket(driver, session_id)["status"] == "COMPLETED"
    site.settle()


def test_without_central_a_session_ends_by_itself_and_none_begins(site: Site) -> None:
    site.start()
    # A second charge point is authorized and waits for its vehicle.
    second = site.start_cp(SECOND_CP, plugged=False)
    until(lambda: site.history.shown(SECOND_CP) is Shown.ACTIVATED)
    waiting, waiting_id = site.charge(SECOND_CP, wh=10, running=False, name=OTHER_DRIVER)
    until(lambda: (found := site.history.session(waiting_id)) and found.authorize_acknowledged)
    driver, session_id = site.charge(wh=LONG_WH)
    site.central.kill()
    site.timeline.say("Central is killed")
    before = site.history.records
    assert not site.history.tickets()

    # The vehicle comes while Central is away, to an engine that was started anew and knows of the authorization.
    second.kill()
    second = site.start_cp(SECOND_CP)
    until(lambda: second.logged("cp.action"), second.tail)
    until(lambda: site.power_now() == 0, "the session goes on without end")
    site.timeline.say(f"{CP} has reached the target by itself")
    delivered = len(site.power())
    assert {watts for _, watts in site.power(SECOND_CP)} <= {0}, "nothing starts without Central"

    site.central = site.start_central("--monitor-return-s", 30)
    site.timeline.say("Central is back")
    ticket = site.ticket(driver, session_id)
    assert (ticket["energy_wh"], ticket["status"], ticket["reason"]) == (LONG_WH, "COMPLETED", "target_reached")
    assert len(site.power()) == delivered
    # Nothing of the log was lost or changed, and it goes on where it ended.
    after = site.history.records
    durable = [record for record in before if record.seq <= before[-1].durable]
    assert after[: len(durable)] == durable
    assert [record.seq for record in after] == list(range(1, len(after) + 1))
    assert site.ticket(waiting, waiting_id)["energy_wh"] == 10
    site.free()
    site.settle()


def test_a_cut_link_leaves_the_charge_point_to_its_lease_and_then_its_fallback(site: Site) -> None:
    site.start("--lease-s", LEASE_S)
    driver, session_id = site.charge()
    # The trace is written at the charge point's next step.
    full_w = until(site.power_now, site.cp.tail)
    cut(site, "central", "cp")
    until(lambda: (found := site.history.session(session_id)) and found.status is SessionStatus.OFFLINE)
    site.timeline.say("the session is OFFLINE")
    session = site.history.session(session_id)
    assert session is not None and session.lease.newest is not None
    assert site.history.shown(CP) is Shown.DISCONNECTED
    site.refused("is not connected at the moment")
    until(lambda: site.power_now() != full_w, "the lease never ended")
    at_ms, watts = site.power()[-1]
    assert watts == MIN_KW * 1000
    site.timeline.say(f"the lease is over: {full_w} W became {watts} W")
    # It held the whole lease, and not longer than the charge point's tick and clocks allow. Central may have sent one
    # more before it noticed the cut: what counts is the one that the charge point has.
    assert session.lease.acknowledged
    assert abs(at_ms - session.lease.grants[0].expires_ms) < 500

    mend(site, "central", "cp")
    until(lambda: (found := site.history.session(session_id)) and found.status is SessionStatus.SUPPLYING)
    site.timeline.say("the session is SUPPLYING again")
    until(lambda: site.power_now() == full_w, "the power was not raised again")
    site.timeline.say(f"{full_w} W again")
    ticket = site.end(driver, session_id)
    assert (ticket["status"], ticket["reason"]) == ("COMPLETED", "driver_ended")
    # The monitor's link stood, and it had nothing to report.
    assert not [lost for lost in site.history.all(e.PeerDisconnected) if lost.role is Role.MONITOR]
    assert not site.history.all(e.HoldPlaced)
    site.settle()


def test_without_the_registry_known_peers_go_on_and_a_revocation_waits_for_it(site: Site) -> None:
    site.start()
    driver, session_id = site.charge()
    site.sidecar.kill()
    site.timeline.say("the registry is killed")
    until(lambda: site.central.logged("registry.away"), site.central.tail)
    delivered = driver.said("update")[-1]["energy_wh"]
    until(lambda: driver.said("update")[-1]["energy_wh"] > delivered, driver.tail)
    site.timeline.say("the running session goes on")
    assert site.end(driver, session_id)["status"] == "COMPLETED"

    # A known charge point comes back, from the record that Central kept.
    connected = len(site.history.all(e.PeerConnected))
    site.cp.kill()
    site.cp = site.start_cp()
    until(lambda: any(peer.role is Role.ENGINE for peer in site.history.all(e.PeerConnected)[connected:]))
    (engine,) = [peer for peer in site.history.all(e.PeerConnected)[connected:] if peer.role is Role.ENGINE]
    assert engine.stale_record
    site.timeline.say("the charge point reconnected on its kept record, marked as stale")
    site.free()
    driver, session_id = site.charge()

    # Revoked at a registry that Central cannot reach yet.
    site.sidecar = site.start_sidecar("127.0.0.1")
    ask_registry(site, "DELETE", f"/register/{engine.username}")
    site.timeline.say("the charge point's credential is revoked, and Central cannot know it yet")
    assert not site.history.all(e.PeerRevoked)
    assert site.sidecar.stop() == 0
    site.sidecar = site.start_sidecar()
    site.timeline.say("the registry is back")
    until(lambda: site.history.all(e.PeerRevoked))
    site.timeline.say("the revocation is in the log")
    until(lambda: site.power_now() == 0, lambda: f"a revoked charge point goes on; {site.logs()}")
    until(lambda: site.cp.logged("cp.refused"), site.cp.tail)
    site.timeline.say("the revoked charge point has stopped and is shut out")
    assert Hold.REVOKED in site.history.state().charge_points[ChargePointId(CP)].holds
    site.refused("is not connected at the moment")

    # With a new credential it may deliver what it still has.
    fresh = ask_registry(site, "POST", "/register", f'{{"role": "cp", "entity": "{CP}"}}')
    (site.registry / "cps" / CP / f"{CP}.cp.json").write_bytes(fresh)
    site.cp.kill()
    site.cp = site.start_cp()
    ticket = site.ticket(driver, session_id)
    assert (ticket["status"], ticket["reason"]) == ("INTERRUPTED", "revoked")
    site.free()
    site.settle()
