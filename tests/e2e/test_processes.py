"""The commands as a service manager and a person's shell meet them: real processes on loopback, no root needed."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from evcharge.domain import events as e
from evcharge.domain.words import Role, Shown
from tests.support.processes import Process, Timeline, until
from tests.support.site import CP, DRIVER, OTHER_DRIVER, Loopback, Site

pytestmark = pytest.mark.process


@pytest.fixture
def site(tmp_path: Path, made_registry: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    timeline = Timeline(request.node.name.removeprefix("test_").replace("_", " "))
    with Site(tmp_path, Loopback(), made_registry, timeline) as site:
        yield site


def test_the_registry_is_made_by_hand_and_keeps_its_secrets(made_registry: Path) -> None:
    secrets = [made_registry / name for name in ("central.json", "operator.token", f"{DRIVER}.json")]
    secrets += (made_registry / "cps" / CP).iterdir()
    for secret in secrets:
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600, secret
    roles = {json.loads(file.read_bytes())["role"] for file in (made_registry / "cps" / CP).iterdir()}
    assert roles == {"cp", "monitor"}
    # What the commands printed says where the secrets are, and holds none.
    password = json.loads((made_registry / f"{DRIVER}.json").read_bytes())["password"]
    printed = [file.read_text() for file in made_registry.parent.glob("*.out")]
    assert any(str(made_registry / f"{DRIVER}.json") in text for text in printed)
    assert not any(password in text or "evc1_" in text for text in printed)


def test_from_ready_lines_to_a_ticket_and_an_orderly_end(site: Site) -> None:
    site.start()
    assert site.sidecar.ready() == {"ready": "sidecar", "url": f"http://127.0.0.1:{site.sidecar_port}"}
    log = str(site.directory / "central" / "log")
    assert site.central.ready() == {"ready": "central", "host": "127.0.0.1", "port": site.central_port, "log": log}
    assert site.cp.ready() == {"ready": "cp", "health": site.health, "charge_points": 1}
    assert site.monitor.ready() == {"ready": "monitor", "monitors": 1}

    driver, session_id = site.charge(wh=5, running=False)
    first = site.ticket(driver, session_id)
    assert (first["energy_wh"], first["status"], first["reason"]) == (5, "COMPLETED", "target_reached")
    assert (first["cp_id"], first["driver_id"], first["currency"]) == (CP, DRIVER, "EUR")

    driver, session_id = site.charge()
    # Another driver sees that it is taken, may not have it and may not end what is not its own.
    other = site.driver("end", session_id, name=OTHER_DRIVER)
    assert other.wait() == 1
    assert other.errors.startswith("error: ")
    site.refused("is in use")
    # SIGTERM ends a charge point with its session settled, and each daemon with 0.
    assert site.cp.stop() == 0
    ticket = site.ticket(driver, session_id)
    assert (ticket["status"], ticket["reason"]) == ("INTERRUPTED", "engine_shutdown")
    (final,) = [line["meters"] for line in site.cp.lines if "meters" in line]
    site.meters |= final
    assert final[CP]["1"] == first["energy_wh"] + ticket["energy_wh"]
    site.settle()
    assert not [text for process in site.processes if "evc1_" in (text := process.errors)], "a secret is in a log"


def test_central_killed_in_the_middle_comes_back_to_the_same_state(site: Site) -> None:
    site.start()
    driver, session_id = site.charge(wh=5, running=False)
    first = site.ticket(driver, session_id)
    driver, session_id = site.charge()
    site.central.kill()
    site.timeline.say("Central is killed")
    before = site.history.records
    until(lambda: site.cp.logged("cp.disconnected"), site.cp.tail)
    unreachable = site.driver("list", name=OTHER_DRIVER)
    site.central = site.start_central()
    site.timeline.say("Central is back")
    assert unreachable.wait() == 0, "a command that was started meanwhile waits for Central"
    site.shown(Shown.SUPPLYING)
    ticket = site.end(driver, session_id)
    assert (ticket["status"], ticket["reason"]) == ("COMPLETED", "driver_ended")
    tickets = site.driver("tickets")
    assert tickets.wait() == 0
    listed = json.loads(tickets.out.read_text())
    assert [row["session_id"] for row in listed] == [session_id, first["session_id"]]
    assert listed[1].items() <= first.items(), "a ticket changed"
    after = site.history.records
    durable = before[-1].durable
    assert [record for record in after if record.seq <= durable] == [r for r in before if r.seq <= durable]
    assert len(site.history.all(e.CentralStarted)) == 2
    site.settle()


def test_two_of_one_kind_are_told_apart(site: Site) -> None:
    """A second Central on the log, a second engine on the journal: refused. A second driver: the newest counts."""
    site.start()
    arguments = ["--credentials", site.registry / "central.json", "--data-dir", site.directory / "central"]
    url = f"http://127.0.0.1:{site.sidecar_port}"
    other = ["--credentials", site.registry / "central.json", "--data-dir", site.directory / "other", "--registry", url]
    second = site.run("central", "central", "central", [*arguments, "--port", 0, "--registry", url])
    taken = site.run("central", "central", "central", [*other, "--port", site.central_port])
    twin = site.start_cp()
    sidecar = site.run("sidecar", "sidecar", "sidecar", ["run", "--data-dir", site.registry, "--port", 0])
    for process, says in (
        (second, "another process writes the audit log"),
        (taken, "in use"),
        (twin, "another process runs this charge point"),
        (sidecar, "error: "),
    ):
        assert process.wait() == 1, process.tail()
        assert says in process.errors, process.errors
        assert "Traceback" not in process.errors
    assert len([peer for peer in site.history.all(e.PeerConnected) if peer.role is Role.ENGINE]) == 1
    site.settle()


# Module, arguments, exit code, what the one sentence has to name.
MISUSE: list[tuple[str, list[str], int, str]] = [
    ("central", [], 2, "--credentials"),
    ("central", ["--credentials", "none.json"], 1, "evcharge-sidecar init"),
    ("central", ["--credentials", "{registry}/anna.json"], 1, "is not a central.json"),
    ("central", ["--credentials", "{registry}/central.json", "--capacity-kw", "0"], 1, "has to be above 0"),
    ("central", ["--credentials", "{registry}/central.json", "--registry", "http://192.0.2.1"], 1, "without TLS"),
    ("cp", ["run", "--central", "127.0.0.1", "--data-dir", "d"], 2, "--credentials"),
    ("cp", ["run", "--credentials", "{registry}/anna.json", "--central", "x", "--data-dir", "d"], 1, "role driver"),
    ("monitor", ["run", "--credentials", "{registry}/cps/CP-1", "--central", "x", "--engine", "y"], 2, "--engine"),
    ("driver", ["list"], 1, "--credentials"),
    ("driver", ["list", "--credentials", "{registry}/cps/CP-1"], 1, "no credential with role driver"),
    ("driver", ["charge", "CP-1", "--energy-kwh", "much", "--credentials", "{registry}/anna.json"], 2, "much"),
    ("sidecar", ["init", "--data-dir", "{registry}"], 1, "error: "),
    ("sidecar", ["run", "--data-dir", "nowhere"], 1, "init"),
]


def test_misuse_is_one_sentence(tmp_path: Path, made_registry: Path) -> None:
    """All at once: each one only starts, complains and ends."""
    started = []
    for number, (module, arguments, code, says) in enumerate(MISUSE):
        words = [word.format(registry=made_registry) for word in arguments]
        started.append((Process(f"{module}-{number}", module, words, tmp_path), code, says))
    for process, code, says in started:
        assert process.wait() == code, process.tail()
        assert says in process.errors, process.errors
        assert "Traceback" not in process.errors
        assert not process.lines
